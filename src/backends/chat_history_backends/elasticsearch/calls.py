"""One call of a method: its time limit, its retries, its possible writes, and its error.

A call may send several requests, each several times. All of them share one time limit.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from elastic_transport import TlsError
from elasticsearch import ApiError, ConnectionError, ConnectionTimeout, TransportError

from .answers import checked_error, has_header
from .errors import (
    DeliveryError,
    ElasticsearchHistoryError,
    ForeignAnswerError,
    NodeFailedError,
    RefusedError,
    UnavailableError,
    UnreachableError,
    error_of,
    error_type,
    is_full_disk,
    reason,
)
from .requests import Request, Steps

__all__ = ["Attempts", "Call", "Contact", "Operation", "explained", "no_connection", "no_time"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_UNKNOWN = ". The outcome is unknown: it may have been done all the same"
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
_FIRST_CONTACT_SECONDS = 2.0
"""The seconds to try nodes that have never answered and refuse connections."""
_NOT_STARTED = ("cluster_block_exception", "master_not_discovered_exception")
_NOT_CONNECTED = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "NameResolutionError",
    "ClientConnectorError",
    "ConnectionRefusedError",
    "ConnectionTimeoutError",  # aiohttp's, of the connection
)
"""Names of the errors of HTTP libraries that mean that no request was sent."""


@dataclass
class Contact:
    """The knowledge of clients with the same servers and credentials about these servers.

    Attributes:
        answered: Whether a node has ever answered.
    """

    answered: bool = False


@dataclass
class Call:
    """One call of a method of a history.

    Attributes:
        limit_seconds: The time limit of the whole call, from its start.
        contact: Whether a node has ever answered.
        began: The time of `time.monotonic()` at which it began.
        deadline: The time of `time.monotonic()` at which it ends.
        wrote: Whether a request that writes documents was carried out.
        uncertain: Whether a request that writes documents may have been carried out, although no
            answer said so.
        unconfirmed: The positions of the messages of a batch that may not be stored.
        answered: The last error that a node answered.
    """

    limit_seconds: float
    contact: Contact
    began: float = field(init=False)
    deadline: float = field(init=False)
    wrote: bool = False
    uncertain: bool = False
    unconfirmed: tuple[int, ...] = ()
    answered: Exception | None = None

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + self.limit_seconds

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline; not negative."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def outcome_unknown(self) -> bool:
        """True if the call may have written something."""
        return self.wrote or self.uncertain


@dataclass(frozen=True)
class Operation(Generic[T]):
    """The steps of a call, and the call."""

    steps: Steps[T]
    call: Call


@dataclass
class Attempts:
    """The attempts to send one request.

    Args:
        request: The request.
        call: The call that it belongs to.
        patient: Whether to repeat a request at all.
        nodes: The number of nodes that the client knows.
    """

    request: Request
    call: Call
    patient: bool
    nodes: int
    count: int = 0
    refused: int = 0
    answered: Exception | None = None

    def seconds(self) -> float:
        """Return the time limit of the next attempt.

        A node that does not answer must not use up the time in which another node could.
        """
        left = self.call.seconds_left
        others = min(self.nodes, 4) - 1 - self.count
        return left / 2 if others > 0 and (self.patient or self.request.node) else left

    def succeeded(self, answer: Any) -> None:
        """Note that a node answered, and the effect of the request."""
        self.call.contact.answered = True
        if self.request.writes:
            results = [next(iter(item.values())) for item in answer.body["items"]]
            self.call.wrote |= any("error" not in result for result in results)
            self.call.uncertain |= any(map(_may_be_done, results))

    def failed(self, error: Exception) -> tuple[Exception, float | None]:
        """Return the error of an attempt, and the pause before the next; None after the last."""
        self.count += 1
        error = checked_error(self.request, error)
        if self.request.writes and not _is_certain(error):
            self.call.uncertain = True
        self.refused += _is_not_connected(error) and not isinstance(error, ConnectionTimeout)
        if isinstance(error, ApiError):
            self.call.contact.answered = True
            self.answered = self.call.answered = error
        elif isinstance(error, ConnectionTimeout):
            # An answer says more, and the time is up now.
            error = (self.call if isinstance(error, _NotSent) else self).answered or error
        if not self.patient or not self.call.seconds_left or not self._may_repeat(error):
            return error, None
        if self.request.node is not None and self.nodes > 1:
            return NodeFailedError(error), None
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** (self.count - 1), _LONGEST_PAUSE_SECONDS)
        pause *= random.uniform(0.5, 1.0)
        return error, pause if pause < self._seconds_left() else None

    def _seconds_left(self) -> float:
        """Return the seconds left for attempts: few if no node has ever answered or can now."""
        left = self.call.seconds_left
        all_refuse = self.refused == self.count >= self.nodes
        if self.call.contact.answered or not all_refuse:
            return left
        return min(left, self.call.began + _FIRST_CONTACT_SECONDS - time.monotonic())

    def _may_repeat(self, error: Exception) -> bool:
        if isinstance(error, ForeignAnswerError):
            return error.status_code in (429, 502, 503, 504)
        if isinstance(error, UnavailableError):
            # A smaller request may succeed at once, and a full disk does not become free soon.
            too_large = "circuit_breaking" in str(error.body) or self._is_large()
            return not (error.status_code == 429 and too_large) and not is_full_disk(
                error_of(error.body)
            )
        if isinstance(error, ConnectionTimeout):
            return self.call.seconds_left > 0
        return isinstance(error, ConnectionError) and not isinstance(error, TlsError)

    def _is_large(self) -> bool:
        lines = self.request.arguments.get("operations", ())
        return len(lines) > 2 and sum(len(x) for x in lines if isinstance(x, str)) > 1024 * 1024


def _may_be_done(result: Mapping[str, Any]) -> bool:
    """Return whether an operation of a bulk request that was refused may be done all the same.

    The node that distributes the operations repeats a failed one on another node by itself.
    """
    if "error" not in result or result["status"] < 500:
        return False
    return "Not enough active copies" not in str(result["error"].get("reason"))


def _is_certain(error: Exception) -> bool:
    """Return whether a request that ended with this error has written nothing for sure."""
    if isinstance(error, ForeignAnswerError):
        return False
    if isinstance(error, ApiError):
        refused = error.status_code < 500 or error_type(error) in _NOT_STARTED
        return refused and (has_header(error.meta) or error.status_code in (401, 403, 413))
    if isinstance(error, TlsError):
        return True
    return isinstance(error, _NotSent) or _is_not_connected(error)


def _is_not_connected(error: Exception) -> bool:
    """Return whether no connection was made."""
    causes: list[BaseException | None] = [error.__cause__, *getattr(error, "errors", ())]
    causes.append(error.__context__)  # the asynchronous client names no cause
    names = {base.__name__ for cause in causes for base in type(cause).__mro__}
    return not names.isdisjoint(_NOT_CONNECTED)


class _NotSent(ConnectionTimeout):
    """No connection became free in time, so the request was not sent."""


def no_connection(call: Call, connections: int) -> Exception:
    """Return the error for a call that waited for a connection until its deadline."""
    return _NotSent(
        f"all {connections} connections of the client were in use for {call.limit_seconds:g} "
        "s. Give the client more connections_per_node, if the server can serve them"
    )


def no_time(call: Call) -> Exception:
    """Return the error for a request that was not sent, because the time of the call is up."""
    return _NotSent(f"the limit of the call, {call.limit_seconds:g} s, is over")


def explained(steps: Steps[T], action: str, target: str, call: Call, *, writes: bool) -> Steps[T]:
    """Carry out an operation. Log its error, and add the action, the target and a remedy to it.

    Args:
        steps: The operation.
        action: Its purpose, such as `add messages to`.
        target: The session, the index and the servers.
        call: The call.
        writes: Whether the operation writes something.

    Raises:
        ElasticsearchHistoryError: The operation failed.
    """
    try:
        return (yield from steps)
    except (ApiError, TransportError, ElasticsearchHistoryError) as error:
        cause: Exception = error
        problem = _explain(error, f"cannot {action} {target}: ", call, writes)
    logger.error("%s", problem)
    raise problem from cause


def _explain(error: Exception, start: str, call: Call, writes: bool) -> ElasticsearchHistoryError:
    unknown = writes and call.outcome_unknown
    end = _UNKNOWN if unknown else ""
    problem: ElasticsearchHistoryError
    if isinstance(error, DeliveryError):
        unknown = error.left > 0 or error.outcome_unknown
        end = _UNKNOWN if unknown and not error.left else ""
        problem = type(error)(f"{start}{error}{end}", error.meta, error.body, error.left)
    elif isinstance(error, ApiError):
        refused: type[RefusedError] = RefusedError
        for special in (ForeignAnswerError, UnavailableError):
            if isinstance(error, special):
                refused = special
        problem = refused(f"{start}{reason(error)}{end}", error.meta, error.body)
    elif isinstance(error, TransportError):
        end = end or (". Nothing was written" if writes else "")
        text = f"{start}{error.message}: {_remedy(error, call)}{end}"
        problem = UnreachableError(text, error.errors)
    else:
        assert isinstance(error, ElasticsearchHistoryError)
        problem = type(error)(f"{start}{error}{end}")
    problem.outcome_unknown = unknown
    problem.unconfirmed = call.unconfirmed
    return problem


def _remedy(error: TransportError, call: Call) -> str:
    if isinstance(error, TlsError):
        return "set ca_certs in config to the authority of its certificate"
    if isinstance(error, ConnectionTimeout):
        return (
            f"no answer came within {call.limit_seconds:g} s. Check the load and the health "
            "of the cluster"
        )
    return "check that a server runs there and that the address is right"
