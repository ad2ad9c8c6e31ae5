"""Stage `dpo`: rankings of answers -> a model that itself prefers what people prefer, without a reward model.

What it reads: rankings in any known form or a feedback store, and the tuned model whose answers they are about. What it
writes: a run folder with the aligned model, report.json and report.md, measured on prompts that were held back before
and after.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from dodam.errors import UsageError
from dodam.stages import compiling, parts, run_folder, training
from dodam.stages.ranked import RankedTraining, check_ranks, check_reading, rows_at_once
from dodam.stages.training import Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dodam.data.answers import Encoded
    from dodam.data.judged import Judged
    from dodam.folder import LoadedModel
    from dodam.machine import Machine
    from dodam.stages.logprobs import Likelihoods
    from dodam.stages.ranked import Data

DEFAULT_BATCH = 32
DEFAULT_EPOCHS = 1.0
DEFAULT_VALIDATION = 0.05
TUNING_RATE = 0.05  # of pretraining's learning rates
BETA = {"dpo": 0.1, "ipo": 0.1, "orpo": 0.1, "simpo": 2.0}
GAMMA = 1.0  # of simpo; half of its beta
REPORT_SHARE = 0.1  # of a budget, kept for the report


@dataclass(frozen=True, kw_only=True)
class Dpo(RankedTraining):
    """Teach a model to prefer the answers that people prefer, and measure it."""

    model: Path
    """The model to go on with: a tuned decoder, best the one whose answers are ranked."""
    loss: Literal["dpo", "ipo", "orpo", "simpo"] = "dpo"
    """dpo and ipo stay near the model they began with; orpo and simpo look at no reference."""
    beta: Annotated[float, Gt(0)] | None = None
    """How near to stay (dpo, ipo: larger is nearer), the weight of the odds (orpo), or the scale (simpo). Default: 0.1,
    for simpo 2."""
    gamma: Annotated[float, Ge(0)] | None = None
    """By how much the preferred answer shall be ahead, for simpo. Default: 1."""
    label_smoothing: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    """The chance that a pair is the wrong way round (cDPO), for dpo and simpo."""
    sft_weight: Annotated[float, Ge(0)] = 0.0
    """How much of the preferred answers' cross-entropy is added (RPO), lest they become unlikely; orpo has it."""
    batch: Annotated[int, Gt(0)] | None = None
    """Prompts per optimiser step, each with all its answers. Default: 32."""
    context: Annotated[int, Ge(16)] | None = None
    """Tokens of a prompt and an answer; what is longer is cut. Default: what the model has."""

    @property
    def scale(self) -> float:
        """--beta, or the usual one."""
        return BETA[self.loss] if self.beta is None else self.beta

    @property
    def ahead(self) -> float:
        """--gamma, or the usual one."""
        if self.loss != "simpo":
            return 0.0
        return GAMMA if self.gamma is None else self.gamma

    @property
    def refers(self) -> bool:
        """Whether the loss looks at a reference."""
        return self.loss in ("dpo", "ipo")


def run(config: Dpo) -> dict[str, Any]:
    """Train, measure before and after, and return what --json prints. A run that is stopped while it measures goes on
    there."""
    check_options(config)
    done = run_folder.open_run(config, "dpo")
    if done and "report" in done:
        return done
    from dodam.stages import preferred, ranked
    from dodam.train import distributed

    data = distributed.in_turn(lambda: ranked.read(config, "dpo", DEFAULT_VALIDATION))
    result = done or train(config, data)
    return distributed.first(lambda: preferred.finish(config, data, result))


def check_options(config: Dpo) -> None:
    """UsageError for options that do not go together."""
    compiling.refuse_compiling(config, "answers")
    check_ranks(config)
    check_reading(config)
    if config.gamma is not None and config.loss != "simpo":
        raise UsageError(f"{config.loss} has no gamma", where="--gamma", mend="Leave it out.")
    if config.label_smoothing and config.loss in ("ipo", "orpo"):
        raise UsageError(f"labels are not smoothed for {config.loss}", where="--label-smoothing", mend="Leave it out.")
    if config.sft_weight and config.loss == "orpo":
        raise UsageError("orpo has a cross-entropy of its own", where="--sft-weight", mend="Leave it out.")


def train(config: Dpo, data: "Data") -> dict[str, Any]:
    """From rankings to the folder of the aligned model."""
    from dodam.data.answers import Compared, ComparedLoader
    from dodam.data.conversation import template_of
    from dodam.folder import load_model
    from dodam.generate.scorer import shared_tokens
    from dodam.stages import preferred, ranked
    from dodam.stages.validation import answers
    from dodam.train import distributed
    from dodam.train.optim import OptimConfig
    from dodam.train.preference import PreferenceLoss

    choices = run_folder.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    loaded = load_model(config.model, device=machine.device)
    model, tokenizer = loaded.model, loaded.tokenizer
    if model.config.experts:
        raise UsageError("mixtures of experts are not trained on rankings here", where="--model")
    if config.context and config.context > model.config.context:
        raise UsageError(f"the model reads {model.config.context} tokens at most", where="--context")
    context = choices["context"] if choices else config.context or model.config.context
    digest = data.digest + tokenizer.fingerprint
    run_folder.same_data(config, choices, digest)
    if not choices:
        choices = distributed.first(lambda: choose(config, machine, loaded, len(data.learned), context))
        choices |= {"data": digest}
    mine = distributed.share(choices["batch"])
    loaders = {"batch": choices["batch"], "pad": tokenizer.pad, "shared": shared_tokens(model)}

    def loader(name: str, prompts: "Sequence[Judged]", steps: int | None, **more: int) -> ComparedLoader:
        encoded = encode(config, loaded, name, prompts, choices["context"])
        compared = [Compared(mine, ranked.contests_of(one)) for mine, one in zip(encoded, prompts, strict=True)]
        rows = ComparedLoader(compared, **loaders, **more)
        read = range(len(compared)) if steps is None else rows.read_by(steps)
        its = [encoded[place] for place in read]
        known: list[Likelihoods] = []
        if its:
            told = (config, loaded, name, choices["data"], its, machine)
            known = distributed.in_turn(lambda: preferred.reference(*told))
        for place, one in zip(read, known, strict=True):
            compared[place] = compared[place]._replace(reference=one.sums_A.tolist())
        return rows

    steps = (None if config.budget is not None else choices["steps"]) if config.refers else 0
    rows = loader("learned", data.learned, steps, seed=config.seed, at_once=rows_at_once(config))
    held_rows = loader("held-back", data.held_back, None, seed=0)
    questions = [ids for _, ids in preferred.questions(loaded, data.held_back, context)]
    factors = parts.choose_parts(config, model)
    model.train()
    plain = PreferenceLoss(
        loss=config.loss, beta=config.scale, gamma=config.ahead, smoothing=config.label_smoothing,
        sft_weight=config.sft_weight, dtype=machine.torch_dtype,
    )  # fmt: skip
    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        batches=lambda step: [rows.batch(step, *mine)],
        objective=replace(plain, keep=config.microbatch is None),
        optim=OptimConfig(**choices["optim"]),
        loop=training.loop_bounds(config, choices, rows.batches_per_epoch),
        validate=preferred.validation(held_rows, plain),
        unit="nats per pair" if config.loss in ("dpo", "simpo") else "loss per pair",
        sample=lambda model: answers(model, tokenizer, questions),
        chat_template=template_of(tokenizer),
        card=card_of(config, loaded, data),
        factors=factors,
    )
    return training.train_run(config, "dpo", setup, choices)


def encode(
    config: Dpo, loaded: "LoadedModel", name: str, prompts: "Sequence[Judged]", context: int
) -> "list[list[Encoded]]":
    """Prompts with their answers as ids; how many answers were cut is told."""
    from dodam.stages import preferred

    encoded = preferred.encode_side(loaded, prompts, context)
    if num_cut := sum(one.cut for mine in encoded for one in mine):
        print(f"dpo: {num_cut} answers ({name}) do not fit into {context} tokens; cut.", file=sys.stderr)
    return encoded


def choose(config: Dpo, machine: "Machine", loaded: "LoadedModel", num_prompts: int, context: int) -> dict[str, Any]:
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
        "optim": training.learning_rates(config, loaded.model, scale=TUNING_RATE),
    }


def card_of(config: Dpo, loaded: "LoadedModel", data: "Data") -> dict[str, Any]:
    """What the model card tells of what was read."""
    return {
        "base": str(config.model),
        "base lineage": loaded.info.get("lineage", {}),
        "data": list(config.data),
        "prompts learned from": len(data.learned),
        "prompts held back": len(data.held_back),
        "loss": config.loss,
        "beta": config.scale,
    }
