"""BPE-dropout: against the `tokenizers` library's own, and what has to hold whatever is dropped."""

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from dodam import cli
from dodam.data.pairs import EncodedPair, Pair, PairLoader, encode_pairs, recutting
from dodam.generate.classifier import encode_texts, recut_texts, with_template
from dodam.tokenizer.bpe_dropout import BpeDropout
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import learn

TEXTS = [
    "나는 오늘 학교에 가서 친구를 만났다.",
    "어제는 비가 와서 집에서 책을 읽었다.",
    "Two dogs are running across a wide green field.",
    "A man in a blue shirt is standing on a ladder.",
]
TOKENIZER = Tokenizer(learn([f"{one} {other}" for one in TEXTS for other in TEXTS], 640, SPECIAL_TOKENS).to_str())


@pytest.mark.parametrize("text", [*TEXTS, "", "  두  칸 ", "cafe\u0301 각 <|end|>", "\ud800 half"])
def test_nothing_dropped_is_the_usual_cut(text: str) -> None:
    whole = BpeDropout(TOKENIZER, 0.0, seed=1)
    assert whole.encode(whole.words(text), 7).tolist() == TOKENIZER.encode(text)


@given(text=st.text(max_size=40), share=st.floats(0, 0.99), number=st.integers(0, 2**40))
def test_any_cut_stands_for_the_same_text(text: str, share: float, number: int) -> None:
    dropout = BpeDropout(TOKENIZER, share, seed=2)
    ids = dropout.encode(dropout.words(text), number).tolist()
    assert TOKENIZER.decode(ids) == TOKENIZER.decode(TOKENIZER.encode(text))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_as_many_tokens_as_the_library_draws(share: float) -> None:
    """The library's random numbers cannot be seeded, so that means are compared: over 3,000 cuts of one word each
    within four standard errors."""
    raw = tokenizers.Tokenizer.from_str(TOKENIZER.json)
    raw.model.dropout = share  # type: ignore[attr-defined]
    word = "standing"
    # Each number cuts by one of few kept cuts, so that another seed is what draws anew.
    ours = [len(BpeDropout(TOKENIZER, share, seed).cut(word, 0)) for seed in range(3000)]
    theirs = [len(raw.encode(word, add_special_tokens=False).ids) for _ in range(3000)]
    error = np.sqrt((np.var(ours) + np.var(theirs)) / 3000)
    assert len(TOKENIZER.encode(word)) < np.mean(ours)
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * error


def test_pairs_are_cut_anew_in_every_pass_and_the_same_in_every_process() -> None:
    pairs = [Pair(one, other, "") for one in TEXTS for other in TEXTS]
    encoded = [pair for pair in encode_pairs(TOKENIZER, pairs, 128) if pair is not None]

    def loader() -> PairLoader:
        recut = recutting(TOKENIZER, pairs, encoded, 128, 0.3, seed=5)
        return PairLoader(encoded, batch_tokens=10_000, pad=TOKENIZER.pad, start=TOKENIZER.bos, seed=5, recut=recut)

    first, second = loader().batch(0), loader().batch(1)  # each a whole pass
    assert first.source_BS.equal(loader().batch(0).source_BS)
    assert not np.array_equal(first.source_BS.numpy(), second.source_BS.numpy())
    for batch in (first, second):
        texts = {TOKENIZER.decode(row) for row in batch.source_BS.tolist()}
        assert texts == set(TEXTS)


@pytest.mark.parametrize("second", [None, TEXTS[3]])
def test_texts_to_label_are_cut_anew_in_every_step(second: str | None) -> None:
    tokenizer = with_template(TOKENIZER, "encoder")
    texts = [(text, second) for text in TEXTS[:3]]
    recut = recut_texts(tokenizer, texts, 128, 0.3, seed=4)
    (usual,) = encode_texts(tokenizer, texts[:1], 128)
    drawn = [recut(0, step) for step in range(8)]
    assert drawn == [recut_texts(tokenizer, texts, 128, 0.3, seed=4)(0, step) for step in range(8)]
    assert len({tuple(one.ids) for one in drawn}) > 1
    assert {tokenizer.decode(one.ids) for one in drawn} == {tokenizer.decode(usual.ids)}
    special = {tokenizer.token_id(name) for name in ("<cls>", "<sep>")}
    assert all([t for t in one.ids if t in special] == [t for t in usual.ids if t in special] for one in drawn)
    short = recut_texts(tokenizer, texts, 16, 0.3, seed=4)(0, 0)
    assert len(short.ids) <= 16 and short.cut


def test_a_cut_longer_than_the_context_gives_way_to_the_usual_one() -> None:
    pairs = [Pair(TEXTS[0], TEXTS[2], "")]
    (usual,) = encode_pairs(TOKENIZER, pairs, 64)
    assert usual is not None
    recut = recutting(TOKENIZER, pairs, [usual], max(map(len, usual)), 0.9, seed=0)
    assert recut(0, 0) is usual
    assert isinstance(recutting(TOKENIZER, pairs, [usual], 256, 0.9, seed=0)(0, 0), EncodedPair)


def test_a_tokenizer_that_is_no_bpe_is_refused(tmp_path: Path, capsys) -> None:
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "<bos>": 1, "<eos>": 2, "one": 3}, "<pad>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    with pytest.raises(ValueError, match="no BPE"):
        BpeDropout(Tokenizer(raw.to_str(), foreign={"eos_token": "<eos>", "bos_token": "<bos>"}), 0.1, 0)
    (tmp_path / "tokenizer").mkdir()
    raw.save(str(tmp_path / "tokenizer/tokenizer.json"))
    (tmp_path / "tokenizer/tokenizer_config.json").write_text('{"eos_token": "<eos>", "bos_token": "<bos>"}')
    (tmp_path / "a.tsv").write_text("source\ttarget\none\tone\n")
    words = ["seq2seq", "--data", str(tmp_path / "a.tsv"), "--tokenizer", str(tmp_path / "tokenizer"), "--steps", "1"]
    assert cli.main([*words, "--bpe-dropout", "0.1", "--out", str(tmp_path / "r")]) == 2
    assert "--bpe-dropout" in capsys.readouterr().err
