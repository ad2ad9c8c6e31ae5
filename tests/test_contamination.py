"""Contamination: what a model is tested with is cut out of its training text, as Brown et al. 2020 do it."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import batch, cut, texts_of
from dodam.data.contamination import AROUND, COMMON, Grams, apply, decide, grams_of, observe, read_set
from dodam.errors import DataError

QUESTION = "Which of the seven rivers of the northern province runs through the old town and never freezes in winter?"
FRAGE = "북쪽 지방을 흐르는 일곱 강 가운데 옛 도읍을 지나면서 겨울에도 얼지 않는 강은 어느 것인지 이름을 쓰시오."


def prose(seed: int, words: int) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghij", k=rng.randint(2, 8))) for _ in range(words))


def cleaned(texts: list[str], sets: dict[str, list[str]]) -> tuple[list[str], dict[str, int]]:
    grams = grams_of(sets)
    one = batch(texts)
    outcome = apply(one, decide([observe(one, grams)], grams))
    return texts_of([outcome.batch]), outcome.counts


@pytest.mark.parametrize("item", [QUESTION, FRAGE])
def test_a_leaked_item_goes_with_its_neighbourhood(item: str) -> None:
    before, after = prose(1, 150), prose(2, 150)
    texts = [f"{before} {item} {after}", prose(3, 100)]
    left, counts = cleaned(texts, {"rivers": [item]})
    assert counts == {"passages cut out: in rivers": 1} and left[1] == texts[1]
    first, second = left[0].split("\n\n")
    # Beyond 200 characters on either side everything stays, but for the words that the cuts go through.
    assert before.startswith(first) and len(before) - AROUND - 12 < len(first) <= len(before) - AROUND
    assert after.endswith(second) and len(after) - AROUND - 12 < len(second) <= len(after) - AROUND


@pytest.mark.parametrize(
    ("item", "written"),
    [
        (QUESTION, QUESTION.upper().replace(" ", "\n").replace("?", "!")),
        (QUESTION, f'"{QUESTION.replace("old town", "old, town")}"'),
        (FRAGE, FRAGE.replace(" ", "")),
        (FRAGE, " ".join(FRAGE.replace(" ", "")).replace(".", "")),
    ],
)
def test_spaces_signs_and_capitals_hide_nothing(item: str, written: str) -> None:
    assert cleaned([written], {"rivers": [item]}) == (
        [],
        {"passages cut out: in rivers": 1, "documents dropped: contaminated": 1},
    )


def test_thirteen_words_are_needed_and_twelve_are_not_enough() -> None:
    words = QUESTION.split()
    sets = {"rivers": [QUESTION]}
    thirteen, twelve = " ".join(words[2:15]), " ".join(words[2:14])
    around = prose(4, 120)
    assert cleaned([f"{around} {twelve} x {around[::-1]}"], sets)[1] == {}
    assert cleaned([f"{around} {thirteen} x {around[::-1]}"], sets)[1] == {"passages cut out: in rivers": 1}


def test_short_items_make_shorter_ngrams_and_the_shortest_are_told() -> None:
    grams = grams_of({"short": [" ".join(QUESTION.split()[:9])] * 20 + ["yes", "no"], "long": [QUESTION]})
    assert set(grams.hashes) == {9, 13} and grams.unread == {"short": 2, "long": 0}
    assert set(grams_of({"ko": [FRAGE]}).hashes) == {30}
    with pytest.raises(DataError, match="labels: holds no text long enough"):
        grams_of({"labels": ["yes", "no"]})


def test_common_property_is_no_leak() -> None:
    """An n-gram in more than ten documents is no evidence; ten are."""
    around = [prose(seed, 60) for seed in range(2 * COMMON)]
    for number, stays in ((COMMON, False), (COMMON + 1, True)):
        texts = [f"{around[place]} {QUESTION} {around[-place - 1]}" for place in range(number)]
        assert (cleaned(texts, {"rivers": [QUESTION]})[0] == texts) == stays


def test_a_document_in_too_many_pieces_goes() -> None:
    items = [f"{prose(100 + number, 20)}" for number in range(11)]
    parts = [prose(200 + number, 120) for number in range(12)]
    for number in (9, 10, 11):
        text = parts[0] + "".join(f" {item} {part}" for item, part in zip(items[:number], parts[1:], strict=False))
        left, _ = cleaned([text], {"many": items})
        assert len(left) == (number + 1 <= 10)


def test_sets_are_named_in_order() -> None:
    around = prose(5, 120)
    texts = [f"{around} {QUESTION} {around[::-1]}", f"{around} {FRAGE} {around[::-1]}"]
    _, counts = cleaned(texts, {"korean": [FRAGE], "english": [QUESTION], "again": [QUESTION]})
    assert counts == {"passages cut out: in english": 1, "passages cut out: in korean": 1}


def test_sets_are_read_whatever_their_columns(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "question": QUESTION, "choices": ["one", "two"], "answer": 1},
        {"messages": [{"role": "user", "content": FRAGE}]},
    ]
    path = tmp_path / "tests.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    found = list(read_set(str(path)))
    assert QUESTION in found and FRAGE in found
    assert cleaned([FRAGE], {"file": found}) == (
        [],
        {"documents dropped: contaminated": 1, "passages cut out: in file": 1},
    )


def test_a_set_of_plain_text_is_its_lines(tmp_path: Path) -> None:
    (tmp_path / "tests.txt").write_text(f"{QUESTION}\n\n{FRAGE}\n", encoding="utf-8")
    found = list(read_set(str(tmp_path / "tests.txt")))
    assert [line.strip() for line in found if line.strip()] == [QUESTION, FRAGE]
    assert cleaned([FRAGE], {"file": found})[0] == []


WORDS = ["the", "river", "was", "high", "that", "spring"]
TEXT = st.lists(st.sampled_from([*WORDS, "강이", "높았다"]), max_size=40).map(" ".join)


def contaminated(text: str, items: list[str], n: int) -> bool:
    """The definition for texts of words: n words in a row that an item has."""
    found = text.split()
    grams = {tuple(one.split()[at : at + n]) for one in items for at in range(len(one.split()) - n + 1)}
    return any(tuple(found[at : at + n]) in grams for at in range(len(found) - n + 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join), min_size=1, max_size=9), st.data())
def test_exactly_what_shares_words_is_found(texts: list[str], data) -> None:
    items = data.draw(
        st.lists(st.lists(st.sampled_from(WORDS), min_size=8, max_size=8).map(" ".join), min_size=1, max_size=3)
    )
    left, _ = cleaned(texts, {"set": items})
    assert left == [text for text in texts if not contaminated(text, items, 8)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(TEXT, min_size=1, max_size=14), st.lists(st.integers(0, 14), max_size=3), st.randoms(use_true_random=False)
)
def test_batches_and_their_order_do_not_matter(texts: list[str], borders: list[int], rng) -> None:
    grams = grams_of({"set": [" ".join(texts) + " the river was high that spring the river"]})
    parts = cut(texts, borders)
    seen = [observe(one, grams) for one in parts]
    rng.shuffle(seen)
    decided, whole = decide(seen, grams), decide([observe(batch(texts), grams)], grams)
    assert same(decided, whole)
    assert texts_of([apply(one, decided).batch for one in parts]) == texts_of([apply(batch(texts), whole).batch])


def same(one: Grams, other: Grams) -> bool:
    return one.hashes.keys() == other.hashes.keys() and all(
        (hashes == other.hashes[n]).all() and (one.owners[n] == other.owners[n]).all()
        for n, hashes in one.hashes.items()
    )


def test_samples_show_what_went() -> None:
    grams = grams_of({"rivers": [QUESTION]})
    around = prose(6, 120)
    outcome = apply(batch([f"{around} {QUESTION} {around[::-1]}", QUESTION]), grams)
    assert [sample.id for sample in outcome.samples] == ["f:1", "f:2"]
    assert QUESTION in outcome.samples[0].before and outcome.samples[0].after == "[...]"
    assert outcome.samples[1].after == ""
