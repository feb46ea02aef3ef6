"""Adding during a fault, and checking the claims of the errors of the adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance.diagnosis.canonical import dump
from chat_history_conformance.diagnosis.code import Need, Ref, call, fill
from chat_history_conformance.diagnosis.compare import Snapshot, lines, returned_lines
from chat_history_conformance.diagnosis.rendering import source
from chat_history_conformance.diagnosis.script_claims import contents
from chat_history_conformance.diagnosis.script_outcomes import (
    consumed_by,
    delivered,
    expect_not_stored,
    forget_added,
    outcome_of,
    repeat_nothing,
    skip_nothing,
    sort_out,
)
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.fault_steps import expect_acknowledged
from chat_history_conformance.execution.handle import Handle
from chat_history_conformance.execution.story import Story

__all__ = ["Adds", "Consumption"]

DELIVERED = Ref("delivered", delivered, frozenset({Need(consumed_by.__module__, "delivered")}))

_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)
"""Pauses between adds that are repeated until one of them returns."""


class Adds:
    """The adds of one session, sorted by their known outcome.

    The model has the messages that were acknowledged, and those that may be stored.

    Args:
        s: The record of the example.

    Attributes:
        during: Words in front of each summary, such as `during 'an open transaction', `.
        denied: The messages of which the error of the add says that they are not stored.
    """

    def __init__(self, s: Story) -> None:
        self._s = s
        self.during = ""
        self.denied: list[Snapshot] = []
        s.steps.append(Step("", call(forget_added)))

    def add(self, a: Handle, *contents: str) -> None:
        """Add a batch while nothing is wrong; an error is a finding."""
        a.add([HumanMessage(content) for content in contents])
        self._s.steps.append(Step("", call(sort_out, source(None), source(list(contents)))))

    def attempt(self, a: Handle, *contents: str) -> Exception | None:
        """Add a batch that may fail, and return the exception or None."""
        batch: list[BaseMessage] = [HumanMessage(content) for content in contents]
        error = a.try_add(batch)
        if error is not None:
            lists = {"stored": a.model.stored, "unknown": a.model.refused}
            tried = a.model.refused[-len(batch) :]
            del a.model.refused[-len(batch) :]
            for position, message in enumerate(tried):
                lists.get(outcome_of(error, position), self.denied).append(message)
        code = call(sort_out, source(self._s.error), source(list(contents)))
        self._s.steps.append(Step("", code))
        return error

    def add_when_back(self, a: Handle, stem: str) -> None:
        """Add after a fault, and again while that raises, until the limit of one operation.

        If all adds raise, the last error is the finding.
        """
        left = self._s.subject.limit
        for number, pause in enumerate(_PAUSES_SECONDS):
            error = self.attempt(a, f"{stem}.{number}")
            left -= a.took + pause
            if error is None or left <= 0:
                break
            self._s.sleep(pause)
        if error is not None:
            self._s.steps.pop()
            del self._s.steps[-1:]
            self.add(a, f"{stem}.last")

    def check(self, a: Handle, returned: Sequence[Any]) -> None:
        """Fail unless a read shows all acknowledged messages, and none that an error denies."""
        came = [dump(item) for item in returned if isinstance(item, BaseMessage)]
        wrong = [kept for kept in self.denied if any(key in kept.keys for key in came)]
        if wrong:
            number = f"{len(wrong)} message{'s'[: len(wrong) != 1]}"
            summary = f"{self.during}{number} came back although the error of the add says: not "
            summary += "stored"
            code = call(expect_not_stored, source(a.result), source(summary))
            self._s.steps.append(Step("", code))
            self._s.fail(
                "wrong_error",
                summary,
                expected=["none of these:", *lines(self.denied)],
                returned=returned_lines(list(returned)),
            )
        expect_acknowledged(self._s, a, returned, during=self.during)


class Consumption:
    """The consuming reads of one session, and the check of what they deliver.

    Args:
        s: The record of the example.
        operation: The name of the consuming read.

    Attributes:
        during: Words in front of each summary.
        reads: The contents of each read, and whether an error carried them.
    """

    def __init__(self, s: Story, operation: str) -> None:
        self._s = s
        self._operation = operation
        self.during = ""
        self.reads: list[tuple[list[str], bool]] = []

    def read(self, a: Handle, *bounds: Any) -> list[BaseMessage] | None:
        """Read on, and return None if the read raises."""
        got = a.bounded_unless_refused(self._operation, *bounds)
        error = self._s.error
        self.reads.append(consumed_by(got or (), error.value))
        taken = call(consumed_by, source(a.result), source(error))
        code = fill("{}.append({})", source(DELIVERED), taken)
        self._s.steps.append(Step("", code))
        return got

    def read_to_the_end(self, a: Handle) -> None:
        """Read on after a fault until nothing is left, and again while that raises.

        If the reads raise for longer than the limit of one operation, the last error is the
        finding.
        """
        left = self._s.subject.limit
        for pause in _PAUSES_SECONDS * 3:
            got = self.read(a, None, None)
            left -= a.took + pause
            if got is not None and not got:
                return
            if got is None and left <= 0:
                a.bounded(self._operation, None, None)
                return
            if got is None:
                self._s.sleep(pause)

    def check(self, a: Handle, conversation: Sequence[Any]) -> None:
        """Fail unless the reads delivered the conversation in order, without gap or repetition.

        Args:
            a: The handle that read the conversation.
            conversation: The conversation, as a read that consumes nothing returned it.
        """
        whole = [item.content for item in conversation]
        reads = Ref(DELIVERED.name, self.reads, DELIVERED.needs)
        shown = [_shown(*read) for read in self.reads if read[0]]
        delivered_texts = {text for texts, _ in self.reads for text in texts}
        skipped = [text for text in whole if text not in delivered_texts]
        self._s.check(
            skip_nothing,
            reads,
            Ref(f"{contents.__name__}({a.result.name})", whole, source(contents).needs),
            kind="lost" if skipped else "reordered",
            summary=self.during
            + (
                f"consuming reads delivered {len(whole) - len(skipped)} of {len(whole)} messages"
                if skipped
                else "consuming reads did not go on where the ones before them ended"
            ),
            expected=whole,
            returned=shown,
        )
        self._s.check(
            repeat_nothing,
            reads,
            kind="duplicated",
            summary=f"{self.during}consuming reads delivered messages again that a read had "
            "returned",
            expected=whole,
            returned=shown,
        )


def _shown(texts: Sequence[str], raised: bool) -> str:
    listed = ", ".join(texts) if len(texts) <= 6 else f"{texts[0]} to {texts[-1]}"
    return f"carried by an error: {listed}" if raised else listed
