"""Several lists of operations that run at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.capabilities import READS
from chat_history_conformance.diagnosis.code import Code, Need, call, fill, join
from chat_history_conformance.diagnosis.compare import type_name
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.diagnosis.script_helpers import in_forks, together
from chat_history_conformance.diagnosis.script_loops import all_at_once, wait
from chat_history_conformance.diagnosis.script_needs import SESSIONS
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.drivers.calls import Call, Done, How
from chat_history_conformance.drivers.forks import run_in_forks
from chat_history_conformance.execution.handle import Handle
from chat_history_conformance.execution.phrase import SLEEP, Phrase, elsewhere, opening_code
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import Mode

__all__ = [
    "INTERLEAVING",
    "Lane",
    "fork_lanes",
    "forks_step",
    "interleaving",
    "is_read",
    "lanes_step",
    "run_lanes",
    "sessions_step",
]

Lane = Sequence[tuple[Handle, str, tuple[Any, ...]]]
"""The operations of one thread, task or process: handle, name and arguments of each."""

INTERLEAVING = "start and end of each call"
"""The beginning of the note that `interleaving` returns."""

_SHOWN_EVENTS = 40

_PLAIN = ("open", "wait")
"""Operations of a lane that do not call a history."""


def is_read(operation: str) -> bool:
    """Return whether an operation reads messages."""
    return operation == "messages" or operation in READS


@dataclass(frozen=True)
class _Item:
    """One operation of a lane.

    Attributes:
        handle: The handle.
        name: The name of the operation.
        args: Its arguments.
        phrase: The call, made while the history is open. `open` and `wait` have none.
    """

    handle: Handle
    name: str
    args: tuple[Any, ...]
    phrase: Phrase | None

    def text(self) -> str:
        """Return the operation in a line of a report."""
        if self.phrase is not None:
            return self.phrase.text()
        if self.name == "wait":
            return f"wait {self.args[0]:g} s"
        place = "  in a second process" if self.handle.in_second_process else ""
        session = show(self.handle.session.replace("{nonce}", "session"))
        return f"{self.handle.name} = open({session}){place}"

    def code(self, backend: Backend, how: How) -> Code:
        """Return the operation as a line of the function of its lane."""
        awaited, in_second_process = how == "async", self.handle.in_second_process
        if self.phrase is not None:
            if awaited and not in_second_process:
                return fill("{}{}", "await " * self.phrase.invocation.awaited, self.phrase.bare())
            return self.phrase.code()
        if self.name == "wait":
            seconds = f"{self.args[0]:g}"
            if awaited:
                return Code(f"await asyncio.sleep({seconds})", frozenset({Need("asyncio")}))
            return fill("{}({})", SLEEP, seconds)
        inside = awaited and not in_second_process
        handle = self.handle
        code = opening_code(backend, handle.session, handle.how, inside_a_coroutine=inside)
        code = fill("{} = {}", handle.name, code)
        return elsewhere(code) if in_second_process else code


def run_lanes(subject: Subject, lanes: Sequence[Lane]) -> list[list[Done]]:
    """Run several lanes at once, and return the results of each."""
    calls = _calls(lanes)
    second = [index for index, lane in enumerate(lanes) if lane[0][0].in_second_process]
    local = [index for index in range(len(lanes)) if index not in second]
    done: dict[int, list[Done]] = {}
    wait: Callable[[], list[list[Done]]] = list
    if second:
        wait = subject.second_process.begin([calls[index] for index in second])
    if local:
        answers = subject.local.together([calls[index] for index in local])
        done.update(zip(local, answers, strict=True))
    done.update(zip(second, wait(), strict=True))
    return [done[index] for index in range(len(lanes))]


def fork_lanes(subject: Subject, lanes: Sequence[Lane]) -> list[list[Done]]:
    """Run each lane in a fork of a process, one after another, and return the results of each."""
    return run_in_forks(subject.backend, subject.limit, _calls(lanes))


def _calls(lanes: Sequence[Lane]) -> list[list[Call]]:
    return [
        [
            Call(handle.key, name, (handle.id, None) if name == "open" else args, handle.how)
            for handle, name, args in lane
        ]
        for lane in lanes
    ]


def lanes_step(backend: Backend, lanes: Sequence[Lane], mode: Mode) -> Step:
    """Return the step that runs several lanes at once."""
    how: How = "async" if mode == "async" else "sync"
    items = _items(lanes)
    text = "at the same time:"
    return Step(
        lambda: _lanes_text(text, items), lambda: _lanes_code(backend, items, how, together)
    )


def forks_step(backend: Backend, lanes: Sequence[Lane]) -> Step:
    """Return the step that runs each lane in a fork, one after another."""
    items = _items(lanes)
    text = "in forks of a process that has imported the history, one after another:"
    return Step(
        lambda: _lanes_text(text, items), lambda: _lanes_code(backend, items, "sync", in_forks)
    )


def sessions_step(
    backend: Backend, handle: Handle, messages: Sequence[BaseMessage], number: int
) -> Step:
    """Return the step that writes to the sessions `{nonce}-0`, `{nonce}-1` and so on.

    The script does one after another what the run did at the same time.

    Args:
        backend: The backend.
        handle: One of the handles, still open.
        messages: The messages that each session got.
        number: The number of sessions.
    """
    add, close = handle.phrase("add_messages", (messages,), handle.how), handle.closing_code()
    text = f"in each of {number} sessions, one after another: {handle.name} = open(session-NUMBER)"

    def code() -> Code:
        ids = f"[nonce + f'-{{number}}' for number in range({number})]"
        opening = opening_code(backend, Code("session_id"), handle.how)
        needs = frozenset({Need(SESSIONS, ids), Need("", "nonce")})
        lines = [fill("{} = {}", handle.name, opening), add.code(), close]
        return join("\n", [Code(f"for session_id in {ids}:", needs), *map(Code.indented, lines)])

    return Step(f"{text}, {add.text()}, and {handle.name} is closed then", code)


def _items(lanes: Sequence[Lane]) -> list[list[_Item]]:
    """Return the operations with their calls.

    The text and the source of a step may be made after its histories were closed.
    """
    return [[_item(*operation) for operation in lane] for lane in lanes]


def _item(handle: Handle, name: str, args: tuple[Any, ...]) -> _Item:
    phrase = None if name in _PLAIN else handle.phrase(name, args, handle.how)
    return _Item(handle, name, args, phrase)


def interleaving(lanes: Sequence[Lane], done: Sequence[Sequence[Done]]) -> str | None:
    """Return the times of concurrent calls as a note, or None if there were none."""
    events = sorted(
        (item.started, item.ended, number, position)
        for number, lane in enumerate(done)
        for position, item in enumerate(lane)
    )
    if not events:
        return None
    start, items = events[0][0], _items(lanes)
    texts = [f"{INTERLEAVING}, in ms from the first call:"]
    for started, ended, number, position in events[:_SHOWN_EVENTS]:
        error = done[number][position].error
        outcome = f"  raised {type_name(error)}" if error is not None else ""
        operation = items[number][position].text()
        texts.append(
            f"  {(started - start) * 1000:8.2f} to {(ended - start) * 1000:8.2f}  "
            f"lane {number + 1}: {operation}{outcome}"
        )
    if len(events) > _SHOWN_EVENTS:
        texts.append(f"  … {len(events) - _SHOWN_EVENTS} more")
    return "\n".join(texts)


def _lanes_text(text: str, lanes: Sequence[Sequence[_Item]]) -> str:
    return "\n".join(
        [
            text,
            *(
                f"      lane {number}: {item.text()}"
                for number, lane in enumerate(lanes, 1)
                for item in lane
            ),
        ]
    )


def _lanes_code(
    backend: Backend, lanes: Sequence[Sequence[_Item]], how: How, run: Callable[..., None]
) -> Code:
    parts = [_lane_code(backend, number, lane, how) for number, lane in enumerate(lanes, 1)]
    names = [f"lane{number}" for number in range(1, len(lanes) + 1)]
    if how == "async":
        parts += [call(wait, call(all_at_once, *(Code(f"{name}()") for name in names)))]
    else:
        parts += [call(run, *map(Code, names))]
    return join("\n", parts)


def _lane_code(backend: Backend, number: int, lane: Sequence[_Item], how: How) -> Code:
    """Return the function of one lane, after the variables that it sets."""
    opened = [
        item.handle.name
        for item in lane
        if item.name == "open" and not item.handle.in_second_process
    ]
    lines = [Code(" = ".join([*opened, "None"]))] if opened else []
    lines += [Code(f"lane{number}_got = []")] if any(is_read(item.name) for item in lane) else []
    lines += [Code(f"{'async ' * (how == 'async')}def lane{number}():")]
    lines += [Code(f"    nonlocal {name}") for name in opened]
    for item in lane:
        code = item.code(backend, how)
        code = fill(f"lane{number}_got.append({{}})", code) if is_read(item.name) else code
        lines.append(code.indented())
    return join("\n", lines)
