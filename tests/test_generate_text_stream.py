"""Streamed text: whole characters only, stop texts never shown, and together exactly what decoding at once gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.generate.text_stream import TextStream, held_back
from talking_models import make_tokenizer

TOKENIZER = make_tokenizer()
HARD = ["안녕하세요 뷁 쀍", "👩‍👩‍👧‍👦 가족 🇰🇷 👍🏽", "The sky is blue. 하늘은 파랗다.\n\n", "a\u0301 각", "漢字と仮名"]


def pieces(ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(TOKENIZER, stop)
    return [*(stream.push(id) for id in ids), stream.finish()]


@pytest.mark.parametrize("text", HARD)
def test_pieces_are_whole_characters(text: str) -> None:
    ids = TOKENIZER.encode(text)
    found = pieces(ids)
    assert "".join(found) == TOKENIZER.decode(ids)
    assert not any("\ufffd" in piece for piece in found)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40))
def test_any_text_comes_through(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert "".join(pieces(ids)) == TOKENIZER.decode(ids).removesuffix("\ufffd")


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, TOKENIZER.size - 1), max_size=60))
def test_any_ids_come_through(ids: list[int]) -> None:
    """Also bytes that are no UTF-8: only an unfinished end is left out."""
    assert "".join(pieces(ids)) == TOKENIZER.decode(ids).removesuffix("\ufffd")


def test_an_unfinished_syllable_is_dropped() -> None:
    assert "".join(pieces(TOKENIZER.encode("하늘 뷁")[:-1])) == "하늘 "


def test_special_tokens_have_no_text() -> None:
    assert "".join(pieces([TOKENIZER.bos, *TOKENIZER.encode("하늘"), TOKENIZER.end, TOKENIZER.pad])) == "하늘"


def test_stop_texts_are_held_back_until_sure() -> None:
    found = pieces(TOKENIZER.encode("xSTOxSTOPy"), ("STOP",))
    assert "".join(found) == "xSTOx"
    assert not any(piece.endswith(("S", "ST", "STO")) and "STO" not in piece for piece in found)


def test_a_stop_text_that_never_comes_is_given_at_the_end() -> None:
    found = pieces(TOKENIZER.encode("끝 STO"), ("STOP",))
    assert "".join(found) == "끝 STO"
    assert found[-1] == "STO"


def test_after_the_stop_nothing_comes() -> None:
    stream = TextStream(TOKENIZER, ("\n",))
    said = [stream.push(id) for id in TOKENIZER.encode("하나\n둘")]
    assert stream.stopped
    assert "".join(said) + stream.finish() == "하나"


@settings(deadline=None, max_examples=200)
@given(st.text("ab가", max_size=30), st.lists(st.text("ab가", min_size=1, max_size=4), min_size=1, max_size=3))
def test_streamed_stops_equal_a_search_in_the_whole(text: str, stops: list[str]) -> None:
    """Every cut of the text into tokens gives the text before the stop that is complete first."""
    said = "".join(pieces(TOKENIZER.encode(text), tuple(stops)))
    whole = next((end for end in range(len(text) + 1) if any(text[:end].endswith(s) for s in stops)), None)
    if whole is None:
        assert said == text
    else:
        assert said == text[: min(at for s in stops if (at := text[:whole].find(s)) >= 0)]


def test_held_back_is_the_longest_beginning() -> None:
    assert held_back("abcab", ("abd", "bc")) == 2
    assert held_back("abc", ("xyz",)) == 0
    assert held_back("aa", ("aab",)) == 2
