"""A chat history on Apache Kafka that replaces `KafkaChatMessageHistory` of langchain-community.

It needs confluent-kafka: `pip install 'chat-history-conformance[kafka]'`.

Modules:
    history: The class.
    call: The time limit of one call, and the errors that it raises.
    topics: Find and create the topic of a session.
    writing, reading, records: Change and read the records of a topic.
    consuming, cursor: Read on from the position of a session, and move it.
    clients, sender: The connections that the histories of a process share.
    names: The name of the topic of a session id.
    errors: The errors.
"""

try:
    import confluent_kafka as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "chat_history_backends.kafka needs confluent-kafka: "
        "pip install 'chat-history-conformance[kafka]'"
    ) from error

from .errors import DeliveryError, KafkaHistoryError, UnreachableError
from .history import KafkaChatMessageHistory

__all__ = ["DeliveryError", "KafkaChatMessageHistory", "KafkaHistoryError", "UnreachableError"]
