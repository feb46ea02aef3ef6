"""Calls of several handles that are repeated while a contract disturbs the server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from chat_history_conformance.diagnosis.code import Code, Ref, call, fill, join, values_of
from chat_history_conformance.diagnosis.compare import type_name
from chat_history_conformance.diagnosis.rendering import show_odd, source
from chat_history_conformance.diagnosis.script_claims import is_sized
from chat_history_conformance.diagnosis.script_helpers import (
    add_at_last,
    claim,
    read_while_refused,
    rest_of,
)
from chat_history_conformance.diagnosis.script_loops import event_loop, wait
from chat_history_conformance.diagnosis.script_traffic import Problem, no_problem, too_long
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.drivers import repeating
from chat_history_conformance.drivers.calls import Call, Repeated
from chat_history_conformance.drivers.repeating import Seen
from chat_history_conformance.execution.handle import Handle
from chat_history_conformance.execution.phrase import Phrase, elsewhere
from chat_history_conformance.execution.session import Session
from chat_history_conformance.results.model import Kind

__all__ = [
    "TAKEOVER",
    "Stream",
    "Traffic",
    "add_again",
    "adds",
    "claim_none",
    "reads",
    "rest",
    "settled",
    "traffic",
]

TAKEOVER = 3.0
"""The multiple of the time limit of a call after which calls have to work again after a fault."""

_WAIT = 2.0
"""The multiple of the time limit of a call that a script waits for the last calls."""


@dataclass(frozen=True)
class Stream:
    """One call of one handle that is repeated.

    Attributes:
        handle: The handle.
        operation: The name of the operation.
        args: Its arguments, except for adds.
        stem: The start of the contents that an add makes.
        size: The number of messages of each batch.
        pause: Seconds between two calls.
    """

    handle: Handle
    operation: str
    args: tuple[Any, ...] = ()
    stem: str = ""
    size: int = 1
    pause: float = 0.02

    @cached_property
    def phrase(self) -> Phrase:
        """The call as text and source; the batch of an add is called `batch`.

        It is made once, while the history is open.
        """
        args = (Ref("batch", []),) if self.operation == "add_messages" else self.args
        return self.handle.phrase(self.operation, args, self.handle.how)

    def repeated(self) -> Repeated:
        """Return the call for the driver."""
        made = ([],) if self.operation == "add_messages" else self.args
        call = Call(self.handle.key, self.operation, made, self.handle.how)
        return Repeated(call, self.stem, self.size, self.pause)

    def text(self) -> str:
        """Return the line of a report."""
        text = self.phrase.text()
        if self.operation == "add_messages":
            text += f", each with {self.size} new message{'s'[: self.size != 1]} {self.stem}…"
        return text

    def code(self) -> Code:
        """Return the lane of a script."""
        bare = self.phrase.bare()
        if self.operation == "add_messages":
            add = fill("lambda batch: {}", bare)
            parts = (source(self.stem), source(self.size), source(self.pause), add)
            return call(repeating.adds, *parts)
        return call(repeating.calls, source(self.pause), fill("lambda: {}", bare))


def adds(handle: Handle, stem: str, *, size: int = 1, pause: float = 0.03) -> Stream:
    """Return a stream that adds numbered messages."""
    return Stream(handle, "add_messages", stem=stem, size=size, pause=pause)


def reads(handle: Handle, operation: str = "messages", *args: Any, pause: float = 0.02) -> Stream:
    """Return a stream that reads."""
    return Stream(handle, operation, args, pause=pause)


class Traffic:
    """The streams of a `traffic` context. After it, `seen` has their calls.

    Args:
        s: The session of the contract.
        streams: The streams, all of them in one process.
    """

    def __init__(self, s: Session, streams: Sequence[Stream]) -> None:
        self.s = s
        self.in_second_process = streams[0].handle.in_second_process
        awaited = [stream for stream in streams if stream.phrase.invocation.awaited]
        self.streams = [*(one for one in streams if one not in awaited), *awaited]
        self._awaited = len(awaited)
        self.seen: dict[Stream, Ref] = {}

    def begin(self) -> None:
        """Start the streams."""
        self.s.settle()
        lines = "".join(f"\n      lane {n}: {one.text()}" for n, one in enumerate(self.streams, 1))
        self.s.steps.append(Step(f"again and again, at the same time:{lines}", self._code))
        lanes = [one.repeated() for one in self.streams]
        first = self.streams[0].handle
        self.s.carry_out("repeated calls", lambda: first.host.begin_repeating(lanes))

    def end(self) -> None:
        """End the streams, and fail on a call that did not end within the limit."""
        limit = self.s.subject.limit
        code = Code(f"repeated.end({_WAIT * limit:g})")
        step = Step("the repeated calls end", self._placed(code))
        self.s.steps.append(step)
        first = self.streams[0].handle
        seen: list[list[Seen]] = self.s.carry_out(
            "repeated calls", lambda: first.host.end_repeating(limit)
        )
        for number, (stream, lane) in enumerate(zip(self.streams, seen, strict=True)):
            self.seen[stream] = Ref(f"repeated.seen[{number}]", lane)
        self.s.steps[-1] = step.with_result(_counted(seen))
        for stream in self.streams:
            name = stream.phrase.invocation.name
            self.claim_none(too_long, name, float(limit), self.seen[stream])

    def lanes(self, *operations: str, session: str | None = None) -> list[Ref]:
        """Return the results of some operations, of all sessions or of one."""
        return [
            seen
            for stream, seen in self.seen.items()
            if stream.operation in operations and session in (None, stream.handle.session)
        ]

    def claim_none(self, problem: Callable[..., Problem], *arguments: Any) -> None:
        """Fail if a claim about the calls names a problem; scripts make the same claim."""
        claim_none(self.s, problem, *arguments, in_second_process=self.in_second_process)

    def _code(self) -> Code:
        plain = self.streams[: len(self.streams) - self._awaited]
        parts = [fill("[{}]", join(", ", [one.code() for one in plain]))]
        if self._awaited:
            tasks = [one.code() for one in self.streams[len(plain) :]]
            parts += [fill("[{}]", join(", ", tasks)), call(event_loop)]
        return self._placed(fill("repeated = {}", call(repeating.Repeating, *parts)))

    def _placed(self, code: Code) -> Code:
        return elsewhere(code) if self.in_second_process else code


@contextlib.contextmanager
def traffic(s: Session, streams: Sequence[Stream]) -> Iterator[Traffic]:
    """Repeat calls while the context is open; after it, the calls are known."""
    running = Traffic(s, streams)
    running.begin()
    try:
        s.sleep(0.7)
        yield running
    except BaseException:
        with contextlib.suppress(Exception):  # the first exception is the finding
            streams[0].handle.host.end_repeating(s.subject.limit)
        raise
    running.end()


def claim_none(
    s: Session,
    problem: Callable[..., Problem],
    *arguments: Any,
    in_second_process: bool = False,
) -> None:
    """Fail if a function of `diagnosis.script_traffic` names a problem.

    Args:
        s: The session of the contract.
        problem: The function.
        arguments: Its arguments; a `Ref` stands for its value.
        in_second_process: Whether the values exist in the second process of a script.
    """
    found = problem(*map(values_of, arguments))
    if found is None:
        return
    kind, summary = found
    made = call(no_problem, call(problem, *map(source, arguments)))
    code = call(claim, made, source(summary))
    s.steps.append(Step("", elsewhere(code) if in_second_process else code))
    s.fail(cast(Kind, kind), summary)


def _counted(lanes: Sequence[Sequence[Seen]]) -> str:
    """Return how many calls returned and raised in each lane, for the line of a report."""
    parts = []
    for number, lane in enumerate(lanes, 1):
        errors = [seen.error for seen in lane if seen.error is not None]
        part = f"lane {number}: {len(lane) - len(errors)} returned, {len(errors)} raised"
        parts.append(f"{part}, {type_name(errors[0])} first" if errors else part)
    return "; ".join(parts)


def settled(s: Session, a: Handle) -> Ref:
    """Read the whole conversation after a fault, and repeat the read while it raises.

    If the reads raise until `TAKEOVER` time limits of an operation have passed, that is a finding.
    """
    return _final(s, a, "messages", (), read_while_refused)


def add_again(s: Session, a: Handle, stem: str) -> None:
    """Add one message after a fault, and repeat that with another number while it raises.

    If the adds raise until `TAKEOVER` time limits of an operation have passed, that is a finding.
    """
    how, seconds = a.how, TAKEOVER * s.subject.limit
    phrase = a.phrase("add_messages", (Ref("batch", []),), how)
    each = fill("lambda batch: {}", phrase.code())
    code = call(add_at_last, each, source(stem), source(seconds))
    text = f"{phrase.text()} with {stem}.0, again with another number while it raises, for "
    s.steps.append(Step(f"{text}{seconds:g} s at most", code))
    s.carry_out(
        phrase.invocation.name,
        lambda: add_at_last(
            lambda batch: a.host.call(Call(a.key, "add_messages", (batch,), how)), stem, seconds
        ),
    )


def rest(s: Session, a: Handle, operation: str, *args: Any) -> Ref:
    """Make consuming reads after the faults until one returns nothing."""
    return _final(s, a, operation, args, rest_of)


def _final(
    s: Session, a: Handle, operation: str, args: tuple[Any, ...], read: Callable[..., Any]
) -> Ref:
    """Call `read` with a call of a handle and the time limit, in the process of the handle."""
    s.settle()
    phrase, variable, how = a.phrase(operation, args, a.how), s.variable("got"), a.how
    seconds = TAKEOVER * s.subject.limit

    def code() -> Code:
        bare = call(wait, phrase.bare()) if phrase.invocation.awaited else phrase.bare()
        line = fill("{} = {}", variable, call(read, fill("lambda: {}", bare), source(seconds)))
        return elsewhere(line) if a.in_second_process else line

    text = f"{phrase.text()}, again while it raises, for {seconds:g} s at most"
    s.steps.append(Step(text, code, name=variable))
    value = s.carry_out(
        phrase.invocation.name,
        lambda: read(lambda: a.host.call(Call(a.key, operation, args, how)), seconds),
    )
    s.check(
        is_sized,
        Ref(variable, value),
        kind="other",
        summary=f"`{phrase.invocation.name}` returned {show_odd(value)} instead of a list of "
        "messages",
    )
    s.steps[-1] = s.steps[-1].with_result(f"{len(value)} messages")
    return Ref(variable, value)
