"""What the Elasticsearch histories raise when the server does not do what it was asked."""

from __future__ import annotations

import builtins
import logging
from typing import TypeVar

from elastic_transport import ApiResponseMeta, TlsError
from elasticsearch import ApiError, ConnectionError, ConnectionTimeout, TransportError

from .requests import Steps

logger = logging.getLogger(__name__)

T = TypeVar("T")

_UNKNOWN = ". Outcome unknown: it may have been done all the same"


class ElasticsearchHistoryError(Exception):
    """Elasticsearch refused a call, or failed it. The text names the session and the server."""


class RefusedError(ElasticsearchHistoryError, ApiError):
    """The server answered, and did not do it.

    It is an `elasticsearch.ApiError`, so that code which catches that goes on working;
    `status_code` and `body` are those of the answer.
    """

    def __init__(self, text: str, meta: ApiResponseMeta, body: object) -> None:
        super().__init__(text, meta, body)

    def __str__(self) -> str:
        return str(self.message)


class DeliveryError(RefusedError):
    """The server refused messages of a batch; those that it had stored were removed again.

    `status_code` is 200 where the server took the request and refused single messages.

    Attributes:
        left: How many messages of the batch are stored all the same, because that failed.
    """

    def __init__(self, text: str, meta: ApiResponseMeta, body: object, left: int) -> None:
        super().__init__(text, meta, body)
        self.left = left


class UnreachableError(
    ElasticsearchHistoryError, ConnectionTimeout, ConnectionError, builtins.ConnectionError
):
    """No node answered in time, or at all. What was to be written may be stored or not.

    It is an `elasticsearch.ConnectionError` and an `elasticsearch.ConnectionTimeout`, whichever of
    them it was, and Python's own `ConnectionError`.
    """

    def __str__(self) -> str:
        return str(self.message)


class UnfitIndexError(ElasticsearchHistoryError, ValueError):
    """The index, as it is, cannot keep sessions apart or in order. The text says what to do."""


def explained(steps: Steps[T], doing: str, where: str, *, writes: bool) -> Steps[T]:
    """Carry out an operation; log what fails of it, and say what it was and what to do.

    Args:
        steps: The operation.
        doing: What it does, such as `add messages to`.
        where: The session, the index and the servers.
        writes: Whether something may have been stored when no answer comes.

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
            f"cannot {doing} {where}: {error}", error.meta, error.body, error.left
        )
    except ApiError as error:
        cause = error
        told = reason(error) + (_UNKNOWN if writes and error.status_code >= 500 else "")
        problem = RefusedError(f"cannot {doing} {where}: {told}", error.meta, error.body)
    except TransportError as error:
        cause = error
        remedy = "look whether a server runs there, and whether the address is right"
        if isinstance(error, TlsError):
            remedy = "name the authority of its certificate as ca_certs in config"
        elif writes:
            remedy += _UNKNOWN
        problem = UnreachableError(
            f"cannot {doing} {where}: {error.message}: {remedy}", error.errors
        )
    except ElasticsearchHistoryError as error:
        cause = error
        problem = type(error)(f"cannot {doing} {where}: {error}")
    logger.error("%s", problem)
    raise problem from cause


def reason(error: ApiError) -> str:
    """Why the server refused a request, and what to do about it."""
    told = str(error)
    if error.status_code == 401:
        return (
            f"the server does not know who asks ({told}). Check es_api_key, or es_user and "
            "es_password"
        )
    if error.status_code == 403:
        return f"it is not permitted ({told}). Ask for the privilege that this names"
    if error.status_code == 413:
        return (
            f"a message is larger than the server takes in one request ({told}): make it smaller, "
            "or raise http.max_content_length"
        )
    if error.status_code == 503:
        return (
            f"not all of the index can be used at the moment ({told}): look at the health of the "
            "cluster, for shards that are not assigned"
        )
    if "media_type_header_exception" in told:
        return (
            f"the client is of a later major version than the server ({told}). Install "
            "'elasticsearch<9', or give the client a node_class of "
            "chat_history_backends.elasticsearch: PreviousMajorNode or AsyncPreviousMajorNode"
        )
    return told
