"""Stage `reward`: rankings of answers -> a model that gives answers scores, and a report of how well it does.

What it reads: rankings in any known form or a feedback store, and a decoder or encoder to start from. What it writes: a
run folder with the reward model, report.json and report.md, measured on prompts that were held back.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from dodam import files
from dodam.errors import UsageError
from dodam.stages import compiling, parts, run_folder, training
from dodam.stages.ranked import RankedTraining, check_head, check_ranks, check_reading, rows_at_once
from dodam.stages.training import Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from dodam.data.answers import ComparedLoader, Contest, Encoded
    from dodam.data.judged import Judged
    from dodam.machine import Machine
    from dodam.stages.ranked import Data
    from dodam.tokenizer.tokenizer import Tokenizer
    from dodam.train.ranking import ScoreLoss

DEFAULT_BATCH = 16
DEFAULT_CONTEXT = 512
DEFAULT_EPOCHS = 1.0  # a second pass mostly learns the prompts by heart (Ouyang et al. 2022, appendix C.2)
DEFAULT_VALIDATION = 0.1
TUNING_RATE = 0.25  # of pretraining's learning rates
CENTRED = 512  # prompts whose scores are made to have a mean of zero
VALIDATED = 256  # held-back prompts read at every validation
SHOWN = 4  # held-back prompts shown with their scores
REPORT_SHARE = 0.1  # of a budget, kept for the report


@dataclass(frozen=True, kw_only=True)
class Reward(RankedTraining):
    """Teach a model to score answers as people rank them, and measure it."""

    model: Path
    """The model to start from, best the tuned one whose answers are ranked; decoder or encoder."""
    loss: Literal["bradley-terry", "plackett-luce", "best-and-worst"] = "bradley-terry"
    """Every pair of a ranking; every answer against all below it; or, to compare, the best against the worst only."""
    ties: Literal["skip", "davidson"] = "skip"
    """Answers of equal rank: not compared, or learned as equally good (Davidson's model)."""
    margin: Annotated[float, Ge(0)] = 0.0
    """How much higher the better answer's score shall be for each rank, or score, that lies between two answers."""
    margin_by: Literal["ranks", "scores"] = "ranks"
    """What margins grow with."""
    length_control: Literal["none", "balanced"] = "none"
    """balanced: pairs are weighed so that an answer's length says nothing of whether it is preferred."""
    batch: Annotated[int, Gt(0)] | None = None
    """Prompts per optimiser step, each with all its answers. Default: 16."""
    context: Annotated[int, Ge(16)] | None = None
    """Tokens of a prompt and an answer; what is longer is cut. Default: 512, or what the model has if that is less."""
    pooling: Literal["auto", "cls", "mean", "last"] = "auto"
    """What the head looks at in an encoder: the first token or the mean of all; a decoder's looks at the last."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of embeddings, of what each part of a block adds and of what the head reads that is dropped while
    training."""
    members: Annotated[int, Ge(1)] = 1
    """Train so many reward models, with seeds from --seed on, that judge together: their mean."""
    caution: Annotated[float, Ge(0)] = 0.0
    """So much of the members' spread (standard deviation) is taken off their mean, lest a policy win by what only some
    of them believe."""


def run(config: Reward) -> dict[str, Any]:
    """Train, measure, and return what --json prints. A run that is stopped while it measures goes on there."""
    check_options(config)
    done = run_folder.open_run(config, "reward")
    if done and "report" in done:
        return done
    from dodam.stages import ranked
    from dodam.train import distributed

    ties = config.ties == "davidson"
    data = distributed.in_turn(lambda: ranked.read(config, "reward", DEFAULT_VALIDATION, ties=ties))
    if config.members > 1 and not done:
        from dodam.stages.ensemble import train_members

        done = train_members(config, run)
    result = done or train(config, data)
    return distributed.first(lambda: finish(config, data, result))


def check_options(config: Reward) -> None:
    """UsageError for options that do not go together."""
    compiling.refuse_compiling(config, "answers")
    check_ranks(config)
    check_reading(config)
    check_head(config.freeze)
    if config.caution and config.members == 1:
        raise UsageError("a single reward model has no spread", where="--caution", mend="Give --members.")
    if config.members > 1 and config.budget is not None:
        raise UsageError("members are trained by steps or epochs", where="--budget", mend="Give --steps or --epochs.")
    if config.loss != "bradley-terry" and config.ties == "davidson":
        raise UsageError(f"{config.loss} knows no ties", where="--ties", mend="Leave it out.")
    if config.loss == "plackett-luce" and config.margin:
        raise UsageError("a margin is between two answers, not between one and many", where="--margin")
    if config.loss == "plackett-luce" and config.length_control != "none":
        raise UsageError("lengths are balanced between two answers", where="--length-control")
    if config.margin_by != "ranks" and not config.margin:
        raise UsageError("there is no margin", where="--margin-by", mend="Give a --margin.")


def train(config: Reward, data: "Data") -> dict[str, Any]:
    """From rankings to the folder of a reward model whose scores are centred."""
    from dodam.data.answers import Compared, ComparedLoader
    from dodam.generate.scorer import encode, shared_tokens
    from dodam.models.heads import freeze_language_head
    from dodam.nn.dropout import set_dropout
    from dodam.stages import ranked
    from dodam.train import distributed
    from dodam.train.optim import OptimConfig
    from dodam.train.ranking import ScoreLoss

    choices = run_folder.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    model, tokenizer, lineage = start(config, machine)
    context = choices["context"] if choices else context_of(config, model)
    digest = data.digest + tokenizer.fingerprint
    run_folder.same_data(config, choices, digest)
    encoded = {
        name: encode(model, tokenizer, [(one.prompt, one.answers) for one in prompts], context)
        for name, prompts in (("learned", data.learned), ("held back", data.held_back))
    }
    if num_cut := sum(one.cut for side in encoded.values() for mine in side for one in mine):
        print(f"reward: {num_cut} answers do not fit into {context} tokens with their prompt; cut.", file=sys.stderr)
    contests = contests_of(config, data)
    if not choices:
        choices = distributed.first(lambda: choose(config, machine, model, len(data.learned), context))
        choices |= {"data": digest}
    factors = parts.choose_parts(config, model)
    freeze_language_head(model)
    model.classifier.requires_grad_(True)  # an adapter froze it
    set_dropout(model, config.dropout)
    shared = shared_tokens(model)
    compared = [Compared(answers, mine) for answers, mine in zip(encoded["learned"], contests, strict=True)]
    compared = [one for one in compared if one.contests]
    arranged = {"batch": choices["batch"], "pad": tokenizer.pad, "shared": shared}
    rows = ComparedLoader(compared, seed=config.seed, at_once=rows_at_once(config), **arranged)
    mine = distributed.share(rows.batch_size)
    held = [Compared(a, ranked.contests_of(one)) for a, one in zip(encoded["held back"], data.held_back, strict=True)]
    held_rows = ComparedLoader(held, seed=0, **arranged)
    plain = ScoreLoss(dtype=machine.torch_dtype)
    objective = replace(plain, tie_strength=tie_strength(config, data), keep=config.microbatch is None)

    def save(path: Path, info: dict[str, Any], card: str) -> None:
        write(path, model, tokenizer, encoded["learned"][:CENTRED], info | {"context": context}, card)

    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        batches=lambda step: [rows.batch(step, *mine)],
        objective=objective,
        optim=OptimConfig(**choices["optim"]),
        loop=training.loop_bounds(config, choices, rows.batches_per_epoch),
        validate=lambda model: held_back(model, held_rows, plain),
        unit="nats per pair",
        sample=lambda model: samples(model, tokenizer, data.held_back[:SHOWN], encoded["held back"][:SHOWN]),
        chat_template=None,
        card=card_of(config, data, lineage),
        factors=factors,
        save=save,
    )
    return training.train_run(config, "reward", setup, choices)


def contests_of(config: Reward, data: "Data") -> "list[list[Contest]]":
    """What is compared of each prompt that is learned from."""
    from dodam.stages import ranked

    given: Any = {"ties": config.ties == "davidson", "margin": config.margin, "margin_by": config.margin_by}
    contests = [ranked.contests_of(one, config.loss, **given) for one in data.learned]
    return ranked.balance_lengths(data.learned, contests) if config.length_control == "balanced" else contests


def start(config: Reward, machine: "Machine") -> "tuple[Any, Tokenizer, dict[str, Any]]":
    """The model with a fresh head of one output, its tokenizer, and what is known of the model's making."""
    from dodam.exchange.heads import head_config
    from dodam.folder import load
    from dodam.generate.classifier import with_template
    from dodam.models.decoder import Decoder
    from dodam.models.heads import add_head
    from dodam.stages.classify import begin_frame

    loaded = load(config.model, ("encoder", "decoder"), device=machine.device)
    model, tokenizer = loaded.model, loaded.tokenizer
    if getattr(model.config, "experts", 0):
        raise UsageError("mixtures of experts are not trained on rankings here", where="--model")
    pooling = None if config.pooling == "auto" else config.pooling
    head = head_config(model.config, 1, problem="regression", pooling=pooling, dropout=config.dropout)
    if not isinstance(model, Decoder):
        tokenizer = with_template(tokenizer, "encoder")
        if loaded.tokenizer.foreign is None:
            begin_frame(model, tokenizer)
    add_head(model, head, config.seed)
    return model.train(), tokenizer, loaded.info.get("lineage", {})


def context_of(config: Reward, model: Any) -> int:
    """Tokens of a prompt with an answer. UsageError when the model cannot read so many."""
    most = model.config.context
    if config.context and config.context > most:
        raise UsageError(f"the model reads {most} tokens at most", where="--context")
    return config.context or min(most, DEFAULT_CONTEXT)


def choose(config: Reward, machine: "Machine", model: Any, num_prompts: int, context: int) -> dict[str, Any]:
    """All that a run is begun with; saved at step 0."""
    from dodam.train.distributed import divisible

    batch = min(config.batch or divisible(DEFAULT_BATCH), num_prompts)
    return {
        "machine": machine.to_dict(),
        "context": context,
        "batch": batch,
        "steps": config.steps or max(1, round((config.epochs or DEFAULT_EPOCHS) * num_prompts / batch)),
        "seconds": training.seconds_left(config) * (1 - REPORT_SHARE) if config.budget is not None else None,
        "compiled": False,
        "optim": learning_rates(config, model),
    }


def learning_rates(config: Reward, model: Any) -> dict[str, float]:
    """A share of pretraining's that the model's weights bear; the head is fresh and has its full rate, as a
    classifier's."""
    from dodam.models.decoder import Decoder
    from dodam.stages.masked import RATES

    fresh, tuned = training.learning_rates(config), training.learning_rates(config, model, scale=TUNING_RATE)
    if isinstance(model, Decoder):
        return {**tuned, "head": fresh["head"]}
    # Tables are as small in all encoders as in fresh ones, and norms' biases begin at zero.
    small = {key: TUNING_RATE * RATES[key] * fresh[key] for key in ("embedding", "scalar")}
    return {**tuned, **small, "head": RATES.get("head", 1.0) * fresh["head"]}


def tie_strength(config: Reward, data: "Data") -> float:
    """Davidson's nu, from how often pairs learned from are tied; 0 where ties are not learned."""
    from dodam.train.ranking import strength_of

    if config.ties == "skip":
        return 0.0
    pairs = [one.pairs(ties=True) for one in data.learned]
    return strength_of(sum(sum(pair.tied for pair in mine) / len(mine) for mine in pairs) / len(pairs))


def held_back(model: Any, rows: "ComparedLoader", loss: "ScoreLoss") -> dict[str, float]:
    """Mean loss and accuracy over the pairs of the first held-back prompts, each prompt counting as much."""
    from dodam.stages.validation import evaluating
    from dodam.train.ranking import scores_of

    total, right, weight = 0.0, 0.0, 0.0
    with evaluating(model):
        for batch in rows.in_order(VALIDATED):
            batch = batch.to(model.embedding.weight.device)
            scores_A = scores_of(model, batch.parts, loss.dtype)
            scores_SK = scores_A[batch.contests_SK]
            total += float((loss.losses(scores_A, batch) * batch.weights_S).sum())
            right += float(((scores_SK[:, 0] > scores_SK[:, 1]) * batch.weights_S).sum())
            weight += loss.weight(batch)
    return {"validation": total / weight, "accuracy": right / weight}


def samples(model: Any, tokenizer: "Tokenizer", prompts: "Sequence[Judged]", encoded: "Sequence[list[Encoded]]") -> str:
    """Some held-back prompts with their answers and the scores these have now, as Markdown."""
    from dodam.evaluate.classification import short
    from dodam.generate.scorer import raw_scores
    from dodam.stages.validation import evaluating

    with evaluating(model):
        found = raw_scores(model, encoded, tokenizer.pad)
    shown = []
    for one, scores_A in zip(prompts, found, strict=True):
        ranking = one.rankings[0]
        lines = [f"> {short(one.prompt[-1]['content'])}", ">"]
        for number, rank in sorted(zip(one.numbers(ranking), ranking.ranks, strict=True), key=lambda pair: pair[1]):
            lines.append(f"> {rank}. ({scores_A[number]:+.3f}) {short(one.answers[number])}")
        shown.append("\n".join(lines))
    return "\n\n".join(shown)


def write(
    path: Path,
    model: Any,
    tokenizer: "Tokenizer",
    encoded: "Sequence[list[Encoded]]",
    info: dict[str, Any],
    card: str,
) -> None:
    """The folder, and in its dodam.json the mean of the scores of answers learned from, which is taken off them. It
    cannot be put into the head itself: a decoder's has no bias in `transformers`."""
    import numpy as np

    from dodam.data.conversation import template_of
    from dodam.exchange.heads import save_classifier
    from dodam.folder import FORMAT
    from dodam.generate.scorer import raw_scores
    from dodam.models.decoder import Decoder
    from dodam.stages.validation import evaluating

    with evaluating(model):
        found = raw_scores(model, encoded, tokenizer.pad)
    mean = float(np.mean([scores_A.mean() for scores_A in found]))
    spread = float(np.sqrt(np.mean([((scores_A - mean) ** 2).mean() for scores_A in found])))
    info = {"format": FORMAT, **info, "reward": {"mean": mean, "spread": spread}}
    save_classifier(path, model, tokenizer, (), "regression", info=info, card=card)
    if isinstance(model, Decoder):  # answers are scored as its chat template sets them
        tokenizer.save(path, chat_template=template_of(tokenizer), context=model.config.context)


def card_of(config: Reward, data: "Data", lineage: dict[str, Any]) -> dict[str, Any]:
    """What the model card tells of what was read."""
    return {
        "base": str(config.model),
        "base lineage": lineage,
        "data": list(config.data),
        "prompts learned from": len(data.learned),
        "prompts held back": len(data.held_back),
        "loss": config.loss,
        "length control": config.length_control,
    }


def finish(config: Reward, data: "Data", result: dict[str, Any]) -> dict[str, Any]:
    """Measure the saved reward model on what was held back, beside the baselines, and write the report."""
    import numpy as np

    from dodam.evaluate import preference
    from dodam.generate.scorer import load_scorer

    folder = config.out / "model"
    choices = files.read_json(folder / "dodam.json")["choices"]
    machine = training.machine_for(config, choices)
    scorer = load_scorer(folder, device=machine.device)
    asked = [(one.prompt, one.answers) for one in data.held_back]
    scores, _ = scorer.scores_of(asked)
    sign = preference.length_sign(data.learned)
    kind = "longer" if sign > 0 else "shorter"
    name = config.out.name
    scorers = {name: scores, f"length ({kind})": [sign * size for size in preference.lengths(data.held_back)]}
    members = [one.own_scores(asked) for one in (scorer, *scorer.others)] if scorer.others else []
    scorers |= {f"member {number}": found for number, found in enumerate(members, start=1)}
    scorers |= baselines(config, data, machine, choices["context"])
    seed, prompts = config.seed, data.held_back
    rows = [row for who, found in scorers.items() for row in preference.accuracy_rows(who, prompts, found, seed)]
    rows += preference.own_rows(name, prompts, scores, seed) + preference.task_rows(name, prompts, scores, seed)
    if members:
        rows += preference.spread_rows(name, [np.std(mine, 0) for mine in zip(*members, strict=True)], seed)
    preference.write_numbers(config.out / "held-back.jsonl", prompts, scorers)
    preference.write_report(config.out, rows, prompts, scores, title=name, seed=seed)
    for row in rows:
        if row["metric"] == "accuracy" and row["task"] == preference.TASK:
            told = f"{row['value']:.4f} ({row['low']:.4f}-{row['high']:.4f})"
            print(f"reward: {row['model']}: accuracy {told} on {row['n']} prompts held back.", file=sys.stderr)
    measured = {row["metric"]: row["value"] for row in rows if row["model"] == name and row["task"] == preference.TASK}
    result = {**result, **measured, "held_back": len(prompts), "report": str(config.out / "report.json")}
    files.write_json(config.out / "result.json", result)
    return result


def baselines(config: Reward, data: "Data", machine: "Machine", context: int) -> "dict[str, list[np.ndarray]]":
    """What the model it started from gives the held-back answers by itself: their log-probabilities, of the whole and a
    token. Encoders give none."""
    from dodam.data.answers import encode_answers
    from dodam.folder import load
    from dodam.models.decoder import Decoder
    from dodam.stages.logprobs import likelihoods

    loaded = load(config.model, ("encoder", "decoder"), device=machine.device)
    if not isinstance(loaded.model, Decoder):
        return {}
    asked = [(one.prompt, one.answers) for one in data.held_back]
    encoded = encode_answers(loaded.tokenizer, asked, context)
    found = likelihoods(loaded.model, encoded, loaded.tokenizer.pad, machine.torch_dtype)
    return {
        "log-probability": [one.sums_A for one in found],
        "log-probability a token": [one.means_A for one in found],
    }
