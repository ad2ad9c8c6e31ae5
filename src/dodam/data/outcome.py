"""What a step makes of a batch of documents: what is left, what was done, and a few samples of it.

In: a record batch and what a step decided about its rows. Out: an `Outcome`. A batch is that of decision.py; its rows
are whole documents.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLES = 3
"""Samples of each reason that are kept: the first ones."""
SHOWN = 200
"""Characters of a text that a sample shows."""
DROPPED = "documents dropped: "
"""How the reasons begin for which documents are left out; all other reasons are things done to some that stay."""
AHEAD = 60
"""Characters of it ahead of the first change."""


@dataclass(frozen=True)
class Sample:
    """One thing that was done: `after` is empty where the document was dropped."""

    reason: str
    id: str
    before: str
    after: str


@dataclass(frozen=True)
class Outcome:
    """What is left of a batch, in order, and what was done to it, counted by reason."""

    batch: "pa.RecordBatch"
    counts: dict[str, int]
    samples: tuple[Sample, ...]


def texts_of(batch: "pa.RecordBatch") -> list[str]:
    return batch.column("text").to_pylist()


def dropped(batch: "pa.RecordBatch", reasons: Mapping[int, str]) -> Outcome:
    """The batch without the rows that have a reason to go."""
    import numpy as np
    import pyarrow as pa

    if not reasons:
        return Outcome(batch, {}, ())
    names = {row: DROPPED + reason for row, reason in sorted(reasons.items())}
    samples = [
        Sample(name, batch.column("id")[row].as_py(), batch.column("text")[row].as_py()[:SHOWN], "")
        for row, name in _first_of_each(names)
    ]
    stays = np.ones(batch.num_rows, bool)
    stays[list(names)] = False
    return Outcome(batch.filter(pa.array(stays)), dict(Counter(names.values())), tuple(samples))


def edited(
    batch: "pa.RecordBatch",
    texts: Mapping[int, str],
    counts: Mapping[str, int],
    samples: Iterable[Sample],
    nothing_left: str = "empty",
) -> Outcome:
    """The batch with other texts in some rows, `bytes` with them. Rows whose text is empty now are dropped, and counted
    as `nothing_left`."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not texts:
        return Outcome(batch, dict(counts), tuple(samples))
    changed = np.zeros(batch.num_rows, bool)
    changed[list(texts)] = True
    replacements = pa.array([texts[row] for row in sorted(texts)], pa.string())
    column = pc.call_function("replace_with_mask", [batch.column("text"), pa.array(changed), replacements])
    size = pc.call_function("binary_length", [column]).cast(pa.int64())
    new = {"text": column, "bytes": size}
    columns = [new.get(name, batch.column(name)) for name in batch.schema.names]
    empty = [row for row, text in texts.items() if not text]
    left = dropped(pa.RecordBatch.from_arrays(columns, schema=batch.schema), dict.fromkeys(empty, nothing_left))
    return Outcome(left.batch, {**counts, **left.counts}, tuple(samples))


def edits(batch: "pa.RecordBatch", before: list[str], texts: Mapping[int, str], reason: str) -> Outcome:
    """`edited`, where one reason says it all: the changed documents are counted and the first ones shown."""
    if not texts:
        return Outcome(batch, {}, ())
    ids = batch.column("id")
    rows = sorted(texts)
    samples = [shown(reason, ids[row].as_py(), before[row], texts[row]) for row in rows[:SAMPLES]]
    return edited(batch, texts, {reason: len(rows)}, samples)


def shown(reason: str, id: str, before: str, after: str) -> Sample:
    """A sample of a change: both texts from a little ahead of where they begin to differ."""
    low, high = 0, min(len(before), len(after))
    while low < high:  # the longest common beginning, by halves
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before[:middle] == after[:middle] else (low, middle - 1)
    start = max(low - AHEAD, 0)
    return Sample(reason, id, before[start : start + SHOWN], after[start : start + SHOWN])


def removed_of(counts: Mapping[str, int]) -> dict[str, int]:
    """Of all counts the documents left out, by reason."""
    return {reason.removeprefix(DROPPED): count for reason, count in counts.items() if reason.startswith(DROPPED)}


def changed_of(counts: Mapping[str, int]) -> dict[str, int]:
    """Of all counts what was done to documents that stay."""
    return {reason: count for reason, count in counts.items() if not reason.startswith(DROPPED)}


def first_samples(samples: Iterable[Sample]) -> list[Sample]:
    """The first samples of each reason: of a whole corpus what its batches kept, whatever their borders were."""
    seen: Counter[str] = Counter()
    kept = []
    for sample in samples:
        seen[sample.reason] += 1
        if seen[sample.reason] <= SAMPLES:
            kept.append(sample)
    return kept


def _first_of_each(names: Mapping[int, str]) -> Iterable[tuple[int, str]]:
    seen: Counter[str] = Counter()
    for row, name in names.items():
        seen[name] += 1
        if seen[name] <= SAMPLES:
            yield row, name
