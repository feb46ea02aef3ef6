"""Chat histories on Elasticsearch that replace those of langchain-elasticsearch.

They need elasticsearch: `pip install 'chat-history-conformance[elasticsearch]'`.

Modules:
    history, async_history, base: The two classes, and their common part.
    session: The key, routing and queries of a session; how documents are ordered and cleared.
    adding, reading, removing: The operations. They yield requests and do no I/O themselves.
    requests: The steps that operations yield.
    calls, driving: The time limit, retries and errors of a call; carrying out its steps.
    answers: Checking that an answer comes from Elasticsearch, and is whole.
    pages, bulk: Searches page by page, and bulk requests.
    confirming: Verifying that messages are stored if an answer does not prove it.
    index, fitness, trial: The properties of an index, its creation, and whether it is fit.
    clients: The settings of clients.
    copying: Copying an index in the order of its conversations.
    errors: The errors.
"""

try:
    import elasticsearch as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "chat_history_backends.elasticsearch needs elasticsearch: "
        "pip install 'chat-history-conformance[elasticsearch]'"
    ) from error

from .async_history import AsyncElasticsearchChatMessageHistory
from .clients import AsyncPreviousMajorNode, PreviousMajorNode
from .copying import CopyReport, copy_index
from .errors import (
    DeliveryError,
    ElasticsearchHistoryError,
    ForeignAnswerError,
    RefusedError,
    UnavailableDeliveryError,
    UnavailableError,
    UnfitIndexError,
    UnreachableError,
)
from .history import ElasticsearchChatMessageHistory

__all__ = [
    "AsyncElasticsearchChatMessageHistory",
    "AsyncPreviousMajorNode",
    "CopyReport",
    "DeliveryError",
    "ElasticsearchChatMessageHistory",
    "ElasticsearchHistoryError",
    "ForeignAnswerError",
    "PreviousMajorNode",
    "RefusedError",
    "UnavailableDeliveryError",
    "UnavailableError",
    "UnfitIndexError",
    "UnreachableError",
    "copy_index",
]
