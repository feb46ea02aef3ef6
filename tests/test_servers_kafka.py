"""A real Kafka broker: found, started, paused, killed, restarted, stopped."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from conformance.servers.handle import Server


def test_the_broker_answers_at_its_address(kafka: Server) -> None:
    metadata = AdminClient({"bootstrap.servers": kafka.address}).list_topics(timeout=10)
    assert [f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()] == [
        kafka.address
    ]
    assert kafka.description == "4.1.1 (jvm)"
