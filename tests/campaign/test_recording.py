"""The record of a campaign: written by many processes, merged, and checked for mistakes."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from chat_history_conformance.campaign import recording
from chat_history_conformance.campaign.recording import (
    NO_END,
    Begun,
    Exit,
    Fault,
    Meta,
    Operation,
    OperationError,
    Recording,
    RecordingError,
    Sample,
    Writer,
)


def _add(
    began: float = 1.0,
    ended: float = 2.0,
    messages: tuple[str, ...] = ("m1",),
    error: OperationError | None = None,
) -> Operation:
    return Operation("add", "c1", "p1", "s", "sync", began, ended, messages, error=error)


WHOLE = Recording(
    meta=Meta("kafka", "Kafka 4.0", 3, 7, 30, "run it", "2026-11-26", 12.5, {"ttl": "no"}, {}),
    operations=(
        _add(),
        _add(3.0, 4.0, ("é", "\ud800"), OperationError("E", "x", False, (1,), ("é",))),
        Operation("last", "c2", "p2", "s", "async", 5.0, 6.0, ("m1",), 1, None, 5.0),
    ),
    faults=(Fault("kill", "1", 1.0, 2.0, "leader"),),
    samples=(Sample("p1", 1.0, 3, 10, 1000),),
    exits=(Exit("p1", 9.0, -11),),
    final={"s": ("m1", "é"), "empty": ()},
)


def test_a_recording_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    recording.write(WHOLE, tmp_path / "all.jsonl")
    assert recording.read([tmp_path / "all.jsonl"]) == WHOLE


def test_the_files_of_processes_are_merged_in_the_order_of_their_calls(tmp_path: Path) -> None:
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    for path, times in ((first, (4.0, 2.0)), (second, (3.0, 1.0))):
        with Writer(path) as writer:
            for began in times:
                writer.write(_add(began, began + 10))
    merged = recording.read([first, second])
    assert [one.began for one in merged.operations] == [1.0, 2.0, 3.0, 4.0]


def test_the_last_meta_wins(tmp_path: Path) -> None:
    with Writer(tmp_path / "1.jsonl") as writer:
        writer.write(Meta("kafka"))
        writer.write(Meta("kafka", seconds=5.0))
    assert recording.read([tmp_path / "1.jsonl"]).meta == Meta("kafka", seconds=5.0)


def test_threads_share_a_writer(tmp_path: Path) -> None:
    def write_many(writer: Writer) -> None:
        for _ in range(50):
            writer.write(_add(messages=("m" * 9000,)))

    with Writer(tmp_path / "1.jsonl") as writer:
        threads = [threading.Thread(target=write_many, args=(writer,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(recording.read([tmp_path / "1.jsonl"]).operations) == 200


def test_a_record_is_in_the_file_as_soon_as_write_returns(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    writer = Writer(path)
    writer.write(_add())
    assert recording.read([path]).operations == (_add(),)
    writer.close()


def test_a_call_without_an_end_is_an_operation_with_an_unknown_outcome(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    with Writer(path) as writer:
        writer.begin(Begun("add", "c1", "p1", "s", "sync", 1.0, ("m1",)))
        writer.write(_add())
        writer.begin(Begun("add", "c1", "p1", "s", "sync", 3.0, ("m2",), None, 5.0))
        writer.write(Exit("p1", 8.0, -9))
        writer.write(_add(20.0, 21.0))
    unended = recording.read([path]).operations[1]
    assert unended == Operation(
        "add",
        "c1",
        "p1",
        "s",
        "sync",
        3.0,
        8.0,
        ("m2",),
        None,
        OperationError(NO_END, "the process ended before the call did", True),
        5.0,
    )


def test_a_call_without_an_end_lasts_to_the_last_time_if_no_exit_is_known(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    with Writer(path) as writer:
        writer.begin(Begun("clear", "c1", "p1", "s", "sync", 3.0))
        writer.write(_add(20.0, 21.0))
    assert recording.read([path]).operations[0].ended == 21.0


def test_a_last_line_that_was_cut_off_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    with Writer(path) as writer:
        writer.write(_add())
    path.write_text(path.read_text() + '{"record": "operat')
    assert recording.read([path]).operations == (_add(),)


def _line(**changes: object) -> str:
    fields: dict[str, object] = {
        "record": "operation",
        "kind": "add",
        "client": "c",
        "process": "p",
        "session": "s",
        "mode": "sync",
        "began": 1.0,
        "ended": 2.0,
    }
    return json.dumps({**fields, **changes})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "this is not JSON (Expecting value: line 1 column 1 (char 0))"),
        (
            '{"record": "pause"}',
            "the field record must be one of meta, begun, operation, fault, sample, exit, final, "
            "not 'pause'",
        ),
        (
            "[]",
            "the field record must be one of meta, begun, operation, fault, sample, exit, final, "
            "not None",
        ),
        (
            _line(kind="delete"),
            "kind: input should be 'add', 'clear', 'read', 'last' or 'consume', but it is 'delete'",
        ),
        (_line(messages=["a", 1]), "messages[1]: input should be a valid string, but it is 1"),
        (_line(error={"text": "x"}), "error.type: this field is missing"),
        (_line(ended=0.5), "ended: 0.5 is before the beginning, 1.0"),
        (_line(began=float("nan")), "began: a time must be a finite number, but it is nan"),
    ],
)
def test_a_mistake_names_its_file_line_and_place(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "1.jsonl"
    path.write_text(_line() + "\n" + line + "\n")
    with pytest.raises(RecordingError) as caught:
        recording.read([path])
    assert str(caught.value) == f"{path}, line 2: {message}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none\.jsonl: .*No such file"):
        recording.read([tmp_path / "none.jsonl"])
