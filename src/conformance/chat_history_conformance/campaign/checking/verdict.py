"""The verdict on a campaign: the defects that were found, and the figures that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from chat_history_conformance.campaign.recording import Operation

__all__ = ["KINDS", "MEANINGS", "Defect", "DefectKind", "Figures", "Verdict", "quoted"]

DefectKind: TypeAlias = Literal[
    "lost",
    "doubled",
    "order_in_batch",
    "order_of_writer",
    "order_in_real_time",
    "wrong_read",
    "came_back",
    "foreign",
    "skipped",
    "out_of_order",
    "doubled_consume",
    "wrong_claim",
    "over_limit",
    "client_died",
    "growth",
]

KINDS: tuple[DefectKind, ...] = get_args(DefectKind)

MEANINGS: Mapping[DefectKind, tuple[str, str]] = {
    "lost": ("lost", "An acknowledged message is not stored at the end, and no clear explains it."),
    "doubled": ("stored twice", "A message that was added once is stored more than once."),
    "order_in_batch": ("order in a batch", "The messages of one add are stored in another order."),
    "order_of_writer": (
        "order of a writer",
        "A client's message comes before one whose add had returned to the same client earlier.",
    ),
    "order_in_real_time": (
        "order in real time",
        "A message comes before one whose add had returned to another client earlier.",
    ),
    "wrong_read": (
        "wrong read",
        "No order of the overlapping calls explains what a read returned.",
    ),
    "came_back": ("came back", "A message is there again after a clear that removed it."),
    "foreign": (
        "foreign",
        "A message that no client added, or that was seen before its add began.",
    ),
    "skipped": ("skipped", "Consuming reads passed over a message and never delivered it."),
    "out_of_order": (
        "consumed out of order",
        "A consuming read delivered a message after one that follows it.",
    ),
    "doubled_consume": (
        "consumed twice",
        "A message was delivered again, and no failed or overlapping consuming read explains it.",
    ),
    "wrong_claim": ("wrong claim", "An error says something about the outcome that is not true."),
    "over_limit": ("over its limit", "A call took longer than its limit and the tolerance."),
    "client_died": ("client died", "A client process ended by a signal or with a wrong status."),
    "growth": ("growth", "The threads, descriptors or memory of a process kept growing."),
}
"""A short name and the meaning of each kind of defect."""


@dataclass(frozen=True)
class Defect:
    """One thing that a right history never does.

    Attributes:
        session: the session; empty if the defect is about a process.
        text: the defect in one sentence without a full stop.
        operations: the operations that prove it, in the order of their beginnings.
        at: when it showed, in seconds since the start of the campaign.
    """

    kind: DefectKind
    session: str
    text: str
    operations: tuple[Operation, ...] = ()
    at: float = 0.0


@dataclass(frozen=True)
class Figures:
    """The figures of a campaign.

    Attributes:
        operations: the number of calls by kind.
        acknowledged_calls: the number of adds that returned.
        acknowledged_messages: the number of messages in them.
        raised: the number of calls that raised, by kind and then by the type of the error.
    """

    operations: Mapping[str, int] = field(default_factory=dict)
    acknowledged_calls: int = 0
    acknowledged_messages: int = 0
    raised: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """All defects of a campaign in the order of their times, and its figures."""

    defects: tuple[Defect, ...] = ()
    figures: Figures = field(default_factory=Figures)

    @property
    def counts(self) -> dict[DefectKind, int]:
        """The number of defects of each kind, zeros included."""
        counts: dict[DefectKind, int] = dict.fromkeys(KINDS, 0)
        for defect in self.defects:
            counts[defect.kind] += 1
        return counts

    @property
    def clean(self) -> bool:
        """True if no defect was found."""
        return not self.defects


def quoted(texts: Iterable[str], at_most: int = 4) -> str:
    """Return texts as a list for a sentence: `'a', 'b' and 3 more`."""
    names = [ascii(text) if len(text) <= 60 else ascii(text[:57] + "...") for text in texts]
    if len(names) > at_most:
        return ", ".join(names[: at_most - 1]) + f" and {len(names) - at_most + 1} more"
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])
