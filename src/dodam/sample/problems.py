"""Word problems that are harder than those the corpus teaches: prompts with answers, for learning by rewards.

In: a random generator and a count. Out: rows with the question, the answer and how it is scored. Structures and
phrasings are those of `words.py`, the numbers beyond its ranges: further with every tier. Number tuples of the prompts
and of the tests are disjoint, by the rule that holds for all problems.
"""

import random
from collections.abc import Iterator

from dodam.sample.split import chat_row, task_item
from dodam.sample.words import LANGUAGES, STRUCTURES, Problem, Structure, ask, problem

TIERS = {1: 99, 2: 119, 3: 199}
"""By tier, the largest number; ranges grow to three times their end at most."""

GROWTH = 3

TIER = 1
"""The tier of `sample:problems`: all its numbers have two digits, as those that were taught."""

ONE_DIGIT = 10  # ranges that end here are of factors and divisors, which stay
MIN_NEW = 1  # of the numbers lie beyond the range that is taught


def harder(structure: Structure, tier: int) -> Structure:
    """The structure with wider ranges, of which at least one number lies beyond the old range."""
    old, largest = structure.ranges, TIERS[tier]
    wide = tuple(
        one if one.stop <= ONE_DIGIT else range(one.start, max(one.stop, min(GROWTH * (one.stop - 1), largest) + 1))
        for one in old
    )

    def condition(*numbers: int) -> bool:
        beyond = sum(number not in one for number, one in zip(numbers, old, strict=True))
        return beyond >= MIN_NEW and structure.condition(*numbers)

    return Structure(wide, structure.steps, condition)


def widened(tier: int) -> dict[str, Structure]:
    """The structures that a tier makes harder: those with a number that may grow."""
    return {
        name: harder(structure, tier)
        for name, structure in STRUCTURES.items()
        if any(ONE_DIGIT < one.stop <= TIERS[tier] for one in structure.ranges)
    }


def prompts(rng: random.Random, count: int, tier: int = TIER) -> Iterator[dict]:
    """`count` prompts with answers, no question twice: {"task", "language", "messages", "answer", "metric"}."""
    for _, drawn in _drawn(rng, count, tier, test=False):
        row = chat_row(f"problems-{tier}", drawn.language, ask(rng, drawn, steps=True))
        yield {**row, "answer": str(drawn.answer), "metric": "number"}


def tests(rng: random.Random, count: int, tier: int = TIER) -> Iterator[dict]:
    """`count` test items, of number tuples that no prompt has."""
    for index, drawn in _drawn(rng, count, tier, test=True):
        key = f"{drawn.structure}:{drawn.language}:{index}"
        question = ask(rng, drawn, steps=True)
        yield task_item(f"problems-{tier}", drawn.language, key, str(drawn.answer), "number", question=question)


def _drawn(rng: random.Random, count: int, tier: int, *, test: bool) -> Iterator[tuple[int, Problem]]:
    structures = widened(tier)
    names, seen = tuple(structures), set()
    while len(seen) < count:
        language, name = LANGUAGES[len(seen) % 2], names[len(seen) // 2 % len(names)]
        drawn = problem(rng, language, name, test=test, structures=structures)
        if drawn.question not in seen:
            seen.add(drawn.question)
            yield len(seen) - 1, drawn
