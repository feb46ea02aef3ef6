"""A real Kafka broker for the tests that need one, started when the first of them asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.server import Server


@pytest.fixture(scope="session")
def kafka() -> Iterator[Server]:
    """Start one broker for the run, or for each worker of it; each test uses its own topics.

    A test that pauses or kills its broker starts one for itself.
    """
    with launcher.start("kafka", "jvm", announce=print) as server:
        yield server
