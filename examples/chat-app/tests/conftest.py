"""The history of the app as a backend of the suite, and a broker for the tests over HTTP."""

from collections.abc import Iterator
from functools import cache

import pytest
from chat_app import Conversations

from chat_history_backends.kafka import KafkaChatMessageHistory
from chat_history_conformance import history_backend
from chat_history_conformance.servers import address, launcher

conversations = cache(Conversations)


@history_backend("chat-app", server="kafka")
def chat_app(session_id: str) -> KafkaChatMessageHistory:
    return conversations(address("kafka")).open(session_id)


@pytest.fixture(scope="session")
def bootstrap_servers() -> Iterator[str]:
    """Use the broker of the contracts, or start one if no contracts run."""
    with launcher.start("kafka", "auto", announce=print) as server:
        yield server.address


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
