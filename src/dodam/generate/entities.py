"""Entities and tokens' tags: from entities to the tags that are learned, and from tags back to entities.

In come texts, out come their tokens in windows; in come logits of tags, out come entities by character, each with how
sure it is. L tags.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dodam.data.entities import OUTSIDE, Entity, begins
from dodam.generate.classifier import AT_ONCE, Classifier, Encoded, frame_of, probabilities, token_logits_of
from dodam.generate.pieces import Pieces, Window, owned, pieces_of, windows
from dodam.tokenizer.tokenizer import Tokenizer


class Told(NamedTuple):
    """An entity that a model gives, and the least probability among its tokens' tags."""

    entity: Entity
    confidence: float


class Tagging(NamedTuple):
    """Texts as a model reads them. `own`: the tokens that each window tells, of those it holds."""

    pieces: list[Pieces]
    windows: list[Window]
    own: list[tuple[int, int]]


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str], context: int) -> Tagging:
    """The tokens of texts, in windows of `context` tokens."""
    frame = frame_of(tokenizer)
    room = context - len(frame.before) - len(frame.after)
    pieces = list(pieces_of(tokenizer, texts))
    found, own = [], []
    for number, one in enumerate(pieces):
        spans = windows(len(one.ids), room)
        own += owned(spans)
        for first, last in spans:
            ids = [*frame.before, *one.ids[first:last], *frame.after]
            row = Encoded(ids, [0] * len(ids), cut=False)
            found.append(Window(row, number, first, last, len(frame.before)))
    return Tagging(pieces, found, own)


def tags_from(pieces: Pieces, entities: Sequence[Entity]) -> list[str | None]:
    """The tag of each token: of the entity that has most of its characters, the first among equals; None where the
    token stands for nothing. `entities` in their order, none over another."""
    tags: list[str | None] = []
    first, last = 0, -1  # the first entity that is not over yet, the one whose beginning has been told
    for place, (start, end) in enumerate(zip(pieces.starts, pieces.ends, strict=True)):
        if not pieces.stands(place):
            tags.append(None)
            continue
        while first < len(entities) and entities[first].end <= start:
            first += 1
        near = range(first, next((n for n in range(first, len(entities)) if entities[n].start >= end), len(entities)))
        shares = {n: min(end, entities[n].end) - max(start, entities[n].start) for n in near}
        best = max(shares, key=lambda n: shares[n], default=None)
        if best is None:
            tags.append(OUTSIDE)
            continue
        tags.append(f"{'I' if best == last else 'B'}-{entities[best].label}")
        last = best
    return tags


def entities_from(
    pieces: Pieces, tags: Sequence[str | None], confidences: Sequence[float], tails: Sequence[str] = ()
) -> list[Told]:
    """The entities that tags tell of; `tails` are cut off their last tokens. I-X that follows neither B-X nor I-X
    begins one, and a tag of no such kind is read as I-."""
    found: list[Told] = []
    last = OUTSIDE
    ends: list[int] = []
    for place, tag in enumerate(tags):
        if tag is None:
            continue
        tag = tag if tag == OUTSIDE or tag[:2] in ("B-", "I-") else f"I-{tag}"
        if begins(tag, last):
            found.append(Told(Entity(pieces.starts[place], 0, tag[2:]), confidences[place]))
            ends.append(place)
        elif tag != OUTSIDE:
            found[-1] = found[-1]._replace(confidence=min(found[-1].confidence, confidences[place]))
            ends[-1] = place
        last = tag
    return [
        Told(entity._replace(end=pieces.end(place, tails)), sure)
        for (entity, sure), place in zip(found, ends, strict=True)
    ]


def exact(pieces: Pieces, entities: Sequence[Entity], tails: Sequence[str] = ()) -> list[Entity]:
    """Those of the entities that tags can tell, because they begin and end where tokens do, or before a tail."""
    tags = tags_from(pieces, entities)
    there = {told.entity for told in entities_from(pieces, tags, [1.0] * len(tags), tails)}
    return [entity for entity in entities if entity in there]


def decoded(
    tagging: Tagging, logits: Sequence[np.ndarray], tags: Sequence[str], tails: Sequence[str]
) -> list[list[Told]]:
    """The entities of each text, from the logits of its windows' rows [tokens, L]."""
    chosen = [[OUTSIDE] * len(one.ids) for one in tagging.pieces]
    sure = [[1.0] * len(one.ids) for one in tagging.pieces]
    for window, (first, last), logits_TL in zip(tagging.windows, tagging.own, logits, strict=True):
        begin = window.begin + first - window.first
        shares_TL = probabilities(logits_TL[begin : begin + last - first], "tokens")
        for place, shares_L in enumerate(shares_TL, start=first):
            best = int(shares_L.argmax())
            chosen[window.text][place], sure[window.text][place] = tags[best], float(shares_L[best])
    return [
        entities_from(one, [tag if one.stands(n) else None for n, tag in enumerate(tags_T)], sure_T, tails)
        for one, tags_T, sure_T in zip(tagging.pieces, chosen, sure, strict=True)
    ]


def tell_entities(classifier: Classifier, texts: Sequence[str], *, batch: int = AT_ONCE) -> list[list[Told]]:
    """The entities of each text."""
    tagging = encode_texts(classifier.tokenizer, texts, classifier.context)
    rows = [window.row for window in tagging.windows]
    logits = token_logits_of(classifier.model, rows, classifier.tokenizer.pad, batch=batch)
    return decoded(tagging, logits, classifier.labels, classifier.info.get("tails", ()))


def answer_of(found: Sequence[Told]) -> dict[str, Any]:
    """What `predict` writes of a text."""
    entities = [{"start": one.start, "end": one.end, "label": one.label} for one, _ in found]
    return {"entities": entities, "confidences": [round(sure, 6) for _, sure in found]}
