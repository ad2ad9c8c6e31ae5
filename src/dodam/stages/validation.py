"""What a training stage looks at on held-back text: bits per byte, masks filled in, spans told, texts the model writes.

In come the model as it trains (any dtype, with or without compiled blocks) and rows of held-back tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from dodam import ranks
from dodam.data.batch import IGNORED, TokenBatch
from dodam.data.loader import token_batch
from dodam.data.mixture import Mixture
from dodam.generate.beam import BeamParams, beam_search
from dodam.generate.engine import generate
from dodam.generate.sampling import SamplingParams
from dodam.models.decoder import Decoder
from dodam.models.encoder import Encoder
from dodam.models.encoder_decoder import DecoderBlock, EncoderDecoder
from dodam.nn.block import Block
from dodam.nn.mask import padding_mask
from dodam.train.objective import TokenCrossEntropy, mask_of, masked_positions

if TYPE_CHECKING:
    from dodam.data.packing import PackedLoader
    from dodam.stages.corrupted import Corruption
    from dodam.stages.masked import Masking
    from dodam.tokenizer.tokenizer import Tokenizer

TOKENS = 16_384  # read at every validation
ROWS_AT_ONCE = 8
SHOWN = 64  # tokens of each row whose masks or spans are shown
EAGER: dict[str, Any] = {"run_block": Block.__call__, "run_decoder_block": DecoderBlock.__call__}


@contextmanager
def evaluating(model: Decoder | Encoder | EncoderDecoder) -> Iterator[None]:
    """Within, the model does not train: no gradients, nothing is dropped, and no compiled blocks, as odd shapes would
    be compiled anew. A pipeline's blocks are never compiled, and go on being called by it."""
    names = [name for name in EAGER if hasattr(model, name)] if ranks.pipeline() == 1 else []
    training, compiled = model.training, {name: getattr(model, name) for name in names}
    for name in compiled:
        setattr(model, name, EAGER[name])
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        for name, run in compiled.items():
            setattr(model, name, run)


def bits_per_byte(
    model: Decoder, tokenizer: "Tokenizer", rows: Mixture, dtype: torch.dtype, *, document_mask: bool = False
) -> float:
    """-log2 p of the first rows' tokens over the bytes these tokens stand for. The same rows at every call.

    Tokens that stand for no text count their bits but no bytes. `document_mask` as the model is trained with."""
    lengths = torch.from_numpy(tokenizer.byte_lengths())
    count = measured_rows(rows)
    nats, num_bytes = 0.0, 0
    device = model.embedding.weight.device.type
    with evaluating(model), torch.autocast(device, dtype, enabled=dtype != torch.float32):
        for first in range(0, count, ROWS_AT_ONCE):
            taken = min(ROWS_AT_ONCE, count - first)
            batch = next_tokens(rows, first, taken, document_mask=document_mask, bos=tokenizer.bos)
            num_bytes += int(lengths[batch.labels_BT[batch.labels_BT != IGNORED]].sum())
            batch = batch.to(device)
            hidden = model(batch.ids_BT, positions_BT=batch.positions_BT, mask=mask_of(batch))
            logits = model.head(hidden).float()
            nats += float(F.cross_entropy(logits.flatten(0, 1), batch.labels_BT.flatten(), reduction="sum"))
    return nats / max(1, num_bytes) / 0.6931471805599453


def next_tokens(rows: Mixture, first: int, count: int, *, document_mask: bool, bos: int) -> TokenBatch:
    """Rows number first..first+count-1, each next token to be predicted, as a decoder learns and is measured."""
    taken, documents = rows.rows(first, count), rows.documents(first, count)
    return token_batch(taken, document_mask=document_mask, bos=bos, documents=documents)


def measured_rows(rows: Mixture) -> int:
    """How many of the first rows are read at every validation."""
    return min(rows.rows_per_epoch, max(1, TOKENS // rows.context))


def masked_loss(model: Encoder, rows: Mixture, masking: "Masking", dtype: torch.dtype) -> tuple[float, float, int]:
    """Of the first rows' masked tokens the mean nats, the share that is filled in right, and their number. All of them
    are hidden. The same rows and the same masks at every call."""
    count, device = measured_rows(rows), model.embedding.weight.device
    nats, right, total = 0.0, 0, 0
    with evaluating(model), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for first in range(0, count, ROWS_AT_ONCE):
            batch = masking.taken(rows, first, min(ROWS_AT_ONCE, count - first), hide_all=True)
            transformed_ND, labels_N = masked_positions(model, batch.to(device))
            logits_NV = model.output(transformed_ND).float()
            nats += float(F.cross_entropy(logits_NV, labels_N, reduction="sum"))
            right += int((logits_NV.argmax(-1) == labels_N).sum())
            total += len(labels_N)
    return nats / max(1, total), right / max(1, total), total


def span_loss(
    model: EncoderDecoder, rows: Mixture, corruption: "Corruption", dtype: torch.dtype
) -> tuple[float, float, int]:
    """Of the tokens dropped from the first rows the mean nats, each given the true ones before it, the share that is
    told right, and their number. The same rows and the same drops at every call."""
    count, device = measured_rows(rows), model.embedding.weight.device
    nats, right, total = 0.0, 0, 0
    with evaluating(model), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for first in range(0, count, ROWS_AT_ONCE):
            taken = rows.rows(first, min(ROWS_AT_ONCE, count - first))
            batch = corruption.batch(taken, first).to(device)
            dropped_BU = corruption.dropped(batch.labels_BT)
            hidden_BUD = model(batch.source_BS, batch.target_BT, padding_mask(batch.real_BS))
            logits_NV, labels_N = model.head(hidden_BUD[dropped_BU]).float(), batch.labels_BT[dropped_BU]
            nats += float(F.cross_entropy(logits_NV, labels_N, reduction="sum"))
            right += int((logits_NV.argmax(-1) == labels_N).sum())
            total += len(labels_N)
    return nats / max(1, total), right / max(1, total), total


def answer_loss(model: Decoder, rows: "PackedLoader", dtype: torch.dtype) -> float:
    """Mean cross-entropy (nats) of the trained tokens of held-back conversations. The same rows at every call."""
    objective = TokenCrossEntropy(dtype)
    count = min(rows.rows_per_epoch, max(1, TOKENS // rows.context))
    total, weight = 0.0, 0.0
    with evaluating(model):
        for first in range(0, count, ROWS_AT_ONCE):
            batch = rows.batch(first, min(ROWS_AT_ONCE, count - first)).to(model.embedding.weight.device)
            total += float(objective(model, batch))
            weight += objective.weight(batch)
    return total / max(1.0, weight)


def continuations(model: Decoder, tokenizer: "Tokenizer", rows: Mixture, count: int = 4) -> str:
    """The beginnings of some held-back rows and how the model goes on, as Markdown; where rows are of whole documents
    no more than half of the first one is shown to it."""
    count = min(count, rows.rows_per_epoch)
    taken, documents = rows.rows(0, count), rows.documents(0, count)
    shown = np.full(count, 16) if documents is None else ((documents == 1).sum(axis=1) // 2).clip(1, 16)
    prompts = [row[:length].tolist() for row, length in zip(taken, shown, strict=True)]
    with evaluating(model):
        outputs = generate(
            model, prompts, SamplingParams(max_tokens=48, temperature=0.8, seed=0), stop_ids=(tokenizer.eos,)
        )
    pairs = zip(prompts, outputs, strict=True)
    return "\n\n".join(f"> {tokenizer.decode(p)} **{tokenizer.decode(o.ids)}**".replace("\n", "\n> ") for p, o in pairs)


def fills(model: Encoder, tokenizer: "Tokenizer", rows: Mixture, masking: "Masking", count: int = 4) -> str:
    """The beginnings of some held-back rows, their masks filled in by the model, as Markdown: in bold, and after it in
    brackets what was there where that is something else."""
    taken = rows.rows(0, min(count, rows.rows_per_epoch))
    batch = masking.taken(rows, 0, len(taken), hide_all=True).to(model.embedding.weight.device)
    guesses_BT = batch.labels_BT.clone()
    with evaluating(model):
        guesses_BT[batch.labels_BT != IGNORED] = model.output(masked_positions(model, batch)[0]).argmax(-1)
    shown = []
    for row, guesses in zip(taken.tolist(), guesses_BT.tolist(), strict=True):
        pairs = list(zip(row, guesses, strict=False))[:SHOWN]  # a row has one token more than it has positions
        text = ""
        for is_masked, part in groupby(pairs, key=lambda pair: pair[1] != IGNORED):
            truth_ids, guess_ids = zip(*part, strict=True)
            truth = tokenizer.decode(truth_ids)
            text += filled(truth, tokenizer.decode(guess_ids)) if is_masked else truth
        shown.append(text)
    return "\n\n".join(f"> {text}".replace("\n", "\n> ") for text in shown)


def written_spans(
    model: EncoderDecoder, tokenizer: "Tokenizer", rows: Mixture, corruption: "Corruption", count: int = 4
) -> str:
    """The beginnings of some held-back rows, their dropped spans as the model writes them (greedily), as Markdown: in
    bold, and after it in brackets what was there where that is something else."""
    batch = corruption.batch(rows.rows(0, min(count, rows.rows_per_epoch)), 0)
    targets = [corruption.spans(labels) for labels in batch.labels_BT.tolist()]
    *_, closing = targets[0]
    params = BeamParams(beams=1, max_tokens=batch.labels_BT.shape[1])
    with evaluating(model):
        found = beam_search(model, batch.source_BS.tolist(), params, stop_ids=(closing,))
    shown = []
    for source, truths, written in zip(batch.source_BS.tolist(), targets, found, strict=True):
        guesses, text, left = corruption.spans(written[0].ids), "", SHOWN
        for is_sentinel, part in groupby(source, key=lambda token: token in truths):
            ids = list(part)
            if is_sentinel:  # a single one, as spans never touch
                truth, guess = truths[ids[0]], guesses.get(ids[0], [])
                text += filled(inner_text(tokenizer, truth), inner_text(tokenizer, guess))
                left -= len(truth)
            else:
                text += inner_text(tokenizer, ids[:left])
                left -= len(ids)
            if left <= 0:
                break
        shown.append(text)
    return "\n\n".join(f"> {text}".replace("\n", "\n> ") for text in shown)


def inner_text(tokenizer: "Tokenizer", ids: list[int]) -> str:
    """The text of ids from amid a text: with the space at its front, which SentencePiece's decoder takes away."""
    text = tokenizer.decode(ids)
    begins = ids and (tokenizer.raw.id_to_token(ids[0]) or "").startswith("\N{LOWER ONE EIGHTH BLOCK}")
    return f" {text}" if begins and not text.startswith(" ") else text


def filled(truth: str, guess: str) -> str:
    """A guess in bold, its space before the stars, and the truth after it where that is another."""
    space = guess[: len(guess) - len(guess.lstrip())]
    return f"{space}**{guess.strip() or '␣'}**" + ("" if guess == truth else f" ({truth.strip() or '␣'})")


def answers(model: Decoder, tokenizer: "Tokenizer", questions: list[list[int]]) -> str:
    """What the model answers to encoded conversations that end with a question, as Markdown."""
    with evaluating(model):
        outputs = generate(
            model, questions, SamplingParams(max_tokens=96, temperature=0.0), stop_ids=(tokenizer.end, tokenizer.eos)
        )
    pairs = zip(questions, outputs, strict=True)
    return "\n\n".join(f"> {tokenizer.decode(q)}\n>\n> **{tokenizer.decode(o.ids)}**" for q, o in pairs)
