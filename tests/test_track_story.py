"""A tiny pretraining that is tracked, killed and resumed, and its page, through the command line.

The tracker is a stand-in for wandb: a module of that name which writes what it is told to a file, and which can kill
the process it is in, so that the kill falls where it is wanted.
"""

import hashlib
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


def pretrain(folder: Path, name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    sizes = [
        "--depth",
        "1",
        "--width",
        "64",
        "--context",
        "32",
        "--batch",
        "4",
        "--steps",
        str(STEPS),
        "--compile",
        "no",
    ]
    files = ["--data", str(folder / "data"), "--tokenizer", str(folder / "tokenizer"), "--out", str(folder / name)]
    often = ["--checkpoint-seconds", "0", "--validate-every", "0.5", "--threads", "1"]
    command = [sys.executable, "-m", "dodam", "pretrain", *sizes, *files, *often, *words]
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
    assert {row["step"]: row["loss"] for row in told if "gradient_norm" in row} == metrics
    assert told[-1]["finished"] == 0 and told[-1]["steps"] == STEPS

    calm = pretrain(story, "calm")
    assert calm.returncode == 0 and weights(story / "calm") == weights(story / "run")
    assert len(rows(story / "told.jsonl")) == len(told), "nothing is told unless asked for"
    assert not (story / "calm" / "tracking").exists()

    both = [str(story / "calm"), str(story / "run")]
    assert cli.main(["report", *both, "--out", str(story / "both.html")]) == 0
    text = (story / "both.html").read_text(encoding="utf-8")
    assert "All settings are the same." in text and "not finished" not in text and "bits per byte" in text
    charts = json.loads(text.partition('id="charts">')[2].partition("</script>")[0])
    assert charts[0]["series"][1]["points"] == [[step, metrics[step]] for step in sorted(metrics)]


def test_a_run_may_go_on_with_another_tracker_and_a_missing_one_is_said_first(story: Path, capsys) -> None:
    assert pretrain(story, "other", "--track", "wandb", KILL_AT="10", TOLD=os.devnull).returncode == -signal.SIGKILL
    before = sorted(path.name for path in (story / "other" / "checkpoint").iterdir())
    words = ["--data", str(story / "data"), "--tokenizer", str(story / "tokenizer"), "--out", str(story / "other")]
    missing = next((name for name in ("mlflow", "trackio", "tensorboard") if not _installed(name)), None)
    if missing is None:
        pytest.skip("every tracker is installed")
    assert cli.main(["pretrain", *words, "--track", missing]) == 2
    assert f"pip install {missing}" in capsys.readouterr().err
    assert sorted(path.name for path in (story / "other" / "checkpoint").iterdir()) == before
    done = pretrain(story, "other")
    assert done.returncode == 0, done.stderr
    assert "goes on at step" in done.stderr


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_a_finished_stage_is_not_redone_for_its_tracker(story: Path) -> None:
    text = f'[[stage]]\nkind = "pretrain"\ndata = "{story / "data"}"\nsteps = 3\n'
    prints = []
    for more in ("", 'track = ["mlflow", "wandb"]\n', "batch = 3\n"):
        (story / "recipe.toml").write_text(text + more, encoding="utf-8")
        prints.append(recipe.read(story / "recipe.toml").stages[0].fingerprint("1", {}))
    assert prints[0] == prints[1] != prints[2]
