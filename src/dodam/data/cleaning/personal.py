"""Personal data masked in documents, by the rules that mask chats (`feedback/personal.py`).

In: a batch. Out: the same documents with `[EMAIL]`, `[PHONE]` ... in place of what was found, counted by kind. Samples
show how a find looked and not what it was: every digit in it is a 0, every letter an x.
"""

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from dodam.data.outcome import AHEAD, SAMPLES, SHOWN, Outcome, Sample, edited, texts_of
from dodam.feedback.personal import Find, finds, mask

if TYPE_CHECKING:
    import pyarrow as pa

ADDRESS = re.compile(r"[\w.+-]*(?:@|＠|&#64;|&commat;)[\w.-]*")
NAMES = {
    "EMAIL": "e-mail address",
    "PHONE": "telephone number",
    "CARD": "card number",
    "RESIDENT": "resident registration number",
    "BUSINESS": "business number",
    "IP": "IP address",
    "ACCOUNT": "bank account",
}


def personal(batch: "pa.RecordBatch") -> Outcome:
    """Every text with personal data masked."""
    changed: dict[int, str] = {}
    counts: Counter[str] = Counter()
    samples: list[Sample] = []
    ids = batch.column("id")
    for row, text in enumerate(texts_of(batch)):
        found = finds(text)
        if not found:
            continue
        changed[row] = mask(text, found)
        for find in found:
            reason = f"spans masked: {NAMES[find.kind]}"
            counts[reason] += 1
            if counts[reason] <= SAMPLES:
                samples.append(sample(reason, ids[row].as_py(), text, found, find))
    return edited(batch, changed, dict(sorted(counts.items())), samples)


def sample(reason: str, id: str, text: str, found: list[Find], about: Find) -> Sample:
    """The neighbourhood of one find, before and after; what is personal in it is told by its shape alone."""
    low, high = max(about.start - AHEAD, 0), about.end + SHOWN - AHEAD
    near = [find for find in found if low < find.end and find.start < high]
    low, high = min(near[0].start, low), max(near[-1].end, high)
    near = [Find(find.start - low, find.end - low, find.kind) for find in near]
    before = after = text[low:high]
    for find in reversed(near):
        shape = re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "0", before[find.start : find.end]))
        before = before[: find.start] + shape + before[find.end :]
    return Sample(reason, id, before[:SHOWN], mask(after, near)[:SHOWN])


def masked_samples(outcome: Outcome) -> Outcome:
    """The same with its samples masked: they come from texts that are not, yet. A sample may be cut within a number, or
    hold one in markup, so that no digit of it is shown, nor what stands beside an @."""
    samples = [replace(one, before=_hidden(one.before), after=_hidden(one.after)) for one in outcome.samples]
    return replace(outcome, samples=tuple(samples))


def _hidden(text: str) -> str:
    text = ADDRESS.sub(lambda match: re.sub(r"\w", "x", match[0]), mask(text, finds(text)))
    return re.sub(r"\d", "0", text)
