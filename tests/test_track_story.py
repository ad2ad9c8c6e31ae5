"""A tiny pretraining that is tracked, killed and resumed, and its page, through the command line.

The tracker is a stand-in for wandb: a module of that name which writes what it is told to a file, and which can kill
the process it is in, so that the kill falls where it is wanted.
"""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dodam import cli, recipe

WANDB = """
import json, os, signal, sys

class Settings(dict):
    pass

class Run:
    summary = {}
    def log(self, numbers, step):
        write({"step": step, **numbers})
        if step == int(os.environ.get("KILL_AT", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
    def finish(self, exit_code):
        write({"finished": exit_code, **self.summary})

def write(row):
    with open(os.environ["TOLD"], "a") as file:
        file.write(json.dumps(row) + "\\n")

def init(**given):
    print("hello from a tracker")
    write({"id": given["id"], "name": given["name"], "settings": given["config"]})
    return Run()
"""
STEPS = 60


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data folder, a tokenizer and the stand-in."""
    folder = tmp_path_factory.mktemp("story")
    lines = [
        f"{number}번째 나무에는 새가 {number + 3}마리 앉아 있다. Tree {number} has birds." for number in range(600)
    ]
    (folder / "book.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "wandb.py").write_text(WANDB, encoding="utf-8")
    book, data, tokenizer = (str(folder / name) for name in ("book.txt", "data", "tokenizer"))
    assert cli.main(["prepare", "--data", book, "--out", data, "--validation", "0.1"]) == 0
    assert cli.main(["tokenizer", "train", "--data", data, "--out", tokenizer, "--vocabulary", "512"]) == 0
    return folder


def words(folder: Path, name: str) -> list[str]:
    sizes = ["--depth", "1", "--width", "64", "--context", "32", "--batch", "4", "--steps", str(STEPS)]
    files = ["--data", str(folder / "data"), "--tokenizer", str(folder / "tokenizer"), "--out", str(folder / name)]
    often = ["--checkpoint-seconds", "0", "--validate-every", "0.5", "--threads", "1", "--compile", "no"]
    return ["pretrain", *sizes, *files, *often]


def pretrain(folder: Path, name: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dodam", *words(folder, name), *more]
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    variables = {"PYTHONPATH": path, "WANDB_MODE": "offline", "TOLD": str(folder / "told.jsonl"), **environment}
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=240)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def test_killed_resumed_and_shown(story: Path) -> None:
    killed = pretrain(story, "run", "--track", "wandb", KILL_AT="10")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with (story / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "lo')
    assert cli.main(["report", str(story / "run"), "--out", str(story / "killed.html")]) == 0
    assert "not finished" in (story / "killed.html").read_text(encoding="utf-8")

    done = pretrain(story, "run", "--track", "wandb", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == STEPS, "what a tracker prints is no result"
    assert "hello from a tracker" in done.stderr
    told = rows(story / "told.jsonl")
    begun = [row for row in told if "id" in row]
    assert len(begun) == 2 and begun[0] == begun[1], "the same run goes on"
    assert begun[0]["name"] == f"{story.name}/run" and begun[0]["settings"]["chosen.machine.threads"] == 1
    assert [row["step"] for row in told if "gradient_norm" in row] == [*range(10, STEPS + 1, 10)]
    assert [row["step"] for row in told if "validation" in row and "step" in row] == [30, 60]
    metrics = {row["step"]: row["loss"] for row in rows(story / "run" / "metrics.jsonl") if "loss" in row}
    losses = {row["step"]: row["loss"] for row in told if "gradient_norm" in row}
    assert {**losses, 10: 0} == {**metrics, 10: 0}, "step 10 was told before the kill"
    assert told[-1]["finished"] == 0 and told[-1]["steps"] == STEPS

    calm = pretrain(story, "calm")
    assert calm.returncode == 0 and weights(story / "calm") == weights(story / "run")
    assert len(rows(story / "told.jsonl")) == len(told), "nothing is told unless asked for"
    assert not (story / "calm" / "tracking").exists()
    calm_losses = {row["step"]: row["loss"] for row in rows(story / "calm" / "metrics.jsonl") if "loss" in row}
    assert losses[10] == calm_losses[10]

    both = [str(story / "calm"), str(story / "run")]
    assert cli.main(["report", *both, "--out", str(story / "both.html")]) == 0
    text = (story / "both.html").read_text(encoding="utf-8")
    assert "All settings are the same." in text and "not finished" not in text and "bits per byte" in text
    charts = json.loads(text.partition('id="charts">')[2].partition("</script>")[0])
    assert charts[0]["series"][1]["points"] == [[step, metrics[step]] for step in sorted(metrics)]


def test_who_looks_on_may_change_and_a_missing_tracker_is_said_first(
    story: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert cli.main(words(story, "run")) == 0, "without --track it is the same run"
    assert "is already done" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main([*words(story, "new"), "--track", "mlflow"]) == 2
    assert "pip install mlflow" in capsys.readouterr().err
    assert not (story / "new").exists()


def test_a_finished_stage_is_not_redone_for_its_tracker(story: Path) -> None:
    text = f'[[stage]]\nkind = "pretrain"\ndata = "{story / "data"}"\nsteps = 3\n'
    prints = []
    for more in ("", 'track = ["mlflow", "wandb"]\n', "batch = 3\n"):
        (story / "recipe.toml").write_text(text + more, encoding="utf-8")
        prints.append(recipe.read(story / "recipe.toml").stages[0].fingerprint("1", {}))
    assert prints[0] == prints[1] != prints[2]
