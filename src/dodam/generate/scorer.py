"""Reward models at work: a folder loaded, conversations in, one number out for each: how good its last answer is.

Answers to one prompt share its tokens, and rows are computed side by side; neither changes the number of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dodam import files
from dodam.data.answers import ROWS_AT_ONCE, Encoded, arrange, encode_answers, in_parts
from dodam.data.conversation import Messages
from dodam.data.preferences import key_of
from dodam.errors import DataError, FolderError
from dodam.exchange.heads import asked_in
from dodam.folder import model_path
from dodam.generate.classifier import encode_texts, load_classifier
from dodam.models.answers import may_share, score
from dodam.models.decoder import Decoder
from dodam.tokenizer.tokenizer import Tokenizer

AT_ONCE = 64  # answers
SHARED = 1024  # tokens; longer rows spend more on attention than shared prompts save
STAGE = "reward"
MEMBER = "member-"
"""How the folders of an ensemble's members begin, from the second on; they are in the first one's."""

Asked = tuple[Messages, Sequence[str]]
"""A prompt and answers to it."""


@dataclass(frozen=True)
class Scorer:
    """A reward model in memory. `mean`: what is taken off its head's output, so that answers learned from have 0 on the
    average. `context`: tokens that are read of a prompt and an answer. `others`: the further members of an ensemble,
    whose score is the mean of all less `caution` times their standard deviation."""

    model: Any
    tokenizer: Tokenizer
    mean: float
    context: int
    path: Path
    others: "tuple[Scorer, ...]" = ()
    caution: float = 0.0

    def scores(self, conversations: Sequence[Messages]) -> list[float]:
        """How good the last answer of each conversation is. DataError for one that does not end with an answer."""
        return self.score_all(conversations)[0]

    def score_all(self, conversations: Sequence[Messages], *, batch: int = AT_ONCE) -> tuple[list[float], int]:
        """The same, and how many answers did not fit into the context with their prompts and were cut."""
        places: dict[str, list[int]] = {}
        for place, messages in enumerate(conversations):
            if len(messages) < 2 or messages[-1]["role"] != "assistant":
                raise DataError("a conversation to be scored ends with an answer", where=f"conversation {place + 1}")
            places.setdefault(key_of(messages[:-1]), []).append(place)
        asked = [
            (conversations[mine[0]][:-1], [conversations[place][-1]["content"] for place in mine])
            for mine in places.values()
        ]
        found = [0.0] * len(conversations)
        scores, num_cut = self.scores_of(asked, batch=batch)
        for mine, scores_A in zip(places.values(), scores, strict=True):
            for place, value in zip(mine, scores_A, strict=True):
                found[place] = float(value)
        return found, num_cut

    def scores_of(self, asked: Sequence[Asked], *, batch: int = AT_ONCE) -> tuple[list[np.ndarray], int]:
        """The same of prompts with their answers. `batch`: answers computed at one time, more if a prompt has more."""
        encoded = encode(self.model, self.tokenizer, asked, self.context)
        tables = [one.scores_of_encoded(encoded, batch) for one in (self, *self.others)]
        num_cut = sum(one.cut for mine in encoded for one in mine)
        return [np.mean(mine, 0) - self.caution * np.std(mine, 0) for mine in zip(*tables, strict=True)], num_cut

    def own_scores(self, asked: Sequence[Asked]) -> list[np.ndarray]:
        """What this member alone gives prompts' answers."""
        return self.scores_of_encoded(encode(self.model, self.tokenizer, asked, self.context), AT_ONCE)

    def scores_of_encoded(self, encoded: Sequence[Sequence[Encoded]], batch: int) -> list[np.ndarray]:
        """The same of answers as ids."""
        found = raw_scores(self.model, encoded, self.tokenizer.pad, batch=batch)
        return [scores_A - self.mean for scores_A in found]


def encode(model: Any, tokenizer: Tokenizer, asked: Sequence[Asked], context: int) -> list[list[Encoded]]:
    """Answers behind their prompts as the model reads them: a decoder by the chat template, an encoder as a pair of
    texts (of several messages the contents, one paragraph each)."""
    if isinstance(model, Decoder):
        return encode_answers(tokenizer, asked, context)
    prompts = ["\n\n".join(message["content"] for message in prompt) for prompt, _ in asked]
    texts = [(text, answer) for text, (_, answers) in zip(prompts, asked, strict=True) for answer in answers]
    pairs = iter(encode_texts(tokenizer, texts, context))
    found = []
    for _, answers in asked:
        mine = [next(pairs) for _ in answers]
        found.append([Encoded([], one.ids, one.cut, one.segments) for one in mine])
    return found


def raw_scores(
    model: Any,
    encoded: Sequence[Sequence[Encoded]],
    pad: int,
    *,
    batch: int = AT_ONCE,
    dtype: torch.dtype = torch.float32,
) -> list[np.ndarray]:
    """What the head gives each answer, by prompt."""
    device = model.embedding.weight.device
    found: list[np.ndarray] = []
    for prompts in in_parts(encoded, batch):
        counts = [len(mine) for mine in prompts]
        part_A = np.zeros(sum(counts))
        for rows in arrange(prompts, pad, shared=shared_tokens(model), at_once=min(batch, ROWS_AT_ONCE)):
            with torch.no_grad():
                part_A[rows.numbers_A.numpy()] = score(model, rows.to(device), dtype).float().cpu().numpy()
        found += np.split(part_A, np.cumsum(counts)[:-1])
    return found


def shared_tokens(model: Any) -> int:
    """Tokens of a row that answers to one prompt may share; 0 where each needs its own."""
    return min(model.config.context, SHARED) if may_share(model) else 0


def holds_scorer(path: str | Path) -> bool:
    """Whether a folder holds a reward model that `dodam reward` made."""
    about = model_path(path) / "dodam.json"
    return about.is_file() and files.read_json(about).get("stage") == STAGE


def load_scorer(path: str | Path, device: str = "cpu") -> Scorer:
    """Read a reward model's folder, ours or one of `transformers` with a single label. FolderError names what is wrong
    with it."""
    folder = model_path(path)
    where = str(folder / "config.json")
    mend = "`dodam reward` makes one."
    if asked_in(files.read_json(folder / "config.json")) != "text":
        raise FolderError("holds no reward model, as nothing in it gives a text a score", where=where, mend=mend)
    found = load_classifier(folder, device=device)
    if len(found.labels) != 1:
        raise FolderError(f"holds a classifier of {len(found.labels)} labels, no reward model", where=where, mend=mend)
    if found.info and found.info.get("stage") != STAGE:
        raise FolderError(f"was made by {found.info.get('stage')} and scores texts", where=where, mend=mend)
    told = found.info.get("reward", {})
    others = [load_scorer(folder / f"{MEMBER}{number}", device) for number in range(2, told.get("members", 1) + 1)]
    return Scorer(
        found.model, found.tokenizer, told.get("mean", 0.0), found.context, found.path, tuple(others),
        told.get("caution", 0.0),
    )  # fmt: skip
