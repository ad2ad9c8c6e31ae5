"""Composed Unicode (NFC), one line end, no control characters: `text.clean` on a batch.

In: a batch. Out: the same documents, and how many of them changed. A text that is clean already is only looked at.
"""

from typing import TYPE_CHECKING

from dodam.data.outcome import Outcome, edits, texts_of
from dodam.data.text import clean

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "documents changed: Unicode"


def unicode(batch: "pa.RecordBatch") -> Outcome:
    """Every text as `text.clean` gives it."""
    texts = texts_of(batch)
    changed = {row: after for row, before in enumerate(texts) if (after := clean(before)) != before}
    return edits(batch, texts, changed, REASON)
