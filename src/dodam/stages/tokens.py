"""What `classify --task tokens` brings: texts with entities, a tag for every token, entities measured.

In come texts with entities; out come rows of tags, their loss, and the report of the entities that were held back.
B texts of a batch, T tokens, L tags.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dodam.data import labels as labelled
from dodam.data.batch import IGNORED
from dodam.data.entities import Entity, TaggedText, fingerprint, labels_of, read_tagged, tags_of
from dodam.data.labels import Labels, read_labels
from dodam.errors import DataError
from dodam.evaluate import entities as measuring
from dodam.exchange.heads import Problem
from dodam.generate.classifier import Classifier, TextBatch, token_logits_of
from dodam.generate.entities import Tagging, decoded, encode_texts, exact, tags_from, tell_entities
from dodam.generate.pieces import tails_of
from dodam.models.heads import classify
from dodam.stages.labelled import Rows
from dodam.stages.validation import evaluating
from dodam.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from dodam.stages.classify import Classify

SAMPLES = 6  # held-back texts shown with what is said of them


@dataclass
class TokenTask:
    """Texts with entities: what is learned from, what is held back, and the labels. Every method is told of in
    `stages/classify.py`, class Task."""

    learned: list[TaggedText]
    held_back: list[TaggedText]
    labels: Labels
    tails: tuple[str, ...] = ()
    """What is cut off an entity's last token; `rows` finds it, once the tokenizer is known."""

    counted = "texts"
    problem: Problem = "tokens"
    unit = "nats per token"

    @property
    def names(self) -> tuple[str, ...]:
        return tags_of(self.labels.names)

    @property
    def fingerprint(self) -> str:
        return fingerprint([*self.learned, *self.held_back])

    def texts(self) -> Iterator[str]:
        return (one.text for one in self.learned)

    def facts(self) -> dict[str, Any]:
        sides = {"learned from": self.learned, "held back": self.held_back}
        texts = {f"texts {name}": len(side) for name, side in sides.items()}
        entities = {f"entities {name}": sum(len(one.entities) for one in side) for name, side in sides.items()}
        return {"labels": list(self.labels.names), **texts, **entities}

    def told(self) -> dict[str, Any]:
        return {"tails": self.tails}

    def rows(self, model: Any, tokenizer: Tokenizer, context: int) -> tuple[Rows, Rows]:
        sides, num_long, num_cut, num_entities = [], 0, 0, 0
        for texts in (self.learned, self.held_back):
            tagging = encode_texts(tokenizer, [one.text for one in texts], context)
            if texts is self.learned:
                pairs = zip(tagging.pieces, texts, strict=True)
                self.tails = tails_of((pieces, entity.end) for pieces, one in pairs for entity in one.entities)
            targets = targets_of(tagging, texts, self.names)
            sides.append(Rows([window.row for window in tagging.windows], targets).told())
            num_long += len({window.text for window in tagging.windows if window.first > 0})
            for pieces, one in zip(tagging.pieces, texts, strict=True):
                num_cut += len(one.entities) - len(exact(pieces, one.entities, self.tails))
                num_entities += len(one.entities)
        if num_long:
            what = f"{num_long} texts are longer than {context} tokens and are read in windows"
            print(f"classify: {what}.", file=sys.stderr)
        if num_cut:
            what = f"{num_cut} of {num_entities} entities begin or end inside a token and cannot be told exactly"
            print(f"classify: {what}.", file=sys.stderr)
        return sides[0], sides[1]

    def objective(self, dtype: torch.dtype) -> "TagLoss":
        return TagLoss(dtype)

    def plain_objective(self, dtype: torch.dtype) -> "TagLoss":
        return TagLoss(dtype)

    def samples(self, model: Any, tokenizer: Tokenizer, context: int) -> str:
        texts = self.held_back[:SAMPLES]
        with evaluating(model):
            tagging = encode_texts(tokenizer, [one.text for one in texts], context)
            logits = token_logits_of(model, [window.row for window in tagging.windows], tokenizer.pad)
        shown = []
        for one, found in zip(texts, decoded(tagging, logits, self.names, self.tails), strict=True):
            said, true = (listed(one.text, side) for side in ([told.entity for told in found], one.entities))
            quoted = one.text.replace("\n", "\n> ")
            shown.append(f"> {quoted}\n>\n> **{said}** (is: {true})")
        return "\n\n".join(shown)

    def report(self, classifier: Classifier, *, out: Path, task: str, seed: int, began: float) -> dict[str, Any]:
        found = tell_entities(classifier, [one.text for one in self.held_back])
        measured = measuring.Measured(
            labels=self.labels.names,
            texts=[one.text for one in self.held_back],
            truth=[one.entities for one in self.held_back],
            given=[[told.entity for told in one] for one in found],
            sure=[[told.confidence for told in one] for one in found],
        )
        return measuring.write(out, measured, model=out.name, task=task, seed=seed, began=began)


def read(config: "Classify") -> TokenTask:
    """The texts, checked, and cut into what is learned and what is held back."""
    labels = read_labels(config.labels, config.encoding) if config.labels else None
    read_them = {"columns": config.columns, "encoding": config.encoding, "skip_bad": config.skip_bad}
    texts = read_tagged(config.data, labels=labels, **read_them)
    if labels is None or not any(one.entities for one in texts):
        labels = labels_of(texts)
    if config.dev:
        held_back = read_tagged(config.dev, labels=labels, **read_them)
        known = {one.text for one in texts}
        if num_known := sum(one.text in known for one in held_back):
            print(f"classify: {num_known} of {len(held_back)} texts of --dev are also learned from.", file=sys.stderr)
        return TokenTask(texts, held_back, labels)
    learned, held_back = labelled.split_by(texts, config.validation, lambda one: one.text)
    if not held_back or not learned:
        what = f"{'none' if learned else 'each'} of {len(texts)} texts is held back"
        raise DataError(what, where=", ".join(config.data), mend="Give another --validation, or --dev FILE.")
    return TokenTask(learned, held_back, labels)


def targets_of(tagging: Tagging, texts: Sequence[TaggedText], names: Sequence[str]) -> list[np.ndarray]:
    """The tags' numbers of each window's row [T]; `IGNORED` where a token stands for nothing or another window tells
    it."""
    numbers = {name: number for number, name in enumerate(names)}
    tags = [tags_from(pieces, one.entities) for pieces, one in zip(tagging.pieces, texts, strict=True)]
    found = []
    for window, (first, last) in zip(tagging.windows, tagging.own, strict=True):
        target_T = np.full(len(window.row.ids), IGNORED, dtype=np.int16)
        for place in range(first, last):
            tag = tags[window.text][place]
            if tag is not None:
                target_T[window.begin + place - window.first] = numbers[tag]
        found.append(target_T)
    return found


def listed(text: str, entities: Sequence[Entity]) -> str:
    """Entities to read: the text of each and what it is."""
    return ", ".join(f"{text[one.start : one.end]} {one.label}" for one in entities) or "nothing"


@dataclass(frozen=True)
class TagLoss:
    """Cross-entropy summed over the tokens that are told."""

    dtype: torch.dtype

    def weight(self, batch: TextBatch) -> float:
        assert batch.targets is not None
        return float((batch.targets != IGNORED).sum())

    def __call__(self, model: Any, batch: TextBatch) -> Tensor:
        assert batch.targets is not None
        logits_BTL = classify(model, batch.ids_BT, batch.real_BT, batch.segments_BT, self.dtype)
        return F.cross_entropy(logits_BTL.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum")
