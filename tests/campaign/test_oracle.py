"""The checker next to an exhaustive search over the orders of small executions."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from chat_history_conformance.campaign.checking.checker import check
from chat_history_conformance.campaign.checking.conversation import Clears, Look
from chat_history_conformance.campaign.recording import Recording
from tests.campaign.executions import consumption, execution, explained, mutated

SEEDS = st.integers(0, 2**32)
MANY = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def _described(recording: Recording) -> str:
    lines = [
        f"{one.kind} {one.client} {one.began} to {one.ended} {one.messages} "
        f"count {one.count} {one.error and one.error.type}"
        for one in recording.operations
    ]
    return "\n".join([*lines, f"final {dict(recording.final)}"])


@given(SEEDS)
@MANY
def test_a_right_execution_has_no_defect(seed: int) -> None:
    random = Random(seed)
    recording = execution(random, random.randint(2, 25), limited=random.random() < 0.5)
    note(_described(recording))
    assert check(recording).defects == ()


@given(SEEDS)
@MANY
def test_right_consuming_reads_have_no_defect(seed: int) -> None:
    recording = consumption(Random(seed))
    note(_described(recording))
    assert check(recording).defects == ()


def _small(random: Random, *, clears: bool) -> Recording:
    """Return a recording that the exhaustive search can judge."""
    while True:
        recording = execution(
            random, random.randint(2, 8), clears=clears, limited=random.random() < 0.4
        )
        if sum(max(1, len(one.messages)) for one in recording.operations) <= 11:
            return recording


@given(SEEDS)
@MANY
def test_what_an_order_explains_has_no_defect(seed: int) -> None:
    random = Random(seed)
    recording = mutated(random, _small(random, clears=True))
    note(_described(recording))
    if explained(recording):
        assert check(recording).defects == ()


@given(SEEDS)
@MANY
def test_without_clears_everything_that_no_order_explains_is_a_defect(seed: int) -> None:
    random = Random(seed)
    recording = mutated(random, _small(random, clears=False))
    note(_described(recording))
    assert check(recording).clean == explained(recording)


def test_with_clears_almost_everything_that_no_order_explains_is_a_defect() -> None:
    """The rest needs two clears where there is one."""
    unexplained = missed = 0
    for seed in range(1500):
        random = Random(seed)
        recording = mutated(random, _small(random, clears=True))
        if not explained(recording):
            unexplained += 1
            missed += check(recording).clean
    assert unexplained > 400
    assert missed <= unexplained / 50


def _alarms(seeds: range) -> int:
    """Count the right executions in which the checker finds a defect."""
    alarms = 0
    for seed in seeds:
        random = Random(seed)
        alarms += not check(execution(random, random.randint(2, 25))).clean
    return alarms


def _misses(seeds: range) -> int:
    """Count the unexplained executions without clears in which the checker finds no defect."""
    misses = 0
    for seed in seeds:
        random = Random(seed)
        recording = mutated(random, _small(random, clears=False))
        misses += check(recording).clean and not explained(recording)
    return misses


def _ignore_raised_clears(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Clears.__init__

    def shortened(self: Clears, clears: object) -> None:
        whole(self, [one for one in clears if not one.error])  # type: ignore[attr-defined]

    monkeypatch.setattr(Clears, "__init__", shortened)


def _take_raised_adds_for_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "chat_history_conformance.campaign.checking.conversation._claim",
        lambda add, index: "acknowledged",
    )


def _take_every_read_for_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "chat_history_conformance.campaign.checking.conversation._look",
        lambda read, *more: Look(read, read.began, read.ended, read.messages),
    )


def _ignore_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each read take effect when it ends."""
    monkeypatch.setattr(
        "chat_history_conformance.campaign.checking.conversation._look",
        lambda read, *more: Look(read, read.ended, read.ended, read.messages),
    )


@pytest.mark.parametrize(
    "change",
    [
        _ignore_raised_clears,
        _take_raised_adds_for_stored,
        _take_every_read_for_whole,
        _ignore_overlap,
    ],
)
def test_an_unsound_checker_blames_right_executions(
    change: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _alarms(range(150)) == 0
    change(monkeypatch)  # type: ignore[operator]
    assert _alarms(range(150)) > 0


@pytest.mark.parametrize(
    "skipped",
    [
        "chat_history_conformance.campaign.checking.checker.judge_ending",
        "chat_history_conformance.campaign.checking.checker.judge_order",
        "chat_history_conformance.campaign.checking.checker.judge_reads",
        "chat_history_conformance.campaign.checking.reads._report_stale",
        "chat_history_conformance.campaign.checking.reads._report_missing",
    ],
)
def test_a_checker_that_skips_a_rule_misses_wrong_executions(
    skipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _misses(range(800)) == 0
    monkeypatch.setattr(skipped, lambda *arguments, **named: None)
    assert _misses(range(800)) > 0
