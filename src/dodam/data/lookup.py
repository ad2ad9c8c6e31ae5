"""Some documents of a pass looked at again, out of order. In: batches, and the places of those wanted. Out: their rows.

Their texts are copied into one file, so that memory holds some bytes of each, however many there are.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, BinaryIO

from dodam.data.decision import Row, is_among, places

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def looked_up(batches: "Iterable[pa.RecordBatch]", wanted: "np.ndarray", file: BinaryIO) -> "Callable[[int], Row]":
    """Copy the documents at these places (in order, as batches are) into an empty file, and return what reads one."""
    import numpy as np

    ends = [0]
    for batch in batches:
        rows = np.flatnonzero(is_among(places(batch), wanted))
        for id, text in zip(*(batch.column(name).take(rows).to_pylist() for name in ("id", "text")), strict=True):
            # Two slices of the file for each document: its id, then its text.
            for value in (id.encode(), text.encode()):
                file.write(value)
                ends.append(ends[-1] + len(value))
    slices = np.array(ends, np.int64)

    def row_at(place: int) -> Row:
        number = 2 * int(np.searchsorted(wanted, place))
        file.seek(slices[number])
        both = file.read(slices[number + 2] - slices[number])
        border = slices[number + 1] - slices[number]
        return Row(both[:border].decode(), both[border:].decode())

    return row_at
