"""What `--split` changes in learning: characters that stay whole, merges that stop at morphemes; and the same size of
vocabulary, special tokens and kind of file for all of them."""

import json
import sys
import unicodedata
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam import cli
from dodam.tokenizer.characters import between, frequent, within
from dodam.tokenizer.morphemes import BORDER, groups, marked
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

LINES = [
    f"{n}번 도토리는 다람쥐가 {n + 2}시에 마을에서 주웠습니다. 토끼에게는 당근이, 다람쥐에게는 도토리가 있었습니다. "
    f"The rabbit had {n} carrots — and a “garden”."
    for n in range(80)
]
SYLLABLES = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), max_size=6)
KOREAN_TEXT = st.lists(
    st.one_of(SYLLABLES, st.sampled_from(["다람쥐가", "에서", " ", "도토리", "é", "“", "—", "7", "the", "🙂", "\n"])),
    max_size=8,
).map("".join)


@cache
def whole(vocabulary: int) -> Tokenizer:
    raw = learn(LINES, vocabulary, SPECIAL_TOKENS, split="korean")
    fill_up(raw, vocabulary)
    return Tokenizer(raw.to_str(pretty=True))


@pytest.mark.parametrize("vocabulary", [448, 512, 704])
@settings(max_examples=80, deadline=None)
@given(text=KOREAN_TEXT)
def test_a_token_holds_whole_characters_or_a_part_of_one(vocabulary: int, text: str) -> None:
    tokenizer = whole(vocabulary)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)
    lengths = tokenizer.byte_lengths()[ids].tolist()
    place, characters = 0, []
    for character in unicodedata.normalize("NFC", text):
        characters.append((place, place + len(character.encode())))
        place = characters[-1][1]
    first = 0
    for length in lengths:
        last = first + length
        inside = [(start, end) for start, end in characters if start < last and end > first]
        assert len(inside) == 1 or (inside[0][0] == first and inside[-1][1] == last)
        first = last
    assert first == place


@pytest.mark.parametrize("vocabulary", [448, 704])
def test_it_is_an_ordinary_tokenizer(vocabulary: int) -> None:
    tokenizer = whole(vocabulary)
    assert tokenizer.size == vocabulary
    assert [tokenizer.token_id(token) for token in SPECIAL_TOKENS] == list(range(110))
    plain = Tokenizer(learn(LINES, vocabulary, SPECIAL_TOKENS).to_str())
    names = [[tokenizer.raw.id_to_token(number) for number in range(110, 366)] for tokenizer in (whole(448), plain)]
    assert names[0] == names[1]
    settings_ = json.loads(tokenizer.json)["model"]
    known = set(settings_["vocab"])
    for left, right in settings_["merges"]:
        assert {left, right, left + right} <= known


def test_what_syllables_are_cut_is_less_than_in_the_plain_order() -> None:
    plain = learn(LINES, 448, SPECIAL_TOKENS)
    tokens = {name: Tokenizer(raw.to_str()) for name, raw in {"plain": plain, "whole": whole(448).raw}.items()}
    parts = {
        name: sum("\ufffd" in tokenizer.piece(token) for line in LINES for token in tokenizer.encode(line))
        for name, tokenizer in tokens.items()
    }
    assert parts["whole"] == 0 < parts["plain"]


def test_merges_within_a_character_come_once_and_in_order() -> None:
    merges = list(within(["가", "각", "é"]))
    assert merges == [("ê", "°"), ("ê°", "Ģ"), ("ê°", "ģ"), ("Ã", "©")]
    assert list(between([("가", "나"), ("a", "b"), ("가", "뷁")], ["가", "나"])) == [("ê°Ģ", "ëĤĺ"), ("a", "b")]


def test_frequent_characters_are_those_that_cover_the_text() -> None:
    from collections import Counter

    counts = Counter({"a": 10**6, "가": 900, "나": 99, "다": 1, "라": 3})
    assert frequent(counts, 99) == ["가", "나", "라"]
    assert frequent(counts, 2) == ["가", "나"]
    assert frequent(Counter("abc"), 9) == []


# Morphemes


class Morpheme:
    def __init__(self, start: int, len: int) -> None:
        self.start, self.len = start, len


@pytest.mark.parametrize(
    ("word", "tokens", "parts"),
    [
        ("학교에서는", [(0, 2), (2, 2), (4, 1)], ["학교", "에서", "는"]),
        ("했다", [(0, 1), (0, 1), (1, 1)], ["했", "다"]),
        ("갔습니다", [(0, 1), (0, 1), (1, 3)], ["갔", "습니다"]),
        ("나무", [(0, 2)], ["나무"]),
        ("나무", [], ["나무"]),
        ("가나다", [(0, 2), (1, 2)], ["가나다"]),  # what overlaps is not cut
    ],
)
def test_words_are_cut_where_a_morpheme_begins_and_none_goes_on(word: str, tokens: list, parts: list[str]) -> None:
    found = marked(word, [Morpheme(*token) for token in tokens])  # pyrefly: ignore
    assert found.split(BORDER) == parts


def test_texts_are_grouped_without_loss() -> None:
    texts = ["가" * 400_000, "나" * 700_000, "", "다"]
    found = list(groups(texts))
    assert [len(group) for group in found] == [2, 2]
    assert [text for group in found for text in group] == texts


def test_morphemes_shape_learning_only(tmp_path: Path) -> None:
    """Merges stop at the borders of morphemes, and the file is one that cuts like any other."""
    pytest.importorskip("kiwipiepy")
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": line + BORDER}) for line in LINES), encoding="utf-8")
    for split in ("qwen2", "morphemes"):
        words = ["tokenizer", "train", "--data", str(path), "--vocabulary", "704", "--split", split]
        assert cli.main([*words, "--out", str(tmp_path / split)]) == 0
    plain, cut = (Tokenizer.load(tmp_path / split) for split in ("qwen2", "morphemes"))
    one, two = (json.loads(tokenizer.json) for tokenizer in (plain, cut))
    assert one["pre_tokenizer"] == two["pre_tokenizer"] and one["normalizer"] == two["normalizer"]
    pieces = [{tokenizer.piece(token) for token in range(366, tokenizer.size)} for tokenizer in (plain, cut)]
    assert " 마을에서" in pieces[0] and " 다람쥐가" in pieces[0]
    assert " 마을" in pieces[1] and "에서" in pieces[1] and " 다람쥐" in pieces[1]
    assert not pieces[1] & {" 마을에서", " 다람쥐가", " 토끼에게는", " 도토리는"}
    assert not any(BORDER in piece for piece in pieces[1])
    assert cut.decode(cut.encode(LINES[0])) == LINES[0]


def test_morphemes_without_the_analyser_are_refused_with_what_to_install(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    (tmp_path / "a.txt").write_text("\n".join(LINES), encoding="utf-8")
    words = ["tokenizer", "train", "--data", str(tmp_path / "a.txt"), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--split", "morphemes"]) == 2
    assert "dodam[ko]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [["--split", "gpt4", "--digits", "single"], ["--split", "korean"], ["--split", "llama3"]]
)
def test_the_flags_are_those_of_the_file(words: list[str], tmp_path: Path, capsys) -> None:
    (tmp_path / "a.txt").write_text("\n".join(LINES), encoding="utf-8")
    line = ["tokenizer", "train", "--data", str(tmp_path / "a.txt"), "--vocabulary", "512", *words]
    assert cli.main([*line, "--out", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["split"] == words[1] and result["digits"] == (words[3] if len(words) > 2 else None)
    tokenizer = Tokenizer.load(tmp_path / "out")
    digits = [tokenizer.raw.pre_tokenizer.pre_tokenize_str("원1234원")[1][0]]
    assert digits == ["123" if words == ["--split", "llama3"] else "1"]
    assert tokenizer.size == 512


def test_a_choice_that_is_not_there_is_named(tmp_path: Path, capsys) -> None:
    line = ["tokenizer", "train", "--data", "a.txt", "--out", str(tmp_path), "--split", "gpt5"]
    assert cli.main(line) == 2
    assert "gpt4o" in capsys.readouterr().err
