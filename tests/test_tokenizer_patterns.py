"""What words are: the cuts of every choice, the same by the reference, the fast library and the `regex` package, and
their names in llama.cpp."""

import json
from functools import cache

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.errors import FolderError
from dodam.exchange.gguf_tokenizer import pre_tokenizer as name_in_llama_cpp
from dodam.tokenizer.patterns import SPLITS, Digits, SplitName, choice_of, pre_tokenizer
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

LINES = [
    f"{n}번 상자에는 사과가 {n * 37}개 있었고, 학교에서는 고양이와 놀았다. Box {n} holds {n + 1990} apples, isn't it?"
    for n in range(60)
]
WITHOUT_ANALYSER = [name for name in SPLITS if name != "morphemes"]
CHOICES = [(name, digits) for name in WITHOUT_ANALYSER for digits in (None, "single", "grouped")]
IN_LLAMA_CPP = {
    ("qwen2", None): "qwen2", ("qwen2", "single"): "qwen2", ("qwen2", "grouped"): "dbrx",
    ("gpt2", None): "gpt-2", ("gpt2", "single"): "smollm",
    ("gpt4", None): "dbrx", ("gpt4", "grouped"): "dbrx", ("gpt4", "single"): "qwen2",
    ("gpt4o", None): "gpt-4o", ("gpt4o", "grouped"): "gpt-4o",
    ("llama3", None): "llama-bpe", ("llama3", "grouped"): "llama-bpe", ("llama3", "single"): "qwen2",
}  # fmt: skip
WORDS = [
    "학교에서는",
    "이",
    "가",
    " 고양이",
    "12345",
    "don't",
    "I'LL",
    "\n",
    "  ",
    "\r\n",
    "🙂",
    "é",
    "(서울로)",
    "AI가",
    "ᄒ",
]
# Signs that every library's tables of Unicode know: what is new in one of them is no letter in another.
SIGNS = st.one_of(
    *(st.characters(min_codepoint=first, max_codepoint=last) for first, last in ((0, 0x24F), (0xAC00, 0xD7A3))),
    st.sampled_from([*"漢字かなカナ🙂👍🏽…“”①½²é\u3000\u200b\ufeff\u0301ᄒ힣ﬁ"]),
)
ANY_TEXT = st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map("".join), st.text(SIGNS, max_size=40))


def cut(name: SplitName, text: str, digits: Digits | None = None) -> list[str]:
    return [word for word, _ in pre_tokenizer(SPLITS[name].cuts(digits), by_bytes=False).pre_tokenize_str(text)]


@cache
def learned(name: SplitName, digits: Digits | None) -> Tokenizer:
    raw = learn(LINES, 576, SPECIAL_TOKENS, split=name, digits=digits)
    fill_up(raw, 576)
    return Tokenizer(raw.to_str(pretty=True))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qwen2", ["Don", "'t", " ", "1", "2", "3", "4", "개를", " 학교에서는", "\n\n", "집에서"]),
        ("gpt2", ["Don", "'t", " 1234", "개를", " 학교에서는", "\n", "\n", "집에서"]),
        ("gpt4", ["Don", "'t", " ", "123", "4", "개를", " 학교에서는", "\n\n", "집에서"]),
        ("gpt4o", ["Don't", " ", "123", "4", "개를", " 학교에서는", "\n\n", "집에서"]),
        ("korean", ["Don", "'t", " ", "1", "2", "3", "4", "개를", " 학교", "에서", "는", "\n\n", "집", "에서"]),
    ],
)
def test_cuts(name: SplitName, words: list[str]) -> None:
    assert cut(name, "Don't 1234개를 학교에서는\n\n집에서") == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("도서관으로부터", ["도서관", "으로", "부터"]),
        ("나는 우리가", ["나는", " 우리", "가"]),  # a stem has two syllables before a particle of one
        ("친구에게서만", ["친구", "에게서", "만"]),
        ("(서울에)", ["(서울", "에", ")"]),
        ("AI가", ["AI", "가"]),
        ("먹었습니다", ["먹었습니다"]),
        ("에서", ["에서"]),
        ("학교에서 간", ["학교", "에서", " 간"]),
        ("학교에서간", ["학교에서간"]),  # what goes on is no particle
    ],
)
def test_the_korean_choice_cuts_before_particles(text: str, words: list[str]) -> None:
    assert cut("korean", text) == words


def test_a_long_run_of_hangul_is_cut_into_long_words() -> None:
    """Stems are bounded, so nobody can make the pattern look at a line again from each of its syllables."""
    assert len(cut("korean", "에서이가" * 5000)) < 5
    assert len(cut("korean", "나" * 20_000)) == 1


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("single", ["9", "9", "9", "9", "9"]),
        ("grouped", ["999", "99"]),
    ],
)
@pytest.mark.parametrize("name", SPLITS)
def test_digits_one_by_one_or_by_three(name: SplitName, digits: Digits, words: list[str]) -> None:
    assert cut(name, "99999", digits) == words
    assert cut(name, "원99999원", digits) == ["원", *words, "원"]


@pytest.mark.parametrize("name", WITHOUT_ANALYSER)
@settings(max_examples=40, deadline=None)
@given(text=ANY_TEXT)
def test_nothing_is_lost_and_the_regex_package_cuts_alike(name: SplitName, text: str) -> None:
    words = cut(name, text)
    assert "".join(words) == text
    assert words == [found[0] for found in regex.finditer(SPLITS[name].patterns[0], text)]


@pytest.mark.parametrize(("name", "digits"), CHOICES)
@settings(max_examples=15, deadline=None)
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_the_fast_library_gives_the_same_ids(name: SplitName, digits: Digits | None, texts: list[str]) -> None:
    tokenizer = learned(name, digits)
    assert tokenizer.encode_batch([*texts, *LINES[:2]]) == [tokenizer.encode(text) for text in [*texts, *LINES[:2]]]


@pytest.mark.parametrize(("name", "digits"), CHOICES)
def test_the_fast_library_is_used_for_every_choice(name: SplitName, digits: Digits | None, capsys) -> None:
    """No message says that it could not be had or gave other ids."""
    assert learned(name, digits).encode_batch(LINES)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "digits"), CHOICES)
def test_llama_cpp_has_a_name_or_the_choices_are_told(name: SplitName, digits: Digits | None) -> None:
    settings_ = json.loads(learned(name, digits).json)
    if (name, digits) in IN_LLAMA_CPP:
        assert name_in_llama_cpp(settings_) == IN_LLAMA_CPP[name, digits]
        return
    with pytest.raises(FolderError) as caught:
        name_in_llama_cpp(settings_)
    told = choice_of(SPLITS[name].cuts(digits))
    assert told.startswith(f"--split {name}") and told in caught.value.what
    assert "--split qwen2, gpt2, gpt4, gpt4o, llama3, morphemes" in caught.value.mend


def test_a_saved_tokenizer_needs_no_code_of_ours() -> None:
    from tokenizers import Tokenizer as Raw

    for name, digits in CHOICES:
        tokenizer = learned(name, digits)
        raw = Raw.from_str(tokenizer.json)
        assert [raw.encode(line).ids for line in LINES] == tokenizer.encode_batch(LINES)


def test_choices_are_known_by_their_patterns() -> None:
    assert choice_of(SPLITS["korean"].cuts("grouped")) == "--split korean --digits grouped"
    assert choice_of(SPLITS["gpt4o"].cuts("single")) == "--split gpt4o --digits single"
    assert choice_of((r"\p{L}+",)) == ""
