"""Topics that are created at the same time share a request."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from functools import partial

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

__all__ = ["CreatedTogether"]

_MOST_TOPICS = 100
"""The most topics of a request."""
_STALE_SECONDS = 0.5
"""The age at which no topic waits any longer for the answer to a request."""

_Wanted = tuple[NewTopic, "Future[None]"]


class CreatedTogether:
    """The requests with which this process creates topics. Safe for threads.

    A broker answers the requests of a connection one after another. It needs about 30 ms to create
    a topic, and little more to create several for one request. So a topic waits for the answer to
    the request before, and the next request is for all topics that have waited.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Wanted] = []
        self._unanswered: set[Future[None]] = set()  # of the last request
        self._sent_at = 0.0

    def create(
        self, admin: AdminClient, new: NewTopic, *, operation_timeout: float, request_timeout: float
    ) -> Future[None]:
        """Send a request for a topic, and return the future answer.

        Args:
            admin: The client that sends the request, unless another call does so.
            new: The topic.
            operation_timeout: How long the brokers may take, in seconds.
            request_timeout: The time limit of the request, in seconds.

        Raises:
            KafkaException: The client refuses the topic.
        """
        answer: Future[None] = Future()
        mine: _Wanted = new, answer
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(
                lambda: not self._unanswered or mine not in self._waiting,
                min(self._sent_at + _STALE_SECONDS - time.monotonic(), operation_timeout),
            )
            if mine not in self._waiting:
                return answer
            batch = self._take(mine)
            try:
                self._send(admin, batch, operation_timeout, request_timeout)
            except Exception:
                if len(batch) == 1:
                    raise
                # Each call finds out whether the client refuses its own topic.
                self._waiting += batch[1:]
                self._send(admin, [mine], operation_timeout, request_timeout)
            finally:
                self._changed.notify_all()
        return answer

    def _take(self, first: _Wanted) -> list[_Wanted]:
        """Return topics that waited, the given one first, and let them wait no longer."""
        taken = {first[0].topic: first}
        for wanted in self._waiting[: _MOST_TOPICS - 1]:
            taken.setdefault(wanted[0].topic, wanted)  # a request names a topic once
        self._waiting = [one for one in self._waiting if taken.get(one[0].topic) is not one]
        return list(taken.values())

    def _send(
        self,
        admin: AdminClient,
        batch: list[_Wanted],
        operation_timeout: float,
        request_timeout: float,
    ) -> None:
        sent = admin.create_topics(
            [new for new, _ in batch],
            operation_timeout=operation_timeout,
            request_timeout=request_timeout,
        )
        self._unanswered = set(sent.values())
        self._sent_at = time.monotonic()
        for new, answer in batch:
            sent[new.topic].add_done_callback(partial(self._pass_on, answer))

    def _pass_on(self, answer: Future[None], answered: Future[None]) -> None:
        """Give a call its answer. A thread of the client calls this."""
        failure = answered.exception()
        if failure is None:
            answer.set_result(None)
        else:
            answer.set_exception(failure)
        with self._changed:
            self._unanswered.discard(answered)
            if not self._unanswered:
                self._changed.notify_all()
