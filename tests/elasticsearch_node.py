"""A real Elasticsearch node for the tests that need one, started when the first of them asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.servers import ladder
from conformance.servers.handle import Server


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[Server]:
    """One node for the whole run, or for each worker of it; tests keep to indices of their own.

    A test that pauses or kills its node starts one for itself.
    """
    with ladder.start("elasticsearch", "jvm", announce=print) as server:
        yield server
