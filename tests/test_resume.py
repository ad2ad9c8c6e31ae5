"""Exact resume: a stage killed with SIGKILL and started again ends with the same bytes as one that was left alone.

One row a stage in `STAGES`; each is the command line of a short run. Runs save after every step here, so that a
kill can fall anywhere between two steps or into the writing of a checkpoint.
"""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPS = 14
COMMON = ["--steps", str(STEPS), "--batch", "4", "--checkpoint-seconds", "0", "--threads", "1", "--compile", "no"]

STAGES = {
    "pretrain": ["pretrain", "--data", "{data}", "--depth", "1", "--width", "64", "--context", "64"],
    "sft": ["sft", "--data", "{chat}", "--model", "{base}", "--microbatch", "2"],
    "sft with replay": ["sft", "--data", "{chat}", "--model", "{base}", "--replay", "{data}"],
    "sft with lora": ["sft", "--data", "{chat}", "--model", "{base}", "--lora.rank", "4", "--lora.dropout", "0.1"],
    "sft with qlora": ["sft", "--data", "{chat}", "--model", "{base}", "--lora.rank", "4", "--lora.quantize", "nf4"],
    "seq2seq": [
        "seq2seq", "--data", "{data}/documents/train-*.parquet", "--columns", "source=text", "target=language",
        "--tokenizer", "{tokenizer}", "--depth", "1", "--width", "64", "--microbatch", "2", "--report-pairs", "0",
        "--validate-every", "0.5", "--bpe-dropout", "0.1",
    ],
    "classify": [
        "classify", "--data", "{data}/documents/train-*.parquet", "--columns", "text=text", "label=bytes",
        "--model", "{base}", "--microbatch", "3", "--bpe-dropout", "0.1",
    ],
    "embed": [
        "embed", "--data", "{data}/documents/train-*.parquet", "--columns", "text=text", "--model", "{base}",
        "--microbatch", "3",
    ],
    "reward": [
        "reward", "--data", "{data}/documents/train-*.parquet", "--columns", "prompt=text", "chosen=language",
        "rejected=source", "--model", "{base}", "--microbatch", "3", "--dropout", "0.1", "--validate-every", "0.5",
    ],
    "dpo": [
        "dpo", "--data", "{data}/documents/train-*.parquet", "--columns", "prompt=text", "chosen=language",
        "rejected=source", "--model", "{base}", "--microbatch", "3", "--validate-every", "0.5",
    ],
    "dpo with lora": [
        "dpo", "--data", "{data}/documents/train-*.parquet", "--columns", "prompt=text", "chosen=language",
        "rejected=source", "--model", "{base}", "--lora.rank", "4", "--lora.dropout", "0.1", "--loss", "simpo",
        "--validate-every", "0.5",
    ],
    "pretrain of whole documents": [
        "pretrain", "--data", "{data}", "--tokenizer", "{tokenizer}", "--depth", "1", "--width", "64", "--context",
        "96", "--packing", "best-fit", "--document-mask", "--microbatch", "3",
    ],
    "pretrain from a model": ["pretrain", "--data", "{data}", "--model", "{base}", "--layer-decay", "0.9"],
    "pretrain encoder": [
        "pretrain", "--architecture", "encoder", "--data", "{data}", "--tokenizer", "{tokenizer}", "--depth", "1",
        "--width", "64", "--context", "64", "--microbatch", "3", "--document-mask", "--best",
    ],
    "pretrain encoder-decoder": [
        "pretrain", "--architecture", "encoder-decoder", "--data", "{data}", "--tokenizer", "{tokenizer}", "--depth",
        "1", "--width", "64", "--context", "64", "--microbatch", "3",
    ],
    "ppo": [
        "ppo", "--data", "{chat}", "--model", "{base}", "--reward", "length:8", "--replay", "{data}", "--prompts", "4",
        "--passes", "2", "--max-tokens", "8", "--normalize-rewards", "--kl-target", "1", "--validate-every", "0.5",
        "--report-prompts", "2", "--skip-bad",
    ],
    "grpo": [
        "grpo", "--data", "{data}/documents/train-*.parquet", "--columns", "prompt=bytes", "--model", "{base}",
        "--reward", "length:8", "--prompts", "4", "--answers", "2", "--max-tokens", "8", "--lora.rank", "4",
        "--lora.dropout", "0.1", "--validate-every", "0.5", "--report-prompts", "2",
    ],
}  # fmt: skip


def dodam(*words: str) -> list[str]:
    return [sys.executable, "-m", "dodam", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(dodam(*words), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small data folder, conversations and a base model to start the stages from."""
    folder = tmp_path_factory.mktemp("world")
    rng = random.Random(0)
    words = [
        "the",
        "sky",
        "sea",
        "sun",
        "is",
        "blue",
        "red",
        "warm",
        "cold",
        "하늘은",
        "바다는",
        "파랗다",
        "붉다",
        "그리고",
        "아주",
        "and",
        "very",
        "1",
        "2",
        "3",
    ]
    texts = [" ".join(rng.choice(words) for _ in range(60)) for _ in range(300)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    chats = [{"question": text[:40], "answer": text[40:80]} for text in texts]
    (folder / "chat.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats), encoding="utf-8")
    names = {name: str(folder / name) for name in ("data", "tokenizer", "base")}
    run("prepare", "--data", str(folder / "text.jsonl"), "--out", names["data"], "--validation", "0.05")
    run("tokenizer", "train", "--data", names["data"], "--out", names["tokenizer"], "--vocabulary", "512")
    pretrain = [word.format(**names) for word in STAGES["pretrain"]]
    run(*pretrain, *COMMON, "--tokenizer", names["tokenizer"], "--out", names["base"])
    return {**names, "chat": str(folder / "chat.jsonl")}


def command(stage: str, world: dict[str, str], out: Path) -> list[str]:
    words = [word.format(**world) for word in STAGES[stage]]
    extra = ["--tokenizer", world["tokenizer"]] if stage == "pretrain" else []
    return [*words, *COMMON, *extra, "--out", str(out)]


def weights(out: Path) -> str:
    return hashlib.sha256((out / "model" / "model.safetensors").read_bytes()).hexdigest()


def kill_after(words: list[str], out: Path, step: int, delay: float) -> None:
    """Start a command and kill it with SIGKILL a moment after it has saved `step`."""
    process = subprocess.Popen(dodam(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        saved = [int(path.name[5:]) for path in (out / "checkpoint").glob("step-*")]
        if max(saved, default=-1) >= step:
            break
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("stage", STAGES)
def test_killed_and_resumed_equals_undisturbed(stage: str, world: dict[str, str], tmp_path: Path) -> None:
    run(*command(stage, world, tmp_path / "calm"))
    killed = tmp_path / "killed"
    rng = random.Random(1)
    for step in (3, 9):
        kill_after(command(stage, world, killed), killed, step, rng.uniform(0.0, 0.03))
        assert not (killed / "result.json").is_file(), "the run was over before it could be killed"
    run(*command(stage, world, killed))
    assert weights(killed) == weights(tmp_path / "calm")
    steps = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    logged = [row["step"] for row in steps if "loss" in row]
    assert logged == sorted(set(logged)), "a step was told twice"


def test_a_finished_run_is_not_done_again_and_other_settings_are_refused(world: dict[str, str], tmp_path: Path) -> None:
    out = Path(world["base"])
    before = (out / "model" / "model.safetensors").stat().st_mtime_ns
    again = run(*command("pretrain", world, out), "--json")
    assert json.loads(again.stdout.splitlines()[-1])["steps"] == STEPS
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == before
    other = subprocess.run(dodam(*command("pretrain", world, out), "--seed", "5"), capture_output=True, text=True)
    assert other.returncode == 2
    assert "seed" in other.stderr
    assert "--out" in other.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_three_times_at_any_moment(stage: str, world: dict[str, str], tmp_path: Path) -> None:
    """While it starts, reads, steps, saves, or writes the model; over all stages that makes more than 50 kills."""
    began = time.monotonic()
    run(*command(stage, world, tmp_path / "calm"))
    whole = time.monotonic() - began
    killed, kills, rng = tmp_path / "killed", 0, random.Random(stage)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    while kills < 3:
        process = subprocess.Popen(dodam(*command(stage, world, killed)), **quiet)
        time.sleep(rng.uniform(0.0, whole))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            continue
        assert weights(killed) == weights(tmp_path / "calm")  # over before the kill: once more from the beginning
        shutil.rmtree(killed)
    run(*command(stage, world, killed))
    assert weights(killed) == weights(tmp_path / "calm")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_would_go_on_with_other_data_is_refused(stage: str, world: dict[str, str], tmp_path: Path) -> None:
    mine = {name: str(tmp_path / Path(path).name) for name, path in world.items()}
    for name in ("chat", "data", "base", "tokenizer"):
        copy = shutil.copytree if Path(world[name]).is_dir() else shutil.copy
        copy(world[name], mine[name])
    out = tmp_path / "run"
    kill_after(command(stage, mine, out), out, 3, 0.0)
    if "--replay" not in STAGES[stage] and stage.startswith("sft"):
        with open(mine["chat"], "a", encoding="utf-8") as file:
            file.write('{"question": "one", "answer": "more"}\n')
    else:
        texts = Path(world["data"]).parent / "text.jsonl"
        run("prepare", "--data", str(texts), "--out", mine["data"], "--validation", "0.2")
    done = subprocess.run(dodam(*command(stage, mine, out)), capture_output=True, text=True)
    assert done.returncode == 2
    assert "what it reads has changed" in done.stderr


@pytest.mark.parametrize("harm", ["tensors", "state"])
def test_a_torn_newest_checkpoint_falls_back_to_the_one_before(
    harm: str, world: dict[str, str], tmp_path: Path
) -> None:
    run(*command("sft", world, tmp_path / "calm"))
    out = tmp_path / "torn"
    kill_after(command("sft", world, out), out, 6, 0.0)
    newest = max((out / "checkpoint").glob("step-*"))
    file = newest / ("tensors.safetensors" if harm == "tensors" else "state.json")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = run(*command("sft", world, out))
    assert "torn" in done.stderr
    assert weights(out) == weights(tmp_path / "calm")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, world: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    words = command("sft", world, out)
    process = subprocess.Popen(dodam(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list((out / "checkpoint").glob("step-*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Go on with: dodam sft" in errors
    assert "Traceback" not in errors
    run(*words)
