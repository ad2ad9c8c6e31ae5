"""Documents that were there before, word for word or nearly so. A decision, as in decision.py.

`observe` makes some bytes of each document: a hash of its text, and with `near` the bands of its MinHash signature
(Broder 1997), so that two documents share a band if they are alike (locality-sensitive hashing, Leskovec et al.,
Mining of Massive Datasets, section 3.4). `decide` looks at all of them: a document goes if its text was there before,
or if it is as like to an earlier document that stays as `near` says. Bands only name candidates; the likeness of each
is the exact Jaccard similarity of the two sets of shingles (`data/shingles.py`). The result does not depend on how
documents were put into batches, and the first in the order of the inputs stays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dodam.data.decision import LookUp, Row, digests, places
from dodam.data.outcome import SHOWN, Outcome, dropped, texts_of
from dodam.data.shingles import SHINGLE, flat, jaccard, shingles, units, windows
from dodam.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

SIGNATURE = 128
"""Minima in a signature."""
MISSED = 0.02
"""Share of pairs exactly as alike as the threshold that the bands may miss."""
SEED = 1
HELD = 1024  # sets of shingles held in memory while they are compared
LARGEST = 5  # clusters that are told of
EXACT, NEAR = "duplicate", "near duplicate"


class Observed(NamedTuple):
    """Some bytes of each document of a batch."""

    places: np.ndarray
    digests: np.ndarray
    """xxh3-128 of the text: [documents, 2], uint64."""
    bands: np.ndarray
    """Hashes of the bands: [documents, bands], uint64; no bands where near duplicates are not looked for, and 0 in all
    bands of a document without letters."""


class Cluster(NamedTuple):
    """A document that stays, and the near duplicates that go for it, of which one is shown."""

    documents: int
    """That go."""
    id: str
    text: str
    copy_id: str
    copy: str
    jaccard: float
    """Of the two."""


class Duplicates(NamedTuple):
    """The documents that go, by place, in order; and for each the one that stays and how like to it it is."""

    gone: np.ndarray
    stay: np.ndarray
    jaccard: np.ndarray
    is_near: np.ndarray
    """False for equal texts: of the one that stays, or of a near duplicate of it."""
    largest: tuple[Cluster, ...]


def bands_of(threshold: float) -> tuple[int, int]:
    """(bands, rows of each): the longest bands that miss a pair at the threshold with probability MISSED at most. No
    bands are short enough below a threshold of 0.1.

    Two documents of similarity s share one of b bands of r rows with probability 1 - (1 - s^r)^b."""
    assert 0.1 <= threshold <= 1, threshold
    rows = [r for r in range(1, SIGNATURE + 1) if (1 - threshold**r) ** (SIGNATURE // r) <= MISSED]
    return SIGNATURE // max(rows), max(rows)


def observe(batch: "pa.RecordBatch", near: float | None = None) -> Observed:
    """What `decide` needs of a batch; `near` is its threshold, None where equal texts alone are looked for."""
    bands = np.empty((batch.num_rows, 0), np.uint64) if near is None else _bands(texts_of(batch), near)
    return Observed(places(batch), digests(batch), bands)


def _bands(texts: Sequence[str], threshold: float) -> np.ndarray:
    """Signatures by `rensa`, cut into bands, each band one hash. UsageError without the package."""
    try:
        from rensa import RMinHash  # type: ignore[missing-module-attribute]
    except ImportError:
        raise UsageError("finding near duplicates needs the package rensa", mend="pip install rensa") from None
    bands, rows = bands_of(threshold)
    sets = []
    for text in texts:
        hashes = units(text).hashes
        sets.append(windows(hashes, min(SHINGLE, len(hashes))) if len(hashes) else hashes)
    if not any(map(len, sets)):
        return np.zeros((len(texts), bands), np.uint64)
    signatures = RMinHash.digest_matrix_from_flat_token_hashes(*flat(sets), SIGNATURE, SEED).to_rows()
    signatures = np.array(signatures, np.uint64)[:, : bands * rows]
    # One window for each band's rows, and the band's number mixed in, so that no band is taken for another.
    of_band = windows(signatures.reshape(-1), rows)[::rows].reshape(-1, bands)
    of_band ^= windows(np.arange(bands, dtype=np.uint64), 1)
    of_band[[not len(one) for one in sets]] = 0
    return of_band


def decide(observed: Iterable[Observed], look_up: LookUp | None = None, near: float | None = None) -> Duplicates:
    """The documents that go. Texts are looked up of those alone that share a band with one of another text."""
    assert (near is None) == (look_up is None), "near duplicates are told by their texts"
    seen = list(observed)
    if not seen:
        none = np.empty(0, np.int64)
        return Duplicates(none, none, none.astype(float), none.astype(bool), ())
    at, digests, bands = (np.concatenate(column) for column in zip(*seen, strict=True))
    del seen
    firsts = _firsts(digests)
    is_first = firsts == np.arange(len(firsts))
    stay, likeness = firsts.copy(), np.ones(len(firsts))

    def found(largest: tuple[Cluster, ...] = ()) -> Duplicates:
        stays, like = stay[firsts], likeness[firsts]  # a copy of a near duplicate goes with it
        gone = stays != np.arange(len(firsts))
        return Duplicates(at[gone], at[stays[gone]], like[gone], is_first[gone], largest)

    if near is None or look_up is None:
        return found()
    shared = _shared(bands, is_first)
    row_of = look_up(at[shared.any(axis=1)])
    for number, twin in _near(bands, shared, near, lambda number: row_of(int(at[number])).text).items():
        stay[number], likeness[number] = twin
    return found(_largest(found(), row_of))


def _largest(found: Duplicates, row_of: Callable[[int], Row]) -> tuple[Cluster, ...]:
    clusters = []
    for stays, count in Counter(found.stay[found.is_near].tolist()).most_common(LARGEST):
        one = int(np.flatnonzero(found.is_near & (found.stay == stays))[0])
        first, copy = row_of(stays), row_of(int(found.gone[one]))
        likeness = round(float(found.jaccard[one]), 3)
        clusters.append(Cluster(count, first.id, first.text[:SHOWN], copy.id, copy.text[:SHOWN], likeness))
    return tuple(clusters)


def apply(batch: "pa.RecordBatch", decided: Duplicates) -> Outcome:
    """The batch without the documents that go."""
    if not len(decided.gone):
        return Outcome(batch, {}, ())
    here = places(batch)
    found = np.minimum(np.searchsorted(decided.gone, here), len(decided.gone) - 1)
    rows = np.flatnonzero(decided.gone[found] == here)
    return dropped(batch, {int(row): NEAR if decided.is_near[found[row]] else EXACT for row in rows})


def told(decided: Duplicates) -> dict[str, Any]:
    """Of near duplicates the number of clusters (those with one document that stays), and the largest."""
    of_clusters = decided.stay[decided.is_near]
    return {
        "clusters": len(np.unique(of_clusters)),
        "documents": len(of_clusters),
        "largest": [one._asdict() for one in decided.largest],
    }


def _firsts(digests: np.ndarray) -> np.ndarray:
    """For every document the number of the first with the same text: itself, mostly."""
    high, low = digests.T
    order = np.lexsort((low, high))  # stable: the first of equal ones stays ahead
    is_new = np.append(True, np.diff(high[order]).astype(bool) | np.diff(low[order]).astype(bool))[: len(order)]
    firsts = np.empty(len(order), np.int64)
    firsts[order] = order[is_new][np.cumsum(is_new) - 1]
    return firsts


def _shared(bands: np.ndarray, looked_at: np.ndarray) -> np.ndarray:
    """Where a document has a band that another has too, among those looked at: [documents, bands], bool."""
    shared = np.zeros(bands.shape, bool)
    rows = np.flatnonzero(looked_at & bands.any(axis=1)) if bands.shape[1] else np.empty(0, np.int64)
    for band in range(bands.shape[1]):
        _, same, times = np.unique(bands[rows, band], return_inverse=True, return_counts=True)
        shared[rows, band] = times[same] > 1
    return shared


def _near(
    bands: np.ndarray, shared: np.ndarray, threshold: float, text_of: Callable[[int], str]
) -> dict[int, tuple[int, float]]:
    """Near duplicates by number, with the first earlier document that stays and is as like as `threshold`."""

    @lru_cache(maxsize=HELD)
    def set_of(number: int) -> np.ndarray:
        return shingles(text_of(number))

    staying: dict[tuple[int, int], list[int]] = {}  # (band, its hash): documents that stay
    twins: dict[int, tuple[int, float]] = {}
    for number in np.flatnonzero(shared.any(axis=1)).tolist():
        keys = [(band, int(bands[number, band])) for band in np.flatnonzero(shared[number]).tolist()]
        for earlier in sorted({one for key in keys for one in staying.get(key, ())}):
            sizes = sorted((len(set_of(earlier)), len(set_of(number))))
            if sizes[0] < threshold * sizes[1]:
                continue  # so different in length that they cannot be so alike
            likeness = jaccard(set_of(earlier), set_of(number))
            if likeness >= threshold:
                twins[number] = (earlier, likeness)
                break
        else:
            for key in keys:
                staying.setdefault(key, []).append(number)
    return twins
