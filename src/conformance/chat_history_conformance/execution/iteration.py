"""Iterations over a conversation, from which contracts take messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chat_history_conformance.declaration.capabilities import ITERATION
from chat_history_conformance.diagnosis.code import Code, Need, Ref, call, fill, lazily
from chat_history_conformance.diagnosis.compare import type_name
from chat_history_conformance.diagnosis.rendering import show
from chat_history_conformance.diagnosis.script_claims import are_messages
from chat_history_conformance.diagnosis.script_helpers import refused
from chat_history_conformance.diagnosis.script_iterating import most_alive, taken
from chat_history_conformance.diagnosis.script_loops import wait
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.drivers.calls import Call, How
from chat_history_conformance.execution.operations import Operations, shown_result
from chat_history_conformance.execution.phrase import elsewhere
from chat_history_conformance.execution.story import Story

__all__ = ["Iteration", "joined", "release_all"]

_ISLICE = Code("itertools.islice", frozenset({Need("itertools")}))
_ALL = 5_000
"""More messages than any contract stores. An iteration that never ends is left after them."""
_STEP = 100
"""Messages to take before the live ones are counted."""


def _digits(count: int | str) -> str:
    return f"{count:_}" if isinstance(count, int) else count


def joined(parts: list[Ref]) -> Ref:
    """Return the messages that several takes have returned, as one value."""
    return Ref(" + ".join(one.name for one in parts), [item for one in parts for item in one.value])


def release_all(iterations: Iterable[Iteration]) -> Exception | None:
    """Close iterations at the end of an example, and return the last exception."""
    trouble: Exception | None = None
    for iteration in iterations:
        try:
            iteration.release()
        except Exception as error:
            trouble = error
    return trouble


class Iteration:
    """One iteration over the conversation of a handle.

    Args:
        story: The record of the example.
        handle: The handle.
        arguments: The batch size, or nothing for the default of the history.

    Attributes:
        name: Its name in the steps: `it1`, `it2` and so on.
    """

    def __init__(self, story: Story, handle: Operations, arguments: tuple[Any, ...]) -> None:
        self._story = story
        self._handle = handle
        self._how: How = handle.how
        self.name = story.variable("it")
        self._key = f"{handle.key}:{self.name}"
        self._arguments = arguments
        self._phrase = handle.phrase(ITERATION, arguments, self._how)
        self._operation = self._phrase.invocation.name
        self._is_awaited = self._phrase.invocation.awaited

    def begin(self) -> None:
        """Call `iter_messages`."""
        code = fill("{} = {}", self.name, self._phrase.bare())
        self._add_step(code, code.text)
        self._story.carry_out(self._operation, self._begin, effect="none")

    def try_begin(self) -> Exception | None:
        """Call `iter_messages` and take one message, and return the exception of either."""
        story = self._story

        def begin() -> None:
            self._begin()
            self._take(1, [])

        code = self._taking(1, self._phrase.bare())
        story.settle()
        refusing = fill("error = {}", lazily(refused, self._waited(code)))
        story.steps.append(Step(self._shown(code), refusing))
        error = story.attempt(self._operation, begin, effect="none")
        story.error = Ref("error", error)
        if error is not None:
            self._show_end(error)
        return error

    def take(self, count: int = _ALL) -> Ref:
        """Take the next messages.

        Args:
            count: How many. Without it, all that are left.

        Returns:
            The messages under their name in the steps. There are fewer if no more are left.
        """
        story, variable = self._story, self._story.variable("got")
        code = self._taking(count)
        story.settle()
        self._add_step(self._waited(code), self._shown(code), variable)
        came = story.carry_out(self._operation, lambda: self._take(count, []), effect="none")
        return self._listed(variable, came)

    def try_take(self) -> tuple[Ref, Exception | None]:
        """Take all messages that are left, in this process.

        Returns:
            The messages that came, and the exception that ended the iteration, or None.
        """
        story, variable, came = self._story, self._story.variable("got"), list[Any]()
        into = fill("{}.extend({})", variable, self._sliced(_ALL))
        if self._is_awaited:
            into = call(wait, call(taken, Code(self.name), Code(_digits(_ALL)), Code(variable)))
        code = fill("{} = []\nerror = {}", variable, lazily(refused, into))
        story.settle()
        story.steps.append(Step(self._shown(self._taking(_ALL)), code, name=variable))
        error = story.attempt(self._operation, lambda: self._take(_ALL, came), effect="none")
        story.error = Ref("error", error)
        got = self._listed(variable, came)
        if error is not None:
            self._show_end(error, f"{shown_result(came, None)}, then ")
        return got, error

    def most_alive(self) -> Ref:
        """Take all messages, and return how many more than before were in memory at most."""
        take = fill("lambda count: {}", self._waited(self._taking("count")))
        code = fill("most = {}", call(most_alive, take, Code(_digits(_STEP)), Code(_digits(_ALL))))
        self._story.steps.append(Step(code.text, code))
        most = self._story.carry_out(
            self._operation,
            lambda: most_alive(lambda count: self._take(count, []), _STEP, _ALL),
            effect="none",
        )
        self._story.steps[-1] = self._story.steps[-1].with_result(str(most))
        return Ref("most", most)

    def close(self) -> None:
        """Close it with its `close` or `aclose`."""
        code = Code(f"{self.name}.{'aclose' if self._is_awaited else 'close'}()")
        self._add_step(self._waited(code), self._shown(code))
        self._end("close")

    def drop(self) -> None:
        """Drop it, as a loop does that is left with `break`."""
        code = Code(f"{self.name} = None")
        self._add_step(code, code.text)
        self._end("drop")

    def release(self) -> None:
        """Close it at the end of the example, without a step."""
        self._handle.host.release(self._key, self._how)

    def _begin(self) -> None:
        begin = Call(self._handle.key, ITERATION, self._arguments, self._how)
        self._handle.host.iterate(self._key, begin)

    def _show_end(self, error: Exception, before: str = "refused, ") -> None:
        shown = f"{before}{type_name(error)}: {show(str(error), 120)}"
        self._story.steps[-1] = self._story.steps[-1].with_result(shown)

    def _end(self, operation: str) -> None:
        ending = Call(self._key, operation, (), self._how)
        self._story.carry_out(
            self._operation, lambda: self._handle.host.call(ending), effect="none"
        )

    def _take(self, count: int, came: list[Any]) -> list[Any]:
        taking = Call(self._key, "take", (count, came), self._how)
        return self._handle.host.call(taking)  # type: ignore[no-any-return]

    def _listed(self, variable: str, came: list[Any]) -> Ref:
        self._story.steps[-1] = self._story.steps[-1].with_result(lambda: shown_result(came, None))
        got = Ref(variable, came)
        if not are_messages(came):
            self._story.odd_read = got
        return got

    def _taking(self, count: int | str, iterator: Code | None = None) -> Code:
        """Write the expression that takes messages, without `await`.

        Args:
            count: How many, or the name of a variable that has the number.
            iterator: The iterator; this iteration by default.
        """
        if self._is_awaited:
            return call(taken, iterator or Code(self.name), Code(_digits(count)))
        return fill("list({})", self._sliced(count, iterator))

    def _sliced(self, count: int | str, iterator: Code | None = None) -> Code:
        return fill("{}({}, {})", _ISLICE, iterator or Code(self.name), _digits(count))

    def _waited(self, code: Code) -> Code:
        return call(wait, code) if self._is_awaited else code

    def _shown(self, code: Code) -> str:
        return f"await {code.text}" if self._is_awaited else code.text

    def _add_step(self, code: Code, text: str, variable: str = "") -> None:
        """Add a step; its value gets a name if it has one."""
        if self._handle.in_second_process:
            text, code = f"{text}  in the second process", elsewhere(code)
        if variable:
            code = fill("{} = {}", variable, code)
        self._story.steps.append(Step(text, code, name=variable))
