"""Tests of three Elasticsearch nodes and one replica: an acknowledged message is on all copies."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from langchain_core.messages import HumanMessage

from chat_history_backends.elasticsearch import (
    ElasticsearchChatMessageHistory,
    ElasticsearchHistoryError,
    PreviousMajorNode,
)
from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.server import Server

History = ElasticsearchChatMessageHistory


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    with launcher.start("elasticsearch", "jvm:3", announce=print) as server:
        yield server


@pytest.fixture
def session_id() -> str:
    return f"cluster-{uuid.uuid4().hex}"


def _opened(addresses: Sequence[str], session_id: str, seconds: float) -> History:
    config = {"node_class": PreviousMajorNode}
    return History("chats", session_id, es_url=addresses, timeout_sec=seconds, config=config)


def _contents(history: History) -> list[str]:
    return [str(message.content) for message in history.messages]


def test_a_message_that_exists_already_counts_only_if_the_replica_has_it(
    cluster: Server, session_id: str
) -> None:
    """The primary has the message, the replica does not answer, and the request is repeated.

    The server says to the second request that the message exists. That does not prove that it is
    stored: if the primary is lost now, the replica takes over without the message.
    """
    addresses = [member.address for member in cluster.members]
    with _opened(addresses, session_id, 60) as history:
        history.add_messages([HumanMessage("0")])
        cluster.wait_until_healthy(120)
        with Elasticsearch(addresses, node_class=PreviousMajorNode, request_timeout=60) as client:
            shards: Any = client.cat.shards(index="chats", format="json").body
        roles = {shard["prirep"]: shard["node"] for shard in shards}
        replica = next(member for member in cluster.members if member.name == roles["r"])
        others = [address for address in addresses if address != replica.address]
        with _opened(others, session_id, 4) as impatient:
            impatient.add_messages([HumanMessage("1")])  # examines the index
            replica.pause()
            try:
                began = time.monotonic()
                with pytest.raises(ElasticsearchHistoryError) as caught:
                    impatient.add_messages([HumanMessage("2"), HumanMessage("3")])
                assert time.monotonic() - began < 10
            finally:
                replica.resume()
        assert caught.value.outcome_unknown
        assert list(caught.value.unconfirmed) == [0, 1]
        cluster.wait_until_healthy(120)
        assert _contents(history) == ["0", "1", "2", "3"]
