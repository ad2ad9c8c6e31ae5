"""What a training stage looks at on held-back text: bits per byte, and texts the model writes.

In come the model as it trains (any dtype, with or without compiled blocks) and rows of held-back tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from dodam.data.loader import RowLoader, token_batch
from dodam.generate.engine import generate
from dodam.generate.sampling import SamplingParams
from dodam.models.decoder import Decoder
from dodam.nn.block import Block
from dodam.train.objective import TokenCrossEntropy, mask_of

if TYPE_CHECKING:
    from dodam.data.packing import PackedLoader
    from dodam.tokenizer.tokenizer import Tokenizer

TOKENS = 16_384  # read at every validation
ROWS_AT_ONCE = 8


@contextmanager
def eager(model: Decoder) -> Iterator[None]:
    """Within, the model runs without gradients and without compiled blocks (odd shapes would compile anew)."""
    compiled, model.run_block = model.run_block, Block.__call__
    try:
        with torch.no_grad():
            yield
    finally:
        model.run_block = compiled


def bits_per_byte(
    model: Decoder, tokenizer: "Tokenizer", rows: RowLoader, dtype: torch.dtype, *, document_mask: bool = False
) -> float:
    """-log2 p of the first rows' tokens over the bytes these tokens stand for. The same rows at every call.

    Tokens that stand for no text count their bits but no bytes. `document_mask` as the model is trained with."""
    lengths = torch.from_numpy(tokenizer.byte_lengths())
    count = min(rows.rows_per_epoch, max(1, TOKENS // rows.context))
    nats, num_bytes = 0.0, 0
    device = model.embedding.weight.device.type
    with eager(model), torch.autocast(device, dtype, enabled=dtype != torch.float32):
        for first in range(0, count, ROWS_AT_ONCE):
            taken = rows.rows(first, min(ROWS_AT_ONCE, count - first))
            batch = token_batch(taken, document_mask=document_mask, bos=tokenizer.bos)
            num_bytes += int(lengths[batch.labels_BT].sum())
            batch = batch.to(device)
            hidden = model(batch.ids_BT, positions_BT=batch.positions_BT, mask=mask_of(batch))
            logits = model.head(hidden).float()
            nats += float(F.cross_entropy(logits.flatten(0, 1), batch.labels_BT.flatten(), reduction="sum"))
    return nats / max(1, num_bytes) / 0.6931471805599453


def answer_loss(model: Decoder, rows: "PackedLoader", dtype: torch.dtype) -> float:
    """Mean cross-entropy (nats) of the trained tokens of held-back conversations. The same rows at every call."""
    objective = TokenCrossEntropy(dtype)
    count = min(rows.rows_per_epoch, max(1, TOKENS // rows.context))
    total, weight = 0.0, 0.0
    with eager(model):
        for first in range(0, count, ROWS_AT_ONCE):
            batch = rows.batch(first, min(ROWS_AT_ONCE, count - first)).to(model.embedding.weight.device)
            total += float(objective(model, batch))
            weight += objective.weight(batch)
    return total / max(1.0, weight)


def continuations(model: Decoder, tokenizer: "Tokenizer", rows: RowLoader, count: int = 4) -> str:
    """The beginnings of some held-back rows and how the model goes on, as Markdown."""
    prompts = [row[:16].tolist() for row in rows.rows(0, min(count, rows.rows_per_epoch))]
    with eager(model):
        outputs = generate(
            model, prompts, SamplingParams(max_tokens=48, temperature=0.8, seed=0), stop_ids=(tokenizer.eos,)
        )
    pairs = zip(prompts, outputs, strict=True)
    return "\n\n".join(f"> {tokenizer.decode(p)} **{tokenizer.decode(o.ids)}**".replace("\n", "\n> ") for p, o in pairs)


def answers(model: Decoder, tokenizer: "Tokenizer", questions: list[list[int]]) -> str:
    """What the model answers to encoded conversations that end with a question, as Markdown."""
    with eager(model):
        outputs = generate(
            model, questions, SamplingParams(max_tokens=96, temperature=0.0), stop_ids=(tokenizer.end, tokenizer.eos)
        )
    pairs = zip(questions, outputs, strict=True)
    return "\n\n".join(f"> {tokenizer.decode(q)}\n>\n> **{tokenizer.decode(o.ids)}**" for q, o in pairs)
