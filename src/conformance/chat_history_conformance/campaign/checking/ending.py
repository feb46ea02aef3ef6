"""The messages that are not stored at the end of a campaign although nothing removed them."""

from __future__ import annotations

import math
from collections import defaultdict

from chat_history_conformance.campaign.checking.conversation import Conversation, Message
from chat_history_conformance.campaign.checking.verdict import quoted
from chat_history_conformance.campaign.recording import Operation

__all__ = ["judge_ending"]


def judge_ending(conversation: Conversation) -> None:
    """Report promised messages that are lost, and messages that were seen and are gone.

    Such a message was there at one time, and each clear that removes it has to take effect after
    that time and before the first message of the final read was stored. The messages of one add are
    stored in order, so it removes none of them if one before it is still there.
    """
    final = conversation.final
    if final is None:
        return
    missing = set(conversation.messages).difference(final.messages, conversation.excused)
    seen = _last_seen(conversation, missing)
    high = math.inf
    if not conversation.undone:
        high = min(map(conversation.latest.__getitem__, final.messages), default=math.inf)
    denied: defaultdict[Operation, list[str]] = defaultdict(list)
    gone = []
    kept = set(final.messages)
    for text, message in conversation.messages.items():
        if text not in missing or not (message.promised or text in seen):
            continue
        there = max(message.began, seen[text][0] if text in seen else -math.inf)
        # A clear removes the front of a batch, or all of it.
        after_kept = not kept.isdisjoint(message.add.messages[: message.index])
        if not after_kept and conversation.clears.between(there, high):
            continue
        gone.append(text)
        clear = None if after_kept else conversation.denied.during(there, high)
        if clear:
            denied[clear].append(text)
        else:
            _report(conversation, message, seen[text][1] if text in seen else None)
    for clear, texts in denied.items():
        assert clear.error
        are = "is" if len(texts) == 1 else "are"
        conversation.report(
            "wrong_claim",
            f"{clear.error.type} says that nothing was removed, but {quoted(texts)} {are} gone",
            [conversation.messages[texts[0]].add, clear, final.operation],
            final.operation.ended,
        )
    conversation.excuse(gone)


def _last_seen(conversation: Conversation, missing: set[str]) -> dict[str, tuple[float, Operation]]:
    """Return the last read that shows a message, and the earliest time at which it took effect."""
    assert conversation.final
    final = conversation.final.messages
    seen: dict[str, tuple[float, Operation]] = {}
    calls = [(look.began, look.proven, look.operation) for look in conversation.looks]
    calls += [(call.began, call.messages, call) for call in conversation.consumes if not call.error]
    for began, messages, operation in sorted(calls, key=lambda call: call[0], reverse=True):
        if messages != final[: len(messages)]:
            for text in missing.intersection(messages):
                seen.setdefault(text, (began, operation))
    return seen


def _report(conversation: Conversation, message: Message, seen: Operation | None) -> None:
    final = conversation.final
    assert final
    proof = [message.add, *([seen] if seen else []), final.operation]
    name, at = quoted([message.text]), final.operation.ended
    if message.claim == "acknowledged":
        conversation.report("lost", f"{name} was acknowledged and is not stored", proof, at)
    elif message.claim == "confirmed":
        assert message.add.error
        conversation.report(
            "wrong_claim",
            f"{message.add.error.type} calls {name} stored, but it is not",
            proof,
            at,
        )
    else:
        conversation.report(
            "wrong_read", f"{name} was read and is not stored at the end", proof, at
        )
