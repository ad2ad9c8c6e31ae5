"""What depends on all documents: looked at batch by batch, decided once, done batch by batch.

A batch is a pyarrow RecordBatch with the columns of a data folder (documents.COLUMNS) and `place`, a number that grows
in the order of the inputs and is no other document's. A decision comes in three halves of one thing: `observe` a batch
on any worker, `decide` on all observations in one process, `apply` to a batch on any worker. What is decided must not
depend on where the borders between batches lie.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Arrays = dict[str, "np.ndarray"]
"""Some bytes for each document, by what they are."""


class Outcome(NamedTuple):
    """What a step makes of a batch."""

    batch: "pa.RecordBatch"
    """What is left, in its order."""
    counts: dict[str, int]
    """What was done, by reason: {"duplicate": 3}."""


@dataclass(frozen=True)
class Decision:
    """One decision over all documents. Its functions are those of a module, so that they can be sent to workers."""

    name: str
    observe: "Callable[[pa.RecordBatch], Arrays]"
    decide: Callable[[Sequence[Arrays]], Arrays]
    """From the observations of all parts, in order; each part's batches lie one behind the other in its arrays."""
    apply: "Callable[[pa.RecordBatch, Arrays], Outcome]"
    settings: dict[str, Any] = field(default_factory=dict)
    """What the result depends on besides the documents; JSON types."""


def joined(observations: Sequence[Arrays]) -> Arrays:
    """Arrays of the same names, one behind the other."""
    import numpy as np

    return {name: np.concatenate([one[name] for one in observations]) for name in observations[0]}


def digests(batch: "pa.RecordBatch") -> "np.ndarray":
    """XXH3 of each text, 128 bits as uint64 [rows, 2], the high half first."""
    import numpy as np
    import xxhash

    values = b"".join(xxhash.xxh3_128_digest(text) for text in texts_as_bytes(batch))
    return np.frombuffer(values, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def texts_as_bytes(batch: "pa.RecordBatch") -> list[bytes]:
    """The texts in UTF-8, without making strings of them."""
    import pyarrow as pa

    return batch.column("text").cast(pa.binary()).to_pylist()


def places(batch: "pa.RecordBatch") -> "np.ndarray":
    """The batch's column `place`, int64 [rows]."""
    return batch.column("place").to_numpy(zero_copy_only=False)


def is_among(values: "np.ndarray", ordered: "np.ndarray") -> "np.ndarray":
    """Which values stand in an ordered array, bool; by bisection, for few values and a long array."""
    import numpy as np

    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    found = np.searchsorted(ordered, values)
    return ordered[np.minimum(found, len(ordered) - 1)] == values
