"""The teaching BPE is the fast one: the same merges, the same ids, every text comes back."""

from functools import cache

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from dodam.tokenizer import bpe
from dodam.tokenizer.bpe import Bpe, learn, spelt, unspelt, words_of
from dodam.tokenizer.patterns import GPT2, KOREAN, QWEN2, pre_tokenizer

KOREAN_TEXT = (
    "도토리 마을에는 다람쥐와 토끼가 살았습니다. 다람쥐는 도토리를 모으고, 토끼는 당근을 키웠습니다. "
    '어느 날 토끼가 다람쥐에게 물었습니다. "도토리를 몇 개나 모았니?" 다람쥐는 27개라고 대답했습니다. '
    "그래서 둘은 도토리와 당근을 나누어 먹기로 했고, 겨울이 와도 마을에서는 아무도 배고프지 않았습니다.\n\n"
)
ENGLISH_TEXT = (
    "The village by the river had a squirrel and a rabbit. The squirrel gathered acorns, and the rabbit grew carrots.\n"
    "One day the rabbit asked: \"How many acorns have you gathered?\" The squirrel said it wasn't counting them.\n"
    "So they shared the acorns and the carrots, and when winter came nobody in the village was hungry.\n\n"
)  # fmt: skip
TEXTS = {"korean": KOREAN_TEXT, "english": ENGLISH_TEXT, "both": KOREAN_TEXT + ENGLISH_TEXT}
PATTERNS = {"qwen2": QWEN2, "gpt2": GPT2, "korean": KOREAN}
NUM_MERGES = 100


@cache
def fast(text: str, pattern: str) -> tokenizers.Tokenizer:
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizer((pattern,)), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        [text], trainers.BpeTrainer(vocab_size=256 + NUM_MERGES, initial_alphabet=alphabet, show_progress=False)
    )
    return raw


@cache
def teaching(text: str, pattern: str) -> Bpe:
    return Bpe(learn(words_of(text, pattern), NUM_MERGES), pattern)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("text", TEXTS)
def test_merges_and_ids_are_those_of_the_library(text: str, pattern: str) -> None:
    raw, ours = fast(TEXTS[text], PATTERNS[pattern]), teaching(TEXTS[text], PATTERNS[pattern])
    vocabulary = raw.get_vocab()
    assert vocabulary == {spelt(token): number for token, number in ours.ids.items()}
    assert len(vocabulary) == 256 + NUM_MERGES
    for one in TEXTS.values():
        assert ours.encode(one) == raw.encode(one).ids


def test_the_example_of_the_head() -> None:
    merges = learn([b"aaabdaaabac"], 3)
    assert merges == [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]
    assert [Bpe(merges).tokens[number] for number in Bpe(merges).encode("aaabdaaabac")] == [
        b"aaab", b"d", b"aaab", b"a", b"c",
    ]  # fmt: skip


def test_learning_ends_where_nothing_is_left() -> None:
    assert learn([b"ab", b"c"], 9) == [(b"a", b"b")]
    assert learn([], 9) == []


# Signs that every library's tables of Unicode know: what is new in one of them is no letter in another.
SIGNS = st.one_of(
    *(st.characters(min_codepoint=first, max_codepoint=last) for first, last in ((0, 0x24F), (0xAC00, 0xD7A3))),
    st.sampled_from([*"漢字かなカナ🙂👍🏽…“”①½²é\u3000\u200b\ufeff\u0301ᄒ힣ﬁ"]),
)


@settings(max_examples=150, deadline=None)
@given(st.text(SIGNS))
def test_any_text_comes_back_and_has_the_ids_of_the_library(text: str) -> None:
    ours = teaching(TEXTS["both"], QWEN2)
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert ids == fast(TEXTS["both"], QWEN2).encode(text).ids


def test_tokens_are_spelt_as_the_library_spells_bytes() -> None:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in (" 가나다", "\x00\t\n\x7f é", "🙂", "".join(map(chr, range(256)))):
        assert spelt(text.encode()) == "".join(word for word, _ in level.pre_tokenize_str(text))
        assert unspelt(spelt(text.encode())) == text.encode()
    assert sorted(bpe.LETTERS.values()) == [bpe.LETTERS[byte] for byte in bpe.BYTES]
    assert unspelt(spelt(bytes(range(256)))) == bytes(range(256))


def test_a_part_of_a_character_is_shown_as_no_character() -> None:
    ours = Bpe([])
    assert ours.decode(ours.encode("가")[:2]) == "\ufffd"
