"""Documents that were there before, word for word or nearly so.

In: batches in the order of the inputs. Out: which documents go, and for each the one that stays in its place.

`observe` makes some bytes of each document: a hash of its text, and with `near` the bands of its MinHash signature
(Broder 1997), so that two documents share a band if they are alike (locality-sensitive hashing, Leskovec et al.,
Mining of Massive Datasets, section 3.4). `decide` looks at all of them: a document goes if its text was there before,
or if it is as like to an earlier document that stays as `threshold` says. Bands only name candidates; the likeness of
each is the exact Jaccard similarity of the two sets of shingles (`data/shingles.py`). The result does not depend on
how documents were put into batches, and the first in the order of the inputs stays.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dodam.data.cleaning.outcome import Outcome, dropped, texts_of
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
EXACT, NEAR = "duplicate", "near duplicate"


class Observed(NamedTuple):
    """Some bytes of each document of a batch."""

    ids: list[str]
    digests: np.ndarray
    """xxh3-128 of the text: [documents, 2], uint64."""
    bands: np.ndarray
    """Hashes of the bands: [documents, bands], uint64; no bands where near duplicates are not looked for, and 0 in all
    bands of a document without letters."""


class Duplicate(NamedTuple):
    """Why a document goes: the one that stays in its place, and how like to it it is (1 for equal texts)."""

    of: str
    jaccard: float
    reason: str


def bands_of(threshold: float) -> tuple[int, int]:
    """(bands, rows of each): the longest bands that miss a pair at the threshold with probability MISSED at most. No
    bands are short enough below a threshold of 0.1.

    Two documents of similarity s share one of b bands of r rows with probability 1 - (1 - s^r)^b."""
    assert 0.1 <= threshold <= 1, threshold
    rows = [r for r in range(1, SIGNATURE + 1) if (1 - threshold**r) ** (SIGNATURE // r) <= MISSED]
    return SIGNATURE // max(rows), max(rows)


def observe(batch: "pa.RecordBatch", near: float | None = None) -> Observed:
    """What `decide` needs of a batch; `near` is its threshold, None where equal texts alone are looked for."""
    import xxhash

    texts = texts_of(batch)
    digests = np.array([divmod(xxhash.xxh3_128_intdigest(text.encode()), 1 << 64) for text in texts], np.uint64)
    bands = np.empty((len(texts), 0), np.uint64) if near is None else _bands(texts, near)
    return Observed(batch.column("id").to_pylist(), digests.reshape(-1, 2), bands)


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


def candidates(observed: Sequence[Observed]) -> np.ndarray:
    """The numbers of the documents (in their order over all batches) that share a band with one of another text: those
    whose texts `decide` asks for."""
    digests, bands = _together(observed)
    return np.flatnonzero(_shared(bands, _firsts(digests) == np.arange(len(digests))).any(axis=1))


def decide(
    observed: Sequence[Observed], near: float | None = None, text_of: Callable[[int], str] | None = None
) -> dict[str, Duplicate]:
    """The documents that go, by id. `observed` in the order of the inputs; `text_of` gives the text of a document by
    its number, and is asked for `candidates` alone."""
    assert (near is None) == (text_of is None), "near duplicates are told by their texts"
    ids = [one for batch in observed for one in batch.ids]
    digests, bands = _together(observed)
    firsts = _firsts(digests)
    twins: dict[int, tuple[int, float]] = {}
    if near is not None and text_of is not None:
        twins = _near(bands, _shared(bands, firsts == np.arange(len(firsts))), near, text_of)
    gone = {}
    for number, first in enumerate(firsts.tolist()):
        stays, likeness = twins.get(first, (first, 1.0))
        if stays != number:
            gone[ids[number]] = Duplicate(ids[stays], likeness, EXACT if first != number else NEAR)
    return gone


def apply(batch: "pa.RecordBatch", decided: dict[str, Duplicate]) -> Outcome:
    """The batch without the documents that go."""
    ids = batch.column("id").to_pylist()
    return dropped(batch, {row: decided[one].reason for row, one in enumerate(ids) if one in decided})


def _together(observed: Sequence[Observed]) -> tuple[np.ndarray, np.ndarray]:
    if not observed:
        return np.empty((0, 2), np.uint64), np.empty((0, 0), np.uint64)
    return np.concatenate([one.digests for one in observed]), np.concatenate([one.bands for one in observed])


def _firsts(digests: np.ndarray) -> np.ndarray:
    """For every document the number of the first with the same text: itself, mostly."""
    _, first, same = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    return first[same.reshape(-1)]


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
