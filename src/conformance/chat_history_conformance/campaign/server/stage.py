"""The server of a campaign, as the bodies of faults see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.server import Member, Server

__all__ = ["HEALTHY_SECONDS", "Stage"]

HEALTHY_SECONDS = 180.0
"""The time that a server may take after a fault until all is well."""


class Stage:
    """A server, its members and the sessions whose data the faults are about.

    Args:
        server: A server that this run has started.
        sessions: The sessions that grow.
        limit_seconds: The limit of one call.
        stopping: Ends every wait if it is set.

    Attributes:
        touched: The names of the members that the current fault was about.
        notes: The actions, for the record.
    """

    def __init__(
        self,
        server: Server,
        sessions: Sequence[str],
        limit_seconds: float,
        stopping: threading.Event,
    ) -> None:
        self.limit_seconds = limit_seconds
        self.touched: list[str] = []
        self.notes: list[str] = []
        self._server = server
        self._sessions = sessions
        self._stopping = stopping
        self._state = "up"
        self._apart: list[Member] = []

    def begin(self) -> None:
        """Forget the target of the last fault."""
        self.touched, self.notes = [], []

    @property
    def members(self) -> tuple[Member, ...]:
        """The members of the cluster."""
        return self._server.members

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the members; the first one is that of the leader or primary."""
        return self._server.roles

    def member(self, pick: float) -> Member:
        """Return a member, chosen by a number from 0 to 1."""
        return self.members[min(int(pick * len(self.members)), len(self.members) - 1)]

    def two_members(self, pick: float) -> tuple[Member, Member]:
        """Return two members, chosen by a number from 0 to 1."""
        first = self.member(pick)
        second = self.members[(self.members.index(first) + 1) % len(self.members)]
        return first, second

    def holder(self, role: str) -> Member:
        """Return the member that has a role for the first session; any that is up if unknown."""
        try:
            return self._server.holder(role, self._sessions[0])
        except ServerError as error:
            self.notes.append(f"the {role} is unknown ({error})")
            up = [member for member in self.members if member.state == "up"]
            return (up or list(self.members))[0]

    def wait(self, seconds: float) -> None:
        """Wait, or return early if the campaign stops."""
        self._stopping.wait(seconds)

    def kill(self, member: Member | None = None) -> None:
        """Kill a member, or all."""
        self._note("kill", member)
        self._state = "down" if member is None else self._state
        (member or self._server).kill()

    def shut_down(self, member: Member | None = None) -> None:
        """Shut down a member, or all, in an orderly way."""
        self._note("shut down", member)
        self._state = "down" if member is None else self._state
        (member or self._server).shut_down()

    def pause(self, member: Member | None = None) -> None:
        """Pause a member, or all."""
        self._note("pause", member)
        self._state = "paused" if member is None else self._state
        (member or self._server).pause()

    def resume(self, member: Member | None = None) -> None:
        """End the pause of a member, or of all."""
        (member or self._server).resume()
        self._state = "up" if member is None else self._state

    def restart(self, member: Member | None = None) -> None:
        """Start a member, or all, again."""
        (member or self._server).restart()
        self._state = "up" if member is None else self._state

    def cut_off(self, member: Member) -> None:
        """Cut off a member from the others."""
        self._note("cut off", member)
        self._apart.append(member)
        self._server.cut_off(member)

    def reconnect(self, member: Member) -> None:
        """Connect a member to the others again."""
        self._server.reconnect(member)
        self._apart.remove(member)

    def reassign(self, pick: float) -> None:
        """Move the data of a session, chosen by a number from 0 to 1, to other members."""
        session = self._sessions[min(int(pick * len(self._sessions)), len(self._sessions) - 1)]
        self.notes.append(f"move {session}")
        self._server.reassign(session)

    def wait_until_healthy(self) -> None:
        """Wait until all members are up and in sync.

        Raises:
            ServerError: They are not, after `HEALTHY_SECONDS`.
        """
        self._server.wait_until_healthy(HEALTHY_SECONDS)

    def heal(self) -> None:
        """Undo everything that a fault may have left, and wait until all is well.

        Raises:
            ServerError: The server does not come back.
        """
        while self._apart:
            self.reconnect(self._apart[-1])
        if self.members:
            for member in self.members:
                if member.state == "paused":
                    member.resume()
            for member in self.members:
                if member.state == "down":
                    member.restart()
        elif self._state == "down":
            self._server.restart()
        elif self._state == "paused":
            self._server.resume()
        self._state = "up"
        self.wait_until_healthy()

    def _note(self, action: str, member: Member | None) -> None:
        name = member.name if member else "all" if len(self.members) > 1 else "1"
        if name not in self.touched:
            self.touched.append(name)
        self.notes.append(f"{action} {name} at {time.strftime('%X')}")
