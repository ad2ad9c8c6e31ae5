"""The bundled corpus: all parts put together from a seed, byte for byte the same on every machine.

In: a seed, and a scale for smaller ones. Out: `text` ({"text", "source", "language"}), `chat` ({"task", "language",
"messages"}), `tests` (test items) and `preferences`. What is in the tests is in none of the others: each part keeps it out.
"""

import random
import re
from collections.abc import Iterator

from dodam.sample import pairs, words, world
from dodam.sample.split import plain_question, random_for

MIX = {
    "world": (world, 25_000, 7_000),
    "words": (words, 16_000, 9_000),
    "pairs": (pairs, 5_000, 5_000),
}
"""The mix: each part with its number of documents and of conversations."""

NUM_RUNS = 3_000
"""Documents that are runs of two to eight questions of one kind."""

RUN_BYTES = 650
"""A run ends before it grows longer than this, so that it fits a short context."""

NUM_TESTS = 500
"""Test items a task."""

HANGUL = re.compile("[가-힣]")


def text(seed: int, scale: float = 1.0) -> Iterator[dict]:
    """All pretraining documents without repetitions, in random order."""
    found: dict[str, str] = {}
    for name, (part, count, _) in MIX.items():
        for document in part.text(random_for(seed, "text", name), round(count * scale)):
            found.setdefault(document, name)
    for document in runs(random_for(seed, "runs"), round(NUM_RUNS * scale)):
        found.setdefault(document, "runs")
    documents = list(found.items())
    random_for(seed, "order of text").shuffle(documents)
    for document, name in documents:
        yield {"text": document, "source": name, "language": "ko" if HANGUL.search(document) else "en"}


def chat(seed: int, scale: float = 1.0) -> Iterator[dict]:
    """All conversations without repetitions, in random order."""
    found: dict[tuple[str, ...], dict] = {}
    for name, (part, _, count) in MIX.items():
        for row in part.chat(random_for(seed, "chat", name), round(count * scale)):
            found.setdefault(tuple(message["content"] for message in row["messages"]), row)
    rows = list(found.values())
    random_for(seed, "order of chat").shuffle(rows)
    yield from rows


def tests(seed: int, count: int = NUM_TESTS) -> Iterator[dict]:
    """`count` items of each test task."""
    for name, (part, _, _) in MIX.items():
        yield from part.tests(random_for(seed, "tests", name), count)
