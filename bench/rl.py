"""Rollout and update: `dodam grpo` against TRL's GRPOTrainer, `dodam ppo` against a plain loop over transformers,
`dodam dpo` against TRL's DPOTrainer, and rollouts against the engine's own rate. Same model, prompts, lengths, dtype.

    python bench/rl.py --trl VENV/bin/python [--algorithms grpo ppo dpo engine] [--sizes tiny 30M] [--pairs 3]

The other side runs in a Python that has trl, datasets and accelerate (for ppo, transformers is enough). Sides take
turns, each in a process of its own; a side's figure is the median time of a step in which everything happens once:
answers drawn, rewarded, learned from. Printed are the medians over the pairs and of the pairwise ratios. A model with
random weights does not end its answers, so both sides write `--tokens` to each prompt.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZES = {  # depth, width, heads, kv heads, vocabulary
    "tiny": (2, 64, 1, 1, 1024),
    "30M": (8, 512, 8, 4, 8192),
}
WORDS = [
    "the",
    "sky",
    "is",
    "blue",
    "and",
    "bananas",
    "are",
    "yellow",
    "while",
    "the",
    "sea",
    "sings",
    "of",
    "old",
    "ships",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", default=sys.executable, help="the Python of the other side")
    parser.add_argument("--algorithms", nargs="+", default=["grpo", "ppo", "dpo", "engine"])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "30M"], choices=SIZES)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--bf16", action="store_true", help="both sides multiply in bfloat16")
    parser.add_argument("--processor", action="store_true", help="count processor time: for a machine that is busy")
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        if asked.processor:
            time.perf_counter = time.process_time  # also for the loop of the stage and for the callback
        seconds = SIDES[asked.algorithms[0], asked.side](asked, asked.work)
        print(f"\nSECONDS {seconds}")
        return
    for size in asked.sizes:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            parameters = prepare(work, size, asked)
            for algorithm in asked.algorithms:
                compare(asked, algorithm, size, parameters, work)


def compare(asked: argparse.Namespace, algorithm: str, size: str, parameters: int, work: Path) -> None:
    """Take turns and print a line of JSON."""
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(asked.pairs):
        for side in found:
            python = asked.trl if side == "theirs" and algorithm != "engine" else sys.executable
            same = [word for word in sys.argv[1:] if word]
            words = [python, __file__, *same, "--algorithms", algorithm, "--side", side, "--work", str(work)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads), "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(words, capture_output=True, text=True, env=environment)
            if done.returncode:
                sys.exit(f"{algorithm}, {side}: {done.stderr[-2000:]}")
            found[side].append(float(done.stdout.rpartition("SECONDS ")[2]))
    ratios = [theirs / ours for ours, theirs in zip(found["ours"], found["theirs"], strict=True)]
    medians = {side: round(statistics.median(values), 4) for side, values in found.items()}
    row = {"algorithm": algorithm, "size": size, "parameters": parameters, **medians}
    print(json.dumps({**row, "ratio": round(statistics.median(ratios), 2), "ratios": [round(r, 2) for r in ratios]}))


def prepare(work: Path, size: str, asked: argparse.Namespace) -> int:
    """A model with random weights as a folder that both sides read, prompts, pairs; the number of its parameters."""
    sys.path.insert(0, str(ROOT / "src"))
    sys.path.insert(0, str(ROOT / "tests"))
    from dodam.data.conversation import CHAT_TEMPLATE
    from dodam.folder import save_model
    from dodam.models.build import build_decoder, decoder_config, num_parameters
    from talking_models import make_tokenizer

    depth, width, heads, kv_heads, vocabulary = SIZES[size]
    config = decoder_config(
        vocabulary=vocabulary, context=256, depth=depth, width=width, heads=heads, kv_heads=kv_heads
    )
    model = build_decoder(config, 0)
    save_model(work / "model", model, make_tokenizer(CHAT_TEMPLATE), chat_template=CHAT_TEMPLATE, info={}, card="")
    prompts, pairs = [], []
    for number in range(512):
        text = " ".join(WORDS[(number * step + place) % len(WORDS)] for place, step in enumerate(range(3, 15)))
        prompts.append({"prompt": f"{number} {text}"})
        answer = " ".join(WORDS[(number + place) % len(WORDS)] for place in range(12))
        pairs.append({"prompt": f"{number} {text}", "chosen": answer, "rejected": answer[::-1]})
    for name, rows in (("prompts", prompts), ("pairs", pairs)):
        (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (work / "reward.py").write_text("def vowels(prompt, answer, item):\n    return sum(map(answer.count, 'aeiou'))\n")
    return num_parameters(config)


def our_stage(asked: argparse.Namespace, work: Path, *words: str) -> float:
    """Median seconds of the last steps of a short run of a command."""
    sys.path.insert(0, str(ROOT / "src"))
    from dodam import cli

    with tempfile.TemporaryDirectory() as out:
        dtype = "bfloat16" if asked.bf16 else "float32"
        common = ["--model", str(work / "model"), "--out", f"{out}/run", "--steps", str(asked.steps), "--dtype", dtype]
        common += ["--threads", str(asked.threads), "--validate-every", "1", "--checkpoint-seconds", "1000"]
        assert cli.main([*words, *common]) == 0
        rows = [json.loads(line) for line in Path(out, "run", "metrics.jsonl").read_text().splitlines()]
        return [row["step_seconds"] for row in rows if "step_seconds" in row][-1]


def our_policy(asked: argparse.Namespace, work: Path, name: str, *words: str) -> float:
    sampled = ["--data", str(work / "prompts.jsonl"), "--reward", f"{work}/reward.py:vowels", "--max-tokens"]
    return our_stage(asked, work, name, *sampled, str(asked.tokens), "--validation", "0", *words)


def our_grpo(asked: argparse.Namespace, work: Path) -> float:
    return our_policy(
        asked, work, "grpo", "--prompts", str(asked.prompts), "--answers", str(asked.answers), "--kl", "0.04"
    )


def our_ppo(asked: argparse.Namespace, work: Path) -> float:
    rows = asked.prompts * asked.answers
    return our_policy(asked, work, "ppo", "--prompts", str(rows), "--passes", "1", "--end-penalty", "0")


def our_dpo(asked: argparse.Namespace, work: Path) -> float:
    return our_stage(asked, work, "dpo", "--data", str(work / "pairs.jsonl"), "--batch", str(asked.prompts))


def model_and_tokenizer(work: Path, *, bf16: bool) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    del bf16  # weights are float32 on both sides
    model = AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(work / "model")


def trainer_settings(asked: argparse.Namespace, out: str) -> dict[str, Any]:
    return {
        "output_dir": out, "max_steps": asked.steps, "use_cpu": True, "bf16": asked.bf16, "report_to": "none",
        "save_strategy": "no", "logging_steps": 1000, "learning_rate": 1e-5, "gradient_checkpointing": False,
        "disable_tqdm": True, "seed": 0,
    }  # fmt: skip


def timed(trainer: Any) -> float:
    """Train; the median time between the ends of steps, the first left out."""
    from transformers import TrainerCallback

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    trainer.add_callback(Clock())
    trainer.train()
    return statistics.median(b - a for a, b in pairwise(ends))


def their_grpo(asked: argparse.Namespace, work: Path) -> float:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = model_and_tokenizer(work, bf16=asked.bf16)
    rows = [json.loads(line) for line in (work / "prompts.jsonl").read_text().splitlines()]
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows])

    def vowels(completions: list[Any], **_: Any) -> list[float]:
        return [float(sum(map(one[0]["content"].count, "aeiou"))) for one in completions]

    with tempfile.TemporaryDirectory() as out:
        config = GRPOConfig(
            **trainer_settings(asked, out), per_device_train_batch_size=asked.prompts * asked.answers,
            num_generations=asked.answers, max_completion_length=asked.tokens, beta=0.04, loss_type="grpo",
            temperature=1.0, top_p=1.0, top_k=0,
        )  # fmt: skip
        return timed(
            GRPOTrainer(model, reward_funcs=vowels, args=config, train_dataset=prompts, processing_class=tokenizer)
        )


def their_dpo(asked: argparse.Namespace, work: Path) -> float:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = model_and_tokenizer(work, bf16=asked.bf16)
    rows = [json.loads(line) for line in (work / "pairs.jsonl").read_text().splitlines()]
    sides = ("chosen", "rejected")
    pairs = [
        {"prompt": [{"role": "user", "content": row["prompt"]}]}
        | {side: [{"role": "assistant", "content": row[side]}] for side in sides}
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as out:
        config = DPOConfig(
            **trainer_settings(asked, out), per_device_train_batch_size=asked.prompts, precompute_ref_log_probs=True
        )
        return timed(DPOTrainer(model, args=config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer))


def their_ppo(asked: argparse.Namespace, work: Path) -> float:
    """The plain loop: generate, judge by policy, reference and value head, GAE, one clipped update with AdamW."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(asked.threads)
    model, tokenizer = model_and_tokenizer(work, bf16=asked.bf16)
    reference = AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32).eval()
    value = torch.nn.Linear(model.config.hidden_size, 1)
    parameters = [*model.parameters(), *value.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)
    rows = [json.loads(line)["prompt"] for line in (work / "prompts.jsonl").read_text().splitlines()]
    tokenizer.padding_side, count, seconds = "left", asked.prompts * asked.answers, []

    def told(which: Any, ids: Any, mask: Any) -> tuple[Any, Any]:
        with torch.autocast("cpu", torch.bfloat16, enabled=asked.bf16):
            out = which(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        logits = out.logits[:, -asked.tokens - 1 : -1].float()
        logprobs = logits.log_softmax(-1).gather(2, ids[:, -asked.tokens :, None]).squeeze(-1)
        return logprobs, out.hidden_states[-1][:, -asked.tokens - 1 : -1].float()

    for step in range(asked.steps):
        begun = time.perf_counter()
        chosen = [rows[(step * count + place) % len(rows)] for place in range(count)]
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
            )
            for text in chosen
        ]
        given = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            ids = model.generate(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"], do_sample=True, top_k=0,
                max_new_tokens=asked.tokens, min_new_tokens=asked.tokens, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
            mask = torch.cat([given["attention_mask"], torch.ones(count, asked.tokens, dtype=torch.long)], 1)
            answers = tokenizer.batch_decode(ids[:, -asked.tokens :], skip_special_tokens=True)
            scores = torch.tensor([float(sum(map(answer.count, "aeiou"))) for answer in answers])
            old, hidden = told(model, ids, mask)
            values = value(hidden).squeeze(-1)
            rewards = -0.05 * (old - told(reference, ids, mask)[0])
            rewards[:, -1] += scores
            advantages, after = torch.zeros_like(values), torch.zeros(count)
            for place in reversed(range(asked.tokens)):
                following = values[:, place + 1] if place + 1 < asked.tokens else torch.zeros(count)
                after = rewards[:, place] + following - values[:, place] + 0.95 * after
                advantages[:, place] = after
            returns = advantages + values
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        new, hidden = told(model, ids, mask)
        ratio, now = (new - old).exp(), value(hidden).squeeze(-1)
        near = values + (now - values).clamp(-0.2, 0.2)
        policy = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2)).mean()
        error = torch.maximum((now - returns).square(), (near - returns).square()).mean()
        (policy + 0.1 * 0.5 * error).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


def engine_rate(asked: argparse.Namespace, work: Path, *, rollout: bool) -> float:
    """Seconds for the answers to some prompts: as a rollout with its rewards, or by the engine alone."""
    sys.path.insert(0, str(ROOT / "src"))
    import torch

    from dodam.folder import load_model
    from dodam.generate.engine import generate
    from dodam.generate.sequence import SamplingParams
    from dodam.rl.prompts import read_prompts
    from dodam.rl.rewards import mixture
    from dodam.rl.rollout import MAX_ROWS, answers_to
    from dodam.rl.rounds import asked as as_asked

    torch.set_num_threads(asked.threads)
    loaded = load_model(work / "model")
    prompts = read_prompts((str(work / "prompts.jsonl"),), loaded.tokenizer, 128)
    prompts = [one for one in prompts[: asked.prompts] for _ in range(asked.answers)]
    reward, ids, seconds = mixture([f"{work}/reward.py:vowels"]), [one.ids for one in prompts], []
    for _ in range(asked.steps):
        begun = time.perf_counter()
        if rollout:
            answers = answers_to(
                loaded.model, loaded.tokenizer, prompts, range(len(prompts)), stop_ids=loaded.stop_ids,
                max_tokens=asked.tokens, temperature=1.0,
            )  # fmt: skip
            reward([as_asked(one) for one in answers])
        else:
            params = SamplingParams(max_tokens=asked.tokens, seed=0)
            generate(loaded.model, ids, params, stop_ids=loaded.stop_ids, max_rows=MAX_ROWS)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


SIDES = {
    ("grpo", "ours"): our_grpo,
    ("grpo", "theirs"): their_grpo,
    ("ppo", "ours"): our_ppo,
    ("ppo", "theirs"): their_ppo,
    ("dpo", "ours"): our_dpo,
    ("dpo", "theirs"): their_dpo,
    ("engine", "ours"): lambda asked, work: engine_rate(asked, work, rollout=True),
    ("engine", "theirs"): lambda asked, work: engine_rate(asked, work, rollout=False),
}


if __name__ == "__main__":
    main()
