"""One call of a history: its time limit, and the errors that it raises."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from .clients import Clients
from .errors import (
    NO_BROKER,
    KafkaHistoryError,
    SlowReadError,
    UnreachableError,
    is_from_broker,
    is_refusal,
    is_wrong_credentials,
)
from .rights import missing_right

__all__ = ["ADMIN_SECONDS", "POLL_SECONDS", "RETRY_SECONDS", "Call"]

ADMIN_SECONDS = 120.0
"""The time limit of requests to the admin client. No call waits for it.

librdkafka 2.16 ends the process (`eonce->refcnt > 0`) if a coordinator answers after this time. So
a call keeps its own limit by no longer waiting, and the request never reaches this one: the
connection is closed long before, see `socket.timeout.ms`.
"""
RETRY_SECONDS = 0.005
"""Pause before something is tried again."""
POLL_SECONDS = 0.5
"""Longest wait before the call checks whether the brokers refuse its credentials."""
_FIRST_ANSWER_SECONDS = 1.0
"""The time after which a request to the admin client is sent again. The next pauses are longer."""
_LONGEST_PAUSE_SECONDS = 4.0
"""The longest pause between two attempts of a request to the admin client."""
_FIRST_CONTACT_SECONDS = 2.0
"""Minimum time to wait for brokers that have never answered. Others get the full time limit."""


class Call:
    """One call of a history on one topic.

    Args:
        clients: The shared clients.
        topic: The name of the topic.
        session: The session id, for errors.
        servers: The addresses of the brokers, for errors.
        limit_seconds: How long the call may take. For a read without a deadline: how long it waits
            for the next record.
        began: The time of `time.monotonic()` at which the caller made the call; None for now.
        caller_chose_limit: Whether the limit came from the caller and may be too short for any
            broker.
    """

    def __init__(
        self,
        clients: Clients,
        topic: str,
        session: str,
        servers: str,
        limit_seconds: float,
        *,
        began: float | None = None,
        caller_chose_limit: bool = False,
    ) -> None:
        self.clients = clients
        self.topic = topic
        self.limit_seconds = limit_seconds
        self._caller_chose_limit = caller_chose_limit
        self.began = time.monotonic() if began is None else began
        """The time of `time.monotonic()` at which the call was made."""
        self.deadline = self.began + limit_seconds
        """The time of `time.monotonic()` at which the call has to end."""
        self.session = f"session {session!r}"
        """The session, as errors name it."""
        self.session += f" (topic {topic!r})" if topic != session else ""
        self.brokers = f"Kafka at {servers}"
        """The brokers, as errors name them."""

    # Time.

    @property
    def left_seconds(self) -> float:
        """The time until the deadline; never 0, which some clients take for no limit."""
        return max(0.001, min(self.deadline - time.monotonic(), ADMIN_SECONDS))

    @property
    def poll_seconds(self) -> float:
        """The time to wait before the call checks again that it may go on."""
        return min(POLL_SECONDS, self.left_seconds)

    @property
    def is_late(self) -> bool:
        """True after the deadline."""
        return time.monotonic() >= self.deadline

    def allow(self, seconds: float) -> None:
        """Move the deadline so that at least `seconds` are left."""
        self.deadline = max(self.deadline, time.monotonic() + seconds)

    @property
    def has_no_broker(self) -> bool:
        """True if the brokers have never answered this process and refuse connections."""
        trouble = self.clients.trouble
        return (
            not self.clients.reached
            and trouble is not None
            and trouble.code() in NO_BROKER
            and time.monotonic() >= self.deadline - self.limit_seconds + _FIRST_CONTACT_SECONDS
        )

    # Waiting.

    def ask(
        self,
        request: Callable[[AdminClient], Mapping[Any, Future[Any]]],
        action: str,
        until: float | None = None,
    ) -> Any:
        """Send a request with the admin client, and return the first answer to it.

        The client sends it to the broker that it takes for the controller, and then only waits,
        also if that broker is dead or silent. So if no answer comes, the client learns the brokers
        again, and the request is sent once more, later by a new client: after a restart of all
        brokers, librdkafka 2.16 may wait for ever for a connection that it does not make. A request
        that is sent twice must do no harm.

        Args:
            request: Sends the request about one thing.
            action: The purpose of the request, for errors, such as `create the topic`.
            until: The time of `time.monotonic()` at which to stop waiting; None for the deadline.

        Raises:
            UnreachableError: No answer came in time, or the brokers refuse the credentials.
            KafkaHistoryError: The brokers refused the request.
        """
        until = self.deadline if until is None else min(until, self.deadline)
        pause_seconds = _FIRST_ANSWER_SECONDS
        pending: set[Future[Any]] = set()
        while True:
            admin = self.clients.admin
            pending.update(request(admin).values())
            again_at = time.monotonic() + pause_seconds
            while (now := time.monotonic()) < again_at:
                wait_seconds = max(0.001, min(until, again_at, now + POLL_SECONDS) - now)
                done, pending = futures.wait(pending, wait_seconds, futures.FIRST_COMPLETED)
                error = KafkaError(KafkaError._TIMED_OUT, "no answer")
                for future in done:
                    failure = future.exception()
                    if not isinstance(failure, KafkaException):
                        return future.result()
                    error = failure.args[0]
                    if is_refusal(error):
                        raise self.refused(action, error) from failure
                admin.poll(0)  # lets the client report its trouble
                self.check_credentials(action)
                if time.monotonic() >= until or not pending:
                    raise self.unreachable(action, error)
            with contextlib.suppress(KafkaException):
                admin.list_topics(self.topic, timeout=self.poll_seconds)
            if pause_seconds > _FIRST_ANSWER_SECONDS:
                self.clients.replace_admin(admin)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def pause_or_raise(self, error: KafkaHistoryError) -> None:
        """Wait a moment if the error may pass and time is left. Otherwise raise it."""
        if is_refusal(error.error) or self.is_late or self.has_no_broker:
            raise error
        time.sleep(RETRY_SECONDS)

    def retry_or_raise(self, action: str, error: KafkaError) -> None:
        """Wait a moment if the error may pass and time is left. Otherwise raise an error for it.

        Args:
            action: The purpose of the request, for errors, such as `create the topic`.
            error: The answer to the request.

        Raises:
            UnreachableError: The time is up, or the brokers refuse the credentials.
            KafkaHistoryError: The brokers refused the request.
        """
        self.check_credentials(action)
        self.pause_or_raise(
            self.refused(action, error) if is_refusal(error) else self.unreachable(action, error)
        )

    # Errors.

    def check_credentials(self, action: str) -> None:
        """Raise `UnreachableError` if a client reported that the brokers refuse the credentials."""
        trouble = self.clients.trouble
        if trouble is not None and is_wrong_credentials(trouble):
            self.clients.trouble = None
            raise UnreachableError(
                trouble,
                f"could not {action} of {self.session}: {self.brokers} does not let us in "
                f"({trouble.str()}). Check the credentials and security.protocol in config",
            )

    def refused(self, action: str, error: KafkaError) -> KafkaHistoryError:
        """Return the error for a request that the brokers refused."""
        return KafkaHistoryError(
            error,
            f"could not {action} of {self.session}: {self.brokers} says {error.str()!r}"
            + missing_right(action, error, self.topic),
        )

    def unreachable(self, action: str, error: KafkaError | None = None) -> KafkaHistoryError:
        """Return the error for a request that got no answer in time."""
        error = error or KafkaError(KafkaError._TIMED_OUT, "no answer")
        if self._caller_chose_limit:
            return SlowReadError(
                error,
                f"could not {action} of {self.session}: {self.limit_seconds:g} s passed before "
                f"{self.brokers} reported where the messages end; nothing was consumed. Allow more "
                "time",
            )
        waited = self.limit_seconds
        if self.has_no_broker:
            waited = min(waited, _FIRST_CONTACT_SECONDS)
        did, advice = "did not answer", "Check that it is running and that the address is right"
        if is_from_broker(error):
            did, advice = "did not serve this", "Look at the state of its brokers, and try again"
        return UnreachableError(
            error,
            f"could not {action} of {self.session}: {self.brokers} {did} within {waited:g} s "
            f"({error.str()}). {advice}",
        )
