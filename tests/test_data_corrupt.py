"""Masked tokens and dropped spans: shares, units, repeatability, and spans that can be put back."""

import itertools
from collections import Counter
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.data.batch import IGNORED
from dodam.data.corrupt import Units, mask_tokens, span_corrupt, span_counts, unit_numbers, units_of
from dodam.errors import DataError
from dodam.tokenizer import train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

TEXTS = [
    "아버지가 방에 들어가신다. 학교에서, 친구를 만났다!",
    "The cat's milk (and bread) is 47 won; don't spill it.",
    "3월에는 날씨가\n\n풀린다  그리고 끝",
] * 5
MASK, FIRST_PLAIN, SIZE = 3, 10, 1000
TOKENS = Units(starts=np.ones(SIZE, bool), ends=np.ones(SIZE, bool), special=np.arange(SIZE) < FIRST_PLAIN)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Some of its tokens are whole words, most are parts of words, some parts of characters."""
    raw = train.learn(TEXTS[:2] * 3, 448, SPECIAL_TOKENS)
    train.fill_up(raw, 448)
    return Tokenizer(raw.to_str())


def pieces(tokenizer: Tokenizer, text: str, unit: str) -> list[str]:
    """The units of a text, each as its text."""
    ids = np.array([tokenizer.encode(text)])
    numbers = unit_numbers(ids, units_of(tokenizer, unit))[0]
    groups = itertools.groupby(zip(numbers, ids[0], strict=True), key=lambda pair: pair[0])
    return [tokenizer.decode([int(token) for _, token in group]) for _, group in groups]


@pytest.mark.parametrize(
    "text", ["".join(TEXTS[:3]), "처음 보는 낱말과 ，쉼표", "ends in space ", "\n x", "don't (re)do"]
)
def test_an_eojeol_is_what_stands_between_spaces(tokenizer: Tokenizer, text: str) -> None:
    found = pieces(tokenizer, text, "eojeol")
    assert "".join(found) == text
    assert [one.strip() for one in found if one.strip()] == text.split()


def test_a_word_is_a_run_of_letters_and_digits(tokenizer: Tokenizer) -> None:
    assert pieces(tokenizer, "학교에서, 3월에는 새싹!", "word") == ["학교에서", ",", " 3월에는", " 새싹", "!"]
    assert pieces(tokenizer, "The milk; 47 won", "word") == ["The", " milk", ";", " 47", " won"]
    assert pieces(tokenizer, "cat's\nbread", "word") == ["cat", "'s", "\n", "bread"]


def test_every_token_is_its_own_unit_and_special_tokens_always_are(tokenizer: Tokenizer) -> None:
    ids = np.array([[tokenizer.bos, *tokenizer.encode("아버지가방에"), tokenizer.eos, *tokenizer.encode("방에")]])
    assert unit_numbers(ids, units_of(tokenizer, "token"))[0].tolist() == list(range(ids.shape[1]))
    for unit in ("word", "eojeol"):
        numbers = unit_numbers(ids, units_of(tokenizer, unit))[0]
        end = int(np.flatnonzero(ids[0] == tokenizer.eos)[0])
        assert numbers[0] == 0 and set(numbers[1:end]) == {1} and numbers[end] == 2 and set(numbers[end + 1 :]) == {3}


def within(count: int, total: int, share: float) -> bool:
    """Five standard deviations of a binomial: by chance not met once in a million."""
    return abs(count - total * share) <= 5 * sqrt(total * share * (1 - share))


@pytest.mark.parametrize(("share", "masked", "replaced"), [(0.15, 0.8, 0.1), (0.4, 0.5, 0.5), (0.3, 1.0, 0.0)])
def test_shares_are_those_asked_for(share: float, masked: float, replaced: float) -> None:
    ids = np.random.default_rng(0).integers(FIRST_PLAIN, SIZE, (400, 256))
    read, labels = mask_tokens(
        ids, units=TOKENS, mask=MASK, seed=1, first=0, share=share, masked=masked, replaced=replaced
    )
    chosen = labels != IGNORED
    assert within(chosen.sum(), ids.size, share)
    assert np.array_equal(labels[chosen], ids[chosen]) and np.array_equal(read[~chosen], ids[~chosen])
    is_mask, total = read[chosen] == MASK, int(chosen.sum())
    assert is_mask.sum() == total if masked == 1 else within(is_mask.sum(), total, masked)
    # One token in so many is replaced by itself.
    changed = (read[chosen] != ids[chosen]) & ~is_mask
    assert within(changed.sum(), total, replaced * (1 - 1 / (SIZE - FIRST_PLAIN)))
    if replaced:
        drawn = read[chosen][changed]
        assert drawn.min() == FIRST_PLAIN and drawn.max() == SIZE - 1  # all of the vocabulary that is no special token
        assert within((drawn < 505).sum(), len(drawn), 0.5)


def test_special_tokens_are_never_chosen_and_never_drawn() -> None:
    ids = np.random.default_rng(0).integers(0, 20, (200, 128)).astype(np.uint16)
    units = Units(np.ones(20, bool), np.ones(20, bool), np.arange(20) < FIRST_PLAIN)
    read, labels = mask_tokens(ids, units=units, mask=MASK, seed=2, first=5, share=0.9, masked=0.1, replaced=0.9)
    special = ids < FIRST_PLAIN
    assert np.array_equal(read[special], ids[special]) and (labels[special] == IGNORED).all()
    assert set(np.unique(read[~special])) == {MASK, *range(FIRST_PLAIN, 20)}
    assert read.dtype == labels.dtype == np.int64


@pytest.mark.parametrize("unit", ["word", "eojeol"])
def test_units_are_chosen_whole_and_as_often_as_tokens(tokenizer: Tokenizer, unit: str) -> None:
    units = units_of(tokenizer, unit)
    row = [token for text in TEXTS[:3] for token in [tokenizer.bos, *tokenizer.encode(text), tokenizer.eos]]
    ids = np.array([row] * 2000)
    _, labels = mask_tokens(ids, units=units, mask=MASK, seed=3, first=0)
    numbers = unit_numbers(ids, units)[0]
    chosen = labels != IGNORED
    for number in range(numbers.max() + 1):
        of_unit = chosen[:, numbers == number]
        assert (of_unit.all(axis=1) == of_unit.any(axis=1)).all()
        special = units.special[ids[0, numbers == number]].all()
        assert within(of_unit[:, 0].sum(), 2000, 0.0 if special else 0.15)
    assert max(Counter(numbers.tolist()).values()) > 3  # there are units of several tokens


def test_what_is_chosen_follows_from_seed_and_row_number() -> None:
    ids = np.random.default_rng(0).integers(FIRST_PLAIN, SIZE, (8, 64))
    options = {"units": TOKENS, "mask": MASK}
    read, labels = mask_tokens(ids, seed=4, first=100, **options)
    for row in range(8):  # one at a time, as after a restart with other microbatches
        one_read, one_labels = mask_tokens(ids[row : row + 1], seed=4, first=100 + row, **options)
        assert np.array_equal(one_read[0], read[row]) and np.array_equal(one_labels[0], labels[row])
    for other in ({"seed": 5, "first": 100}, {"seed": 4, "first": 108}):
        assert not np.array_equal(mask_tokens(ids, **other, **options)[1], labels)
    assert len({tuple(row) for row in (labels != IGNORED).tolist()}) == 8


def put_back(source: list[int], target: list[int], sentinels: list[int]) -> list[int]:
    """The row a source and a target were made of."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token in sentinels:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return [one for token in source for one in (spans[token] if token in sentinels else [token])]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 4), st.integers(2, 120), st.floats(0.01, 0.99), st.floats(1.0, 12.0), st.integers(0, 2**32),
    st.integers(0, 10**9),
)  # fmt: skip
def test_source_and_target_together_are_the_row(
    rows: int, length: int, share: float, mean_length: float, seed: int, first: int
) -> None:
    sentinels = np.arange(900, 1000)[::-1]
    ids = np.random.default_rng(seed).integers(0, 900, (rows, length))
    dropped, spans = span_counts(length, share, mean_length)
    source, target = span_corrupt(
        ids, sentinels=sentinels, seed=seed, first=first, share=share, mean_length=mean_length
    )
    assert source.shape == (rows, length - dropped + spans) and target.shape == (rows, dropped + spans + 1)
    for row in range(rows):
        assert put_back(source[row].tolist(), target[row].tolist(), sentinels.tolist()) == ids[row].tolist()
        used = [token for token in source[row] if token >= 900]
        assert used == sentinels[:spans].tolist()
        assert [token for token in target[row] if token >= 900] == sentinels[: spans + 1].tolist()
        in_source = source[row] >= 900
        assert not (in_source[1:] & in_source[:-1]).any()  # spans never touch
    again = span_corrupt(
        ids[-1:], sentinels=sentinels, seed=seed, first=first + rows - 1, share=share, mean_length=mean_length
    )
    assert np.array_equal(again[0][0], source[-1]) and np.array_equal(again[1][0], target[-1])


def test_spans_have_the_share_and_the_mean_length_asked_for_and_lie_anywhere() -> None:
    assert span_counts(512) == (77, 26)
    assert span_counts(10, 0.9, 1.0) == (9, 2)  # one token kept leaves room for two spans
    ids = np.tile(np.arange(4), (3000, 1))
    source, _ = span_corrupt(ids, sentinels=np.arange(900, 1000), seed=0, first=0, share=0.5, mean_length=1.0)
    counts = Counter(map(tuple, source.tolist()))
    # Two tokens of four, not side by side: three ways, equally likely.
    assert set(counts) == {(900, 1, 901, 3), (900, 1, 2, 901), (0, 900, 2, 901)}
    assert all(within(count, 3000, 1 / 3) for count in counts.values())


def test_too_few_sentinels_are_told() -> None:
    with pytest.raises(DataError, match="rows of 512 tokens need 27 sentinels, there are 26"):
        span_corrupt(np.zeros((1, 512), int), sentinels=np.arange(26), seed=0, first=0)
