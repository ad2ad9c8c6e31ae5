"""`export --to onnx`: what onnxruntime makes of the files beside `transformers` on the same folder, at shapes that the
graphs were not written with; writing greedily with the cache; and what is refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from torch import nn

from dodam import cli
from dodam.exchange import onnx as ours
from dodam.exchange.heads import save_classifier
from dodam.folder import save_model
from dodam.models.decoder import Decoder, DecoderConfig
from dodam.models.encoder import Encoder, EncoderConfig, build_encoder, encoder_config
from dodam.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from dodam.models.heads import HeadConfig, add_head
from talking_models import make_tokenizer

TOKENIZER = make_tokenizer()
SIZE = TOKENIZER.size
SIZES = {"vocabulary": SIZE, "width": 32, "heads": 4, "feedforward_size": 48, "context": 64}
DECODER = {**SIZES, "kv_heads": 2, "head_dim": 8}
BERT = {**SIZES, "depth": 1, "segments": 2}
SIDES = {**SIZES, "encoder_depth": 1, "decoder_depth": 1, "head_dim": 8, "start_id": TOKENIZER.pad}
WINDOWED = {"depth": 2, "window": 5, "windowed": (True, False)}


def lively(model: nn.Module) -> Any:
    """Random weights of some size everywhere."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def with_head(model: Any, **options: Any) -> Any:
    add_head(model, HeadConfig(**options), 0)
    return lively(model)


def gemma3() -> Decoder:
    return Decoder(DecoderConfig(
        **DECODER, **WINDOWED, family="gemma3_text", norm="rms-offset", norm_place="around", activation="gelu-tanh",
        embedding_scale=32**0.5, attention_scale=8**-0.5, window_theta=100.0, tied=True,
    ))  # fmt: skip


def modernbert() -> Encoder:
    return Encoder(EncoderConfig(
        **SIZES, **WINDOWED, family="modernbert", norm_place="before", norm_bias=False, first_attention_norm=False,
        attention_bias=False, feedforward_bias=False, gated=True, learned_positions=False, head_bias=False,
        window_theta=100.0, eps=1e-5,
    ))  # fmt: skip


def t5() -> EncoderDecoder:
    return EncoderDecoder(EncoderDecoderConfig(
        **SIDES, family="t5", norm="rms", norm_place="before", bias=False, positions="relative", scaled_embedding=False,
        scaled_hidden=True, attention_scale=1.0, logits_bias=False, eps=1e-6,
    ))  # fmt: skip


MODELS: dict[str, tuple[Callable[[], Any], str]] = {  # the model, the class of transformers that reads its folder
    "qwen3": (lambda: lively(Decoder(DecoderConfig(**DECODER, depth=2))), "AutoModelForCausalLM"),
    "gemma3": (lambda: lively(gemma3()), "AutoModelForCausalLM"),
    "bert": (lambda: lively(Encoder(EncoderConfig(**BERT))), "AutoModelForMaskedLM"),
    "modernbert": (lambda: lively(modernbert()), "AutoModelForMaskedLM"),
    "marian": (lambda: lively(EncoderDecoder(EncoderDecoderConfig(**SIDES))), "MarianMTModel"),
    "t5": (lambda: lively(t5()), "T5ForConditionalGeneration"),
    "bert that classifies": (
        lambda: with_head(Encoder(EncoderConfig(**BERT)), labels=3, pooling="cls", activation="tanh"),
        "AutoModelForSequenceClassification",
    ),
    "qwen3 that classifies": (
        lambda: with_head(
            Decoder(DecoderConfig(**DECODER, depth=1)), labels=3, pooling="last", output_bias=False
        ),
        "AutoModelForSequenceClassification",
    ),
    "bert that finds spans": (
        lambda: with_head(Encoder(EncoderConfig(**BERT)), labels=2, pooling="each"),
        "AutoModelForQuestionAnswering",
    ),
}  # fmt: skip
LENGTHS = (23, 9, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Writes a model's folder and exports it through the command, once; gives the folder and transformers' model."""
    done: dict[str, tuple[Path, Any]] = {}

    def make(name: str) -> tuple[Path, Any]:
        if name in done:
            return done[name]
        folder = tmp_path_factory.mktemp("onnx")
        build, reader = MODELS[name]
        model = build()
        if hasattr(model, "classifier"):
            labels = ("a", "b", "c")[: model.classifier.config.labels]
            problem = "span" if "span" in name else "single_label_classification"
            info = {"format": 1, "stage": "classify"}
            save_classifier(folder / "model", model, TOKENIZER, labels, problem, info=info, card="a test")
        else:
            save_model(folder / "model", model, TOKENIZER, info={"stage": "test"}, card="a test")
        words = ["export", str(folder / "model"), "--to", "onnx", "--out", str(folder / "out"), "--json"]
        assert cli.main(words) == 0
        done[name] = folder, getattr(transformers, reader).from_pretrained(folder / "model").eval()
        return done[name]

    return make


def session(path: Path) -> Callable[[dict[str, Any]], dict[str, np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in opened.get_outputs()]
    return lambda inputs: dict(
        zip(names, opened.run(None, {name: np.asarray(value) for name, value in inputs.items()}), strict=True)
    )


def rows(*, left: bool) -> dict[str, torch.Tensor]:
    """Ids of rows of three lengths, padded on one side, and their mask."""
    generator = torch.Generator().manual_seed(3)
    ids, mask = torch.full((3, LENGTHS[0]), TOKENIZER.pad), torch.zeros(3, LENGTHS[0], dtype=torch.long)
    for row, length in enumerate(LENGTHS):
        place = slice(LENGTHS[0] - length, None) if left else slice(length)
        ids[row, place] = torch.randint(110, SIZE, (length,), generator=generator)
        mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask}


def close(got: np.ndarray, expected: torch.Tensor, mask: torch.Tensor | None = None) -> None:
    real = slice(None) if mask is None else mask.bool()
    torch.testing.assert_close(torch.from_numpy(got)[real], expected[real], atol=1e-4, rtol=1e-4)
    assert expected[real].abs().max() > 0.1


def empty_past(path: Path, num_rows: int) -> dict[str, np.ndarray]:
    shapes = {one.name: one.type.tensor_type.shape.dim for one in onnx.load(path).graph.input}
    return {
        name: np.zeros((num_rows, shape[1].dim_value, 0, shape[3].dim_value), np.float32)
        for name, shape in shapes.items()
        if name.startswith("past_key_values")
    }


# --- beside transformers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_a_decoder_with_its_cache_and_rows_padded_on_the_left(name: str, exported: Callable) -> None:
    folder, theirs = exported(name)
    run, inputs = session(folder / "out" / "model.onnx"), rows(left=True)
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = theirs(**inputs, position_ids=positions).logits
    cut, past = 20, empty_past(folder / "out" / "model.onnx", 3)
    parts = []
    for begin, end in [(0, cut), *((place, place + 1) for place in range(cut, LENGTHS[0]))]:
        step = {"input_ids": inputs["input_ids"][:, begin:end], "position_ids": positions[:, begin:end]}
        said = run({**step, "attention_mask": inputs["attention_mask"][:, :end], **past})
        parts.append(said["logits"])
        past = {one: said[one.replace("past_key_values", "present")] for one in past}
    close(np.concatenate(parts, axis=1), expected, inputs["attention_mask"])


def test_greedy_writing_is_that_of_transformers(exported: Callable) -> None:
    folder, theirs = exported("qwen3")
    run, given = session(folder / "out" / "model.onnx"), TOKENIZER.encode("The sky is 바나나")
    settings = {"max_new_tokens": 30, "do_sample": False, "eos_token_id": None, "pad_token_id": TOKENIZER.pad}
    with torch.no_grad():
        expected = theirs.generate(torch.tensor([given]), attention_mask=torch.ones(1, len(given)), **settings)
    written, new, past = list(given), list(given), empty_past(folder / "out" / "model.onnx", 1)
    for _ in range(30):
        places = np.arange(len(written) - len(new), len(written))[None]
        mask = np.ones((1, len(written)), np.int64)
        said = run({"input_ids": np.array([new]), "attention_mask": mask, "position_ids": places, **past})
        past = {one: said[one.replace("past_key_values", "present")] for one in past}
        new = [int(said["logits"][0, -1].argmax())]
        written += new
    assert written == expected[0].tolist()
    assert len(set(written[len(given) :])) > 3


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_an_encoder(name: str, exported: Callable) -> None:
    folder, theirs = exported(name)
    run, inputs = session(folder / "out" / "model.onnx"), rows(left=False)
    if name == "bert":
        inputs["token_type_ids"] = (torch.arange(LENGTHS[0]) > 6).long().expand(3, -1)
    with torch.no_grad():
        expected = theirs(**inputs, output_hidden_states=True)
    said = run(inputs)
    close(said["logits"], expected.logits, inputs["attention_mask"])
    if name == "bert":  # transformers gives a ModernBERT's last state before its norm
        close(said["last_hidden_state"], expected.hidden_states[-1], inputs["attention_mask"])


@pytest.mark.parametrize("name", ["bert that classifies", "qwen3 that classifies", "bert that finds spans"])
def test_a_classifier(name: str, exported: Callable) -> None:
    folder, theirs = exported(name)
    run, inputs = session(folder / "out" / "model.onnx"), rows(left=False)
    if name.startswith("bert"):
        inputs["token_type_ids"] = (torch.arange(LENGTHS[0]) > 6).long().expand(3, -1)
    with torch.no_grad():
        expected = theirs(**inputs)
    said = run(inputs)
    if "span" in name:
        close(said["start_logits"], expected.start_logits, inputs["attention_mask"])
        close(said["end_logits"], expected.end_logits, inputs["attention_mask"])
    else:
        close(said["logits"], expected.logits)


@pytest.mark.parametrize("context", [16, 64])
@pytest.mark.parametrize("head", [False, True])
def test_a_fresh_encoder_whatever_its_context(context: int, head: bool, tmp_path: Path) -> None:
    model = build_encoder(encoder_config(vocabulary=90, context=context, depth=1, width=64, heads=1), 0)
    if head:
        add_head(model, HeadConfig(labels=3, pooling="mean"), 0)
    compared = ours.write_onnx(tmp_path, lively(model))  # alone and amid padding, at up to all of its positions
    assert compared["logits"] <= 1e-5 * compared["largest"]


@pytest.mark.parametrize("name", ["marian", "t5"])
def test_an_encoder_decoder(name: str, exported: Callable) -> None:
    folder, theirs = exported(name)
    source, target = rows(left=False), rows(left=False)["input_ids"].flip(0)[:, :17].contiguous()
    with torch.no_grad():
        expected = theirs(**source, decoder_input_ids=target).logits
    memory = session(folder / "out" / "encoder_model.onnx")(source)["last_hidden_state"]
    inputs = {"input_ids": target, "encoder_hidden_states": memory, "encoder_attention_mask": source["attention_mask"]}
    close(session(folder / "out" / "decoder_model.onnx")(inputs)["logits"], expected)


def test_what_is_told_and_what_lies_in_the_folder(exported: Callable, capsys) -> None:
    folder, _ = exported("bert")
    out = folder / "out"
    words = ["export", str(folder / "model"), "--to", "onnx", "--out", str(out), "--json"]
    assert cli.main(words) == 0  # a second time it takes the place of the first
    captured = capsys.readouterr()
    told = json.loads(captured.out.splitlines()[-1])
    assert told["files"] == ["model.onnx"] and told["type"] == "f32" and 0 <= told["logits"] < 1e-3
    assert f"the largest difference of a logit: {told['logits']:.3g} of " in captured.err
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (folder / "model" / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {"model", "out"}, "something half-written is left"
    graph = onnx.load(out / "model.onnx")
    assert str(Path(ours.__file__).parent).encode() not in (out / "model.onnx").read_bytes()
    axes = {one.name: [axis.dim_param for axis in one.type.tensor_type.shape.dim] for one in graph.graph.input}
    assert axes.keys() == {"input_ids", "attention_mask", "token_type_ids"}
    assert all(names == ["batch_size", "sequence_length"] for names in axes.values())


# --- refused ----------------------------------------------------------------------------------------------------------


def folder_of(model: Any, path: Path) -> Path:
    return save_model(path, lively(model), TOKENIZER, info={"stage": "test"}, card="a test")


REFUSED = {
    "experts": {"family": "mixtral", "qk_norm": False, "experts": 4, "experts_chosen": 2},
    "attention_softcap": {
        "family": "gemma2", "norm": "rms-offset", "norm_place": "around", "qk_norm": False, "tied": True,
        "activation": "gelu-tanh", "embedding_scale": 32**0.5, "attention_scale": 8**-0.5, "attention_softcap": 50.0,
        "logit_softcap": 30.0,
        "window": 5, "windowed": (True,),
    },
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_has_no_graph_is_refused_by_name(fault: str, tmp_path: Path, capsys) -> None:
    model = folder_of(Decoder(DecoderConfig(**DECODER, depth=1, **REFUSED[fault])), tmp_path / "model")
    assert cli.main(["export", str(model), "--to", "onnx", "--out", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert fault in err and "cannot be written as ONNX" in err and "gguf or hf" in err
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "out", "--type", "q8_0"], "--type: ONNX is not written in q8_0"),
        (["--out", "full"], "full: is there and holds no model of ours"),
        (["--out", "model/config.json"], "is there and holds no model of ours"),
        (["--out", "model"], "--out: is the model to export"),
    ],
)
def test_wrong_use(words: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    folder_of(Encoder(EncoderConfig(**BERT)), tmp_path / "model")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "model", "--to", "onnx", *words]) == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"model", "full"}
    assert (tmp_path / "full" / "diary.txt").read_text() == "mine"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_one_message(package: str, tmp_path: Path, monkeypatch, capsys) -> None:
    folder_of(Encoder(EncoderConfig(**BERT)), tmp_path / "model")
    monkeypatch.delitem(sys.modules, "dodam.exchange.onnx")
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["export", str(tmp_path / "model"), "--to", "onnx", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert f"needs {package}, which is not installed. pip install 'dodam[export]'" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_a_graph_that_computes_something_else_is_not_written(wrong: float, tmp_path: Path, monkeypatch, capsys) -> None:
    folder_of(Encoder(EncoderConfig(**BERT)), tmp_path / "model")
    monkeypatch.setattr(ours, "graphs_of", lambda model, span: [])
    logits = torch.ones(3)
    monkeypatch.setattr(ours, "compared", lambda model, runs: [(logits, logits), (logits, logits + wrong)])
    assert cli.main(["export", str(tmp_path / "model"), "--to", "onnx", "--out", str(tmp_path / "out")]) == 1
    assert "onnxruntime does not compute what the model does: a logit differs by" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
