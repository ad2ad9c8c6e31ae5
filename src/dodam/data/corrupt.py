"""Text spoiled on purpose, for a model to mend: masked tokens (BERT) and dropped spans (T5).

In come rows of token ids and the number of the first row; out go what the model reads and what it is to say. What is
chosen follows from (seed, row number) alone, so a row that is met again in a later pass is spoiled anew, and a resumed
run goes on exactly. B rows, T positions, V vocabulary.
"""

import unicodedata
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from dodam.data.batch import IGNORED
from dodam.errors import DataError

Unit = Literal["token", "word", "eojeol"]
"""What is masked together: single tokens; words, runs of letters and digits; eojeols, all that stands between spaces
(Korean stems with their particles and endings)."""


class Pieces(Protocol):
    """What is needed of a tokenizer."""

    @property
    def size(self) -> int: ...
    def piece(self, token: int) -> str: ...
    def byte_lengths(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Units:
    """For every id of a vocabulary, bool [V]: whether a unit starts with it, whether one ends with it, and whether it
    is a special token."""

    starts: np.ndarray
    ends: np.ndarray
    special: np.ndarray


def units_of(tokenizer: Pieces, unit: Unit) -> Units:
    """Where units begin and end, told by the first and last character of each token's text.

    A space belongs to what follows it, whether it is a token of its own or not. A token that is part of a character
    (U+FFFD) counts as part of a word: such characters are mostly Hangul."""
    special = tokenizer.byte_lengths() == 0
    starts, ends = np.ones(tokenizer.size, bool), np.ones(tokenizer.size, bool)
    if unit != "token":
        inside = within_word if unit == "word" else within_eojeol
        for token in np.flatnonzero(~special):
            text = tokenizer.piece(int(token))
            starts[token] = not inside(text[0])
            ends[token] = not inside(text[-1]) and text[-1] != " "
    return Units(starts, ends, special)


def within_eojeol(character: str) -> bool:
    return not character.isspace()


def within_word(character: str) -> bool:
    """Letters, marks upon them, digits."""
    return unicodedata.category(character)[0] in "LMN" or character == "\ufffd"


def unit_numbers(ids_BT: np.ndarray, units: Units) -> np.ndarray:
    """The number of the unit each token belongs to, counted from 0 in each row, int64 [B, T]."""
    starts_BT = units.starts[ids_BT]
    starts_BT[:, 1:] |= units.ends[ids_BT[:, :-1]]
    starts_BT[:, 0] = False
    return starts_BT.cumsum(axis=1)


def mask_tokens(
    ids_BT: np.ndarray,
    *,
    units: Units,
    mask: int,
    seed: int,
    first: int,
    share: float = 0.15,
    masked: float = 0.8,
    replaced: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """Ids to read and labels, each int64 [B, T]; a label is the token that stood there where it is chosen, else -100
    (Devlin et al. 2019, section 3.1 and appendix A.1; chosen anew in every pass as in RoBERTa, Liu et al. 2019).

    Each unit is chosen with probability `share`. Of its tokens the share `masked` becomes `mask`, the share `replaced`
    a token drawn from the vocabulary, and the rest stay. Special tokens are never chosen and never drawn. Row b has
    number first + b."""
    assert 0 < share < 1 and masked >= 0 and replaced >= 0 and masked + replaced <= 1
    B, T = ids_BT.shape
    ids_BT = ids_BT.astype(np.int64)
    draws_B3T = np.stack([np.random.default_rng((seed, first + row)).random((3, T)) for row in range(B)])
    by_unit_BT, fate_BT, other_BT = draws_B3T.transpose(1, 0, 2)
    drawn_BT = np.take_along_axis(by_unit_BT, unit_numbers(ids_BT, units), axis=1)
    chosen_BT = (drawn_BT < share) & ~units.special[ids_BT]
    plain = np.flatnonzero(~units.special)
    read_BT = np.where(chosen_BT & (fate_BT < masked), mask, ids_BT)
    swapped_BT = chosen_BT & (fate_BT >= masked) & (fate_BT < masked + replaced)
    read_BT = np.where(swapped_BT, plain[(other_BT * len(plain)).astype(np.int64)], read_BT)
    return read_BT, np.where(chosen_BT, ids_BT, IGNORED)


def span_counts(length: int, share: float = 0.15, mean_length: float = 3.0) -> tuple[int, int]:
    """How many tokens of a row are dropped, and in how many spans. At least one is dropped and one kept, and spans
    never touch.

    What is read is then length - dropped + spans long, what is to be said dropped + spans + 1."""
    dropped = min(max(1, round(length * share)), length - 1)
    spans = max(1, round(dropped / mean_length))
    return dropped, min(spans, dropped, length - dropped + 1)


def span_corrupt(
    ids_BT: np.ndarray,
    *,
    sentinels: np.ndarray,
    seed: int,
    first: int,
    share: float = 0.15,
    mean_length: float = 3.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Source and target, int64 [B, S] and [B, U]: spans are dropped from the source, a sentinel stands for each; the
    target is each sentinel and what it stands for, and one more sentinel (Raffel et al. 2020, section 3.1.4, figure 2).

    How much is dropped is the same for all rows (`span_counts`), only where differs: all sizes of spans and all places
    are equally likely. `sentinels` are ids that no text has, used in their order. Row b has number first + b.
    DataError when a row needs more of them than there are."""
    B, T = ids_BT.shape
    assert T >= 2 and 0 < share < 1 and mean_length >= 1
    dropped, spans = span_counts(T, share, mean_length)
    if spans + 1 > len(sentinels):
        raise DataError(
            f"rows of {T} tokens need {spans + 1} sentinels, there are {len(sentinels)}",
            mend="Make rows shorter or spans longer.",
        )
    ids_BT, sentinels = ids_BT.astype(np.int64), np.asarray(sentinels, dtype=np.int64)
    starts_BT, inside_BT = draw_spans(B, T, dropped, spans, seed, first)
    marks_BT = sentinels[np.where(starts_BT, starts_BT.cumsum(axis=1) - 1, 0)]
    source_BS = np.where(starts_BT, marks_BT, ids_BT)[starts_BT | ~inside_BT].reshape(B, -1)
    # Before each position a place for the sentinel of the span that starts there.
    pairs_BT2 = np.stack([marks_BT, ids_BT], axis=2)
    target_BU = pairs_BT2[np.stack([starts_BT, inside_BT], axis=2)].reshape(B, -1)
    closing_B1 = np.full((B, 1), sentinels[spans])
    return source_BS, np.concatenate([target_BU, closing_B1], axis=1)


def draw_spans(B: int, T: int, dropped: int, spans: int, seed: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Where spans start and which positions are inside one, bool [B, T] each.

    The dropped tokens are cut into `spans` parts; each part goes into a gap of its own between the kept tokens."""
    kept = T - dropped
    draws = [np.random.default_rng((seed, first + row)).random(dropped - 1 + kept + 1) for row in range(B)]
    draws_BX = np.stack(draws)
    cuts_BN = np.sort(draws_BX[:, : dropped - 1].argsort(axis=1)[:, : spans - 1], axis=1) + 1
    gaps_BN = np.sort(draws_BX[:, dropped - 1 :].argsort(axis=1)[:, :spans], axis=1)
    edges_BN = np.pad(cuts_BN, ((0, 0), (1, 1)), constant_values=((0, 0), (0, dropped)))
    first_BN, end_BN = gaps_BN + edges_BN[:, :-1], gaps_BN + edges_BN[:, 1:]
    change_BT = np.zeros((B, T + 1), dtype=np.int64)
    rows_B1 = np.arange(B)[:, None]
    change_BT[rows_B1, first_BN] = 1
    starts_BT = change_BT[:, :T] == 1
    change_BT[rows_B1, end_BN] = -1  # no span starts where another ends: they never touch
    return starts_BT, change_BT[:, :T].cumsum(axis=1) == 1
