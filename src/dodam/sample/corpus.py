"""The bundled corpus: all parts put together from a seed, byte for byte the same on every machine.

In: a seed, and a scale for less of it. Out: `text` ({"text", "source", "language"}), `chat` ({"task", "language",
"messages"}), `tests` (test items), `preferences`, `problems` (prompts) and `problems_tests`. The world and what is held
out for the tests are the same for every seed; the seed draws what is told of them, and how.
"""

import re
from collections.abc import Iterator
from types import ModuleType

from dodam.sample import pairs, reviews, runs, smalltalk, stories, tables, words, world
from dodam.sample import problems as harder_problems
from dodam.sample.preferences import preferences as spoiled_pairs
from dodam.sample.split import random_for

MIX: dict[str, tuple[ModuleType, int, int]] = {
    "world": (world, 21_000, 5_000),
    "words": (words, 20_000, 20_000),
    "runs": (runs, 1_000, 0),
    "pairs": (pairs, 7_000, 7_000),
    "stories": (stories, 2_500, 4_500),
    "smalltalk": (smalltalk, 3_000, 5_000),
    "reviews": (reviews, 5_000, 6_000),
    "tables": (tables, 7_000, 8_000),
}
"""The mix: each part with its number of documents and of conversations."""

TESTED = ("world", "words", "pairs", "stories", "reviews", "tables")
"""The parts whose tests are reported."""

NUM_TESTS = 500
"""Test items a task."""

NUM_PROBLEMS = 8_000
"""Prompts of harder word problems."""

PREFERENCES_SHARE = 0.2
"""Conversations drawn for preferences, as a share of those for tuning."""

HANGUL = re.compile("[가-힣]")


def text(seed: int, scale: float = 1.0) -> Iterator[dict]:
    """All pretraining documents without repetitions, in random order."""
    found: dict[str, str] = {}
    for name, (part, count, _) in MIX.items():
        for document in part.text(random_for(seed, "text", name), round(count * scale)):
            found.setdefault(document, name)
    documents = list(found.items())
    random_for(seed, "order of text").shuffle(documents)
    for document, name in documents:
        yield {"text": document, "source": name, "language": "ko" if HANGUL.search(document) else "en"}


def chat(seed: int, scale: float = 1.0) -> Iterator[dict]:
    """All conversations without repetitions, in random order."""
    yield from _conversations(seed, "chat", scale)


def preferences(seed: int, scale: float = 1.0) -> Iterator[dict]:
    """Pairs of answers, the better one known by rule, to other conversations than those of `chat`."""
    rows = _conversations(seed, "preferences", scale * PREFERENCES_SHARE)
    yield from spoiled_pairs(random_for(seed, "spoiled"), rows)


def _conversations(seed: int, purpose: str, scale: float) -> list[dict]:
    found: dict[tuple[str, ...], dict] = {}
    for name, (part, _, count) in MIX.items():
        if count:
            for row in part.chat(random_for(seed, purpose, name), round(count * scale)):
                found.setdefault(tuple(message["content"] for message in row["messages"]), row)
    rows = list(found.values())
    random_for(seed, "order of", purpose).shuffle(rows)
    return rows


def problems(seed: int, count: int = NUM_PROBLEMS) -> Iterator[dict]:
    """Word problems harder than those of the other parts, as prompts with answers, for learning by rewards."""
    yield from harder_problems.prompts(random_for(seed, "problems"), count)


def problems_tests(seed: int, count: int = 2 * NUM_TESTS) -> Iterator[dict]:
    """Test items of the same kind, with other numbers."""
    yield from harder_problems.tests(random_for(seed, "tests of problems"), count)


def tests(seed: int, count: int = NUM_TESTS) -> Iterator[dict]:
    """`count` items of each test task."""
    for name in TESTED:
        yield from MIX[name][0].tests(random_for(seed, "tests", name), count)
