"""Masks filled in by an encoder: a text with [MASK] in it -> the likeliest tokens for each.

In come texts as people type them; out come, for each mask, tokens with their probabilities. One mask stands for one
token, and the space before a mask belongs to what fills it in. N masks, B texts, T positions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch

from dodam.errors import DataError, FolderError
from dodam.folder import LoadedModel
from dodam.models.encoder import Encoder
from dodam.nn.mask import padding_mask

TYPED = ("[MASK]", "<mask>")  # what a mask is typed as, whatever the tokenizer calls it
TEXTS_AT_ONCE = 32


class Guess(TypedDict):
    """A token that may stand at a mask, as its text, and its probability."""

    token: str
    confidence: float


@dataclass(frozen=True)
class Masked:
    """A text's ids, as the model was trained on texts: between `bos` and `eos`."""

    ids: list[int]
    num_masks: int


def fill(
    loaded: LoadedModel[Encoder], texts: Sequence[str], *, top: int = 5, where: Sequence[str] = ()
) -> list[list[list[Guess]]]:
    """For each text, and each mask in it, the `top` likeliest tokens, the likeliest first. Special tokens fill in
    nothing. What else is in `texts` changes no text's answer.

    FolderError for a tokenizer without a mask token; DataError for a text longer than the model's context, named by
    `where` it stands."""
    where = where or [f"text {number}" for number in range(1, len(texts) + 1)]
    masked = [encode(loaded, text, place) for text, place in zip(texts, where, strict=True)]
    found: list[list[list[Guess]]] = [[] for _ in masked]
    asked = [index for index, one in enumerate(masked) if one.num_masks]
    by_length = sorted(asked, key=lambda index: len(masked[index].ids))
    for first in range(0, len(by_length), TEXTS_AT_ONCE):
        here = by_length[first : first + TEXTS_AT_ONCE]
        guesses = iter(likeliest(loaded, [masked[index].ids for index in here], top))
        for index in here:
            found[index] = [next(guesses) for _ in range(masked[index].num_masks)]
    return found


def encode(loaded: LoadedModel[Encoder], text: str, where: str) -> Masked:
    """The ids of a text whose masks are typed in. Nothing else in it is a special token."""
    tokenizer, context = loaded.tokenizer, loaded.model.config.context
    if not tokenizer.names.mask:
        raise FolderError("its tokenizer has no mask token", where=str(loaded.path))
    names = "|".join(re.escape(name) for name in dict.fromkeys((tokenizer.names.mask, *TYPED)))
    parts = re.split(rf" ?(?:{names})", text)
    mask, ids = tokenizer.token_id(tokenizer.names.mask), [tokenizer.bos]
    for number, part in enumerate(parts):
        ids += [*([mask] if number else []), *tokenizer.encode(part)]
    ids.append(tokenizer.eos)
    if len(ids) > context:
        raise DataError(f"is {len(ids)} tokens long, the model reads {context} at most", where=where)
    return Masked(ids, len(parts) - 1)


@torch.inference_mode()
def likeliest(loaded: LoadedModel[Encoder], rows: list[list[int]], top: int) -> list[list[Guess]]:
    """For every mask in rows of ids, in their order, the `top` likeliest plain tokens."""
    model, tokenizer = loaded.model, loaded.tokenizer
    device = model.embedding.weight.device
    longest = max(len(row) for row in rows)
    ids_BT = torch.tensor([row + [tokenizer.pad] * (longest - len(row)) for row in rows], device=device)
    real_BT = torch.arange(longest, device=device) < torch.tensor([len(row) for row in rows], device=device)[:, None]
    is_mask_BT = real_BT & (ids_BT == tokenizer.token_id(tokenizer.names.mask))
    hidden_ND = model(ids_BT, mask=padding_mask(real_BT))[is_mask_BT]
    probabilities_NV = model.head(hidden_ND).float().softmax(-1)[:, : tokenizer.size].cpu()
    plain_V = torch.from_numpy(np.flatnonzero(tokenizer.byte_lengths()))
    best = probabilities_NV[:, plain_V].topk(min(top, len(plain_V)))
    return [
        [Guess(token=tokenizer.piece(int(plain_V[place])), confidence=value) for value, place in pairs]
        for pairs in (zip(*row, strict=True) for row in zip(best.values.tolist(), best.indices.tolist(), strict=True))
    ]
