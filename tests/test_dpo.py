"""`dodam dpo` on small files: a model comes to prefer what people prefer, with every loss; what the reference said is
computed once; every option does something, and a collapse is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dodam.folder import load_model
from dodam.stages import preferred
from dodam.tensors import read_tensors
from ranked_answers import FEW, rankings, run, write_bases, write_rows
from talking_models import make_tokenizer


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of a run of two steps."""
    for place in ("dodam.evaluate.preference.draw_calibration", "dodam.train.metrics.draw"):
        monkeypatch.setattr(place, lambda *_: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("dpo")
    return {**write_bases(folder, make_tokenizer()), "data": write_rows(folder / "data.jsonl", rankings(160))}


def given(world: dict[str, str], out: Path, steps: int, *more: str) -> list[object]:
    common = ["--data", world["data"], "--model", world["decoder"], "--validation", "0.15", "--batch", "8"]
    return ["dpo", *common, "--steps", str(steps), "--out", out, *FEW, *more]


def report(out: Path) -> dict[tuple[str, str], float]:
    return {
        (row["model"], row["metric"]): row["value"] for row in json.loads((out / "report.json").read_text())["rows"]
    }


LOSSES: dict[str, tuple[str, ...]] = {
    "dpo": ("--beta", "0.3"),
    "ipo": ("--beta", "1"),
    "orpo": ("--beta", "1"),
    "simpo": (),
}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_teaches_what_is_preferred(loss: str, world: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / loss
    assert run(*given(world, out, 24, "--loss", loss, "--learning-rate", "8", *LOSSES[loss])) == 0
    found = report(out)
    assert found[loss, "accuracy"] > 0.8
    assert (
        found["log-probability a token after", "accuracy"] > found["log-probability a token before", "accuracy"] + 0.1
    )
    drift = [found[loss, f"{side}-logprob"] - found["before", f"{side}-logprob"] for side in ("preferred", "other")]
    assert drift[0] > drift[1]
    told = (out / "report.md").read_text()
    assert "| prompt | before | after |" in told
    assert "length" in told
    loaded = load_model(out)
    assert loaded.tokenizer.chat_template
    validations = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in validations if "validation" in row][-1]
    assert {"accuracy", "margin", "preferred_drift", "other_drift"} <= last.keys()


@pytest.mark.usefixtures("no_pictures")
def test_what_the_reference_said_is_computed_once(
    world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert run(*given(world, out, 2)) == 0
    kept = sorted((out / "reference").iterdir())
    assert [path.name.split("-")[0] for path in kept] == ["held", "learned"]
    before = report(out)
    for path in (out / "checkpoint").iterdir():
        assert path.is_dir()
    (out / "result.json").unlink()
    calls: list[Any] = []
    real = preferred.likelihoods
    monkeypatch.setattr(preferred, "likelihoods", lambda *values: calls.append(values) or real(*values))
    assert run(*given(world, out, 2)) == 0
    assert len(calls) == 1, "only the trained model is asked"
    assert report(out) == before
    assert sorted((out / "reference").iterdir()) == kept


@pytest.mark.usefixtures("no_pictures")
def test_the_reference_reads_no_more_than_the_run_in_parts_that_are_kept(
    world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = preferred.likelihoods

    def watched(model: Any, encoded: Any, *more: Any) -> Any:
        if len(read) == 3:  # stopped there; what was read by then is kept
            read.append(0)
            raise KeyboardInterrupt
        read.append(len(encoded))
        return real(model, encoded, *more)

    monkeypatch.setattr(preferred, "likelihoods", watched)
    monkeypatch.setattr(preferred, "PART", 2)
    words = given(world, tmp_path / "run", 1)
    assert run(*words) == 1
    assert run(*words) == 0
    assert read[:5] == [2, 2, 2, 0, 2], "one step reads eight prompts"
    names = [path.name.split("-")[0] for path in sorted((tmp_path / "run" / "reference").iterdir())]
    assert names.count("learned") == 4


@pytest.mark.usefixtures("no_pictures")
def test_without_a_reference_only_what_is_measured_is_asked(world: dict[str, str], tmp_path: Path) -> None:
    assert run(*given(world, tmp_path / "run", 1, "--loss", "simpo")) == 0
    assert [path.name.split("-")[0] for path in (tmp_path / "run" / "reference").iterdir()] == ["held"]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_tensors(out / "model" / "model.safetensors")


OPTIONS = {
    "beta": ["--beta", "0.5"],
    "smoothing": ["--label-smoothing", "0.2"],
    "sft": ["--sft-weight", "1"],
    "ipo": ["--loss", "ipo"],
    "context": ["--context", "16"],
    "lora": ["--lora.rank", "4"],
}


@pytest.mark.usefixtures("no_pictures")
def test_every_option_does_something(world: dict[str, str], tmp_path: Path) -> None:
    assert run(*given(world, tmp_path / "plain", 2)) == 0  # at the first step there is nothing to stay near
    name = "lm_head.weight"
    plain = weights(tmp_path / "plain")[name]
    for option, words in OPTIONS.items():
        assert run(*given(world, tmp_path / option, 2, *words)) == 0
        assert not torch.equal(weights(tmp_path / option)[name], plain), option
    assert (tmp_path / "lora" / "adapter" / "adapter_config.json").is_file()
    assert run(*given(world, tmp_path / "simpo", 2, "--loss", "simpo")) == 0
    assert run(*given(world, tmp_path / "gamma", 2, "--loss", "simpo", "--gamma", "3")) == 0
    assert not torch.equal(weights(tmp_path / "simpo")[name], weights(tmp_path / "gamma")[name])


@pytest.mark.usefixtures("no_pictures")
def test_fewer_rows_at_one_time_change_nothing_else(world: dict[str, str], tmp_path: Path) -> None:
    assert run(*given(world, tmp_path / "whole", 3)) == 0
    assert run(*given(world, tmp_path / "parts", 3, "--microbatch", "2")) == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-3, atol=2e-4)


def test_a_collapse_is_told(world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both answers say one word, the worse one oftener: the easiest way to part them is never to say it."""
    rows = [
        {"prompt": f"sky {number}?", "chosen": "and " + "blue " * 6, "rejected": "blue " * 14} for number in range(60)
    ]
    mine = {**world, "data": write_rows(tmp_path / "data.jsonl", rows)}
    out = tmp_path / "run"
    assert run(*given(mine, out, 8, "--learning-rate", "40")) == 0
    assert "dpo: alarm: preferred answers themselves" in capsys.readouterr().err
    result = json.loads((out / "result.json").read_text())
    assert len(result["alarms"]) == 1
    assert "**Alarm:**" in (out / "report.md").read_text()


WRONG = {
    "gamma": (["--gamma", "1"], "dpo has no gamma"),
    "smoothing": (["--loss", "ipo", "--label-smoothing", "0.1"], "labels are not smoothed for ipo"),
    "sft": (["--loss", "orpo", "--sft-weight", "1"], "of its own"),
    "bounds": (["--epochs", "1"], "bound the same run"),
    "parts": (["--dev", "x.jsonl"], "name the held-back prompts"),
    "compiled": (["--compile", "yes"], "all lengths"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_named(
    case: str, world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, told = WRONG[case]
    assert run(*given(world, tmp_path / "out", 2, *words)) == 2
    errors = capsys.readouterr().err
    assert told in errors
    assert not (tmp_path / "out").exists()


def test_an_encoder_cannot_answer(world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*given({**world, "decoder": world["encoder"]}, tmp_path / "out", 2)) == 1
    assert "here a model must be: decoder" in capsys.readouterr().err
