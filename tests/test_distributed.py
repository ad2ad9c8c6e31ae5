"""Training on many ranks, by the real torchrun: what comes out is what one process makes of the same rows.

Sums are added up in another order than on one rank, and Muon's Newton-Schulz rounds to bf16, so weights differ a little
and losses by less than `BOUND` of their size, as they do for another --microbatch in one process.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch.distributed as dist

from dodam import cli
from dodam.errors import UsageError
from dodam.train import context, meeting

BOUND = 1e-3
MODEL = ["--data", "{data}", "--tokenizer", "{tokenizer}", "--depth", "1", "--width", "32", "--context", "32"]
DEEPER = [{"1": "2"}.get(word, word) for word in MODEL] + ["--heads", "4", "--kv-heads", "2"]
SHARDS = {"none": [], "full": ["--parallel.shard", "full"]}
SHARDS["tensor"] = [*SHARDS["full"], "--parallel.tensor", "2"]
SHARDS["pipeline"] = ["--parallel.pipeline", "2"]
SHARDS["context"] = ["--parallel.context", "2"]
SHARDS["context, full"] = [*SHARDS["context"], *SHARDS["full"]]
RANKED = ["--data", "{rankings}", "--model", "{base}", "--validation", "0.2"]
ASKED = ["--data", "{chat}", "--model", "{base}", "--reward", "length:60-200", "--max-tokens", "8", "--skip-bad"]
ASKED += ["--report-prompts", "5", "--learning-rate", "4"]
COMMON = ["--batch", "8", "--threads", "1", "--compile", "no", "--dtype", "float32", "--validate-every", "0.5"]
STAGES = {
    "decoder": ["pretrain", *MODEL, "--steps", "12", "--checkpoint-seconds", "0.05"],
    "encoder": ["pretrain", "--architecture", "encoder", *MODEL, "--steps", "12"],
    "encoder-decoder": ["pretrain", "--architecture", "encoder-decoder", *MODEL, "--steps", "12"],
    "long": ["pretrain", *MODEL, "--steps", "40", "--checkpoint-seconds", "0"],
    "longer": ["pretrain", *MODEL, "--steps", "120", "--checkpoint-seconds", "0"],
    "heads": ["pretrain", *DEEPER, "--steps", "12", "--checkpoint-seconds", "0.05"],
    "heads twice": ["pretrain", *DEEPER, "--steps", "12", "--recompute", "0.5"],
    "long heads": ["pretrain", *DEEPER, "--steps", "40", "--checkpoint-seconds", "0"],
    "encoder of heads": ["pretrain", "--architecture", "encoder", *MODEL, "--heads", "2", "--steps", "12"],
    "sft": ["sft", "--data", "{chat}", "--model", "{base}", "--replay", "{data}", "--steps", "11"],
    "sft with lora": ["sft", "--data", "{chat}", "--model", "{base}", "--lora.rank", "2", "--steps", "11"],
    "classify": ["classify", "--data", "{labels}", "--model", "{base}", "--dropout", "0", "--steps", "11"],
    "dpo": ["dpo", *RANKED, "--steps", "11"],
    "long dpo": ["dpo", *RANKED, "--steps", "40", "--checkpoint-seconds", "0"],
    "reward": ["reward", *RANKED, "--length-control", "balanced", "--steps", "11"],
    "reward of two": ["reward", *RANKED, "--members", "2", "--steps", "3"],
    "grpo": ["grpo", *ASKED, "--prompts", "4", "--answers", "4", "--steps", "12"],
    "dapo": ["grpo", *ASKED, "--prompts", "3", "--answers", "8", "--steps", "9", "--loss", "dapo", "--judge", "exact"],
    "long grpo": ["grpo", *ASKED, "--prompts", "4", "--answers", "4", "--steps", "40", "--checkpoint-seconds", "0"],
    "ppo": [
        "ppo", *ASKED, "--prompts", "8", "--passes", "2", "--steps", "12", "--normalize-rewards", "--kl-target", "0.01",
        "--kl-horizon", "100", "--replay", "{data}", "--replay-share", "0.4",
    ],
    "embed": ["embed", "--data", "{triplets}", "--model", "{base}", "--dropout", "0", "--steps", "11"],
    "seq2seq": [
        "seq2seq", "--data", "{pairs}", "--tokenizer", "{tokenizer}", "--depth", "1", "--width", "32", "--heads", "1",
        "--batch-tokens", "100", "--dropout", "0", "--validation", "0.1", "--report-pairs", "4", "--steps", "11",
        "--learning-rate", "0.3",
    ],
}  # fmt: skip
TOLD = ("loss", "validation", "tokens")
OF_REWARDS = ("reward", "length", "entropy", "kl_coefficient", "value_loss", "replay_loss", "validation")
TELLING = {"grpo": OF_REWARDS, "long grpo": OF_REWARDS, "dapo": OF_REWARDS, "ppo": OF_REWARDS}
"""What is compared of a stage where that is something else: of answers to rewards the loss begins at next to nothing,
and which of them share a row, and so its tokens, follows from which rank has them."""


def dodam(*words: str) -> list[str]:
    return [sys.executable, "-m", "dodam", *words]


def on_ranks(ranks: int, *words: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [*launcher, "-m", "dodam", *words] if ranks > 1 else dodam(*words)


def run(words: list[str], code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    assert (done.returncode != 0) == (code != 0), done.stderr
    return done


def command(stage: str, world: dict[str, str], out: Path, ranks: int, shard: str = "none") -> list[str]:
    words = [word.format(**world) for word in (*STAGES[stage], *COMMON)]
    return on_ranks(ranks, *words, "--out", str(out), *SHARDS[shard])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small data folder, conversations, labelled texts and a base model."""
    folder = tmp_path_factory.mktemp("world")
    rng = random.Random(0)
    words = [
        "the",
        "sky",
        "sea",
        "is",
        "blue",
        "red",
        "warm",
        "하늘은",
        "바다는",
        "파랗다",
        "붉다",
        "그리고",
        "and",
        "1",
        "2",
    ]
    texts = [" ".join(rng.choice(words) for _ in range(60)) for _ in range(200)]
    kinds = ["blue" if text.count("blue") > text.count("red") else "red" for text in texts]
    rows = {
        "text": [{"text": text} for text in texts],
        "chat": [
            {"question": text[:30], "answer": text[30 : 40 + 4 * (number % 9)]} for number, text in enumerate(texts)
        ],
        "labels": [{"text": text, "label": kind} for text, kind in zip(texts, kinds, strict=True)],
        "rankings": [
            {"prompt": text[:20], "answers": [text[at : at + 9 + at % 8] for at in (20, 31, 45)], "ranks": [1, 2, 3]}
            for text in texts[:90]
        ],
        "triplets": [
            {"text": text[:24], "text2": text[12:36], **({"negative": text[40:50]} if number % 3 else {})}
            for number, text in enumerate(texts)
        ],
        "pairs": [{"source": text[: 10 + n % 30], "target": text[10 : 20 + n % 30]} for n, text in enumerate(texts)],
    }
    for name, values in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in values), encoding="utf-8")
    names = {name: str(folder / name) for name in ("data", "tokenizer", "base")}
    names |= {name: str(folder / f"{name}.jsonl") for name in rows}
    run(dodam("prepare", "--data", names["text"], "--out", names["data"], "--validation", "0.05"))
    run(dodam("tokenizer", "train", "--data", names["data"], "--out", names["tokenizer"], "--vocabulary", "448"))
    run(command("decoder", names, Path(names["base"]), 1))
    return names


@pytest.fixture(scope="module")
def alone(world: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What one process makes of the stages, each done when it is first asked for."""
    folder = tmp_path_factory.mktemp("alone")

    class Alone(dict[str, Path]):
        def __missing__(self, stage: str) -> Path:
            self[stage] = Path(world["base"]) if stage == "decoder" else folder / stage
            if stage != "decoder":
                run(command(stage, world, self[stage], 1))
            return self[stage]

    return Alone()


def curve(out: Path, told: Sequence[str], after: int) -> dict[tuple[int, str], float]:
    """Numbers a run told of its learning, by step and name."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {(row["step"], name): row[name] for row in rows for name in told if name in row and row["step"] > after}


def differences(one: Path, other: Path, told: Sequence[str], after: int = 0) -> float:
    """The largest relative difference between the curves of two runs."""
    mine, others = curve(one, told, after), curve(other, told, after)
    assert mine.keys() == others.keys() and len(mine) > 2
    return max(abs(mine[key] - others[key]) / abs(mine[key]) for key in mine)


@pytest.mark.parametrize(
    ("stage", "ranks", "shard"),
    [
        ("decoder", 2, "none"),
        ("encoder", 2, "full"),
        pytest.param("decoder", 4, "none", marks=pytest.mark.slow),
        pytest.param("decoder", 4, "full", marks=pytest.mark.slow),
        pytest.param("encoder-decoder", 2, "none", marks=pytest.mark.slow),
        pytest.param("sft", 2, "none", marks=pytest.mark.slow),
        pytest.param("sft with lora", 2, "full", marks=pytest.mark.slow),
        pytest.param("classify", 2, "none", marks=pytest.mark.slow),
        pytest.param("classify", 4, "full", marks=pytest.mark.slow),
        pytest.param("heads", 2, "tensor", marks=pytest.mark.slow),
        pytest.param("heads", 4, "tensor", marks=pytest.mark.slow),
        ("heads", 2, "pipeline"),
        pytest.param("heads", 4, "pipeline", marks=pytest.mark.slow),
        ("heads", 2, "context"),
        pytest.param("heads", 4, "context", marks=pytest.mark.slow),
        pytest.param("heads", 4, "context, full", marks=pytest.mark.slow),
        pytest.param("heads twice", 2, "context", marks=pytest.mark.slow),
        pytest.param("sft", 2, "context", marks=pytest.mark.slow),
        pytest.param("sft with lora", 2, "context", marks=pytest.mark.slow),
        pytest.param("heads twice", 2, "full", marks=pytest.mark.slow),
        pytest.param("heads twice", 2, "tensor", marks=pytest.mark.slow),
        pytest.param("heads twice", 2, "pipeline", marks=pytest.mark.slow),
        pytest.param("encoder of heads", 2, "tensor", marks=pytest.mark.slow),
        ("dpo", 2, "none"),
        pytest.param("dpo", 2, "full", marks=pytest.mark.slow),
        pytest.param("reward", 2, "none", marks=pytest.mark.slow),
        pytest.param("reward", 4, "full", marks=pytest.mark.slow),
        ("grpo", 2, "none"),
        pytest.param("dapo", 2, "none", marks=pytest.mark.slow),
        pytest.param("ppo", 2, "none", marks=pytest.mark.slow),
        pytest.param("ppo", 4, "none", marks=pytest.mark.slow),
        pytest.param("embed", 2, "none", marks=pytest.mark.slow),
        pytest.param("embed", 4, "full", marks=pytest.mark.slow),
        pytest.param("seq2seq", 4, "none", marks=pytest.mark.slow),
    ],
)
def test_ranks_learn_what_one_learns(
    stage: str, ranks: int, shard: str, world: dict[str, str], alone: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "run"
    whole = shard == "full" and stage in ("dpo", "reward", "embed")  # these compute all rows at one time there
    done = run([*command(stage, world, out, ranks, shard), *([] if whole else ["--microbatch", "2"])])
    told = [line for line in done.stderr.splitlines() if ": step " in line]
    assert told and len(told) == len(set(told)), "more than one rank spoke"
    # Where a gradient is next to nothing Muon makes much of its rounding, in two blocks more than in one; gradients
    # themselves are compared below.
    more = 5 if stage.startswith("heads") else 1
    compared = TELLING.get(stage, TOLD)
    assert differences(alone[stage], out, compared) < more * BOUND
    assert differences(alone[stage], out, (*compared, "gradient_norm")) < more * 5 * BOUND
    assert sorted(path.name for path in (out / "model").iterdir()) == sorted(
        path.name for path in (alone[stage] / "model").iterdir()
    )
    mine, other = (load_file(folder / "model" / "model.safetensors") for folder in (out, alone[stage]))
    assert {name: one.shape for name, one in mine.items()} == {name: one.shape for name, one in other.items()}
    assert max(float((mine[name] - other[name]).abs().max()) for name in mine) < more * 0.02


@pytest.mark.slow
def test_reward_models_that_judge_together(world: dict[str, str], alone: dict[str, Path], tmp_path: Path) -> None:
    """Each is trained by all ranks, and their folder is put together once."""
    out = tmp_path / "run"
    run(command("reward of two", world, out, 2))
    for member in ("members/1", "members/2"):
        assert differences(alone["reward of two"] / member, out / member, TOLD) < BOUND
    assert json.loads((out / "result.json").read_text())["members"] == 2


@contextmanager
def started(words: list[str], out: Path, step: int) -> Iterator[subprocess.Popen[str]]:
    """A run that has saved step number `step`; whatever is left of it afterwards is killed."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, start_new_session=True, **pipes) as process:
        try:
            deadline = time.monotonic() + 200
            while last_saved(out) < step:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.005)
            yield process
        finally:
            for pid in ranks_of(process):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()


def last_saved(out: Path) -> int:
    return max((int(path.name[5:]) for path in (out / "checkpoint").glob("step-*")), default=-1)


def ranks_of(launcher: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun started, in the order of their ranks."""
    try:
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        found = {rank_of(int(pid)): int(pid) for pid in children}
    except OSError:
        return []
    return [pid for rank, pid in sorted(found.items()) if rank >= 0]


def rank_of(pid: int) -> int:
    values = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((int(value[5:]) for value in values if value.startswith(b"RANK=")), -1)


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds ranks in /proc")


@needs_proc
@pytest.mark.parametrize(
    ("stage", "layouts"),
    [
        ("long", [(2, "full"), (1, "full")]),
        pytest.param("long", [(4, "full"), (2, "none"), (1, "none")], marks=pytest.mark.slow),
        pytest.param("long heads", [(4, "tensor"), (2, "pipeline"), (1, "none")], marks=pytest.mark.slow),
        pytest.param("long dpo", [(2, "full"), (1, "none")], marks=pytest.mark.slow),
        pytest.param("long grpo", [(2, "none"), (1, "none")], marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_with_fewer_ranks(
    stage: str, layouts: list[tuple[int, str]], world: dict[str, str], alone: dict[str, Path], tmp_path: Path
) -> None:
    """Told to stop, or killed with all its ranks, and started again with fewer; then other commands use the model."""
    out = tmp_path / "run"
    for turn, (ranks, shard) in enumerate(layouts[:-1]):
        with started(command(stage, world, out, ranks, shard), out, 3 + 8 * turn) as process:
            if turn:
                for pid in ranks_of(process):
                    os.kill(pid, signal.SIGKILL)
            else:
                process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
            assert process.returncode != 0
        if not turn:
            assert f"stopped at step {last_saved(out)}; everything is saved" in errors
            assert "src/dodam" not in errors, "a traceback of ours"
        assert last_saved(out) < 40, "the run was over before it could be stopped"
        newest = max((out / "checkpoint").glob("step-*"))
        held = len(list(newest.glob("tensors*.safetensors")))
        assert held == (ranks if shard in ("full", "tensor") else 1), "each rank that holds parts writes them itself"
    done = run(command(stage, world, out, *layouts[-1]))
    assert "goes on at step" in done.stderr
    # A row of metrics tells of the steps since the run went on. Curves are furthest apart where they are steepest.
    after = 10 * (len(layouts) - 1)
    told = TELLING.get(stage, TOLD)
    assert differences(alone[stage], out, [name for name in told if name != "tokens"], after) < 5 * BOUND
    assert differences(alone[stage], out, told, 30) < BOUND
    assert run(dodam("generate", str(out), "the sky", "--max-tokens", "4")).stdout
    run(dodam("export", str(out), "--to", "hf", "--out", str(tmp_path / "hf")))
    assert (tmp_path / "hf" / "model.safetensors").is_file()


@needs_proc
def test_when_a_rank_dies_the_others_say_so_and_end(world: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with started(command("long", world, out, 2), out, 3) as process:
        died = time.monotonic()
        os.kill(ranks_of(process)[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode != 0 and time.monotonic() - died < 60
    assert "error: " in errors and "another rank is gone" in errors and "goes on from its last checkpoint" in errors
    assert "src/dodam" not in errors and "mistake in dodam" not in errors


@needs_proc
def test_a_recipe_trains_on_ranks_which_end_with_it_and_goes_on(
    world: dict[str, str], alone: dict[str, Path], tmp_path: Path
) -> None:
    """Killed, stopped, and then done on one rank."""
    words = [word.format(**world) for word in (*STAGES["long"], *COMMON)]
    keys = dict(zip(words[1::2], words[2::2], strict=True))
    told = "".join(f"{key[2:].replace('-', '_')} = {toml(value)}\n" for key, value in keys.items())
    recipe, out = tmp_path / "r.toml", tmp_path / "out"
    recipe.write_text(f'[parallel]\nranks = 2\nshard = "full"\n\n[[stage]]\nkind = "pretrain"\n{told}')
    go_on = dodam("run", str(recipe), "--out", str(out))
    for turn, how in enumerate((signal.SIGKILL, signal.SIGINT)):
        with started(go_on, out / "pretrain", 3 + 8 * turn) as process:
            (launcher,) = children_of(process.pid)
            both = children_of(launcher)
            assert len(both) == 2
            os.kill(process.pid, how)
            _, errors = process.communicate(timeout=60)
            deadline = time.monotonic() + 20
            while any(Path(f"/proc/{pid}/stat").exists() for pid in (launcher, *both)):
                assert time.monotonic() < deadline, "ranks outlived their runner"
                time.sleep(0.05)
        assert last_saved(out / "pretrain") < 40, "the run was over before it could be stopped"
        assert "Traceback" not in errors and not re.search(r"torch.distributed|^[WE]\d{4}", errors, re.MULTILINE)
    assert f"stopped at step {last_saved(out / 'pretrain')}; everything is saved" in errors
    assert "stopped in stage `pretrain`. Go on with: dodam run" in errors
    done = run([*go_on, "--set", "parallel.ranks=1"])
    assert "goes on at step" in done.stderr
    assert differences(alone["long"], out / "pretrain", TOLD, 30) < BOUND
    assert run([*go_on, "--set", "parallel.ranks=2"]).stderr.count("pretrain, on 2 ranks: up to date") == 1


def test_a_stage_of_a_recipe_that_fails_on_ranks_says_why_once(world: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    told = f'data = "{world["data"]}"\ntokenizer = "{world["tokenizer"]}"\ndepth = 1\nsteps = 2\nbatch = 8'
    recipe.write_text(f'[parallel]\nranks = 2\npipeline = 2\n\n[[stage]]\nkind = "pretrain"\n{told}\n')
    done = run(dodam("run", str(recipe), "--out", str(tmp_path / "out")), 1)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors[0] == "error: --parallel.pipeline: 1 blocks are too few for 2 ranks. Give fewer, or a deeper model."
    assert "stage `pretrain` failed" in errors[1] and len(errors) == 2
    assert "Traceback" not in done.stderr and not re.search(r"torch.distributed|^[WE]\d{4}", done.stderr, re.MULTILINE)


def toml(value: str) -> str:
    """As TOML has it: numbers bare, everything else in quotes."""
    return value if re.fullmatch(r"[\d.]+", value) else f'"{value}"'


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("shard", ["none", "tensor", "context, full"])
def test_ranks_do_not_wait_for_ever_for_one_that_hangs(shard: str, world: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [*command("long heads", world, out, 4 if "," in shard else 2, shard), "--parallel.timeout", "6s"]
    with started(words, out, 2) as process:
        hung = time.monotonic()
        os.kill(ranks_of(process)[1], signal.SIGSTOP)
        _, errors = process.communicate(timeout=100)
        assert process.returncode != 0 and time.monotonic() - hung < 90  # torchrun itself gives the hanging one 30 s
    assert "another rank is gone or does not answer" in errors and "src/dodam" not in errors


SLOW_WRITER = """
import sys, time
from pathlib import Path
import torch
from dodam import ranks
from dodam.data.batch import TokenBatch
from dodam.models.build import build_decoder, decoder_config
from dodam.train import distributed, metrics
from dodam.train.loop import LoopConfig, train
from dodam.train.objective import TokenCrossEntropy
from dodam.train.optim import OptimConfig, Optimizers

distributed.start("cpu", 2.0)
model = build_decoder(decoder_config(vocabulary=64, context=16, depth=1, width=32, heads=1), 0)
ids_BT, folder = torch.zeros(1, 16, dtype=torch.long), Path(sys.argv[1])
writes = metrics.Samples(folder / "samples.md", lambda: time.sleep(4.0) or "a text")
train(
    model, Optimizers(model, OptimConfig()), lambda step: [TokenBatch(ids_BT, ids_BT)], TokenCrossEntropy(),
    LoopConfig(steps=4, validate_every=0.5), folder=folder, hooks=[] if ranks.rank() else [writes],
)
print(f"RANK {ranks.rank()} done", flush=True)
"""


@pytest.mark.slow
def test_ranks_wait_while_the_first_writes_texts(tmp_path: Path) -> None:
    """For longer than a step may take; what one of them does alone is none."""
    script = tmp_path / "late.py"
    script.write_text(SLOW_WRITER)
    words = on_ranks(2)
    done = run([*words[: words.index("dodam") - 1], str(script), str(tmp_path / "run")])
    assert sorted(re.findall(r"RANK (\d) done", done.stdout)) == ["0", "1"]
    assert (tmp_path / "run" / "samples.md").read_text().count("a text") == 2


@pytest.mark.parametrize("number", [2, 3, 4])
def test_sections_have_as_much_to_look_back_on_as_one_another(number: int) -> None:
    sections = [context.places(24, number, rank).tolist() for rank in range(number)]
    assert sorted(place for section in sections for place in section) == list(range(24))
    assert len({sum(section) for section in sections}) == 1
    with pytest.raises(UsageError, match=f"rows of 26 tokens cannot be shared out among {number} ranks"):
        context.places(26, number, 0)


def test_ranks_that_are_started_again_meet_without_those_that_are_gone() -> None:
    """torchrun's store keeps what earlier ranks have said in it."""
    store, world, names = dist.HashStore(), 3, []

    def meet(rank: int) -> str:
        return meeting.agree(store, rank, world, 20.0)

    for turn in range(3):
        if turn:  # one of them dies before the others are there
            with pytest.raises(RuntimeError, match="timed out"):
                meeting.agree(store, 1, world, 0.1)
        with ThreadPoolExecutor(world) as threads:
            told = set(threads.map(meet, range(world)))
        assert len(told) == 1
        names += told
    assert len(set(names)) == 3


@needs_proc
@pytest.mark.slow
def test_a_rank_that_dies_is_started_again_by_torchrun_and_the_run_ends_right(
    world: dict[str, str], alone: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = command("long", world, out, 2, "full")
    words[words.index("--standalone") : words.index("-m", 3)] = [
        "--standalone", "--max-restarts", "2", "--nproc-per-node", "2",
    ]  # fmt: skip
    with started(words, out, 3) as process:
        os.kill(ranks_of(process)[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    assert "goes on at step" in errors
    assert differences(alone["long"], out, ("loss", "validation", "tokens"), 30) < BOUND


HOSTS = {"dodam-one": "10.213.77.1", "dodam-two": "10.213.77.2"}


@contextmanager
def two_hosts() -> Iterator[None]:
    """Two network namespaces with a cable between them: what runs in one sees the other as another host."""

    def ip(*words: str) -> bool:
        return subprocess.run(["ip", *words], capture_output=True).returncode == 0

    one, two = HOSTS
    try:
        if not all(ip("netns", "add", name) for name in HOSTS):
            pytest.skip("network namespaces need root and the program ip")
        assert ip("link", "add", "cable", "netns", one, "type", "veth", "peer", "name", "cable", "netns", two)
        for name, address in HOSTS.items():
            assert ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            assert ip("-n", name, "link", "set", "cable", "up") and ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in HOSTS:
            leave(name)
            ip("netns", "del", name)


def leave(name: str) -> None:
    """Kill everything on a host."""
    told = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    for pid in told.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_two_hosts_learn_what_one_process_learns(world: dict[str, str], alone: dict[str, Path], tmp_path: Path) -> None:
    """By torchrun's own rendezvous. The second host leaves in the middle, both are started again, and the run ends
    as if nothing had been. torchrun itself waits five minutes for a host that left, so it is ended here."""
    out = tmp_path / "run"
    dodam_words = command("longer", world, out, 1)[3:]

    def host(name: str, turn: int) -> tuple[subprocess.Popen[bytes], Path]:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{HOSTS['dodam-one']}:29513", "--rdzv-id", str(turn)]
        launcher += ["--rdzv-conf", f"is_host={int(name == 'dodam-one')}"]  # which it would know by its name
        launcher += ["--local-addr", HOSTS[name], "-m", "dodam", *dodam_words, "--parallel.shard", "full"]
        log = tmp_path / f"{name}-{turn}.log"
        with log.open("wb") as told:
            process = subprocess.Popen(
                ["ip", "netns", "exec", name, *launcher], start_new_session=True,
                env={**os.environ, "GLOO_SOCKET_IFNAME": "cable"}, stdout=subprocess.DEVNULL, stderr=told,
            )  # fmt: skip
        return process, log

    def wait_for(ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    processes: list[subprocess.Popen[bytes]] = []
    try:
        with two_hosts():
            (one, told), (two, _) = (host(name, 1) for name in HOSTS)
            processes += [one, two]
            wait_for(lambda: last_saved(out) >= 5, 200)
            leave("dodam-two")
            wait_for(lambda: b"another rank is gone" in told.read_bytes(), 120)
            assert b"src/dodam" not in told.read_bytes() and last_saved(out) < 120
            leave("dodam-one")
            (one, told), (two, _) = (host(name, 2) for name in HOSTS)
            processes += [one, two]
            assert (one.wait(timeout=250), two.wait(timeout=60)) == (0, 0), told.read_text()
            assert "goes on at step" in told.read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert differences(alone["longer"], out, ("loss", "validation", "tokens"), 110) < 5 * BOUND


@pytest.mark.parametrize(
    ("ranks", "kind"),
    [
        (2, "pipeline"),
        (2, "context"),
        pytest.param(4, "context", marks=pytest.mark.slow),
        pytest.param(4, "context-full", marks=pytest.mark.slow),
        pytest.param(2, "tensor", marks=pytest.mark.slow),
        pytest.param(2, "full", marks=pytest.mark.slow),
        pytest.param(4, "tensor", marks=pytest.mark.slow),
        pytest.param(4, "pipeline", marks=pytest.mark.slow),
    ],
)
def test_gradients_of_a_spread_model_are_those_of_the_whole(ranks: int, kind: str) -> None:
    """Without an optimiser that rounds: every parameter that a rank has, by the largest difference."""
    script = str(Path(__file__).parent / "spread_gradients.py")
    words = on_ranks(ranks, kind)
    done = run([*words[: words.index("dodam") - 1], script, kind])
    told = re.findall(r"RANK (\d) (\d+) (\d\.\d\de[+-]\d\d)", done.stdout)  # ranks may write into one line
    assert sorted(int(rank) for rank, _, _ in told) == list(range(ranks))
    assert max(float(worst) for _, _, worst in told) < 1e-5
    counts = {int(count) for _, count, _ in told}
    assert len(counts) == (2 if kind == "pipeline" else 1), "ranks of a pipeline have blocks of their own"


@pytest.mark.slow
def test_no_rank_needs_memory_for_the_whole_of_a_sharded_model(tmp_path: Path) -> None:
    """Built, trained, saved and exported; beside it what is needed where every rank builds all of it first. While it
    trains both need a quarter of weights, gradients and state, and what is put together for a step."""
    built, peak = {}, {}
    for how in ("parts", "whole"):
        words = on_ranks(4, how)
        script = str(Path(__file__).parent / "spread_memory.py")
        done = run([*words[: words.index("dodam") - 1], script, how, str(tmp_path / how)])
        told = re.findall(r"BUILT (\d+) PEAK (\d+) WHOLE (\d+)", done.stdout)
        assert len(told) == 4, done.stdout
        built[how] = max(int(grew) / int(whole) for grew, _, whole in told)
        peak[how] = max(int(grew) / int(whole) for _, grew, whole in told)
    assert built["parts"] < 0.2 < 0.3 < built["whole"], built  # a quarter of the weights, and all of them
    assert 0.25 < min(peak.values()) <= max(peak.values()) < 0.5, peak


def test_ranks_begin_with_the_weights_of_one_process(world: dict[str, str], tmp_path: Path) -> None:
    """Bit for bit, though none of them ever has all of them; and the folder has what was learned last."""
    import torch
    from safetensors.torch import load_file

    from dodam.train import checkpoint

    saved = {}
    for ranks, shard in ((1, "none"), (2, "full")):
        out = tmp_path / str(ranks)
        words = command("decoder", world, out, ranks, shard)
        run([{"12": "1"}.get(word, word) for word in words])
        saved[ranks] = [checkpoint.pieces(out / "checkpoint" / f"step-0000000{step}") for step in (0, 1)]
    first, others = saved[1][0], saved[2][0]
    assert first.shapes == others.shapes
    assert all(torch.equal(first[name], others[name]) for name in first)
    stored = load_file(tmp_path / "2" / "model" / "model.safetensors")
    assert torch.equal(stored["lm_head.weight"], saved[2][1]["model.output.weight"])
    assert torch.equal(stored["model.norm.weight"], saved[2][1]["model.norm.weight"])


def told_by(process: subprocess.CompletedProcess[str]) -> str:
    """What dodam said, without torchrun's own report."""
    assert "src/dodam" not in process.stderr and "mistake in dodam" not in process.stderr, process.stderr
    return "".join(line for line in process.stderr.splitlines(keepends=True) if line.startswith("error: "))


def test_a_batch_that_the_ranks_do_not_divide(world: dict[str, str], tmp_path: Path) -> None:
    words = [word if word != "8" else "7" for word in command("decoder", world, tmp_path / "run", 2)]
    assert told_by(run(words, 1)) == "error: --batch: 2 ranks do not divide 7 rows. Give 6 or 8.\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stage", "flags", "told"),
    [
        ("decoder", ["--parallel.tensor", "2"], "--parallel.tensor: goes with --parallel.shard full. Add it."),
        ("decoder", SHARDS["tensor"], "--parallel.tensor: 2 ranks do not divide heads (1). Give a divisor."),
        ("decoder", [*SHARDS["full"], "--parallel.tensor", "3"], "groups of 3 do not divide 2 ranks"),
        pytest.param(
            "sft with lora", SHARDS["tensor"], "adapters are not computed by several ranks", marks=pytest.mark.slow
        ),
        ("decoder", SHARDS["pipeline"], "--parallel.pipeline: 1 blocks are too few for 2 ranks. Give fewer"),
        pytest.param(
            "decoder",
            [*SHARDS["context"], *SHARDS["pipeline"]],
            "with sections of rows compute all of the model",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "encoder",
            SHARDS["context"],
            "--parallel.context: only a decoder learns from sections of rows",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "decoder",
            [*SHARDS["full"], *SHARDS["pipeline"]],
            "ranks of a pipeline have whole blocks",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_products_that_ranks_cannot_compute_together(
    stage: str, flags: list[str], told: str, world: dict[str, str], tmp_path: Path
) -> None:
    assert told in told_by(run([*command(stage, world, tmp_path / "run", 2), *flags], 1))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("stage", "flags", "told"),
    [
        ("dpo", SHARDS["tensor"], "--parallel.tensor: in this stage every rank has rows of its own. Leave the"),
        ("reward", SHARDS["pipeline"], "--parallel.pipeline: in this stage every rank has rows of its own. Leave"),
        ("classify", SHARDS["pipeline"], "--parallel.pipeline: in this stage every rank has rows of its own. Leave"),
        ("embed", [*SHARDS["full"], "--microbatch", "2"], "--microbatch: ranks that hold a part of the model each"),
        ("dpo", [*SHARDS["full"], "--microbatch", "2"], "--microbatch: ranks that hold a part of the model each"),
        ("grpo", SHARDS["context"], "--parallel.context: in this stage every rank has rows of its own. Leave"),
        ("grpo", SHARDS["full"], "--parallel.shard: answers are written by a whole model. Leave the flag out."),
        ("ppo", SHARDS["full"], "--parallel.shard: answers are written by a whole model. Leave the flag out."),
        ("seq2seq", SHARDS["full"], "--parallel.shard: an encoder-decoder is not sharded. Leave the flag out."),
    ],
)
def test_what_stages_do_not_share_over_ranks_is_refused(
    stage: str, flags: list[str], told: str, world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [*command(stage, world, tmp_path / "run", 1)[3:], *flags]
    assert cli.main(words) == 2 and told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_reward_that_fails_on_one_rank_ends_all_with_one_message(world: dict[str, str], tmp_path: Path) -> None:
    """Whichever rank it fails on: the second answers the later half of a round's prompts."""
    (tmp_path / "mine.py").write_text(
        "import os\ndef odd(prompt, answer, item):\n    return float('nan') if os.environ['RANK'] == '1' else 1.0\n"
    )
    words = command("grpo", world, tmp_path / "run", 2)
    words[words.index("--reward") + 1] = f"{tmp_path / 'mine.py'}:odd"
    told = told_by(run([*words, "--validation", "0"], 1))
    assert told.count("error: ") == 1 and "mine.py:odd gives nan, which is no number" in told


def test_ranks_that_were_started_with_other_settings(world: dict[str, str], tmp_path: Path) -> None:
    """Each rank started by itself, as on machines of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [*command("decoder", world, tmp_path / "run", 1), "--seed", str(rank)],
            env={**common, "RANK": str(rank)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert told[0].startswith("error: rank 1: was started with other settings than rank 0 (seed). ") and not told[1]
    assert not (tmp_path / "run").exists()


def test_what_never_answers_is_given_up() -> None:
    code = "import time\nfrom dodam.train import meeting\nwith meeting.given_up_after(0.2): time.sleep(30)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "the ranks cannot meet: no answer. Another --master-port" in done.stderr


def test_a_command_of_one_process_is_not_started_on_ranks(world: dict[str, str]) -> None:
    done = subprocess.run(
        dodam("generate", world["base"], "the sky"), capture_output=True, text=True,
        env={**os.environ, "RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: generate: this command is one process. Start it without torchrun.\n"
