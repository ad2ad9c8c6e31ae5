"""Masked pretraining: its loss against a naive one, its masks, what is measured on held-back text, a run's story."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from torch.utils.flop_counter import FlopCounterMode

from dodam import cli
from dodam.config import build
from dodam.data.batch import IGNORED, TokenBatch
from dodam.data.corrupt import Units, unit_numbers
from dodam.data.loader import RowLoader
from dodam.errors import UsageError
from dodam.folder import load
from dodam.models.build import flops_per_token, num_parameters
from dodam.models.encoder import Encoder, EncoderConfig, build_encoder, encoder_config
from dodam.nn.mask import EVERYTHING, document_mask
from dodam.stages.masked import Masking, Measure, learning_rates, masked_task, masking_of, unigram_nats
from dodam.stages.pretrain import Pretrain
from dodam.stages.validation import fills, masked_loss
from dodam.tokenizer import train as tokenizer_train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.train import budget, objective
from dodam.train.loop import one_step
from dodam.train.objective import MaskedCrossEntropy
from dodam.train.optim import OptimConfig, Optimizers

SENTENCES = [f"{number}번째 나무에는 새가 {number + 3}마리 앉아 있다." for number in range(400)]
SIZE, MASK, BOS, FIRST_PLAIN = 96, 3, 1, 10
TOKENS = Units(starts=np.ones(SIZE, bool), ends=np.ones(SIZE, bool), special=np.arange(SIZE) < FIRST_PLAIN)


def masking(**changes: Any) -> Masking:
    plain = Masking(units=TOKENS, mask=MASK, bos=BOS, share=0.3, seed=0, document_mask=False)
    return replace(plain, **changes)


def rows(count: int, context: int, seed: int = 0) -> np.ndarray:
    """Rows with a few documents each."""
    drawn = np.random.default_rng(seed).integers(FIRST_PLAIN, SIZE, (count, context + 1))
    drawn[:, 5] = drawn[0, 9] = BOS
    return drawn


def loader(context: int = 16, length: int = 400) -> RowLoader:
    tokens = np.random.default_rng(3).zipf(1.5, length) % (SIZE - FIRST_PLAIN) + FIRST_PLAIN
    return RowLoader([SimpleNamespace(name="a", tokens=tokens, weight=1.0, epochs=0.0)], context, 0)


def encoder(**sizes: Any) -> Encoder:
    """Random weights everywhere: fresh encoders have zero projections and biases, which would hide mistakes."""
    config = encoder_config(vocabulary=SIZE, context=32, depth=2, width=32, heads=2, family="bert")
    model = Encoder(replace(config, **sizes))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5 if parameter.ndim == 1 else 0.0, 0.2, generator=generator)
    return model


def naive(model: Encoder, batch: TokenBatch) -> torch.Tensor:
    """The same loss with the whole head, in the model's own dtype."""
    mask = EVERYTHING if batch.documents_BT is None else document_mask(batch.documents_BT, causal=False)
    logits = model.head(model(batch.ids_BT, positions_BT=batch.positions_BT, mask=mask))
    return F.cross_entropy(logits.flatten(0, 1), batch.labels_BT.flatten(), reduction="sum")


@pytest.mark.parametrize("document_mask", [False, True])
@pytest.mark.parametrize("output_bias", [True, False])
def test_the_loss_and_its_gradients_are_a_naive_ones_in_fp64(
    document_mask: bool, output_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objective, "CHUNK", 7)
    batch = masking(document_mask=document_mask).batch(rows(3, 16), 0)
    model = encoder(output_bias=output_bias)
    exact = encoder(output_bias=output_bias).double()
    loss = MaskedCrossEntropy()(model, batch)
    (loss * 0.3).backward()
    expected = naive(exact, batch)
    (expected * 0.3).backward()
    torch.testing.assert_close(loss.double(), expected, atol=1e-4, rtol=1e-6)
    theirs = dict(exact.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad.double(), theirs[name].grad, atol=1e-4, rtol=1e-4, msg=name)


def test_the_head_is_computed_for_masked_positions_alone_and_in_bfloat16_the_loss_stays_close() -> None:
    batch, model = masking().batch(rows(4, 16), 0), encoder()
    seen: list[tuple[int, ...]] = []
    model.dense.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    loss = MaskedCrossEntropy(torch.bfloat16)(model, batch)
    loss.backward()
    assert seen == [(MaskedCrossEntropy().weight(batch), 32)] and 0 < seen[0][0] < 64
    assert loss.item() == pytest.approx(naive(encoder(), batch).item(), rel=0.02)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_a_batch_in_which_nothing_is_masked_is_no_mistake() -> None:
    batch, model = masking(share=1e-9).batch(rows(1, 16), 0), encoder()
    assert MaskedCrossEntropy().weight(batch) == 0
    MaskedCrossEntropy()(model, batch).backward()
    assert float(model.dense.weight.grad.abs().sum()) == 0


def test_accumulated_microbatches_equal_one_big_batch() -> None:
    whole = masking(document_mask=True).batch(rows(6, 16), 0)
    weights = []
    for size in (6, 4, 1):
        model = encoder()
        optimizers = Optimizers(model, OptimConfig(eps=1e-6))
        loss, norm, _ = one_step(model, optimizers, whole.split(size), MaskedCrossEntropy(), 1.0, 1.0, "cpu")
        weights.append((float(loss), norm, torch.cat([p.detach().flatten() for p in model.parameters()])))
    for loss, norm, values in weights[1:]:
        assert loss == pytest.approx(weights[0][0], rel=1e-5) and norm == pytest.approx(weights[0][1], rel=1e-4)
        torch.testing.assert_close(values, weights[0][2], atol=2e-3, rtol=0)  # Muon orthogonalises in bf16


def test_masks_follow_from_the_number_of_a_row_alone() -> None:
    taken, plain = rows(6, 24), masking()
    whole, again = plain.batch(taken, 40), plain.batch(taken, 40 + 6)
    parts = [plain.batch(taken[first : first + 2], 40 + first) for first in (0, 2, 4)]
    assert torch.equal(torch.cat([part.ids_BT for part in parts]), whole.ids_BT)
    assert torch.equal(torch.cat([part.labels_BT for part in parts]), whole.labels_BT)
    assert not torch.equal(again.labels_BT, whole.labels_BT)  # the next pass masks anew
    assert not torch.equal(masking(seed=1).batch(taken, 40).labels_BT, whole.labels_BT)


def test_what_is_told_is_what_stood_there_and_never_a_special_token() -> None:
    taken = rows(20, 24)
    trained, measured = masking(document_mask=True).batch(taken, 0), masking().batch(taken, 0, hide_all=True)
    chosen = trained.labels_BT != IGNORED
    assert torch.equal(chosen, measured.labels_BT != IGNORED)
    assert torch.equal(trained.labels_BT[chosen], torch.from_numpy(taken[:, :-1])[chosen])
    assert int(trained.labels_BT[chosen].min()) >= FIRST_PLAIN
    assert torch.equal(trained.ids_BT[~chosen], torch.from_numpy(taken[:, :-1])[~chosen])
    assert bool((measured.ids_BT[chosen] == MASK).all())
    assert 0.7 < float((trained.ids_BT[chosen] == MASK).float().mean()) < 0.9
    assert trained.documents_BT is not None and trained.positions_BT is not None
    assert int(trained.positions_BT[0, 5]) == int(trained.positions_BT[0, 9]) == 0  # counted anew in each document


def test_held_back_text_is_measured_as_a_naive_count_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dodam.stages.validation.ROWS_AT_ONCE", 3)
    model, held_back = encoder(), loader()
    nats, accuracy, count = masked_loss(model, held_back, masking(), torch.float32)
    batch = masking().batch(held_back.rows(0, held_back.rows_per_epoch), 0, hide_all=True)
    chosen = batch.labels_BT != IGNORED
    right = model.head(model(batch.ids_BT)).argmax(-1)[chosen] == batch.labels_BT[chosen]
    assert count == int(chosen.sum())
    assert nats == pytest.approx(naive(model, batch).item() / count, rel=1e-5)
    assert accuracy == pytest.approx(float(right.float().mean()))
    assert masked_loss(model, held_back, masking(), torch.float32) == (nats, accuracy, count)


def test_a_model_of_frequencies_alone_stands_at_the_plateau() -> None:
    training, held_back = loader(length=2000), loader()
    counts = Counter(training.rows(0, training.rows_per_epoch)[:, :-1].ravel().tolist())
    plain = range(FIRST_PLAIN, SIZE)
    total = sum(counts[token] + 1 for token in plain)
    model = encoder()
    with torch.no_grad():
        for parameter in (model.dense.weight, model.dense.bias, model.head_norm.bias):
            parameter.zero_()
        shares = [log((counts[token] + 1) / total) if token in plain else -50.0 for token in range(SIZE)]
        model.output.bias.copy_(torch.tensor(shares))
    plateau = unigram_nats(masking(), training, held_back)
    assert masked_loss(model, held_back, masking(), torch.float32)[0] == pytest.approx(plateau, rel=1e-5)


def test_nothing_is_measured_where_no_mask_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("dodam.stages.masked.masking_of", lambda config, tokenizer: masking(share=1e-9))
    config = build(Pretrain, {"data": "d", "out": tmp_path}, "test")
    task = masked_task(config, word_pieces(), loader(), loader(), torch.float32)
    assert task.validate is None and task.card == task.result(None) == {}
    assert "no mask falls into it" in capsys.readouterr().err


@pytest.mark.parametrize(("progress", "above", "alarm"), [(0.4, True, False), (0.6, True, True), (0.6, False, False)])
def test_the_alarm_when_half_the_run_taught_nothing(
    progress: float, above: bool, alarm: bool, tmp_path: Path, capsys
) -> None:
    measure = Measure(masking(), loader(), loader(), torch.float32, tmp_path)
    measure.unigram = -1.0 if above else 1e9
    measured = measure(encoder())  # before the first row of metrics
    rows = [{"step": 10, "loss": 1.0, "progress": progress}, {"step": 10, "validation": measured}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "ALARM" not in capsys.readouterr().err
    assert measure(encoder()) == measured
    told = capsys.readouterr().err
    assert ("% of the run is over, and" in told) == alarm
    assert "masked tokens filled in right" in told


def test_samples_show_what_is_filled_in_and_what_was_there() -> None:
    names = [*"abcdefghij", *(f" w{number}" for number in range(FIRST_PLAIN, SIZE))]
    tokenizer: Any = SimpleNamespace(decode=lambda ids: "".join(names[token] for token in ids))
    held_back, model = loader(), encoder()
    with torch.no_grad():
        model.dense.weight.zero_()
        model.output.bias.zero_()
        model.output.bias[20] = 1e4  # it always says w20
    shown = fills(model, tokenizer, held_back, masking(), count=2).split("\n\n")
    taken = held_back.rows(0, 2)
    labels = masking().batch(taken, 0, hide_all=True).labels_BT.tolist()
    assert len(shown) == 2
    for text, row, told in zip(shown, taken, labels, strict=True):
        expected, place = "> ", 0
        while place < len(told):
            run = place
            while run < len(told) and (told[run] == IGNORED) == (told[place] == IGNORED):
                run += 1
            truth = tokenizer.decode(row[place:run])
            guess = " w20" * (run - place)
            if told[place] == IGNORED:
                expected += truth
            else:
                expected += f" **{guess.strip()}**" + ("" if guess == truth else f" ({truth.strip()})")
            place = run
        assert text == expected


def word_pieces() -> Tokenizer:
    """A BERT's own vocabulary: no spaces, pieces that go on with ##."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "하늘", "##은", "파랗", "##다", ".", "(", "바다", ")", "2"]
    raw = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    raw.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    raw.decoder = tokenizers.decoders.WordPiece()
    raw.add_special_tokens(words[:5])
    settings = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return Tokenizer(raw.to_str(), foreign=settings)


@pytest.mark.parametrize(
    ("unit", "groups"),
    [
        ("eojeol", [["하늘", "##은"], ["파랗", "##다", ".", "("], ["바다", ")"], ["2"]]),
        ("word", [["하늘", "##은"], ["파랗", "##다"], ["."], ["("], ["바다"], [")"], ["2"]]),
    ],
)
def test_words_are_found_in_a_vocabulary_without_spaces(unit: str, groups: list[list[str]]) -> None:
    tokenizer = word_pieces()
    config = build(Pretrain, {"data": "d", "out": "o", "masking": unit}, "test")
    ids = np.array([tokenizer.encode("하늘은 파랗다. (바다) 2")])
    found: dict[int, list[str]] = {}
    for number, token in zip(unit_numbers(ids, masking_of(config, tokenizer).units)[0].tolist(), ids[0], strict=True):
        found.setdefault(number, []).append(tokenizer.raw.id_to_token(int(token)))
    assert list(found.values()) == groups


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    tokenizer = word_pieces()
    other = Tokenizer(tokenizer.json, foreign={k: v for k, v in (tokenizer.foreign or {}).items() if "mask" not in k})
    config = build(Pretrain, {"data": "somewhere", "out": "o", "architecture": "encoder"}, "test")
    with pytest.raises(UsageError, match="somewhere: the tokenizer has no mask token"):
        masking_of(config, other)


def test_the_dial_counts_an_encoder() -> None:
    model = encoder()
    config = model.config
    assert num_parameters(config) == sum(parameter.numel() for parameter in model.parameters())
    ids = torch.full((2, 32), FIRST_PLAIN)
    with FlopCounterMode(display=False) as blocks:
        hidden = model(ids)
        hidden.sum().backward()
    with FlopCounterMode(display=False) as head:
        model.head(hidden.detach().requires_grad_()).sum().backward()
    # torch's counter does not know the fused CPU attention: twice a causal one's.
    attention = 12 * config.depth * config.width * 32
    expected = blocks.get_total_flops() / 64 + attention + 0.15 * head.get_total_flops() / 64
    assert flops_per_token(config, 32) == pytest.approx(expected)


def test_an_encoder_that_goes_on_learns_slower_and_lora_has_its_rate() -> None:
    config = build(Pretrain, {"data": "d", "out": "o", "architecture": "encoder", "learning_rate": 2.0}, "test")
    half = build(Pretrain, {"data": "d", "out": "o", "architecture": "encoder", "learning_rate": 1.0}, "test")
    fresh, further = learning_rates(config, None), learning_rates(config, build_encoder(encoder().config, 0))
    assert all(further[key] < fresh[key] for key in ("matrix", "embedding", "head", "scalar"))
    assert further["lora"] == pytest.approx(2 * 0.8 / 32)
    assert fresh["matrix"] == 2 * learning_rates(half, None)["matrix"]


def run(capsys: pytest.CaptureFixture, *words: object) -> dict[str, Any]:
    code = cli.main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return {**json.loads(out.splitlines()[-1]), "told": err}


FEW = ["--batch", "8", "--context", "64", "--compile", "no", "--threads", "1"]
TINY = ["--architecture", "encoder", "--depth", "1", "--width", "64"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with text in `data` and a tokenizer for it in `tokenizer`."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("TORCHDYNAMO_SUPPRESS_ERRORS", "1"), ("TORCHINDUCTOR_CACHE_DIR", str(folder / "kernels"))):
            patch.setenv(name, value)  # which a run sets, and which must not outlive the test
        raw = tokenizer_train.learn(SENTENCES, 448, SPECIAL_TOKENS)
        tokenizer_train.fill_up(raw, 448)
        Tokenizer(raw.to_str()).save(folder / "tokenizer")
        words = ["--data", str(folder / "text.jsonl"), "--out", str(folder / "data"), "--validation", "0.1"]
        assert cli.main(["prepare", *words]) == 0
        yield folder


@pytest.fixture(scope="module", params=["modernbert", "bert"])
def trained(world: Path, request: pytest.FixtureRequest) -> Path:
    """An encoder of 150 steps, of either layout."""
    family, out = request.param, world / request.param
    # A text sees itself alone: what stands beside it in a row can be learned by heart in place of the language.
    words = ["--data", world / "data", "--tokenizer", world / "tokenizer", "--out", out, "--family", family]
    assert cli.main([*map(str, ["pretrain", *TINY, *words, "--steps", 150, "--document-mask"]), *FEW]) == 0
    return out


def test_a_fresh_encoder_learns_from_the_context_and_is_one_of_transformers(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    assert result["unit"] == "nats per masked token"
    assert result["validation"] < 0.6 * result["unigram"]
    assert 0.25 < result["accuracy"] < 1
    samples = (trained / "samples.md").read_text(encoding="utf-8")
    assert "## Step 150" in samples and "**" in samples.rpartition("## Step 150")[2]
    loaded = load(trained, ("encoder",))
    assert isinstance(loaded.model.config, EncoderConfig)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(trained / "model").eval()
    ids = torch.tensor([loaded.tokenizer.encode(SENTENCES[7])])
    with torch.inference_mode():
        ours = loaded.model.head(loaded.model(ids))
        torch.testing.assert_close(theirs(ids).logits, ours, atol=1e-4, rtol=1e-4)


def test_the_story_goes_on_from_a_model(trained: Path, world: Path, tmp_path: Path, capsys) -> None:
    words = ["pretrain", "--data", world / "data", "--model", trained, "--steps", 6, *FEW, "--masking", "token"]
    words.append("--document-mask")
    more = ["--mask-share", "0.4", "--microbatch", "3", "--layer-decay", "0.9"]
    result = run(capsys, *words, *more, "--out", tmp_path / "on")
    assert "is an encoder, so it learns to fill in masks" in result["told"]
    assert 0 < result["validation"] < result["unigram"]
    adapted = run(capsys, *words, "--lora.rank", "2", "--out", tmp_path / "lora")
    fused = trained.name == "modernbert"  # query, key and value are one matrix there: PEFT has no place for ours
    assert (tmp_path / "lora" / "adapter" / "adapter_model.safetensors").is_file() == (not fused)
    assert "numbers are trained" in adapted["told"]
    assert adapted["validation"] < 0.8 * adapted["unigram"]  # six steps would not do that from nothing
    again = run(capsys, *words, "--lora.rank", "2", "--out", tmp_path / "lora")
    assert again["accuracy"] == adapted["accuracy"] and "is already done" in again["told"]


def test_a_budget_reads_the_data_four_times_at_most(world: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(budget, "LEAST_STEPS", 5)
    words = ["--data", world / "data", "--tokenizer", world / "tokenizer", "--out", tmp_path / "run", "--budget", "2h"]
    result = run(capsys, "pretrain", *TINY, *words, "--batch", 64, "--context", 32, "--compile", "no", "--threads", 1)
    assert f"--depth 1 --batch 64 --steps {result['steps']}" in result["told"]
    rows_read, data = result["tokens"] / 32, int(result["told"].split(" rows of 32")[0].split()[-1].replace(",", ""))
    assert 4 * data <= rows_read < 4 * data + 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*TINY, "--kv-heads", "1"], "--kv-heads: only a model with --architecture decoder has it"),
        ([*TINY, "--tied"], "--tied: only a model with --architecture decoder has it"),
        (["--masking", "word"], "--masking: only a model with --architecture encoder has it"),
        (["--mask-share", "0.2", "--depth", "1"], "--mask-share: only a model with --architecture encoder has it"),
        (["--model", "{run}", "--context", "65"], "the model looks back on 64 tokens at most"),
        (["--model", "{run}", "--depth", "2"], "the model to go on with has its own"),
        ([*TINY, "--heads", "7"], "must be a multiple of the heads"),
        ([*TINY, "--mask-share", "1"], "--mask-share"),
    ],
)
def test_wrong_use_is_one_message(words: list[str], message: str, trained: Path, world: Path, tmp_path: Path, capsys):
    words = [word.format(run=trained) for word in words]
    tokenizer = [] if "--model" in words else ["--tokenizer", str(world / "tokenizer")]
    common = ["--data", str(world / "data"), "--steps", "2", "--threads", "1", "--out", str(tmp_path / "run")]
    assert cli.main(["pretrain", *common, *tokenizer, *words]) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not (tmp_path / "run" / "model").exists()


def test_an_encoder_is_no_decoder_to_go_on_with(trained: Path, world: Path, tmp_path: Path, capsys) -> None:
    base = ["--data", str(world / "data"), "--steps", "1", *FEW]
    words = ["--depth", "1", "--width", "64", "--tokenizer", str(world / "tokenizer"), "--out", str(tmp_path / "d")]
    assert cli.main(["pretrain", *base, *words]) == 0
    words = ["--architecture", "encoder", "--model", str(tmp_path / "d"), "--out", str(tmp_path / "e")]
    assert cli.main(["pretrain", *base, *words]) == 1
    assert "holds a decoder (qwen3); here a model must be: encoder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch, as it compiles
def test_compiled_blocks_and_loss_learn_the_same(world: Path, tmp_path: Path, capsys) -> None:
    results = []
    for compiled in ("no", "yes"):
        words = ["--data", world / "data", "--tokenizer", world / "tokenizer", "--out", tmp_path / compiled]
        few = [
            "--batch",
            8,
            "--context",
            64,
            "--threads",
            1,
            "--steps",
            20,
            "--compile",
            compiled,
            "--dtype",
            "float32",
        ]
        results.append(run(capsys, "pretrain", *TINY, *words, *few))
        assert "compiling failed" not in results[-1]["told"]
    assert results[0]["validation"] == pytest.approx(results[1]["validation"], rel=0.02)
