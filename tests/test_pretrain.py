"""Pretraining: small corpora, the budget's dial, what a run tells, the machine it runs on."""

import json
import random
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from dodam import files, machine
from dodam.config import build
from dodam.data import prepare
from dodam.data.batch import TokenBatch
from dodam.data.loader import RowLoader, token_batch
from dodam.errors import FolderError, UsageError
from dodam.models.build import build_decoder, decoder_config, flops_per_token
from dodam.models.decoder import DecoderConfig
from dodam.stages import dial, pretrain, training
from dodam.stages.pretrain import Pretrain
from dodam.stages.validation import bits_per_byte
from dodam.tokenizer import train as tokenizer_train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.train import budget, checkpoint, clock, loop, metrics, scaling, state
from dodam.train.objective import TokenCrossEntropy
from dodam.train.optim import OptimConfig, Optimizers

SENTENCES = [f"{number}번째 나무에는 새가 {number + 3}마리 앉아 있다." for number in range(400)]


@pytest.fixture
def pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A function that prepares one text file and pretrains a tiny model on it in tmp_path/run."""
    for name, value in (("TORCHDYNAMO_SUPPRESS_ERRORS", "1"), ("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))):
        monkeypatch.setenv(name, value)  # which a run sets, and which must not outlive the test
    raw = tokenizer_train.learn(SENTENCES, 384, SPECIAL_TOKENS)
    tokenizer_train.fill_up(raw, 384)
    Tokenizer(raw.to_str()).save(tmp_path / "tokenizer")

    def run(text: str, **choices: Any) -> dict[str, Any]:
        (tmp_path / "book.txt").write_text(text, encoding="utf-8")
        prepare.run(build(prepare.Prepare, {"data": [str(tmp_path / "book.txt")], "out": tmp_path / "data"}, "test"))
        common = {"data": tmp_path / "data", "tokenizer": tmp_path / "tokenizer", "out": tmp_path / "run", "threads": 1}
        sizes = {"depth": 1, "width": 64, "context": 64, "batch": 8, "compile": "no"}
        return pretrain.run(build(pretrain.Pretrain, {**common, **sizes, **choices}, "test"))

    return run


def test_one_text_file_is_trained_and_measured_on(
    pretrained: Callable[..., dict[str, Any]], tmp_path: Path, capsys
) -> None:
    result = pretrained("\n".join(SENTENCES), steps=2)
    assert result["validation"] > 0
    told = capsys.readouterr().err
    assert "nothing is measured" not in told
    assert "expected at the end: " in told and " (expected " in told
    rows = [row for row in metrics.read_rows(tmp_path / "run" / "metrics.jsonl") if "validation" in row]
    assert [row["progress"] for row in rows] == [0.5, 1.0]
    assert all(row["expected_low"] < row["expected_high"] for row in rows)
    assert rows[0]["expected_low"] > rows[1]["expected_low"]
    assert "of the tokens read twice or never" in told


def test_a_text_too_short_to_hold_back_from(pretrained: Callable[..., dict[str, Any]], tmp_path: Path, capsys) -> None:
    result = pretrained("\n".join(SENTENCES[:40]), steps=2, document_mask=True)
    assert result["steps"] == 2 and result["validation"] is None
    assert "nothing is measured" in capsys.readouterr().err
    assert "## Step 2\n" in (tmp_path / "run" / "samples.md").read_text(
        encoding="utf-8"
    )  # and texts are told all the same


def test_a_budget_ends_when_the_data_was_read_often_enough(pretrained: Callable[..., dict[str, Any]], capsys) -> None:
    result = pretrained("\n".join(SENTENCES[:40]), budget="2h")
    told = capsys.readouterr().err
    assert result["steps"] == budget.LEAST_STEPS
    assert "more passes over the data would teach little" in told
    assert "tokens are very few" in told
    assert f"--depth 1 --batch 8 --steps {result['steps']}\n" in told


def test_sizes_that_do_not_fit_are_a_usage_error() -> None:
    config = build(pretrain.Pretrain, {"data": "data", "out": "run", "width": 64, "heads": 64}, "test")
    with pytest.raises(UsageError, match="width of a head"):
        pretrain.sizes(config, 384, 32, 2)


def shape(depth: int) -> DecoderConfig:
    return decoder_config(vocabulary=384, context=64, depth=depth, width=128)


MUCH = budget.Corpus(tokens=1e9, bytes_a_token=3.5)


def test_the_dial_takes_the_best_of_what_it_measured() -> None:
    timed: list[tuple[int, int]] = []

    def time_step(depth: int, batch: int) -> float:
        timed.append((depth, batch))
        # A machine that computes the smallest models quickly and all others very slowly.
        return flops_per_token(shape(depth), 64) * batch * 64 / (1e13 if depth < 4 else 1e9)

    dial = budget.choose(lambda: 300.0, MUCH, 64, shape, time_step)
    assert 1 < len(timed) <= budget.MOST_PROBES and len(dict(timed)) == len(timed)
    assert dial.depth in dict(timed) and dial.depth < 4
    assert dial.tokens == dial.steps * dial.batch * 64
    assert dial.batch == pytest.approx(budget.rows_per_step(dial.tokens, 64), rel=0.05)


@pytest.mark.parametrize(
    ("wanted", "gain", "compiled"), [("auto", 1.5, True), ("auto", 0.9, False), ("no", 1.5, False)]
)
def test_a_budget_compiles_what_is_faster_compiled(
    wanted: Literal["auto", "no"], gain: float, compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_step(config: Any, machine: Any, sizes: Any, task: Any, batch: int, *, compiled: bool = False) -> float:
        return flops_per_token(sizes, 64) * batch * 64 / (gain * 1e11 if compiled else 1e11)

    monkeypatch.setattr(dial, "time_step", time_step)
    monkeypatch.setattr(training, "seconds_left", lambda config: 600.0)
    here = replace(machine.look("cpu", 1), compiler=True)
    config = Pretrain(data=tmp_path, out=tmp_path, budget="10m", compile=wanted)
    task: Any = None
    choice, compiles = dial.turn(config, here, MUCH, 64, shape, task, None)
    assert compiles == compiled and choice.rate == pytest.approx(gain * 1e11 if compiled else 1e11)
    told = 600.0 * (1 - clock.ASIDE) * choice.rate / flops_per_token(shape(choice.depth), 64)
    assert choice.tokens == pytest.approx(told, rel=0.01)


def test_more_time_gives_larger_models_and_repeats_count_little() -> None:
    rates = {4: 1e11}
    depths = [budget.best_depth(seconds, MUCH, 64, shape, rates) for seconds in (10, 1e3, 1e5, 1e7)]
    assert depths == sorted(depths) and depths[0] < depths[-1]
    little = budget.Corpus(tokens=1e6, bytes_a_token=3.5)
    assert budget.best_depth(1e3, little, 64, shape, rates) > depths[1]  # nothing else is left to spend time on

    def only_even(depth: int) -> DecoderConfig:
        if depth % 2:
            raise UsageError("does not fit")
        return shape(depth)

    assert budget.best_depth(1e9, MUCH, 64, only_even, rates) % 2 == 0
    four_passes = budget.choose(lambda: 1000.0, little, 64, shape, lambda depth, batch: 0.01, depth=2, batch=8).steps
    assert four_passes == round(4 * 1_000_000 / (8 * 64))


def test_rows_of_a_step_grow_with_the_tokens_of_the_run() -> None:
    assert budget.rows_per_step(1e6, 256) == round(3200 / 256)
    assert budget.rows_per_step(100, 512) == 1
    for steps in (100, 1000, 10_000):
        rows = budget.rows_of_steps(steps, 64)
        assert rows == pytest.approx(budget.rows_per_step(rows * 64 * steps, 64), rel=0.02)


@pytest.mark.parametrize("text", [1e5, 1e6, 3e6, 1e7, 1e9])
def test_what_repeats_are_worth(text: float) -> None:
    """Nothing is lost in the first pass, little in the next ones, and no more than 15.4 passes are ever gained."""
    worth = scaling.worth(text, 1e6)
    assert worth == text if text <= 1e6 else 1e6 < worth < text
    assert worth <= 1e6 * (1 + scaling.REPEATED)
    assert scaling.worth(2e6, 1e6) == pytest.approx(2e6, rel=0.02)


def test_the_rule_falls_with_weights_and_text() -> None:
    told = [scaling.bits_per_byte(weights, text) for weights, text in ((1e6, 1e6), (1e7, 1e6), (1e7, 1e7))]
    assert told == sorted(told, reverse=True) and told[-1] > scaling.FLOOR
    assert scaling.bits_per_byte(1e6, 1e6, hardness=2.0) == pytest.approx(2 * told[0])
    bands = [scaling.expected(1.5, share) for share in (0.0, 0.1, 0.35, 1.0, 2.0)]
    assert bands == sorted(bands, reverse=True) and bands[-1] == bands[-2]
    assert bands[-1][0] < 1.5 < bands[-1][1]


def test_text_that_packs_worse_is_harder() -> None:
    rng = random.Random(0)
    noise = "".join(rng.choice("abcdefghij") for _ in range(50_000)).encode()
    assert scaling.hardness(noise) > scaling.hardness(b"the same again " * 3000)


class Log:
    """A hook that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.validated: list[int] = []
        self.ended = 0

    def start(self, step: int) -> None: ...
    def step(self, row: dict[str, Any]) -> None:
        self.steps.append(row["step"])

    def validate(self, row: dict[str, Any]) -> None:
        self.validated.append(row["step"])

    def end(self) -> None:
        self.ended += 1


def trained(
    folder: Path, config: loop.LoopConfig, log: Log, validate: Callable[[Any], float] | None = None
) -> loop.Outcome:
    model = build_decoder(decoder_config(vocabulary=32, context=8, depth=1, width=64), 0)
    ids = torch.arange(8)[None]
    return loop.train(
        model, Optimizers(model, OptimConfig()), lambda step: [TokenBatch(ids, ids)], TokenCrossEntropy(), config,
        folder=folder, hooks=[log], validate=validate,
    )  # fmt: skip


class Ticking(clock.Clock):
    """A clock that moves on by a second whenever it is looked at."""

    def seconds(self) -> float:
        self.used += 1.0
        return self.used


def test_the_last_step_under_a_budget_is_logged_and_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "Clock", Ticking)
    for seconds in range(20, 28):
        log = Log()
        config = loop.LoopConfig(seconds=float(seconds), checkpoint_seconds=1000, log_every=1000)
        outcome = trained(tmp_path / str(seconds), config, log, lambda model: 1.0)
        assert log.steps == [outcome.steps] and log.validated[-1] == outcome.steps


def test_steps_and_seconds_end_at_what_comes_first(tmp_path: Path) -> None:
    assert trained(tmp_path / "a", loop.LoopConfig(steps=3, seconds=1000.0), Log()).steps == 3
    assert trained(tmp_path / "b", loop.LoopConfig(steps=10**9, seconds=0.2), Log()).steps < 10**6


def test_hooks_hear_of_the_end_also_when_it_is_an_error(tmp_path: Path) -> None:
    def fails(model: Any) -> float:
        raise ArithmeticError

    log = Log()
    with pytest.raises(ArithmeticError):
        trained(tmp_path, loop.LoopConfig(steps=2), log, fails)
    assert log.ended == 1


def test_a_newer_checkpoint_is_not_called_torn(tmp_path: Path, capsys) -> None:
    checkpoint.write(tmp_path, checkpoint.LATEST, 1, {"a": torch.zeros(2)}, {}, 2)
    state = tmp_path / "step-00000001" / "state.json"
    files.write_json(state, {**json.loads(state.read_text()), "format": checkpoint.IN_PIECES + 1})
    with pytest.raises(FolderError, match="Update Dodam"):
        checkpoint.newest(tmp_path)
    assert "torn" not in capsys.readouterr().err


def test_a_resumed_run_tells_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = metrics.Samples(tmp_path / "samples.md", lambda: "> one **two**")
    for step in (5, 10, 15):
        samples.validate({"step": step, "validation": 1.0})
    written: list[Path] = []
    atomic = files.write_atomic
    monkeypatch.setattr(files, "write_atomic", lambda path, data: (written.append(path), atomic(path, data)))
    samples.start(10)
    text = (tmp_path / "samples.md").read_text(encoding="utf-8")
    assert "## Step 10 (1.0000)\n\n> one **two**\n" in text and "## Step 15" not in text
    (tmp_path / "metrics.jsonl").write_text('{"step": 5}\n{"step": 15}\n{"st', encoding="utf-8")
    metrics.MetricsFile(tmp_path / "metrics.jsonl").start(10)
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == '{"step": 5}\n'
    assert written == [tmp_path / "samples.md", tmp_path / "metrics.jsonl"]


def test_the_live_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    console = metrics.Console("pretrain", "bits per byte")
    console.live = True
    console.step({"progress": 0.5, "step": 7, "loss": 3.0, "tokens_per_second": 1e4, "remaining": 60.0, "seconds": 1.0})
    assert len(capsys.readouterr().err.removeprefix("\r\x1b[K")) == 39


def test_validation_is_of_the_function_that_is_trained() -> None:
    model = build_decoder(decoder_config(vocabulary=32, context=16, depth=1, width=64), 0)
    torch.nn.init.normal_(model.blocks[0].attention.output.weight, std=0.5)
    torch.nn.init.normal_(model.output.weight, std=0.5)
    tokens = np.random.default_rng(0).integers(0, 4, 100)
    rows = RowLoader([SimpleNamespace(name="a", tokens=tokens, weight=1.0, epochs=0.0)], 16, 0)
    tokenizer: Any = SimpleNamespace(bos=1, byte_lengths=lambda: np.ones(32, dtype=np.int64))
    measured = [bits_per_byte(model, tokenizer, rows, torch.float32, document_mask=mask) for mask in (False, True)]
    for bits, mask in zip(measured, (False, True), strict=True):
        batch = token_batch(rows.rows(0, rows.rows_per_epoch), document_mask=mask, bos=1)
        loss = float(TokenCrossEntropy()(model, batch).detach()) / batch.labels_BT.numel()
        assert bits == pytest.approx(loss / np.log(2), rel=1e-5)
    assert measured[0] != pytest.approx(measured[1], rel=1e-3)


def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(UsageError, match="auto, cpu, cuda, mps"):
        machine.look("gpu")
    with pytest.raises(UsageError, match="cuda is not on this machine, which has cpu"):
        machine.look("cuda")
    assert machine.look("auto").device == machine.look("cpu").device == "cpu"


def test_a_compiler_needs_headers_and_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(machine.shutil, "which", lambda name: name)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    assert machine.has_compiler()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "Python.h" / "kernels"))
    assert not machine.has_compiler()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    (tmp_path / "Python.h").unlink()
    assert not machine.has_compiler()


BROKEN = """
import torch
from dodam import machine
machine.use(machine.look("cpu", 1))
def broken(graph, inputs):
    raise RuntimeError("no compiler here")
print(torch.compile(lambda x: x + 1, backend=broken)(torch.zeros(())).item())
"""


def test_what_cannot_be_compiled_runs_uncompiled() -> None:
    import subprocess

    done = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, timeout=120)
    assert done.stdout == "1.0\n", done.stderr
    assert "compiling failed" in done.stderr and "no compiler here" in done.stderr
    assert "Traceback" not in done.stderr
