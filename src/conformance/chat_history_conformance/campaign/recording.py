"""The record of a campaign: operations, faults, samples of processes, and the final reads.

Each process appends to its own file, one JSON object on a line, and `read` merges the files.

    with Writer(path) as writer:
        writer.begin(Begun(...))    # before the call: a process that dies leaves this behind
        writer.write(Operation(...))  # after it

All times are seconds since the campaign started, by a clock that all processes share.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from ..results import validation

__all__ = [
    "NO_END",
    "Begun",
    "Exit",
    "Fault",
    "Final",
    "Kind",
    "Meta",
    "Mode",
    "Operation",
    "OperationError",
    "Record",
    "Recording",
    "RecordingError",
    "Sample",
    "Writer",
    "read",
    "write",
]

Kind = Literal["add", "clear", "read", "last", "consume"]
Mode = Literal["sync", "async"]

NO_END = "NoEnd"
"""The error type of a call whose end no process recorded."""


class RecordingError(ValueError):
    """A recording that cannot be read. The message names the file, the line and the place."""


@dataclass(frozen=True)
class OperationError:
    """The error that a call raised.

    Attributes:
        type: the name of the exception's class.
        text: the message of the exception.
        outcome_unknown: False if the error says that the call changed nothing; None if it says
            nothing about the outcome.
        unconfirmed: positions in the batch that the error calls not acknowledged; None if it
            names none. If it names some, it calls all others stored.
        messages: the messages that a consuming read may have consumed.
    """

    type: str
    text: str = ""
    outcome_unknown: bool | None = None
    unconfirmed: tuple[int, ...] | None = None
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """One call of a client, from its beginning to its end.

    Attributes:
        kind: the operation: `last` is a read of the newest `count` messages.
        client: the name of the client; each has its own history object.
        process: the name of the client's process.
        messages: the texts that the call added, read or consumed; empty if a read raised.
        count: how many messages a bounded read asked for; None for all.
        error: the error that the call raised; None if it returned.
        limit_seconds: the time that the call promises to keep; None if it promises none.
    """

    kind: Kind
    client: str
    process: str
    session: str
    mode: Mode
    began: float
    ended: float
    messages: tuple[str, ...] = ()
    count: int | None = None
    error: OperationError | None = None
    limit_seconds: float | None = None


@dataclass(frozen=True)
class Begun:
    """The beginning of a call, recorded before it, because the process may die in the call."""

    kind: Kind
    client: str
    process: str
    session: str
    mode: Mode
    began: float
    messages: tuple[str, ...] = ()
    count: int | None = None
    limit_seconds: float | None = None


@dataclass(frozen=True)
class Fault:
    """Something that was done to the servers, from its beginning until all was well again."""

    name: str
    member: str
    began: float
    ended: float
    detail: str = ""
    splits: bool = False
    """True if a member served clients while it did not know what the others stored."""


@dataclass(frozen=True)
class Sample:
    """The resources of a process at one time."""

    process: str
    at: float
    threads: int
    descriptors: int
    rss_bytes: int


@dataclass(frozen=True)
class Exit:
    """The end of a client process. A negative status is the number of the signal that ended it."""

    process: str
    at: float
    status: int


@dataclass(frozen=True)
class Final:
    """All messages of a session after the campaign, read when all servers were well."""

    session: str
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Meta:
    """The facts about a campaign.

    Attributes:
        server: the kind of server and its version, for a reader.
        nodes: the number of server nodes.
        events: the number of faults that were planned.
        command: the command that runs this campaign again.
        date: when it started, in ISO 8601.
        seconds: how long it took, in seconds.
        lacks: the capabilities that the declaration says the backend lacks, with the reasons.
        versions: the versions of the packages that matter.
    """

    backend: str = ""
    server: str = ""
    nodes: int = 1
    seed: int = 0
    events: int = 0
    command: str = ""
    date: str = ""
    seconds: float = 0.0
    lacks: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """A whole campaign, in the order in which the calls began.

    Attributes:
        final: all messages of each session after the campaign, by session. A session that could
            not be read, or whose messages leave the store when they are read, is not in it.
    """

    meta: Meta = field(default_factory=Meta)
    operations: tuple[Operation, ...] = ()
    faults: tuple[Fault, ...] = ()
    samples: tuple[Sample, ...] = ()
    exits: tuple[Exit, ...] = ()
    final: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


Record: TypeAlias = Operation | Begun | Fault | Sample | Exit | Final | Meta

_KINDS: Mapping[str, type[Any]] = {
    "meta": Meta,
    "begun": Begun,
    "operation": Operation,
    "fault": Fault,
    "sample": Sample,
    "exit": Exit,
    "final": Final,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Writer:
    """A file that one process appends records to, from any of its threads.

    Each record reaches the operating system before `write` returns, so a process that is killed
    loses no record of a call that ended.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a", encoding="ascii")  # noqa: SIM115
        self._lock = threading.Lock()

    def begin(self, begun: Begun) -> None:
        """Record that a call begins now."""
        self.write(begun)

    def write(self, record: Record) -> None:
        """Append one record."""
        line = _line(record)
        with self._lock:
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self.close()


def write(recording: Recording, path: Path) -> None:
    """Write a whole recording to one file. An existing file is replaced."""
    path.write_text("".join(map(_line, _records(recording))), encoding="ascii")


def read(paths: Iterable[Path]) -> Recording:
    """Read the files of all processes of a campaign and merge them.

    A call that began and has no end becomes an operation with the error type `NO_END` and an
    unknown outcome. It ends with the process, or at the last time in the recording. The last line
    of a file may be cut off, because a process may be killed while it writes.

    Raises:
        RecordingError: if a line cannot be read. The message names the file, line and place.
    """
    found: dict[str, list[Any]] = {name: [] for name in _KINDS}
    validators = {name: validation.validator(kind) for name, kind in _KINDS.items()}
    for path in paths:
        for place, line in _lines(path):
            name, record = _parsed(line, place, validators)
            found[name].append(record)
    exits = tuple(sorted(found["exit"], key=lambda end: end.at))
    operations = [*found["operation"]]
    operations += _without_end(found["begun"], operations, exits)
    return Recording(
        meta=found["meta"][-1] if found["meta"] else Meta(),
        operations=tuple(sorted(operations, key=lambda one: (one.began, one.ended))),
        faults=tuple(sorted(found["fault"], key=lambda fault: fault.began)),
        samples=tuple(sorted(found["sample"], key=lambda sample: sample.at)),
        exits=exits,
        final={final.session: final.messages for final in found["final"]},
    )


def _line(record: Record) -> str:
    # dataclasses.asdict would copy each message, and a read may have thousands.
    fields = {name.name: getattr(record, name.name) for name in dataclasses.fields(record)}
    if isinstance(record, Operation) and record.error:
        fields["error"] = dataclasses.asdict(record.error)
    return json.dumps({"record": _NAMES[type(record)], **fields}, allow_nan=False) + "\n"


def _records(recording: Recording) -> Iterator[Record]:
    yield recording.meta
    yield from recording.operations
    yield from recording.faults
    yield from recording.samples
    yield from recording.exits
    for session, messages in recording.final.items():
        yield Final(session, messages)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: {error}") from None
    lines = text.split("\n")
    # What follows the last line break is empty, or a record that a killed process cut off.
    for number, line in enumerate(lines[:-1], 1):
        yield f"{path}, line {number}", line


def _parsed(
    line: str, place: str, validators: Mapping[str, Callable[[object], Any]]
) -> tuple[str, Any]:
    try:
        data = json.loads(line)
    except ValueError as error:
        raise RecordingError(f"{place}: this is not JSON ({error})") from None
    name = data.get("record") if isinstance(data, dict) else None
    if not isinstance(name, str) or name not in validators:
        kinds = ", ".join(validators)
        raise RecordingError(f"{place}: the field record must be one of {kinds}, not {name!r}")
    messages = data.get("messages")
    if isinstance(messages, list):
        # Reads repeat the same texts many times. One object for each saves memory and time.
        data["messages"] = [sys.intern(one) if type(one) is str else one for one in messages]
    try:
        record = validators[name](data)
        _check_times(record)
    except ValueError as error:
        raise RecordingError(f"{place}: {error}") from None
    return name, record


def _check_times(record: Record) -> None:
    for name in ("began", "ended", "at"):
        value = getattr(record, name, 0.0)
        if not math.isfinite(value):
            raise ValueError(f"{name}: a time must be a finite number, but it is {value}")
    if isinstance(record, Operation | Fault) and record.ended < record.began:
        raise ValueError(f"ended: {record.ended} is before the beginning, {record.began}")


def _without_end(
    begun: list[Begun], operations: list[Operation], exits: tuple[Exit, ...]
) -> Iterator[Operation]:
    ended = Counter(map(_same_call, operations))
    last = max([one.ended for one in operations] + [end.at for end in exits], default=0.0)
    ends = {end.process: end.at for end in exits}
    for call in begun:
        key = _same_call(call)
        if ended[key]:
            ended[key] -= 1
            continue
        yield Operation(
            **dataclasses.asdict(call),
            ended=max(call.began, ends.get(call.process, last)),
            error=OperationError(
                NO_END, "the process ended before the call did", outcome_unknown=True
            ),
        )


def _same_call(call: Operation | Begun) -> tuple[str, str, str, str, float]:
    return call.process, call.client, call.session, call.kind, call.began
