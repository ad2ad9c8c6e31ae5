"""Dictation: words in no order are read out and written down again, in a row, in lines, with other separators.

In: a random generator, a count and the words to draw from. Out: pretraining documents. Nothing but the text before can
tell which word comes next, so a model learns early to look back and copy, as tables and word problems ask for.
"""

import random
from collections.abc import Iterator, Mapping, Sequence

SPEAKERS = {
    "ko": (("선생님", "학생"), ("읽기", "쓰기"), ("부르는 말", "받아쓴 말"), ("가게 주인", "점원")),
    "en": (("Teacher", "Pupil"), ("Read", "Written"), ("Caller", "Clerk"), ("First copy", "Second copy")),
}
TITLES = {
    "ko": ("받아쓰기", "듣고 그대로 쓰기", "목록 옮겨 적기"),
    "en": ("Dictation", "Copy the list", "Words to write down"),
}
SEPARATORS = (", ", " / ", " ; ", " | ", " ", " - ")
NUMBER_SHARE = 0.2
LENGTHS = range(4, 13)


def text(rng: random.Random, count: int, words: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Documents of one to three dictations, half Korean, half English; `words` by language."""
    for _ in range(count):
        language = rng.choice(("ko", "en"))
        parts = [rng.choice(TITLES[language])]
        for _ in range(rng.randint(1, 3)):
            parts.append(dictation(rng, language, words[language]))
        yield "\n".join(parts)


def dictation(rng: random.Random, language: str, words: Sequence[str]) -> str:
    """The same items twice, the second time in another shape."""
    items = [
        str(rng.randint(0, 99)) if rng.random() < NUMBER_SHARE else rng.choice(words)
        for _ in range(rng.choice(LENGTHS))
    ]
    reader, writer = rng.choice(SPEAKERS[language])
    first, second = rng.choice(SEPARATORS), rng.choice((*SEPARATORS, "\n"))
    return f"{reader}: {first.join(items)}\n{writer}:{chr(10) if second == chr(10) else ' '}{second.join(items)}"
