"""The errors of the Elasticsearch histories, and their texts."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from elastic_transport import ApiResponseMeta
from elasticsearch import ApiError, ConnectionError, ConnectionTimeout

__all__ = [
    "BLOCKED",
    "DeliveryError",
    "ElasticsearchHistoryError",
    "ForeignAnswerError",
    "NodeFailedError",
    "OutdatedError",
    "RefusedError",
    "UnavailableDeliveryError",
    "UnavailableError",
    "UnfitIndexError",
    "UnreachableError",
    "error_of",
    "error_type",
    "is_forbidden",
    "is_full_disk",
    "is_missing_index",
    "reason",
]

BLOCKED = "A setting blocks the index: remove the setting of index.blocks that this names"

logger = logging.getLogger(__name__)


class ElasticsearchHistoryError(Exception):
    """Elasticsearch refused a call, or the call failed. The text names session and server.

    Attributes:
        outcome_unknown: Whether the call may have written something. False if it did not for sure.
        unconfirmed: Of an add: the positions of the messages that may not be stored.
    """

    outcome_unknown: bool = False
    unconfirmed: Sequence[int] = ()


class RefusedError(ElasticsearchHistoryError, ApiError):
    """The server answered with a refusal.

    It is an `elasticsearch.ApiError`, so code that catches that class keeps working. `status_code`
    and `body` are those of the answer.
    """

    def __init__(self, text: str, meta: ApiResponseMeta, body: object) -> None:
        super().__init__(text, meta, body)

    def __str__(self) -> str:
        return str(self.message)


class UnavailableError(RefusedError, builtins.ConnectionError):
    """Elasticsearch answered that it cannot serve the request now, or only in part."""


class ForeignAnswerError(RefusedError, builtins.ConnectionError):
    """An answer came that Elasticsearch does not give to this request.

    A proxy, a gateway or another product has answered. `status_code` and `body` are those of the
    answer; the status is 0 if the client could not read the answer at all.
    """


class DeliveryError(RefusedError):
    """The server refused messages of a batch. The messages that it had stored were removed again.

    `status_code` is 200 if the server accepted the request and refused single messages.

    Attributes:
        left: How many messages of the batch are still stored, because their removal failed.
    """

    def __init__(self, text: str, meta: ApiResponseMeta, body: object, left: int) -> None:
        super().__init__(text, meta, body)
        self.left = left


class UnavailableDeliveryError(DeliveryError, UnavailableError):
    """The server could not store messages of a batch now. The others were removed again."""


class UnreachableError(
    ElasticsearchHistoryError, ConnectionTimeout, ConnectionError, builtins.ConnectionError
):
    """No node answered in time. `outcome_unknown` says whether a write may have been carried out.

    It is always an `elasticsearch.ConnectionError`, an `elasticsearch.ConnectionTimeout` and
    Python's own `ConnectionError`.
    """

    def __str__(self) -> str:
        return str(self.message)


class UnfitIndexError(ElasticsearchHistoryError, ValueError):
    """The index cannot keep sessions apart or in order. The text says what to do."""


class OutdatedError(ElasticsearchHistoryError):
    """The answer of the server does not fit the known properties of the index."""


class NodeFailedError(Exception):
    """The node that has refreshed an index did not answer a search. Refresh it with another node.

    Attributes:
        error: The failure of the search.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def error_of(body: object) -> Mapping[str, Any]:
    """Return the description of the error in an answer; empty if it has none."""
    error = body.get("error") if isinstance(body, Mapping) else None
    return error if isinstance(error, Mapping) else {}


def error_type(error: ApiError) -> str:
    """Return the type of the error that Elasticsearch names, such as `security_exception`."""
    return str(error_of(error.body).get("type", ""))


def is_missing_index(error: ApiError) -> bool:
    """Return whether Elasticsearch says that the index does not exist."""
    return error.status_code == 404 and error_type(error) == "index_not_found_exception"


def is_forbidden(error: ApiError) -> bool:
    """Return whether Elasticsearch says that a privilege is missing."""
    return error.status_code == 403 and error_type(error) == "security_exception"


def is_full_disk(error: Mapping[str, Any]) -> bool:
    """Return whether the server has blocked the index because its disk is full.

    The block also refuses to delete documents. Only the whole index can be deleted.
    """
    return error.get("type") == "cluster_block_exception" and (
        "read-only-allow-delete" in str(error.get("reason"))
    )


def reason(error: ApiError) -> str:
    """Return why the server refused a request, and what to do about it."""
    text = str(error)
    if isinstance(error, ForeignAnswerError):
        return text
    if error.status_code == 401:
        return (
            f"the server does not accept the credentials ({text}). Check es_api_key, or es_user "
            "and es_password"
        )
    why = error_of(error.body)
    if is_full_disk(why):
        return (
            f"the disk of the server is full ({why.get('reason')}). Free space on the disk, or "
            "remove the setting index.blocks.read_only_allow_delete"
        )
    if why.get("type") == "cluster_block_exception" and error.status_code == 403:
        return f"{why.get('reason')} {BLOCKED}"
    if error.status_code == 403:
        return f"it is not permitted ({text}). Ask for the privilege that this names"
    if error.status_code == 413:
        return (
            f"a message is larger than the server accepts in one request ({text}): make it "
            "smaller, or raise http.max_content_length"
        )
    if error.status_code in (429, 503):
        return (
            f"not all of the index can be used at the moment ({text}): check the health of the "
            "cluster for shards that are not assigned, and its load"
        )
    if why.get("type") == "index_closed_exception":
        return f"the index is closed ({why.get('reason')}). Open it"
    if "media_type_header_exception" in text:
        return (
            f"the client is of a later major version than the server ({text}). Install "
            "'elasticsearch<9', or give the client a node_class of "
            "chat_history_backends.elasticsearch: PreviousMajorNode or AsyncPreviousMajorNode"
        )
    return text
