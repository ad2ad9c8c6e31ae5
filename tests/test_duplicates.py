"""Duplicates: planted ones are found, what is less alike stays, and neither batches nor their borders matter."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import batch, cut, texts_of
from dodam.data.decision import Row
from dodam.data.duplicates import MISSED, SIGNATURE, Duplicates, apply, bands_of, decide, observe, told
from dodam.data.shingles import SHINGLE, jaccard, shingles, units, windows
from dodam.errors import UsageError

BENCH = str(Path(__file__).parent.parent / "bench")
TEXT = st.text(st.one_of(st.sampled_from(list("가나다abcABC12 .,\n한ぁ漢")), st.characters()), max_size=60)
HASHES = ["0xda6a6c27e3a924e9", "0x18a2fdfbd321af07"]
WORDS = ["감나무", "아래", "고양이", "한", "마리가", "지나갔다", "the", "river", "was", "high", "that", "spring"]
SOME = st.lists(st.sampled_from(WORDS), max_size=14)


# --- shingles ---


def plain_units(text: str) -> list[str]:
    """The definition, one character after the other, for Hangul, kana, Chinese and what is written in words."""
    return re.findall(r"[ㄱ-ㆎ가-힣ぁ-ヿ㐀-䶿一-鿿]|[^\W_ㄱ-ㆎ가-힣ぁ-ヿ㐀-䶿一-鿿]+", text.lower())


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from(list("가나다abcABC12 .,\n한漢éß-'")), max_size=60))
def test_units_are_syllables_and_words(text: str) -> None:
    found = units(text)
    assert [text[start:end].lower() for start, end in zip(found.starts, found.ends, strict=True)] == plain_units(text)
    # Equal hashes for equal units, and for those alone.
    pairs = set(zip(plain_units(text), found.hashes.tolist(), strict=True))
    assert len(pairs) == len({unit for unit, _ in pairs}) == len({number for _, number in pairs})


@settings(max_examples=60, deadline=None)
@given(TEXT)
def test_units_of_any_text_are_in_order_and_apart(text: str) -> None:
    found = units(text)
    assert (found.starts < found.ends).all() and (found.ends[:-1] <= found.starts[1:]).all()
    assert len(found.hashes) == len(found.starts) and (not len(found.ends) or found.ends[-1] <= len(text))


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT)
def test_windows_are_equal_where_units_are(one: str, other: str) -> None:
    hashes = units(one + " " + other).hashes
    for size in (1, 2, 5):
        found = windows(hashes, size).tolist()
        stretches = [tuple(hashes[place : place + size].tolist()) for place in range(max(len(hashes) - size + 1, 0))]
        assert len(found) == len(stretches)
        assert len(set(zip(stretches, found, strict=True))) == len(set(stretches)) == len(set(found))


@settings(max_examples=60, deadline=None)
@given(SOME, SOME)
def test_jaccard_is_that_of_the_sets(one: list[str], other: list[str]) -> None:
    def set_of(words: list[str]) -> set[tuple[str, ...]]:
        found = plain_units(" ".join(words))
        return (
            {tuple(found[place : place + SHINGLE]) for place in range(max(len(found) - SHINGLE + 1, 1))}
            if found
            else set()
        )

    first, second = set_of(one), set_of(other)
    expected = len(first & second) / max(len(first | second), 1)
    assert jaccard(shingles(" ".join(one)), shingles(" ".join(other))) == pytest.approx(expected)


def test_spaces_signs_and_capitals_do_not_count() -> None:
    assert (shingles("띄어 쓰기를 안 한, 글!") == shingles("띄어쓰기를 안한 글")).all()
    assert (shingles("The River was high.") == shingles("the river, WAS high")).all()
    assert len(shingles("")) == len(shingles("?! ...")) == 0 and len(shingles("글")) == 1


def test_hashes_are_the_same_on_every_machine() -> None:
    """What is stored in a data folder's work files must be found again."""
    assert [hex(number) for number in units("가 ab").hashes.tolist()] == HASHES


def test_long_texts_hash_like_short_ones() -> None:
    """Beyond the powers that are kept."""
    start = "감나무 아래로 고양이가 지나갔다"
    text = start + " 가" * (1 << 20)
    assert (units(text).hashes[:14] == units(start).hashes).all()


# --- bands ---


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_miss_few_at_the_threshold_and_no_longer_ones_would(threshold: float) -> None:
    def missed(rows: int) -> float:
        return (1 - threshold**rows) ** (SIGNATURE // rows)

    bands, rows = bands_of(threshold)
    assert bands == SIGNATURE // rows and missed(rows) <= MISSED
    assert rows == SIGNATURE or missed(rows + 1) > MISSED


def test_bands_are_shared_as_often_as_the_formula_says() -> None:
    """1 - (1 - s^r)^b, over many pairs of a known similarity."""
    rng = random.Random(2)
    threshold, pairs = 0.9, 400
    bands, rows = bands_of(threshold)
    words = [f"w{number}" for number in range(5000)]
    shared, expected = 0, 0.0
    for _ in range(pairs):
        one = rng.sample(words, 120)
        other = list(one)
        for place in rng.sample(range(120), 2):
            other[place] = rng.choice(words)
        likeness = jaccard(shingles(" ".join(one)), shingles(" ".join(other)))
        seen = observe(batch([" ".join(one), " ".join(other)]), threshold).bands
        shared += bool((seen[0] == seen[1]).any())
        expected += 1 - (1 - likeness**rows) ** bands
    assert 0.2 < expected / pairs < 0.98  # where the formula says something
    assert abs(shared - expected) / pairs < 0.08


# --- deciding ---


def looking_up(texts: list[str]):
    """Gives the document at a place."""
    return lambda wanted: lambda place: Row(f"f:{place}", texts[place - 1])


def reasons(found: Duplicates) -> dict[int, tuple[int, float, bool]]:
    """By the place of a document that goes: the one that stays, how like it is, whether it is only near."""
    columns = (found.gone, found.stay, found.jaccard, found.is_near)
    return {gone: tuple(why) for gone, *why in zip(*(column.tolist() for column in columns), strict=True)}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCH)
    import planted

    return planted


def test_planted_near_duplicates_are_found(planted) -> None:
    """At least 98% of copies with a similarity of 0.80 to 0.90; of what is removed at most 0.5% below the threshold."""
    found = planted.near_duplicates(60, 0.7, seed=3)
    assert found["found"] >= 0.98 and found["removed"] >= 59 and found["wrong"] <= 0.005


def test_near_duplicates_of_what_stays_go() -> None:
    base = [f"word{number}" for number in range(100)]
    a, b, c = base, [*base[:88], *(f"b{n}" for n in range(12))], [*base[:76], *(f"c{n}" for n in range(24))]
    texts = [" ".join(words) for words in (a, b, c, a)]
    first, second = jaccard(shingles(texts[0]), shingles(texts[1])), jaccard(shingles(texts[0]), shingles(texts[2]))
    assert second < 0.7 <= first
    found = decide([observe(batch(texts), 0.7)], looking_up(texts), 0.7)
    # b goes for a; c is as like to b, but b does not stay; the second a is a word for word.
    assert reasons(found) == {2: (1, first, True), 4: (1, 1.0, False)}
    cluster = {"documents": 1, "id": "f:1", "copy_id": "f:2", "jaccard": round(first, 3)}
    assert told(found)["clusters"] == 1 and cluster.items() <= told(found)["largest"][0].items()


def test_a_copy_of_a_near_duplicate_goes_with_it() -> None:
    base = [f"word{number}" for number in range(100)]
    one, other = " ".join(base), " ".join([*base[:95], "x"])
    texts = [one, other, other]
    found = reasons(decide([observe(batch(texts), 0.7)], looking_up(texts), 0.7))
    assert {gone: (stays, is_near) for gone, (stays, _, is_near) in found.items()} == {2: (1, True), 3: (1, False)}


def test_equal_texts_without_bands() -> None:
    one = batch(["가", "나", "가", "", "나"])
    found = decide([observe(one)])
    assert reasons(found) == {3: (1, 1.0, False), 5: (2, 1.0, False)}
    outcome = apply(one, found)
    assert texts_of([outcome.batch]) == ["가", "나", ""]
    assert outcome.counts == {"documents dropped: duplicate": 2}
    nothing = batch([])
    for found in (decide([]), decide([observe(nothing, 0.7)], looking_up([]), 0.7)):
        assert reasons(found) == {} and apply(one, found).batch is one


def test_texts_without_letters_are_like_nothing() -> None:
    texts = ["?!", "...", "---", "글"]
    assert reasons(decide([observe(batch(texts), 0.7)], looking_up(texts), 0.7)) == {}


def test_only_candidates_are_read_again() -> None:
    rng = random.Random(4)
    texts = [" ".join(f"{rng.random()}" for _ in range(50)) for _ in range(20)]
    texts += [texts[3] + " and more", texts[5]]
    asked: list[list[int]] = []

    def look_up(wanted: np.ndarray):
        asked.append(wanted.tolist())
        return looking_up(texts)(wanted)

    found = decide([observe(batch(texts), 0.7)], look_up, 0.7)
    assert asked == [[4, 21]]
    assert {gone: stays for gone, (stays, *_) in reasons(found).items()} == {21: 4, 22: 6}


EDITED = st.lists(
    st.lists(st.sampled_from("가나다라마바사아자차카타파하"), min_size=10, max_size=14).map(" ".join), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(EDITED, st.lists(st.integers(0, 12), max_size=3))
def test_batches_do_not_matter(texts: list[str], borders: list[int]) -> None:
    whole = decide([observe(batch(texts), 0.5)], looking_up(texts), 0.5)
    parts = cut(texts, borders)
    again = decide([observe(one, 0.5) for one in parts], looking_up(texts), 0.5)
    gone = reasons(whole)
    assert reasons(again) == gone and again.largest == whole.largest
    kept = {place: text for place, text in enumerate(texts, start=1) if place not in gone}
    assert texts_of([apply(one, whole).batch for one in parts]) == list(kept.values())
    # Everything that goes is as like as asked to one that stays and was there before.
    for place, (stays, likeness, _) in gone.items():
        assert stays in kept and stays < place
        assert likeness >= 0.5 and likeness == jaccard(shingles(texts[place - 1]), shingles(kept[stays]))
    assert np.unique(list(kept.values())).size == len(kept)  # no text is left twice


def test_a_missing_package_is_named(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(UsageError, match="pip install rensa"):
        observe(batch(["글"]), 0.7)
    assert observe(batch(["글"])).bands.shape == (1, 0)
