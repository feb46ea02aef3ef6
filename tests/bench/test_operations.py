"""Tests of the operations of benchmarks, called directly on short conversations."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_backends.codec import decode_batch
from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance.bench.measure.contenders import (
    Contender,
    NotSupported,
    WrongResult,
)
from chat_history_conformance.bench.measure.memory import peak_bytes
from chat_history_conformance.bench.measure.operations import OPERATIONS
from chat_history_conformance.bench.measure.payload import PAYLOADS
from chat_history_conformance.bench.measure.run import count_round_trips
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.registry import resolve
from chat_history_conformance.drivers.calls import How

Open = Callable[..., Contender]

LENGTH = 50
READS = ("read_100", "last_10_of_100000", "bounded_middle", "stream_100000")
OF_STREAMS = "stream_100000"
QUICK = [name for name in OPERATIONS if not name.endswith("_sessions")]


class Streaming(MemoryChatMessageHistory):
    """A history that reads ten messages at a time."""

    def iter_messages(self, batch_size: int = 10) -> Generator[BaseMessage, None, None]:
        records = self._fetch()
        for begin in range(0, len(records), batch_size):
            yield from decode_batch(records[begin : begin + batch_size])[0]

    async def aiter_messages(self, batch_size: int = 10) -> AsyncGenerator[BaseMessage, None]:
        for message in self.iter_messages(batch_size):
            yield message


Defect = Callable[[list[BaseMessage]], list[BaseMessage]]


def spoilt(defect: Defect) -> type[Streaming]:
    """Return a history that returns wrong messages from each read."""

    class Spoilt(Streaming):
        @property
        def messages(self) -> list[BaseMessage]:  # type: ignore[override]
            return defect(super().messages)

        def last_messages(self, max_message_count: int) -> list[BaseMessage]:
            return defect(super().last_messages(max_message_count))

        def messages_from_last_consumed(
            self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
        ) -> list[BaseMessage]:
            return defect(super().messages_from_last_consumed(max_message_count, max_time_sec))

        def iter_messages(self, batch_size: int = 10) -> Generator[BaseMessage, None, None]:
            yield from self.messages

    return Spoilt


def without_the_last(messages: list[BaseMessage]) -> list[BaseMessage]:
    return messages[:-1]


def with_one_twice(messages: list[BaseMessage]) -> list[BaseMessage]:
    return messages + messages[-1:]


def with_two_exchanged(messages: list[BaseMessage]) -> list[BaseMessage]:
    return [*messages[:-2], *messages[:-3:-1]]


def with_another_text(messages: list[BaseMessage]) -> list[BaseMessage]:
    return [*messages[:-1], messages[-1].model_copy(update={"content": "other"})]


def with_another_type(messages: list[BaseMessage]) -> list[BaseMessage]:
    return [*messages[:-1], HumanMessage(messages[-1].content)]


def without_tool_calls(messages: list[BaseMessage]) -> list[BaseMessage]:
    return [
        message.model_copy(update={"tool_calls": []}) if isinstance(message, AIMessage) else message
        for message in messages
    ]


DEFECTS: dict[Defect, str] = {
    without_the_last: r"a read returned \d+ messages instead of \d+",
    with_one_twice: r"a read returned \d+ messages instead of \d+",
    with_two_exchanged: r"another message as number \d+",
    with_another_text: r"another message as number \d+",
    with_another_type: r"another message as number \d+",
    without_tool_calls: r"another message as number \d+",
}


@pytest.fixture
def contend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    """Return a function that makes a contender, which works in a temporary directory."""
    monkeypatch.chdir(tmp_path)
    made: list[Contender] = []

    def contend(
        backend: str | Callable[[str], object], mode: How = "sync", payload: str = "mixed"
    ) -> Contender:
        found = resolve(backend) if isinstance(backend, str) else Backend("mine", backend)
        made.append(Contender(found, mode, PAYLOADS[payload]))
        return made[-1]

    yield contend
    for contender in made:
        assert contender.remove_sessions() is None
        contender.stop()


def use(operation: str, contender: Contender, length: int = LENGTH, times: int = 1) -> None:
    with OPERATIONS[operation].prepared(contender, length) as trial:
        for _ in range(times):
            assert trial.time() > 0


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_operation_runs_again_and_again(contend: Open, backend: str, mode: How, name: str) -> None:
    contender = contend(backend, mode)
    length = 0 if name in ("read_empty", "add_1_by_200_handles") else LENGTH
    try:
        use(name, contender, length, times=2 if "handles" in name else 6)
    except NotSupported:
        assert name == OF_STREAMS, "the reference histories support everything else"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_stream_is_read_to_its_end(contend: Open, mode: How) -> None:
    use(OF_STREAMS, contend(Streaming, mode), times=3)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_operation_stores_and_reads_the_payload(contend: Open, payload: str) -> None:
    contender = contend(Streaming, payload=payload)
    for name in QUICK:
        use(name, contender, 0 if "handles" in name else LENGTH)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
@pytest.mark.parametrize("name", [*READS, "read_10_in_a_row", "chat_turn", "agent_turn"])
def test_wrong_result_of_a_read_fails(contend: Open, name: str, defect: Defect) -> None:
    with pytest.raises(WrongResult, match=DEFECTS[defect]):
        use(name, contend(spoilt(defect)), times=6)


def test_clear_that_keeps_a_message_fails(contend: Open) -> None:
    class Sticky(MemoryChatMessageHistory):
        def clear(self) -> None:
            kept = self.messages[:1]
            super().clear()
            self.add_messages(kept)

    contender = contend(Sticky)
    with pytest.raises(WrongResult, match="returned 1 messages instead of 0"):
        use("clear", contender)


def test_a_peer_may_reorder_messages_but_not_lose_them(contend: Open) -> None:
    backwards = contend(spoilt(lambda messages: messages[::-1])).backend
    forgetful = contend(spoilt(without_the_last)).backend
    use("read_10", Contender(backwards, "sync", strict=False))
    with pytest.raises(WrongResult):
        use("read_10", Contender(forgetful, "sync", strict=False))


# -- what the operations do ------------------------------------------------------------------------


def test_an_agent_turn_reads_once_and_adds_three_times(contend: Open) -> None:
    done: list[object] = []

    class Watched(MemoryChatMessageHistory):
        @property
        def messages(self) -> list[BaseMessage]:  # type: ignore[override]
            done.append("read")
            return super().messages

        def add_messages(self, messages: Sequence[BaseMessage]) -> None:
            done.append([one.type for one in messages])
            super().add_messages(messages)

    with OPERATIONS["agent_turn"].prepared(contend(Watched), 20) as trial:
        done.clear()
        trial.time()
    assert done == ["read", ["ai"], ["tool"] * 3, ["ai"]]


def test_the_bounded_read_starts_in_the_middle_and_returns_there_before_the_end(
    contend: Open,
) -> None:
    begins = []

    class Watched(MemoryChatMessageHistory):
        def messages_from_last_consumed(
            self, max_message_count: int | None = 5, max_time_sec: float | None = 5.0
        ) -> list[BaseMessage]:
            found = super().messages_from_last_consumed(max_message_count, max_time_sec)
            begins.append(int(str(found[0].content).split()[-1]))
            return found

    contender = contend(Watched, payload="plain")
    use("bounded_middle", contender, 100, times=7)
    assert begins == [50, 60, 70, 80, 90, 50, 60]
    use("bounded_middle", contender, 100)
    assert begins[-1] == 50, "each trial starts in the middle"


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("name", [name for name in READS if name != "read_100"])
def test_operation_without_its_method_stores_no_long_conversation(
    contend: Open, name: str, mode: How
) -> None:
    stored: list[BaseMessage] = []

    class Bare:
        def __init__(self, session_id: str) -> None:
            self.messages: list[BaseMessage] = []

        def add_messages(self, messages: Sequence[BaseMessage]) -> None:
            stored.extend(messages)

        def clear(self) -> None:
            pass

        async def aget_messages(self) -> list[BaseMessage]:
            return []

        async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
            stored.extend(messages)

        async def aclear(self) -> None:
            pass

    with pytest.raises(NotSupported, match=r"^has no a?\w+$"):
        use(name, contend(Bare, mode), 100_000)
    assert stored == []


def test_two_hundred_handles_add_at_once(contend: Open) -> None:
    contender = contend("memory")
    with OPERATIONS["add_1_by_200_handles"].prepared(contender, 0) as trial:
        trial.time()
        assert len(trial.latencies) == 200
        assert all(latency > 0 for latency in trial.latencies)
    lengths = []
    for session in contender._sessions:
        with contender.opened(session) as handle:
            lengths.append(len(handle.read()))
    assert lengths == [2] * 200  # the first message of each session is not measured


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_peak_grows_with_what_a_read_holds(contend: Open, backend: str, mode: How) -> None:
    contender = contend(backend, mode)
    read = OPERATIONS["read_1000"]
    small, large = (peak_bytes(read, contender, length) for length in (100, 1_000))
    assert 8 < large / small < 12
    # The stored texts have 1,375 bytes of JSON on average.
    assert large > 1_375_000
    assert peak_bytes(read, contender, 1_000) == pytest.approx(large, rel=0.05)


@pytest.mark.parametrize("name", ["last_10_of_10000", "bounded_middle"])
def test_peak_of_a_bounded_read_does_not_grow(contend: Open, name: str) -> None:
    contender = contend("memory")
    small, large = (peak_bytes(OPERATIONS[name], contender, length) for length in (100, 1_000))
    assert 0.3 < large / small < 3


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_peak_of_a_stream_is_that_of_a_page(contend: Open, mode: How) -> None:
    contender = contend(Streaming, mode)
    whole = peak_bytes(OPERATIONS["read_1000"], contender, 1_000)
    assert 0 < peak_bytes(OPERATIONS[OF_STREAMS], contender, 1_000) < whole / 3


def test_peak_includes_what_a_read_has_released(contend: Open) -> None:
    class Wasteful(MemoryChatMessageHistory):
        @property
        def messages(self) -> list[BaseMessage]:  # type: ignore[override]
            bytearray(30_000_000)
            return super().messages

    read = OPERATIONS["read_10"]
    plain = peak_bytes(read, contend(MemoryChatMessageHistory), 10)
    assert peak_bytes(read, contend(Wasteful), 10) == pytest.approx(30_000_000, rel=0.01)
    assert plain < 100_000


def test_peak_of_a_wrong_read_is_not_measured(contend: Open) -> None:
    with pytest.raises(WrongResult):
        peak_bytes(OPERATIONS["read_10"], contend(spoilt(without_the_last)), 10)


def test_memory_is_measured_for_reads_only() -> None:
    measured = {name for name, one in OPERATIONS.items() if one.memory_over}
    assert measured == {
        *("read_10", "read_100", "read_1000", "read_10000"),
        *("last_10_of_10000", "last_10_of_100000", "bounded_middle", "stream_100000"),
    }
    for name in measured:
        assert OPERATIONS[name].size in OPERATIONS[name].memory_over


def test_a_call_that_is_too_late_for_the_counter_is_not_counted(contend: Open) -> None:
    class Late(MemoryChatMessageHistory):
        def add_messages(self, messages: Sequence[BaseMessage]) -> None:
            raise TimeoutError("no acknowledgement within 5 s")

    number, reason = count_round_trips(OPERATIONS["add_1"], contend(Late))
    assert number is None
    assert reason is not None
    assert "no acknowledgement within 5 s" in reason
