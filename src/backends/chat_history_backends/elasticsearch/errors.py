"""The errors of the Elasticsearch histories, and their texts."""

from __future__ import annotations

import builtins
import logging
from typing import TypeVar

from elastic_transport import ApiResponseMeta, TlsError
from elasticsearch import ApiError, ConnectionError, ConnectionTimeout, TransportError

from .requests import Steps

__all__ = [
    "DeliveryError",
    "ElasticsearchHistoryError",
    "OutdatedError",
    "RefusedError",
    "UnfitIndexError",
    "UnreachableError",
    "explained",
    "reason",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_UNKNOWN = ". The outcome is unknown: it may have been done all the same"


class ElasticsearchHistoryError(Exception):
    """Elasticsearch refused a call, or the call failed. The text names session and server."""


class RefusedError(ElasticsearchHistoryError, ApiError):
    """The server answered with a refusal.

    It is an `elasticsearch.ApiError`, so code that catches that class keeps working. `status_code`
    and `body` are those of the answer.
    """

    def __init__(self, text: str, meta: ApiResponseMeta, body: object) -> None:
        super().__init__(text, meta, body)

    def __str__(self) -> str:
        return str(self.message)


class DeliveryError(RefusedError):
    """The server refused messages of a batch. The messages that it had stored were removed again.

    `status_code` is 200 if the server accepted the request and refused single messages.

    Attributes:
        left: How many messages of the batch are still stored, because their removal failed.
    """

    def __init__(self, text: str, meta: ApiResponseMeta, body: object, left: int) -> None:
        super().__init__(text, meta, body)
        self.left = left


class UnreachableError(
    ElasticsearchHistoryError, ConnectionTimeout, ConnectionError, builtins.ConnectionError
):
    """No node answered in time. It is unknown whether a write was carried out.

    It is always an `elasticsearch.ConnectionError`, an `elasticsearch.ConnectionTimeout` and
    Python's own `ConnectionError`.
    """

    def __str__(self) -> str:
        return str(self.message)


class UnfitIndexError(ElasticsearchHistoryError, ValueError):
    """The index cannot keep sessions apart or in order. The text says what to do."""


class OutdatedError(ElasticsearchHistoryError):
    """The answer of the server does not fit the known properties of the index."""


def explained(steps: Steps[T], action: str, target: str, *, writes: bool) -> Steps[T]:
    """Carry out an operation. Log its error, and add the action, the target and a remedy to it.

    Args:
        steps: The operation.
        action: What it does, such as `add messages to`.
        target: The session, the index and the servers.
        writes: Whether something may have been stored if no answer comes.

    Raises:
        RefusedError: The server refused it.
        UnreachableError: No server answered.
    """
    problem: ElasticsearchHistoryError
    try:
        return (yield from steps)
    except DeliveryError as error:
        cause: Exception = error
        problem = DeliveryError(
            f"cannot {action} {target}: {error}", error.meta, error.body, error.left
        )
    except ApiError as error:
        cause = error
        text = reason(error) + (_UNKNOWN if writes and error.status_code >= 500 else "")
        problem = RefusedError(f"cannot {action} {target}: {text}", error.meta, error.body)
    except TransportError as error:
        cause = error
        remedy = "check that a server runs there and that the address is right"
        if isinstance(error, TlsError):
            remedy = "set ca_certs in config to the authority of its certificate"
        elif writes:
            remedy += _UNKNOWN
        problem = UnreachableError(
            f"cannot {action} {target}: {error.message}: {remedy}", error.errors
        )
    except ElasticsearchHistoryError as error:
        cause = error
        problem = type(error)(f"cannot {action} {target}: {error}")
    logger.error("%s", problem)
    raise problem from cause


def reason(error: ApiError) -> str:
    """Return why the server refused a request, and what to do about it."""
    text = str(error)
    if error.status_code == 401:
        return (
            f"the server does not accept the credentials ({text}). Check es_api_key, or es_user "
            "and es_password"
        )
    if error.status_code == 403:
        return f"it is not permitted ({text}). Ask for the privilege that this names"
    if error.status_code == 413:
        return (
            f"a message is larger than the server accepts in one request ({text}): make it "
            "smaller, or raise http.max_content_length"
        )
    if error.status_code == 503:
        return (
            f"not all of the index can be used at the moment ({text}): check the health of the "
            "cluster for shards that are not assigned"
        )
    if "media_type_header_exception" in text:
        return (
            f"the client is of a later major version than the server ({text}). Install "
            "'elasticsearch<9', or give the client a node_class of "
            "chat_history_backends.elasticsearch: PreviousMajorNode or AsyncPreviousMajorNode"
        )
    return text
