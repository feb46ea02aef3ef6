"""Tests of ratios, exponents and their intervals: known answers, and rates of errors."""

from __future__ import annotations

import itertools
import math
import random
import statistics as standard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_history_conformance.bench.measure import statistics
from chat_history_conformance.bench.measure.statistics import (
    exponent,
    fewest,
    median,
    ratio,
)

TIMES = st.floats(min_value=1e-7, max_value=1e3)
PAIRS = st.lists(st.tuples(TIMES, TIMES), min_size=2, max_size=25)


def _noisy(generator: random.Random) -> float:
    """Return a realistic time: log-normal noise of 3 %, and sometimes much longer."""
    seconds = math.exp(generator.gauss(0, 0.03))
    return seconds * (1 + generator.expovariate(1.2)) if generator.random() < 0.15 else seconds


def _pairs(count: int, generator: random.Random, slower: float = 1.0) -> list[tuple[float, float]]:
    return [(_noisy(generator), slower * _noisy(generator)) for _ in range(count)]


def test_ratio_of_equal_pairs_is_exact() -> None:
    found = ratio([(0.2, 0.1)] * 10)
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == (found.value, found.value)


def test_ratio_is_the_median_of_the_ratios_of_pairs() -> None:
    # The machine is half as fast in every second pair, for both versions.
    pairs = [(1.0, 1.1), (2.0, 2.2)] * 10
    assert ratio(pairs).value == pytest.approx(1.1)
    assert ratio(pairs).high == pytest.approx(1.1)


def test_few_outliers_do_not_change_a_ratio() -> None:
    pairs = [(1.0, 1.0 + 0.001 * n) for n in range(17)] + [(1.0, 50.0)] * 3
    found = ratio(pairs)
    assert 1.0 <= found.low <= found.value <= found.high < 1.02


def test_interval_agrees_with_a_random_bootstrap() -> None:
    generator = random.Random(2)
    logs = sorted(math.log(head / base) for base, head in _pairs(15, generator))
    drawn = sorted(standard.median(generator.choices(logs, k=len(logs))) for _ in range(40_000))
    exact = statistics._bootstrap_of_median(len(logs))
    for share in (0.1, 0.3, 0.5, 0.8):
        below, at = 0.0, math.nan
        for lower, _, weight in exact:
            below += weight
            if below > share:
                at = logs[lower]
                break
        assert drawn[int((share - 0.01) * len(drawn))] <= at
        assert at <= drawn[int((share + 0.01) * len(drawn))]


@pytest.mark.parametrize("count", [2, 4, 6])
def test_bootstrap_of_an_even_number_agrees_with_all_resamples(count: int) -> None:
    resamples = list(itertools.product(range(count), repeat=count))
    for lower, upper, weight in statistics._bootstrap_of_median(count):
        middles = (sorted(one)[count // 2 - 1 : count // 2 + 1] for one in resamples)
        times = sum(middle == [lower, upper] for middle in middles)
        assert weight == pytest.approx(times / len(resamples))


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 63.657), (4, 4.604), (9, 3.250), (19, 2.861), (99, 2.626)]
)
def test_percentiles_are_widened_by_tabulated_values_of_student(
    freedom: int, expected: float
) -> None:
    assert statistics._student(freedom, 0.99) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("count", [8, 10, 15, 20])
def test_equal_times_differ_in_at_most_1_of_100_cases(count: int) -> None:
    generator = random.Random(count)
    tries = 3_000
    wrong = sum(
        not found.low <= 1 <= found.high
        for found in (ratio(_pairs(count, generator)) for _ in range(tries))
    )
    # Three standard deviations above 1 %: a true rate of 1 % stays below this.
    assert wrong <= tries * 0.01 + 3 * math.sqrt(tries * 0.01)


@pytest.mark.parametrize(("count", "least"), [(15, 0.4), (20, 0.75), (30, 0.95)])
def test_slowdown_of_10_percent_is_found_in_noise(count: int, least: float) -> None:
    generator = random.Random(3)
    found = sum(ratio(_pairs(count, generator, slower=1.1)).low > 1 for _ in range(300))
    assert found >= 300 * least


def test_lower_confidence_gives_a_narrower_interval() -> None:
    pairs = _pairs(20, random.Random(4))
    sure, unsure = ratio(pairs), ratio(pairs, confidence=0.8)
    assert sure.low < unsure.low < unsure.value < unsure.high < sure.high


@given(PAIRS, st.randoms())
def test_order_of_pairs_does_not_matter(
    pairs: list[tuple[float, float]], shuffler: random.Random
) -> None:
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    assert ratio(shuffled) == ratio(pairs)


@given(PAIRS, st.floats(min_value=1e-3, max_value=1e3))
def test_slower_head_scales_the_ratio_and_its_interval(
    pairs: list[tuple[float, float]], factor: float
) -> None:
    before, after = ratio(pairs), ratio([(base, factor * head) for base, head in pairs])
    assert after.value == pytest.approx(factor * before.value)
    assert after.low == pytest.approx(factor * before.low)
    assert after.high == pytest.approx(factor * before.high)


@given(PAIRS)
def test_exchanged_versions_give_the_inverse(pairs: list[tuple[float, float]]) -> None:
    found, inverse = ratio(pairs), ratio([(head, base) for base, head in pairs])
    assert inverse.value == pytest.approx(1 / found.value)
    assert inverse.low == pytest.approx(1 / found.high)
    assert inverse.high == pytest.approx(1 / found.low)


@given(PAIRS)
def test_interval_contains_its_value_and_lies_within_the_samples(
    pairs: list[tuple[float, float]],
) -> None:
    found = ratio(pairs)
    ratios = [math.exp(math.log(head) - math.log(base)) for base, head in pairs]
    assert min(ratios) <= found.low <= found.value <= found.high <= max(ratios)


@pytest.mark.parametrize("count", [101, 2_000])
def test_many_pairs_give_a_narrow_interval(count: int) -> None:
    found = ratio(_pairs(count, random.Random(5)))
    assert found.low < 1 < found.high
    assert found.high / found.low < 1.05


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_wrong_time_is_an_error_with_its_position(seconds: float, side: int) -> None:
    broken = (seconds, 1.0) if side == 0 else (1.0, seconds)
    with pytest.raises(ValueError, match=f"{('base', 'head')[side]} of pair 2 .*positive"):
        ratio([(1.0, 1.0), (1.0, 1.0), broken])


@pytest.mark.parametrize("pairs", [[], [(1.0, 1.0)]])
def test_fewer_than_two_pairs_are_an_error(pairs: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=f"at least 2 pairs; there are {len(pairs)}"):
        ratio(pairs)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 99.0])
def test_wrong_confidence_is_an_error(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        ratio([(1.0, 1.0)] * 3, confidence)
    with pytest.raises(ValueError, match="between 0 and 1"):
        fewest(confidence)


@pytest.mark.parametrize(("confidence", "count"), [(0.99, 8), (0.95, 6), (0.5, 2)])
def test_range_of_the_fewest_pairs_rarely_misses_the_median(confidence: float, count: int) -> None:
    assert fewest(confidence) == count
    assert 1 - 2 ** (1 - count) >= confidence > 1 - 2 ** (2 - count)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_exponent_of_exact_growth_is_exact(power: float) -> None:
    rounds = [
        {n: speed * n**power for n in (10, 100, 1_000, 10_000)} for speed in (1e-6, 2e-6, 3e-6)
    ]
    found = exponent(rounds)
    assert (found.value, found.low, found.high) == pytest.approx((power, power, power))


def test_exponent_uses_the_greatest_decade() -> None:
    # A fixed second hides the growth of short conversations.
    rounds = [{n: 1.0 + n for n in (10, 100, 1_000, 10_000)}] * 3
    assert exponent(rounds).value == pytest.approx(math.log10(10_001 / 1_001))


def test_exponent_fits_all_lengths_of_the_greatest_decade() -> None:
    bent = {1_000: 1.0, 3_000: 9.0, 10_000: 10.0}
    straight = {1_000: 1.0, 10_000: 10.0}
    assert exponent([bent] * 3).value != pytest.approx(exponent([straight] * 3).value)
    assert exponent([{**bent, 10: 77.0}] * 3) == exponent([bent] * 3)


def test_exponent_has_the_interval_of_its_rounds() -> None:
    generator = random.Random(6)
    rounds = [{n: n * _noisy(generator) for n in (1_000, 10_000)} for _ in range(20)]
    found = exponent(rounds)
    assert found.low < 1 < found.high
    assert exponent(rounds[::-1]) == found


@pytest.mark.parametrize(
    ("rounds", "what"),
    [
        ([{10: 1.0, 100: 0.0}] * 2, "length 100 of round 0"),
        ([{10: 1.0, 100: 1.0}, {10: 1.0, 50: 1.0}], "round 1 has the lengths"),
        ([{10: 1.0, 1_000: 1.0}] * 2, "two lengths within a factor of 10"),
        ([{0: 1.0, 10: 1.0}] * 2, "a length of round 0"),
        ([{10: 1.0, 100: 1.0}], "at least 2 rounds; there are 1"),
        ([], "at least 2 rounds; there are 0"),
    ],
)
def test_rounds_without_a_slope_are_an_error(rounds: list[dict[int, float]], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        exponent(rounds)


def test_median_has_its_interval() -> None:
    found = median([0.001 * n for n in range(1, 21)])
    assert found.value == pytest.approx(0.0105)
    assert 0.001 < found.low < found.value < found.high < 0.020
    with pytest.raises(ValueError, match="sample 1"):
        median([1.0, -1.0])
