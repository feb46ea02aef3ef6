"""Short probes for capabilities that a backend declares as lacking, and notes about untried parts.

A probe that succeeds proves nothing. The report mentions it, and the author decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from langchain_core.messages import HumanMessage

from chat_history_conformance.declaration.capabilities import assumed
from chat_history_conformance.diagnosis.compare import Snapshot, compare
from chat_history_conformance.drivers.calls import Call, How
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.drivers.second_process import SecondProcess
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import ContractResult

__all__ = ["surprises", "untried"]

_MESSAGES = [HumanMessage(content=f"probe {number}") for number in range(3)]


def surprises(subject: Subject) -> list[str]:
    """Return a sentence for each capability in `lacks=` whose probe succeeded."""
    return [
        f"lacks {name} ({reason}), but a probe of it succeeded: check whether it is still lacking"
        for name, reason in subject.backend.lacks.items()
        if name in _PROBES and _works(_PROBES[name], subject)
    ]


def untried(results: Iterable[ContractResult]) -> list[str]:
    """Return a sentence for each thing that contracts did not try although they passed."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        if result.outcome == "passed" and result.reason:
            found.setdefault(result.reason, {})[result.id] = None
    return [f"not tried: {reason} ({', '.join(ids)})" for reason, ids in found.items()]


def _works(probe: Callable[[Subject], bool], subject: Subject) -> bool:
    try:
        return probe(subject)
    except Exception:  # a probe that fails confirms the declaration
        return False


def _keeps(local: Local | SecondProcess, key: str, how: How) -> bool:
    kept = [Snapshot(message) for message in _MESSAGES]
    return compare(kept, local.call(Call(key, "messages", (), how))) is None


def _one_way(how: How) -> Callable[[Subject], bool]:
    def probe(subject: Subject) -> bool:
        lacks = {name: why for name, why in subject.backend.lacks.items() if name != how}
        local = Local(replace(subject.backend, lacks=lacks), subject.limit)
        try:
            local.open("probe", subject.nonce(), how, None)
            local.call(Call("probe", "add_messages", (list(_MESSAGES),), how))
            kept = _keeps(local, "probe", how)
            local.call(Call("probe", "clear", (), how))
            local.release("probe", how)
            return kept
        finally:
            local.stop()

    return probe


def _shared(subject: Subject) -> bool:
    session, how = subject.nonce(), subject.how
    for key in ("one", "other"):
        subject.local.open(key, session, how, None)
    try:
        subject.local.call(Call("one", "add_messages", (list(_MESSAGES),), how))
        return _keeps(subject.local, "other", how)
    finally:
        subject.local.call(Call("one", "clear", (), how))
        for key in ("one", "other"):
            subject.local.release(key, how)


def _durable(subject: Subject) -> bool:
    session, how = subject.nonce(), subject.how
    subject.local.open("one", session, how, None)
    try:
        subject.local.call(Call("one", "add_messages", (list(_MESSAGES),), how))
        subject.second_process.open("other", session, how, None)
        kept = _keeps(subject.second_process, "other", how)
        subject.second_process.release("other", how)
        return kept
    finally:
        subject.local.call(Call("one", "clear", (), how))
        subject.local.release("one", how)


def _threads(subject: Subject) -> bool:
    how = subject.how
    subject.local.open("one", subject.nonce(), how, None)
    try:
        lanes = [
            [
                Call("one", "add_messages", ([HumanMessage(content=f"{lane} {number}")],), "sync")
                for number in range(20)
            ]
            for lane in range(4)
        ]
        done = subject.local.together(lanes)
        kept = subject.local.call(Call("one", "messages", (), how))
        return all(item.error is None for lane in done for item in lane) and len(kept) == 80
    finally:
        subject.local.call(Call("one", "clear", (), how))
        subject.local.release("one", how)


def _whole_reads(subject: Subject) -> bool:
    lacks = {name: why for name, why in subject.backend.lacks.items() if name != "whole_reads"}
    local = Local(replace(subject.backend, lacks=lacks), subject.limit)
    try:
        local.open("probe", subject.nonce(), subject.how, None)
        local.call(Call("probe", "add_messages", (list(_MESSAGES),), subject.how))
        kept = all([_keeps(local, "probe", subject.how), _keeps(local, "probe", subject.how)])
        local.call(Call("probe", "clear", (), subject.how))
        local.release("probe", subject.how)
        return kept
    finally:
        local.stop()


_PROBES: Mapping[str, Callable[[Subject], bool]] = {
    "shared": _shared,
    "durable": _durable,
    "threads": _threads,
    "sync": _one_way("sync"),
    "async": _one_way("async"),
    "whole_reads": _whole_reads,
}
_NOT_PROBED = {"durable_clear", "fresh_reads", "immediate_reads", "ttl_per_handle"}
"""Capabilities that show only when a server is killed, cut off or busy."""

assert set(_PROBES) | _NOT_PROBED == set(assumed())
