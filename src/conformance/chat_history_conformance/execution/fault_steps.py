"""Adding and reading while a server fails, and the check of what survives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance.diagnosis.canonical import dump
from chat_history_conformance.diagnosis.code import Code, Need, Ref, call, fill
from chat_history_conformance.diagnosis.compare import Snapshot, compare, lines, returned_lines
from chat_history_conformance.diagnosis.rendering import source
from chat_history_conformance.diagnosis.script_helpers import (
    Adding,
    expect_kept,
    read_while_refused,
)
from chat_history_conformance.diagnosis.steps import Step, now
from chat_history_conformance.drivers.calls import Call
from chat_history_conformance.drivers.errors import Hung
from chat_history_conformance.execution.handle import Handle
from chat_history_conformance.execution.story import Story

__all__ = ["add_kept", "adds_during", "attempt_add", "expect_acknowledged", "read_when_back"]

_PAUSE = 0.02
"""Seconds between looks at the thread that adds."""
_READ_PAUSE = 0.2
"""Seconds between reads that are repeated while they raise."""
_ADDS_AFTERWARDS = 3
"""Adds that have to succeed after the fault before the adding ends."""

KEPT = Code("kept", frozenset({Need(Adding.__module__, "kept")}))
UNSURE = Code("unsure", frozenset({Need(Adding.__module__, "unsure")}))


def add_kept(s: Story, a: Handle, *contents: str) -> None:
    """Add messages while the server runs; an error is a finding."""
    a.add([HumanMessage(content) for content in contents])
    s.steps.append(Step("", fill("{}.extend({})", KEPT, source(list(contents)))))


def attempt_add(s: Story, a: Handle, content: str) -> Exception | None:
    """Add one message during a fault.

    Returns:
        The exception, or None. A message whose add raised may be stored or not.
    """
    error = a.try_add([HumanMessage(content)])
    code = fill("({} if error else {}).append({})", UNSURE, KEPT, source(content))
    s.steps.append(Step("", code))
    return error


def adds_during(s: Story, a: Handle, stem: str, fault: Callable[[], None]) -> None:
    """Add numbered messages one by one, in a thread, while `fault` runs.

    The adding ends when some adds have returned after the fault, or when the time limit of an
    operation has passed. The model then has the messages whose add returned. The messages whose
    add raised may be stored or not.
    """
    how, number = a.how, len(s.steps)
    returned: list[str] = []
    raised: list[str] = []
    batch: list[BaseMessage] = [HumanMessage(f"{stem}0")]
    one = a.phrase("add_messages", (batch,), how)
    each = fill("lambda batch: {}", a.phrase("add_messages", (Ref("batch", batch),), how).code())
    s.steps.append(
        Step(
            f"{one.text()}, then {stem}1, {stem}2, … one by one, and meanwhile:",
            fill("adding = {}", call(Adding, source(stem), each, KEPT, UNSURE)),
        )
    )
    adding = Adding(
        stem,
        lambda batch: a.host.call(Call(a.key, "add_messages", (batch,), how)),
        returned,
        raised,
    )
    limit = s.subject.limit
    try:
        s.sleep(0.2)
        fault()
        enough, deadline = len(returned) + _ADDS_AFTERWARDS, time.monotonic() + limit
        while len(returned) < enough and time.monotonic() < deadline:
            time.sleep(_PAUSE)
    finally:
        adding.end(2 * limit)
    result = f"{len(returned)} returned, {len(raised)} raised"
    result += f", {type(adding.errors[0]).__name__} first" if adding.errors else ""
    s.steps[number] = s.steps[number].with_result(result)
    ending = Code(f"time.sleep(1)\nadding.end({2 * limit:g})", frozenset({Need("time")}))
    s.steps.append(Step("the adding ends", ending))
    a.model.add([HumanMessage(text) for text in returned])
    a.model.refused.extend(Snapshot(HumanMessage(text)) for text in raised)
    for error in adding.errors:
        if isinstance(error, Hung):
            s.explain(one.invocation.name, error)


def read_when_back(s: Story, a: Handle) -> list[BaseMessage]:
    """Read the whole conversation after a fault, and repeat the read while it raises.

    If the reads raise until the time limit of an operation has passed, the last error is the
    finding.
    """
    deadline, number = time.monotonic() + s.subject.limit, len(s.steps)
    phrase = a.phrase("messages", (), a.how)
    while (got := a.bounded_unless_refused("messages")) is None:
        del s.steps[number:]
        if time.monotonic() > deadline:
            return a.read()
        time.sleep(_READ_PAUSE)
    step, variable, limit = s.steps[number], a.result.name, s.subject.limit

    def code() -> Code:
        read = fill("lambda: {}", phrase.code())
        return fill("{} = {}", variable, call(read_while_refused, read, source(limit)))

    text = f"{now(step.text)}, again while it raises, for {limit:g} s at most"
    s.steps[number] = Step(text, code, step.result)
    return got


def expect_acknowledged(s: Story, a: Handle, returned: Sequence[Any], *, during: str = "") -> None:
    """Fail unless a read returned each acknowledged message once and in order.

    A message whose add raised may come at most once.

    Args:
        s: The record of the example.
        a: The handle that was read.
        returned: The result of the read.
        during: Words in front of the summary.
    """
    waiting, unsure = list(a.model.stored), list(a.model.refused)
    expected: list[Snapshot] = []
    for item in returned:
        key = dump(item) if isinstance(item, BaseMessage) else ()
        if waiting and key in waiting[0].keys:
            expected.append(waiting.pop(0))
        else:
            found = [kept for kept in unsure if key in kept.keys][:1]
            expected += found
            unsure = [kept for kept in unsure if kept not in found]
    expected += waiting
    difference = compare(expected, returned)
    if difference is not None:
        summary = f"{during}{difference.summary}"
        code = call(expect_kept, source(a.result), source(summary))
        s.steps.append(Step("", code))
        s.fail(
            difference.kind,
            summary,
            expected=lines(expected),
            returned=returned_lines(list(returned)),
        )
