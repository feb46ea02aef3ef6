"""What a contract can do to a server: pause, kill and restart it, or lead a history past it.

The half of a session that needs a server. Whatever a contract does, and however it ends, the server
runs afterwards.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance import servers
from chat_history_conformance.diagnosis.canonical import dump
from chat_history_conformance.diagnosis.code import Code, Need, Ref, call, fill
from chat_history_conformance.diagnosis.compare import (
    ServerFailure,
    Snapshot,
    compare,
    lines,
    returned_lines,
)
from chat_history_conformance.diagnosis.rendering import source
from chat_history_conformance.diagnosis.script_helpers import (
    Adding,
    expect_kept,
    please,
    read_while_refused,
)
from chat_history_conformance.diagnosis.steps import Step, now
from chat_history_conformance.drivers.calls import Call
from chat_history_conformance.drivers.errors import Hung
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.handle import Server, Unsupported

if TYPE_CHECKING:
    from chat_history_conformance.execution.session import Handle, Session
    from chat_history_conformance.execution.subject import Subject

_BREATH = 0.02
"""Seconds between calls that are made again and again."""
_AFTERWARDS = 3
"""Adds that have to succeed after the fault before the adding ends."""


_HELPERS = Adding.__module__
KEPT = Code("kept", frozenset({Need(_HELPERS, "kept")}))
UNSURE = Code("unsure", frozenset({Need(_HELPERS, "unsure")}))


class Outage:
    """What a session does to the server that its history is on.

    Attributes:
        disturbed: Whether there has been a fault. From then on an error that says "the server is
            not there" is the history's answer, to be judged like any other.
        astray: Whether handles that are opened now are led to where nothing listens.
    """

    subject: Subject
    steps: list[Step]
    disturbed = False
    astray = False
    _paused = False
    _down = False

    def pause_server(self) -> None:
        """Let the server keep its connections and answer nothing."""
        self._paused = True
        self._fault("the server is paused", "pause", lambda: self._server.pause())

    def resume_server(self) -> None:
        """End the pause."""
        self._fault("the server goes on", "resume", lambda: self._server.resume())
        self._paused = False

    def kill_server(self) -> None:
        """End the server at once."""
        self._down = True
        self._fault("the server is killed", "kill", lambda: self._server.kill())

    def restart_server(self) -> None:
        """Start the server again after it was killed, with what it had stored."""
        self._fault("the server is started again", "restart", lambda: self._server.restart())
        self._down = self._paused = False

    @contextlib.contextmanager
    def nowhere(self) -> Iterator[str]:
        """Make the server's address lead to a port of loopback where nothing listens.

        Yields:
            That address.
        """
        kind = self.subject.backend.server
        assert kind is not None  # the contract needs "server"
        name, address = servers.variable(kind), servers.address(kind)
        with socket.socket() as kept:  # bound, so that nobody else listens there meanwhile
            kept.bind(("127.0.0.1", 0))
            elsewhere = _with_place(address, f"127.0.0.1:{kept.getsockname()[1]}")
            self.steps.append(
                Step(
                    f"the server is looked for at {elsewhere}, where nothing listens:",
                    Code(
                        f"os.environ[{name!r}] = {elsewhere!r}  # nothing listens there",
                        frozenset({Need("os")}),
                    ),
                )
            )
            os.environ[name] = elsewhere
            self.disturbed = self.astray = True
            try:
                yield elsewhere
            finally:
                self.astray = False
                os.environ[name] = address

    def end_outage(self, *, failed: bool) -> None:
        """Have the server run again, whatever state the contract has left it in.

        Args:
            failed: A failure is on its way already; another one would hide it.

        Raises:
            ServerFailure: It does not run.
        """
        try:
            if self._down:
                self._server.restart()
            elif self._paused:
                self._server.resume()
        except (ServerError, Unsupported) as error:
            self.subject.notes.append(f"the server did not come back after a fault: {error}")
            if not failed:
                raise ServerFailure(str(error)) from error

    @property
    def _server(self) -> Server:
        assert self.subject.server is not None  # the contract needs "faults"
        return self.subject.server

    def _fault(self, text: str, what: str, action: Callable[[], None]) -> None:
        kind = self.subject.backend.server
        assert kind is not None  # the contract needs "faults"
        request, variable = f"{what} the server", servers.variable(kind)
        self.steps.append(Step(text, call(please, source(request), source(variable))))
        self.disturbed = True
        try:
            action()
        except (ServerError, Unsupported) as error:
            raise ServerFailure(str(error)) from error


def add_kept(s: Session, a: Handle, *contents: str) -> None:
    """Add messages while the server is well; whatever goes wrong is a finding."""
    a.add([HumanMessage(content) for content in contents])
    s.steps.append(Step("", fill("{}.extend({})", KEPT, source(list(contents)))))


def attempt_add(s: Session, a: Handle, content: str) -> Exception | None:
    """Add one message during a fault.

    Returns:
        What it raised, or None. A message whose add raised may be stored or not.
    """
    error = a.try_add([HumanMessage(content)])
    code = fill("({} if error is None else {}).append({})", KEPT, UNSURE, source(content))
    s.steps.append(Step("", code))
    return error


def adds_during(s: Session, a: Handle, stem: str, fault: Callable[[], None]) -> None:
    """Add numbered messages one after the other, in a thread, while `fault` is carried out.

    The model then has those whose add returned; those whose add raised may be stored or not. The
    adding goes on until some adds have returned after the fault, or the limit has passed.
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
        lambda batch: s.host(a).call(Call(a.key, "add_messages", (batch,), how)),
        returned,
        raised,
    )
    limit = s.subject.limit
    try:
        s.sleep(0.2)
        fault()
        enough, deadline = len(returned) + _AFTERWARDS, time.monotonic() + limit
        while len(returned) < enough and time.monotonic() < deadline:
            time.sleep(_BREATH)
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
            s.explain(one.spelt.name, error)


def read_when_back(s: Session, a: Handle) -> list[BaseMessage]:
    """Read the whole conversation after a fault, again as long as that raises.

    Returns:
        What the read gave. Where all of them raise until the limit has passed, the last one's error
        is the finding.
    """
    deadline, number = time.monotonic() + s.subject.limit, len(s.steps)
    phrase = a.phrase("messages", (), a.how)
    while (got := a.bounded_unless_refused("messages")) is None:
        del s.steps[number:]
        if time.monotonic() > deadline:
            return a.read()
        time.sleep(10 * _BREATH)
    step, variable, limit = s.steps[number], a.result.name, s.subject.limit

    def code() -> Code:
        read = fill("lambda: {}", phrase.code())
        return fill("{} = {}", variable, call(read_while_refused, read, source(limit)))

    text = f"{now(step.text)}, again while it raises, for {limit:g} s at most"
    s.steps[number] = Step(text, code, step.result)
    return got


def expect_acknowledged(s: Session, a: Handle, returned: Sequence[Any]) -> None:
    """Fail unless what was acknowledged is there once and in order, and what raised at most once.

    Args:
        s: The session.
        a: The handle that was read.
        returned: What the read gave.
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
        code = call(expect_kept, source(a.result), source(difference.summary))
        s.steps.append(Step("", code))
        s.fail(
            difference.kind,
            difference.summary,
            expected=lines(expected),
            returned=returned_lines(list(returned)),
        )


def _with_place(address: str, place: str) -> str:
    """An address with another host and port: of the first server in it, whatever its form."""
    scheme, separator, _ = address.partition("://")
    return f"{scheme}://{place}" if separator else place
