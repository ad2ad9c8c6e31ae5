"""Text to ids and back: round trips, special tokens as text, the fast encoder, transformers reading the folder."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.errors import FolderError
from dodam.tokenizer import train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

TEXTS = [
    "The sky is blue, and 2024 was 47+38=85.",
    "하늘은 파랗고 나무는 푸르다. 도담도담 자란다.",
    "a\n\n  b\t<|end|> <bos> 🙂",
] * 9


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = train.learn(TEXTS, 512, SPECIAL_TOKENS)
    train.fill_up(raw, 512)
    return Tokenizer(raw.to_str(pretty=True))


def test_special_tokens_have_the_first_ids_and_the_size_is_as_asked(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_id(token) for token in SPECIAL_TOKENS] == list(range(110))
    assert tokenizer.size == 512
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos, tokenizer.end) == (0, 1, 2, 9)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_comes_back_in_nfc_and_never_becomes_a_special_token(tokenizer: Tokenizer, text: str) -> None:
    import unicodedata

    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)
    assert all(token >= len(SPECIAL_TOKENS) for token in ids)
    assert tokenizer.byte_lengths()[ids].sum() == len(unicodedata.normalize("NFC", text).encode())


def test_special_looking_text_is_text_but_a_template_is_not(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a<|end|>b")) == "a<|end|>b"
    assert tokenizer.encode_template("<bos><|user|>") == [tokenizer.bos, tokenizer.token_id("<|user|>")]


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    assert [tokenizer.piece(token) for token in tokenizer.encode("2024")] == ["2", "0", "2", "4"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=20))
def test_bulk_encoding_gives_the_same_ids(tokenizer: Tokenizer, texts: list[str]) -> None:
    texts = [*texts, "<|end|>", "x<eos>y"]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_a_fast_encoder_that_disagrees_is_not_used(tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    class Wrong:
        def encode_batch_flat(self, texts: list[str], split_special_tokens: bool) -> tuple[bytes, bytes]:
            return np.zeros(len(texts), np.uint32).tobytes(), np.arange(len(texts) + 1, dtype=np.uint64).tobytes()

    other = Tokenizer(tokenizer.json)
    other.__dict__["_fast"] = Wrong()
    assert other.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert "using `tokenizers`" in capsys.readouterr().err


def test_saved_and_loaded_is_the_same_and_transformers_agrees(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path, context=64)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    plain = TEXTS[:2]
    assert [theirs(text, add_special_tokens=False)["input_ids"] for text in plain] == [again.encode(t) for t in plain]
    assert (theirs.bos_token_id, theirs.pad_token_id) == (tokenizer.bos, tokenizer.pad)


def test_a_torn_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "trunc', encoding="utf-8")
    with pytest.raises(FolderError, match=r"tokenizer\.json: cannot be"):
        Tokenizer.load(tmp_path)
