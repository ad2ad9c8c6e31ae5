"""Harder word problems: their answers are right, their numbers new, and those of the tests are in no prompt."""

import random
import re

import pytest

from dodam.data.sources import rows
from dodam.sample import corpus, problems, words


@pytest.mark.parametrize("tier", problems.TIERS)
def test_every_answer_follows_from_numbers_beyond_those_taught(tier: int) -> None:
    structures = problems.widened(tier)
    rng = random.Random(0)
    for name, structure in structures.items():
        for test in (False, True):
            drawn = words.problem(rng, rng.choice(words.LANGUAGES), name, test=test, structures=structures)
            taught = words.STRUCTURES[name].ranges
            assert any(number not in one for number, one in zip(drawn.numbers, taught, strict=True))
            assert words.solve(structure, drawn.numbers)[-1][1] == drawn.answer
            assert words.is_held_out(name, drawn.numbers) == test
            for number in drawn.numbers:
                assert re.search(rf"(?<!\d){number}(?!\d)", drawn.question)


def test_a_higher_tier_reaches_further() -> None:
    ends = [max(one.stop for one in problems.widened(tier)["bus"].ranges) for tier in problems.TIERS]
    assert ends == sorted(set(ends))


def test_prompts_and_tests_are_sources_with_answers() -> None:
    first = [row for (_, row), _ in zip(rows("sample:problems"), range(40), strict=False)]
    assert first == list(corpus.problems(1, 40))
    questions = [row["messages"][0]["content"] for row in first]
    assert len(set(questions)) == 40
    tested = [row for (_, row), _ in zip(rows("sample:problems-tests"), range(40), strict=False)]
    assert {row["language"] for row in tested} == {"ko", "en"}
    assert not set(questions) & {row["messages"][0]["content"] for row in tested}
    assert {"answer", "metric", "task", "id"} <= tested[0].keys()
