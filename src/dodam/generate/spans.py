"""Answers as spans of a text: a question and the text in windows, and of all spans the one that scores best.

In come questions with their contexts; out come the rows a model reads, and from its two logits a token the answer,
where it begins and how sure it is. C tokens of a context, S tokens of the longest answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from dodam.data.questions import Answer, Question
from dodam.errors import DataError
from dodam.generate.classifier import AT_ONCE, Classifier, Encoded, frame_of, token_logits_of
from dodam.generate.pieces import Pieces, Window, pieces_of, windows
from dodam.models.decoder import Decoder
from dodam.tokenizer.tokenizer import Tokenizer

LONGEST = 30  # tokens of an answer, as BERT's for SQuAD
LEAST_ROOM = 16  # tokens of a context in a window; a longer question is too long


class Told(NamedTuple):
    """An answer that a model gives; empty, without a start, where it says that there is none."""

    answer: str
    start: int | None
    confidence: float


@dataclass(frozen=True)
class Reading:
    """Questions as a model reads them: their contexts' tokens, one for each question, and the windows."""

    pieces: list[Pieces]
    windows: list[Window]


def encode_questions(tokenizer: Tokenizer, questions: Sequence[Question], context: int) -> Reading:
    """Question and context in windows of `context` tokens, the question whole in each. DataError for one that leaves no
    room."""
    frame = frame_of(tokenizer)
    contexts = list(dict.fromkeys(one.context for one in questions))
    known = dict(zip(contexts, pieces_of(tokenizer, contexts), strict=True))
    around = len(frame.before_pair) + len(frame.between) + len(frame.after_pair)
    found = []
    for number, (one, asked) in enumerate(
        zip(questions, tokenizer.encode_batch([one.question for one in questions]), strict=True)
    ):
        room = context - around - len(asked)
        if room < LEAST_ROOM:
            what = f"the question has {len(asked)} tokens, which leaves {max(0, room)} of {context} for the text"
            raise DataError(what, where=one.where, mend="Give it more: --context, or a shorter question.")
        head = [*frame.before_pair, *asked, *frame.between]
        ids = known[one.context].ids
        for first, last in windows(len(ids), room):
            tail = [*ids[first:last], *frame.after_pair]
            row = Encoded([*head, *tail], [0] * len(head) + [frame.second] * len(tail), cut=False)
            found.append(Window(row, number, first, last, len(head)))
    return Reading([known[one.context] for one in questions], found)


def no_answer_place(model: Any, row: Encoded) -> int:
    """The token of a row that stands for no answer: the first, or in a decoder the last, which has seen the others."""
    return len(row.ids) - 1 if isinstance(model, Decoder) else 0


def tokens_of(pieces: Pieces, answer: Answer) -> tuple[int, int] | None:
    """The first and the last token that stand for characters of an answer; None where none does."""
    within = [
        place
        for place, (start, end) in enumerate(zip(pieces.starts, pieces.ends, strict=True))
        if start < end and start < answer.end and end > answer.start
    ]
    return (within[0], within[-1]) if within else None


def exact(pieces: Pieces, answer: Answer, tails: Sequence[str] = ()) -> bool:
    """Whether an answer begins and ends where tokens do, or ends before a tail."""
    found = tokens_of(pieces, answer)
    return found is not None and (pieces.starts[found[0]], pieces.end(found[1], tails)) == (answer.start, answer.end)


def span_scores(pieces: Pieces, parts: Sequence[tuple[Window, np.ndarray]], longest: int) -> np.ndarray:
    """[C, S]: the score of the span from token i over j + 1 tokens, in the window where it is highest; -inf for one
    that is in none, or that begins or ends with a token that stands for nothing."""
    stands = np.array([pieces.stands(place) for place in range(len(pieces.ids))], dtype=bool)
    scores = np.full((len(pieces.ids), longest), -np.inf)
    for window, logits_T2 in parts:
        inside = logits_T2[window.begin : window.begin + window.last - window.first].astype(np.float64)
        starts, ends = np.where(stands[window.first : window.last, None], inside, -np.inf).T
        later = np.lib.stride_tricks.sliding_window_view(np.append(ends, [-np.inf] * (longest - 1)), longest)
        here = scores[window.first : window.last]
        np.maximum(here, starts[:, None] + later, out=here)
    return scores


def best_span(pieces: Pieces, scores: np.ndarray, no_answer: float | None, tails: Sequence[str]) -> Told:
    """The span that scores best, or none where that scores better. `no_answer`: the score of none, None where it is not
    to be said. The confidence is a softmax over all of them. `tails` are cut off the last token."""
    every = np.append(scores.ravel(), -np.inf if no_answer is None else no_answer)
    highest = every.max(initial=-np.inf)
    if highest == -np.inf:  # a context in which no token stands for anything
        return Told("", None, 0.0)
    confidence = 1.0 / float(np.exp(every - highest).sum())
    best = int(every.argmax())
    if best == scores.size:
        return Told("", None, confidence)
    first, more = divmod(best, scores.shape[1])
    start, end = pieces.starts[first], pieces.end(first + more, tails)
    return Told(pieces.text[start:end], start, confidence)


def decoded(
    model: Any,
    questions: Sequence[Question],
    reading: Reading,
    logits: Sequence[np.ndarray],
    *,
    longest: int,
    unanswerable: bool,
    tails: Sequence[str],
) -> list[Told]:
    """The answer to each question, from the logits [tokens, 2] of its windows' rows."""
    found = []
    parts = zip(reading.windows, logits, strict=True)
    for number, group in groupby(parts, key=lambda part: part[0].text):
        mine = list(group)
        no_answer = min(float(logits_T2[no_answer_place(model, window.row)].sum()) for window, logits_T2 in mine)
        scores = span_scores(reading.pieces[number], mine, longest)
        found.append(best_span(reading.pieces[number], scores, no_answer if unanswerable else None, tails))
    return found


def answer_questions(classifier: Classifier, questions: Sequence[Question], *, batch: int = AT_ONCE) -> list[Told]:
    """The answer to each question."""
    reading = encode_questions(classifier.tokenizer, questions, classifier.context)
    rows = [window.row for window in reading.windows]
    logits = token_logits_of(classifier.model, rows, classifier.tokenizer.pad, batch=batch)
    info = classifier.info
    return decoded(
        classifier.model, questions, reading, logits, longest=info.get("longest_answer", LONGEST),
        unanswerable=info.get("unanswerable", False), tails=info.get("tails", ()),
    )  # fmt: skip
