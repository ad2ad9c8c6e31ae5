"""Runs of two to eight questions and answers of one kind, from which a base model can learn to follow examples.

In: a random generator and a count. Out: documents with word problems (with or without steps), translations, labelled
reviews and messages (usual or invented labels), and numbers with their names. Runs about facts are in `world.py`.
"""

import random
from collections.abc import Iterator

from dodam.sample import reviews, spam, words
from dodam.sample.korean import native_number, sino_number
from dodam.sample.sentences import sentence
from dodam.sample.split import plain_question

LANGUAGES = ("ko", "en")

NUM_BYTES = 650
"""A run ends before it grows longer than this, so that it fits a short context."""

SYLLABLES = {
    "ko": tuple("가노두리모비사조초타파하"),
    "en": ("ba", "do", "fi", "ku", "la", "mo", "ne", "pu", "ri", "so", "ta", "vi"),
}


def problems(rng: random.Random, language: str) -> Iterator[str]:
    """Word problems, all with steps or all without, often of one structure."""
    steps = rng.random() < 0.5
    structure = rng.choice(tuple(words.STRUCTURES)) if rng.random() < 0.6 else None
    while True:
        yield words.problem(rng, language, structure).document(steps=steps)


def translations(rng: random.Random, language: str) -> Iterator[str]:
    """Sentences of one language with their translations; only the examples say what is asked for."""
    while True:
        made = sentence(rng)
        asked = (made.korean, made.english) if language == "ko" else (made.english, made.korean)
        yield plain_question(language, *asked)


def labels(rng: random.Random, language: str) -> Iterator[str]:
    """Reviews or messages with their labels; half of the runs invent names for the labels."""
    invented: dict[str, str] = {}
    names = iter(_names(rng, language)) if rng.random() < 0.5 else None
    part = rng.choice((reviews, reviews, spam))
    arrow = rng.random() < 0.3
    while True:
        ((told, label),) = part.samples(rng, 1, language)
        if names and label not in invented:
            invented[label] = next(names)
        label = invented.get(label, label)
        yield f"{told} -> {label}" if arrow else plain_question(language, told, label)


def _names(rng: random.Random, language: str) -> list[str]:
    first, second, third, fourth = rng.sample(SYLLABLES[language], 4)
    return [first + second, third + fourth]


def numbers(rng: random.Random, language: str) -> Iterator[str]:
    """Numbers read aloud (Korean), or each with the number after it."""
    read = rng.choice((sino_number, native_number)) if language == "ko" else str
    step = 0 if language == "ko" else rng.choice((1, 2, 10))
    while True:
        number = rng.randint(1, 89)
        yield plain_question(language, str(number), read(number + step))


KINDS = ((problems, 40), (labels, 32), (translations, 22), (numbers, 6))
"""Kinds of runs and how often each is written."""


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Runs of two to eight examples."""
    for kind in rng.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS], k=count):
        examples = kind(rng, rng.choice(LANGUAGES))
        run = [next(examples), next(examples)]
        for example in (next(examples) for _ in range(rng.randint(0, 6))):
            if sum(len(each.encode()) for each in run) + len(example.encode()) > NUM_BYTES:
                break
            run.append(example)
        yield "\n\n".join(run)
