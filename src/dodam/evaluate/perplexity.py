"""Bits per byte: how many bits a model needs for a text, over the text's UTF-8 bytes; the same for every tokenizer.

In come a model, its tokenizer and texts; out comes for each text its bits and its bytes. A text is read as `<bos>
ids <eos>`; all tokens but `<bos>` are predicted. Texts longer than the context are read in windows that overlap
by half, and each token is scored once, with at least half a context before it wherever the text has that much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from dodam.folder import LoadedModel

if TYPE_CHECKING:
    from dodam.tokenizer.tokenizer import Tokenizer

POSITIONS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Window:
    """Part of one text: its ids, and from which position on their prediction counts."""

    text: int
    ids: list[int]
    first: int


def windows(text: int, ids: list[int], context: int) -> list[Window]:
    """The windows of one text. Prediction number t (of token t + 1) is counted in exactly one of them."""
    stride = max(1, context // 2)
    found, counted, start = [], 0, 0
    while True:
        part = ids[start : start + context + 1]
        found.append(Window(text, part, counted - start))
        counted = start + len(part) - 1
        if counted >= len(ids) - 1:
            return found
        start += stride


def bits(loaded: LoadedModel, texts: Sequence[str]) -> list[float]:
    """Bits of each text under the model."""
    tokenizer, context = loaded.tokenizer, loaded.model.config.context
    encoded = tokenizer.encode_batch(list(texts))
    todo = [
        window
        for index, ids in enumerate(encoded)
        for window in windows(index, [tokenizer.bos, *ids, tokenizer.eos], context)
    ]
    todo.sort(key=lambda window: len(window.ids))
    totals = [0.0] * len(texts)
    while todo:
        longest = len(todo[-1].ids)
        count = max(1, POSITIONS_AT_ONCE // longest)
        batch, todo = todo[-count:], todo[:-count]
        for window, nats in zip(batch, nats_of(loaded, batch, tokenizer), strict=True):
            totals[window.text] += nats / 0.6931471805599453
    return totals


@torch.inference_mode()
def nats_of(loaded: LoadedModel, batch: Sequence[Window], tokenizer: "Tokenizer") -> list[float]:
    """Summed -ln p of what counts in each window, in one pass over right-padded rows."""
    longest = max(len(window.ids) for window in batch)
    ids = torch.full((len(batch), longest), tokenizer.pad)
    counts = torch.zeros(len(batch), longest - 1, dtype=torch.bool)
    for row, window in enumerate(batch):
        ids[row, : len(window.ids)] = torch.tensor(window.ids)
        counts[row, window.first : len(window.ids) - 1] = True
    ids = ids.to(loaded.model.embedding.weight.device)
    hidden = loaded.model(ids[:, :-1])
    totals = []
    for row in range(len(batch)):  # the logits of one row at a time: they are the largest thing here
        logits = loaded.model.head(hidden[row][counts[row]]).float()
        totals.append(float(F.cross_entropy(logits, ids[row, 1:][counts[row]], reduction="sum")))
    return totals
