"""Training text that holds what a model will be tested with, found by shared n-grams and cut out.

In: named evaluation sets, and batches of documents. Out: the documents without those passages. The rule is that of
GPT-3 (Brown et al. 2020, https://arxiv.org/abs/2005.14165, appendix C):

- an n-gram of 13 words is sought (of 8 to 13, by the 5th percentile of a set's lengths), without regard to capitals,
  spaces and punctuation. Korean and other scripts whose units are syllables (`data/shingles.py`) say in 30 of them (20
  to 30) what English says in 13 words;
- an n-gram that stands in more than 10 documents is common property and no leak;
- what matches goes with 200 characters on either side; what is left between two cuts goes if it is shorter than that;
  and a document that falls into more than 10 pieces goes as a whole.

Pieces are put together again with an empty line between them. In two halves: `observe` counts in how many documents
each n-gram stands, `decide` adds up, `apply` cuts. The result does not depend on batches or their order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dodam.data.outcome import AHEAD, SAMPLES, SHOWN, Outcome, Sample, edited, texts_of
from dodam.data.readers import lines, reader_of, text_rows
from dodam.data.readers.encodings import AUTO
from dodam.data.shingles import Units, units, windows
from dodam.data.sources import SAMPLE, checksum, rows
from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

WORDS, SYLLABLES = (8, 13), (20, 30)
"""Units in an n-gram, least and most, of a text of words and of one of syllables."""
PERCENTILE = 5
COMMON = 10  # documents; an n-gram in more of them is common property
AROUND = 200  # characters that go with a match on either side, and the shortest piece that stays
REASON = "contaminated"  # a document of which nothing is left
PIECES = 10  # into which a document may fall


@dataclass(frozen=True)
class EvaluationSet:
    """A file of rows by its name; the checksum tells it from what stood there before."""

    name: str
    path: str
    checksum: str


class Grams(NamedTuple):
    """The n-grams of all evaluation sets."""

    names: tuple[str, ...]
    """The sets, in the order they were given."""
    hashes: dict[int, np.ndarray]
    """By n the hashes of the n-grams, sorted."""
    owners: dict[int, np.ndarray]
    """The number of the first set that holds each."""
    sieves: dict[int, np.ndarray]
    """By n whether the low bits of any n-gram are these: what most windows of a text fail at once."""
    unread: dict[str, int]
    """By set how many texts are too short to be looked for."""


class Observed(NamedTuple):
    """By n the places of n-grams in `Grams` that a batch holds, and in how many of its documents."""

    places: dict[int, np.ndarray]
    counts: dict[int, np.ndarray]


def read_set(path: str) -> Iterator[str]:
    """Every text in the rows of an evaluation set: questions, passages, answers, messages, whatever the columns are;
    of a file of plain text its lines."""
    if not path.startswith(SAMPLE) and reader_of(path) is text_rows:
        yield from lines(path, AUTO)
        return
    for _, row in rows(path):
        yield from _strings(row)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)


def sets_of(named: Iterable[str]) -> tuple[EvaluationSet, ...]:
    """`NAME=FILE` or `FILE`, whose name is then its own without the ending. UsageError where two have one name,
    DataError for a file that is not there."""
    found: dict[str, EvaluationSet] = {}
    for one in named:
        name, _, path = one.rpartition("=")
        name = name or Path(path).name.split(".")[0]
        if name in found:
            raise UsageError(f"two sets are called {name}", where="--contamination", mend="Name them: NAME=FILE.")
        if not path.startswith(SAMPLE) and not Path(path).is_file():
            raise DataError("there is no such file", where=path, mend="A set to keep out is a file: NAME=FILE.")
        found[name] = EvaluationSet(name, path, checksum(path))
    return tuple(found.values())


@cache
def grams_of_files(sets: tuple[EvaluationSet, ...]) -> Grams:
    """The n-grams of these files, read once a process."""
    return grams_of({one.name: read_set(one.path) for one in sets})


def grams_of(sets: Mapping[str, Iterable[str]]) -> Grams:
    """The n-grams to look for. DataError for a set in which no text is long enough."""
    found: dict[int, list[np.ndarray]] = {}
    owners: dict[int, list[np.ndarray]] = {}
    unread = {}
    for number, (name, texts) in enumerate(sets.items()):
        by_kind: dict[tuple[int, int], list[np.ndarray]] = {WORDS: [], SYLLABLES: []}
        unread[name] = 0
        for text in texts:
            read = units(text)
            kind = _kind(read)
            long = len(read.hashes) >= kind[0]
            unread[name] += not long
            if long:
                by_kind[kind].append(read.hashes)
        if not any(by_kind.values()):
            raise DataError(
                "holds no text long enough to be looked for", where=name, mend="Eight words, or twenty syllables."
            )
        for (least, most), some in by_kind.items():
            if some:
                n = int(np.clip(np.percentile([len(one) for one in some], PERCENTILE), least, most))
                hashes = np.unique(np.concatenate([windows(one, n) for one in some]))
                found.setdefault(n, []).append(hashes)
                owners.setdefault(n, []).append(np.full(len(hashes), number))
    merged, of_gram = {}, {}
    for n, parts in sorted(found.items()):
        merged[n], first = np.unique(np.concatenate(parts), return_index=True)
        of_gram[n] = np.concatenate(owners[n])[first]
    return Grams(tuple(sets), merged, of_gram, {n: _sieve(hashes) for n, hashes in merged.items()}, unread)


def _kind(read: Units) -> tuple[int, int]:
    """Whether a text is one of syllables or of words: by what takes up more of its characters."""
    lengths = read.ends - read.starts
    return SYLLABLES if 2 * np.count_nonzero(lengths == 1) > lengths.sum() else WORDS


def _sieve(hashes: np.ndarray) -> np.ndarray:
    sieve = np.zeros(1 << min(max(16 * len(hashes), 1).bit_length(), 26), bool)
    sieve[hashes & np.uint64(len(sieve) - 1)] = True
    return sieve


def _matches(read: Units, grams: Grams) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(n, first units of n-grams that are in a set, places of these in `Grams`) of a text."""
    for n, hashes in grams.hashes.items():
        here = windows(read.hashes, n)
        sieve = grams.sieves[n]
        starts = np.flatnonzero(sieve[here & np.uint64(len(sieve) - 1)])
        places = np.searchsorted(hashes, here[starts])
        held = places < len(hashes)
        held[held] = hashes[places[held]] == here[starts[held]]
        if held.any():
            yield n, starts[held], places[held]


def observe(batch: "pa.RecordBatch", grams: Grams) -> Observed:
    """Which n-grams stand in a batch, and in how many of its documents."""
    counts: dict[int, Counter[int]] = {}
    for text in texts_of(batch):
        for n, _, places in _matches(units(text), grams):
            counts.setdefault(n, Counter()).update(set(places.tolist()))
    return Observed(
        {n: np.fromiter(some.keys(), np.int64, len(some)) for n, some in counts.items()},
        {n: np.fromiter(some.values(), np.int64, len(some)) for n, some in counts.items()},
    )


def decide(observed: Iterable[Observed], grams: Grams) -> Grams:
    """The n-grams without those that are common property."""
    documents = {n: np.zeros(len(hashes), np.int64) for n, hashes in grams.hashes.items()}
    for one in observed:
        for n, places in one.places.items():
            documents[n][places] += one.counts[n]
    hashes = {n: grams.hashes[n][some <= COMMON] for n, some in documents.items()}
    owners = {n: grams.owners[n][some <= COMMON] for n, some in documents.items()}
    return Grams(grams.names, hashes, owners, {n: _sieve(some) for n, some in hashes.items()}, grams.unread)


def apply(batch: "pa.RecordBatch", decided: Grams) -> Outcome:
    """The documents without the passages that are in a set; those of little else are dropped."""
    changed: dict[int, str] = {}
    counts: Counter[str] = Counter()
    samples: list[Sample] = []
    ids = batch.column("id")
    for row, text in enumerate(texts_of(batch)):
        spans = _spans(text, decided)
        if not spans:
            continue
        changed[row] = _left(text, [(start, end) for start, end, _ in spans])
        for start, _, owner in spans:
            reason = f"passages cut out: in {decided.names[owner]}"
            counts[reason] += 1
            if counts[reason] <= SAMPLES:
                low = max(start - AHEAD, 0)
                after = "[...]" if changed[row] else ""
                samples.append(Sample(reason, ids[row].as_py(), text[low : low + SHOWN], after))
    return edited(batch, changed, dict(sorted(counts.items())), samples, nothing_left=REASON)


def _spans(text: str, grams: Grams) -> list[tuple[int, int, int]]:
    """(start, end, set) of each stretch of a text that is in a set, in characters, none within another."""
    read = units(text)
    found = sorted(
        (int(read.starts[start]), int(read.ends[start + n - 1]), int(grams.owners[n][place]))
        for n, starts, places in _matches(read, grams)
        for start, place in zip(starts.tolist(), places.tolist(), strict=True)
    )
    spans: list[tuple[int, int, int]] = []
    for start, end, owner in found:
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]), spans[-1][2])
        else:
            spans.append((start, end, owner))
    return spans


def _left(text: str, spans: list[tuple[int, int]]) -> str:
    """What stays of a text: pieces of AROUND characters and more, cut at white space, or nothing."""
    pieces, last = [], 0
    for start, end in [*spans, (len(text) + AROUND, 0)]:
        piece = text[last : max(start - AROUND, last)]
        # What a cut left of a word at either end goes too.
        piece = piece[_beyond_space(piece) :] if last else piece
        piece = piece[: len(piece) - _beyond_space(piece[::-1])] if start < len(text) else piece
        pieces.append(piece.strip())
        last = max(end + AROUND, last)
    pieces = [piece for piece in pieces if len(piece) >= AROUND]
    return "" if len(pieces) > PIECES else "\n\n".join(pieces)


def _beyond_space(piece: str) -> int:
    """Where the first white space ends that begins within the first 40 characters; 0 where there is none."""
    for place, character in enumerate(piece[:40]):
        if character.isspace():
            return place + 1
    return 0


def observe_files(batch: "pa.RecordBatch", sets: tuple[EvaluationSet, ...]) -> Observed:
    """`observe` with the n-grams of files."""
    return observe(batch, grams_of_files(sets))


def decide_files(observed: Iterable[Observed], sets: tuple[EvaluationSet, ...]) -> Grams:
    """`decide` with the n-grams of files."""
    return decide(observed, grams_of_files(sets))


def told(decided: Grams) -> dict[str, Any]:
    """By set the texts that are too short to be looked for."""
    return {"unread": decided.unread}
