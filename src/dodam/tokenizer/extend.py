"""More tokens for a byte-level BPE that is already there: its merges go on where they ended, on other text.

In come a tokenizer and text, out comes the same tokenizer with new tokens behind its own: pre-tokeniser, merges and ids
stay, new merges stand at the end of the list. So a text is first cut as before, and what the cut has left is then
merged further: no text gets more tokens than it had, and what reads a `tokenizer.json` reads this one.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dodam.errors import DataError, FolderError, UsageError
from dodam.sample.split import held_out
from dodam.tokenizer.tokenizer import FILE, Tokenizer
from dodam.tokenizer.train import TokenizerTrain, open_texts, sample

SAMPLE_BYTES = 20_000_000
"""Pairs are counted in about so much text; of more an even sample is taken."""
HELD_BACK = 0.05
"""This share of the lines is not learned from: on them the tokens are counted before and after."""
LONGEST_WORD = 1000
"""Bytes; what a pre-tokeniser leaves in one piece beyond that (a line of signs, a file in base64) is no word."""
RAREST = 2
"""A pair that occurs less often is no pattern."""
TOLD = 10


@dataclass(frozen=True, kw_only=True)
class Extension:
    """A tokenizer with new tokens. Their ids are `first`, `first + 1` and so on, and each stands for some of the old
    ids: its `pieces`. The rest is what there is to tell."""

    tokenizer: Tokenizer
    first: int
    pieces: list[list[int]]
    bytes_per_token: dict[str, float]
    """`before` and `after`, on the lines held back."""
    most_used: list[tuple[str, int]]
    """Of the new tokens, on the same lines: the text of each and how often it occurs."""
    text: Any
    """What tells the text that was learned from and another apart."""


def extend(tokenizer: Tokenizer, data: tuple[str, ...], num_tokens: int, encoding: str = "auto") -> Extension:
    """Learn `num_tokens` more tokens from a data folder, or from files, folders and globs.

    FolderError for a tokenizer that is no byte-level BPE, DataError for text that cannot be read or is too little,
    UsageError where it has fewer pairs to merge than tokens are asked for."""
    check_byte_level(tokenizer)
    learning = TokenizerTrain(data=data, out=Path(), encoding=encoding, sample_bytes=SAMPLE_BYTES)
    texts, num_bytes, mark = open_texts(learning)
    held: list[str] = []
    counts = count_words(tokenizer, without_held_back(sample(texts, num_bytes, learning), held))
    if not held:
        mend = "Name more text, in lines."
        raise DataError("has too few lines to hold one of twenty back", where=", ".join(data), mend=mend)
    merges = learn_merges(cut(tokenizer, counts), counts.values(), names_of(tokenizer), num_tokens)
    if len(merges) < num_tokens:
        what = f"{num_tokens:,} tokens cannot be learned: the text has only {len(merges):,} pairs to merge"
        raise UsageError(what, where="--extend-vocabulary", mend="Name more text, or ask for fewer.")
    extended = with_merges(tokenizer, merges)
    before, after = tokenizer.encode_flat(held)[0], extended.encode_flat(held)[0]
    first = max(names_of(tokenizer)) + 1
    used = np.bincount(after, minlength=first + num_tokens)[first:]
    held_bytes = sum(len(line.encode()) for line in held)
    return Extension(
        tokenizer=extended,
        first=first,
        pieces=cut(tokenizer, (left + right for left, right in merges)),
        bytes_per_token={"before": held_bytes / len(before), "after": held_bytes / len(after)},
        most_used=[
            (extended.piece(first + index), int(used[index]))
            for index in np.argsort(-used, kind="stable")[:TOLD].tolist()
            if used[index]
        ],
        text=mark,
    )


def check_byte_level(tokenizer: Tokenizer) -> None:
    """FolderError, with its name, for a tokenizer that is no byte-level BPE."""
    settings = json.loads(tokenizer.json)
    kind = type(tokenizer.raw.model).__name__
    if kind == "Unigram" or (kind == "BPE" and settings["model"].get("byte_fallback")):
        kind = f"SentencePiece ({kind})"
    elif kind == "BPE" and '"ByteLevel"' not in json.dumps(settings.get("pre_tokenizer")):
        kind = "a BPE of characters"
    elif kind == "BPE":
        return
    what = f"the tokenizer is {kind}, and only a byte-level BPE can be extended"
    raise FolderError(what, where=FILE, mend="Import it without --extend-vocabulary.")


def without_held_back(texts: Iterable[str], held: list[str]) -> Iterator[str]:
    """The texts without the lines that are held back, which go into `held`. A line of the same words is on the same
    side wherever it stands."""
    for text in texts:
        kept = []
        for line in text.splitlines(keepends=True):
            if held_out(line.strip(), HELD_BACK) and line.strip():
                held.append(line.strip())
            else:
                kept.append(line)
        yield "".join(kept)


def count_words(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs: what the tokenizer's own pre-tokeniser leaves in one piece, spelt in the characters
    that stand for bytes."""
    normalizer, pre_tokenizer = tokenizer.raw.normalizer, tokenizer.raw.pre_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        text = normalizer.normalize_str(text) if normalizer else text
        counts.update(word for word, _ in pre_tokenizer.pre_tokenize_str(text) if len(word) <= LONGEST_WORD)
    return counts


def cut(tokenizer: Tokenizer, words: Iterable[str]) -> list[list[int]]:
    """The ids of words that are spelt in the characters for bytes."""
    model = tokenizer.raw.model
    return [[token.id for token in model.tokenize(word)] for word in words]


def names_of(tokenizer: Tokenizer) -> dict[int, str]:
    """Every id's token as the file spells it, added ones included."""
    return {token: name for name, token in tokenizer.raw.get_vocab(with_added_tokens=True).items()}


def learn_merges(
    words: Sequence[Sequence[int]], counts: Iterable[int], names: Mapping[int, str], num_tokens: int
) -> list[tuple[str, str]]:
    """Up to `num_tokens` merges, each of the most frequent pair of neighbours within words, among equals of the smaller
    ids (Sennrich et al. 2016, algorithm 1); fewer where no pair is left that occurs twice.

    `words` are cut into ids that have `names`; the new tokens get the ids after these."""
    names, taken, new = dict(names), set(names.values()), max(names) + 1
    cells = Cells(words, counts, new + num_tokens)
    heap = [(-total, pair) for pair, total in cells.totals.items()]
    heapify(heap)
    merges: list[tuple[str, str]] = []
    while heap and len(merges) < num_tokens:
        total, pair = heappop(heap)
        if -total > cells.totals[pair]:  # it was counted before other merges took some of it
            heappush(heap, (-cells.totals[pair], pair))
            continue
        if -total < RAREST:
            break
        left, right = (names[token] for token in divmod(pair, cells.num_ids))
        if left + right in taken:  # a token no merge leads to, an added one perhaps: it stays what it is
            continue
        for made in cells.merge(pair, new):
            heappush(heap, (-cells.totals[made], made))
        merges.append((left, right))
        names[new] = left + right
        taken.add(left + right)
        new += 1
    return merges


class Cells:
    """Words as chains of cells in flat arrays [cells + 1]; a merge touches only the cells it changes and those beside.

    A pair is the number left * num_ids + right, so that pairs are in the order of their ids. `totals` says how often it
    occurs, `places` in which cells its left half has stood; where it does no more is found out when it is merged. The
    last cell is what lies beyond the ends of all words."""

    def __init__(self, words: Sequence[Sequence[int]], counts: Iterable[int], num_ids: int) -> None:
        counted = [(ids, count) for ids, count in zip(words, counts, strict=True) if len(ids) > 1]
        lengths = np.array([len(ids) for ids, _ in counted], np.int64)
        self.end = int(lengths.sum())
        self.num_ids = num_ids
        self.ids = np.fromiter(chain(chain.from_iterable(ids for ids, _ in counted), [-1]), np.int64, self.end + 1)
        self.weights = np.append(np.repeat(np.array([count for _, count in counted], np.int64), lengths), 0)
        self.next, self.previous = np.arange(1, self.end + 2), np.arange(-1, self.end)
        ends = np.cumsum(lengths)
        self.next[ends - 1] = self.previous[ends - lengths] = self.end
        self.next[self.end] = self.previous[self.end] = self.end
        self.totals: dict[int, int] = {}
        self.places: dict[int, np.ndarray] = {}
        for pair, places, total in self.pairs(np.arange(self.end)):
            self.totals[pair], self.places[pair] = total, places

    def pairs(self, cells: np.ndarray) -> Iterator[tuple[int, np.ndarray, int]]:
        """The pairs that begin in these cells: where each begins, and how often it occurs there."""
        cells = cells[self.next[cells] != self.end]
        pairs = self.ids[cells] * self.num_ids + self.ids[self.next[cells]]
        order = np.argsort(pairs, kind="stable")
        cells, (found, starts) = cells[order], np.unique(pairs[order], return_index=True)
        if len(found):
            totals = np.add.reduceat(self.weights[cells], starts)
            yield from zip(found.tolist(), np.split(cells, starts[1:]), totals.tolist(), strict=True)

    def merge(self, pair: int, new: int) -> list[int]:
        """Put `new` where the pair stands; the pairs that this makes."""
        left, right = divmod(pair, self.num_ids)
        lefts = self.places.pop(pair)
        lefts = lefts[(self.ids[lefts] == left) & (self.ids[self.next[lefts]] == right)]
        if left == right:  # of a a a, the first two
            numbers = np.arange(len(lefts))
            begins = np.append(True, self.previous[lefts[1:]] != lefts[:-1])
            lefts = lefts[(numbers - np.maximum.accumulate(np.where(begins, numbers, 0))) % 2 == 0]
        rights, before = self.next[lefts], self.previous[lefts]
        for gone, _, total in self.pairs(np.unique(np.concatenate([before, lefts, rights]))):
            self.totals[gone] -= total
        self.ids[lefts], self.ids[rights] = new, -1
        self.next[lefts] = self.next[rights]
        self.previous[self.next[lefts]] = lefts
        self.previous[self.end] = self.end
        made = []
        for one, places, total in self.pairs(np.unique(np.concatenate([self.previous[lefts], lefts]))):
            self.totals[one], self.places[one] = total, places
            made.append(one)
        return made


def with_merges(tokenizer: Tokenizer, merges: Sequence[tuple[str, str]]) -> Tokenizer:
    """The tokenizer with more merges, behind its own, and a new token for each."""
    settings, names = json.loads(tokenizer.json), names_of(tokenizer)
    model = settings["model"]
    # Added tokens that the vocabulary does not hold are numbered on from its size, whatever id the file gives them, so
    # they would move up when it grows: it has to hold them.
    added = {name: token for token, name in sorted(names.items()) if name not in model["vocab"]}
    if model.get("ignore_merges") and (words := [name for name in added if is_word(tokenizer, name)]):
        what = f"its special token {words[0]} is also a word, and would be read out of texts"
        raise FolderError(what, where=FILE, mend="Import it without --extend-vocabulary.")
    model["vocab"] |= added
    in_one_string = bool(model["merges"]) and isinstance(model["merges"][0], str)  # as files before 2024 have them
    for token, (left, right) in enumerate(merges, start=max(names) + 1):
        model["vocab"][left + right] = token
        model["merges"].append(f"{left} {right}" if in_one_string else [left, right])
    text = json.dumps(settings, ensure_ascii=False, indent=2)
    extended = Tokenizer(text, tokenizer.chat_template, tokenizer.foreign)
    assert names.items() <= names_of(extended).items(), "a token has changed its id"
    return extended


def is_word(tokenizer: Tokenizer, name: str) -> bool:
    """Whether a text of this name is one word, spelt alike."""
    return [word for word, _ in tokenizer.raw.pre_tokenizer.pre_tokenize_str(name)] == [name]
