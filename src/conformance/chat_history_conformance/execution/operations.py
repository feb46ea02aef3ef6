"""The calls of a handle, as steps of the record and as calls of the driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_conformance.diagnosis.code import Code, Ref, fill, lazily, values_of
from chat_history_conformance.diagnosis.compare import Snapshot, compare, type_name
from chat_history_conformance.diagnosis.rendering import show, show_odd
from chat_history_conformance.diagnosis.script_claims import are_messages, is_sized
from chat_history_conformance.diagnosis.script_helpers import refused, timed
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.drivers.calls import Call, How, invocation
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.drivers.second_process import SecondProcess
from chat_history_conformance.execution.model import Model
from chat_history_conformance.execution.phrase import Phrase
from chat_history_conformance.execution.settling import Effect
from chat_history_conformance.execution.story import Story

__all__ = ["Operations", "shown_result"]

_EFFECTS: Mapping[str, Effect] = {
    **dict.fromkeys(("messages", "last_messages", "messages_from_beginning"), "none"),
    "messages_from_latest": "none",
    **dict.fromkeys(("add_messages", "add_message", "clear"), "modelled"),
}
"""The effects of operations; others may write something that the model does not have."""

_PAUSE_SECONDS = 0.05
"""Seconds between reads that are repeated until they have settled."""


class Operations:
    """One open history of a session, and the calls on it.

    Attributes:
        name: Its name in the steps: `a`, `b` and so on.
        session: The template of its session id.
        in_second_process: Whether it is open in the second process.
        id: Its session id.
        key: The key under which drivers know it.
        opened_how: How it was opened.
        is_open: Whether it can be used.
        is_closed: Whether a contract has called its `close`.
        unreachable: Whether it was opened while nothing listened at the server's address.
        took: Seconds that the last operation took.
        result: The result of the last read, under its name in the steps.
        read_moments: The end of each read of the last `read_until`, on the monotonic clock.
    """

    def __init__(self, story: Story, name: str, session: str, in_second_process: bool) -> None:
        self._story = story
        self.name = name
        self.session = session
        self.in_second_process = in_second_process
        self.id = story.id_of(session)
        self.key = f"{story.nonce}:{name}"
        self.opened_how: How = self.how
        self.is_open = False
        self.is_closed = False
        self.unreachable = False
        self.took = 0.0
        self.result = Ref("got", [])
        self.read_moments: list[float] = []

    @property
    def how(self) -> How:
        """The way in which the next operation is called."""
        return self._story.how(in_second_process=self.in_second_process)

    @property
    def host(self) -> Local | SecondProcess:
        """The driver that holds the history."""
        subject = self._story.subject
        return subject.second_process if self.in_second_process else subject.local

    @property
    def model(self) -> Model:
        """The plain list of this handle's session."""
        return self._story.model(self.session)

    @property
    def took_ref(self) -> Ref:
        """Seconds that the last bounded read took, under their name in the steps."""
        return Ref("took", self.took)

    def was_opened(self) -> None:
        """Record that the history is open."""
        self.is_open = True
        if not self.in_second_process:
            self._story.local_keys.append(self.key)

    def was_dropped(self) -> None:
        """Record that the history is gone; its session may still hold messages."""
        self.is_open = False
        self._story.abandoned.append(self.session)
        if self.key in self._story.local_keys:
            self._story.local_keys.remove(self.key)

    # -- calls -------------------------------------------------------------------------------

    def phrase(self, operation: str, args: tuple[Any, ...], how: How) -> Phrase:
        """Return an operation on this handle as text and source."""
        story = self._story
        known = self.is_open and not self.in_second_process
        key = self.key if known else next(iter(story.local_keys), None)
        history = None if key is None else story.subject.local.history(key)
        values = tuple(values_of(item) for item in args)
        method = invocation(story.subject.backend, history, Call(self.key, operation, values, how))
        if how == "async" and operation == "add_message":
            args = ([args[0]],)
        return Phrase(self.name, self.in_second_process, method, args)

    def _run(
        self,
        operation: str,
        args: tuple[Any, ...],
        how: How | None = None,
        shown: tuple[Any, ...] | None = None,
    ) -> Any:
        how = how or self.how
        phrase = self.phrase(operation, args if shown is None else shown, how)
        self._story.steps.append(Step(phrase.text, phrase.code))
        return self._carry_out(phrase, operation, args, how)

    def _read(
        self, operation: str, args: tuple[Any, ...], *, with_time: bool = False
    ) -> list[BaseMessage]:
        story, how = self._story, self.how
        story.steps += story.settling.steps()
        phrase = self.phrase(operation, args, how)
        variable = story.variable("got")

        def code() -> Code:
            if not with_time:
                return fill("{} = {}", variable, phrase.code())
            return fill("{}, took = {}", variable, lazily(timed, phrase.code()))

        story.steps.append(Step(phrase.text, code, name=variable))
        value = self._carry_out_settled(phrase, operation, args, how)
        came, took = self._listed(phrase, variable, value), self.took if with_time else None
        story.steps[-1] = story.steps[-1].with_result(lambda: shown_result(came, took))
        return value  # type: ignore[no-any-return]

    def _listed(self, phrase: Phrase, variable: str, value: Any) -> list[BaseMessage]:
        """Return a copy of what a read returned, and fail if that is not a list.

        The caller of the read owns the list and may change it before the steps are shown.
        """
        story = self._story
        self.result = Ref(variable, value)
        story.check(
            is_sized,
            self.result,
            kind="other",
            summary=f"`{phrase.invocation.name}` returned {show_odd(value)} instead of a list of "
            "messages",
        )
        came = list(value)
        if not are_messages(came):
            story.odd_read = Ref(variable, came)
        return came

    def _attempt(self, operation: str, args: tuple[Any, ...]) -> Exception | None:
        story, how = self._story, self.how
        if _EFFECTS.get(operation) == "none":
            story.settle()
        phrase = self.phrase(operation, args, how)
        story.steps.append(
            Step(phrase.text, lambda: fill("error = {}", lazily(refused, phrase.code())))
        )
        story.error = Ref("error", None)
        error = self._try(phrase, operation, args, how, lambda _: None)
        if error is not None:
            self._record_refusal(error)
        return error

    def _record_refusal(self, error: Exception) -> None:
        story = self._story
        result = f"refused, {type_name(error)}: {show(str(error), 120)}"
        story.steps[-1] = story.steps[-1].with_result(result)
        story.error = Ref("error", error)

    def _try(
        self,
        phrase: Phrase,
        operation: str,
        args: tuple[Any, ...],
        how: How,
        take: Callable[[Any], None],
    ) -> Exception | None:
        """Pass the result of a call to `take`, or return the exception of the history."""
        return self._story.attempt(
            phrase.invocation.name,
            lambda: take(self._timed(operation, args, how)),
            effect=_EFFECTS.get(operation, "unknown"),
            on_closed=self.is_closed,
        )

    def _carry_out_settled(
        self, phrase: Phrase, operation: str, args: tuple[Any, ...], how: How
    ) -> Any:
        """Read; if the reads of the history settle later, read until then or until all is there."""
        story = self._story
        wanted = None
        if story.settling.knows_the_model:
            wanted = self._whole(operation, tuple(values_of(item) for item in args))
        if wanted is None:
            story.settling.wait()
            return self._carry_out(phrase, operation, args, how)
        while True:
            began = time.monotonic()
            value = self._carry_out(phrase, operation, args, how)
            left = story.settling.seconds_left(began)
            if left <= 0 or not isinstance(value, list) or compare(wanted, value) is None:
                return value
            time.sleep(min(left, _PAUSE_SECONDS))

    def _whole(self, operation: str, args: tuple[Any, ...]) -> Sequence[Snapshot] | None:
        """Return what a read that consumes nothing should return, None if that is not known."""
        stored = self.model.stored
        if operation == "messages":
            return stored
        count = args[0] if operation in ("last_messages", "messages_from_beginning") else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 1 or any(args[1:]):
            return None
        return stored[-count:] if operation == "last_messages" else stored[:count]

    def _carry_out(self, phrase: Phrase, operation: str, args: tuple[Any, ...], how: How) -> Any:
        return self._story.carry_out(
            phrase.invocation.name,
            lambda: self._timed(operation, args, how),
            effect=_EFFECTS.get(operation, "unknown"),
        )

    def _timed(self, operation: str, args: tuple[Any, ...], how: How) -> Any:
        call = self._call(operation, args, how)
        started = time.monotonic()
        try:
            return self.host.call(call)
        finally:
            self.took = time.monotonic() - started

    def _call(self, operation: str, args: tuple[Any, ...], how: How) -> Call:
        return Call(self.key, operation, tuple(values_of(item) for item in args), how)


def shown_result(items: list[Any], took: float | None) -> str:
    """Return the result of a read for a report, with its seconds if they were measured."""
    shown = show(items) if len(items) <= 6 else f"{len(items)} messages"
    return shown if took is None else f"{shown} after {took:.2f} s"
