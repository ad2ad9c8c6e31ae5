"""A prompt with all that was said of answers to it: what reward models and direct methods learn from.

In come `Ranking`s (data/preferences.py). Out come `Judged`, one for each prompt, with the pairs of answers in them,
split into what is learned and what is held back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import xxhash

from dodam.data.conversation import Messages
from dodam.data.preferences import Ranking, key_of


class Pair(NamedTuple):
    """Numbers of two answers: the better one first, or, `tied`, two that are equally good. `margin_ranks` and
    `margin_score` say how far apart they are; `extreme` whether they are a ranking's best and its worst."""

    better: int
    worse: int
    tied: bool
    margin_ranks: int
    margin_score: float
    extreme: bool


@dataclass(frozen=True)
class Judged:
    """A prompt, the answers to it, each once, and every ranking of some of them: numbers of answers and their ranks."""

    prompt: Messages
    answers: tuple[str, ...]
    rankings: tuple[Ranking, ...]

    @property
    def task(self) -> str:
        return self.rankings[0].task

    @property
    def where(self) -> str:
        return self.rankings[0].where

    def numbers(self, ranking: Ranking) -> list[int]:
        """Which of the answers a ranking is about."""
        place = {answer: number for number, answer in enumerate(self.answers)}
        return [place[answer] for answer in ranking.answers]

    def pairs(self, *, ties: bool = False) -> list[Pair]:
        """Every pair of answers of which one was preferred, of every ranking; with `ties` those of equal rank too."""
        found = []
        for ranking in self.rankings:
            numbers, ranks = self.numbers(ranking), ranking.ranks
            best, worst = min(ranks), max(ranks)
            for one, two in combinations(range(len(ranks)), 2):
                if ranks[one] > ranks[two]:
                    one, two = two, one
                tied = ranks[one] == ranks[two]
                if tied and not ties:
                    continue
                apart = ranking.scores[one] - ranking.scores[two] if ranking.scores else 0.0
                extreme = not tied and ranks[one] == best and ranks[two] == worst
                found.append(Pair(numbers[one], numbers[two], tied, ranks[two] - ranks[one], apart, extreme))
        return found


def judged(rankings: Iterable[Ranking]) -> list[Judged]:
    """Rankings of equal prompts together, in the order in which the prompts come first."""
    together: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        together.setdefault(ranking.key, []).append(ranking)
    return [
        Judged(found[0].prompt, tuple(dict.fromkeys(text for one in found for text in one.answers)), tuple(found))
        for found in together.values()
    ]


def split(prompts: Iterable[Judged], share: float) -> tuple[list[Judged], list[Judged]]:
    """What is learned and what is held back, by the hash of the prompt, so that no prompt is on both sides."""
    learned: list[Judged] = []
    held_back: list[Judged] = []
    for one in prompts:
        place = xxhash.xxh3_64_intdigest(key_of(one.prompt).encode(errors="surrogatepass")) / 2**64
        (held_back if place < share else learned).append(one)
    return learned, held_back


def fingerprint(prompts: Iterable[Judged]) -> str:
    """Changes with every prompt, answer, rank and score."""
    hasher = xxhash.xxh3_64()
    for one in prompts:
        for ranking in one.rankings:
            hasher.update(repr((one.prompt, ranking.answers, ranking.ranks, ranking.scores)).encode("utf-8", "replace"))
    return hasher.hexdigest()
