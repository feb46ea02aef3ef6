"""The settings of librdkafka that a caller may choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["check_config", "sharing_key"]

_RESERVED = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "batch.num.messages",
        "batch.size",
        "bootstrap.servers",
        "delivery.report.only.error",
        "delivery.timeout.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "enable.partition.eof",
        "error_cb",
        "group.id",
        "group.instance.id",
        "isolation.level",
        "logger",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.send.max.retries",
        "message.timeout.ms",
        "on_delivery",
        "request.required.acks",
        "retries",
        "transactional.id",
    }
)
"""Settings that the guarantees of the history depend on. The caller may not set them."""


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the caller's settings.

    Raises:
        ValueError: The caller may not choose one of the settings; the text names it.
    """
    for name in config:
        if name in _RESERVED:
            raise ValueError(
                f"config must not hold {name!r}: the guarantees of the history depend on it. "
                "Remove it. Settings of the connection, such as security.protocol or "
                "sasl.mechanism, are allowed"
            )
    return dict(config)


def sharing_key(bootstrap_servers: str, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the key of a configuration. Histories with equal keys share their clients."""
    return (bootstrap_servers, *sorted((name, repr(value)) for name, value in config.items()))
