"""A server that runs as a process, whatever its kind; the small server of the self-test is one."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from chat_history_conformance.faulty import served
from chat_history_conformance.servers import ServerError


def test_a_server_reports_that_its_port_was_taken_while_it_was_down() -> None:
    with served.start() as server:
        history = served.ServedChatMessageHistory("s", server.address)
        history.add_user_message("kept")
        server.kill()
        with closing(socket.create_server(("127.0.0.1", int(server.address.rpartition(":")[2])))):
            with pytest.raises(ServerError, match=rf"Another program took {server.address}"):
                server.restart()
        server.restart()
        assert [message.content for message in history.messages] == ["kept"]
