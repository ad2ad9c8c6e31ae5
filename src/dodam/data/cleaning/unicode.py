"""Composed Unicode (NFC), one line end, no control characters: `text.clean` on a batch.

In: a batch. Out: the same documents, and how many of them changed. A text that is clean already is only looked at, and
white space around one is taken off without a word.
"""

from typing import TYPE_CHECKING

from dodam.data.outcome import SAMPLES, Outcome, edited, shown, texts_of
from dodam.data.text import clean

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "documents changed: Unicode"


def unicode(batch: "pa.RecordBatch") -> Outcome:
    """Every text as `text.clean` gives it."""
    texts = texts_of(batch)
    changed = {row: after for row, before in enumerate(texts) if (after := clean(before)) != before}
    told = [row for row, after in changed.items() if after != texts[row].strip()]
    ids = batch.column("id")
    samples = [shown(REASON, ids[row].as_py(), texts[row], changed[row]) for row in told[:SAMPLES]]
    return edited(batch, changed, {REASON: len(told)} if told else {}, samples)
