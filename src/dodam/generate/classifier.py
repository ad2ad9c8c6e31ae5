"""Classifiers at work: a folder loaded, texts framed as the model reads them, and what it says of them.

In come texts or pairs; out come logits in their order. Texts are computed side by side, longest first; neither that nor
the padding changes what is said of one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from dodam import files
from dodam.errors import UsageError
from dodam.exchange.heads import Asked, Problem, asked_in, read_classifier
from dodam.folder import FORMAT, model_path
from dodam.models.decoder import Decoder
from dodam.models.heads import classify
from dodam.tokenizer.bpe_dropout import BpeDropout
from dodam.tokenizer.tokenizer import Tokenizer

Text = tuple[str, str | None]
"""A text, or a pair of them."""

AT_ONCE = 64
THRESHOLD = 0.5  # from which on one of several labels is given


@dataclass(frozen=True)
class Encoded:
    """A text as ids, which of a pair each is of, and whether it had to be cut."""

    ids: list[int]
    segments: list[int]
    cut: bool


@dataclass(frozen=True)
class TextBatch:
    """Texts side by side, [B, T], padded on the right; `targets` where there is something to learn: [B] or [B, L] of
    texts, [B, T] or [B, T, 2] of their tokens."""

    ids_BT: torch.Tensor
    segments_BT: torch.Tensor
    real_BT: torch.Tensor
    targets: torch.Tensor | None = None

    @property
    def num_tokens(self) -> int:
        return self.ids_BT.numel()

    def to(self, device: str | torch.device) -> "TextBatch":
        targets = None if self.targets is None else self.targets.to(device)
        return TextBatch(self.ids_BT.to(device), self.segments_BT.to(device), self.real_BT.to(device), targets)


@dataclass(frozen=True)
class Frame:
    """The special tokens before a text, between two and after, as the tokenizer's own template has them, and the
    segments of the second text."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    before_pair: tuple[int, ...]
    between: tuple[int, ...]
    after_pair: tuple[int, ...]
    second: int

    def encoded(self, ids: list[int], ids2: list[int] | None, context: int) -> Encoded:
        """One text or pair within `context` tokens. Of a pair the longer one is cut first, to the other's length."""
        if ids2 is None:
            room = context - len(self.before) - len(self.after)
            whole = [*self.before, *ids[:room], *self.after]
            return Encoded(whole, [0] * len(whole), len(ids) > room)
        room = context - len(self.before_pair) - len(self.between) - len(self.after_pair)
        first = max(room - len(ids2), min(len(ids), room - room // 2))
        second = room - min(first, len(ids))
        one = [*self.before_pair, *ids[:first], *self.between]
        two = [*ids2[:second], *self.after_pair]
        cut = len(ids) + len(ids2) > room
        return Encoded([*one, *two], [0] * len(one) + [self.second] * len(two), cut)


def frame_of(tokenizer: Tokenizer) -> Frame:
    """What the tokenizer's template puts around texts."""

    def specials(text: str, second: str | None = None) -> tuple[list[list[int]], list[int]]:
        encoded = tokenizer.raw.encode(text, second, add_special_tokens=True)
        parts: list[list[int]] = [[] for _ in range(2 if second is None else 3)]
        seen = 0
        for token, sequence in zip(encoded.ids, encoded.sequence_ids, strict=True):
            if sequence is None:
                parts[seen].append(token)
            else:
                seen = sequence + 1
        return parts, encoded.type_ids

    (before, after), _ = specials("a")
    (before_pair, between, after_pair), segments = specials("a", "a")
    return Frame(
        tuple(before), tuple(after), tuple(before_pair), tuple(between), tuple(after_pair), max(segments, default=0)
    )


def with_template(tokenizer: Tokenizer, kind: Literal["encoder", "decoder"]) -> Tokenizer:
    """The tokenizer with a template that frames texts for classifying. An encoder's own is kept where it has one that
    parts two texts; decoders read <bos> text <eos>, which is also how they were pretrained."""
    from tokenizers import processors

    frame, names = frame_of(tokenizer), tokenizer.names
    if kind == "encoder" and frame.before and frame.between:
        return tokenizer
    if kind == "encoder" and not (names.cls and names.sep):
        mend = "Its tokenizer_config.json must name cls_token and sep_token."
        raise UsageError("the tokenizer has no token that stands for a whole text", where="--model", mend=mend)
    first, last = (names.cls, names.sep) if kind == "encoder" else (names.bos, names.eos)
    middle = names.sep if names.sep and kind == "encoder" else names.eos
    raw = tokenizer.raw.from_str(tokenizer.json)
    raw.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {middle} $B:1 {last}:1",
        special_tokens=[(name, tokenizer.token_id(name)) for name in dict.fromkeys((first, middle, last))],
    )
    return Tokenizer(raw.to_str(pretty=True), tokenizer.chat_template, tokenizer.foreign)


def encode_texts(tokenizer: Tokenizer, texts: Sequence[Text], context: int) -> list[Encoded]:
    """Texts as the model reads them, each cut to `context` tokens."""
    frame = frame_of(tokenizer)
    firsts = tokenizer.encode_batch([text for text, _ in texts])
    seconds = iter(tokenizer.encode_batch([second for _, second in texts if second is not None]))
    return [
        frame.encoded(ids, None if second is None else next(seconds), context)
        for ids, (_, second) in zip(firsts, texts, strict=True)
    ]


def recut_texts(
    tokenizer: Tokenizer, texts: Sequence[Text], context: int, share: float, seed: int
) -> Callable[[int, int], Encoded]:
    """Text i as it is read in step n: cut anew with a share of the tokenizer's merges dropped. ValueError as
    `BpeDropout` says."""
    frame, dropout = frame_of(tokenizer), BpeDropout(tokenizer, share, seed)
    words = [[dropout.words(text) for text in sides if text is not None] for sides in texts]

    def recut(item: int, step: int) -> Encoded:
        number = 2 * (step * len(texts) + item)
        ids = [dropout.encode(side, number + place).tolist() for place, side in enumerate(words[item])]
        return frame.encoded(ids[0], ids[1] if len(ids) > 1 else None, context)

    return recut


def collate(texts: Sequence[Encoded], pad: int, *, step: int = 1, most: int = 0) -> TextBatch:
    """Texts side by side, padded to the longest, or to a multiple of `step` that is not above `most`."""
    longest = max(len(one.ids) for one in texts)
    width = max(longest, min(-(-longest // step) * step, most))
    ids = np.full((len(texts), width), pad, dtype=np.int64)
    segments = np.zeros((len(texts), width), dtype=np.int64)
    real = np.zeros((len(texts), width), dtype=bool)
    for row, one in enumerate(texts):
        ids[row, : len(one.ids)] = one.ids
        segments[row, : len(one.ids)] = one.segments
        real[row, : len(one.ids)] = True
    return TextBatch(torch.from_numpy(ids), torch.from_numpy(segments), torch.from_numpy(real))


@dataclass(frozen=True)
class Classifier:
    """A folder of a classifier in memory. `pairs`: whether it reads two texts; None where the folder does not say.
    `context`: tokens that are read of a text. `info`: what dodam.json tells, {} for foreign folders."""

    model: Any
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    problem: Problem
    pairs: bool | None
    context: int
    path: Path
    info: dict[str, Any]

    def logits(self, texts: Sequence[Text], *, batch: int = AT_ONCE) -> tuple[np.ndarray, int]:
        """[texts, labels] in fp32, and how many texts were longer than the context and were cut."""
        encoded = encode_texts(self.tokenizer, texts, self.context)
        return logits_of(self.model, encoded, self.tokenizer.pad, batch=batch), sum(one.cut for one in encoded)


def logits_of(
    model: Any, texts: Sequence[Encoded], pad: int, *, batch: int = AT_ONCE, dtype: torch.dtype = torch.float32
) -> np.ndarray:
    """[texts, labels] of encoded texts, in their order."""
    found = np.zeros((len(texts), model.classifier.config.labels), dtype=np.float32)
    for picked, logits_BL in computed(model, texts, pad, batch, dtype):
        found[picked] = logits_BL
    return found


def token_logits_of(
    model: Any, texts: Sequence[Encoded], pad: int, *, batch: int = AT_ONCE, dtype: torch.dtype = torch.float32
) -> list[np.ndarray]:
    """[tokens, labels] of each encoded text, in their order; of a model whose tokens each have logits of their own."""
    found = [np.zeros((0, 0), dtype=np.float32)] * len(texts)
    for picked, logits_BTL in computed(model, texts, pad, batch, dtype):
        for index, logits_TL in zip(picked, logits_BTL, strict=True):
            found[index] = logits_TL[: len(texts[index].ids)].copy()
    return found


def computed(
    model: Any, texts: Sequence[Encoded], pad: int, batch: int, dtype: torch.dtype
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Logits of texts side by side, longest first, and which texts they are of."""
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index].ids))
    device = model.embedding.weight.device
    for first in range(0, len(order), batch):
        picked = order[first : first + batch]
        part = collate([texts[index] for index in picked], pad).to(device)
        with torch.no_grad():
            logits = classify(model, part.ids_BT, part.real_BT, part.segments_BT, dtype)
        yield picked, logits.float().cpu().numpy()


def load_classifier(path: str | Path, *, device: str = "cpu") -> Classifier:
    """Read a classifier's folder, ours or one that `transformers` saved. FolderError names what is wrong with it."""
    path = model_path(path)
    info = files.read_json(path / "dodam.json") if (path / "dodam.json").is_file() else {}
    if info:
        files.check_format(info.get("format"), FORMAT, path / "dodam.json")
    model, labels, problem = read_classifier(path)
    kind: Literal["encoder", "decoder"] = "decoder" if isinstance(model, Decoder) else "encoder"
    tokenizer = Tokenizer.load(path)
    if not info and kind == "encoder":  # ours has its template; of a foreign decoder nobody knows another
        tokenizer = with_template(tokenizer, kind)
    context = info.get("context", model.config.context)
    return Classifier(model.to(device), tokenizer, labels, problem, info.get("pairs"), context, path, info)


def asked_of(path: str | Path) -> Asked | None:
    """What the classifier of a model folder is asked; None where the folder holds another model."""
    return asked_in(files.read_json(model_path(path) / "config.json"))


def probabilities(logits: np.ndarray, problem: str) -> np.ndarray:
    """Of one label each row sums to 1; of several each is on its own; of a regression the numbers themselves."""
    wide = logits.astype(np.float64)
    if problem == "regression":
        return wide
    if problem == "multi_label_classification":
        return 1.0 / (1.0 + np.exp(-wide))
    powers = np.exp(wide - wide.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def answers(logits: np.ndarray, labels: Sequence[str], problem: str) -> list[dict[str, Any]]:
    """What is said of each text: {"label", "confidence"}, {"labels", "confidences"} or {"score"}."""
    found: list[dict[str, Any]] = []
    for row in probabilities(logits, problem):
        if problem == "regression":
            found.append({"score": round(float(row[0]), 6)})
        elif problem == "multi_label_classification":
            chosen = [index for index in np.argsort(-row, kind="stable") if row[index] >= THRESHOLD]
            confidences = [round(float(row[index]), 6) for index in chosen]
            found.append({"labels": [labels[index] for index in chosen], "confidences": confidences})
        else:
            best = int(row.argmax())
            found.append({"label": labels[best], "confidence": round(float(row[best]), 6)})
    return found
