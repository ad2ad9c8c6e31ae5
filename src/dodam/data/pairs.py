"""Pairs of texts, a source and its target: read, framed as token ids, and put into padded batches by length.

In come line-aligned files or rows; out come batches, each a function of the seed and the step number alone.

B pairs of a batch, S source positions, T target positions.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, pairwise, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
import torch
import xxhash
from torch import Tensor

from dodam.data.batch import IGNORED
from dodam.data.readers import lines
from dodam.data.skipped import OR_SKIP, Skipped
from dodam.data.sources import SAMPLE, Row, read_rows
from dodam.data.text import clean
from dodam.errors import DataError, UsageError
from dodam.tokenizer.bpe_dropout import BpeDropout
from dodam.tokenizer.tokenizer import Tokenizer

USUAL = {
    "source": ("source", "src", "document", "article", "text"),
    "target": ("target", "tgt", "summary", "title", "translation"),
}
"""What the columns of the two sides are often called."""


class Pair(NamedTuple):
    """Two cleaned texts and the FILE:LINE they came from."""

    source: str
    target: str
    where: str


def read_pairs(data: Sequence[str], *, columns: Mapping[str, str], encoding: str, skipped: Skipped) -> Iterator[Pair]:
    """The pairs of files, folders, globs and of line-aligned files (`a.en:b.de`), in order.

    DataError for what cannot be read and for an entry without pairs; a pair without one of its sides is skipped if
    `skipped` allows it."""
    unknown = sorted(columns.keys() - USUAL.keys())
    if unknown:
        raise UsageError(f"{unknown[0]} is nothing a pair has", where="--columns", mend="Known: source, target.")
    for entry in data:
        found = 0
        sides = aligned_sides(entry)
        rows = aligned_lines(*sides, encoding) if sides else named_rows(entry, columns, encoding, skipped)
        for where, source, target in rows:
            empty = [role for role, text in (("source", source), ("target", target)) if not text]
            if empty:
                skipped.add(DataError(f"there is no {empty[0]}", where=where, mend="A pair has two sides."))
            else:
                found += 1
                yield Pair(source, target, where)
        if not found:
            raise DataError("holds no pairs", where=entry, mend="Is it the right file?")


def aligned_sides(entry: str) -> tuple[str, str] | None:
    """The two files of `a.en:b.de`; None for the name of one file, folder or glob."""
    if ":" not in entry or entry.startswith(SAMPLE) or Path(entry).exists():
        return None
    splits = [(entry[:place], entry[place + 1 :]) for place, sign in enumerate(entry) if sign == ":"]
    # A path may hold a colon itself: the split of which most are files.
    return max(splits, key=lambda files: sum(Path(file).is_file() for file in files))


def aligned_lines(source: str, target: str, encoding: str) -> Iterator[tuple[str, str, str]]:
    """(FILE:LINE, source, target) of each line that is not empty on both sides. DataError when one file is longer."""
    for number, both in enumerate(zip_longest(lines(source, encoding), lines(target, encoding)), start=1):
        if None in both:
            longer, shorter = (target, source) if both[0] is None else (source, target)
            mend = "Line n of one must belong to line n of the other."
            raise DataError(f"goes on after line {number - 1}, where {shorter} ends", where=longer, mend=mend)
        one, other = map(clean, both)
        if one or other:
            yield f"{source}:{number}", one, other


def named_rows(
    path: str, columns: Mapping[str, str], encoding: str, skipped: Skipped
) -> Iterator[tuple[str, str, str]]:
    """(FILE:LINE, source, target) of each row."""
    known = list(chain.from_iterable(USUAL.values()))
    for where, row in read_rows(path, columns=dict(columns), encoding=encoding, skipped=skipped, known=known):
        try:
            yield where, side(row, "source", where), side(row, "target", where)
        except DataError as error:
            skipped.add(error)


def side(row: Row, role: str, where: str) -> str:
    """The text of one side; empty when there is none. DataError when no column holds it, or no text."""
    name = next((name for name in USUAL[role] if name in row), None)
    if name is None:
        known = ", ".join(f"`{column}`" for column in row)
        mend = f"Name it: --columns {role}=NAME; there are {known}."
        raise DataError(f"there is no column for the {role}", where=where, mend=mend)
    text = row[name]
    if text is not None and not isinstance(text, str):
        raise DataError(f"`{name}` is no text but {type(text).__name__}", where=where)
    return clean(text or "")


def pairs_of(data: Sequence[str], *, columns: Mapping[str, str], encoding: str, skip_bad: bool) -> list[Pair]:
    """All pairs; the number of those skipped is told."""
    import sys

    skipped = Skipped(skip_bad, OR_SKIP)
    pairs = list(read_pairs(data, columns=columns, encoding=encoding, skipped=skipped))
    if skipped.count:
        print(f"{', '.join(data)}: {skipped}", file=sys.stderr)
    return pairs


def is_held_back(pair: Pair, share: float) -> bool:
    """Whether a pair is among the share held back: a function of its source alone."""
    digest = hashlib.blake2b(pair.source.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < share


class Framing(NamedTuple):
    """The ids that stand before and after a text's own."""

    before: list[int]
    after: list[int]

    @property
    def size(self) -> int:
        return len(self.before) + len(self.after)

    def framed(self, ids: Sequence[int]) -> list[int]:
        return [*self.before, *ids, *self.after]

    def cut(self, ids: Sequence[int], context: int) -> list[int]:
        """The same, of so many ids only as fit."""
        return self.framed(ids[: context - self.size])


def framing(tokenizer: Tokenizer) -> Framing:
    """What the tokenizer's own template puts around a text (T5: `… </s>`, BART: `<s> … </s>`); without one, its end."""
    plain = tokenizer.raw.encode("a", add_special_tokens=False).ids
    whole = tokenizer.raw.encode("a", add_special_tokens=True).ids
    place = next(at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
    return Framing(whole[:place], whole[place + len(plain) :] or [tokenizer.eos])


def framed_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer with its framing as a template, so that other programs frame texts as they were learned.

    What it encodes by itself, nothing added, stays the same."""
    raw = tokenizers.Tokenizer.from_str(tokenizer.json)
    if raw.num_special_tokens_to_add(False):
        return tokenizer
    end = tokenizer.names.eos
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1", special_tokens=[(end, tokenizer.eos)]
    )
    return Tokenizer(raw.to_str(pretty=True), tokenizer.chat_template, tokenizer.foreign)


class EncodedPair(NamedTuple):
    """Framed ids of both sides; those of the target are what is to be written."""

    source: np.ndarray
    target: np.ndarray


def encode_pairs(tokenizer: Tokenizer, pairs: Sequence[Pair], context: int) -> list[EncodedPair | None]:
    """Framed ids of each pair, None where a side is longer than the context."""
    frame = framing(tokenizer)

    def side_ids(texts: list[str]) -> list[np.ndarray]:
        ids, ends = tokenizer.encode_flat(texts)
        inside = (ids[first:last] for first, last in pairwise(ends))
        return [np.concatenate([frame.before, one, frame.after]).astype(np.int32) for one in inside]

    sources, targets = side_ids([pair.source for pair in pairs]), side_ids([pair.target for pair in pairs])
    return [
        EncodedPair(source, target) if max(len(source), len(target)) <= context else None
        for source, target in zip(sources, targets, strict=True)
    ]


def recutting(
    tokenizer: Tokenizer, pairs: Sequence[Pair], encoded: Sequence[EncodedPair], context: int, share: float, seed: int
) -> Callable[[int, int], EncodedPair]:
    """Pair i as it is read in pass n: both sides cut anew with a share of the merges dropped. A cut that is longer than
    the context gives way to the usual one. ValueError as `BpeDropout` says."""
    frame, dropout = framing(tokenizer), BpeDropout(tokenizer, share, seed)
    words = [(dropout.words(pair.source), dropout.words(pair.target)) for pair in pairs]

    def recut(item: int, epoch: int) -> EncodedPair:
        numbers = (2 * (epoch * len(pairs) + item) + side for side in (0, 1))
        sides = [frame.framed(dropout.encode(*one).tolist()) for one in zip(words[item], numbers, strict=True)]
        if max(map(len, sides)) > context:
            return encoded[item]
        return EncodedPair(*(np.array(ids, np.int32) for ids in sides))

    return recut


@dataclass(frozen=True)
class PairBatch:
    """Sources, and what is to be written for them. `real_BS` is True where a source has a token; `target_BT` is what
    the decoder reads, `labels_BT` the token to write at each position, -100 at padding."""

    source_BS: Tensor
    real_BS: Tensor
    target_BT: Tensor
    labels_BT: Tensor

    @property
    def num_tokens(self) -> int:
        return self.source_BS.numel() + self.target_BT.numel()

    def to(self, device: str | torch.device) -> "PairBatch":
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})

    def split(self, size: int) -> "list[PairBatch]":
        """The pairs in parts of `size`, the last one perhaps smaller."""
        parts = zip(*(value.split(size) for value in vars(self).values()), strict=True)
        return [PairBatch(*part) for part in parts]


def padded_batch(pairs: Sequence[EncodedPair], *, pad: int, start: int) -> PairBatch:
    """One batch of these pairs, padded on the right; the decoder reads `start` and then the target."""
    num_sources, num_targets = (max(len(ids) for ids in column) for column in zip(*pairs, strict=True))
    source = np.full((len(pairs), num_sources), pad, dtype=np.int64)
    real = np.zeros((len(pairs), num_sources), dtype=bool)
    target = np.full((len(pairs), num_targets), pad, dtype=np.int64)
    labels = np.full((len(pairs), num_targets), IGNORED, dtype=np.int64)
    for row, pair in enumerate(pairs):
        source[row, : len(pair.source)] = pair.source
        real[row, : len(pair.source)] = True
        target[row, 0] = start
        target[row, 1 : len(pair.target)] = pair.target[:-1]
        labels[row, : len(pair.target)] = pair.target
    return PairBatch(*map(torch.from_numpy, (source, real, target, labels)))


class PairLoader:
    """Batches of pairs of like lengths. Every pass over the pairs is cut anew, from (seed, pass).

    A batch has as many pairs as fit: pairs times the longest side among them is at most `batch_tokens`, and there are
    at most `most_pairs`."""

    def __init__(
        self,
        pairs: Sequence[EncodedPair],
        *,
        batch_tokens: int,
        pad: int,
        start: int,
        seed: int,
        most_pairs: int | None = None,
        recut: Callable[[int, int], EncodedPair] | None = None,
    ) -> None:
        """`recut`: gives pair number i as it is read in pass n, where that is not always the same."""
        self.pairs, self.pad, self.start, self.seed, self.recut = pairs, pad, start, seed, recut
        self.batch_tokens, self.most_pairs = batch_tokens, most_pairs or len(pairs)
        self.lengths = np.array([[len(pair.source), len(pair.target)] for pair in pairs]).reshape(-1, 2)
        self.batches = lru_cache(maxsize=2)(self._batches)
        self.counts: list[int] = []  # batches of each pass, as far as they are known

    def batch(self, step: int) -> PairBatch:
        """Batch number `step` of the endless order."""
        for number in range(step + 1):  # a pass has at least one batch
            if number == len(self.counts):
                self.counts.append(len(self.batches(number)))
            if step < self.counts[number]:
                return self.padded(self.batches(number)[step], number)
            step -= self.counts[number]
        raise AssertionError("a pass without batches")

    def padded(self, items: np.ndarray, epoch: int) -> PairBatch:
        pairs = [self.recut(int(item), epoch) if self.recut else self.pairs[item] for item in items]
        return padded_batch(pairs, pad=self.pad, start=self.start)

    @property
    def batches_per_epoch(self) -> int:
        """Of the first pass; the others have about as many."""
        return len(self.batches(0))

    @property
    def wasted(self) -> float:
        """Share of the first pass's positions that hold padding."""
        read = sum(len(items) * int(self.lengths[items].max(0).sum()) for items in self.batches(0))
        return 1.0 - float(self.lengths.sum()) / read

    @property
    def fingerprint(self) -> str:
        """Changes with every token."""
        hasher = xxhash.xxh3_64(self.lengths.tobytes())
        for pair in self.pairs:
            hasher.update(pair.source.tobytes())
            hasher.update(pair.target.tobytes())
        return hasher.hexdigest()

    def _batches(self, epoch: int) -> list[np.ndarray]:
        """The pairs of each batch of a pass. Sorted by target, then source, with lengths shifted by chance a little, so
        that it is not always the same pairs that meet."""
        rng = np.random.default_rng((self.seed, epoch))
        drawn = rng.permutation(len(self.pairs))
        source, target = (self.lengths[drawn] + rng.integers(0, 2, (len(drawn), 2))).T
        order = drawn[np.lexsort((source, target))]
        cuts, first, longest = [], 0, 0
        for place, length in enumerate(self.lengths[order].max(1).tolist()):
            longest = max(longest, length)
            count = place - first + 1
            if count > 1 and (count * longest > self.batch_tokens or count > self.most_pairs):
                cuts.append(place)
                first, longest = place, length
        batches = np.split(order, cuts)
        return [batches[index] for index in rng.permutation(len(batches))]
