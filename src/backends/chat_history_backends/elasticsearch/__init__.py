"""Chat histories on Elasticsearch, successors of those of langchain-elasticsearch.

`history` holds the two classes, one synchronous and one asynchronous; `conversation` says what is
asked of the server for each operation, without doing it; `index` knows the index, `clients` makes
clients, `errors` is what they raise, `requests` the little that both sides share.
Needs elasticsearch: `pip install 'chat-history-conformance[elasticsearch]'`.
"""

try:
    import elasticsearch as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "chat_history_backends.elasticsearch needs elasticsearch: "
        "pip install 'chat-history-conformance[elasticsearch]'"
    ) from error

from .clients import AsyncPreviousMajorNode, PreviousMajorNode
from .errors import (
    DeliveryError,
    ElasticsearchHistoryError,
    RefusedError,
    UnfitIndexError,
    UnreachableError,
)
from .history import AsyncElasticsearchChatMessageHistory, ElasticsearchChatMessageHistory

__all__ = [
    "AsyncElasticsearchChatMessageHistory",
    "AsyncPreviousMajorNode",
    "DeliveryError",
    "ElasticsearchChatMessageHistory",
    "ElasticsearchHistoryError",
    "PreviousMajorNode",
    "RefusedError",
    "UnfitIndexError",
    "UnreachableError",
]
