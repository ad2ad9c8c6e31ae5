"""Lines that stand in many documents of a source: menus, footers, notices.

In two halves, because no document alone can tell. `observe` counts in how many documents of a batch each line stands,
`decide` adds up and names the lines that are in too many, `apply` takes them out. The result does not depend on how
documents were put into batches, nor on the order in which these were observed.

A repeated line goes wherever it stands if it has ten letters or digits or more; a shorter one (`홈`, `Menu`) only at
the beginning or the end of a document, among others that go, so that a short heading or a bracket in the middle stays.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dodam.data.outcome import SAMPLES, Outcome, edited, shown, texts_of

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "lines removed: repeated in many documents"
LEAST_DOCUMENTS = 20
"""Documents that a line must stand in, whatever the share: of a handful of notes nothing is boilerplate."""
LONGEST = 300  # characters; a longer line is a paragraph
COUNTERS = 1 << 22  # of the sketch
MEANS_SOMETHING = 10  # letters and digits from which a line goes in the middle of a text too
SAYING = re.compile(r"[^\W_]")


class Observed(NamedTuple):
    """Of one source: how many documents there are, and the hashes of their lines with how many of them each is in."""

    documents: int
    lines: np.ndarray
    counts: np.ndarray


def observe(batch: "pa.RecordBatch") -> dict[str, Observed]:
    """The lines of a batch, by source; a line counts once a document. 16 bytes for each different line."""
    lines: dict[str, Counter[int]] = {}
    documents: Counter[str] = Counter()
    for source, text in zip(batch.column("source").to_pylist(), texts_of(batch), strict=True):
        documents[source] += 1
        lines.setdefault(source, Counter()).update({hashed for _, hashed in _lines(text) if hashed})
    return {
        source: Observed(
            count,
            np.fromiter(lines[source].keys(), np.uint64, len(lines[source])),
            np.fromiter(lines[source].values(), np.int64, len(lines[source])),
        )
        for source, count in documents.items()
    }


def decide(observed: Iterable[dict[str, Observed]], share: float) -> dict[str, frozenset[int]]:
    """By source the hashes of lines that stand in at least this share of its documents, and in LEAST_DOCUMENTS.

    Gone through twice, so that memory does not grow with the number of different lines: first a sketch adds up in which
    lines share counters (the least that any line can have, Cormode and Muthukrishnan 2005, of one row), then exact
    counts of the few lines whose counters are high enough."""
    documents: Counter[str] = Counter()
    sketch = np.zeros(COUNTERS, np.int64)
    for batch in observed:
        for source, one in batch.items():
            documents[source] += one.documents
            np.add.at(sketch, _counters(source, one.lines), one.counts)
    least = {source: max(share * count, LEAST_DOCUMENTS) for source, count in documents.items()}
    lines: dict[str, Counter[int]] = {source: Counter() for source in sorted(documents)}
    for batch in observed:
        for source, one in batch.items():
            often = sketch[_counters(source, one.lines)] >= least[source]
            for line, count in zip(one.lines[often].tolist(), one.counts[often].tolist(), strict=True):
                lines[source][line] += count
    return {
        source: frozenset(line for line, count in some.items() if count >= least[source])
        for source, some in lines.items()
    }


def _counters(source: str, lines: np.ndarray) -> np.ndarray:
    """The counter in the sketch of each line of a source."""
    import xxhash

    return (lines ^ np.uint64(xxhash.xxh3_64_intdigest(source.encode()))) & np.uint64(COUNTERS - 1)


def apply(batch: "pa.RecordBatch", decided: dict[str, frozenset[int]]) -> Outcome:
    """The documents without their repeated lines; those of nothing else are dropped."""
    changed: dict[int, str] = {}
    count, samples = 0, []
    texts, sources, ids = texts_of(batch), batch.column("source").to_pylist(), batch.column("id")
    for row, (source, text) in enumerate(zip(sources, texts, strict=True)):
        repeated = decided.get(source)
        if not repeated:
            continue
        after, removed = without(text, repeated)
        if removed:
            changed[row] = after
            count += removed
            if len(samples) < SAMPLES:
                samples.append(shown(REASON, ids[row].as_py(), text, after))
    return edited(batch, changed, {REASON: count} if count else {}, samples)


def without(text: str, repeated: frozenset[int]) -> tuple[str, int]:
    """A text without its repeated lines, and how many these were. Empty lines they leave behind go with them."""
    lines = list(_lines(text))
    bad = [hashed in repeated for _, hashed in lines]
    if not any(bad):
        return text, 0
    goes = [one and len(SAYING.findall(line)) >= MEANS_SOMETHING for one, (line, _) in zip(bad, lines, strict=True)]
    for places in (range(len(lines)), range(len(lines) - 1, -1, -1)):
        for place in places:
            if lines[place][1] and not bad[place]:
                break
            goes[place] = bad[place]
    kept = [line for (line, _), gone in zip(lines, goes, strict=True) if not gone]
    if not any(goes):
        return text, 0
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), sum(goes)


def _lines(text: str) -> Iterable[tuple[str, int]]:
    """Every line with its hash; 0 for one that says nothing (no letter, no digit) or is a paragraph."""
    import xxhash

    for line in text.split("\n"):
        short = line.strip()
        says = 0 < len(short) <= LONGEST and SAYING.search(short)
        yield line, xxhash.xxh3_64_intdigest(short.encode()) if says else 0
