"""A plain round trip of the messages of a failed story: does the failure follow from it?"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import replace

from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_conformance.diagnosis.compare import ConformanceFailure
from chat_history_conformance.execution.examples import forget
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import Finding, Mode

__all__ = ["with_plain_round_trip"]

_MOST_MESSAGES = 100
_PLAIN = re.compile(
    r"\w+ = (?:await )?open\(|(?:await )?\w+\.a?(?:add_messages?\(|(?:get_)?messages)"
)
_ITSELF = frozenset({"lost", "altered", "reordered", "duplicated", "other"})


def with_plain_round_trip(
    finding: Finding, messages: Sequence[BaseMessage], subject: Subject, mode: Mode
) -> Finding:
    """Return a finding with the finding about a plain round trip, if that fails too.

    Args:
        finding: The finding.
        messages: The messages that the history accepted in its story.
        subject: The backend under test.
        mode: The mode of the contract.
    """
    is_plain = all(_PLAIN.match(step) for step in finding.steps)
    if (is_plain and finding.kind in _ITSELF) or finding.kind in ("hung", "crashed"):
        return finding  # it is a plain round trip, or another call must not hang too
    session = Session(subject, mode, pinned="lost")  # nothing is waited for
    plain: Finding | None = None
    try:
        a = session.open(in_this_process=True)
        a.add(copy.deepcopy(list(messages[:_MOST_MESSAGES])) or [HumanMessage("m0")])
        a.reads_back()
    except ConformanceFailure as failure:
        plain = failure.finding
        forget(failure)
    except Exception as error:  # such as a message that cannot be copied, or no server any more
        forget(error)
    session.finish(failed=True)
    if plain is None:
        return finding
    note = (
        f"a plain add and read of the same messages fails too: {plain.summary}. Start with that; "
        "this may follow from it"
    )
    return replace(
        finding, plain=replace(plain, reproducer="", notes=()), notes=(*finding.notes, note)
    )
