"""Histories of other projects, as shipped, opened as their documentation does."""

from langchain_community.chat_message_histories import (
    FileChatMessageHistory,
    SQLChatMessageHistory,
)
from langchain_core.chat_history import InMemoryChatMessageHistory

from chat_history_conformance import history_backend


@history_backend("community-sql", disposable=True)
def community_sql(session_id):
    """Open `SQLChatMessageHistory` on SQLite, by connection string."""
    return SQLChatMessageHistory(session_id, connection="sqlite:///history.db")


@history_backend("community-file", disposable=True)
def community_file(session_id):
    """Open `FileChatMessageHistory` with the session id as the path of the file."""
    return FileChatMessageHistory(session_id)


STORE = {}


@history_backend(
    "core-memory", lacks={"durable": "kept in process memory by design"}, disposable=True
)
def core_memory(session_id):
    """Open `InMemoryChatMessageHistory` in a dictionary, as langchain-core documents it."""
    if session_id not in STORE:
        STORE[session_id] = InMemoryChatMessageHistory()
    return STORE[session_id]
