"""Quality rules: documents that are too short or long, hold more signs than words, say no sentence, or repeat
themselves.

In: a batch whose languages are told. Out: the batch without the documents that break a rule, counted by rule. The
rules are those of Gopher (Rae et al. 2021, https://arxiv.org/abs/2112.11446, appendix A.1.1), made for text from the
web; what a text of Korean or English must look like is in LIMITS. Other languages are judged by signs and repetition
alone.

The n-gram rules are counted exactly, and fast, because only places whose (n-1)-gram came twice are looked at for n.
"""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from dodam.data.cleaning.characters import LETTER, SPACE, kinds
from dodam.data.outcome import Outcome, dropped, texts_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Limits:
    """What a text of one language looks like. Words are what stands between spaces: in Korean, eojeols."""

    words: tuple[int, int]
    """Fewest and most words."""
    mean_length: tuple[float, float]
    """Least and greatest mean length of a word in characters."""
    function_words: re.Pattern[str]
    """Words, or endings of words, that every text of sentences has."""
    different: int = 2
    """How many different ones there must be."""


LIMITS = {
    "en": Limits((50, 100_000), (3, 10), re.compile(r"\b(?:the|be|to|of|and|that|have|with)\b", re.IGNORECASE)),
    # An eojeol is a noun with its particle or a verb with its endings, so it takes fewer of them to say as much, and
    # what English says by small words Korean says by these particles and endings.
    "ko": Limits(
        (30, 100_000),
        (1.5, 8),
        re.compile(
            r"(?<=[가-힣])(?:은|는|을|를|에|의|에서|으로|이다|한다|하는|하고|있다|있는|니다|어요|아요|해요|지만)(?![가-힣])"
        ),
    ),
}

READ = 20_000  # characters in which function words are looked for
LETTERS_IN_WORDS = 0.8  # share of words that hold a letter, at least
SIGN = re.compile(r"#+|\.{3,}|…")  # the three # of a heading are one sign
SIGNS = 0.1  # of them for each word, at most
SEVERAL = 3  # lines from which they can be a list, or cut off
BULLETS = 0.9  # share of lines that begin with a bullet, at most
ELLIPSES = 0.3  # share of lines that end with an ellipsis, at most
LINES, PARAGRAPHS = 0.3, 0.3  # share of lines, of paragraphs, that were there before, at most
IN_LINES, IN_PARAGRAPHS = 0.2, 0.2  # share of the characters that these hold, at most
MOST_FREQUENT = {2: 0.2, 3: 0.18, 4: 0.16}  # n: share of the characters that one n-gram may hold
REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}  # n: share in n-grams that were there before
ELLIPSIS = ("...", "…")
BULLET = ("•", "‣", "◦", "●", "○", "■", "□", "▪", "▶", "※", "-", "*", "·", "ㆍ")


def quality(batch: "pa.RecordBatch") -> Outcome:
    """Drop the documents that break a rule; the reason is the first one broken."""
    texts, languages = texts_of(batch), batch.column("language").to_pylist()
    verdicts = {row: fault(text, name) for row, (text, name) in enumerate(zip(texts, languages, strict=True))}
    return dropped(batch, {row: reason for row, reason in verdicts.items() if reason})


def fault(text: str, language: str) -> str:
    """The first rule that a text breaks, or nothing."""
    words = text.split()
    if not words:
        return "too short"
    return _of_language(text, words, LIMITS.get(language)) or _signs(text, words) or _lines(text) or _ngrams(words)


def _of_language(text: str, words: list[str], limits: Limits | None) -> str:
    if limits is None:
        return ""
    if len(words) < limits.words[0]:
        return "too short"
    if len(words) > limits.words[1]:
        return "too long"
    mean = sum(map(len, words)) / len(words)
    if not limits.mean_length[0] <= mean <= limits.mean_length[1]:
        return "words too short or too long"
    found = {word.lower() for word in limits.function_words.findall(text[:READ])}
    return "" if len(found) >= limits.different else "no sentences"


def _signs(text: str, words: list[str]) -> str:
    if len(SIGN.findall(text)) > SIGNS * len(words):
        return "too many signs"
    marks = kinds(text)
    starts = np.flatnonzero((marks != SPACE) & np.append(True, marks[:-1] == SPACE))
    with_letters = np.count_nonzero(np.add.reduceat((marks >= LETTER).astype(np.int32), starts))
    return "" if with_letters >= LETTERS_IN_WORDS * len(starts) else "too few letters"


def _lines(text: str) -> str:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) >= SEVERAL and sum(line.startswith(BULLET) for line in lines) > BULLETS * len(lines):
        return "a list"
    if len(lines) >= SEVERAL and sum(line.endswith(ELLIPSIS) for line in lines) > ELLIPSES * len(lines):
        return "lines cut off"
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    for parts, share, in_parts in ((lines, LINES, IN_LINES), (paragraphs, PARAGRAPHS, IN_PARAGRAPHS)):
        again = {part: number - 1 for part, number in Counter(parts).items() if number > 1}
        characters = sum(len(part) * number for part, number in again.items())
        if sum(again.values()) > share * len(parts) or characters > in_parts * sum(map(len, parts)):
            return "repeated lines" if parts is lines else "repeated paragraphs"
    return ""


def _ngrams(words: list[str]) -> str:
    """Whether n-grams of words repeat too much. Characters are those of words."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    up_to = np.concatenate([[0], np.cumsum(lengths)])
    numbers: dict[str, int] = {}
    fresh = count()
    ids = np.fromiter((numbers.setdefault(word, next(fresh)) for word in words), np.int64, len(words))
    # `places` are those of (n-1)-grams that come twice or more, and `codes` tell these apart.
    places = np.flatnonzero(np.bincount(ids)[ids] > 1)
    codes = ids[places]
    for n in range(2, 11):
        held = places + n <= len(words)
        places = places[held]
        codes = codes[held] * len(words) + ids[places + n - 1]
        _, first, codes, times = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
        if n in MOST_FREQUENT:
            sizes = up_to[places[first] + n] - up_to[places[first]]
            if np.max(sizes * times * (times > 1), initial=0) > MOST_FREQUENT[n] * up_to[-1]:
                return "one phrase over and over"
        if n in REPEATED:
            again = np.setdiff1d(np.arange(len(places)), first, assume_unique=True)
            if _characters_in(places[again], n, up_to) > REPEATED[n] * up_to[-1]:
                return "repeated phrases"
        twice = times[codes] > 1
        places, codes = places[twice], codes[twice]
        if not len(places):
            break
    return ""


def _characters_in(places: np.ndarray, n: int, up_to: np.ndarray) -> int:
    """Characters of the words that these n-grams cover, none twice."""
    edges = np.zeros(len(up_to), np.int64)
    np.add.at(edges, places, 1)
    np.add.at(edges, places + n, -1)
    covered = np.cumsum(edges[:-1]) > 0
    return int(np.diff(up_to)[covered].sum())
