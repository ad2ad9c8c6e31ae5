"""Train and validation: which documents are held back for measuring. Their texts alone decide: equal texts never part.

A source of two texts or more from which none falls to validation gives the one with the lowest hash. Of a source's only
text, and of one that would be more than a tenth of its source, the end is given where it is long.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dodam.data.decision import Arrays, digests, is_among, joined, num_characters, places

if TYPE_CHECKING:
    import pyarrow as pa

LONG = 4_000  # characters from which a source's only text is cut in two
LARGEST_SHARE = 0.1  # of a source that one whole text may take away from it
HELD_BACK = 2_000  # characters of it that are held back at least, where that is no more than a tenth


def observe(batch: "pa.RecordBatch", sources: Sequence[str]) -> Arrays:
    """Hash, place, source (its number in `sources`), characters of each document: 32 bytes."""
    import numpy as np

    number_of = {name: number for number, name in enumerate(sources)}
    return {
        "digest": digests(batch),
        "place": places(batch),
        "source": np.array([number_of[name] for name in batch.column("source").to_pylist()], dtype=np.int32),
        "characters": num_characters(batch),
    }


def decide(observations: Iterable[Arrays], share: float, num_sources: int) -> Arrays:
    """`validation`: the places held back; `cut`: those of texts to be cut in two if they can be, with `cut_share`, the
    share of each that is wanted; both in order. A text that cannot be cut stays whole where it would be."""
    import numpy as np

    seen = joined(observations)
    high, low = seen["digest"].T
    source, place, characters = seen["source"], seen["place"], seen["characters"]
    held_back = high < np.uint64(share * 2**64)
    total = np.bincount(source, weights=characters, minlength=num_sources)
    has_some = np.bincount(source[held_back], minlength=num_sources) > 0
    order = np.lexsort((place, low, high, source))
    order = order[~has_some[source[order]]]  # the sources that give none yet, each from its lowest hash on
    starts = np.flatnonzero(np.diff(source[order], prepend=-1))
    cut, cut_share = [], []
    for mine in np.split(order, starts)[1:]:
        equal = mine[(high[mine] == high[mine[0]]) & (low[mine] == low[mine[0]])]
        others = len(equal) < len(mine)
        if others:
            held_back[equal] = True
        size, of_source = characters[equal[0]], total[source[equal[0]]]
        if not others or size > LARGEST_SHARE * of_source:
            cut += place[equal].tolist()
            cut_share += [share * of_source / max(1, size)] * len(equal)
    by_place = np.argsort(np.array(cut, dtype=np.int64))
    return {
        "validation": np.sort(place[held_back]),
        "cut": np.array(cut, dtype=np.int64)[by_place],
        "cut_share": np.array(cut_share, dtype=np.float64)[by_place],
    }


def divide(batch: "pa.RecordBatch", decided: Arrays) -> "tuple[pa.RecordBatch, pa.RecordBatch, list[str]]":
    """(train, validation, the sources of which a text was cut in two) of a batch."""
    import numpy as np
    import pyarrow as pa

    here = places(batch)
    held_back = is_among(here, decided["validation"])
    train, validation = batch.filter(pa.array(~held_back)), batch.filter(pa.array(held_back))
    cut = []
    for row in np.flatnonzero(is_among(here, decided["cut"])):
        text = batch.column("text")[int(row)].as_py()
        share = decided["cut_share"][np.searchsorted(decided["cut"], here[row])]
        border = start_of_end(text, float(share))
        if border:
            one = batch.slice(int(row), 1)
            cut.append(one.column("source")[0].as_py())
            train = _put(train, _with_text(one, text[:border].rstrip()))
            validation = _put(validation, _with_text(one, text[border:]))
    return train, validation, cut


def _with_text(row: "pa.RecordBatch", text: str) -> "pa.RecordBatch":
    import pyarrow as pa

    changed = {"text": pa.array([text]), "bytes": pa.array([len(text.encode())], pa.int64())}
    columns = [changed.get(name, row.column(name)) for name in row.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=row.schema)


def _put(batch: "pa.RecordBatch", row: "pa.RecordBatch") -> "pa.RecordBatch":
    """The batch with this row at its place, instead of the one that stood there if there was one."""
    import pyarrow as pa

    here, place = places(batch), int(places(row)[0])
    before, after = batch.filter(pa.array(here < place)), batch.filter(pa.array(here > place))
    return pa.concat_batches([before, row, after])


def start_of_end(text: str, share: float) -> int:
    """Where the end of a long text begins that is to be held back: a paragraph, else a line, else a word.

    0 when the text is not long, or none of them begins near there."""
    if len(text) < LONG:
        return 0
    size = max(round(len(text) * min(share, 0.25)), min(HELD_BACK, len(text) // 10))
    for border in ("\n\n", "\n", " "):
        place = text.rfind(border, len(text) - 2 * size, len(text) - size)
        if place > 0:
            return place + len(border)
    return 0
