"""The defects that the checker finds in recordings written by hand, right ones and wrong ones."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from chat_history_conformance.campaign.checking.checker import KINDS, MEANINGS, check
from chat_history_conformance.campaign.recording import (
    NO_END,
    Exit,
    Fault,
    OperationError,
    Recording,
    Sample,
)
from tests.campaign.recordings import (
    DENIED,
    PLAIN,
    UNKNOWN,
    add,
    call,
    clear,
    consume,
    found,
    last,
    read,
    recorded,
)

KILL = Fault("kill", "1", 2.0, 4.0)
BEHIND = {"fresh_reads": "it asks one member"}
_LONG = " ".join(f"m{number}" for number in range(5_000))
CUT = Fault("cut off", "1", 2.0, 4.0, splits=True)


def _samples(*values: int, field: str = "threads") -> tuple[Sample, ...]:
    held = {"threads": 10, "descriptors": 20, "rss_bytes": 100 * 2**20}
    return tuple(
        Sample("p", float(number), **{**held, field: value}) for number, value in enumerate(values)
    )


RIGHT = {
    "nothing": recorded(),
    "an empty session": recorded(read(1, 2), final=""),
    "overlapping adds in any order": recorded(add(1, 5, "a"), add(2, 4, "b", by="v"), final="b a"),
    "batches that mix": recorded(
        add(1, 5, "a1 a2"), add(1, 5, "b1 b2", by="v"), final="a1 b1 a2 b2"
    ),
    "a read during an add shows a part": recorded(add(1, 5, "a b"), read(2, 3, "a"), final="a b"),
    "a read during an add shows nothing": recorded(add(1, 5, "a"), read(2, 3), final="a"),
    "a raised add that is stored": recorded(add(1, 2, "a b", error=UNKNOWN), final="a b"),
    "a raised add that is not stored": recorded(add(1, 2, "a b", error=UNKNOWN), final=""),
    "a raised add that is stored in part": recorded(add(1, 2, "a b", error=PLAIN), final="b"),
    "a raised add that is stored much later": recorded(
        add(1, 2, "a", error=UNKNOWN), add(3, 4, "b"), read(5, 6, "b"), final="b a"
    ),
    "a raised add that is stored after a clear": recorded(
        add(1, 2, "a", error=UNKNOWN), clear(3, 4), read(5, 6), final="a"
    ),
    "a refused add that is not stored": recorded(add(1, 2, "a", error=DENIED), final=""),
    "positions that are not confirmed and stored": recorded(
        add(1, 2, "a b", error=replace(UNKNOWN, unconfirmed=(1,))), final="a b"
    ),
    "positions that are not confirmed, not stored, and cleared": recorded(
        add(1, 2, "a b c", error=replace(UNKNOWN, unconfirmed=(0, 2))),
        read(3, 4, "b"),
        last(3, 4, "b", 2),
        clear(5, 6),
        read(7, 8),
        final="",
    ),
    "an empty list of positions says nothing": recorded(
        add(1, 2, "a b", error=replace(UNKNOWN, unconfirmed=())), final="a"
    ),
    "a clear during an add removes a part": recorded(add(1, 5, "a b c"), clear(2, 3), final="b c"),
    "a raised clear that took effect later": recorded(
        add(1, 2, "a"), clear(3, 4, error=UNKNOWN), read(5, 6, "a"), read(7, 8), final=""
    ),
    "a raised clear that never took effect": recorded(
        add(1, 2, "a"), clear(3, 4, error=UNKNOWN), read(5, 6, "a"), final="a"
    ),
    "two reads that overlap and differ": recorded(
        add(1, 9, "a"), read(2, 5, "a"), read(4, 8), final="a"
    ),
    "newest messages": recorded(
        add(1, 2, "a b c"), last(3, 4, "b c", 2), last(3, 4, "a b c", 5), final="a b c"
    ),
    "oldest messages": recorded(
        add(1, 2, "a b c"), read(3, 4, "a b", count=2), read(3, 4, "a b c", count=4), final="a b c"
    ),
    "newest messages that are cleared later": recorded(
        add(1, 2, "a b c d"),
        last(3, 4, "d", 1),
        last(5, 6, "b c d", 3),
        read(5, 6, "a b", count=2),
        clear(7, 8),
        final="",
    ),
    "a clear that a kill may undo": recorded(
        add(1, 1.5, "a"),
        clear(1.6, 1.9),
        read(1.9, 1.95),
        read(5, 6, "a"),
        final="a",
        lacks={"durable_clear": "the checkpoint comes later"},
        faults=(KILL,),
    ),
    "a stale read while a member is cut off": recorded(
        add(1, 1.5, "a"),
        add(2.5, 3, "b"),
        clear(3.1, 3.2),
        read(3.5, 3.6, "a"),
        read(4.1, 4.2),
        final="",
        lacks=BEHIND,
        faults=(CUT,),
    ),
    "a read of a member that is cut off shows what it stores in another order": recorded(
        add(2.5, 9, "a"),
        add(2.5, 8, "b", by="v"),
        add(2.6, 2.8, "c", by="u", error=UNKNOWN),
        read(3, 3.5, "b a c"),
        last(3, 3.5, "c a", 2),
        read(9.5, 9.6, "a b"),
        final="a b",
        lacks=BEHIND,
        faults=(CUT,),
    ),
    "a read that lacks an unfinished message before one that it shows": recorded(
        add(1, 9, "a"),
        add(1, 9, "b", by="v"),
        add(1, 9, "c", by="u"),
        read(3, 4, "a c"),
        read(3, 4, "c"),
        last(3, 4, "c", 1),
        last(5, 6, "a c", 2),
        final="a b c",
        lacks=BEHIND,
    ),
    "reads of servers that know an unfinished message, or do not": recorded(
        add(1, 9, "a b"),
        read(2, 3, "a b"),
        read(4, 5, "a"),
        read(4, 5),
        last(4, 5, "a", 2),
        read(6, 7, "b"),
        final="a b",
        lacks=BEHIND,
    ),
    "a read that shows a message and lacks the unfinished clear before it": recorded(
        add(1, 2, "a b"),
        read(2.5, 3, "a b"),
        clear(4, 9),
        add(4, 9, "c", by="v"),
        read(5, 6, "a b c"),
        last(5, 6, "b c", 2),
        read(7, 8, "c"),
        read(7, 8, "c"),
        final="c",
        lacks=BEHIND,
    ),
    "an unfinished message that is cleared, and seen by few": recorded(
        add(1, 4, "a"),
        add(1, 4, "b", by="v"),
        read(2, 3, "b"),
        read(2, 3, "b"),
        read(5, 6, "a b"),
        clear(7, 8),
        final="",
        lacks=BEHIND,
    ),
    "consuming reads": recorded(
        add(1, 2, "a b c"), consume(3, 4, "a"), consume(5, 6, "b c"), consume(7, 8), final="a b c"
    ),
    "consuming reads without a final read": recorded(
        add(1, 2, "a b"), consume(3, 4, "a"), add(5, 6, "c"), consume(7, 8, "b c")
    ),
    "a raised consuming read, and the messages again": recorded(
        add(1, 2, "a b"),
        consume(3, 4, "a"),
        consume(5, 6, error=UNKNOWN),
        consume(7, 8, "a b"),
        final="a b",
    ),
    "a raised consuming read that hands over its messages": recorded(
        add(1, 2, "a b"),
        consume(3, 4, error=replace(UNKNOWN, messages=("a",))),
        consume(5, 6, "b"),
        final="a b",
    ),
    "a consuming read that its process did not survive": recorded(
        add(1, 2, "a b"),
        consume(3, 4, error=OperationError(NO_END, "", True)),
        consume(5, 6, "b"),
        final="a b",
    ),
    "consumers that overlap": recorded(
        add(1, 2, "a b"), consume(3, 6, "a b"), consume(4, 5, "a", by="l"), consume(7, 8, "b")
    ),
    "a clear removes what was not consumed": recorded(
        add(1, 2, "a b"), clear(3, 4), add(5, 6, "c"), consume(7, 8, "c"), final="c"
    ),
    "a slow call within the tolerance": recorded(add(1, 7.9, "a", limit_seconds=5.0), final="a"),
    "a call without a limit": recorded(add(1, 700, "a"), final="a"),
    "a call without an end": recorded(
        add(1, 70, "a", limit_seconds=5.0, error=OperationError(NO_END)), final="a"
    ),
    "processes that ended": recorded(exits=(Exit("p", 9, 0),)),
    "a warm-up": recorded(samples=_samples(*range(10, 40, 3), *[40] * 20)),
    "ups and downs": recorded(samples=_samples(*[10, 60] * 20)),
    "few samples": recorded(samples=_samples(10, 20, 30, 40, 50, 60)),
    "two clients more at last": recorded(
        samples=_samples(*[50 + n * 3 // 4 for n in range(40)], field="descriptors")
    ),
    "memory for longer conversations": recorded(
        add(1, 2, _LONG),
        read(3, 4, _LONG),
        samples=_samples(*(n * 5 * 2**20 for n in range(20, 60)), field="rss_bytes"),
        final=_LONG,
    ),
    "a little more": recorded(samples=_samples(*[n // 6 + 10 for n in range(40)])),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_recording_has_no_defect(name: str) -> None:
    assert found(RIGHT[name]) == []


A_B = (add(1, 2, "a"), add(3, 4, "b"))
CONFIRMED = OperationError("PartError", "", True, (1,))
PARTLY = OperationError("PartError", "", False, (1, 2))

WRONG: list[tuple[Recording, list[tuple[str, str]]]] = [
    (recorded(*A_B, final="b"), [("lost", "'a' was acknowledged and is not stored")]),
    (
        recorded(*A_B, read(5, 6, "a b"), final="a"),
        [("lost", "'b' was acknowledged and is not stored")],
    ),
    (  # The clear was over before the add began.
        recorded(clear(1, 2), add(3, 4, "a"), final=""),
        [("lost", "'a' was acknowledged and is not stored")],
    ),
    (  # A clear that removes 'b' removes 'a' too.
        recorded(add(1, 2, "a"), clear(3, 4, error=UNKNOWN), add(5, 6, "b"), final="a"),
        [("lost", "'b' was acknowledged and is not stored")],
    ),
    (
        recorded(add(1, 4, "a b c"), clear(2, 3), final="a c"),
        [("lost", "'b' was acknowledged and is not stored")],
    ),
    (recorded(*A_B, final="a b a"), [("doubled", "'a' was added once and is stored 2 times")]),
    (
        recorded(
            add(1, 2, "a", error=UNKNOWN), add(3, 4, "b"), read(5, 6, "a b a a"), final="a b a a"
        ),
        [("doubled", "'a' was added once and is stored 3 times")],
    ),
    (
        recorded(add(1, 2, "a b"), final="b a"),
        [("order_in_batch", "'b' comes before 'a', which is before it in the batch")],
    ),
    (
        recorded(
            add(1, 2, "a b c", error=UNKNOWN), read(3, 4, "c a"), clear(5, 6), read(7, 8), final=""
        ),
        [("order_in_batch", "'c' comes before 'a', which is before it in the batch")],
    ),
    (
        recorded(*A_B, final="b a"),
        [
            (
                "order_of_writer",
                "'b' comes before 'a', which was acknowledged to the same client before",
            )
        ],
    ),
    (
        recorded(add(1, 2, "a"), add(3, 4, "b", error=UNKNOWN), read(8, 9, "b a"), final="b a"),
        [
            (
                "order_of_writer",
                "'b' comes before 'a', which was acknowledged to the same client before",
            )
        ],
    ),
    (
        recorded(add(1, 2, "a"), add(3, 4, "b", by="v"), final="b a"),
        [
            (
                "order_in_real_time",
                "'b' comes before 'a', which was acknowledged to another client before",
            )
        ],
    ),
    (
        recorded(add(1, 2, "a"), add(1, 4, "x", by="u"), add(3, 4, "b", by="v"), final="b x a"),
        [
            (
                "order_in_real_time",
                "'b' comes before 'a', which was acknowledged to another client before",
            )
        ],
    ),
    (  # Empty although the server holds a message: the read of a dead server.
        recorded(add(1, 2, "a"), read(3, 4), final="a"),
        [
            (
                "wrong_read",
                "the read is empty although 'a' was stored before it began, and no clear explains "
                "it",
            )
        ],
    ),
    (  # A raised clear cannot explain it, because 'a' is there later.
        recorded(
            add(1, 2, "a"), clear(2, 3, error=UNKNOWN), read(4, 5), read(6, 7, "a"), final="a"
        ),
        [
            (
                "wrong_read",
                "the read is empty although 'a' was stored before it began, and no clear explains "
                "it",
            )
        ],
    ),
    (  # The history promises fresh reads.
        recorded(
            add(1, 1.5, "a"), add(2.1, 2.5, "b"), read(3, 3.5, "a"), faults=(CUT,), final="a b"
        ),
        [("wrong_read", "the read does not show 'b', acknowledged before it began")],
    ),
    (  # The message was stored before a member was cut off.
        recorded(
            add(1, 1.5, "a"),
            add(1.6, 1.9, "b"),
            read(3, 3.5, "a"),
            faults=(CUT,),
            lacks=BEHIND,
            final="a b",
        ),
        [("wrong_read", "the read does not show 'b', acknowledged before it began")],
    ),
    (  # The read began after the member was connected again.
        recorded(
            add(1, 1.5, "a"),
            add(2.5, 3, "b"),
            read(4.1, 4.5, "a"),
            faults=(CUT,),
            lacks=BEHIND,
            final="a b",
        ),
        [("wrong_read", "the read does not show 'b', acknowledged before it began")],
    ),
    (  # The messages were acknowledged before the read.
        recorded(
            add(2.5, 2.9, "a"),
            add(2.5, 2.9, "b", by="v"),
            read(3, 3.5, "b a"),
            final="a b",
            lacks=BEHIND,
            faults=(CUT,),
        ),
        [("wrong_read", "'b' comes before 'a', unlike elsewhere")],
    ),
    (  # The clear had returned before the read.
        recorded(
            add(1, 2, "a b"),
            clear(4, 5),
            add(6, 7, "c"),
            read(8, 9, "a b c"),
            read(9.5, 9.6, "c"),
            final="c",
            lacks=BEHIND,
        ),
        [
            ("came_back", "'a' was stored before a clear and is there after it"),
            ("came_back", "'b' was stored before a clear and is there after it"),
        ],
    ),
    (  # A server that is behind lacks no message that was acknowledged before all others.
        recorded(
            *A_B,
            add(5, 9, "c"),
            add(5, 9, "d", by="v"),
            read(6, 7, "a d"),
            final="a b c d",
            lacks=BEHIND,
        ),
        [("wrong_read", "the read shows 'd' but not 'b' and 'c' before it")],
    ),
    (
        recorded(*A_B, add(5, 9, "c"), last(6, 7, "a c", 2), final="a b c", lacks=BEHIND),
        [("wrong_read", "the read shows 'c' but not 'b' before it")],
    ),
    (
        recorded(*A_B, add(5, 9, "c"), read(6, 7, "a"), final="a b c", lacks=BEHIND),
        [("wrong_read", "the read does not show 'b', acknowledged before it began")],
    ),
    (
        recorded(
            add(1, 9, "a"), add(1, 9, "b", by="v"), read(3, 4, "b a"), final="a b", lacks=BEHIND
        ),
        [("wrong_read", "'b' comes before 'a', unlike elsewhere")],
    ),
    (
        recorded(*A_B, read(5, 6), final="a b", lacks=BEHIND),
        [
            (
                "wrong_read",
                "the read is empty although 'a' was stored before it began, and no clear "
                "explains it",
            )
        ],
    ),
    (
        recorded(*A_B, read(5, 6, "a"), final="a b"),
        [("wrong_read", "the read does not show 'b', acknowledged before it began")],
    ),
    (
        recorded(
            add(1, 2, "a"), add(1, 9, "b", by="v"), read(3, 4, "a b"), read(5, 6, "a"), final="a b"
        ),
        [("wrong_read", "the read does not show 'b', which an earlier read shows")],
    ),
    (
        recorded(*A_B, add(5, 6, "c"), read(7, 8, "a c"), final="a b c"),
        [("wrong_read", "the read shows 'c' but not 'b' before it")],
    ),
    (
        recorded(*A_B, read(7, 8, "b"), final="a b"),
        [("wrong_read", "the read shows 'b' but not 'a' before it")],
    ),
    (
        recorded(*A_B, last(5, 6, "b", 2), final="a b"),
        [("wrong_read", "the read shows 'b' but not 'a' before it")],
    ),
    (
        recorded(*A_B, last(5, 6, "a", 1), final="a b"),
        [("wrong_read", "the read does not show 'b', acknowledged before it began")],
    ),
    (
        recorded(*A_B, last(5, 6, "a b", 1), final="a b"),
        [("wrong_read", "a read of 1 messages returned 2")],
    ),
    (
        recorded(*A_B, read(5, 6, "b", count=1), final="a b"),
        [("wrong_read", "the read shows 'b' but not 'a' before it")],
    ),
    (
        recorded(
            add(1, 5, "a"),
            add(1, 5, "b", by="v"),
            read(6, 7, "b a"),
            read(6, 7, "a b"),
            final="a b",
        ),
        [("wrong_read", "'b' comes before 'a', unlike elsewhere")],
    ),
    (
        recorded(add(1, 2, "a", error=UNKNOWN), read(3, 4, "a"), final=""),
        [("wrong_read", "'a' was read and is not stored at the end")],
    ),
    (  # 'a' was cleared before 'x', but a later read shows the old state again.
        recorded(
            add(1, 2, "a"),
            read(2, 3, "a"),
            clear(3, 4, error=UNKNOWN),
            add(5, 6, "x"),
            read(7, 8, "x"),
            read(9, 10, "a"),
            final="x",
        ),
        [("lost", "'a' was acknowledged and is not stored")],
    ),
    (
        recorded(add(1, 2, "a"), clear(3, 4), final="a"),
        [("came_back", "'a' was stored before a clear and is there after it")],
    ),
    (
        recorded(
            add(1, 2, "a", error=UNKNOWN),
            read(3, 4, "a"),
            clear(5, 6),
            add(7, 8, "b"),
            read(9, 10, "a b"),
            final="b",
        ),
        [("came_back", "'a' was stored before a clear and is there after it")],
    ),
    (
        recorded(add(1, 2, "a"), clear(3, 4), consume(5, 6, "a"), final=""),
        [("came_back", "'a' was stored before a clear and is there after it")],
    ),
    (  # The clear is undone. The messages that came back are not missing in any read.
        recorded(
            add(1, 2, "a"),
            clear(3, 4, error=DENIED),
            add(5, 6, "b", error=UNKNOWN),
            clear(7, 8),
            add(9, 10, "c", by="v"),
            read(11, 12, "a b c"),
            final="a b c",
        ),
        [("came_back", "'a' was stored before a clear and is there after it")],
    ),
    (  # A clear that was refused long before does not explain it.
        recorded(
            add(1, 2, "a"),
            clear(3, 4, error=DENIED),
            read(5, 6, "a"),
            read(7, 8),
            clear(9, 10),
            final="",
        ),
        [
            (
                "wrong_read",
                "the read is empty although 'a' was stored before it began, and no clear explains "
                "it",
            )
        ],
    ),
    (recorded(add(1, 2, "a"), final="a z"), [("foreign", "'z' was never added")]),
    (
        recorded(add(5, 6, "a"), read(1, 2, "a"), final="a"),
        [("foreign", "'a' was seen before its add began")],
    ),
    (
        recorded(add(1, 2, "a"), add(1, 2, "t", session="t"), read(3, 4, "a t"), final="a"),
        [("foreign", "'t' was added to session 't'")],
    ),
    (
        recorded(add(1, 2, "a b c"), consume(3, 4, "a"), consume(5, 6, "c"), final="a b c"),
        [("skipped", "'b' was never delivered, but 'c' was")],
    ),
    (  # A consuming read that raises has consumed nothing.
        recorded(add(1, 2, "a b"), consume(3, 4, error=UNKNOWN), consume(5, 6, "b"), final="a b"),
        [("skipped", "'a' was never delivered, but 'b' was")],
    ),
    (  # Only the consumer reads the session.
        recorded(*A_B, consume(5, 6, "b")),
        [("skipped", "'a' was never delivered, but 'b' was")],
    ),
    (
        recorded(add(1, 2, "a b"), consume(3, 4, "b"), consume(5, 6, "a"), final="a b"),
        [("out_of_order", "'a' was delivered after 'b'")],
    ),
    (
        recorded(*A_B, consume(5, 6, "b a"), final="a b"),
        [("out_of_order", "'b' was delivered before 'a' by one call")],
    ),
    (
        recorded(*A_B, consume(5, 6, "b"), consume(7, 8, "a")),
        [("out_of_order", "'a' was delivered after 'b'")],
    ),
    (
        recorded(*A_B, consume(5, 6, "a b"), consume(7, 8, "b"), final="a b"),
        [("doubled_consume", "'b' was delivered again, and no call that raised explains it")],
    ),
    (
        recorded(*A_B, consume(5, 6, "a a b"), final="a b"),
        [("doubled_consume", "'a' was delivered twice by one call")],
    ),
    (  # The call that raised came after the repeat.
        recorded(
            *A_B,
            consume(5, 6, "a"),
            consume(7, 8, "a b"),
            consume(9, 10, error=UNKNOWN),
            final="a b",
        ),
        [("doubled_consume", "'a' was delivered again, and no call that raised explains it")],
    ),
    (
        recorded(add(1, 2, "a b c", error=DENIED), final="a"),
        [
            (
                "wrong_claim",
                "RefusedError says that nothing was stored, but 'a' is stored (1 of 3)",
            )
        ],
    ),
    (
        recorded(add(1, 2, "a b", error=DENIED), read(3, 4, "a b"), clear(5, 6), final=""),
        [
            (
                "wrong_claim",
                "RefusedError says that nothing was stored, but 'a' and 'b' are stored (2 of 2)",
            )
        ],
    ),
    (
        recorded(add(1, 2, "a b c", error=PARTLY), final="a c"),
        [("wrong_claim", "PartError calls 'c' not stored, but it is")],
    ),
    (
        recorded(add(1, 2, "a b", error=CONFIRMED), final=""),
        [("wrong_claim", "PartError calls 'a' stored, but it is not")],
    ),
    (
        recorded(add(1, 2, "a b", error=replace(UNKNOWN, unconfirmed=(0, 1, 2))), final=""),
        [("wrong_claim", "ConnectionError names position 2 of a batch of 2")],
    ),
    (
        recorded(add(1, 2, "a"), clear(3, 4, error=DENIED), final=""),
        [("wrong_claim", "RefusedError says that nothing was removed, but 'a' is gone")],
    ),
    (
        recorded(add(1, 2, "a"), clear(3, 4, error=DENIED), read(5, 6), clear(7, 8), final=""),
        [
            (
                "wrong_claim",
                "RefusedError says that nothing was removed, but a read is empty after 'a'",
            )
        ],
    ),
    (
        recorded(add(1, 9, "a", limit_seconds=5.0), final="a"),
        [("over_limit", "add returned after 8.0 s; its limit is 5 s")],
    ),
    (
        recorded(read(1, 20.5, error=UNKNOWN, limit_seconds=10.0), final=""),
        [("over_limit", "read raised ConnectionError after 19.5 s; its limit is 10 s")],
    ),
    (
        recorded(
            clear(1, 20, limit_seconds=10.0, error=OperationError(NO_END, "", True)),
            final="",
            exits=(Exit("p", 20, 0),),
        ),
        [("over_limit", "clear had not ended after 19.0 s; its limit is 10 s")],
    ),
    (
        recorded(exits=(Exit("p1", 5, -11), Exit("p2", 9, 0))),
        [("client_died", "client process p1 ended by SIGSEGV")],
    ),
    (
        recorded(exits=(Exit("p1", 5, 3), Exit("p2", 9, -99))),
        [
            ("client_died", "client process p1 ended with status 3"),
            ("client_died", "client process p2 ended by signal 99"),
        ],
    ),
    (
        recorded(samples=_samples(*range(10, 50))),
        [("growth", "threads of p grew from 26 to 46 after the warm-up")],
    ),
    (
        recorded(samples=_samples(*range(20, 140, 3), field="descriptors")),
        [("growth", "descriptors of p grew from 66 to 128 after the warm-up")],
    ),
    (
        recorded(samples=_samples(*(n * 5 * 2**20 for n in range(20, 60)), field="rss_bytes")),
        [("growth", "memory of p grew from 178 to 280 MiB after the warm-up")],
    ),
]


@pytest.mark.parametrize(
    ("recording", "expected"), WRONG, ids=[f"{one[1][0][0]}-{n}" for n, one in enumerate(WRONG)]
)
def test_a_wrong_recording_has_exactly_its_defects(
    recording: Recording, expected: list[tuple[str, str]]
) -> None:
    assert found(recording) == expected


def test_each_kind_of_defect_has_two_wrong_recordings_and_a_meaning() -> None:
    kinds = [kind for _, expected in WRONG for kind in {kind for kind, _ in expected}]
    assert {kind: kinds.count(kind) >= 2 for kind in KINDS} == dict.fromkeys(KINDS, True)
    assert tuple(MEANINGS) == KINDS


def test_a_defect_carries_the_operations_that_prove_it() -> None:
    lost, other = A_B
    seen = read(5, 6, "a b")
    verdict = check(recorded(lost, other, seen, final="b"))
    [defect] = verdict.defects
    final = call("read", 6, 6, "b", by="final read", process="")
    assert defect.operations == (lost, seen, final)
    assert (defect.session, defect.at) == ("s", 6)


def test_a_consuming_read_is_shown_as_it_was_recorded() -> None:
    delivered = consume(5, 6, "z b")
    verdict = check(recorded(*A_B, delivered, consume(7, 8, "a b"), final="a b"))
    assert [defect.kind for defect in verdict.defects] == [
        "foreign",
        "out_of_order",
        "doubled_consume",
    ]
    assert all(delivered in defect.operations for defect in verdict.defects)


def test_all_kinds_are_counted_and_zero_is_shown() -> None:
    verdict = check(recorded(*A_B, final="b"))
    assert verdict.counts == {**dict.fromkeys(KINDS, 0), "lost": 1}
    assert not verdict.clean
    assert check(recorded(*A_B, final="a b")).clean


def test_the_figures_count_calls_messages_and_errors() -> None:
    figures = check(
        recorded(
            add(1, 2, "a b"),
            add(1, 2, "c", error=UNKNOWN),
            add(1, 2, "d", error=UNKNOWN),
            clear(1, 2, error=PLAIN),
            read(3, 4, "a b"),
            final="a b",
        )
    ).figures
    assert figures.operations == {"add": 3, "clear": 1, "read": 1}
    assert (figures.acknowledged_calls, figures.acknowledged_messages) == (1, 2)
    assert figures.raised == {"add": {"ConnectionError": 2}, "clear": {"ValueError": 1}}


def test_one_text_added_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a' is added twice to session 's'\. Give each message"):
        check(recorded(add(1, 2, "a"), add(3, 4, "a")))


def test_a_doubled_message_is_reported_once_whatever_the_reads_show_of_it() -> None:
    recording = recorded(
        add(1, 2, "a b"),
        add(3, 4, "c"),
        read(4.5, 4.6, "a b c"),
        last(5, 6, "b c a", 3),
        consume(7, 8, "a b c a"),
        consume(9, 10, "a"),
        final="a b c a d",
    )
    doubled = ("doubled", "'a' was added once and is stored 2 times")
    assert found(recording) == [("foreign", "'d' was never added"), doubled][::-1]


def test_one_stale_read_does_not_hide_another() -> None:
    recording = recorded(*A_B, read(5, 6, "a"), read(7, 8, "a"), read(9, 10), final="a b")
    assert [kind for kind, _ in found(recording)] == ["wrong_read"] * 3


def test_a_lost_message_is_not_reported_again_for_each_read() -> None:
    reads = [read(5 + n, 5.5 + n, "a") for n in range(50)]
    assert len(found(recorded(*A_B, *reads, final="a"))) == 1


def test_fifty_thousand_messages_and_ten_thousand_reads_take_seconds() -> None:
    operations = []
    final = {}
    for number in range(10):
        state: tuple[str, ...] = ()
        session = f"s{number}"
        for at in range(1000):
            batch = tuple(f"{number}-{at}-{index}" for index in range(5))
            operations.append(replace(add(at, at + 0.4, ""), messages=batch, session=session))
            state += batch
            operations.append(replace(read(at + 0.5, at + 0.6), messages=state, session=session))
        final[session] = state
    recording = Recording(operations=tuple(operations), final=final)
    began = time.process_time()
    verdict = check(recording)
    assert time.process_time() - began < 30
    assert verdict.clean
    assert verdict.figures.acknowledged_messages == 50_000
