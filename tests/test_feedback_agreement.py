"""Agreement, position bias and speed: against published examples, the plainest computation, and made-up annotators."""

import math
import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.feedback.agreement import (
    alpha,
    mid_ranks,
    pairwise,
    position_bias,
    ranking_alpha,
    speed_outliers,
    together,
)
from dodam.feedback.learning_curve import Point, fit, to_measure
from dodam.feedback.win_rate import win_rates

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units
OBSERVED = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def units(observed) -> list[list[float]]:
    return [[value for value in unit if value is not None] for unit in zip(*observed, strict=True)]


def naive(groups) -> float | None:
    """Alpha by its definition: all ordered pairs of values within units, and of all values whatever their unit."""
    observed = expected = 0.0
    for group in groups:
        kept = [unit for unit in group if len(unit) > 1]
        values = [value for unit in kept for value in unit]

        def distance(one: float, two: float, values=values) -> float:
            low, high = sorted((one, two))
            between = sum(low <= value <= high for value in values)
            return (between - (values.count(low) + values.count(high)) / 2) ** 2

        for unit in kept:
            observed += sum(distance(*pair) for pair in permutations(unit, 2)) / (len(unit) - 1)
        if len(values) > 1:
            expected += sum(distance(*pair) for pair in permutations(values, 2)) / (len(values) - 1)
    return None if expected == 0 else 1 - observed / expected


def test_the_published_example() -> None:
    assert alpha([units(OBSERVED)]) == pytest.approx(0.815, abs=5e-4)


@settings(deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(1, 4), max_size=4), max_size=8), max_size=3))
def test_alpha_equals_its_definition(groups: list) -> None:
    found, wanted = alpha(groups), naive(groups)
    assert found is wanted is None or found == pytest.approx(wanted, abs=1e-9)


def test_alpha_of_agreement_chance_and_contradiction() -> None:
    same = [[value, value] for value in (1, 2, 3)]
    assert alpha([same]) == 1
    assert alpha([[[1, 2], [2, 1]]]) < 0
    rng = random.Random(1)
    assert abs(alpha([[[rng.randint(1, 4), rng.randint(1, 4)] for _ in range(4_000)]])) < 0.05
    assert alpha([]) is None and alpha([[[1, 1], [1, 1]]]) is None and alpha([[[1], [2]]]) is None


def row(annotator: str, ranks: list[int], prompt: str = "a", **more) -> dict:
    answers = [f"{prompt}{place}" for place in range(len(ranks))]
    said = {"id": f"{annotator}-{prompt}", "annotator": annotator, "seconds": None}
    return {"prompt": [{"role": "user", "content": prompt}], "answers": answers, "ranks": ranks, **said, **more}


def test_ties_have_the_mean_of_the_ranks_they_share() -> None:
    assert mid_ranks([1, 2, 2]) == [1, 2.5, 2.5]
    assert mid_ranks([1, 1, 1, 2]) == [2, 2, 2, 4]


def test_answers_are_matched_by_text_and_not_by_place() -> None:
    shuffled = row("lee", [3, 2, 1])
    shuffled["answers"] = shuffled["answers"][::-1]
    judged = list(together([row("kim", [1, 2, 3]), shuffled, row("", [3, 2, 1]), row("kim", [1, 2], "b")]).values())
    assert judged == [[("kim", [1, 2, 3]), ("lee", [1, 2, 3])]]
    assert ranking_alpha(judged) == 1


def test_alpha_of_rankings_is_the_mean_rank_correlation_for_full_orders() -> None:
    """For two people who rank the same k answers without ties, alpha is 1 - (1 - rho)(n-1)/n with Spearman's rho, n the
    number of values: both are squared differences of ranks over what chance gives."""
    one, two = [1, 2, 3, 4, 5], [2, 1, 3, 5, 4]
    judged = list(together([row("kim", one), row("lee", two)]).values())
    rho = 1 - 6 * sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) / (5 * (5**2 - 1))
    assert ranking_alpha(judged) == pytest.approx(1 - (1 - rho) * 9 / 10)


def test_pairwise_agreement_by_hand() -> None:
    rows = [row("kim", [1, 2, 3]), row("lee", [1, 3, 2]), row("kim", [1, 1], "b"), row("lee", [1, 2], "b")]
    found = pairwise(together(rows).values())
    share = found["kim", "lee"]
    assert (share.value, share.n) == (pytest.approx(2 / 3), 3)  # the pair that kim ties is left out
    assert share.low <= share.value <= share.high


def test_win_rates_by_hand() -> None:
    def row(prompt: str, ranks: list[int], models: list[str | None]) -> dict[str, Any]:
        origins = [{"model": model} if model else None for model in models]
        texts = [str(place) for place in range(len(ranks))]
        return {"prompt": [{"role": "user", "content": prompt}], "answers": texts, "ranks": ranks, "origins": origins}

    rows = [
        row("a", [1, 2], ["old", "new"]),  # old is preferred
        row("a", [2, 1], ["new", "old"]),  # by somebody else too
        row("b", [1, 1], ["new", "old"]),  # a tie
        row("c", [3, 1, 2], ["old", "new", "new"]),  # new twice
        row("d", [1, 2], ["new", "new"]),  # one model
        row("e", [1, 2], ["new", None]),  # nobody's
    ]
    (found,) = win_rates(rows)
    assert found.models == ("new", "old") and found.prompts == 3
    assert found.rate.value == pytest.approx((0 + 0.5 + 1) / 3)
    assert found.ties == pytest.approx(1 / 5)
    assert found.rate.low == 0 and found.rate.high == 1
    assert win_rates(rows[4:]) == []
    many = [row(f"{number}", [1, 2] if number % 4 else [2, 1], ["new", "old"]) for number in range(400)]
    (sure,) = win_rates(many)
    assert sure.rate.value == 0.75 and 0.70 < sure.rate.low < 0.75 < sure.rate.high < 0.80


def test_position_bias_is_seen_where_there_is_one() -> None:
    rng = random.Random(1)

    def ranked(biased: float, number: int) -> dict:
        ranks, shown = rng.sample([1, 2, 3, 4], 4), rng.sample(range(4), 4)
        if rng.random() < biased:
            first = shown.index(0)
            other = ranks.index(1)
            ranks[first], ranks[other] = ranks[other], ranks[first]
        return row("kim", ranks, f"p{number}", shown=shown)

    fair = position_bias([ranked(0.0, number) for number in range(400)])
    biased = position_bias([ranked(0.3, number) for number in range(400)])
    assert fair.chance == biased.chance == 0.25
    assert not fair.biased and biased.biased and biased.difference.value == pytest.approx(0.225, abs=0.07)
    tied = position_bias([row("kim", [1, 1, 2], shown=[2, 0, 1]), row("kim", [1, 1, 1], "b", shown=[0, 1, 2])])
    assert (tied.share, tied.chance, tied.difference.n) == (0.5, pytest.approx(1 / 3), 1)
    assert position_bias([row("kim", [1, 2])]) is None
    few = [row("kim", [1, 2, 3], f"p{number}", shown=[0, 1, 2]) for number in range(5)]
    assert not position_bias(few[:2]).biased and position_bias(few).biased
    assert position_bias(few[:2]).luck == pytest.approx(1 / 9, abs=0.02)
    assert position_bias(few).luck == pytest.approx(1 / 243, abs=0.004)


def test_speed_outliers_are_for_the_length_read() -> None:
    rng = random.Random(1)
    rows = []
    for number in range(40):
        length = rng.randint(20, 2_000)
        seconds = length / 10 * math.exp(rng.gauss(0, 0.3))
        rows.append(row("kim", [1, 2], f"p{number}", seconds=seconds) | {"answers": ["x" * length, "y"]})
    rows[7]["seconds"] /= 60
    rows[9]["seconds"] *= 60
    found = {outlier.id: outlier.score for outlier in speed_outliers(rows)}
    assert found.keys() == {"kim-p7", "kim-p9"} and found["kim-p7"] < -3.5 and found["kim-p9"] > 3.5
    assert speed_outliers(rows[5:10]) == []
    assert speed_outliers([row("kim", [1, 2], seconds=3.0)] * 20) == []


def test_the_learning_curve_finds_its_own_numbers() -> None:
    """Points on error = 0.2 + 2 / sqrt(n): enough is the first number from which twice as many gain no point."""
    points = [Point(size, 1 - 0.2 - 2 / math.sqrt(size), 100) for size in (100, 400, 1_600)]
    curve = fit(points, rankings=1_600)
    assert (curve.floor, curve.slope) == (pytest.approx(0.2), pytest.approx(2))
    gain = 2 / math.sqrt(curve.enough) - 2 / math.sqrt(2 * curve.enough)
    assert gain <= 0.01 < 2 / math.sqrt(curve.enough - 1) - 2 / math.sqrt(2 * (curve.enough - 1))
    assert curve.more == curve.enough - 1_600 and fit(points, rankings=10**6).more == 0
    assert fit(points[:1] * 2, 5) is None
    worse = fit([Point(100, 0.7, 50), Point(400, 0.6, 50)], 400)
    assert worse.flat and worse.more == 0
    assert to_measure() == pytest.approx(0.25 * (1.96 / 0.05) ** 2 / 0.1, abs=2)
