"""A chat history on Apache Kafka, a successor of `KafkaChatMessageHistory` of langchain-community.

`history` holds the class; `log` reads and writes a session's topic, `clients` shares the
connections of a process, `topics` maps session ids to names, `errors` is what they raise.
Needs confluent-kafka: `pip install 'chat-history-conformance[kafka]'`.
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
