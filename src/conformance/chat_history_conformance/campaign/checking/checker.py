"""The judgement of a recorded campaign: a pure function of the record.

It never blames a history that keeps its promises: a defect is reported only if no order of the
overlapping calls explains the recording. `docs/campaigns.md` says what it reports for certain.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from chat_history_conformance.campaign.checking.consuming import judge_consuming
from chat_history_conformance.campaign.checking.conversation import Conversation, conversations
from chat_history_conformance.campaign.checking.ending import judge_ending
from chat_history_conformance.campaign.checking.epochs import epochs_of
from chat_history_conformance.campaign.checking.processes import judge_processes
from chat_history_conformance.campaign.checking.reads import judge_order, judge_reads
from chat_history_conformance.campaign.checking.sightings import inspect_sightings
from chat_history_conformance.campaign.checking.verdict import (
    KINDS,
    MEANINGS,
    Defect,
    DefectKind,
    Figures,
    Verdict,
)
from chat_history_conformance.campaign.recording import Recording

__all__ = ["KINDS", "MEANINGS", "Defect", "DefectKind", "Figures", "Verdict", "check"]


def check(recording: Recording) -> Verdict:
    """Return the defects of a campaign.

    Raises:
        ValueError: if one session gets the same text twice, so that its copies look alike.
    """
    all_conversations = conversations(recording)
    elsewhere = {text: one.name for one in all_conversations for text in one.messages}
    defects = list(judge_processes(recording))
    for conversation in all_conversations:
        _judge(conversation, elsewhere)
        defects += conversation.defects
    order = {kind: number for number, kind in enumerate(KINDS)}
    defects.sort(key=lambda defect: (defect.at, order[defect.kind], defect.session))
    return Verdict(tuple(defects), _figures(recording))


def _judge(conversation: Conversation, elsewhere: dict[str, str]) -> None:
    _judge_claims(conversation)
    inspect_sightings(conversation, elsewhere)
    judge_ending(conversation)
    epochs = epochs_of(conversation)
    judge_order(conversation, epochs)
    judge_reads(conversation, epochs)
    judge_consuming(conversation, epochs)


def _judge_claims(conversation: Conversation) -> None:
    """Report errors that name positions outside their batch."""
    for add in dict.fromkeys(message.add for message in conversation.messages.values()):
        size = len(add.messages)
        if add.error is None or not add.error.unconfirmed:
            continue
        wrong = [number for number in add.error.unconfirmed if not 0 <= number < size]
        if wrong:
            conversation.report(
                "wrong_claim",
                f"{add.error.type} names position {wrong[0]} of a batch of {size}",
                [add],
                add.ended,
            )


def _figures(recording: Recording) -> Figures:
    raised: defaultdict[str, Counter[str]] = defaultdict(Counter)
    adds = [one for one in recording.operations if one.kind == "add" and not one.error]
    for operation in recording.operations:
        if operation.error:
            raised[operation.kind][operation.error.type] += 1
    return Figures(
        operations=dict(Counter(one.kind for one in recording.operations)),
        acknowledged_calls=len(adds),
        acknowledged_messages=sum(len(add.messages) for add in adds),
        raised={kind: dict(types) for kind, types in raised.items()},
    )
