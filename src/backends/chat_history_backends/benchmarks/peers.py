"""Peers: the histories that ours succeed, as their packages ship them, for benchmarks.

Each factory opens one for a session id, and imports its package only then. No defect is fixed: a
peer loses and reorders messages as it does for its users. Only two things are added that a user
could do by hand: `messages` returns the whole conversation, and `fill` stores a long one without
taking minutes.
"""

from __future__ import annotations

import importlib
import itertools
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_backends.benchmarks.floors import encoded
from chat_history_conformance import servers

__all__ = ["ElasticsearchPeer", "SQLPeer", "in_memory", "kafka"]

_WAIT_SECONDS = 60.0
_INDEX = "chat-history-peer"
_FILL_BATCH = 1000


@cache
def _imported(module: str, name: str) -> Any:
    with warnings.catch_warnings():
        # The packages warn that they are no longer maintained.
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(importlib.import_module(module), name)


@cache
def in_memory(session_id: str) -> Any:
    """Return the `InMemoryChatMessageHistory` of langchain-core, always the same for a session.

    Args:
        session_id: The id of the session.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _imported("langchain_core.chat_history", "InMemoryChatMessageHistory")()


class SQLPeer:
    """`SQLChatMessageHistory` of langchain-community, on an SQLite file in the working directory.

    It has no asynchronous methods, because they need another driver.

    Args:
        session_id: The id of the session.
    """

    def __init__(self, session_id: str) -> None:
        kind = _imported("langchain_community.chat_message_histories", "SQLChatMessageHistory")
        self._history = kind(session_id, connection="sqlite:///peer.sqlite3")
        self.add_messages = self._history.add_messages
        self.clear = self._history.clear

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        return self._history.messages  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the file, which the original keeps open until the process ends."""
        self._history.engine.dispose()


_WRITTEN: Counter[str] = Counter()
"""The number of messages that this process has written to each topic of `kafka`."""


def kafka(session_id: str) -> Any:
    """Return a `KafkaChatMessageHistory` of langchain-community that reads the whole conversation.

    Args:
        session_id: The id of the session, which must be valid in the name of a topic. Only this
            process may write to it, because the original cannot find the end of a conversation.

    Raises:
        ServerError: The server needs client settings, and the original takes none.
    """
    if servers.settings("kafka"):
        raise servers.ServerError(
            "KafkaChatMessageHistory of langchain-community takes no client settings, so it cannot "
            "be measured on a server that needs them"
        )
    return _kafka_class()(
        f"peer-{session_id}",
        servers.address("kafka"),
        replication_factor=servers.replicas("kafka"),
    )


@cache
def _kafka_class() -> Any:
    original = _imported("langchain_community.chat_message_histories", "KafkaChatMessageHistory")

    class KafkaPeer(original):  # type: ignore[misc, valid-type]
        is_cleared = False

        @property
        def messages(self) -> Any:
            return self.messages_from_beginning(_WRITTEN[self.session_id], _WAIT_SECONDS)

        def add_messages(
            self, messages: Sequence[BaseMessage], flush_timeout_seconds: float = 5.0
        ) -> None:
            super().add_messages(messages, flush_timeout_seconds)
            _WRITTEN[self.session_id] += len(messages)

        def clear(self) -> None:
            super().clear()
            _WRITTEN[self.session_id] = 0
            self.is_cleared = True

        def fill(self, messages: Sequence[BaseMessage]) -> None:
            if self.is_cleared:
                # The topic is deleted, and only a new history creates one.
                while (
                    self.session_id in self.admin_client.list_topics(timeout=_WAIT_SECONDS).topics
                ):
                    time.sleep(0.01)
                self.__init__(  # type: ignore[misc]
                    self.session_id,
                    self.bootstrap_servers,
                    replication_factor=servers.replicas("kafka"),
                )
                self.is_cleared = False
            self.add_messages(messages, _WAIT_SECONDS)

    return KafkaPeer


class ElasticsearchPeer:
    """`ElasticsearchChatMessageHistory` of langchain-elasticsearch and its asynchronous class.

    Both use the warm clients of the floor, and one index.

    Args:
        session_id: The id of the session.
    """

    def __init__(self, session_id: str) -> None:
        from chat_history_backends.benchmarks.floors import elasticsearch

        self._session_id = session_id
        self._address = servers.address("elasticsearch")
        self._client = elasticsearch.client_of(self._address)
        kind = _imported("langchain_elasticsearch", "ElasticsearchChatMessageHistory")
        self._history = kind(_INDEX, session_id, client=self._client)
        self._async_peer: Any = None
        self.add_messages = self._history.add_messages
        self.clear = self._history.clear

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        return self._history.messages  # type: ignore[no-any-return]

    async def aget_messages(self) -> list[BaseMessage]:
        """Return the whole conversation from the asynchronous class."""
        return await (await self._async_history()).aget_messages()  # type: ignore[no-any-return]

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add messages with the asynchronous class."""
        await (await self._async_history()).aadd_messages(messages)

    async def aclear(self) -> None:
        """Remove the conversation with the asynchronous class."""
        await (await self._async_history()).aclear()

    def fill(self, messages: Sequence[BaseMessage]) -> None:
        """Store documents like those of the original, a millisecond apart, with one refresh."""
        self._history.create_if_missing()
        times = itertools.count(round(time.time() * 1000))
        for begin in range(0, len(messages), _FILL_BATCH):
            lines: list[dict[str, Any]] = []
            for text in encoded(messages[begin : begin + _FILL_BATCH]):
                document = {"session_id": self._session_id, "created_at": next(times)}
                lines += [{"index": {}}, {**document, "history": text}]
            answer = self._client.bulk(index=_INDEX, operations=lines)
            if answer["errors"]:
                raise RuntimeError(f"the conversation of a peer could not be stored: {answer}")
        self._client.indices.refresh(index=_INDEX)

    async def _async_history(self) -> Any:
        from chat_history_backends.benchmarks.floors import elasticsearch

        if self._async_peer is None:
            client = await elasticsearch.async_client_of(self._address)
            kind = _imported("langchain_elasticsearch", "AsyncElasticsearchChatMessageHistory")
            self._async_peer = kind(_INDEX, self._session_id, client=client)
        return self._async_peer
