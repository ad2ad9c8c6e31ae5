"""Record batches of documents for the tests of cleaning, duplicates and contamination."""

from collections.abc import Sequence
from itertools import pairwise

import pyarrow as pa

from dodam.data.split_file import schema

SCHEMA = schema(places=True)


def batch(texts: Sequence[str], *, first: int = 1, source: str = "notes", language: str = "") -> pa.RecordBatch:
    """The texts as documents `f:1`, `f:2` and so on, in the places 1, 2 and so on."""
    rows = [
        {
            "id": f"f:{first + place}",
            "text": text,
            "source": source,
            "language": language,
            "license": "CC0",
            "bytes": len(text.encode()),
            "place": first + place,
        }
        for place, text in enumerate(texts)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def cut(texts: Sequence[str], borders: Sequence[int], **values: str) -> list[pa.RecordBatch]:
    """The same documents, cut into batches at these places."""
    places = [0, *sorted({border % (len(texts) + 1) for border in borders}), len(texts)]
    pairs = [(low, high) for low, high in pairwise(places) if low < high]
    return [batch(texts[low:high], first=low + 1, **values) for low, high in pairs]


def texts_of(batches: Sequence[pa.RecordBatch]) -> list[str]:
    return [text for one in batches for text in one.column("text").to_pylist()]
