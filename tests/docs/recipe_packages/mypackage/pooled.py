"""A history that uses a pool of asyncpg."""

import json
from collections.abc import Sequence
from typing import Any

import asyncpg
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict


class PooledHistory:
    """A history with asynchronous methods only, in a table of PostgreSQL."""

    def __init__(self, pool: Any, session_id: str) -> None:
        self._pool: asyncpg.Pool[Any] = pool
        self._session_id = session_id

    @staticmethod
    async def create_table(pool: Any) -> None:
        await pool.execute("CREATE TABLE chat (id serial, session text, message text)")

    async def aget_messages(self) -> list[BaseMessage]:
        rows = await self._pool.fetch(
            "SELECT message FROM chat WHERE session = $1 ORDER BY id", self._session_id
        )
        return messages_from_dict([json.loads(row["message"]) for row in rows])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        rows = [(self._session_id, json.dumps(message_to_dict(one))) for one in messages]
        await self._pool.executemany("INSERT INTO chat (session, message) VALUES ($1, $2)", rows)

    async def aclear(self) -> None:
        await self._pool.execute("DELETE FROM chat WHERE session = $1", self._session_id)
