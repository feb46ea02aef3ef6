"""The topic of a session: find it, create it, and ask where its partitions begin and end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from .call import ADMIN_SECONDS, RETRY_SECONDS, Call
from .describing import TopicChanged, keep_settings, read_identity, read_settings
from .errors import KafkaHistoryError, UnreachableError, is_refusal
from .log_state import LogState

__all__ = [
    "Bounds",
    "Offsets",
    "Topic",
    "TopicChanged",
    "bounds",
    "check_unchanged",
    "count_partitions",
    "create",
    "find",
    "forget",
    "with_topic",
]

Offsets = Mapping[int, int]
"""An offset for each partition. This package writes to partition 0 only; a topic of
langchain-community has messages in all of its partitions."""
Bounds = Mapping[int, tuple[int, int]]
"""The first offset of each partition, and the one after its last."""

T = TypeVar("T")

_LOOK_UP = "look up the topic"
_ENDS_EARLIER = KafkaError(
    KafkaError.OFFSET_NOT_AVAILABLE, "the log ends before a record that was seen in it"
)
_BEGINS_EARLIER = KafkaError(
    KafkaError.OFFSET_OUT_OF_RANGE, "the log begins before records that were deleted from it"
)
_CACHED_SECONDS = 30.0
"""The age at which the settings of a topic are asked for again."""
_COUNTED_SECONDS = 0.25
"""The age at which the partitions of a topic are asked for again."""
_LONGEST_PAUSE_SECONDS = 0.5
"""The longest pause between two questions for a topic that has just been created."""
_REMEMBERED_TOPICS = 5000
"""The most topics whose properties are kept."""


@dataclass(frozen=True)
class Topic:
    """The properties of a topic that exists.

    Attributes:
        partitions: How many partitions it has.
        retention_ms: The age at which a record expires; None for never.
        max_bytes: The largest record that it accepts; None if that may not be read.
        known_at: The time of `time.monotonic()` at which it was looked up.
        settings: Its settings; empty if they may not be read.
        counted_at: The time at which its partitions were counted last.
        identity: What distinguishes it from another topic that had the same name before.
        log: What this process has seen of its log.
    """

    partitions: int
    retention_ms: int | None
    max_bytes: int | None
    known_at: float
    settings: Mapping[str, str] = field(default_factory=dict)
    counted_at: float = 0.0
    identity: str = ""
    log: LogState = field(default_factory=LogState)


def with_topic(call: Call, action: str, operate: Callable[[Topic], T], missing: T) -> T:
    """Do something with the topic, again from the start each time that the topic changes.

    Args:
        call: The call.
        action: The purpose, for errors, such as `read the messages`.
        operate: The function to call with the topic. It raises `TopicChanged`.
        missing: The result if the topic does not exist.

    Raises:
        UnreachableError: The topic kept changing until the time was up.
    """
    while True:
        topic = find(call)
        if topic is None:
            return missing
        try:
            return operate(topic)
        except TopicChanged as changed:
            forget(call)
            call.pause_or_raise(call.unreachable(action, changed.error))


def find(
    call: Call, settings: Mapping[str, str] | None = None, *, adding: bool = False
) -> Topic | None:
    """Return the topic, or None if it does not exist. A recent answer is used again.

    Args:
        call: The call.
        settings: The settings of the topic, if they are known already.
        adding: Whether the caller only adds to partition 0, so that new partitions do not matter,
            and creates a topic that the broker does not know.
    """
    while True:
        known: Topic | None = call.clients.topics.get(call.topic)
        now = time.monotonic()
        if known is not None and now >= known.known_at + _CACHED_SECONDS:
            known = None
        if known is not None and (adding or now < known.counted_at + _COUNTED_SECONDS):
            return known
        try:
            return _look_up(call, known, settings, adding=adding)
        except TopicChanged as changed:
            forget(call)
            settings = None
            call.pause_or_raise(call.unreachable(_LOOK_UP, changed.error))


def _look_up(
    call: Call, known: Topic | None, settings: Mapping[str, str] | None, *, adding: bool
) -> Topic | None:
    now = time.monotonic()
    with call.clients.asker() as asker:
        partitions = count_partitions(call, asker, adding=adding)
        if partitions is None:
            return None
        if known is not None and partitions == known.partitions:
            return _remember(call, replace(known, counted_at=now))
        # A partition without a leader refuses a message and may accept the next one. The first
        # message is then lost: the broker takes the second attempt of an idempotent producer for a
        # duplicate. So wait until all partitions have leaders.
        _offsets(call, asker, partitions, OFFSET_END)
    identity = read_identity(call)
    if settings is None:
        settings = read_settings(call, identity)
    else:
        keep_settings(call, identity, settings)
    retention_ms = int(settings.get("retention.ms", -1))
    found = Topic(
        partitions,
        retention_ms if retention_ms >= 0 else None,
        int(settings["max.message.bytes"]) if "max.message.bytes" in settings else None,
        now,
        settings,
        now,
        identity,
        _log_state(call, identity),
    )
    return _remember(call, found)


def _remember(call: Call, topic: Topic) -> Topic:
    known = call.clients.topics
    if len(known) >= _REMEMBERED_TOPICS:
        known.clear()
    known[call.topic] = topic
    return topic


def _log_state(call: Call, identity: str) -> LogState:
    """Return what this process knows about the log of this very topic."""
    known = call.clients.logs
    if len(known) >= _REMEMBERED_TOPICS:
        known.clear()
    before: tuple[str, LogState] | None = known.get(call.topic)
    state = LogState() if before is None or before[0] != identity else before[1]
    known[call.topic] = (identity, state)
    return state


def create(
    call: Call, partitions: int, replication_factor: int, wanted: Mapping[str, str]
) -> Topic:
    """Create the topic and return it. Another client may create it at the same time.

    Args:
        call: The call.
        partitions: Its partitions.
        replication_factor: Its replicas; -1 for the default of the brokers.
        wanted: Its settings. If the brokers do not allow them, only `retention.ms` is set.

    Raises:
        ValueError: Kafka takes the name for that of another topic.
        KafkaHistoryError: The brokers refused, or did not serve the new topic in time.
    """
    settings: Mapping[str, str] | None = wanted
    while True:
        new = NewTopic(
            call.topic,
            num_partitions=partitions,
            replication_factor=replication_factor,
            config=dict(wanted),
        )
        try:
            call.ask(partial(_create, call, new), "create the topic")
        except KafkaHistoryError as error:
            code = error.error.code()
            if code == KafkaError.TOPIC_EXCEPTION:
                raise ValueError(
                    f"{call.session} cannot have its own topic on {call.brokers}: "
                    f"{error.error.str()} Use another session id: '.' and '_' are the same to Kafka"
                ) from error
            if code in (KafkaError.INVALID_CONFIG, KafkaError.POLICY_VIOLATION) and len(wanted) > 1:
                # A service may fix some settings for all topics.
                least = {"retention.ms": wanted["retention.ms"]}
                return create(call, partitions, replication_factor, least)
            if "AUTHORIZATION_FAILED" in error.error.name() and (found := find(call)) is not None:
                return found
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                call.pause_or_raise(error)
                continue
            settings = None
        break
    if len(wanted) == 1:
        settings = None  # the defaults of the brokers hold for the rest
    pause_seconds = RETRY_SECONDS
    while True:
        found = find(call, settings, adding=True)
        if found is not None:
            return found
        if call.is_late:
            raise UnreachableError(
                KafkaError(KafkaError._TIMED_OUT, "the new topic did not appear"),
                f"the topic of {call.session} was created, but {call.brokers} did not serve it "
                f"within {call.limit_seconds:g} s; nothing was stored. The brokers may be busy: "
                "try again",
            )
        time.sleep(min(pause_seconds, call.left_seconds))
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)


def _create(call: Call, new: NewTopic, admin: AdminClient) -> Mapping[str, Future[None]]:
    limits = {"operation_timeout": call.left_seconds, "request_timeout": ADMIN_SECONDS}
    return {new.topic: call.clients.created.create(admin, new, **limits)}


def forget(call: Call) -> None:
    """Look the topic up again when it is next needed."""
    call.clients.topics.pop(call.topic, None)
    call.clients.descriptions.pop(call.topic, None)


def count_partitions(
    call: Call, client: Consumer | AdminClient, *, adding: bool = False
) -> int | None:
    """Return how many partitions the topic has, or None if it does not exist.

    Args:
        call: The call.
        client: The client to ask with. It knows the leaders of the topic from then on.
        adding: Whether the caller creates a topic that one broker does not know. It learns then
            that the topic exists.
    """
    while True:
        try:
            listed = client.list_topics(call.topic, timeout=call.poll_seconds)
        except KafkaException as failure:
            _let_report(client)
            call.retry_or_raise(_LOOK_UP, failure.args[0])
            continue
        topic = listed.topics[call.topic]
        call.clients.reached = True
        if topic.error is None:
            return len(topic.partitions)
        if topic.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and (
            adding or _is_missing(call, client, len(listed.brokers))
        ):
            forget(call)
            return None
        call.retry_or_raise(_LOOK_UP, topic.error)


def _let_report(client: Consumer | AdminClient) -> None:
    """Let a client report its trouble.

    A consumer that reads does so when it is next asked for a record. Here, it would lose one.
    """
    if isinstance(client, AdminClient) or not client.assignment():
        client.poll(0)


def _is_missing(call: Call, client: Consumer | AdminClient, brokers: int) -> bool:
    """Return whether a topic that one broker does not know does not exist.

    The metadata of a broker may be older than the topic. The controller knows all topics, but only
    writes are passed on to it. So ask it to check a creation without doing it.
    """
    while True:
        try:
            call.ask(
                lambda admin: admin.create_topics(
                    [NewTopic(call.topic, 1, 1)], validate_only=True, request_timeout=ADMIN_SECONDS
                ),
                _LOOK_UP,
            )
        except KafkaHistoryError as error:
            if error.error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            if "AUTHORIZATION_FAILED" in error.error.name():
                return _is_unknown_everywhere(call, client, brokers)
            if not is_refusal(error.error):
                call.pause_or_raise(error)
                continue
        return True


def _is_unknown_everywhere(call: Call, client: Consumer | AdminClient, brokers: int) -> bool:
    """Ask for the topic so often that each broker has very likely been asked."""
    for _ in range(4 * brokers if brokers > 1 else 0):
        try:
            topic = client.list_topics(call.topic, timeout=call.poll_seconds).topics[call.topic]
        except KafkaException as failure:
            call.retry_or_raise(_LOOK_UP, failure.args[0])
            continue
        if topic.error is None:
            return False
    return True


def check_unchanged(call: Call, topic: Topic, client: Consumer, error: KafkaError) -> None:
    """Ask the brokers whether the topic still exists with the same partitions.

    Args:
        call: The call.
        topic: The topic, as `find` returned it.
        client: The client to ask with.
        error: The answer that raised the doubt.

    Raises:
        TopicChanged: It does not.
    """
    if count_partitions(call, client) != topic.partitions:
        raise TopicChanged(error)


def bounds(call: Call, topic: Topic) -> Bounds:
    """Return where each partition begins and ends now.

    The ends are always asked for, the beginnings only if `LogState.beginnings` does not know them.
    The ends include the records of open transactions, because messages of others may follow them.

    A consumer must not decide this itself. It uses the beginning that it saw last, which is too
    early after a clear, and too late in a topic that was deleted and created again.

    Raises:
        TopicChanged: The topic was deleted, or created again.
        UnreachableError: A broker reports an end before one that this process has seen.
    """
    with call.clients.asker() as asker:
        firsts = topic.log.beginnings(topic.partitions)
        if firsts is None:
            firsts = _offsets(call, asker, topic.partitions, OFFSET_BEGINNING)
            known = topic.log.firsts
            if any(firsts[p] < known.get(p, 0) for p in firsts) and _identity_changed(call, topic):
                raise TopicChanged(_BEGINS_EARLIER)
            known.update(firsts)
        ends = _offsets(call, asker, topic.partitions, OFFSET_END)
        try:
            while any(ends[p] < max(firsts[p], topic.log.ends.get(p, 0)) for p in ends):
                if _identity_changed(call, topic):
                    raise TopicChanged(_ENDS_EARLIER)
                check_unchanged(call, topic, asker, _ENDS_EARLIER)
                call.retry_or_raise("find the ends", _ENDS_EARLIER)
                ends = _offsets(call, asker, topic.partitions, OFFSET_END)
        except UnreachableError:  # also if the time ends during another request
            topic.log.forget()  # if records were lost, the next call reads the rest
            raise call.unreachable("find the ends", _ENDS_EARLIER) from None
    for p, end in ends.items():
        topic.log.saw_end(p, end)
    cleared = topic.log.cleared
    return {p: (min(max(firsts[p], cleared.get(p, 0)), end), end) for p, end in ends.items()}


def _identity_changed(call: Call, topic: Topic) -> bool:
    return read_identity(call) != topic.identity


def _offsets(call: Call, asker: Consumer, partitions: int, which: int) -> dict[int, int]:
    # The admin client has list_offsets for this. But in librdkafka 2.16 that call may follow a null
    # pointer while it looks for the leaders of a topic that the client has not seen. So ask a
    # consumer, which accepts the offsets for beginning and end instead of times.
    asked = [TopicPartition(call.topic, p, which) for p in range(partitions)]
    while True:
        try:
            found = asker.offsets_for_times(asked, timeout=call.poll_seconds)
            failed = next((place.error for place in found if place.error is not None), None)
        except KafkaException as failure:
            failed = failure.args[0]
        else:
            # If one leader answers and another does not, the client reports no error. The offsets
            # that are missing are then the ones that it was asked for, which are negative.
            if failed is None and not all(place.offset >= 0 for place in found):
                failed = KafkaError(KafkaError._PARTIAL, "not all partitions have answered")
        if failed is None:
            return {place.partition: place.offset for place in found}
        asker.poll(0)  # lets the client report its trouble
        call.check_credentials("find the ends")
        count = count_partitions(call, asker)  # lets the client know new leaders
        if count != partitions:
            raise TopicChanged(failed)
        call.retry_or_raise("find the ends", failed)
