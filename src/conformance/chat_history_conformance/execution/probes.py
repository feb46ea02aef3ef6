"""Whether a capability that was given up works after all: one short probe for each.

A probe that succeeds is no proof; the report says so and leaves the declaration to its author.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from langchain_core.messages import HumanMessage

from chat_history_conformance.declaration.capabilities import assumed
from chat_history_conformance.diagnosis.compare import Kept, compare
from chat_history_conformance.drivers.local import Call, How, Local, Peer
from chat_history_conformance.execution.subject import Rig

_MESSAGES = [HumanMessage(content=f"probe {number}") for number in range(3)]


def surprises(rig: Rig) -> list[str]:
    """A sentence for each capability that the backend gives up and that worked when probed."""
    return [
        f"gives up {name} ({reason}), yet it worked when it was probed: perhaps it can be kept"
        for name, reason in rig.backend.lacks.items()
        if name in _PROBES and _works(_PROBES[name], rig)
    ]


def _works(probe: Callable[[Rig], bool], rig: Rig) -> bool:
    try:
        return probe(rig)
    except Exception:  # whatever goes wrong, the capability is rightly given up
        return False


def _keeps(local: Local | Peer, key: str, how: How) -> bool:
    kept = [Kept(message) for message in _MESSAGES]
    return compare(kept, local.call(Call(key, "messages", (), how))) is None


def _one_way(how: How) -> Callable[[Rig], bool]:
    def probe(rig: Rig) -> bool:
        lacks = {name: why for name, why in rig.backend.lacks.items() if name != how}
        local = Local(replace(rig.backend, lacks=lacks), rig.limit)
        try:
            local.open("probe", rig.nonce(), how, None)
            local.call(Call("probe", "add_messages", (list(_MESSAGES),), how))
            kept = _keeps(local, "probe", how)
            local.call(Call("probe", "clear", (), how))
            local.release("probe", how)
            return kept
        finally:
            local.stop()

    return probe


def _shared(rig: Rig) -> bool:
    session, how = rig.nonce(), rig.how
    for key in ("one", "other"):
        rig.local.open(key, session, how, None)
    try:
        rig.local.call(Call("one", "add_messages", (list(_MESSAGES),), how))
        return _keeps(rig.local, "other", how)
    finally:
        rig.local.call(Call("one", "clear", (), how))
        for key in ("one", "other"):
            rig.local.release(key, how)


def _durable(rig: Rig) -> bool:
    session, how = rig.nonce(), rig.how
    rig.local.open("one", session, how, None)
    try:
        rig.local.call(Call("one", "add_messages", (list(_MESSAGES),), how))
        rig.peer.open("other", session, how, None)
        kept = _keeps(rig.peer, "other", how)
        rig.peer.release("other", how)
        return kept
    finally:
        rig.local.call(Call("one", "clear", (), how))
        rig.local.release("one", how)


def _threads(rig: Rig) -> bool:
    how = rig.how
    rig.local.open("one", rig.nonce(), how, None)
    try:
        lanes = [
            [
                Call("one", "add_messages", ([HumanMessage(content=f"{lane} {number}")],), "sync")
                for number in range(20)
            ]
            for lane in range(4)
        ]
        done = rig.local.together(lanes)
        kept = rig.local.call(Call("one", "messages", (), how))
        return all(item.error is None for lane in done for item in lane) and len(kept) == 80
    finally:
        rig.local.call(Call("one", "clear", (), how))
        rig.local.release("one", how)


def _whole_reads(rig: Rig) -> bool:
    lacks = {name: why for name, why in rig.backend.lacks.items() if name != "whole_reads"}
    local = Local(replace(rig.backend, lacks=lacks), rig.limit)
    try:
        local.open("probe", rig.nonce(), rig.how, None)
        local.call(Call("probe", "add_messages", (list(_MESSAGES),), rig.how))
        kept = all([_keeps(local, "probe", rig.how), _keeps(local, "probe", rig.how)])
        local.call(Call("probe", "clear", (), rig.how))
        local.release("probe", rig.how)
        return kept
    finally:
        local.stop()


_PROBES: Mapping[str, Callable[[Rig], bool]] = {
    "shared": _shared,
    "durable": _durable,
    "threads": _threads,
    "sync": _one_way("sync"),
    "async": _one_way("async"),
    "whole_reads": _whole_reads,
}
assert set(_PROBES) == set(assumed())
