"""Translating texts with a loaded model, and where it looked: against `transformers`, and invariants."""

from pathlib import Path

import pytest
import torch
import transformers

from dodam.data.pairs import framed_tokenizer, framing
from dodam.evaluate import alignment, translation
from dodam.folder import LoadedModel, load, save_model
from dodam.generate.translate import translate
from dodam.models.encoder_decoder import EncoderDecoder, build_encoder_decoder, encoder_decoder_config
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import learn

TEXTS = [
    "This is an example.",
    "하늘은 파랗다, 그리고 바다는 넓다!",
    "one two three",
    "A box holds 3 apples; another 12.",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights, far from uniform so that its choices are clear."""
    tokenizer = framed_tokenizer(Tokenizer(learn(TEXTS, 448, SPECIAL_TOKENS).to_str()))
    sizes = encoder_decoder_config(
        vocabulary=tokenizer.size, context=80, depth=3, width=32, heads=4, start_id=tokenizer.bos
    )
    model = build_encoder_decoder(sizes, 0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = 0.5 if name.endswith(("output.weight", "down.weight")) else 0.3
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
        model.logits_bias[0, : len(SPECIAL_TOKENS) + 256] = -50.0  # it writes whole tokens, no single bytes,
        model.logits_bias[0, tokenizer.eos] = 3.0  # and comes to an end
    return save_model(tmp_path_factory.mktemp("m") / "model", model, tokenizer, info={}, card="")


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel[EncoderDecoder]:
    return load(folder, ("encoder-decoder",))


@pytest.mark.parametrize("beams", [1, 4])
def test_texts_are_those_of_transformers(beams: int, folder: Path, loaded: LoadedModel) -> None:
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    start = loaded.model.config.start_id
    out = theirs.generate(
        **tokenizer(TEXTS, return_tensors="pt", padding=True), num_beams=beams, length_penalty=0.7, max_new_tokens=25,
        decoder_start_token_id=start, suppress_tokens=[loaded.tokenizer.pad, start],
    )  # fmt: skip
    expected = [text.strip() for text in tokenizer.batch_decode(out, skip_special_tokens=True)]
    assert translate(loaded, TEXTS, beams=beams, length_penalty=0.7, max_tokens=25) == expected
    assert len(set(expected)) == len(TEXTS), "a model that says the same to everything tests nothing"


def test_texts_come_in_their_order_whatever_is_computed_together(loaded: LoadedModel) -> None:
    texts = [*TEXTS, "", "  ", *reversed(TEXTS)]
    together = translate(loaded, texts, max_tokens=20)
    assert together == [translate(loaded, [text], max_tokens=20)[0] for text in texts]
    assert together == translate(loaded, texts, max_tokens=20, max_rows=4)
    assert together[4:6] == ["", ""]
    assert translate(loaded, []) == []


def test_too_long_a_text_is_cut_and_told(loaded: LoadedModel, capsys) -> None:
    long = "one two three " * 40
    frame = framing(loaded.tokenizer)
    kept = loaded.tokenizer.decode(loaded.tokenizer.encode(long)[: 80 - frame.size])
    assert translate(loaded, [long, "one"], max_tokens=8)[0] == translate(loaded, [kept], max_tokens=8)[0]
    assert "cut to the model's 80 tokens: 1 texts" in capsys.readouterr().err


def test_cross_attention_is_that_of_transformers(folder: Path, loaded: LoadedModel) -> None:
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    frame = framing(loaded.tokenizer)
    source, target = (frame.framed(loaded.tokenizer.encode(text)) for text in TEXTS[:2])
    read = torch.tensor([[loaded.model.config.start_id, *target[:-1]]])
    out = theirs(input_ids=torch.tensor([source]), decoder_input_ids=read, output_attentions=True)
    expected = torch.stack(out.cross_attentions[-2:]).mean((0, 1, 2))
    got = alignment.cross_attention(loaded.model, source, target)
    assert got.shape == (len(target), len(source))
    torch.testing.assert_close(got, expected.detach(), atol=1e-5, rtol=1e-4)


def test_words_add_up_to_tokens(loaded: LoadedModel) -> None:
    found = alignment.align(loaded, TEXTS[0], TEXTS[1])
    assert found.source == ["This", "is", "an", "example", ".", "<eos>"]
    assert found.target == ["하늘은", "파랗다", ",", "그리고", "바다는", "넓다", "!", "<eos>"]
    assert found.weights_JI.shape == (8, 6)
    torch.testing.assert_close(found.weights_JI.sum(1), torch.ones(8))
    tokenizer, frame = loaded.tokenizer, framing(loaded.tokenizer)
    ids = [frame.framed(tokenizer.encode(text)) for text in TEXTS[:2]]
    whole = alignment.cross_attention(loaded.model, *ids)
    places = [[first for _, first, _ in alignment.words(tokenizer, side)] for side in ids]
    for (one, first, last), row in zip(alignment.words(tokenizer, ids[1]), found.weights_JI, strict=True):
        end = places[0][1]
        assert float(row[0]) == pytest.approx(float(whole[first:last, :end].sum(1).mean()), rel=1e-4), one


def test_words_of_rare_signs_are_not_torn(loaded: LoadedModel) -> None:
    text = "쀍 뛟뛟 naïve 12"
    ids = loaded.tokenizer.encode(text)
    assert len(ids) > 12, "these signs should be several bytes each"
    assert [word for word, _, _ in alignment.words(loaded.tokenizer, ids)][:3] == ["쀍", "뛟뛟", "naïve"]


def test_the_picture_can_be_drawn_in_any_script(loaded: LoadedModel, tmp_path: Path) -> None:
    found = alignment.draw(loaded, "Das kostet $5 | $6 für Mädchen.", TEXTS[1], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    lines = alignment.table(found).splitlines()
    assert len(lines) == 2 + len(found.target)
    assert [line.replace("\\|", "").count("|") for line in lines] == [4] * len(lines)


def test_scores_are_sacrebleus_with_an_interval_around_them() -> None:
    import sacrebleu

    given = ["Das ist ein Beispiel.", "Ein Hund läuft.", "Zwei Männer sitzen am Tisch.", "Der Himmel ist blau."] * 5
    wanted = [
        "Das ist ein Beispiel.",
        "Ein Hund rennt.",
        "Zwei Männer sitzen an einem Tisch.",
        "Das Meer ist blau.",
    ] * 5
    rows = {row["metric"]: row for row in translation.corpus_scores(given, wanted)}
    assert rows["bleu"]["value"] == pytest.approx(sacrebleu.corpus_bleu(given, [wanted]).score)
    assert rows["chrf"]["value"] == pytest.approx(sacrebleu.corpus_chrf(given, [wanted]).score)
    for row in rows.values():
        assert row["low"] < row["value"] < row["high"] and row["n"] == 20
    assert "tok:13a" in rows["bleu"]["signature"] and "nc:6" in rows["chrf"]["signature"]
    hardly = translation.corpus_scores(["a b c d e f", *["x y"] * 200], ["a b c d e f"] * 201)
    assert all(row["low"] <= row["value"] <= row["high"] for row in hardly)  # where some resamples score nothing
    nothing = {row["metric"]: row for row in translation.corpus_scores([""] * 3, ["a b c d"] * 3)}
    assert nothing["bleu"]["value"] == nothing["bleu"]["low"] == nothing["bleu"]["high"] == 0
