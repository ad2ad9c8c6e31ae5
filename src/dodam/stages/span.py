"""What `classify --task span` brings: questions answered by a span of their context, and answers measured.

In come questions with their contexts and answers; out come rows that say where the answer begins and ends, their loss,
and the report of what was held back. B rows of a batch, T tokens.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dodam.data import labels as labelled
from dodam.data.batch import IGNORED
from dodam.data.questions import Question, fingerprint, read_questions
from dodam.errors import DataError
from dodam.evaluate import reading as measuring
from dodam.exchange.heads import ENDS, Problem
from dodam.generate.classifier import Classifier, TextBatch, token_logits_of
from dodam.generate.pieces import tails_of
from dodam.generate.spans import (
    Reading,
    answer_questions,
    decoded,
    encode_questions,
    exact,
    no_answer_place,
    tokens_of,
)
from dodam.models.heads import classify
from dodam.stages.labelled import Rows
from dodam.stages.validation import evaluating
from dodam.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from dodam.stages.classify import Classify

SAMPLES = 6  # held-back questions shown with what is said to them
SHOWN = 300  # characters of a context


@dataclass
class SpanTask:
    """Questions with answers: what is learned from, what is held back. Every method is told of in `stages/classify.py`,
    class Task."""

    learned: list[Question]
    held_back: list[Question]
    longest: int
    tails: tuple[str, ...] = ()
    """What is cut off an answer's last token; `rows` finds it, once the tokenizer is known."""

    counted = "questions"
    problem: Problem = "span"
    unit = "nats per window"
    names = ENDS

    @property
    def fingerprint(self) -> str:
        return fingerprint([*self.learned, *self.held_back])

    @property
    def unanswerable(self) -> bool:
        """Whether there are questions without an answer to learn from."""
        return any(not one.answers for one in self.learned)

    def texts(self) -> Iterator[str]:
        yield from dict.fromkeys(one.context for one in self.learned)
        yield from (one.question for one in self.learned)

    def facts(self) -> dict[str, Any]:
        return {
            "questions learned from": len(self.learned),
            "questions held back": len(self.held_back),
            "questions without an answer": self.unanswerable,
        }

    def told(self) -> dict[str, Any]:
        return {"longest_answer": self.longest, "unanswerable": self.unanswerable, "tails": self.tails}

    def rows(self, model: Any, tokenizer: Tokenizer, context: int) -> tuple[Rows, Rows]:
        sides, num_cut, num_answers = [], 0, 0
        for questions in (self.learned, self.held_back):
            reading = encode_questions(tokenizer, questions, context)
            if questions is self.learned:
                pairs = zip(reading.pieces, questions, strict=True)
                self.tails = tails_of((pieces, one.answers[0].end) for pieces, one in pairs if one.answers)
            sides.append(Rows([window.row for window in reading.windows], targets_of(model, reading, questions)))
            for pieces, one in zip(reading.pieces, questions, strict=True):
                num_cut += bool(one.answers) and not exact(pieces, one.answers[0], self.tails)
                num_answers += bool(one.answers)
        num_windows = sum(len(side.texts) for side in sides)
        what = f"{len(self.learned) + len(self.held_back)} questions are read in {num_windows} windows"
        print(f"classify: {what} of {context} tokens at most.", file=sys.stderr)
        if num_cut:
            what = f"{num_cut} of {num_answers} answers begin or end inside a token and cannot be told exactly"
            print(f"classify: {what}.", file=sys.stderr)
        return sides[0], sides[1]

    def objective(self, dtype: torch.dtype) -> "SpanLoss":
        return SpanLoss(dtype)

    def plain_objective(self, dtype: torch.dtype) -> "SpanLoss":
        return SpanLoss(dtype)

    def samples(self, model: Any, tokenizer: Tokenizer, context: int) -> str:
        questions = self.held_back[:SAMPLES]
        with evaluating(model):
            reading = encode_questions(tokenizer, questions, context)
            logits = token_logits_of(model, [window.row for window in reading.windows], tokenizer.pad)
        found = decoded(
            model, questions, reading, logits, longest=self.longest, unanswerable=self.unanswerable, tails=self.tails
        )
        shown = []
        for one, told in zip(questions, found, strict=True):
            quoted = one.context[:SHOWN].replace("\n", "\n> ") + " ..." * (len(one.context) > SHOWN)
            true = " / ".join(dict.fromkeys(answer.text for answer in one.answers))
            shown.append(f"> {quoted}\n>\n> {one.question}\n>\n> **{told.answer or '-'}** (is: {true or '-'})")
        return "\n\n".join(shown)

    def report(self, classifier: Classifier, *, out: Path, task: str, seed: int, began: float) -> dict[str, Any]:
        found = answer_questions(classifier, self.held_back)
        measured = measuring.Measured(
            questions=[one.question for one in self.held_back],
            truth=[[answer.text for answer in one.answers] for one in self.held_back],
            given=[told.answer for told in found],
            sure=[told.confidence for told in found],
        )
        return measuring.write(out, measured, model=out.name, task=task, seed=seed, began=began)


def read(config: "Classify") -> SpanTask:
    """The questions, checked, and cut into what is learned and what is held back."""
    read_them = {"columns": config.columns, "encoding": config.encoding, "skip_bad": config.skip_bad}
    questions = read_questions(config.data, **read_them)
    if not any(one.answers for one in questions):
        mend = "Is it the right file? See --columns."
        raise DataError("no question has an answer", where=", ".join(config.data), mend=mend)
    if config.dev:
        held_back = read_questions(config.dev, **read_them)
        known = {(one.context, one.question) for one in questions}
        if num_known := sum((one.context, one.question) in known for one in held_back):
            what = f"{num_known} of {len(held_back)} questions of --dev are also learned from"
            print(f"classify: {what}.", file=sys.stderr)
        return SpanTask(questions, held_back, config.longest_answer)
    if len({one.article for one in questions}) == 1:
        raise DataError("all questions are of one article", where=", ".join(config.data), mend="Give --dev FILE.")
    learned, held_back = labelled.split_by(questions, config.validation, lambda one: one.article)
    if not held_back or not learned:
        what = f"{'none' if learned else 'each'} of {len(questions)} questions is held back"
        raise DataError(what, where=", ".join(config.data), mend="Give another --validation, or --dev FILE.")
    return SpanTask(learned, held_back, config.longest_answer)


def targets_of(model: Any, reading: Reading, questions: Sequence[Question]) -> list[np.ndarray]:
    """Of each window's row [T, 2] 1 at the token where the first answer begins, and at the one where it ends, 0 at the
    others of the context; `IGNORED` elsewhere. Where the answer is not whole in the window both are at the token of no
    answer."""
    found = []
    for window in reading.windows:
        pieces, one = reading.pieces[window.text], questions[window.text]
        target_T2 = np.full((len(window.row.ids), 2), IGNORED, dtype=np.int8)
        stands = [pieces.stands(place) for place in range(window.first, window.last)]
        target_T2[window.begin : window.begin + len(stands)][stands] = 0
        none = no_answer_place(model, window.row)
        target_T2[none] = 0
        ends = tokens_of(pieces, one.answers[0]) if one.answers else None
        if ends is None or not window.first <= ends[0] <= ends[1] < window.last:
            target_T2[none] = 1
        else:
            for side, place in enumerate(ends):
                target_T2[window.begin + place - window.first, side] = 1
        found.append(target_T2)
    return found


@dataclass(frozen=True)
class SpanLoss:
    """The mean of two cross-entropies, of where the answer begins and where it ends, summed over rows. Softmaxes are
    over the tokens that may be either."""

    dtype: torch.dtype

    def weight(self, batch: TextBatch) -> float:
        return float(len(batch.ids_BT))

    def __call__(self, model: Any, batch: TextBatch) -> Tensor:
        assert batch.targets is not None
        logits_BT2 = classify(model, batch.ids_BT, batch.real_BT, batch.segments_BT, self.dtype)
        return self.loss(logits_BT2, batch.targets)

    def loss(self, logits_BT2: Tensor, targets_BT2: Tensor) -> Tensor:
        """Of logits against targets as `targets_of` gives them."""
        log_BT2 = logits_BT2.masked_fill(targets_BT2 == IGNORED, -torch.inf).log_softmax(1)
        return -log_BT2[targets_BT2 == 1].sum() / 2
