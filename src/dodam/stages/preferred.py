"""What `dpo` has taught: how likely its model finds answers before, while and after it learns, and the report.

In come a stage's config, its prompts and its models; out come numbers while it trains, and the measures of the finished
model beside those of the one it began with.
"""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xxhash

from dodam import files
from dodam.data.answers import ComparedLoader, Encoded, encode_answers
from dodam.data.conversation import encode
from dodam.data.judged import Judged
from dodam.evaluate import preference
from dodam.evaluate.classification import short
from dodam.folder import LoadedModel, load_model
from dodam.generate.engine import generate
from dodam.generate.sampling import SamplingParams
from dodam.machine import Machine
from dodam.stages import training
from dodam.stages.logprobs import Likelihoods, likelihoods
from dodam.stages.ranked import Data
from dodam.stages.validation import evaluating
from dodam.train.preference import PreferenceLoss, logprobs_of

if TYPE_CHECKING:
    from dodam.stages.dpo import Dpo

PART = 1024  # prompts whose answers the reference reads between two writes
VALIDATED = 256  # held-back prompts read at every validation
SHOWN = 6  # held-back prompts answered to show what has changed
COLLAPSED = 0.5  # nats a token that preferred answers may become less likely before an alarm is given


def encode_side(loaded: LoadedModel, prompts: Sequence[Judged], context: int) -> list[list[Encoded]]:
    """Every answer behind its prompt as ids."""
    return encode_answers(loaded.tokenizer, [(one.prompt, one.answers) for one in prompts], context)


def reference(
    config: "Dpo", loaded: LoadedModel, name: str, digest: str, encoded: list[list[Encoded]], machine: Machine
) -> list[Likelihoods]:
    """What the model gives the answers before it learns: computed once, and kept in OUT/reference, part by part, under
    what it follows from (the data, the weights, the numbers it was computed in)."""
    weights = [files.xxh3(path) for path in sorted(loaded.path.glob("*.safetensors"))]
    sizes = [sum(len(one.prompt) + len(one.answer) for one in mine) for mine in encoded]
    said = repr((name, digest, weights, sizes, machine.dtype, machine.device))
    told: list[Likelihoods] = []
    for first in range(0, len(encoded), PART):
        part = encoded[first : first + PART]
        path = config.out / "reference" / f"{name}-{xxhash.xxh3_64_hexdigest(said.encode())}-{first // PART:04}.npz"
        if not path.is_file():
            range_told = f"{first + 1:,} to {first + len(part):,} of {len(encoded):,}"
            print(f"dpo: the reference reads the answers to prompts {range_told} ({name}).", file=sys.stderr)
            found = likelihoods(loaded.model, part, loaded.tokenizer.pad, machine.torch_dtype)
            sums, lengths = (np.concatenate(values) for values in zip(*found, strict=True))
            with files.new_file(path) as target, target.open("wb") as file:
                np.savez(file, sums=sums, lengths=lengths)
        kept = np.load(path)  # written in one move, so whole where it is there
        places = np.cumsum([len(mine) for mine in part])[:-1]
        told += map(Likelihoods, np.split(kept["sums"], places), np.split(kept["lengths"], places))
    return told


def validation(rows: ComparedLoader, loss: PreferenceLoss) -> Callable[[Any], dict[str, float]]:
    """A function that reads the first held-back prompts and tells the mean loss, how many pairs are preferred rightly,
    and how likely preferred and other answers have become; it gives an alarm when the preferred ones collapse."""
    told: list[bool] = []

    def measured(model: Any) -> dict[str, float]:
        sums: dict[str, float] = {}
        with evaluating(model):
            for batch in rows.in_order(VALIDATED):
                batch = batch.to(model.embedding.weight.device)
                found = logprobs_of(model, batch.parts, loss.dtype)
                better_S, worse_S = batch.contests_SK[:, 0], batch.contests_SK[:, 1]
                assert batch.reference_A is not None
                drift_A = (found.sums_A - batch.reference_A) / found.lengths_A
                scores_A = loss.values(found, batch)
                parts = {
                    "validation": loss.losses(found, batch),
                    "accuracy": (scores_A[better_S] > scores_A[worse_S]).float(),
                    "margin": loss.beta * (scores_A[better_S] - scores_A[worse_S]),
                    "preferred_drift": drift_A[better_S],
                    "other_drift": drift_A[worse_S],
                    "weight": torch.ones_like(batch.weights_S),
                }
                for name, values_S in parts.items():
                    sums[name] = sums.get(name, 0.0) + float((values_S * batch.weights_S).sum())
        means = {name: value / sums["weight"] for name, value in sums.items() if name != "weight"}
        print(
            f"dpo: {means['accuracy']:.1%} of held-back pairs preferred rightly; preferred answers have become "
            f"{means['preferred_drift']:+.3f} nats a token likelier, others {means['other_drift']:+.3f}.",
            file=sys.stderr,
        )
        if means["preferred_drift"] < -COLLAPSED and not told:
            told.append(True)
            print(f"dpo: alarm: {alarm_of(means['preferred_drift'])}", file=sys.stderr)
        return means

    return measured


def alarm_of(drift: float) -> str:
    """What is said when preferred answers have become this much likelier a token."""
    return (
        f"preferred answers themselves have become {-drift:.2f} nats a token less likely, so the model may write "
        "something else altogether. A larger --beta, an --sft-weight, fewer steps or a lower --learning-rate mend that."
    )


def finish(config: "Dpo", data: Data, result: dict[str, Any]) -> dict[str, Any]:
    """Measure the saved model on what was held back, beside the one it began with, and write the report."""
    folder = config.out / "model"
    choices = files.read_json(folder / "dodam.json")["choices"]
    machine = training.machine_for(config, choices)
    start, trained = (load_model(path, device=machine.device) for path in (config.model, folder))
    prompts, name, seed = data.held_back, config.out.name, config.seed
    encoded = encode_side(start, prompts, choices["context"])
    before = reference(config, start, "held-back", choices["data"], encoded, machine)
    after = likelihoods(trained.model, encoded, trained.tokenizer.pad, machine.torch_dtype)
    scores = implicit_scores(config, before, after)
    sign = preference.length_sign(data.learned)
    scorers: dict[str, list[np.ndarray]] = {name: scores}
    for when, found in (("after", after), ("before", before)):
        scorers[f"log-probability {when}"] = [one.sums_A for one in found]
        scorers[f"log-probability a token {when}"] = [one.means_A for one in found]
    lengths = preference.lengths(prompts)
    scorers[f"length ({'longer' if sign > 0 else 'shorter'})"] = [sign * sizes_A for sizes_A in lengths]
    rows = [row for who, found in scorers.items() for row in preference.accuracy_rows(who, prompts, found, seed)]
    rows += preference.own_rows(name, prompts, scores, seed)
    for when, found in ((name, after), ("before", before)):
        rows += preference.likelihood_rows(when, prompts, [one.means_A for one in found], seed)
    rows += preference.task_rows(name, prompts, scores, seed)
    drift = drift_of(rows, name)
    more = before_and_after(start, trained, prompts, choices["context"])
    alarms = [alarm_of(drift)] if drift < -COLLAPSED else []
    more = [*(f"**Alarm:** {alarm}\n" for alarm in alarms), *more]
    preference.write_numbers(config.out / "held-back.jsonl", prompts, scorers)
    preference.write_report(config.out, rows, prompts, scores, title=name, seed=seed, more=more)
    measured = {row["metric"]: row["value"] for row in rows if row["model"] == name and row["task"] == preference.TASK}
    for who in (name, "log-probability before", "log-probability after"):
        row = next(row for row in rows if row["model"] == who)
        told = f"{row['value']:.4f} ({row['low']:.4f}-{row['high']:.4f})"
        print(f"dpo: {who}: accuracy {told} on {row['n']} prompts held back.", file=sys.stderr)
    result = {**result, **measured, "alarms": alarms, "held_back": len(prompts)}
    result["report"] = str(config.out / "report.json")
    files.write_json(config.out / "result.json", result)
    return result


def implicit_scores(config: "Dpo", before: Sequence[Likelihoods], after: Sequence[Likelihoods]) -> list[np.ndarray]:
    """What the loss takes for the reward of each answer, by prompt: beta times the log-ratio to the reference, for ipo
    a token; without a reference beta times the log-probability a token."""
    beta = config.scale
    if not config.refers:
        return [beta * now.means_A for now in after]
    gained = [now.sums_A - then.sums_A for now, then in zip(after, before, strict=True)]
    if config.loss == "ipo":
        gained = [sums_A / now.lengths_A for sums_A, now in zip(gained, after, strict=True)]
    return [beta * values_A for values_A in gained]


def drift_of(rows: list[dict[str, Any]], name: str) -> float:
    """By how many nats a token preferred answers have become likelier."""
    found = {row["model"]: row["value"] for row in rows if row["metric"] == "preferred-logprob"}
    return found[name] - found["before"]


def questions(loaded: LoadedModel, prompts: Sequence[Judged], context: int) -> list[tuple[Judged, list[int]]]:
    """Some prompts that leave room for an answer, with their ids."""
    asked = [(one, encode(loaded.tokenizer, one.prompt, generation_prompt=True).ids) for one in prompts]
    return [(one, ids) for one, ids in asked if len(ids) < context][:SHOWN]


def before_and_after(start: LoadedModel, trained: LoadedModel, prompts: Sequence[Judged], context: int) -> list[str]:
    """What both models answer to some held-back prompts, as lines of Markdown."""
    asked = questions(start, prompts, context)
    params = SamplingParams(max_tokens=96, temperature=0.0)
    written = []
    for loaded in (start, trained):
        stop_ids = (loaded.tokenizer.end, loaded.tokenizer.eos)
        outputs = generate(loaded.model, [ids for _, ids in asked], params, stop_ids=stop_ids)
        written.append([loaded.tokenizer.decode(output.ids) for output in outputs])
    lines = ["## Held-back prompts, answered before and after", "", "| prompt | before | after |", "|---|---|---|"]
    for (one, _), then, now in zip(asked, *written, strict=True):
        lines.append(f"| {short(one.prompt[-1]['content'])} | {short(then)} | {short(now)} |")
    return [*lines, ""]
