"""What all training stages share: their common flags, the run folder, resuming, validation, the finished model folder.

In come a stage's config, its model, batches and objective; out come a trained run folder and what --json prints of it.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from dodam import config as configs
from dodam import files, neighbours, ranks
from dodam.errors import Interrupted, UsageError
from dodam.stages.parallel import ONE, Parallel, check_pipeline, check_sections, check_shardable, is_sharded
from dodam.stages.parts import NO_ADAPTER, Lora, finish_parts, use_float8
from dodam.versions import versions

if TYPE_CHECKING:
    from dodam.data.batch import Batch
    from dodam.machine import Machine
    from dodam.tokenizer.tokenizer import Tokenizer
    from dodam.train.alarms import Alarms
    from dodam.train.loop import Hook, LoopConfig, Outcome
    from dodam.train.objective import Objective
    from dodam.train.optim import OptimConfig
    from dodam.train.state import Ledger


FINISHING_SECONDS = 4.0  # the last validation, the model folder, the picture
SLURM_END = "SLURM_JOB_END_TIME"  # seconds since 1970, set by Slurm
WATCHED = (
    "machine",
    "context",
    "depth",
    "batch",
    "steps",
    "seconds",
    "compiled",
    "optim",
)  # what of its choices trackers get


@dataclass(frozen=True, kw_only=True)
class Training:
    """The flags every training stage has."""

    UNSHARED: ClassVar[Mapping[str, str]] = {}
    """In which ways its work is not shared out over ranks, and why."""

    out: Path
    """The run folder to write; its model is OUT/model. Started again with the same folder, a run goes on."""
    steps: Annotated[int, Gt(0)] | None = None
    """Optimiser steps. A run with steps is the same every time; --budget is for when time matters."""
    budget: configs.Duration | None = None
    """Wall time for the whole command, such as 10m or 3h: the schedule follows the clock and the run ends on time."""
    batch: Annotated[int, Gt(0)] | None = None
    """Rows per optimiser step. Default: by the tokens of the run, in tuning by the size of the model."""
    microbatch: Annotated[int, Gt(0)] | None = None
    """Rows that are computed at one time; fewer need less memory and change the result by rounding only. Default: all
    of the batch."""
    recompute: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the blocks whose activations are not kept but computed again on the way back: less memory, up to a third
    more time, the same numbers."""
    context: Annotated[int, Ge(16)] | None = None
    """Tokens per row, and the longest text the model can look back on."""
    learning_rate: Annotated[float, Gt(0)] = 1.0
    """A factor on all learning rates; each is listed in OUT/config.json."""
    warmup: Annotated[float, Ge(0), Le(0.5)] = 0.01
    """Share of the run in which the learning rate rises."""
    decay: Annotated[float, Gt(0), Le(1)] = 0.7
    """Share of the run, at its end, in which the learning rate falls linearly to zero."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Weight decay on the matrices inside the blocks."""
    validate_every: Annotated[float, Gt(0), Le(1)] = 0.1
    """Share of the run between two validations on held-back text. With --budget fewer are made where they would take
    more than 3% of the time."""
    checkpoint_seconds: Annotated[float, Ge(0)] = 30.0
    """Seconds between two checkpoints; a kill loses at most so much work. Under a short --budget a tenth of it."""
    keep: Annotated[int, Ge(1)] = 2
    """Checkpoints that stay on the disk, the newest; where one is torn, a run goes on from the one before."""
    best: bool = False
    """End with the weights of the best validation, not with those of the last step."""
    stop_after: configs.Duration | None = None
    """Save and stop before so long after the start, such as 11h, where a machine ends what runs too long (ten seconds
    before, and what saving takes): the same command goes on. The end of a Slurm job is known by itself."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """Compile the blocks. `auto`: when the run is long enough to earn the 10-30 seconds it costs the first time."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """What matrices multiply in; weights are always float32. `auto`: bfloat16 where the machine is fast at it."""
    float8: bool = False
    """Multiply the matrices of the blocks in 8 bits while they learn (e4m3, gradients e5m2), all else in bfloat16. For
    GPUs that have it (RTX 4090, H100 and later), none of which has run it yet; a CPU computes the same, more slowly."""
    threads: Annotated[int, Gt(0)] | None = None
    """CPU threads. Default: all cores this process may use."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    track: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Tell names, settings and numbers of the run to these programs too. Default: to none; nothing is sent anywhere."""
    seed: int = 0
    """Seed of weights and order of the data."""
    lora: Lora = NO_ADAPTER
    freeze: tuple[str, ...] = ()
    """Leave parameters as they are whose names fit these patterns: `embedding*`, `blocks.[0-3].*`."""
    layer_decay: Annotated[float, Gt(0), Le(1)] = 1.0
    """What learning rates are multiplied by for each layer further down; 0.9 spares what lies deep."""
    parallel: Parallel = ONE


@dataclass(frozen=True)
class Setup:
    """What a stage gives the shared part to train."""

    model: Any
    tokenizer: "Tokenizer"
    batches: "Callable[[int], Sequence[Batch]]"
    objective: "Objective"
    optim: "OptimConfig"
    loop: "LoopConfig"
    validate: "Callable[[Any], float | dict[str, float]] | None"
    unit: str
    sample: Callable[[Any], str]
    chat_template: str | None
    card: dict[str, Any]
    factors: dict[str, float] = field(default_factory=dict)
    """What the learning rates of single parameters are multiplied by."""
    save: Callable[[Path, dict[str, Any], str], object] | None = None
    """Writes the model folder from its path, dodam.json's content and the card, in place of `folder.save_model`."""
    nothing: float | None = None
    """The loss in nats of a model that knows nothing, where the run goes on with one that knows something."""
    expected: Callable[[float], tuple[float, float]] | None = None
    """Between which two values a validation is expected after a share of the run."""
    ledger: "Ledger | None" = None
    """What the stage keeps beside weights, in every checkpoint."""
    shown: tuple[str, ...] = ()
    """Which of the ledger's numbers the console tells with the loss; the picture draws the first in its place."""
    fill: Callable[[Any], object] | None = None
    """Fills the parts of a sharded model that was made without memory; its folder is written out of a checkpoint."""
    finish: Callable[[], object] | None = None
    """Takes off the model, once it is trained, what only its training needed."""
    result: Callable[[], dict[str, Any]] = dict
    """What more result.json tells."""


def machine_for(config: Training, choices: dict[str, Any]) -> "Machine":
    """Look at the machine, or take what a run that goes on was begun with; set torch up for it. The ranks on a machine
    share its cores."""
    from dataclasses import replace

    from dodam import machine as machines

    threads = config.threads
    if threads is None and ranks.local_world() > 1:
        threads = max(1, machines.num_cores() // ranks.local_world())
    machine = machines.look(config.device, threads)
    if config.dtype != "auto":
        machine = replace(machine, dtype=config.dtype)
    if choices:
        begun = machines.Machine(**choices["machine"])
        if config.threads or ranks.world() > 1:
            begun = replace(begun, threads=machine.threads)  # as told, or as there are cores for, whatever their ranks
        if begun.threads != machine.threads:
            print(
                f"{config.out}: begun with {begun.threads} threads, here there would be {machine.threads}; going on "
                f"with {begun.threads}, so that the result stays the same to the bit; --threads {machine.threads} "
                "changes that.",
                file=sys.stderr,
            )
        machine = begun
    if neighbours.gives_way():
        print(
            f"{config.out}: something else computes on this machine, so threads wait asleep for one another: beside it "
            "steps take about twice as long in place of three times, and up to a sixth longer when it is gone.",
            file=sys.stderr,
        )
    machines.use(machine)
    return machine


def learning_rates(config: Training, model: Any = None, scale: float = 1.0) -> dict[str, float]:
    """The optimisers' settings with every learning rate times --learning-rate, a stage's own `scale` and, for a model
    to go on with, what the size of its weights bears."""
    from dodam.train.optim import OptimConfig, bearable, lora_rate

    values = asdict(OptimConfig(weight_decay=config.weight_decay))
    bears = bearable(model) if model is not None else {}
    for key in ("matrix", "embedding", "head", "scalar"):
        values[key] *= config.learning_rate * scale * bears.get(key, 1.0)
    if model is not None:
        values["lora"] = lora_rate(model.config.width) * config.learning_rate
    return values


def loop_bounds(config: Training, choices: dict[str, Any], steps_per_epoch: float) -> "LoopConfig":
    """Steps or seconds, and how often to look up. Under a budget the loop gets what is left of it when the loop
    begins, and ends sooner when more passes over the data would teach little."""
    from dodam.train.budget import most_steps
    from dodam.train.loop import LoopConfig
    from dodam.train.schedule import Schedule

    return LoopConfig(
        steps=choices["steps"] if config.budget is None else most_steps(steps_per_epoch),
        seconds=choices["seconds"] if config.budget is not None else None,
        schedule=Schedule(warmup=config.warmup, decay=config.decay),
        validate_every=config.validate_every,
        checkpoint_seconds=min(config.checkpoint_seconds, max(5.0, 0.1 * (choices["seconds"] or math.inf))),
        keep=config.keep,
        best="lowest" if config.best else None,
        until=until(config),
        seed=config.seed,
    )


def until(config: Training) -> float | None:
    """When this process has to be done, in seconds since 1970: by --stop-after, or at the end of a Slurm job."""
    from dodam import machine as machines
    from dodam.train.clock import LEAST_MARGIN

    if config.stop_after is not None:
        left = configs.seconds(config.stop_after) - machines.seconds_since_start()
        if left < 2 * LEAST_MARGIN:
            what = f"{config.stop_after} is too short: {LEAST_MARGIN:.0f} s before that a run saves and stops"
            raise UsageError(what, where="--stop-after", mend=f"Give it {math.ceil(2 * LEAST_MARGIN) + 10}s or more.")
        return time.time() + left
    told = os.environ.get(SLURM_END, "")
    return float(told) if told.isdigit() else None


def seconds_left(config: Training) -> float:
    """Seconds of the budget that training may use: less what the process has used, less what finishing will take."""
    from dodam import machine as machines

    assert config.budget is not None
    budget = configs.seconds(config.budget)
    used = machines.seconds_since_start()
    left = budget - used - FINISHING_SECONDS - 0.01 * budget
    if left < 5:
        what = f"{config.budget} is too short to train in: {used:.0f} s went by before the first step"
        mend = f"Give it {max(1, math.ceil((1.2 * used + 30) / 60))}m or more."
        raise UsageError(what, where="--budget", mend=mend)
    return left


def train_run(config: Training, stage: str, setup: Setup, choices: dict[str, Any]) -> dict[str, Any]:
    """Run the loop with its hooks, then write the model folder, the picture and the result."""
    from dodam.tracking.follow import following
    from dodam.train import distributed, pipeline, sharding
    from dodam.train.alarms import Alarms
    from dodam.train.loop import train
    from dodam.train.optim import Optimizers

    if config.best and setup.validate is None:
        mend = "Hold something back, or leave the flag out."
        raise UsageError("nothing is held back to find the best weights by", where="--best", mend=mend)
    trained = arranged(config, setup, choices)
    weights = dict(trained.named_parameters())
    optimizers = Optimizers(trained, setup.optim, setup.factors)
    chosen = {key: choices[key] for key in WATCHED if key in choices}
    alarms = Alarms(stage, config.out / "metrics.jsonl", setup.nothing)
    track = config.track if not ranks.rank() else ()
    with following(track, config.out, {"stage": stage, **configs.to_json(config), "chosen": chosen}) as followed:
        try:
            outcome = train(
                trained,
                optimizers,
                setup.batches,
                setup.objective,
                setup.loop,
                folder=config.out,
                hooks=[*hooks_of(config, stage, setup, trained, alarms), *followed.hooks],
                validate=setup.validate,
                choices=choices,
                device=choices["machine"]["device"],
                ledger=setup.ledger,
            )
        except Interrupted as stopped:
            raise Interrupted(stopped.what, where=stopped.where, mend=f"Go on with: {same_command(config)}") from None
        if is_sharded(config) and not setup.fill:
            sharding.gather(weights, setup.model)
        elif ranks.pipeline() > 1:
            pipeline.gather(weights, setup.model)
        result = distributed.first(lambda: write_run(config, stage, setup, outcome, choices, alarms.told))
        followed.result = result
    if config.budget is not None and outcome.steps == setup.loop.steps:
        tell_rest(config, stage, choices, outcome.seconds)
    return result


def arranged(config: Training, setup: Setup, choices: dict[str, Any]) -> Any:
    """The model as it trains: what it computes again or in 8 bits, and how it is spread over the ranks. UsageError
    where that does not go together."""
    from dodam import machine as machines
    from dodam.train import pipeline, recompute, sharding

    model = setup.model
    if config.recompute:
        if getattr(model.config, "experts", 0):
            what = "blocks with experts are not computed again, as what balances them is noted on the way"
            raise UsageError(what, where="--recompute", mend="Leave the flag out.")
        recompute.recompute_blocks(model, config.recompute)
    if config.float8:
        use_float8(config, model, choices["machine"])
    if ranks.context() > 1:
        check_sections(model)
    if is_sharded(config):
        machines.return_memory()
        check_shardable(model)
        trained = sharding.shard(model, choices["machine"]["device"])
        if setup.fill:
            setup.fill(trained)
        return trained
    if ranks.pipeline() > 1:
        check_pipeline(model)
        return pipeline.divide(model)
    return model


def hooks_of(config: Training, stage: str, setup: Setup, trained: Any, alarms: "Alarms") -> "list[Hook]":
    """Who looks on: on rank 0 all, on others only those that compute with a model of which every rank has a part. A
    stage with a ledger watches its numbers itself."""
    from dodam.train import metrics

    def sample() -> str:
        return setup.sample(trained)

    if ranks.rank():
        return [metrics.Alongside(sample)] if trained is not setup.model else []
    told: list[Any] = [
        metrics.MetricsFile(config.out / "metrics.jsonl"),
        metrics.Console(stage, setup.unit, shown=setup.shown),
    ]
    if setup.expected:
        told = [metrics.Expected(hook, setup.expected) for hook in told]
    return [
        *told,
        metrics.Samples(config.out / "samples.md", sample),
        *([] if setup.ledger else [alarms]),
    ]


def write_run(
    config: Training, stage: str, setup: Setup, outcome: "Outcome", choices: dict[str, Any], alarms: dict[str, str]
) -> dict[str, Any]:
    """Write what a trained run leaves: the model folder, the picture and, last, the result, which is returned."""
    from dodam import folder
    from dodam.train import metrics
    from dodam.train.state import saved_weights

    if setup.finish:
        setup.finish()
    finish_parts(config, setup.model)
    result = result_of(config, setup, outcome, choices) | {"alarms": alarms} | setup.result()
    recipe = configs.to_json(config)
    info = {"stage": stage, "result": result, "choices": choices, "recipe": recipe, "versions": versions()}
    info |= {"seed": config.seed, "lineage": setup.card}
    card = folder.model_card(f"{config.out.name} ({stage})", {**result, **setup.card})
    if setup.save:
        setup.save(config.out / "model", info, card)
    else:
        saved = saved_weights(config.out, outcome.steps, outcome.best) if setup.fill else None
        folder.save_model(
            config.out / "model", setup.model, setup.tokenizer, chat_template=setup.chat_template, info=info, card=card,
            weights=saved,
        )  # fmt: skip
    metrics.draw(config.out / "metrics.jsonl", config.out / "loss.png", setup.unit, *setup.shown[:1])
    files.write_json(config.out / "result.json", result)
    return result


def tell_rest(config: Training, stage: str, choices: dict[str, Any], seconds: float) -> None:
    """How much of a budget is left over when the data was read often enough."""
    from dodam.data.progress import duration

    if (left := choices["seconds"] - seconds) >= 1:
        left_over = f"{duration(left)} of {config.budget} are saved"
        print(f"{stage}: more passes over the data would teach little: {left_over}.", file=sys.stderr)


def same_command(config: Training) -> str:
    """What to type to go on: the command line of this process, or in Python the same call."""
    words = sys.argv[1:]
    if ranks.started() > 1:
        return f"the same torchrun command, or: dodam {' '.join(words)}"
    return f"dodam {' '.join(words)}" if words else f"the same call with out={str(config.out)!r}"


def result_of(config: Training, setup: Setup, outcome: "Outcome", choices: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": str(config.out / "model"),
        "parameters": sum(parameter.numel() for parameter in setup.model.parameters()),
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "seconds": round(outcome.seconds, 1),
        "seconds_between_steps": round(outcome.aside, 1),
        "loss": outcome.loss,
        "validation": outcome.validation,
        **({"best_step": outcome.best} if config.best else {}),
        "unit": setup.unit,
        "compiled": choices["compiled"],
    }
