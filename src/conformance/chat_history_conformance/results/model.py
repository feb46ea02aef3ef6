"""The results of a run as frozen values: a finding, a contract's result, a backend's report, a run.

Everything that reports, compares or judges works on these values only. They know neither pytest nor
a history. The text below each field is its description in the published JSON schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

__all__ = [
    "LEVELS",
    "MODES",
    "SCHEMA",
    "BackendReport",
    "ContractResult",
    "Counts",
    "Finding",
    "Kind",
    "Level",
    "Mode",
    "Outcome",
    "RuleText",
    "Rules",
    "RunReport",
    "VerdictName",
]

SCHEMA = "chat-history-conformance/report/1"

Level = Literal["must", "should", "may"]
LEVELS: tuple[Level, ...] = ("must", "should", "may")

Mode = Literal["sync", "async", "mixed", "process"]
MODES: tuple[Mode, ...] = ("sync", "async", "mixed", "process")

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
    "crashed",
    "other",
]

VerdictName = Literal["conformant", "conformant_with_deviations", "not_conformant", "incomplete"]

_Config = Mapping[str, bool]
_CONFIG: _Config = {
    "use_attribute_docstrings": True,
    "json_schema_serialization_defaults_required": True,
}
# pydantic reads these when it validates; a number must be one, and "3" or true is refused.
_NUMBER: Mapping[str, Any] = {"strict": True, "ge": 0}
_FLAG: Mapping[str, Any] = {"strict": True}


@dataclass(frozen=True)
class Finding:
    """One way in which the history broke the contract, shown as a conversation."""

    __pydantic_config__: ClassVar[_Config] = _CONFIG

    kind: Kind
    """The effect on the messages or on the call."""
    summary: str
    """The finding in one line, such as: lost 1 of 3 messages."""
    steps: tuple[str, ...] = ()
    """The shortest conversation that shows it. One entry is one step, without its number."""
    expected: tuple[str, ...] = ()
    """The messages that should have come back, one an entry. Show them next to `returned`."""
    returned: tuple[str, ...] = ()
    """The messages that came back, one an entry."""
    reproducer: str = ""
    """A Python script that shows the finding without this suite. Empty if none can be made."""
    cause: str = ""
    """A readable text that is equal for all findings with the same cause, such as
    `aadd_messages` raises NotImplementedError. Empty if only the summary identifies the finding."""
    notes: tuple[str, ...] = ()
    """Further sentences, such as: not minimal, or flaky."""
    raised_at: str = ""
    """The line of the history's own code that raised, such as `histories.py:12, in add_messages`.
    Empty if the finding is not about an exception, or if the line is not known."""
    plain: Finding | None = None
    """The finding about a plain add and read of the same messages, if they fail too. The finding
    then follows from it. It has no script and no finding of this sort itself."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """Return the finding that `ContractResult.to_json` wrote as `data`."""
        lines = {key: tuple(data[key]) for key in ("steps", "expected", "returned", "notes")}
        plain = data.get("plain")
        return cls(**{**data, **lines, "plain": cls.from_json(plain) if plain else None})


@dataclass(frozen=True)
class ContractResult:
    """The result of one contract in one mode."""

    __pydantic_config__: ClassVar[_Config] = _CONFIG

    id: str
    """The contract, as family.name. Ids are stable."""
    level: Level
    """The level of the contract: must, should or may."""
    since: str
    """The version of the catalogue that introduced the contract."""
    mode: Mode
    """The way the history was called: sync, async, mixed (both, alternately), or process (from a
    second process)."""
    outcome: Outcome
    """The outcome. deviation: failed as declared. unexpected_pass: declared as a deviation, but it
    passes. not_applicable: needs a capability that the backend lacks. error: the server or the
    suite failed, so nothing was judged. not_run: left out by the run."""
    examples: int = field(default=0, metadata=_NUMBER)
    """The number of examples that were tried."""
    duration_s: float = field(default=0.0, metadata=_NUMBER)
    """The time this took, in seconds."""
    reason: str | None = None
    """The reason for an outcome other than passed: the declared reason of a deviation, the missing
    capability, or the error. If the contract passed: what it could not try, or null."""
    finding: Finding | None = None
    """The finding, if the contract failed or deviates."""
    informs: bool = field(default=False, metadata=_FLAG)
    """True if a failure does not count: the level of the contract is below the level of the run,
    or the contract is newer than the catalogue that the run is pinned to."""
    cut: bool = field(default=False, metadata=_FLAG)
    """True if the contract used up its operations before it had tried all its examples."""
    url: str = ""
    """The address of the page about the contract. Empty if the suite that wrote the report does not
    know one, as before 0.2."""

    @property
    def label(self) -> str:
        """The contract and its mode, as in a node id: `ordering.across_calls[sync]`."""
        return f"{self.id}[{self.mode}]"

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, to be sent to another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ContractResult:
        """Return the result that `to_json` wrote as `data`, without validating it."""
        finding = data.get("finding")
        return cls(**{**data, "finding": Finding.from_json(finding) if finding else None})


@dataclass(frozen=True)
class Counts:
    """The number of contracts with each outcome. Each mode counts.

    The numbers are consistent: exercised = passed + failed + deviations + informing, and declared =
    exercised + not_applicable + errors + not_run.
    """

    __pydantic_config__: ClassVar[_Config] = _CONFIG

    declared: int = field(metadata=_NUMBER)
    """The contracts in the catalogue, whether they ran or not."""
    exercised: int = field(metadata=_NUMBER)
    """The contracts that were judged."""
    passed: int = field(metadata=_NUMBER)
    """Outcome passed."""
    failed: int = field(metadata=_NUMBER)
    """Outcome failed or unexpected_pass, for contracts that count."""
    deviations: int = field(metadata=_NUMBER)
    """Outcome deviation."""
    not_applicable: int = field(metadata=_NUMBER)
    """Outcome not_applicable."""
    errors: int = field(metadata=_NUMBER)
    """Outcome error."""
    not_run: int = field(metadata=_NUMBER)
    """Outcome not_run."""
    informing: int = field(default=0, metadata=_NUMBER)
    """Outcome failed or unexpected_pass, for contracts that do not count."""


@dataclass(frozen=True)
class BackendReport:
    """One backend: its verdict and the results behind it."""

    __pydantic_config__: ClassVar[_Config] = _CONFIG

    name: str
    """The name under which the backend is registered or declared, or `module:attribute`."""
    verdict: VerdictName
    """The verdict. not_conformant: a failure counts. incomplete: no failure counts, but an error or
    the run itself left a contract of level must unexercised, or nothing at all was exercised.
    conformant_with_deviations: all failures are declared as deviations. conformant: otherwise."""
    lacks: Mapping[str, str]
    """The capabilities that the backend does not support, each with the declared reason."""
    counts: Counts
    """The number of contracts with each outcome."""
    contracts: tuple[ContractResult, ...]
    """Every declared contract in every mode, in the order of the catalogue. Each pair of id and
    mode occurs once."""
    notes: tuple[str, ...] = ()
    """Sentences to show with the verdict, such as a capability that works although it is listed as
    not supported."""
    unsettled: str | None = None
    """The reason why the run cannot reach a verdict, such as a mock server. Null otherwise."""
    origin: str = ""
    """The module and the name of the factory, as `module:attribute`, or the file that declares the
    backend, relative to the root of the project. Empty if it is not known."""


@dataclass(frozen=True)
class RunReport:
    """A whole run: the suite, the environment, and a report for each backend.

    Attributes:
        suite: The suite's `version`, and the run's `profile` and `seed`.
        environment: The `date`, the `commit` if there is one, the version of each package, and
            `server` by kind if servers were used.
        backends: The reports, in the order in which the backends were named.
    """

    suite: Mapping[str, Any]
    environment: Mapping[str, Any]
    backends: tuple[BackendReport, ...] = ()


@dataclass(frozen=True)
class RuleText:
    """The texts of one contract that reports show next to a finding.

    Attributes:
        title: The rule in one sentence.
        rule: The whole rule.
        source: The origin of the rule.
        cause: The usual cause of a failure.
        remedy: The usual fix.
        needs: The capabilities that the contract needs, in addition to those of its modes.
        url: The address of the page about the contract.
    """

    title: str
    rule: str
    source: str = ""
    cause: str = ""
    remedy: str = ""
    needs: tuple[str, ...] = ()
    url: str = ""


Rules = Mapping[str, RuleText]
"""The texts of contracts, by contract id."""
