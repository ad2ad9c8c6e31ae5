"""`dodam ppo` and `dodam grpo` through the real command line: they learn, write what they promise, and say what is
wrong. That they resume exactly is in test_resume.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dodam import cli
from dodam.data.conversation import CHAT_TEMPLATE
from dodam.folder import load_model
from dodam.models.decoder import Decoder
from dodam.rl.rounds import Rounds
from talking_models import make_decoder, make_tokenizer, write_model

COMMON = [
    "--max-tokens",
    "4",
    "--threads",
    "1",
    "--dtype",
    "float32",
    "--report-prompts",
    "6",
    "--validate-every",
    "0.5",
    "--seed",
    "1",
    "--json",
    "--checkpoint-seconds",
    "0",
]


def quiet_decoder(vocabulary: int) -> Decoder:
    """One whose answers are of all kinds of tokens, and sometimes end."""
    model = make_decoder(vocabulary)
    with torch.no_grad():
        model.output.weight.mul_(0.15)
    return model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("world")
    tokenizer = make_tokenizer(CHAT_TEMPLATE)
    write_model(folder / "policy", quiet_decoder(tokenizer.size), tokenizer, CHAT_TEMPLATE)
    rows = [{"prompt": f"{word} sky {number}?", "answer": number} for word in ("the", "a") for number in range(20)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # The reward wants Latin letters: something a random model says now and then, and can say more often.
    (folder / "mine.py").write_text(
        "def latin(prompt, answer, item):\n    return sum(c.isascii() and c.isalpha() for c in answer) / 4\n"
        "def never(prompt, answer, item):\n    return float('nan') if item['answer'] == 7 else 0.0\n"
    )
    return {"policy": str(folder / "policy"), "prompts": str(folder / "prompts.jsonl"), "mine": str(folder / "mine.py")}


def run(
    capsys: pytest.CaptureFixture[str], world: dict[str, str], out: Path, *words: str
) -> tuple[dict[str, Any], str]:
    name, *more = words
    reward = () if "--reward" in more else ("--reward", f"{world['mine']}:latin")
    given = ["--model", world["policy"], "--data", world["prompts"], *reward, "--out", str(out), *COMMON, *more]
    code = cli.main([name, *given])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out.splitlines()[-1]), said.err


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def changed(words: list[str], flags: str) -> list[str]:
    """The words with some flags, which take the place of those of the same name."""
    more = flags.split()
    names = {word for word in more if word.startswith("--")}
    dropped = {place + step for place, word in enumerate(words) if word in names for step in (0, 1)}
    return [word for place, word in enumerate(words) if place not in dropped] + more


GRPO = ["grpo", "--prompts", "8", "--answers", "4", "--steps", "12", "--learning-rate", "8"]
PPO = [
    "ppo",
    "--prompts",
    "32",
    "--passes",
    "2",
    "--batch",
    "32",
    "--steps",
    "24",
    "--learning-rate",
    "8",
    "--end-penalty",
    "0",
    "--kl",
    "0.01",
]


@pytest.mark.parametrize(
    "words",
    [
        changed(GRPO, "--kl 0.01"),
        changed(GRPO, "--loss dapo --overlong 0"),
        changed(GRPO, "--loss dr-grpo --passes 2 --batch 16 --steps 32"),
        changed(GRPO, "--lora.rank 4 --learning-rate 5"),
        PPO,
        changed(PPO, "--value own --whiten-rewards --clip-rewards 5 --normalize-rewards"),
        changed(PPO, "--lora.rank 4 --value own --kl-target 2 --kl-horizon 200 --learning-rate 5"),
    ],
    ids=["grpo", "dapo", "dr-grpo", "grpo-lora", "ppo", "ppo-own-value", "ppo-lora"],
)
def test_the_reward_rises_and_the_folder_holds_a_plain_model(
    words: list[str], world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    result, said = run(capsys, world, out, *words)
    rows = [row for row in rows_of(out) if "reward" in row]
    count = max(1, len(rows) // 4)
    first, last = (sum(row["reward"] for row in part) / count for part in (rows[:count], rows[-count:]))
    assert last > first + 0.05
    wanted = {"reward", "entropy", "length", "clipped", "ended"}
    if words[0] == "ppo":
        wanted |= {"kl", "kl_coefficient", "value_loss", "explained_variance", "score"}
    assert wanted <= rows[0].keys()
    assert set(result["before"]) == set(result["after"])
    assert isinstance(result["alarms"], dict)
    assert abs(result["before"]["kl"]) < 1e-4  # the reference is the model it began as
    assert result["validation"] == result["after"]["reward"]
    samples = (out / "samples.md").read_text()
    assert "before (" in samples
    assert "now (" in samples
    trained, begun = (load_model(path) for path in (out, world["policy"]))
    same = dict(begun.model.named_parameters())
    assert dict(trained.model.named_parameters()).keys() == same.keys()
    assert trained.tokenizer.chat_template == CHAT_TEMPLATE
    moved = [name for name, one in trained.model.named_parameters() if not torch.equal(one, same[name])]
    assert moved
    if "--lora.rank" in words:
        assert (out / "adapter" / "adapter_config.json").is_file()
        assert not any(name.startswith(("embedding", "output")) for name in moved)
    assert "before the first step" in said


def test_text_is_learned_along(world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.jsonl"
    line = json.dumps({"text": "The sky is blue and bananas are yellow. " * 12}) + "\n"
    text.write_text("".join(line.replace("sky", f"sky {number}") for number in range(30)))
    assert cli.main(["prepare", "--data", str(text), "--out", str(tmp_path / "data")]) == 0
    words = ["--replay", str(tmp_path / "data"), "--replay-weight", "3", "--context", "32", "--batch", "16"]
    run(capsys, world, tmp_path / "run", "ppo", "--prompts", "16", "--steps", "12", "--learning-rate", "8", *words)
    losses = [row["replay_loss"] for row in rows_of(tmp_path / "run") if "replay_loss" in row]
    assert losses[-1] < losses[0] - 0.1


def test_a_reward_that_is_none_names_the_prompt_and_what_was_learned_stays(
    world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["grpo", "--model", world["policy"], "--data", world["prompts"], "--reward", f"{world['mine']}:never"]
    words += ["--validation", "0", "--prompts", "2", "--answers", "2", "--steps", "40", *COMMON, "--out", str(out)]
    words[words.index("--checkpoint-seconds") + 1] = "1000"
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    place = json.loads(next(line for line in Path(world["prompts"]).read_text().splitlines() if '"answer": 7' in line))
    assert place["answer"] == 7
    assert "prompts.jsonl:8: " in said or "prompts.jsonl:28: " in said
    assert "mine.py:never gives nan" in said
    assert "Traceback" not in said
    learned = sorted(int(path.name[5:]) for path in (out / "checkpoint").glob("step-*"))
    rows = [row["step"] for row in rows_of(out)] if (out / "metrics.jsonl").is_file() else [0]
    assert learned[-1] == max(rows)  # all that was learned before that prompt came


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["grpo", "--prompts", "2", "--answers", "3", "--batch", "4"], "4 do not divide"),
        (["ppo", "--value-model", "{policy}"], "no trunk"),
        (["grpo", "--max-tokens", "96"], "no room for a prompt"),
        (["grpo", "--max-tokens", "90"], "there is room for 6"),
        (["ppo", "--compile", "yes"], "compiled anew"),
        (["grpo", "--steps", "3", "--epochs", "1"], "bound the same run"),
        (["grpo", "--overlong", "99"], "is more than"),
        (["ppo", "--kl-horizon", "5"], "Give a --kl-target"),
        (["ppo", "--replay-share", "0.5"], "no text is learned along"),
        (["grpo", "--context", "4000"], "tokens at most"),
        (["grpo", "--dev", "{prompts}", "--validation", "0.4"], "named by --dev"),
        (["grpo", "--validation", "0", "--judge", "exact"], "nothing is held back to be judged"),
        (["grpo", "--dev", "{prompts}"], "every prompt is held back"),  # all 40, though 6 are measured
    ],
)
def test_what_does_not_fit_is_refused(
    words: list[str], told: str, world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *more = (word.format(**world) for word in words)
    common = COMMON[2:] if "--max-tokens" in words else COMMON
    given = [
        "--model",
        world["policy"],
        "--data",
        world["prompts"],
        "--reward",
        "exact",
        "--out",
        str(tmp_path / "run"),
    ]
    assert cli.main([name, *given, *common, *more]) in (1, 2)
    assert told in capsys.readouterr().err


def test_what_is_measured_on_is_not_learned_from(
    world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Path(world["prompts"]).read_text().splitlines()[:30]
    longer = {
        "messages": [{"role": "system", "content": "s"}, *json.loads('[{"role": "user", "content": "a sky 3?"}]')]
    }
    (tmp_path / "dev.jsonl").write_text("\n".join([*rows, json.dumps({**longer, "answer": 1})]) + "\n")
    words = ["--prompts", "4", "--answers", "2", "--steps", "1", "--dev", str(tmp_path / "dev.jsonl")]
    result, said = run(capsys, world, tmp_path / "run", "grpo", *words)
    assert "30 prompts are in --dev too; they are not learned from" in said
    assert result["prompts"] == 10  # `a sky 13?` behind a system message is another prompt


def test_first_attempts_read_every_prompt_once(world: dict[str, str], tmp_path: Path, monkeypatch, capsys) -> None:
    first: list[str] = []
    ask = Rounds.ask

    def watched(self: Rounds, number: int, attempt: int) -> Any:
        found = ask(self, number, attempt)
        if attempt == 0:
            first.extend(answer.prompt.messages[-1]["content"] for answer in found.answers[:: self.num_answers])
        return found

    monkeypatch.setattr(Rounds, "ask", watched)
    words = ["--loss", "dapo", "--prompts", "4", "--answers", "2", "--steps", "10", "--validation", "0"]
    run(capsys, world, tmp_path / "run", "grpo", *words)
    assert len(first) == len(set(first)) == 40
