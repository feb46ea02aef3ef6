"""Clear a session: add a marker behind its messages, then delete the records before the marker.

Brokers write down where a log starts once a minute, so a crash undoes a deletion of records. It
does not undo a record that was acknowledged. So readers leave out all records before the newest
marker of a partition, whether they are deleted or not.

The marker must not be deleted. If all records of a log are deleted, brokers also forget which
leader wrote them. After a crash of all brokers they then cut the log at the end that they wrote
down some seconds ago. That loses the marker, and the records before it come back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from .call import ADMIN_SECONDS, RETRY_SECONDS, Call
from .errors import DeliveryError, KafkaHistoryError, UnreachableError, is_refusal
from .records import CLEAR_HEADER
from .rights import missing_right
from .topics import Topic, TopicChanged, bounds, count_partitions, find, with_topic
from .writing import Adding

__all__ = ["clear"]

logger = logging.getLogger(__name__)

_ACTION = "clear the messages"
_MAYBE_CLEARED = "They may be cleared, or become cleared within the next seconds. Clear again"


def clear(call: Call) -> None:
    """Clear the session. It is done as soon as the markers are acknowledged.

    Raises:
        UnreachableError: The brokers did not acknowledge a marker in time.
        KafkaHistoryError: The topic accepts no marker, or this user may not delete records.
    """
    sent: list[Adding] = []
    try:
        with_topic(call, _ACTION, partial(_clear, call, sent), None)
    except KafkaHistoryError as error:
        # This attempt or an earlier one may have sent a marker before something else failed.
        if error.outcome_unknown or not any(marker.may_be_stored for marker in sent):
            raise
        kind = UnreachableError if isinstance(error, ConnectionError) else KafkaHistoryError
        raise kind(error.error, f"{error}. {_MAYBE_CLEARED}", outcome_unknown=True) from error


def _clear(call: Call, sent: list[Adding], topic: Topic) -> None:
    # Other partitions than the first have messages only if langchain-community wrote them.
    others = bounds(call, topic) if topic.partitions > 1 else {}
    partitions = [0, *(p for p, (first, end) in sorted(others.items()) if p and first < end)]
    if not topic.log.deletable:
        topic.log.deletable = _may_delete(call, partitions)
    markers = {
        p: Adding(call, [None], partial(_still_there, topic), [(CLEAR_HEADER, b"1")], p)
        for p in partitions
    }
    try:
        for marker in markers.values():
            sent.append(marker)
            marker.start()
        for marker in markers.values():
            marker.wait()
    except DeliveryError as error:
        raise _unmarked(call, error) from error
    for p, marker in markers.items():
        topic.log.saw_marker(p, marker.end - 1)
    firsts = {p: marker.end - 1 for p, marker in markers.items()}
    _delete(call, firsts)
    topic.log.firsts.update(firsts)


def _may_delete(call: Call, partitions: Sequence[int]) -> bool:
    """Return whether the brokers let this user delete records; False if they did not answer.

    Deleting the records before offset 0 deletes nothing, but the brokers check the right to do so.

    Raises:
        KafkaHistoryError: They refuse it; nothing was cleared.
    """
    failed = _request(call, dict.fromkeys(partitions, 0))
    for error in failed.values():
        if error.error.code() == KafkaError.POLICY_VIOLATION:
            text = f"{error.text}: the topic is compacted. Set its cleanup.policy to delete"
            raise KafkaHistoryError(error.error, text) from error
        if is_refusal(error.error):
            raise error
    return not failed


def _still_there(topic: Topic, call: Call) -> Topic:
    """Return the topic, which must not be created again only to be cleared."""
    found = find(call)
    if found is None or found.identity != topic.identity:
        raise TopicChanged(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    return found


def _unmarked(call: Call, error: DeliveryError) -> KafkaHistoryError:
    outcome = _MAYBE_CLEARED if error.outcome_unknown else "They are not cleared"
    kind = UnreachableError if isinstance(error, ConnectionError) else KafkaHistoryError
    return kind(
        error.error,
        f"could not {_ACTION} of {call.session}: {call.brokers} did not acknowledge that they are "
        f"cleared within {call.limit_seconds:g} s ({error.error.str()}). {outcome}"
        f"{missing_right('add the messages', error.error, call.topic)}",
        outcome_unknown=error.outcome_unknown,
    )


def _delete(call: Call, ends: Mapping[int, int]) -> None:
    """Delete the records of a cleared session, which no reader of this package returns any more."""
    while ends:
        try:
            failed = _request(call, ends)
        except KafkaHistoryError as failure:
            failed = dict.fromkeys(ends, failure)
        for error in failed.values():
            if is_refusal(error.error):
                raise _not_deleted(call, error.error) from error
            if call.is_late:
                logger.warning("%s", _not_deleted(call, error.error))
                return
        ends = {p: ends[p] for p in failed}
        if ends:
            time.sleep(RETRY_SECONDS)


def _request(call: Call, ends: Mapping[int, int]) -> dict[int, KafkaHistoryError]:
    """Ask once to delete the records before the ends, and return why partitions failed."""
    failed = {}
    for p, end in ends.items():
        try:
            call.ask(partial(_delete_records, call, p, end), _ACTION)
        except KafkaHistoryError as error:
            failed[p] = error
    return failed


def _delete_records(
    call: Call, partition: int, end: int, admin: AdminClient
) -> Mapping[TopicPartition, Future[Any]]:
    place = TopicPartition(call.topic, partition, end)
    # librdkafka 2.16 may follow a null pointer while it looks for the leaders of a topic that this
    # client has not seen. So let the client look the topic up first.
    if count_partitions(call, admin) is None:
        nothing: Future[Any] = Future()
        nothing.set_result(None)
        return {place: nothing}
    return admin.delete_records(
        [place],
        operation_timeout=call.left_seconds,
        request_timeout=ADMIN_SECONDS,
    )


def _not_deleted(call: Call, error: KafkaError) -> KafkaHistoryError:
    return KafkaHistoryError(
        error,
        f"{call.session} is cleared for all readers of this class, but {call.brokers} did not "
        f"delete the records ({error.str()}). They stay on disk, and langchain-community's class "
        f"still reads them. Clear again{missing_right(_ACTION, error, call.topic)}",
        outcome_unknown=True,
    )
