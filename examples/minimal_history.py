"""A short chat history in an SQLite file that passes the contracts. Copy it and change it.

Check it with `pytest --history-backend=minimal_history:MinimalHistory` in this directory.
"""

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict


class MinimalHistory(BaseChatMessageHistory):
    def __init__(self, session_id: str, path: str = "minimal.sqlite3") -> None:
        if not isinstance(session_id, str):
            raise TypeError(f"session_id must be a string, not {type(session_id).__name__}")
        self.session = json.dumps(session_id)  # ASCII, so that any string is a valid key
        self.path = os.path.abspath(path)  # the working directory may change
        self._run("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, session, text)")

    @property
    def messages(self) -> list[BaseMessage]:
        query = "SELECT text FROM message WHERE session = ? ORDER BY id"
        return messages_from_dict(
            [json.loads(text) for (text,) in self._run(query, [self.session])]
        )

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        rows = [(self.session, _encode(message)) for message in _checked(messages)]
        with (
            closing(sqlite3.connect(self.path, timeout=60)) as database,
            database,
        ):  # one transaction
            database.executemany("INSERT INTO message (session, text) VALUES (?, ?)", rows)

    def clear(self) -> None:
        self._run("DELETE FROM message WHERE session = ?", [self.session])

    def _run(self, statement: str, values: Sequence[str] = ()) -> list[tuple[str]]:
        with closing(sqlite3.connect(self.path, timeout=60)) as database, database:
            return database.execute(statement, values).fetchall()


def _checked(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    if isinstance(messages, str | dict | BaseMessage):
        raise TypeError(f"a sequence of messages is needed, not {type(messages).__name__}")
    return messages


def _encode(message: BaseMessage) -> str:
    """Write a message as JSON, and refuse it before anything is stored if it would change."""
    if not isinstance(message, BaseMessage):
        raise TypeError(f"a message is needed, not {type(message).__name__}")
    text = json.dumps(message_to_dict(message))
    (again,) = messages_from_dict([json.loads(text)])
    if json.dumps(message_to_dict(again)) != text:
        raise ValueError(f"{type(message).__name__} holds a value that JSON does not keep")
    return text
