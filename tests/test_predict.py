"""`dodam predict`: an object for every text, in the order of the input, whatever the model and the file."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from dodam import cli
from dodam.exchange.heads import head_config, save_classifier
from dodam.folder import load, save_model
from dodam.generate.classifier import encode_texts, load_classifier, logits_of, probabilities, with_template
from dodam.generate.fill import fill
from dodam.generate.translate import translate
from dodam.models.build import build_decoder, decoder_config
from dodam.models.encoder import build_encoder, encoder_config
from dodam.models.heads import add_head
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

WORDS = ("하늘은", "바다는", "파랗다", "붉다", "the", "sky", "is", "blue", "and", "warm")
ONE = ["--threads", "1", "--device", "cpu"]


def texts(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 20))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = learn(texts(200), 512, SPECIAL_TOKENS)
    fill_up(raw, 512)
    return Tokenizer(raw.to_str())


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of each kind, an encoder and a decoder, with random weights that give varied answers."""
    base = tmp_path_factory.mktemp("models")
    problems: dict[str, tuple[Any, list[str], bool]] = {
        "single": ("single_label_classification", ["맑음", "rain", "snow"], False),
        "pair": ("single_label_classification", ["same", "other"], True),
        "multilabel": ("multi_label_classification", ["a", "b", "c"], False),
        "regression": ("regression", [], True),
    }
    sizes = encoder_config(vocabulary=512, context=32, depth=1, width=32, heads=2)
    for name, (problem, labels, pairs) in problems.items():
        model: Any = build_encoder(sizes, 1)
        add_head(model, head_config(sizes, len(labels) or 1), 1)
        shake(model)
        framed = with_template(tokenizer, "encoder")
        logits = logits_of(model.eval(), encode_texts(framed, [(text, None) for text in texts(60)], 24), framed.pad)
        with torch.no_grad():  # no label is always the likeliest
            model.classifier.output.bias -= torch.from_numpy(logits.mean(0))
        info = {"format": 1, "pairs": pairs, "context": 24}
        save_classifier(base / name, model, framed, labels, problem, info=info, card="")
    encoder = build_encoder(sizes, 2)
    decoder = build_decoder(decoder_config(vocabulary=512, context=32, depth=1, width=32, heads=2), 0)
    for name, language_model in (("encoder", encoder), ("decoder", decoder)):
        shake(language_model)
        save_model(base / name, language_model, tokenizer, info={}, card="")
    return base


def shake(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def predicted(*words: object) -> list[dict[str, Any]]:
    """What `predict` writes to a file."""
    output = Path(str(words[words.index("--output") + 1]))
    assert cli.main(["predict", *map(str, words), *ONE]) == 0
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def test_labels_are_in_the_order_of_the_input_and_the_same_one_by_one(folder: Path, tmp_path: Path) -> None:
    asked = texts(60)
    (tmp_path / "in.txt").write_text("\n".join(asked), encoding="utf-8")
    found = predicted(folder / "single", "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl")
    classifier = load_classifier(folder / "single")
    for text, one in zip(asked, found, strict=True):
        logits, _ = classifier.logits([(text, None)])
        shares = probabilities(logits, classifier.problem)[0]
        assert one.keys() == {"label", "confidence"} and one["label"] == classifier.labels[shares.argmax()]
        assert one["confidence"] == pytest.approx(float(shares.max()), abs=1e-5)
    assert len({one["label"] for one in found}) > 1, "a model that always says the same proves nothing"


def test_every_kind_of_file_gives_the_same(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    asked = texts(12)
    (tmp_path / "a.txt").write_text("\n".join(asked) + "\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in asked))
    (tmp_path / "a.csv").write_text("id,document\n" + "".join(f"{n},{text}\n" for n, text in enumerate(asked)))
    (tmp_path / "b.tsv").write_text("".join(f"x\t{text}\n" for text in asked))
    out, model = tmp_path / "out.jsonl", folder / "single"
    expected = predicted(model, "--input", tmp_path / "a.txt", "--output", out)
    assert predicted(model, "--input", tmp_path / "a.jsonl", "--columns", "text=body", "--output", out) == expected
    assert predicted(model, "--input", tmp_path / "a.csv", "--output", out) == expected
    assert predicted(model, "--input", tmp_path / "b.tsv", "--columns", "text=2", "--output", out) == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(asked) + "\n"))
    capsys.readouterr()
    assert cli.main(["predict", str(model), "--input", "-", "--json", *ONE]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert json.loads(last)["texts"] == 12


def test_pairs_sets_and_numbers(folder: Path, tmp_path: Path, capsys) -> None:
    rows = list(zip(texts(20), texts(20, seed=1), strict=True))
    (tmp_path / "p.txt").write_text("".join(f"{one}\t{two}\n" for one, two in rows), encoding="utf-8")
    (tmp_path / "p.csv").write_text("sentence1,sentence2\n" + "".join(f"{one},{two}\n" for one, two in rows))
    out = tmp_path / "out.jsonl"
    found = predicted(folder / "pair", "--input", tmp_path / "p.txt", "--output", out)
    assert found == predicted(folder / "pair", "--input", tmp_path / "p.csv", "--output", out)
    assert {one["label"] for one in found} <= {"same", "other"}
    assert "were cut" in capsys.readouterr().err

    classifier = load_classifier(folder / "regression")
    scores = [one["score"] for one in predicted(folder / "regression", "--input", tmp_path / "p.csv", "--output", out)]
    assert scores == pytest.approx(classifier.logits(rows)[0][:, 0].tolist(), abs=1e-5)

    (tmp_path / "t.txt").write_text("\n".join(one for one, _ in rows), encoding="utf-8")
    several = load_classifier(folder / "multilabel")
    shares = probabilities(several.logits([(one, None) for one, _ in rows])[0], several.problem)
    found = predicted(folder / "multilabel", "--input", tmp_path / "t.txt", "--output", out)
    for one, row in zip(found, shares, strict=True):
        assert set(one["labels"]) == {label for label, share in zip("abc", row, strict=True) if share >= 0.5}
        assert one["confidences"] == sorted(one["confidences"], reverse=True)
    assert len({len(one["labels"]) for one in found}) > 1


def test_an_encoder_fills_masks_in(folder: Path, tmp_path: Path) -> None:
    asked = ["the sky is [MASK]", "[MASK] and [MASK]"]
    (tmp_path / "in.txt").write_text("\n".join(asked))
    found = predicted(folder / "encoder", "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl")
    expected = fill(load(folder / "encoder", ("encoder",)), asked)
    assert [len(one["tokens"]) for one in found] == [1, 2]
    for one, masks in zip(found, expected, strict=True):
        for mine, theirs in zip(one["tokens"], masks, strict=True):
            assert [guess["token"] for guess in mine] == [guess["token"] for guess in theirs]


def test_an_encoder_decoder_translates(tokenizer: Tokenizer, tmp_path: Path) -> None:
    config = transformers.T5Config(
        vocab_size=512, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=2, pad_token_id=tokenizer.pad,
        eos_token_id=tokenizer.eos, decoder_start_token_id=tokenizer.pad,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path / "t5")
    tokenizer.save(tmp_path / "t5")
    asked = texts(3)
    (tmp_path / "in.txt").write_text("\n".join(asked), encoding="utf-8")
    found = predicted(tmp_path / "t5", "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl")
    assert [one["text"] for one in found] == translate(load(tmp_path / "t5", ("encoder-decoder",)), asked)


def test_a_line_without_a_mask_keeps_its_place(folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo [MASK]\n", encoding="utf-8")
    found = predicted(folder / "encoder", "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl")
    assert [len(one["tokens"]) for one in found] == [0, 1]
    assert "1 of 2 texts have no mask to fill in, as" in capsys.readouterr().err


HARMS: dict[str, tuple[str, str, list[str], int, str]] = {
    "an empty line": ("single", "one\n\ntwo\n", [], 1, "in.txt:2: the text is empty"),
    "nothing": ("single", "", [], 1, "holds no texts"),
    "a pair without its second text": ("pair", "one\ttwo\nalone\n", [], 1, "in.txt:2: a pair needs a second text"),
    "no second column": ("pair", "one\ntwo\n", [], 2, "there is no column of second texts"),
    "a second text too many": ("single", "one\ttwo\n", ["--columns", "text2=2"], 2, "this model reads one text"),
    "labels": ("single", "one\n", ["--columns", "label=1"], 2, "labels are what is predicted"),
    "a decoder": ("decoder", "one\n", [], 1, "holds a decoder (qwen3)"),
    "no model": ("nowhere", "one\n", [], 1, "there is no such folder"),
    "no mask": ("encoder", "one\n", [], 1, "1 of 1 texts have no mask to fill in, as"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_wrong_is_one_message_and_nothing_is_written(harm: str, folder: Path, tmp_path: Path, capsys) -> None:
    model, content, flags, code, message = HARMS[harm]
    (tmp_path / "in.txt").write_text(content)
    words = ["predict", folder / model, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl", *flags]
    assert cli.main([*map(str, words), *ONE]) == code
    err = capsys.readouterr().err
    assert message in err and "mistake in dodam" not in err and "--skip-bad" not in err
    assert [file.name for file in tmp_path.iterdir()] == ["in.txt"]


def test_a_folder_that_transformers_trained_is_read(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """One that says neither its task nor how many texts it reads."""
    config = transformers.BertConfig(
        vocab_size=512, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=32, id2label={0: "no", 1: "yes"}, pad_token_id=tokenizer.pad,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "bert")
    tokenizer.save(tmp_path / "bert")
    (tmp_path / "in.tsv").write_text("text\ttext2\nthe sky\tis blue\n")
    out = tmp_path / "out.jsonl"
    (one,) = predicted(tmp_path / "bert", "--input", tmp_path / "in.tsv", "--output", out)
    (two,) = predicted(tmp_path / "bert", "--input", tmp_path / "in.tsv", "--columns", "text2=text2", "--output", out)
    cls, sep = tokenizer.token_id("<cls>"), tokenizer.token_id("<sep>")
    first, second = tokenizer.encode("the sky"), tokenizer.encode("is blue")
    for found, ids, segments in (
        (one, [cls, *first, sep], [0] * (len(first) + 2)),
        (two, [cls, *first, sep, *second, sep], [0] * (len(first) + 2) + [1] * (len(second) + 1)),
    ):
        with torch.inference_mode():
            logits = model(torch.tensor([ids]), token_type_ids=torch.tensor([segments])).logits[0]
        assert found["label"] == ("no", "yes")[int(logits.argmax())]
        assert found["confidence"] == pytest.approx(float(logits.softmax(0).max()), abs=1e-5)
