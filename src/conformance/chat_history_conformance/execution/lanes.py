"""Several lists of operations that run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.capabilities import READS
from chat_history_conformance.diagnosis.code import Code, Need, call, fill, join
from chat_history_conformance.diagnosis.compare import type_name
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.diagnosis.script_helpers import all_at_once, together, wait
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.drivers.calls import Done, How
from chat_history_conformance.execution.handle import Handle
from chat_history_conformance.execution.phrase import SLEEP, elsewhere, opening_code
from chat_history_conformance.results.model import Mode

__all__ = ["Lane", "interleaving", "is_read", "lanes_step"]

Lane = Sequence[tuple[Handle, str, tuple[Any, ...]]]
"""The operations of one thread, task or process: handle, name and arguments of each."""

_SHOWN_EVENTS = 40


def is_read(operation: str) -> bool:
    """Return whether an operation reads messages."""
    return operation == "messages" or operation in READS


def lanes_step(backend: Backend, lanes: Sequence[Lane], mode: Mode) -> Step:
    """Return the step that runs several lanes at once."""
    how: How = "async" if mode == "async" else "sync"
    return Step(lambda: _lanes_text(lanes, how), lambda: _lanes_code(backend, lanes, how))


def interleaving(lanes: Sequence[Lane], done: Sequence[Sequence[Done]], mode: Mode) -> str | None:
    """Return the times of concurrent calls as a note, or None if there were none."""
    how: How = "async" if mode == "async" else "sync"
    events = sorted(
        (item.started, item.ended, number, position)
        for number, lane in enumerate(done)
        for position, item in enumerate(lane)
    )
    if not events:
        return None
    start = events[0][0]
    texts = ["start and end of each call, in ms from the first call:"]
    for started, ended, number, position in events[:_SHOWN_EVENTS]:
        error = done[number][position].error
        outcome = f"  raised {type_name(error)}" if error is not None else ""
        operation = _item_text(*lanes[number][position], how)
        texts.append(
            f"  {(started - start) * 1000:8.2f} to {(ended - start) * 1000:8.2f}  "
            f"lane {number + 1}: {operation}{outcome}"
        )
    if len(events) > _SHOWN_EVENTS:
        texts.append(f"  … {len(events) - _SHOWN_EVENTS} more")
    return "\n".join(texts)


def _lanes_text(lanes: Sequence[Lane], how: How) -> str:
    return "\n".join(
        [
            "at the same time:",
            *(
                f"      lane {number}: {_item_text(*item, how)}"
                for number, lane in enumerate(lanes, 1)
                for item in lane
            ),
        ]
    )


def _lanes_code(backend: Backend, lanes: Sequence[Lane], how: How) -> Code:
    parts = [_lane_code(backend, number, lane, how) for number, lane in enumerate(lanes, 1)]
    names = [f"lane{number}" for number in range(1, len(lanes) + 1)]
    if how == "async":
        parts += [call(wait, call(all_at_once, *(Code(f"{name}()") for name in names)))]
    else:
        parts += [call(together, *map(Code, names))]
    return join("\n", parts)


def _lane_code(backend: Backend, number: int, lane: Lane, how: How) -> Code:
    """Return the function of one lane, after the variables that it sets."""
    opened = [
        handle.name for handle, name, _ in lane if name == "open" and not handle.in_second_process
    ]
    lines = [Code(" = ".join([*opened, "None"]))] if opened else []
    lines += [Code(f"lane{number}_got = []")] if any(is_read(item[1]) for item in lane) else []
    lines += [Code(f"{'async ' * (how == 'async')}def lane{number}():")]
    lines += [Code(f"    nonlocal {name}") for name in opened]
    for handle, name, args in lane:
        code = _item_code(backend, handle, name, args, how)
        code = fill(f"lane{number}_got.append({{}})", code) if is_read(name) else code
        lines.append(code.indented())
    return join("\n", lines)


def _item_text(handle: Handle, name: str, args: tuple[Any, ...], how: How) -> str:
    if name == "wait":
        return f"wait {args[0]:g} s"
    if name == "open":
        place = "  in a second process" if handle.in_second_process else ""
        return f"{handle.name} = open({show(handle.session.replace('{nonce}', 'session'))}){place}"
    return handle.phrase(name, args, how).text()


def _item_code(
    backend: Backend, handle: Handle, name: str, args: tuple[Any, ...], how: How
) -> Code:
    """Return one operation, as a line of the function of its lane."""
    awaited = how == "async"
    if name == "wait":
        if awaited:
            return Code(f"await asyncio.sleep({args[0]:g})", frozenset({Need("asyncio")}))
        return fill("{}({})", SLEEP, f"{args[0]:g}")
    in_second_process = handle.in_second_process
    if name == "open":
        inside = awaited and not in_second_process
        code = opening_code(backend, handle.session, handle.how, inside_a_coroutine=inside)
        code = fill("{} = {}", handle.name, code)
        return elsewhere(code) if in_second_process else code
    phrase = handle.phrase(name, args, how)
    if awaited and not in_second_process:
        return fill("{}{}", "await " * phrase.invocation.awaited, phrase.bare())
    return phrase.code()
