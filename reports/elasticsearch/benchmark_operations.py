"""What the Elasticsearch benchmark measures, by ours, by raw clients and by upstream."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from benchmark_floor import AsyncCountedNode, CountedNode, Raw, documents
from benchmarking import (
    Operation,
    Watch,
    awaited,
    chunks,
    conversation,
    in_threads,
    need,
    timed,
)
from elasticsearch import AsyncElasticsearch, Elasticsearch
from langchain_elasticsearch import AsyncElasticsearchChatMessageHistory as AsyncUpstream
from langchain_elasticsearch import ElasticsearchChatMessageHistory as Upstream

from chat_history_backends.elasticsearch import AsyncElasticsearchChatMessageHistory as AsyncOurs
from chat_history_backends.elasticsearch import ElasticsearchChatMessageHistory as Ours

THREADS = 8
MANY = 20_000
TIMEOUT_SEC = 60.0
WARM = 300


class Bench:
    """The operations, on one node. Each generator prepares a row, yields it, and tidies up.

    Ours, the floor and upstream have an index each, and share a client.

    Args:
        address: The URL of a node.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = Elasticsearch(address, node_class=CountedNode, request_timeout=TIMEOUT_SEC)
        prefix = f"benchmark-{uuid.uuid4().hex[:8]}"
        self._indices = {name: f"{prefix}-{name}" for name in ("ours", "floor", "upstream")}
        self.raw = Raw(self.client, self._indices["floor"])
        self._numbers = itertools.count(1)
        said, session = conversation(1), self._session()
        ours, upstream = self._ours(session), self._upstream(session)
        for told in range(1, WARM + 1):  # a node that has just started is slow at first
            ours.add_messages(said)
            self.raw.add(session, said)
            upstream.add_messages(said)
            need(1, ours.last_messages(1))
            need(1, self.raw.read(session, told, newest=1))

    def close(self) -> None:
        """Delete the indices."""
        for index in self._indices.values():
            self.client.indices.delete(index=index, ignore_unavailable=True)
        self.client.close()

    def operations(self) -> Iterator[Operation]:
        """All rows."""
        for count, share in ((1, 1.0), (10, 1.0), (100, 0.6)):
            yield from self._add(count, share)
        yield from self._add_in_threads()
        for count, share in ((10, 1.0), (1000, 0.5), (5000, 0.16), (MANY, 0.06)):
            yield from self._read(count, share)
        yield from self._read_what_is_new()
        yield from self._read_the_last()
        yield from self._read_nothing()
        yield from self._clear()
        yield from self._turn()
        yield from self._open_and_add()
        for count, share in ((1, 0.5), (100, 0.3)):
            yield from self._add_asynchronously(count, share)
        yield from self._read_asynchronously()

    def _session(self) -> str:
        return f"session-{next(self._numbers)}"

    def _ours(self, session: str) -> Ours:
        return Ours(self._indices["ours"], session, client=self.client)

    def _upstream(self, session: str) -> Upstream:
        return Upstream(self._indices["upstream"], session, client=self.client)

    def _written(self, count: int) -> str:
        """A new session in which ours, the floor and upstream hold the same conversation."""
        session = self._session()
        self._ours(session).add_messages(conversation(count))
        self.raw.add(session, conversation(count))
        self._write_for_upstream(session, count)
        return session

    def _write_for_upstream(self, session: str, count: int) -> None:
        """Its documents, a millisecond apart as its own are, but without a refresh for each."""
        index = self._indices["upstream"]
        for number, some in enumerate(chunks(conversation(count), 1000)):
            operations = documents(session, some, first=1000 * number)
            answer = self.client.bulk(index=index, operations=operations)
            if answer["errors"]:
                raise RuntimeError(f"upstream's conversation could not be written: {answer}")
        self.client.indices.refresh(index=index)

    # Adding.

    def _add(self, count: int, share: float) -> Iterator[Operation]:
        messages, session = conversation(count), self._session()
        ours, upstream = self._ours(session), self._upstream(session)
        yield Operation(
            f"add_{count}",
            f"add {count}",
            timed(lambda: ours.add_messages(messages)),
            timed(lambda: self.raw.add(session, messages)),
            timed(lambda: upstream.add_messages(messages)),
            share,
            upstream_rounds=20 if count < 100 else 6,
        )

    def _add_in_threads(self) -> Iterator[Operation]:
        messages = conversation(1)
        sessions = [self._session() for _ in range(THREADS)]
        ours = [self._ours(session) for session in sessions]
        upstream = [self._upstream(session) for session in sessions]
        yield Operation(
            "add_1_in_threads",
            f"add 1, {THREADS} threads at once",
            in_threads([lambda h=history: h.add_messages(messages) for history in ours]),
            in_threads([lambda s=session: self.raw.add(s, messages) for session in sessions]),
            in_threads([lambda h=history: h.add_messages(messages) for history in upstream]),
            0.2,
        )

    @contextmanager
    def _asynchronously(self) -> Iterator[tuple[asyncio.Runner, AsyncElasticsearch]]:
        with asyncio.Runner() as runner:

            async def connect() -> AsyncElasticsearch:
                return AsyncElasticsearch(
                    self.address, node_class=AsyncCountedNode, request_timeout=TIMEOUT_SEC
                )

            client = runner.run(connect())
            try:
                yield runner, client
            finally:
                runner.run(client.close())

    def _add_asynchronously(self, count: int, share: float) -> Iterator[Operation]:
        messages, session = conversation(count), self._session()
        with self._asynchronously() as (runner, client):
            ours = AsyncOurs(self._indices["ours"], session, client=client)
            upstream = AsyncUpstream(self._indices["upstream"], session, client=client)
            yield Operation(
                f"async_add_{count}",
                f"`aadd_messages`, {count}",
                awaited(runner, lambda: ours.aadd_messages(messages)),
                awaited(runner, lambda: self.raw.aadd(client, session, messages)),
                awaited(runner, lambda: upstream.aadd_messages(messages)),
                share,
            )

    # Reading.

    def _read(self, count: int, share: float) -> Iterator[Operation]:
        session = self._written(count)
        ours, upstream = self._ours(session), self._upstream(session)
        yield Operation(
            f"read_{count}",
            f"read {count:,}",
            timed(lambda: need(count, ours.messages)),
            timed(lambda: need(count, self.raw.read(session, count))),
            timed(lambda: need(count, upstream.messages)),
            share,
            upstream_rounds=10 if count < MANY else 3,
        )

    def _read_what_is_new(self) -> Iterator[Operation]:
        session, other = self._written(10), self._session()
        said = conversation(1)
        ours, upstream = self._ours(session), self._upstream(session)
        ours_elsewhere, upstream_elsewhere = self._ours(other), self._upstream(other)

        def ours_reads(watch: Watch) -> None:
            ours_elsewhere.add_messages(said)
            with watch:
                need(10, ours.messages)

        def floor_reads(watch: Watch) -> None:
            self.raw.add(other, said)
            with watch:
                need(10, self.raw.read(session, 10))

        def upstream_reads(watch: Watch) -> None:
            upstream_elsewhere.add_messages(said)
            with watch:
                need(10, upstream.messages)

        yield Operation(
            "read_10_refreshing",
            "read 10, another session having been added to",
            ours_reads,
            floor_reads,
            upstream_reads,
        )

    def _read_the_last(self) -> Iterator[Operation]:
        session = self._written(MANY)
        ours = self._ours(session)
        yield Operation(
            "last_10",
            f"last 10 of {MANY:,}",
            timed(lambda: need(10, ours.last_messages(10))),
            timed(lambda: need(10, self.raw.read(session, MANY, newest=10))),
        )

    def _read_nothing(self) -> Iterator[Operation]:
        session = self._session()
        ours, upstream = self._ours(session), self._upstream(session)
        yield Operation(
            "read_empty",
            "read an unused session",
            timed(lambda: need(0, ours.messages)),
            upstream=timed(lambda: need(0, upstream.messages)),
        )

    def _read_asynchronously(self) -> Iterator[Operation]:
        count = 1000
        session = self._written(count)
        with self._asynchronously() as (runner, client):
            ours = AsyncOurs(self._indices["ours"], session, client=client)
            upstream = AsyncUpstream(self._indices["upstream"], session, client=client)

            async def ours_reads() -> None:
                need(count, await ours.aget_messages())

            async def floor_reads() -> None:
                need(count, await self.raw.aread(client, session, count))

            async def upstream_reads() -> None:
                need(count, await upstream.aget_messages())

            yield Operation(
                "async_read_1000",
                f"`aget_messages`, {count:,}",
                awaited(runner, ours_reads),
                awaited(runner, floor_reads),
                awaited(runner, upstream_reads),
                0.3,
            )

    # Sessions.

    def _clear(self) -> Iterator[Operation]:
        messages = conversation(1000)
        ours, session = self._ours(self._session()), self._session()

        def ours_clears(watch: Watch) -> None:
            ours.add_messages(messages)
            with watch:
                ours.clear()

        def floor_clears(watch: Watch) -> None:
            self.raw.add(session, messages)
            with watch:
                self.raw.clear(session, len(messages))

        yield Operation("clear_1000", "clear 1,000", ours_clears, floor_clears, share=0.3)

    def _turn(self) -> Iterator[Operation]:
        told, said = conversation(20), conversation(2)

        # A session is as the turn before has left it: nobody has looked at its last two messages.
        def ours(watch: Watch) -> None:
            session = self._session()
            history = self._ours(session)
            history.add_messages(told[:-2])
            need(len(told) - 2, history.messages)
            history.add_messages(told[-2:])
            with watch:
                history = self._ours(session)
                need(len(told), history.messages)
                need(len(told), history.messages)
                history.add_messages(said)

        def floor(watch: Watch) -> None:
            session = self._session()
            self.raw.add(session, told[:-2])
            need(len(told) - 2, self.raw.read(session, len(told) - 2))
            self.raw.add(session, told[-2:])
            with watch:
                need(len(told), self.raw.read(session, len(told)))
                need(len(told), self.raw.read(session, len(told)))
                self.raw.add(session, said)

        def upstream(watch: Watch) -> None:
            session = self._session()
            self._write_for_upstream(session, len(told))
            with watch:
                history = self._upstream(session)
                need(len(told), history.messages)
                need(len(told), history.messages)
                history.add_messages(said)

        title = f"chat turn: open, read {len(told)}, read {len(told)}, add {len(said)}"
        yield Operation("chat_turn", title, ours, floor, upstream, 0.5, upstream_rounds=50)

    def _open_and_add(self) -> Iterator[Operation]:
        session, said = self._session(), conversation(1)
        yield Operation(
            "open_add_1",
            "open + add 1",
            timed(lambda: self._ours(session).add_messages(said)),
            timed(lambda: self.raw.add(session, said)),
            timed(lambda: self._upstream(session).add_messages(said)),
            0.5,
            upstream_rounds=20,
        )
