"""What masked pretraining does differently from causal: tokens are hidden, and an encoder fills them in (BERT).

In come the rows that pretraining reads; out go batches with masks, a measure on held-back text beside the one that
needs no context, what samples.md shows, and an encoder's learning rates.
"""

import json
import re
import sys
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dodam.data.batch import IGNORED, TokenBatch
from dodam.data.corrupt import Unit, Units, mask_tokens, units_of
from dodam.data.loader import token_batch
from dodam.data.mixture import Mixture
from dodam.errors import UsageError
from dodam.models.encoder import Encoder
from dodam.stages import training
from dodam.stages.pretrain import CONTINUED_RATE, Pretrain, Task
from dodam.stages.validation import fills, masked_loss, measured_rows
from dodam.train.metrics import read_rows
from dodam.train.objective import MaskedCrossEntropy
from dodam.train.optim import bearable, lora_rate

if TYPE_CHECKING:
    from dodam.tokenizer.tokenizer import Tokenizer

UNIT: Unit = "eojeol"
SHARE = 0.15  # Devlin et al. 2019, section 3.1
COUNTED = 4_000_000  # tokens whose frequencies are counted
# Of the rates a fresh decoder has: the table is also the head and begins at 0.02. First choices, no fit: short runs did
# not tell them apart from others (docs/training.md).
RATES = {"matrix": 1.0, "embedding": 0.25, "head": 0.5, "scalar": 0.5}


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How rows are masked. Everything follows from `seed` and the number of a row."""

    units: Units
    mask: int
    bos: int
    share: float
    seed: int
    document_mask: bool

    def batch(
        self, rows: np.ndarray, first: int, *, hide_all: bool = False, documents: np.ndarray | None = None
    ) -> TokenBatch:
        """Rows [B, T + 1], of which the first has number `first` -> T positions, labels where a token is to be told.
        With `documents` (`Mixture.documents`) text does not see padding.

        Of the chosen tokens 80% are hidden, 10% replaced and 10% stay; with `hide_all` all are hidden, so that what is
        measured is filling in and not copying."""
        batch = token_batch(rows, document_mask=self.document_mask, bos=self.bos, documents=documents)
        if documents is not None and not self.document_mask:
            batch = replace(batch, documents_BT=torch.from_numpy(documents[:, :-1] > 0).long())
        masked, replaced = (1.0, 0.0) if hide_all else (0.8, 0.1)
        ids_BT, labels_BT = mask_tokens(
            rows[:, :-1], units=self.units, mask=self.mask, seed=self.seed, first=first, share=self.share,
            masked=masked, replaced=replaced,
        )  # fmt: skip
        return replace(batch, ids_BT=torch.from_numpy(ids_BT), labels_BT=torch.from_numpy(labels_BT))

    def taken(self, rows: Mixture, first: int, count: int, *, hide_all: bool = False) -> TokenBatch:
        """A batch of the rows number first..first+count-1."""
        taken, documents = rows.rows(first, count), rows.documents(first, count)
        return self.batch(taken, first, hide_all=hide_all, documents=documents)


@dataclass(frozen=True)
class Words:
    """The tokens of a vocabulary that keeps no spaces (WordPiece) or marks them (SentencePiece), each as the text it
    stands for, a space before those that begin a word. Signs count to the word before them, as nothing tells whether a
    space stood between."""

    tokenizer: "Tokenizer"

    @property
    def size(self) -> int:
        return self.tokenizer.size

    def byte_lengths(self) -> np.ndarray:
        return self.tokenizer.byte_lengths()

    def piece(self, token: int) -> str:
        name = self.tokenizer.raw.id_to_token(token) or ""
        if re.fullmatch(r"<0x[0-9A-F]{2}>", name):
            return "\ufffd"
        if not self.continues_by_sign:
            return name.replace("\N{LOWER ONE EIGHTH BLOCK}", " ") or "\ufffd"
        begins = not name.startswith("##") and name[:1].isalnum()
        return f" {name}" if begins else name.removeprefix("##") or "\ufffd"

    @cached_property
    def continues_by_sign(self) -> bool:
        """Whether it is a WordPiece vocabulary: tokens that continue a word begin with ##."""
        return json.loads(self.tokenizer.json)["model"].get("type") == "WordPiece"


def masking_of(config: Pretrain, tokenizer: "Tokenizer") -> Masking:
    """How a run masks. UsageError when its tokenizer has nothing to hide tokens behind."""
    if not tokenizer.names.mask:
        raise UsageError(
            "the tokenizer has no mask token",
            where=str(config.model or config.tokenizer or config.data),
            mend="Use one that names its mask_token in tokenizer_config.json, as those of `dodam tokenizer train` do.",
        )
    by_bytes = '"type":"ByteLevel"' in tokenizer.json.replace(" ", "")
    return Masking(
        units=units_of(tokenizer if by_bytes else Words(tokenizer), config.masking or UNIT),
        mask=tokenizer.token_id(tokenizer.names.mask),
        bos=tokenizer.bos,
        share=config.mask_share or SHARE,
        seed=config.seed,
        document_mask=config.document_mask,
    )


def masked_task(
    config: Pretrain, tokenizer: "Tokenizer", rows: Mixture, held_back: Mixture | None, dtype: torch.dtype
) -> Task:
    """Filling in what is hidden, measured on held-back rows by `Measure`."""
    masking = masking_of(config, tokenizer)
    measure = None
    if held_back and len(held_back_labels(masking, held_back)):
        measure = Measure(masking, rows, held_back, dtype, config.out)
    elif held_back:
        tell("the text held back is so short that no mask falls into it, and nothing is measured on it")
    return Task(
        batch=partial(masking.taken, rows),
        objective=partial(MaskedCrossEntropy, dtype),
        validate=measure,
        unit="nats per masked token",
        sample=lambda model: fills(model, tokenizer, held_back or rows, masking),
        card={"nats per masked token by frequency": round(measure.unigram, 4)} if measure else {},
        result=measure.result if measure else lambda model: {},
    )


class Plateau:
    """How well hidden tokens of held-back rows are told, beside what token frequencies alone would give (`unigram`): a
    loss that stays above that has learned nothing from the context. It is said before the run, and with an alarm when
    half the run is over and that is still so."""

    what: str
    """What a token that is to be told is called."""
    unigram: float
    out: Path
    accuracy: float | None = None

    def look(self, model: Any) -> float:
        """Nats per token of the held-back rows, the same at every call; notes the accuracy and tells it."""
        raise NotImplementedError

    def __call__(self, model: Any) -> float:
        nats = self.look(model)
        if nats >= self.unigram and (progress := progress_of(self.out)) >= 0.5:
            tell(
                f"ALARM: {progress:.0%} of the run is over, and {nats:.4f} nats per {self.what} token are no better "
                f"than frequencies alone ({self.unigram:.4f}): nothing is learned from the context yet. More steps, a "
                "lower --learning-rate or a longer --warmup may mend that"
            )
        return nats

    def result(self, model: Any) -> dict[str, Any]:
        """What --json prints of it at the end."""
        if self.accuracy is None:  # the run was begun again after its last step
            self(model)
        return {"accuracy": self.accuracy, "unigram": self.unigram}


class Measure(Plateau):
    """How well held-back rows are filled in: nats per masked token."""

    what = "masked"

    def __init__(self, masking: Masking, rows: Mixture, held_back: Mixture, dtype: torch.dtype, out: Path) -> None:
        self.masking, self.held_back, self.dtype, self.out = masking, held_back, dtype, out
        self.unigram = unigram_nats(masking, rows, held_back)
        tell(f"frequencies alone fill in held-back text with {self.unigram:.4f} nats per masked token")

    def look(self, model: Encoder) -> float:
        nats, self.accuracy, count = masked_loss(model, self.held_back, self.masking, self.dtype)
        tell(f"{self.accuracy:.1%} of {count:,} masked tokens filled in right")
        return nats


def tell(text: str) -> None:
    """A line on standard error, in place of the one that is being rewritten there."""
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{start}pretrain: {text}.", file=sys.stderr)


def unigram_nats(masking: Masking, rows: Mixture, held_back: Mixture) -> float:
    """Mean nats of held-back masked tokens by how often each is among the first `COUNTED` tokens of the training text,
    every plain token counted once more than it is there."""
    plain_V = ~masking.units.special
    taken = rows.rows(0, min(rows.rows_per_epoch, max(1, COUNTED // rows.context)))
    counts_V = (np.bincount(taken[:, :-1].ravel(), minlength=len(plain_V)) + 1.0) * plain_V
    return float(-np.log(counts_V[held_back_labels(masking, held_back)] / counts_V.sum()).mean())


def held_back_labels(masking: Masking, held_back: Mixture) -> np.ndarray:
    """The tokens that are to be told at every measure, [N]."""
    labels_BT = masking.taken(held_back, 0, measured_rows(held_back), hide_all=True).labels_BT.numpy()
    return labels_BT[labels_BT != IGNORED]


def progress_of(out: Path) -> float:
    """How much of a run is over, by its own metrics."""
    return max((row.get("progress", 0.0) for row in read_rows(out / "metrics.jsonl")), default=0.0)


def learning_rates(config: Pretrain, model: Encoder | None) -> dict[str, float]:
    """The optimisers' settings for a fresh encoder, or for `model` to go on with: less, and its matrices no more than
    their size bears. Tables are as small in all encoders as in fresh ones."""
    values = training.learning_rates(config)
    for key, rate in RATES.items():
        values[key] *= rate
    if model is not None:
        for key in RATES:
            values[key] *= CONTINUED_RATE
        values["matrix"] *= bearable(model)["matrix"]
        values["lora"] = lora_rate(model.config.width) * config.learning_rate
    return values
