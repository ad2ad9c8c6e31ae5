"""Command `best-of`: prompts and rewards -> the best of several answers for `sft`, or all, for `reward` and `dpo`.

What it reads: a model, prompts, rewards. What it writes: JSONL with `messages` and the `reward` of the answer, or with
`prompt` and `answers`, each with its reward as `score`; beside them the mean of all answers to that prompt that ended.
Answers are sampled with seeds of their own, so what was interrupted goes on where it stopped and ends with the same
file.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt

from dodam import config as configs
from dodam import files
from dodam.errors import UsageError

if TYPE_CHECKING:
    from dodam.folder import LoadedModel
    from dodam.rl.prompts import Prompt
    from dodam.rl.rewards import Mixture

Row = dict[str, Any]
PART = 32  # prompts that are answered between two writes
MOST_TOKENS = 256  # an answer may have unless it is said, or half of the context


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """Answer prompts several times and keep the best answer of each (rejection sampling), or rank them by rule."""

    model: Path
    """The model that answers: a model folder or a run folder."""
    data: tuple[str, ...]
    """Prompts: JSONL, JSON, CSV/TSV or Parquet with `prompt` or `messages`, perhaps `answer`; or `sample:problems`."""
    reward: tuple[str, ...]
    """What an answer is worth, as in `dodam grpo`: exact, `0.1*length:200`, FILE.py:FUNCTION, the folder of a reward
    model."""
    out: Path
    """The JSONL file to write, or a folder for it: there it is `conversations.jsonl` or `rankings.jsonl`."""
    write: Literal["conversations", "rankings"] = "conversations"
    """conversations: the best answer to each prompt, for `dodam sft`; rankings: all answers with what they are worth,
    of prompts whose answers differ in that, for `dodam reward` and `dodam dpo`."""
    answers: Annotated[int, Gt(0)] = 8
    """Answers to each prompt."""
    least: float | None = None
    """Leave prompts out whose best answer is worth less than this; 1 with `exact` keeps right answers only."""
    max_tokens: Annotated[int, Gt(0)] | None = None
    """Most tokens of an answer. Default: 256, or half of the context. Answers without an end are not kept."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Answers are drawn at this temperature."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold what, when they cannot be found out: prompt=question answer=solution."""
    max_prompts: Annotated[int, Ge(0)] = 0
    """Read at most so many; 0 reads all."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows that cannot be used and prompts that are too long, and count them, instead of stopping."""
    threads: Annotated[int, Gt(0)] | None = None
    """CPU threads. Default: all cores this process may use."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    seed: int = 0
    """Seed of the answers."""


def run(config: BestOf) -> dict[str, Any]:
    """Write the conversations or rankings; returns how many, and the mean rewards of all answers and of the best."""
    from dodam import machine as machines
    from dodam.data.conversation import template_of
    from dodam.folder import load_model
    from dodam.rl.prompts import fingerprint, read_prompts
    from dodam.rl.rewards import fingerprint as of_rewards
    from dodam.rl.rewards import mixture

    machine = machines.look(config.device, config.threads)
    machines.use(machine)
    file = config.out if config.out.suffix else config.out / f"{config.write}.jsonl"
    loaded = load_model(config.model, device=machine.device)
    loaded.tokenizer.chat_template = template_of(loaded.tokenizer)
    context = loaded.model.config.context
    max_tokens = config.max_tokens or min(MOST_TOKENS, context // 2)
    prompts = read_prompts(
        config.data, loaded.tokenizer, context - max_tokens, columns=config.columns, encoding=config.encoding,
        skip_bad=config.skip_bad, limit=config.max_prompts,
    )  # fmt: skip
    reward = mixture(config.reward, machine.device)
    weights = [files.xxh3(path) for path in sorted(loaded.path.glob("*.safetensors"))]
    read = {"prompts": fingerprint(prompts), "weights": weights, "rewards": of_rewards(config.reward)}
    begun = {"format": 1, **configs.to_json(config), "read": read, "threads": None}
    part, record = file.with_name(f"{file.name}.part"), file.with_name(f".{file.name}.json")
    if file.exists():
        known = files.read_json(record) if record.is_file() else {}
        if known.get("begun") != begun:
            mend = "Delete it, or use another --out."
            raise UsageError("is there already, and was not made with these settings", where=str(file), mend=mend)
        print(f"best-of: {file} is already done.", file=sys.stderr)
        return known["result"]
    rows = done_rows(part, begun)
    if rows:
        print(f"best-of: goes on after {len(rows)} of {len(prompts)} prompts.", file=sys.stderr)
    for row in best(config, loaded, reward, prompts, max_tokens, first=len(rows)):
        files.append_line(part, json.dumps(row, ensure_ascii=False))
        rows.append(row)
        if len(rows) % PART == 0 or len(rows) == len(prompts):
            print(f"best-of: {len(rows)} of {len(prompts)} prompts", file=sys.stderr)
    ended = [row for row in rows if row["reward"] is not None]
    kept = [row for row in ended if config.least is None or row["reward"] >= config.least]
    if config.write == "rankings":  # what is all worth the same says nothing
        kept = [row for row in kept if len({one["score"] for one in row["answers"]}) > 1]
    means = {name: sum(row[name] for row in ended) / len(ended) if ended else None for name in ("mean", "reward")}
    result = {
        "out": str(file),
        "prompts": len(rows),
        config.write: len(kept),
        "mean_reward": means["mean"],
        "best_reward": means["reward"],
    }
    tell(config, rows, ended, kept, means)
    files.write_json(record, {"begun": begun, "result": result})
    with files.new_file(file) as path:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
    part.unlink()
    return result


def tell(config: BestOf, rows: list[Row], ended: list[Row], kept: list[Row], means: dict[str, float | None]) -> None:
    """How much was kept and what it is worth, and what mends it where it is nothing."""
    worth = (
        "" if means["reward"] is None else f", worth {means['reward']:.4f} at best and {means['mean']:.4f} on average"
    )
    unended = len(rows) - len(ended)
    print(f"best-of: {len(kept)} {config.write} of {len(rows)} prompts{worth}.", file=sys.stderr)
    if unended:
        print(
            f"best-of: {unended} prompts have no answer that ended; a larger --max-tokens mends that.", file=sys.stderr
        )
    if not kept:
        mend = "A lower --least, more --answers or another --reward mend that."
        print(f"best-of: nothing is kept, so there is nothing to learn from. {mend}", file=sys.stderr)


def done_rows(part: Path, begun: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that an interrupted command has written; a new file begins with what it was asked. UsageError for one
    that was asked something else."""
    if not part.is_file():
        part.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(part, json.dumps(begun, ensure_ascii=False) + "\n")
        return []
    whole: list[dict[str, Any]] = []
    for line in part.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:  # not at a U+2028 inside a text
        try:
            whole.append(json.loads(line))
        except json.JSONDecodeError:
            break  # torn
    if not whole or whole[0] != begun:
        mend = "Delete it, or use another --out."
        raise UsageError("was begun with other settings or prompts", where=str(part), mend=mend)
    files.write_atomic(part, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in whole))
    return whole[1:]


def best(
    config: BestOf, loaded: "LoadedModel", reward: "Mixture", prompts: "Sequence[Prompt]", max_tokens: int, first: int
) -> Iterator[dict[str, Any]]:
    """A row for each prompt from the number `first` on; one none of whose answers ended has no reward."""
    from dodam.rl.rollout import answers_to, seed_of
    from dodam.rl.rounds import asked

    tokenizer, count = loaded.tokenizer, config.answers
    stop_ids = tuple(sorted({tokenizer.end, tokenizer.eos, *loaded.stop_ids}))
    while first < len(prompts):
        # To the end of the part that was begun, so that the same prompts are always answered side by side.
        begin = first - first % PART
        numbers = range(begin, min(begin + PART, len(prompts)))
        answers = answers_to(
            loaded.model, tokenizer, [prompts[number] for number in numbers for _ in range(count)],
            [seed_of(config.seed, number, place) for number in numbers for place in range(count)],
            stop_ids=stop_ids, max_tokens=max_tokens, temperature=config.temperature,
        )  # fmt: skip
        rewards = reward([asked(one) for one in answers])
        for number in numbers[first - begin :]:
            mine = range((number - begin) * count, (number - begin + 1) * count)
            ended = [(answers[i].text, rewards[i]) for i in mine if answers[i].ended and answers[i].text]
            yield row_of(prompts[number], ended, config.write)
        first = numbers[-1] + 1


def row_of(prompt: "Prompt", ended: Sequence[tuple[str, float]], write: str) -> dict[str, Any]:
    """What is written of a prompt and those of its answers that ended, each with what it is worth."""
    mean = sum(reward for _, reward in ended) / len(ended) if ended else None
    text, most = max(ended, key=lambda one: one[1], default=("", None))
    if write == "rankings":
        answers = [{"text": text, "score": reward} for text, reward in dict(ended).items()]
        return {"prompt": prompt.messages, "answers": answers, "reward": most, "mean": mean}
    said = [*prompt.messages, {"role": "assistant", "content": text}] if ended else []
    return {"messages": said, "reward": most, "mean": mean}
