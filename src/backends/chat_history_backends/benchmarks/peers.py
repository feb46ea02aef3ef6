"""Peers: the histories that ours succeed, as they are shipped, ready to be measured beside ours.

Each opens one for a session id, and imports its package then. Nothing is put right: what an
original loses or scatters here, it loses and scatters for its users too. Added is what a
measurement needs and a user could do by hand: a whole conversation under the usual name, and
`fill`, which stores a long one without taking minutes.
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

_WAIT_SEC = 60.0
_INDEX = "chat-history-peer"
_FILLED_AT_ONCE = 1000


@cache
def _imported(module: str, name: str) -> Any:
    with warnings.catch_warnings():
        # That a package is no longer maintained is not what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(importlib.import_module(module), name)


@cache
def in_memory(session_id: str) -> Any:
    """`InMemoryChatMessageHistory` of langchain-core: one for each session, kept for good.

    Args:
        session_id: Whose conversation.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _imported("langchain_core.chat_history", "InMemoryChatMessageHistory")()


class SQLPeer:
    """`SQLChatMessageHistory` of langchain-community, on an SQLite file in the working directory.

    Without its asynchronous methods, which need another driver.

    Args:
        session_id: Whose conversation.
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
        """Close the file, which the original leaves to the end of the process."""
        self._history.engine.dispose()


_WRITTEN: Counter[str] = Counter()
"""How many messages the topics of `kafka` hold, as far as this process has written them."""


def kafka(session_id: str) -> Any:
    """`KafkaChatMessageHistory` of langchain-community, its `messages` being all there are.

    Args:
        session_id: Whose conversation; has to be fit for the name of a topic, and written by this
            process alone: the original cannot tell where a conversation ends.

    Raises:
        ServerError: The server needs client settings, and the original takes none.
    """
    if servers.settings("kafka"):
        raise servers.ServerError(
            "KafkaChatMessageHistory of langchain-community takes no client settings, so it cannot "
            "be measured on a server that needs them"
        )
    return _kafka_class()(f"peer-{session_id}", servers.address("kafka"))


@cache
def _kafka_class() -> Any:
    original = _imported("langchain_community.chat_message_histories", "KafkaChatMessageHistory")

    class KafkaPeer(original):  # type: ignore[misc, valid-type]
        is_cleared = False

        @property
        def messages(self) -> Any:
            return self.messages_from_beginning(_WRITTEN[self.session_id], _WAIT_SEC)

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
                # The topic is deleted, and only a new history makes one.
                while self.session_id in self.admin_client.list_topics(timeout=_WAIT_SEC).topics:
                    time.sleep(0.01)
                self.__init__(self.session_id, self.bootstrap_servers)  # type: ignore[misc]
                self.is_cleared = False
            self.add_messages(messages, _WAIT_SEC)

    return KafkaPeer


class ElasticsearchPeer:
    """`ElasticsearchChatMessageHistory` of langchain-elasticsearch, and its asynchronous twin.

    Both have the warm clients of the floor, and one index.

    Args:
        session_id: Whose conversation.
    """

    def __init__(self, session_id: str) -> None:
        from chat_history_backends.benchmarks.floors import elasticsearch

        self._session_id = session_id
        self._address = servers.address("elasticsearch")
        self._client = elasticsearch.client_of(self._address)
        kind = _imported("langchain_elasticsearch", "ElasticsearchChatMessageHistory")
        self._history = kind(_INDEX, session_id, client=self._client)
        self._twin: Any = None
        self.add_messages = self._history.add_messages
        self.clear = self._history.clear

    @property
    def messages(self) -> list[BaseMessage]:
        """The whole conversation."""
        return self._history.messages  # type: ignore[no-any-return]

    async def aget_messages(self) -> list[BaseMessage]:
        """The whole conversation, by the asynchronous class."""
        return await (await self._asynchronous()).aget_messages()  # type: ignore[no-any-return]

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add messages, by the asynchronous class."""
        await (await self._asynchronous()).aadd_messages(messages)

    async def aclear(self) -> None:
        """Remove the conversation, by the asynchronous class."""
        await (await self._asynchronous()).aclear()

    def fill(self, messages: Sequence[BaseMessage]) -> None:
        """Store documents as the original's are, a millisecond apart, with one refresh for all."""
        self._history.create_if_missing()
        times = itertools.count(round(time.time() * 1000))
        for begin in range(0, len(messages), _FILLED_AT_ONCE):
            lines: list[dict[str, Any]] = []
            for text in encoded(messages[begin : begin + _FILLED_AT_ONCE]):
                document = {"session_id": self._session_id, "created_at": next(times)}
                lines += [{"index": {}}, {**document, "history": text}]
            answer = self._client.bulk(index=_INDEX, operations=lines)
            if answer["errors"]:
                raise RuntimeError(f"a conversation could not be stored for a peer: {answer}")
        self._client.indices.refresh(index=_INDEX)

    async def _asynchronous(self) -> Any:
        from chat_history_backends.benchmarks.floors import elasticsearch

        if self._twin is None:
            client = await elasticsearch.async_client_of(self._address)
            kind = _imported("langchain_elasticsearch", "AsyncElasticsearchChatMessageHistory")
            self._twin = kind(_INDEX, self._session_id, client=client)
        return self._twin
