"""The rights that the history needs on a cluster with an authorizer."""

from __future__ import annotations

from confluent_kafka import KafkaError

__all__ = ["missing_right"]

_REFUSED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_TOPIC = {
    "look up the topic": "Describe",
    "find the ends": "Describe",
    "read the settings": "DescribeConfigs",
    "create the topic": "Create",
    "read the messages": "Read",
    "add the messages": "Write",
    "clear the messages": "Delete",
}
"""The operation on the topic that each action needs, by the name of the action in errors."""


def missing_right(action: str, error: KafkaError, topic: str) -> str:
    """Return a sentence that names the right a refused action needs, or "" for other errors.

    Args:
        action: The name of the action, as errors show it.
        error: The answer of the brokers.
        topic: The topic of the session, which is also the name of its consumer group.
    """
    if error.code() not in _REFUSED:
        return ""
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        operation, resource = "Read", "group"
    else:
        operation, resource = _TOPIC.get(action, "Read"), "topic"
    return f". Grant the user {operation} on the {resource} {topic!r}"
