"""A server that runs as a process, whatever its kind; the small server of the self-test is one."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from chat_history_conformance.faulty import served
from chat_history_conformance.servers import ServerError


def test_a_server_whose_port_is_taken_while_it_is_down_says_so() -> None:
    with served.start() as server:
        history = served.ServedChatMessageHistory("s", server.address)
        history.add_user_message("kept")
        server.kill()
        with closing(socket.create_server(("127.0.0.1", int(server.address.rpartition(":")[2])))):
            with pytest.raises(ServerError, match=rf"{server.address} was taken by another"):
                server.restart()
        server.restart()
        assert [message.content for message in history.messages] == ["kept"]
