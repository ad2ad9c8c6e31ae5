"""What ppo, grpo and dpo gain on word problems harder than those taught, over seeds, and what they lose elsewhere.

    python bench/rl_gains.py --model MODEL --out DIR [--algorithms ppo grpo dpo] [--seeds 0 1 2] [--steps 100]
                             [--n 1000] [--ppo "FLAGS"] [--grpo "FLAGS"] [--dpo "FLAGS"]

`dodam ppo` and `dodam grpo` learn from the prompts of `sample:problems` by the reward `exact` (with --easier N from so
many of the problems that were taught too, so that these are not unlearned); `dodam dpo` from
rankings of MODEL's own answers to --ranked of them by a simulated person who knows the right answers (as in
feedback_sft.py). `dodam evaluate` measures MODEL and every run on --n problems with other numbers and on the bundled
tests. Started again, what is done is kept. Prints a JSON line for each run (with the KL to MODEL in nats an answer, or
the share of held-back pairs whose better answer is the likelier one, before and after), and a table; draws the rewards
and the KL of ppo's and grpo's rounds into DIR/curves.png.
"""

import argparse
import json
import random
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from feedback_sft import GUIDELINE, judge, problems, write_answers  # these two beside this file
from held_back import BEFORE, Row, add_flags, compared, dodam, on_machine, table, write_held_back

from dodam import files, machine
from dodam.data.sources import SAMPLE_SEED
from dodam.errors import DodamError
from dodam.feedback.store import open_store
from dodam.sample import words
from dodam.sample.split import chat_row
from dodam.train.metrics import read_rows

ALGORITHMS = ("ppo", "grpo", "dpo")
MEAN = 5  # rounds
LIKELIER = "log-probability"  # the scorer's name in dpo's report, before `before` and `after`


def rank_answers(options: argparse.Namespace) -> Path:
    """A store with the model's own answers to the first --ranked prompts of `sample:problems`, ranked."""
    place = options.out / "rankings.sqlite"
    known = list(problems(SAMPLE_SEED, options.ranked))
    with open_store(place, create=True) as store:
        ids = write_answers(store, known, options)
        guideline = store.add_guideline(GUIDELINE)
        for id, one in zip(ids, known, strict=True):
            judge(store, id, one, guideline)
    return place


def write_easier(place: Path, number: int) -> Path:
    """Prompts of the tier that the corpus teaches, asked with steps; their numbers are in no test."""
    rng, lines = random.Random(SAMPLE_SEED), []
    for _ in range(number):
        drawn = words.problem(rng, rng.choice(words.LANGUAGES))
        row = chat_row("words-steps", drawn.language, words.ask(rng, drawn, steps=True))
        lines.append(json.dumps({**row, "answer": str(drawn.answer), "metric": "number"}, ensure_ascii=False))
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def command(options: argparse.Namespace, algorithm: str, seed: int, out: Path) -> list[str]:
    """The words of a run."""
    asked = [algorithm, "--model", str(options.model), "--out", str(out), "--seed", str(seed), *on_machine(options)]
    if algorithm == "dpo":
        return [*asked, "--data", str(options.out / "rankings.sqlite"), *shlex.split(options.dpo)]
    easier = [str(write_easier(options.out / "easier.jsonl", options.easier))] if options.easier else []
    asked += ["--data", "sample:problems", *easier, "--reward", "exact", "--steps", str(options.steps)]
    return [*asked, *shlex.split(getattr(options, algorithm))]


def told_of_run(out: Path) -> Row:
    """What a run says of itself: the KL to what it began as, or the preferred share before and after."""
    result = files.read_json(out / "result.json")
    told: Row = {"steps": result["steps"], "seconds": round(result["seconds"])}
    if (after := result.get("after")) is not None:
        return told | {"kl": round(after["kl"], 3), "preferred": "", "alarms": result["alarms"]}
    rows = files.read_json(out / "report.json")["rows"]
    shares = {row["model"]: row["value"] for row in rows if row["metric"] == "accuracy"}
    before, after = (shares[f"{LIKELIER} {when}"] for when in ("before", "after"))
    return told | {"kl": "", "preferred": f"{before:.1%} -> {after:.1%}"}


def draw(runs: dict[str, Path], picture: Path) -> None:
    """Mean rewards and KL of MEAN rounds, a line for each run, a colour for each algorithm."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    colours = {"ppo": "tab:blue", "grpo": "tab:orange"}
    for name, out in runs.items():
        rows = [row for row in read_rows(out / "metrics.jsonl") if "reward" in row]
        algorithm, _, seed = name.partition("-")
        look = {"color": colours[algorithm], "alpha": 1 - 0.25 * int(seed), "label": name}
        for axis, key in zip(axes, ("reward", "kl"), strict=True):
            recent = [rows[max(0, end - MEAN) : end] for end in range(1, len(rows) + 1)]
            axis.plot(
                [row["step"] for row in rows], [statistics.fmean(one[key] for one in mine) for mine in recent], **look
            )
    axes[0].set_ylabel("share of right answers")
    axes[1].set_ylabel("KL to the sft model, nats an answer")
    for axis in axes:
        axis.set_xlabel(f"round (mean of the last {MEAN})")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(picture, dpi=100)


def main(given: Sequence[str] | None = None) -> None:
    options = flags().parse_args(given)
    machine.use(machine.look(options.device, options.threads))
    options.out.mkdir(parents=True, exist_ok=True)
    held_back = write_held_back(options.out / "held-back", options.first, options.n, options.tasks, options.limit)
    if "dpo" in options.algorithms:
        rank_answers(options)
    runs: dict[str, Path] = {}
    for algorithm in options.algorithms:
        for seed in options.seeds:
            name = f"{algorithm}-{seed}"
            runs[name] = options.out / name
            dodam(*command(options, algorithm, seed, runs[name]))
    models = [f"{BEFORE}={options.model}", *(f"{name}={out}" for name, out in runs.items())]
    report = options.out / "evaluate"
    dodam("evaluate", *models, "--task", *map(str, held_back), "--out", str(report), *on_machine(options))
    rows = files.read_json(report / "report.json")["rows"]
    lines = compared(rows, {name: told_of_run(out) for name, out in runs.items()})
    for line in lines:
        print(json.dumps(line))
    if by_rounds := {name: out for name, out in runs.items() if not name.startswith("dpo")}:
        draw(by_rounds, options.out / "curves.png")
    also = {"steps": "steps", "KL, nats an answer": "kl", "likelier: the better answer": "preferred"}
    print(f"\n{table(lines, 'algorithm and seed', also)}")


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the sft model that each run begins with")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100, help="of ppo and grpo")
    parser.add_argument("--easier", type=int, default=0, help="problems that were taught, beside those of ppo and grpo")
    for algorithm in ALGORITHMS:
        parser.add_argument(f"--{algorithm}", default="", help=f"more flags of `dodam {algorithm}`, as one word")
    parser.add_argument("--ranked", type=int, default=1000, help="prompts whose answers are ranked, for dpo")
    parser.add_argument("--answers", type=int, default=4, choices=range(2, 10), help="to each of these")
    parser.add_argument("--temperature", type=float, default=1.0, help="that these are sampled at")
    parser.add_argument("--max-tokens", type=int, default=128, help="of one of these")
    parser.set_defaults(seed=0)
    add_flags(parser)
    return parser


if __name__ == "__main__":
    try:
        main()
    except DodamError as error:
        sys.exit(f"rl_gains: {error}")
