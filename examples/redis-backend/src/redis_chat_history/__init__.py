"""A LangChain chat history in Redis: one list for each session, one record for each message."""

from redis_chat_history.history import RedisChatHistory, RedisUnavailableError

__all__ = ["RedisChatHistory", "RedisUnavailableError"]
