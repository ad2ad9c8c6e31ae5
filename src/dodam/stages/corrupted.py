"""What pretraining an encoder-decoder does differently from causal: spans are dropped, and it writes them (T5).

In come the rows that pretraining reads; out go pairs of what is left and what was dropped, a measure on held-back text
beside the one that needs no context, and what samples.md shows. B rows, S source positions, U target positions.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dodam import files, folder
from dodam.data.corrupt import span_corrupt, span_counts
from dodam.data.mixture import Mixture
from dodam.data.pairs import Framing, PairBatch, framed_tokenizer, framing
from dodam.errors import UsageError
from dodam.models.encoder_decoder import EncoderDecoder
from dodam.stages.masked import COUNTED, Plateau, tell
from dodam.stages.pretrain import Pretrain, Task
from dodam.stages.validation import measured_rows, span_loss, written_spans
from dodam.train.label_smoothing import SmoothedCrossEntropy

if TYPE_CHECKING:
    from dodam.tokenizer.tokenizer import Tokenizer

SHARE, LENGTH = 0.15, 3.0  # Raffel et al. 2020, section 3.1.4
SENTINELS = ("<extra_id_{}>", "<|spare_{}|>")  # T5's, and what our tokenizers keep free


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """How rows become pairs. Everything follows from `seed` and the number of a row."""

    sentinels: tuple[int, ...]
    special: np.ndarray
    """Which ids stand for no text, bool [V]: sentinels, and whatever begins and ends texts."""
    frame: Framing
    start: int
    """What the decoder reads first."""
    share: float
    length: float
    seed: int

    def batch(self, rows: np.ndarray, first: int) -> PairBatch:
        """Rows [B, T + 1], of which the first has number `first` -> T tokens of each with spans dropped, and these."""
        parts = span_corrupt(
            rows[:, :-1], sentinels=np.array(self.sentinels), seed=self.seed, first=first, share=self.share,
            mean_length=self.length,
        )  # fmt: skip
        source_BS, labels_BU = (torch.tensor([self.frame.framed(ids) for ids in part.tolist()]) for part in parts)
        target_BU = torch.cat([torch.full((len(rows), 1), self.start), labels_BU[:, :-1]], dim=1)
        return PairBatch(source_BS, torch.ones_like(source_BS, dtype=torch.bool), target_BU, labels_BU)

    def dropped(self, labels_BU: Tensor) -> Tensor:
        """Which labels are text that was dropped: no sentinels, whose order is always the same, and no ends."""
        return ~torch.from_numpy(self.special).to(labels_BU.device)[labels_BU]

    def spans(self, ids: list[int]) -> dict[int, list[int]]:
        """What a target says that each sentinel stands for."""
        found: dict[int, list[int]] = {}
        span: list[int] = []
        for token in ids:
            if token in self.sentinels:
                span = found.setdefault(token, [])
            else:
                span.append(token)
        return found


def sentinels_of(tokenizer: "Tokenizer") -> tuple[int, ...]:
    """The ids that may stand for spans, in their order."""
    for name in SENTINELS:
        found: list[int] = []
        while (token := tokenizer.raw.token_to_id(name.format(len(found)))) is not None:
            found.append(token)
        if found:
            return tuple(found)
    return ()


def row_length(config: Pretrain, tokenizer: "Tokenizer", context: int) -> int:
    """The most tokens a row may have for its source and its target, framed, to fit into `context`. UsageError when the
    tokenizer has too few sentinels for it."""
    share, length = config.drop_share or SHARE, config.span_length or LENGTH
    room = context - framing(tokenizer).size

    def fits(num_tokens: int) -> bool:
        dropped, spans = span_counts(num_tokens, share, length)
        return num_tokens - dropped + spans <= room and dropped + spans + 1 <= room

    longest = max(num_tokens for num_tokens in range(2, 2 * context) if fits(num_tokens))
    needed, there = span_counts(longest, share, length)[1] + 1, len(sentinels_of(tokenizer))
    where = str(config.model or config.tokenizer or config.data)
    if not there:
        names = " or ".join(name.format(0) for name in SENTINELS)
        mend = f"Use one with tokens {names} and so on, as T5's and those of `dodam tokenizer train` are."
        raise UsageError("the tokenizer has no sentinels to stand for what is dropped", where=where, mend=mend)
    if needed > there:
        rows = f"rows of {longest:,} tokens, {share:.0%} of them dropped in spans of {length:g}"
        mend = "Give a shorter --context, a longer --span-length or a smaller --drop-share."
        raise UsageError(f"{rows}, need {needed} sentinels, the tokenizer has {there}", where=where, mend=mend)
    return longest


def corruption_of(config: Pretrain, tokenizer: "Tokenizer", start: int) -> Corruption:
    """How a run makes pairs."""
    sentinels = sentinels_of(tokenizer)
    special = tokenizer.byte_lengths() == 0
    special[list(sentinels)] = True  # not every program that writes a tokenizer calls them so
    return Corruption(
        sentinels=sentinels,
        special=special,
        frame=framing(tokenizer),
        start=start,
        share=config.drop_share or SHARE,
        length=config.span_length or LENGTH,
        seed=config.seed,
    )


def corrupted_task(
    config: Pretrain,
    tokenizer: "Tokenizer",
    rows: Mixture,
    held_back: Mixture | None,
    dtype: torch.dtype,
    *,
    start: int | None = None,
) -> Task:
    """Writing what was dropped, measured on held-back rows by `Measure`. Targets begin with `start`, else with what
    texts begin with."""
    corruption = corruption_of(config, tokenizer, tokenizer.bos if start is None else start)
    measure = Measure(corruption, rows, held_back, dtype, config.out) if held_back else None
    return Task(
        batch=lambda first, count: corruption.batch(rows.rows(first, count), first),
        objective=lambda compiled: SmoothedCrossEntropy(0.0, dtype, compiled),
        validate=measure,
        unit="nats per dropped token",
        sample=lambda model: written_spans(model, tokenizer, held_back or rows, corruption),
        card={"nats per dropped token by frequency": round(measure.unigram, 4)} if measure else {},
        result=measure.result if measure else lambda model: {},
        save=partial(save_model, tokenizer=tokenizer),
    )


class Measure(Plateau):
    """How well the dropped tokens of held-back rows are told: nats per token, each given those before it."""

    what = "dropped"

    def __init__(
        self, corruption: Corruption, rows: Mixture, held_back: Mixture, dtype: torch.dtype, out: Path
    ) -> None:
        self.corruption, self.held_back, self.dtype, self.out = corruption, held_back, dtype, out
        self.unigram = unigram_nats(corruption, rows, held_back)
        tell(f"frequencies alone tell dropped tokens of held-back text with {self.unigram:.4f} nats each")

    def look(self, model: EncoderDecoder) -> float:
        nats, self.accuracy, count = span_loss(model, self.held_back, self.corruption, self.dtype)
        tell(f"{self.accuracy:.1%} of {count:,} dropped tokens told right")
        return nats


def unigram_nats(corruption: Corruption, rows: Mixture, held_back: Mixture) -> float:
    """Mean nats of held-back dropped tokens by how often each is among the first `COUNTED` tokens of the training text,
    every token of text counted once more than it is there."""
    taken = rows.rows(0, min(rows.rows_per_epoch, max(1, COUNTED // rows.context)))
    counts_V = np.bincount(taken[:, :-1].ravel(), minlength=len(corruption.special)) + 1.0
    counts_V[corruption.special] = 0.0
    labels_BU = corruption.batch(held_back.rows(0, measured_rows(held_back)), 0).labels_BT
    return float(-np.log(counts_V[labels_BU[corruption.dropped(labels_BU)].numpy()] / counts_V.sum()).mean())


def save_model(model: EncoderDecoder, path: Path, info: dict[str, Any], card: str, *, tokenizer: "Tokenizer") -> None:
    """Write the model folder; other programs are told how texts are framed and what targets begin with."""
    template, framed = tokenizer.chat_template, framed_tokenizer(tokenizer)
    folder.save_model(path, model, framed, chat_template=template, info=info, card=card)
    file = path / "generation_config.json"
    files.write_json(file, {**files.read_json(file), "decoder_start_token_id": model.config.start_id})
