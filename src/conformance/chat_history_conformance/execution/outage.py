"""The faults of a server: pause it, end it, restart it, or hide it from a history.

The server runs again after each example, whatever the contract did to it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Literal
from urllib.parse import urlsplit

from chat_history_conformance import servers
from chat_history_conformance.declaration.origin import origin_of
from chat_history_conformance.diagnosis.code import Code, Need, call, fill, given
from chat_history_conformance.diagnosis.compare import ServerFailure
from chat_history_conformance.diagnosis.rendering import source
from chat_history_conformance.diagnosis.script import id_source
from chat_history_conformance.diagnosis.script_helpers import please
from chat_history_conformance.diagnosis.script_hooks import ask_for
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.declared_server import DeclaredServer
from chat_history_conformance.execution.story import Story
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.server import Member, Server, Unsupported

__all__ = ["HEALTHY_SECONDS", "MemberFault", "Outage"]

MemberFault = Literal["pause", "kill", "shut_down", "cut_off"]
"""A fault of one member of a cluster."""

HEALTHY_SECONDS = 90.0
"""Time limit until a cluster is healthy again after a fault."""

_PAST = {"pause": "paused", "kill": "killed", "shut_down": "shut down", "cut_off": "cut off"}


class Outage:
    """The server of an example, and the faults that the contract causes.

    Args:
        story: The record of the example.

    Attributes:
        is_unreachable: Whether the server's address leads to a port without a listener.
    """

    def __init__(self, story: Story) -> None:
        self._story = story
        self.is_unreachable = False
        self._paused = False
        self._down = self._was_down = False
        self._cut: list[Member] = []
        self._mended = True

    @property
    def is_declared(self) -> bool:
        """True if the functions `stop=` and `start=` of the declaration are the only faults."""
        return isinstance(self._server, DeclaredServer)

    @property
    def can_pause(self) -> bool:
        """True if the server can be paused."""
        return not self._server.why_no_pause

    def pause(self) -> None:
        """Let the server keep its connections and answer nothing."""
        self._paused = True
        self._fault("the server is paused", "pause", lambda: self._server.pause())

    def resume(self) -> None:
        """End the pause."""
        self._fault("the server goes on", "resume", lambda: self._server.resume())
        self._paused = False

    def kill(self) -> None:
        """End the server at once, or with `stop=`."""
        self._down = self._was_down = True
        self._fault("the server is killed", "kill", lambda: self._server.kill())

    def shut_down(self) -> None:
        """End the server in an orderly way, as an update of its software does, or with `stop=`."""
        self._down = self._was_down = True
        self._fault("the server is shut down", "shut down", lambda: self._server.shut_down())

    def restart(self) -> None:
        """Start the ended server again, with all that it had stored."""
        self._fault("the server is started again", "restart", lambda: self._server.restart())
        self._down = self._paused = False

    # -- members of a cluster ----------------------------------------------------------------

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of members; the first one is that of the member that stores a session."""
        return self._server.roles

    @property
    def why_no_partition(self) -> str:
        """The reason why no member can be cut off from the others; empty if it can."""
        return self._server.why_no_partition

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all members."""
        return tuple(member.name for member in self._server.members)

    def disturb(self, fault: MemberFault, role: str, session: str) -> None:
        """Do something to the member that has a role now. `heal` ends it.

        Args:
            fault: The fault.
            role: One of `roles`.
            session: The template of the session that the role is about.
        """
        try:
            member = self._server.holder(role, self._story.id_of(session))
        except (ServerError, Unsupported) as error:
            raise ServerFailure(str(error)) from error
        words = fault.replace("_", " ")
        whose = f"the {role} of "
        shown = whose + session.replace("{nonce}", "session")
        request = fill("{} + {}", source(f"{words} {whose}"), id_source(session))
        self._do(fault, member, f"{_PAST[fault]}: {shown} (member {member.name})", request)

    def disturb_member(self, fault: MemberFault, name: str) -> None:
        """Do something to a member with this name. `heal` ends it."""
        member = next(one for one in self._server.members if one.name == name)
        words = fault.replace("_", " ")
        text = f"{_PAST[fault]}: member {name}"
        self._do(fault, member, text, source(f"{words} member {name} of the cluster"))

    def heal(self) -> None:
        """Make all members run and reach each other again, and wait until all is in order."""
        code = call(please, source("heal the server"), source(servers.variable(self._kind)))
        self._story.steps.append(Step("all members run again and reach each other", code))
        try:
            self._mend()
        except (ServerError, Unsupported) as error:
            raise ServerFailure(str(error)) from error

    def _do(self, fault: MemberFault, member: Member, text: str, request: Code) -> None:
        code = call(please, request, source(servers.variable(self._kind)))
        self._story.steps.append(Step(text, code))
        self._story.disturbed, self._mended = True, False
        try:
            if fault == "cut_off":
                self._cut.append(member)
                self._server.cut_off(member)
            else:
                getattr(member, fault)()
        except (ServerError, Unsupported) as error:
            raise ServerFailure(str(error)) from error

    def _mend(self) -> None:
        """End all faults of members."""
        for member in self._cut:
            self._server.reconnect(member)
        self._cut.clear()
        for member in self._server.members:
            if member.state == "paused":
                member.resume()
            elif member.state == "down":
                member.restart()
        self._server.wait_until_healthy(HEALTHY_SECONDS)
        self._mended = True

    @contextlib.contextmanager
    def away(self) -> Iterator[str]:
        """Make the server unreachable: by another address, or by ending it.

        Yields:
            A description of the actions.
        """
        if self._story.subject.backend.server is not None:
            with self.unreachable() as address:
                yield f"nothing listens at {address}"
            return
        self.shut_down()
        yield "the server is stopped"
        self.restart()

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[str]:
        """Make the server's address lead to a local port without a listener.

        Yields:
            That address.
        """
        name, address = servers.variable(self._kind), servers.address(self._kind)
        with socket.socket() as reserved:  # bound, so that no other program listens there
            reserved.bind(("127.0.0.1", 0))
            other = _with_place(address, f"127.0.0.1:{reserved.getsockname()[1]}")
            text = f"the address of the server is {other}, where nothing listens:"
            code = f"os.environ[{name!r}] = {other!r}  # nothing listens there"
            self._story.steps.append(Step(text, Code(code, frozenset({Need("os")}))))
            os.environ[name] = other
            self._story.disturbed = self.is_unreachable = True
            try:
                yield other
            finally:
                self.is_unreachable = False
                os.environ[name] = address

    def end(self, *, failed: bool) -> None:
        """Make the server run again.

        Args:
            failed: Whether the example has failed. A second failure would hide the first.

        Raises:
            ServerFailure: The server does not run.
        """
        try:
            if self._down:
                self._server.restart()
            elif self._paused:
                self._server.resume()
            if not self._mended:
                self._mend()
            if self._was_down and self.is_declared:
                self._story.subject.use_until_it_works()
        except (ServerError, Unsupported) as error:
            self._story.subject.notes.append(f"the server did not come back after a fault: {error}")
            if not failed:
                raise ServerFailure(str(error)) from error

    @property
    def _server(self) -> Server:
        server = self._story.subject.server
        assert server is not None  # the contract needs "faults"
        return server

    @property
    def _kind(self) -> str:
        kind = self._story.subject.backend.server
        assert kind is not None  # the contract needs "server" or "faults"
        return kind

    def _fault(self, text: str, request: str, action: Callable[[], None]) -> None:
        if self.is_declared:
            step = self._declared_step(request)
        else:
            variable = servers.variable(self._kind)
            step = Step(text, call(please, source(f"{request} the server"), source(variable)))
        self._story.steps.append(step)
        self._story.disturbed = True
        try:
            action()
        except (ServerError, Unsupported) as error:
            raise ServerFailure(str(error)) from error

    def _declared_step(self, request: str) -> Step:
        """Return the step that calls `stop=` or `start=`."""
        backend = self._story.subject.backend
        name, function = ("start", backend.start)
        if request != "restart":
            name, function = ("stop", backend.stop)
        text = f"the server is {'started again' if name == 'start' else 'stopped'} with {name}="
        if function is not None and origin_of(function) is not None:
            return Step(text, fill("{}()", given(f"{name}_server")))
        return Step(text, call(ask_for, source(f"{name} the server of {backend.name}")))


def _with_place(address: str, place: str) -> str:
    """Return an address with another host and port, in the same form."""
    if "://" not in address:
        return place
    parts = urlsplit(servers.separate(address)[0])  # without user and password: scripts show it
    return f"{parts.scheme}://{place}{parts.path}"
