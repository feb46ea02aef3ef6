"""The declaration for chat-history-conformance, which is needed only to run its contracts."""

from chat_history_conformance import history_backend
from chat_history_conformance.servers import address
from redis_chat_history import RedisChatHistory


@history_backend("redis", server="redis")
def redis(session_id: str) -> RedisChatHistory:
    return RedisChatHistory(session_id, address("redis"))
