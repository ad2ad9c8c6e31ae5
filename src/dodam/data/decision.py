"""What depends on all documents: looked at batch by batch, decided once, done batch by batch.

A batch is a pyarrow RecordBatch with the columns of a data folder (documents.COLUMNS) and `place`, a number that grows
in the order of the inputs and is no other document's. A decision is three functions: `observe` a batch on any worker,
`decide` on all observations in one process, `apply` to a batch on any worker. What is decided must not depend on where
the borders between batches lie.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from dodam.data.outcome import Outcome

Arrays = dict[str, "np.ndarray"]
"""An entry for each document, by what it is."""


class Row(NamedTuple):
    """A document that a decision looks at again."""

    id: str
    text: str


LookUp = Callable[["np.ndarray"], Callable[[int], Row]]
"""From the places of documents to be looked at again, in order, to what gives the document at one of them."""


@dataclass(frozen=True)
class Decision:
    """One decision over all documents. Its functions are those of a module, and what they return can be pickled, so
    that they can be sent to workers and back."""

    name: str
    observe: "Callable[[pa.RecordBatch], Any]"
    """Some bytes for each document."""
    decide: Callable[..., Any]
    """From the observations of all batches, in order, which may be gone through more than once; and from a `LookUp`
    where it reads texts again."""
    apply: "Callable[[pa.RecordBatch, Any], Outcome]"
    settings: dict[str, Any] = field(default_factory=dict)
    """What the result depends on besides the documents; JSON types."""
    reads: bool = False
    """Whether it reads texts again."""
    told: Callable[[Any], dict[str, Any]] | None = None
    """What the report tells of what was decided; JSON types."""


def joined(observations: Iterable[Arrays]) -> Arrays:
    """Arrays of the same names, one behind the other."""
    import numpy as np

    observations = list(observations)
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


def num_characters(batch: "pa.RecordBatch") -> "np.ndarray":
    """Characters of each text, int32 [rows]."""
    import pyarrow.compute as pc

    return pc.utf8_length(batch.column("text")).to_numpy(zero_copy_only=False)  # type: ignore[missing-attribute]


def num_bytes(batch: "pa.RecordBatch") -> int:
    """Of all texts in UTF-8."""
    return int(batch.column("bytes").to_numpy(zero_copy_only=False).sum())


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
