"""Exact duplicates: of equal texts the first in the order of the inputs stays. A decision, as in decision.py."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dodam.data.decision import Arrays, Decision, Outcome, digests, is_among, joined, places

if TYPE_CHECKING:
    import pyarrow as pa


def observe(batch: "pa.RecordBatch") -> Arrays:
    """128 bits of hash and the place of each document: 24 bytes."""
    return {"digest": digests(batch), "place": places(batch)}


def decide(observations: Iterable[Arrays]) -> Arrays:
    """The places of the documents that go, in order."""
    import numpy as np

    seen = joined(observations)
    high, low = seen["digest"].T
    order = np.lexsort((seen["place"], low, high))
    same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
    return {"dropped": np.sort(seen["place"][order[1:][same]])}


def apply(batch: "pa.RecordBatch", decided: Arrays) -> Outcome:
    """The batch without them."""
    import pyarrow as pa

    gone = is_among(places(batch), decided["dropped"])
    return Outcome(batch.filter(pa.array(~gone)), {"duplicate": int(gone.sum())})


EXACT_DUPLICATES = Decision("exact duplicates", observe, decide, apply)
