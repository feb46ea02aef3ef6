"""Histories that nobody here wrote, as shipped, opened the way their documentation does."""

from langchain_community.chat_message_histories import (
    FileChatMessageHistory,
    SQLChatMessageHistory,
)
from langchain_core.chat_history import InMemoryChatMessageHistory

from chat_history_conformance import history_backend


@history_backend("community-sql", disposable=True)
def community_sql(session_id):
    """`SQLChatMessageHistory` on SQLite, by connection string."""
    return SQLChatMessageHistory(session_id, connection="sqlite:///history.db")


@history_backend("community-file", disposable=True)
def community_file(session_id):
    """`FileChatMessageHistory`, the session id being the file's path."""
    return FileChatMessageHistory(session_id)


STORE = {}


@history_backend(
    "core-memory", lacks={"durable": "kept in process memory by design"}, disposable=True
)
def core_memory(session_id):
    """`InMemoryChatMessageHistory` in a dictionary by session id, as langchain-core documents."""
    if session_id not in STORE:
        STORE[session_id] = InMemoryChatMessageHistory()
    return STORE[session_id]
