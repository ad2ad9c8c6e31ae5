"""What `classify` brings to texts with labels: one of several, any number of them, or a number.

In come rows of one text or two and what is said of them; out come what is learned, its loss and the report of what was
held back. B texts of a batch, N texts, L labels.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dodam.data.labels import (
    Example,
    Labels,
    check_labels,
    fingerprint,
    labels_of,
    names_of,
    read_examples,
    read_labels,
    split,
)
from dodam.errors import DataError, UsageError
from dodam.evaluate import classification
from dodam.exchange.heads import Problem
from dodam.generate.classifier import (
    Classifier,
    Encoded,
    TextBatch,
    answers,
    encode_texts,
    logits_of,
    probabilities,
    recut_texts,
)
from dodam.models.heads import classify
from dodam.stages.labelled import Rows
from dodam.stages.validation import evaluating
from dodam.tokenizer.tokenizer import Tokenizer
from dodam.train.r_drop import divergence, twice

if TYPE_CHECKING:
    from dodam.stages.classify import Classify

SAMPLES = 6  # held-back texts shown with what is said of them


@dataclass(frozen=True)
class TextTask:
    """Texts with labels: what is learned from, what is held back, and the labels; their names are empty for a
    regression. Every method is told of in `stages/classify.py`, class Task."""

    config: "Classify"
    learned: list[Example]
    held_back: list[Example]
    labels: Labels
    pairs: bool

    counted = "texts"

    @property
    def problem(self) -> Problem:
        return problem_of(self.config.task)

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels.names

    @property
    def unit(self) -> str:
        return "squared error" if self.config.task == "regression" else "nats per text"

    @property
    def fingerprint(self) -> str:
        return fingerprint([*self.learned, *self.held_back])

    def texts(self) -> Iterator[str]:
        return (text for one in self.learned for text in (one.text, one.text2) if text is not None)

    def facts(self) -> dict[str, Any]:
        counts = {"texts learned from": len(self.learned), "texts held back": len(self.held_back)}
        return {"labels": list(self.names), **counts}

    def told(self) -> dict[str, Any]:
        return {"pairs": self.pairs}

    def rows(self, model: Any, tokenizer: Tokenizer, context: int) -> tuple[Rows, Rows]:
        sides = []
        for examples in (self.learned, self.held_back):
            encoded = encode_texts(tokenizer, [(one.text, one.text2) for one in examples], context)
            recut = self.recutting(tokenizer, context) if examples is self.learned else None
            sides.append(Rows(encoded, targets_of(examples, self.names, self.config.task), recut))
        if num_cut := sum(one.cut for one in chain(*(side.texts for side in sides))):
            print(f"classify: {num_cut} texts are longer than {context} tokens and were cut.", file=sys.stderr)
        return sides[0], sides[1]

    def recutting(self, tokenizer: Tokenizer, context: int) -> Callable[[int, int], Encoded] | None:
        """How a text is cut anew for each step, if it is. UsageError for a tokenizer that cannot."""
        if not self.config.bpe_dropout:
            return None
        texts = [(one.text, one.text2) for one in self.learned]
        try:
            return recut_texts(tokenizer, texts, context, self.config.bpe_dropout, self.config.seed)
        except ValueError as error:
            raise UsageError(str(error), where="--bpe-dropout", mend="Leave the flag out.") from None

    def objective(self, dtype: torch.dtype) -> "LabelLoss":
        return LabelLoss(self.problem, dtype, self.weights(), self.config.label_smoothing, self.config.r_drop)

    def plain_objective(self, dtype: torch.dtype) -> "LabelLoss":
        return LabelLoss(self.problem, dtype)

    def weights(self) -> Tensor | None:
        """What a text of each label counts, [L]: texts / (labels x texts of the label), so that labels count alike."""
        if self.config.class_weights == "none":
            return None
        targets = targets_of(self.learned, self.names, self.config.task)
        held = np.bincount(targets, minlength=len(self.names))
        return torch.from_numpy(len(self.learned) / (len(self.names) * np.maximum(held, 1))).float()

    def samples(self, model: Any, tokenizer: Tokenizer, context: int) -> str:
        examples = self.held_back[:SAMPLES]
        with evaluating(model):
            encoded = encode_texts(tokenizer, [(one.text, one.text2) for one in examples], context)
            logits = logits_of(model, encoded, tokenizer.pad)
        shown = []
        for example, answer in zip(examples, answers(logits, self.names, self.problem), strict=True):
            text = " / ".join(filter(None, (example.text, example.text2))).replace("\n", "\n> ")
            said = as_text(next(iter(answer.values())))
            shown.append(f"> {text}\n>\n> **{said}** (is: {as_text(example.label)})")
        return "\n\n".join(shown)

    def report(self, classifier: Classifier, *, out: Path, task: str, seed: int, began: float) -> dict[str, Any]:
        logits, _ = classifier.logits([(one.text, one.text2) for one in self.held_back])
        given = probabilities(logits, self.problem)
        kind = self.config.task
        measured = classification.Measured(
            kind="regression" if kind == "regression" else "multilabel" if kind == "multilabel" else "single",
            labels=self.names,
            texts=[one.key.replace("\x1f", " / ") for one in self.held_back],
            truth=targets_of(self.held_back, self.names, kind),
            given=given[:, 0] if kind == "regression" else given,
        )
        return classification.write(out, measured, model=out.name, task=task, seed=seed, began=began)


def read(config: "Classify") -> TextTask:
    """The rows, checked, and cut into what is learned and what is held back."""
    task: Any = config.task
    labels = read_labels(config.labels, config.encoding) if config.labels else None
    examples = read_examples(
        config.data, task, columns=config.columns, labels=labels, encoding=config.encoding, skip_bad=config.skip_bad
    )
    labels = labels or (Labels((), {}) if task == "regression" else labels_of(examples))
    check_labels(examples, labels, task)
    pairs = {example.text2 is not None for example in examples}
    if len(pairs) > 1:
        raise DataError("some rows have two texts and others one", where=", ".join(config.data))
    if not config.dev:
        learned, held_back = split(examples, config.validation)
        if not held_back or not learned:
            what = f"{'none' if learned else 'each'} of {len(examples)} rows is held back"
            raise DataError(what, where=", ".join(config.data), mend="Give another --validation, or --dev FILE.")
        return TextTask(config, learned, held_back, labels, pairs.pop())
    held_back = read_examples(
        config.dev, task, columns=config.columns, labels=None if task == "regression" else labels,
        encoding=config.encoding, skip_bad=config.skip_bad,
    )  # fmt: skip
    if any((example.text2 is not None) not in pairs for example in held_back):
        raise DataError("has two texts a row where --data has one, or one where that has two", where=config.dev[0])
    known = {example.key for example in examples}
    if num_known := sum(example.key in known for example in held_back):
        print(f"classify: {num_known} of {len(held_back)} texts of --dev are also learned from.", file=sys.stderr)
    return TextTask(config, examples, held_back, labels, pairs.pop())


def as_text(label: Any) -> str:
    return ", ".join(label) if isinstance(label, list | tuple) else str(label)


@dataclass(frozen=True)
class LabelLoss:
    """Cross-entropy, binary cross-entropy or squared error, summed over texts. `weights_L`: what a text of each label
    counts; `alpha`: what it costs that two readings of a text disagree (`train/r_drop.py`)."""

    problem: Problem
    dtype: torch.dtype
    weights_L: Tensor | None = None
    smoothing: float = 0.0
    alpha: float = 0.0

    def weight(self, batch: TextBatch) -> float:
        assert batch.targets is not None
        if self.weights_L is None:
            return float(len(batch.targets))
        return float(self.weights_L.to(batch.targets.device)[batch.targets].sum())

    def __call__(self, model: Any, batch: TextBatch) -> Tensor:
        read: TextBatch = twice(batch) if self.alpha else batch
        assert read.targets is not None
        logits_BL = classify(model, read.ids_BT, read.real_BT, read.segments_BT, self.dtype)
        loss = self.loss(logits_BL, read.targets)
        return (loss + self.alpha * divergence(logits_BL.log_softmax(-1))) / 2 if self.alpha else loss

    def loss(self, logits_BL: Tensor, targets: Tensor) -> Tensor:
        """Of logits against labels' numbers [B], 0 or 1 for each label [B, L], or numbers [B]."""
        if self.problem == "regression":
            return F.mse_loss(logits_BL[:, 0], targets, reduction="sum")
        if self.problem == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits_BL, targets, reduction="none").mean(1).sum()
        weights = None if self.weights_L is None else self.weights_L.to(logits_BL.device)
        log_BL = F.log_softmax(logits_BL, -1)
        true_B = log_BL.gather(1, targets[:, None])[:, 0]
        nats_B = -((1 - self.smoothing) * true_B + self.smoothing * log_BL.mean(1))
        return nats_B.sum() if weights is None else (nats_B * weights[targets]).sum()


def problem_of(task: str) -> Problem:
    """What the task is called in config.json."""
    if task == "regression":
        return "regression"
    return "multi_label_classification" if task == "multilabel" else "single_label_classification"


def targets_of(examples: Sequence[Example], names: Sequence[str], task: str) -> np.ndarray:
    """Labels' numbers [N], 1 for each label that holds [N, L], or numbers [N]."""
    if task == "regression":
        return np.array([example.label for example in examples], dtype=np.float32)
    numbers = {name: number for number, name in enumerate(names)}
    if task != "multilabel":
        return np.array([numbers[name] for example in examples for name in names_of(example)], dtype=np.int64)
    holds = np.zeros((len(examples), len(numbers)), dtype=np.float32)
    for row, example in enumerate(examples):
        holds[row, [numbers[name] for name in names_of(example)]] = 1.0
    return holds
