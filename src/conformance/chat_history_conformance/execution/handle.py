"""Handles: the open histories that contracts use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_conformance.diagnosis.canonical import dump
from chat_history_conformance.diagnosis.code import Code, Ref, call, fill, lazily, values_of
from chat_history_conformance.diagnosis.compare import (
    Difference,
    Snapshot,
    compare,
    lines,
    returned_lines,
)
from chat_history_conformance.diagnosis.rendering import source
from chat_history_conformance.diagnosis.script_helpers import attempted, expect, read_until
from chat_history_conformance.diagnosis.steps import Step, now
from chat_history_conformance.drivers.calls import Call
from chat_history_conformance.execution.iteration import Iteration
from chat_history_conformance.execution.operations import Operations, shown_result
from chat_history_conformance.execution.phrase import closing_code
from chat_history_conformance.execution.profiles import COST_OF_A_SECOND
from chat_history_conformance.execution.story import Story
from chat_history_conformance.results.model import Kind

__all__ = ["STALE_WAIT", "Handle"]

_PAUSE = 0.02
"""Seconds between reads that are repeated."""

STALE_WAIT = 1.0
"""Seconds to wait for missing messages: those that appear are late instead of lost."""


class Handle(Operations):
    """One open history of a session; its methods are the operations that contracts use.

    Attributes:
        iterations: All iterations that were begun with it.
    """

    def __init__(self, story: Story, name: str, session: str, in_second_process: bool) -> None:
        super().__init__(story, name, session, in_second_process)
        self.iterations: list[Iteration] = []

    # -- adding ------------------------------------------------------------------------------

    def add(self, messages: Sequence[BaseMessage] | Ref) -> None:
        """Add a batch with `add_messages`."""
        value = values_of(messages)
        before = [Snapshot(message) for message in value]
        shown = messages if isinstance(messages, Ref) else _as_added(value, before)
        self._run("add_messages", (messages,), shown=(shown,))
        self.model.stored.extend(before)

    def add_one(self, message: BaseMessage | Ref) -> None:
        """Add one message with `add_message`."""
        before = Snapshot(values_of(message))
        shown = message if isinstance(message, Ref) else before.message
        self._run("add_message", (message,), shown=(shown,))
        self.model.stored.append(before)

    def add_user(self, message: str | HumanMessage) -> None:
        """Add with `add_user_message`, which exists only synchronously."""
        self._run("add_user_message", (message,), "sync")
        self.model.add([HumanMessage(message) if isinstance(message, str) else message])

    def add_ai(self, message: str | AIMessage) -> None:
        """Add with `add_ai_message`, which exists only synchronously."""
        self._run("add_ai_message", (message,), "sync")
        self.model.add([AIMessage(message) if isinstance(message, str) else message])

    def try_add(self, messages: Any, *, operation: str = "add_messages") -> Exception | None:
        """Add messages that may be refused.

        Returns:
            The exception, or None if the messages were accepted. The model then has them, if they
            are a list of messages.
        """
        value = values_of(messages)
        batch = value if isinstance(value, Sequence) else [value]
        storable = all(isinstance(item, BaseMessage) for item in batch)
        before = [Snapshot(item) for item in batch] if storable else []
        error = self._attempt(operation, (messages,))
        (self.model.stored if error is None else self.model.refused).extend(before)
        return error

    # -- reading -----------------------------------------------------------------------------

    def read(self) -> list[BaseMessage]:
        """Read the whole conversation."""
        return self._read("messages", ())

    def reads_back(self) -> list[BaseMessage]:
        """Read, and fail unless exactly the model's messages come back."""
        returned = self.read()
        self.expect(returned)
        return returned

    def last(self, count: int) -> list[BaseMessage]:
        """Read the last `count` messages."""
        return self._read("last_messages", (count,))

    def bounded(self, operation: str, *bounds: Any) -> list[BaseMessage]:
        """Make a bounded read and measure its time."""
        return self._read(operation, bounds, with_time=True)

    def iterate(self, *batch_size: Any) -> Iteration:
        """Begin an iteration, with a batch size or with the default of the history."""
        iteration = self._iteration(batch_size)
        iteration.begin()
        return iteration

    def try_iterate(self, batch_size: Any) -> Exception | None:
        """Begin an iteration that may be refused, take one message, and return the exception."""
        return self._iteration((batch_size,)).try_begin()

    def _iteration(self, arguments: tuple[Any, ...]) -> Iteration:
        self.iterations.append(Iteration(self._story, self, arguments))
        return self.iterations[-1]

    def try_bounded(self, operation: str, *bounds: Any) -> Exception | None:
        """Make a bounded read that may be refused, and return the exception."""
        return self._attempt(operation, bounds)

    def bounded_unless_refused(self, operation: str, *bounds: Any) -> list[BaseMessage] | None:
        """Make a bounded read, and return None if it is refused."""
        story, how = self._story, self.how
        story.steps += story.settling.steps()
        phrase = self.phrase(operation, bounds, how)
        variable = story.variable("got")
        self.result = Ref(variable, [])

        def code() -> Code:
            return fill("{}, error, took = {}", variable, lazily(attempted, phrase.code()))

        story.steps.append(Step(phrase.text, code, name=variable))
        story.settling.wait()
        came: list[Any] = []
        error = self._try(phrase, operation, bounds, how, came.append)
        if error is not None:
            self._record_refusal(error)
            return None
        story.error = Ref("error", None)
        got, took = self._listed(phrase, variable, came[0]), self.took
        story.steps[-1] = story.steps[-1].with_result(lambda: shown_result(got, took))
        return got

    def read_until(
        self, seconds: float, enough: Callable[..., bool], *arguments: Any
    ) -> list[BaseMessage]:
        """Read the whole conversation again and again.

        Args:
            seconds: The last read begins no earlier than this many seconds from now.
            enough: A claim about the messages: reading ends when it holds.
            arguments: Further arguments of the claim.

        Returns:
            The messages of the last read.
        """
        story = self._story
        deadline, number = time.monotonic() + seconds, len(story.steps)
        cost = story.cost + seconds * COST_OF_A_SECOND  # however many reads this takes
        self.read_moments = []
        while True:
            started = time.monotonic()
            phrase = self.phrase("messages", (), self.how)
            got = self.read()
            self.read_moments.append(time.monotonic())
            step = story.steps[number]
            del story.steps[number:]
            if enough(list(got), *arguments) or started >= deadline:
                break
            time.sleep(_PAUSE)
        story.cost = cost
        variable = self.result.name

        def code() -> Code:
            read = fill("lambda: {}", phrase.code())
            further = [source(round(seconds, 2)), source(enough), *map(source, arguments)]
            return fill("{} = {}", variable, call(read_until, read, *further))

        condition = call(enough, source(self.result), *map(source, arguments)).text
        text = f"{now(step.text)}, again and again until {condition}, at most {seconds:.2f} s"
        story.steps.append(Step(text, code, step.result, variable))
        return got

    def text(self, function: str = "str") -> str:
        """Return `str` or `repr` of the history."""
        self._story.settle()
        result: str = self._run(function, (), "sync")
        return result

    # -- comparing ---------------------------------------------------------------------------

    def expect(
        self,
        returned: Ref | Sequence[Any],
        expected: Sequence[Snapshot] | None = None,
        *,
        late: bool = True,
        called: tuple[Kind, str] | None = None,
    ) -> None:
        """Fail unless a read returned the model's messages, or `expected`.

        Args:
            returned: The result of a read; a `Ref` if it is not the last read of this handle.
            expected: The expected messages, if they are not the whole conversation.
            late: Whether to wait for missing messages: if they come, the read was stale.
            called: The kind of any difference, and words to append to the summary, if the
                contract knows the cause.
        """
        read = self._named(returned)
        model = self.model
        wanted = model.stored if expected is None else list(expected)
        foreign = [
            kept
            for name, other in self._story.models.items()
            if name != self.session
            for kept in (*other.stored, *other.cleared)
        ]
        difference = compare(
            wanted, read.value, foreign=foreign, cleared=model.cleared, refused=model.refused
        )
        if difference is None:
            return
        kind, summary = difference.kind, difference.summary
        if called is not None:
            kind, summary = called[0], f"{summary} {called[1]}"
        if kind in ("lost", "resurrected") and late and expected is None and self._is_stale():
            detail = f", without {summary[5:]}" if kind == "lost" else f": {summary}"
            kind, summary = "stale", f"{self.name} returned an earlier state{detail}"
        self._fail_read(read, wanted, Difference(kind, summary))

    def expect_part(
        self,
        returned: Ref | Sequence[Any],
        expected: Sequence[Snapshot],
        what: str,
        *,
        delivered: Sequence[Snapshot] = (),
        otherwise: Kind = "wrong_bound",
    ) -> None:
        """Fail unless a read returned `expected`, which is a part of the conversation.

        Args:
            returned: The result of a read; a `Ref` if it is not the last read of this handle.
            expected: The expected messages.
            what: `expected` in words, after "instead of": `the oldest 2 of 5 messages`.
            delivered: Messages that must not come again.
            otherwise: The kind if other messages of the conversation come, or fewer.
        """
        read = self._named(returned)
        difference = compare(expected, read.value)
        if difference is None:
            return
        keys = [dump(item) for item in read.value if isinstance(item, BaseMessage)]
        again = [key for key in keys if _is_among(key, delivered)]
        own = all(_is_among(key, self.model.stored) for key in keys)
        kind, summary = difference.kind, ""
        if again:
            kind = "duplicated"
            summary = f"delivered {len(again)} message{'s'[: len(again) != 1]} again"
        elif own and kind in ("lost", "foreign", "altered"):
            kind = otherwise
            number = f"{len(keys) or 'no'} message{'s'[: len(keys) > 1]}"
            summary = f"returned {'other messages' if len(keys) == len(expected) else number}"
        if not summary or len(keys) < len(read.value):
            self.expect(read, expected)
        self._fail_read(read, expected, Difference(kind, f"{summary} instead of {what}"))

    def _named(self, returned: Ref | Sequence[Any]) -> Ref:
        return returned if isinstance(returned, Ref) else Ref(self.result.name, returned)

    def _fail_read(self, read: Ref, wanted: Sequence[Snapshot], difference: Difference) -> None:
        messages = source([kept.message for kept in wanted])
        code = call(expect, source(read), messages, source(difference.summary))
        self._story.steps.append(Step("", code))
        self._story.fail(
            difference.kind,
            difference.summary,
            expected=lines(wanted),
            returned=returned_lines(list(read.value)),
        )

    def _is_stale(self) -> bool:
        """Return whether the model's messages can be read later, or through a new handle."""
        pinned = self._story.pinned
        if pinned is not None:
            return pinned == "stale"  # the search for a shorter example need not wait again
        deadline = time.monotonic() + STALE_WAIT
        fresh = f"{self.key}:fresh"
        shared = "shared" not in self._story.subject.backend.lacks
        while True:
            for key in (self.key, fresh) if shared else (self.key,):
                with contextlib.suppress(Exception):  # a read that raises did not succeed late
                    if compare(self.model.stored, self._read_again(key)) is None:
                        return True
            if time.monotonic() > deadline:
                return False
            time.sleep(STALE_WAIT / 4)

    def _read_again(self, key: str) -> Any:
        """Read through this handle, or through a new one if the key is another."""
        with self._story.subject.quiet.call(self._story):
            if key != self.key:
                self.host.open(key, self.id, self.how, None)
            try:
                return self.host.call(Call(key, "messages", (), self.how))
            finally:
                if key != self.key:
                    self.host.release(key, self.how)

    # -- clearing and closing ----------------------------------------------------------------

    def clear(self) -> None:
        """Clear the session."""
        self._run("clear", ())
        self.model.clear()

    def try_clear(self) -> Exception | None:
        """Clear the session, and return the exception if that raises.

        The session may then be cleared or not.
        """
        return self._attempt("clear", ())

    def close(self) -> None:
        """Close the handle with its own `close` or `aclose`."""
        self.is_closed = True
        self._run("close", (), self.opened_how)

    def try_close(self) -> Exception | None:
        """Close the handle as `close` does, and return the exception if that raises."""
        self.is_closed = True
        return self._attempt("close", ())

    def closing_code(self) -> Code:
        """Return the line of a script that closes this handle."""
        local, apart = self._story.subject.local, self.in_second_process
        history = None if apart else local.history(self.key)
        how = self.opened_how
        return closing_code(self.name, history, local.factory, how, in_second_process=apart)

    def release(self) -> None:
        """Close or drop the handle as the shape of its factory demands; it ends with that."""
        self._story.steps.append(Step(f"{self.name} is closed", self.closing_code()))
        host = self.host
        self.was_dropped()
        self._story.carry_out("close", lambda: host.release(self.key, self.opened_how))


def _is_among(key: tuple[Any, ...], messages: Sequence[Snapshot]) -> bool:
    return any(key in kept.keys for kept in messages)


def _as_added(value: Sequence[BaseMessage], before: Sequence[Snapshot]) -> Sequence[BaseMessage]:
    """Return the batch as it was when it was added, in a sequence of the same kind."""
    messages = [kept.message for kept in before]
    return tuple(messages) if isinstance(value, tuple) else messages
