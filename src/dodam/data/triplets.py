"""Texts that mean the same, out of files: pairs, triplets with a text that means something else, or texts alone.

In come files; out come `Triplet`s, each with FILE:LINE, and batches of their texts, every one a function of its number.

R triplets, B of them in a batch, C candidates (what each is compared with), N = B + C texts, T positions.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
import xxhash
from torch import Tensor

from dodam.data.readers import ROW_READERS, lines, suffix
from dodam.data.skipped import Skipped
from dodam.data.sources import Row, files_of, read_rows
from dodam.data.text import clean
from dodam.errors import DataError, UsageError

USUAL = {
    "text": (
        "text", "anchor", "premise", "query", "question", "sentence", "sentence1", "question1", "text1", "document",
        "title",
    ),
    "text2": ("text2", "positive", "entailment", "hypothesis", "sentence2", "question2"),
    "negative": ("negative", "contradiction"),
    "label": ("label", "gold_label", "is_duplicate", "score", "similarity"),
}  # fmt: skip
"""What columns are called, the likeliest first."""
LINE = ("text", "text2", "negative")
"""What stands in a line of text, set apart by tabs."""
SAYS_SAME, SAYS_OTHER, SAYS_NOTHING = ("entailment",), ("contradiction",), ("neutral", "-")
"""What a label says of two texts; `-` is one that people did not agree on."""


class Triplet(NamedTuple):
    """A text, one that means the same, and one that means something else, where there is one. A text alone stands for
    itself: `positive` is equal to it."""

    anchor: str
    positive: str
    negative: str | None
    where: str

    @property
    def alone(self) -> bool:
        return self.anchor == self.positive

    @property
    def kind(self) -> str:
        if self.negative is not None:
            return "triplets"
        return "texts alone" if self.alone else "pairs"


class Labelled(NamedTuple):
    """Two texts and what a label says of them."""

    text: str
    text2: str
    label: str
    where: str


def read_triplets(data: Sequence[str], *, columns: Mapping[str, str], encoding: str, skipped: Skipped) -> list[Triplet]:
    """The triplets of files, folders and globs, in their order. Labelled rows of one text make triplets.

    UsageError for columns that cannot be, DataError for rows that cannot be used, unless `skipped` allows it."""
    if unknown := sorted(columns.keys() - USUAL.keys()):
        raise UsageError(f"{unknown[0]} is nothing a row has", where="--columns", mend=f"Known: {', '.join(USUAL)}.")
    if columns and "text" not in columns:
        raise UsageError("only what is named is read", where="--columns", mend="Name the texts too: text=NAME.")
    if "label" in columns and "text2" not in columns:
        raise UsageError("a label is about two texts", where="--columns", mend="Name the second: text2=NAME.")
    found: list[Triplet] = []
    for path in chain.from_iterable(map(files_of, data)):
        labelled: list[Labelled] = []
        for where, row in rows_of(path, columns, encoding, skipped):
            try:
                one = read_row(row, roles_of(tuple(row), tuple(columns), path), where)
            except DataError as error:
                skipped.add(error)
                continue
            if isinstance(one, Labelled):
                labelled.append(one)
            else:
                found.append(one)
        if labelled:
            found += grouped(labelled, path)
    if not found:
        raise DataError("holds no texts", where=", ".join(data), mend="Name files with rows in them.")
    return found


def rows_of(path: str, columns: Mapping[str, str], encoding: str, skipped: Skipped) -> Iterator[tuple[str, Row]]:
    """The rows of a file; those of a file of text have what `LINE` names, or by number what `columns` names."""
    if suffix(path) in ROW_READERS:
        yield from read_rows(path, columns=dict(columns), encoding=encoding, skipped=skipped)
        return
    names = dict(columns) or {role: str(place) for place, role in enumerate(LINE, start=1)}
    if not all(name.isdecimal() and int(name) > 0 for name in names.values()):
        raise UsageError("lines of text have columns by number, from 1", where=path, mend="Such as text=1 text2=2.")
    for number, line in enumerate(lines(path, encoding), start=1):
        cells = line.rstrip("\r\n").split("\t")
        if line.strip():
            yield f"{path}:{number}", {role: cells[int(n) - 1] for role, n in names.items() if int(n) <= len(cells)}


@lru_cache(maxsize=256)
def roles_of(names: tuple[str, ...], named: tuple[str, ...], path: str) -> dict[str, str]:
    """Role -> column of a row with these names: what was `named`, else what is called as usual. UsageError without a
    text."""
    if named:
        return {role: role for role in named}  # the reader put them there under these names
    lower = {name.lower(): name for name in reversed(names)}
    roles: dict[str, str] = {}
    for role, usual in USUAL.items():
        free = [lower[name] for name in usual if name in lower and lower[name] not in roles.values()]
        roles |= {role: free[0]} if free else {}
    if "text" not in roles:
        mend = f"Name it: --columns text=NAME. There are {', '.join(f'`{name}`' for name in names)}."
        raise UsageError("there is no column of texts", where=path, mend=mend)
    if "text2" not in roles:
        roles.pop("label", None)  # whatever it says, it is not about two texts
    return roles


def read_row(row: Row, roles: Mapping[str, str], where: str) -> Triplet | Labelled:
    """What a row tells. DataError for an empty text, a pair without its second one, a label that says nothing."""
    text = text_of(row.get(roles["text"]), "the text", where)
    if "label" in roles:
        label = str(row.get(roles["label"])).strip().lower()
        if label not in SAYS_SAME + SAYS_OTHER + SAYS_NOTHING:
            what = f"the label {row.get(roles['label'])!r} does not say whether two texts mean the same"
            mend = "Known are entailment, neutral, contradiction. If all rows mean the same, name their columns: "
            raise DataError(what, where=where, mend=f"{mend}--columns text=NAME text2=NAME.")
        return Labelled(text, text_of(row.get(roles["text2"]), "the second text", where), label, where)
    # Lines of text, and rows of JSON, need not all have the same.
    has = [role for role in ("text2", "negative") if role in roles and roles[role] in row]
    others = {
        role: text_of(row[roles[role]], f"the {'second' if role == 'text2' else role} text", where) for role in has
    }
    return Triplet(text, others.get("text2", text), others.get("negative"), where)


def text_of(value: object, name: str, where: str) -> str:
    """A cleaned text. DataError for one that is empty or no text."""
    if value is not None and not isinstance(value, str):
        raise DataError(f"{name} is no text but {type(value).__name__}", where=where)
    text = clean(value or "")
    if not text:
        raise DataError(f"{name} is empty", where=where)
    return text


def grouped(labelled: Sequence[Labelled], path: str) -> list[Triplet]:
    """Rows of one text as triplets: each text that follows from it, with one that contradicts it where there is one,
    in turn. DataError where nothing follows from anything."""
    others: dict[str, list[str]] = defaultdict(list)
    for row in labelled:
        if row.label in SAYS_OTHER:
            others[row.text].append(row.text2)
    seen: dict[str, int] = defaultdict(int)
    found = []
    for row in labelled:
        if row.label in SAYS_SAME:
            negatives = others[row.text]
            negative = negatives[seen[row.text] % len(negatives)] if negatives else None
            found.append(Triplet(row.text, row.text2, negative, row.where))
            seen[row.text] += 1
    if not found:
        raise DataError("nothing means the same as another text: there is no entailment", where=path)
    return found


def split(triplets: Sequence[Triplet], share: float) -> tuple[list[Triplet], list[Triplet]]:
    """What is learned and what is held back, by the hash of the anchor: all rows of one text are on one side."""
    learned: list[Triplet] = []
    held_back: list[Triplet] = []
    for triplet in triplets:
        digest = xxhash.xxh3_64_intdigest(triplet.anchor.encode())
        (held_back if digest / 2**64 < share else learned).append(triplet)
    return learned, held_back


def fingerprint(triplets: Iterable[Triplet]) -> str:
    """Changes with every text."""
    hasher = xxhash.xxh3_64()
    for one in triplets:
        hasher.update("\x1f".join((one.anchor, one.positive, one.negative or "", "\x1e")).encode())
    return hasher.hexdigest()


def distinct_texts(triplets: Iterable[Triplet]) -> list[str]:
    """Every text once, in the order they come."""
    return list(dict.fromkeys(text for one in triplets for text in one[:3] if text is not None))


@dataclass(frozen=True)
class TripletBatch:
    """N texts side by side, padded on the right: B anchors, their B positives in the same order, then all negatives.

    The last C = N - B are the candidates. `blocked_BC` is True where a candidate is no negative of an anchor, as it
    means the same or is the anchor itself; never at an anchor's own positive. `share`: which part of the texts is
    computed here, and how many such parts are computed elsewhere at the same time, with this one."""

    ids_NT: Tensor
    real_NT: Tensor
    blocked_BC: Tensor
    share: tuple[int, int] = (0, 1)

    @property
    def computed(self) -> Tensor:
        """The numbers of the texts that are computed here, shorter ones first."""
        part, parts = self.share
        return self.real_NT.sum(1).argsort(stable=True)[part::parts]

    @property
    def num_tokens(self) -> int:
        """Of the texts that are computed here."""
        return int(self.real_NT[self.computed].sum())

    def to(self, device: str | torch.device) -> "TripletBatch":
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


class TripletLoader:
    """Batches of triplets. Each triplet comes once a pass, in an order drawn from (seed, pass).

    `ids`: of every text of the triplets its ids, framed. There are at most as many rows in a batch as there are
    triplets."""

    def __init__(
        self, triplets: Sequence[Triplet], ids: Mapping[str, Sequence[int]], *, batch: int, pad: int, seed: int
    ) -> None:
        texts = distinct_texts(triplets)
        numbers = {text: number for number, text in enumerate(texts)}
        self.ids, self.pad, self.seed = [ids[text] for text in texts], pad, seed
        rows = [[-1 if text is None else numbers[text] for text in one[:3]] for one in triplets]
        self.rows_R3 = np.array(rows, dtype=np.int64).reshape(-1, 3)
        self.batch_size = min(batch, len(triplets))
        self.order = lru_cache(maxsize=2)(self._order)

    @property
    def batches_per_epoch(self) -> float:
        return len(self.rows_R3) / self.batch_size

    def batch(self, step: int, share: tuple[int, int] = (0, 1)) -> TripletBatch:
        """Batch number `step` of the endless order; `share` as in `TripletBatch`."""
        count = len(self.rows_R3)
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        rows_B3 = self.rows_R3[[self.order(place // count)[place % count] for place in places]]
        negatives = rows_B3[rows_B3[:, 2] >= 0, 2]
        numbers_N = np.concatenate([rows_B3[:, 0], rows_B3[:, 1], negatives])
        longest = max(len(self.ids[number]) for number in numbers_N)
        ids_NT = np.full((len(numbers_N), longest), self.pad, dtype=np.int64)
        real_NT = np.zeros(ids_NT.shape, dtype=bool)
        for row, number in enumerate(numbers_N):
            ids_NT[row, : len(self.ids[number])] = self.ids[number]
            real_NT[row, : len(self.ids[number])] = True
        return TripletBatch(*map(torch.from_numpy, (ids_NT, real_NT, blocked(rows_B3))), share=share)

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.rows_R3))


def blocked(rows_B3: np.ndarray) -> np.ndarray:
    """[B, C] from the numbers of texts (-1: none): whether a candidate is equal to the anchor or its positive, or the
    positive of an equal anchor; False at each anchor's own positive."""
    anchors_B, positives_B = rows_B3[:, 0], rows_B3[:, 1]
    negatives = rows_B3[rows_B3[:, 2] >= 0, 2]
    candidates_C = np.concatenate([positives_B, negatives])
    owners_C = np.concatenate([anchors_B, np.full(len(negatives), -1)])
    same_BC = candidates_C == anchors_B[:, None]
    same_BC |= candidates_C == positives_B[:, None]
    same_BC |= owners_C == anchors_B[:, None]
    np.fill_diagonal(same_BC, False)
    return same_BC
