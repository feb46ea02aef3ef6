"""What a run says, as frozen values: a finding, a contract's result, a backend's report, a run.

Everything that reports, compares or judges works on these and on nothing else; they know neither
pytest nor a history. `to_json` and `from_json` are the two ways across a process or a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA = "chat-history-conformance/report/1"

Level = Literal["must", "should", "may"]
LEVELS: tuple[Level, ...] = ("must", "should", "may")

Mode = Literal["sync", "async", "mixed", "process"]

Outcome = Literal[
    "passed", "failed", "deviation", "unexpected_pass", "not_applicable", "error", "not_run"
]

Kind = Literal[
    "lost",
    "duplicated",
    "reordered",
    "altered",
    "foreign",
    "stale",
    "resurrected",
    "mutated_input",
    "aliased",
    "wrong_bound",
    "hung",
    "swallowed_error",
    "wrong_error",
    "blocked_loop",
    "other",
]

VerdictName = Literal["conformant", "conformant_with_deviations", "not_conformant", "incomplete"]


@dataclass(frozen=True)
class Finding:
    """One way in which a history broke a contract, told in messages.

    `cause` is equal for findings that have one cause (the same method missing, the same
    constructor raising) and empty where nothing but the summary identifies it.
    `expected` and `returned` are lines, one a message, that belong side by side.
    """

    kind: Kind
    summary: str
    steps: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    reproducer: str = ""
    cause: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """The finding that `to_json` wrote as `data`."""
        lines = {key: tuple(data[key]) for key in ("steps", "expected", "returned", "notes")}
        return cls(**{**data, **lines})


@dataclass(frozen=True)
class ContractResult:
    """What became of one contract in one mode on one backend.

    `informs` is true where a failure would not count: the contract's level is below the run's
    level, or the contract is newer than the catalogue that the run is pinned to.
    """

    id: str
    level: Level
    since: str
    mode: Mode
    outcome: Outcome
    examples: int = 0
    duration_s: float = 0.0
    reason: str | None = None
    finding: Finding | None = None
    informs: bool = False

    @property
    def label(self) -> str:
        """The contract and its mode, as in a node id: `ordering.across_calls[sync]`."""
        return f"{self.id}[{self.mode}]"

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ContractResult:
        """The result that `to_json` wrote as `data`."""
        finding = data.get("finding")
        return cls(**{**data, "finding": Finding.from_json(finding) if finding else None})


@dataclass(frozen=True)
class Counts:
    """How many contracts (each mode counted) had which outcome.

    `declared` comes from the catalogue, whatever ran. `exercised` are those that were judged:
    passed, failed, deviating, and informing. `informing` are failures that do not count.
    """

    declared: int
    exercised: int
    passed: int
    failed: int
    deviations: int
    not_applicable: int
    errors: int
    not_run: int
    informing: int = 0


@dataclass(frozen=True)
class BackendReport:
    """One backend's column: its verdict and what it rests on.

    `lacks` maps each capability given up to its reason; `notes` are sentences that the reader
    should see beside the verdict, such as a capability given up that works after all.
    `unsettled` says why the verdict stays open however much was exercised.
    """

    name: str
    verdict: VerdictName
    lacks: Mapping[str, str]
    counts: Counts
    contracts: Sequence[ContractResult]
    notes: Sequence[str] = ()
    unsettled: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BackendReport:
        """The report of one backend out of a run's JSON."""
        return cls(
            name=data["name"],
            verdict=data["verdict"],
            lacks=dict(data["lacks"]),
            counts=Counts(**data["counts"]),
            contracts=tuple(ContractResult.from_json(entry) for entry in data["contracts"]),
            notes=tuple(data.get("notes", ())),
            unsettled=data["unsettled"],
        )


@dataclass(frozen=True)
class RunReport:
    """A whole run: the suite, where it ran, and a report for each backend.

    `suite` holds `version`, `profile` and `seed`; `environment` holds versions by package and,
    where servers were used, `server` by kind.
    """

    suite: Mapping[str, Any]
    environment: Mapping[str, Any]
    backends: Sequence[BackendReport] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """The run as JSON values, in the published schema."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunReport:
        """The run that `to_json` wrote as `data`.

        Raises:
            ValueError: `data` is not a report, or one of another schema version.
        """
        found = data.get("schema") if isinstance(data, Mapping) else None
        if found != SCHEMA:
            raise ValueError(
                f"this is no report of the schema {SCHEMA!r}: its 'schema' is {found!r}"
            )
        return cls(
            suite=dict(data["suite"]),
            environment=dict(data["environment"]),
            backends=tuple(BackendReport.from_json(entry) for entry in data["backends"]),
        )
