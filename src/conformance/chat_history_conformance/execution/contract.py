"""The class of contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chat_history_conformance.project import page_of
from chat_history_conformance.results.model import ContractResult, Level, Mode, Outcome

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from chat_history_conformance.execution.session import Session

__all__ = ["NEEDS_OF_MODE", "Body", "Company", "Contract", "version"]

NEEDS_OF_MODE: Mapping[Mode, tuple[str, ...]] = {
    "sync": ("sync",),
    "async": ("async",),
    "mixed": ("sync", "async"),
    "process": ("durable",),
}
"""The capabilities that each mode needs."""

Body = Callable[["Session", Any], None]
"""The body of a contract: it takes the session, and a value drawn from the program."""

Company = Literal["any", "alone", "alone_in_process", "apart"]
"""The contracts that may run in the same process: `any` at the same time, none at the same time
(`alone`), or none at all (`apart`), because this one can leave something broken behind."""


_ALONE = frozenset({"faults", "outage", "server", "cluster", "interference"})
"""Capabilities of contracts that disturb a server."""


@dataclass(frozen=True)
class Contract:
    """One rule that a history keeps or breaks.

    Attributes:
        id: `family.name`; it never changes.
        level: `must`, `should` or `may`.
        since: The first version of the suite that has the contract.
        title: The rule in one sentence, for lists.
        rule: The full rule, so precise that the author of a backend can argue with it.
        source: The place in langchain-core that states the rule (`langchain_core/chat_history.py,
            MEMBER`), or `convention: ` and its reason.
        cause: The usual cause of a failure.
        remedy: The usual fix.
        seen: A citation of the defect in other software.
        needs: Capabilities without which the contract does not apply.
        modes: The modes in which the body runs.
        body: The code of the contract, the same for all modes.
        program: The strategy that draws the examples, None if there is only one.
        examples: Maximum number of examples in every profile.
        racy: Whether a failure depends on timing. It is then not shrunk, and its script repeats
            the steps many times.
        company: Whether other contracts may run at the same time. A contract about short times, or
            with session ids that other contracts use, is `alone`. One about the clock, the
            working directory or the resources of its process is `alone_in_process`: if the history
            is slow, it gets a separate process while others run. A contract that can break an
            event loop or a pool is `apart`: it always gets a separate process. A contract that
            disturbs the clock or the store for a few calls only may be in company, because the
            others wait for it; see `Quiet`.
        is_long: Whether it needs far more operations than most contracts. It begins first if
            contracts run at the same time, so that the run does not wait for it alone in the end.
    """

    id: str
    level: Level
    since: str
    title: str
    rule: str
    source: str
    cause: str
    remedy: str
    seen: str
    needs: tuple[str, ...]
    modes: tuple[Mode, ...]
    body: Body
    program: SearchStrategy[Any] | None
    examples: int | None
    racy: bool
    company: Company = "any"
    is_long: bool = False

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def url(self) -> str:
        """The address of the page about the contract. It may be empty."""
        return page_of(self.id)

    def blank(self, mode: Mode, outcome: Outcome) -> ContractResult:
        """Return a result of the contract in which nothing was tried."""
        return ContractResult(self.id, self.level, self.since, mode, outcome, url=self.url)

    @property
    def needs_quiet(self) -> bool:
        """True if no other contract may run in the same process at the same time."""
        return self.company != "any" or self.disturbs_a_server

    @property
    def can_be_separate(self) -> bool:
        """True if it may run in a separate process while other contracts run in this one."""
        return self.company in ("alone_in_process", "apart") and not self.disturbs_a_server

    @property
    def mostly_waits(self) -> bool:
        """True if most of its time passes until messages expire, or in a separate process."""
        return self.company == "apart" or (self.company == "any" and "with_ttl" in self.needs)

    @property
    def disturbs_a_server(self) -> bool:
        """True if the contract needs a server that it may end, or other users of its store."""
        return not _ALONE.isdisjoint(self.needs)

    def planned(self, examples: int) -> int:
        """Return the number of examples in a profile with this number of examples."""
        if self.program is None:
            return 1
        return min(examples, self.examples or examples)

    @property
    def place(self) -> str:
        """The file and the line of the body."""
        code = self.body.__code__
        return f"{code.co_filename}:{code.co_firstlineno}"


def version(text: str) -> tuple[int, ...]:
    """Return a version of the catalogue as a tuple that compares: `"0.1"` is `(0, 1)`.

    Raises:
        ValueError: The text is not a row of numbers with dots between them.
    """
    return tuple(int(part) for part in text.split("."))
