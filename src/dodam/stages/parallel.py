"""How torchrun's ranks share the work of a training stage: its flags, and how they meet.

In comes a stage's config on every rank; out come ranks that were all started alike and can reach one another, or one
UsageError.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt

from dodam import config as configs
from dodam import ranks
from dodam.errors import UsageError
from dodam.versions import versions

if TYPE_CHECKING:
    from dodam.stages.training import Training


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How torchrun's processes share the work. No GPU has run this yet."""

    shard: Literal["none", "full"] = "none"
    """none: every rank holds all of the model (replicas); full: a part of weights, gradients and optimiser state. For
    several processes that torchrun starts; no GPU has run them yet."""
    tensor: Annotated[int, Gt(0)] = 1
    """Neighbouring ranks that compute each product together, on the same rows (tensor parallel), each with its heads
    and its part of the feed-forward; with --parallel.shard full. No GPU has run this yet."""
    pipeline: Annotated[int, Gt(0)] = 1
    """Neighbouring ranks that have some of the blocks each, so that hidden states go from one to the next; parts of
    --microbatch rows are under way at the same time. No GPU has run this yet."""
    context: Annotated[int, Gt(0)] = 1
    """Neighbouring ranks that have some positions each of the same rows (context parallel), for rows that are too long
    for one. No GPU has run this yet."""
    timeout: configs.Duration = "1m"
    """How long a rank waits for the others in a step before it gives up."""


ONE = Parallel()
OWN_ROWS = "in this stage every rank has rows of its own"
NOT_TOGETHER = dict.fromkeys(("tensor", "pipeline", "context"), OWN_ROWS)


def is_sharded(config: "Training") -> bool:
    """Whether a run's weights are spread over ranks. On one rank they are not, whatever was asked for."""
    return config.parallel.shard == "full" and ranks.started() > 1


def is_spread(config: "Training") -> bool:
    """Whether no rank computes the whole model on whole rows."""
    return is_sharded(config) or ranks.pipeline() > 1 or ranks.context() > 1


def meet(config: "Training") -> None:
    """Meet the other ranks, and check that they were started as this one. UsageError where that is not so."""
    from dodam import machine as machines
    from dodam.train import distributed

    distributed.start(machines.look(config.device).device, configs.seconds(config.parallel.timeout))
    check_together(config.parallel, ranks.started(), adapters=config.lora.rank > 0)
    ranks.set_together(
        tensor=config.parallel.tensor, pipeline=config.parallel.pipeline, context=config.parallel.context
    )
    if config.batch is not None:
        distributed.share(config.batch)
    if is_spread(config):
        check_spread(config)
    settings = json.dumps({**configs.to_json(config), "versions": versions()}, sort_keys=True)

    def differing(both: list[str]) -> str:
        mine, other = map(json.loads, both)
        keys = sorted(key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key))
        return f"was started with other settings than rank 0 ({', '.join(keys)})"

    distributed.same(settings, differing)


def check_spread(config: "Training") -> None:
    """UsageError for settings that a model spread over ranks cannot have."""
    leave = "Leave the flag out."
    if config.compile == "yes":
        raise UsageError("a model spread over ranks is not compiled", where="--compile", mend=leave)
    if config.lora.quantize != "none":
        what = "matrices of 4 bits are not spread over ranks"
        raise UsageError(what, where="--lora.quantize", mend=leave)


def refuse_unshared(parallel: Parallel, unshared: Mapping[str, str]) -> None:
    """UsageError for a way of sharing the work that a stage has not, by what its `UNSHARED` says."""
    for name, why in unshared.items():
        if getattr(parallel, name) != getattr(ONE, name):
            raise UsageError(why, where=f"--parallel.{name}", mend="Leave the flag out.")


def check_together(asked: Parallel, number_of_ranks: int, *, adapters: bool) -> None:
    """UsageError where so many ranks cannot work on the same rows in the way they are told to."""
    ways = {"tensor": asked.tensor, "pipeline": asked.pipeline, "context": asked.context}
    for name, number in ways.items():
        where = f"--parallel.{name}"
        if number == 1:
            continue
        if number_of_ranks % number:
            what = f"groups of {number} do not divide {number_of_ranks} ranks"
            raise UsageError(what, where=where, mend="Start as many ranks as they divide.")
        if adapters and name != "context":
            raise UsageError("adapters are not computed by several ranks", where=where, mend="Leave the flag out.")
    if asked.context > 1 and asked.tensor * asked.pipeline > 1:
        what = "ranks with sections of rows compute all of the model"
        raise UsageError(what, where="--parallel.context", mend="Leave --parallel.tensor and --parallel.pipeline out.")
    if asked.tensor > 1 and asked.shard == "none":
        raise UsageError("goes with --parallel.shard full", where="--parallel.tensor", mend="Add it.")
    if asked.pipeline > 1 and asked.shard == "full":
        what = "ranks of a pipeline have whole blocks"
        raise UsageError(what, where="--parallel.pipeline", mend="Leave --parallel.shard out.")


def check_pipeline(model: Any) -> None:
    """UsageError for models whose blocks are not one stack, or fewer than there are ranks in a pipeline."""
    where = "--parallel.pipeline"
    if not (hasattr(model, "run_block") and hasattr(model, "blocks")) or getattr(model.config, "experts", 0):
        what = "only a plain decoder or encoder goes through a pipeline"
        raise UsageError(what, where=where, mend="Leave the flag out.")
    if len(model.blocks) < ranks.pipeline():
        what = f"{len(model.blocks)} blocks are too few for {ranks.pipeline()} ranks"
        raise UsageError(what, where=where, mend="Give fewer, or a deeper model.")


def check_sections(model: Any) -> None:
    """UsageError for models that do not learn from sections of rows: none but decoders do, and not through windows."""
    from dodam.models.decoder import DecoderConfig

    where = "--parallel.context"
    if not isinstance(model.config, DecoderConfig):
        raise UsageError("only a decoder learns from sections of rows", where=where, mend="Leave the flag out.")
    if any(model.config.windowed):
        raise UsageError("a model that looks through windows is not shared out so", where=where, mend="Leave it out.")


def check_shardable(model: Any) -> None:
    """UsageError for models that are not sharded: those of two stacks, whose blocks are not only called one after
    another, those with experts, as not every rank's rows reach each of them, and those whose heads or sizes the ranks
    of --parallel.tensor do not divide."""
    from dodam.train.optim import in_block

    kind = "an encoder-decoder" if hasattr(model, "run_decoder_block") else "a model with experts"
    if hasattr(model, "run_decoder_block") or getattr(model.config, "experts", 0):
        raise UsageError(f"{kind} is not sharded", where="--parallel.shard", mend="Leave the flag out.")
    number, config = ranks.tensor(), model.config
    if number == 1:
        return
    if any(name.endswith(".bias") and in_block(name) for name, _ in model.named_parameters()):
        what = "a model with biases in its blocks is not computed by several ranks"
        raise UsageError(what, where="--parallel.tensor", mend="Leave the flag out.")
    for name in ("heads", "kv_heads", "feedforward_size"):
        size = getattr(config, name, config.heads)
        if size % number:
            what = f"{number} ranks do not divide {name} ({size})"
            raise UsageError(what, where="--parallel.tensor", mend="Give a divisor.")
    if config.width % ranks.replicas():
        what = f"{ranks.replicas()} groups of ranks do not divide the width ({config.width})"
        raise UsageError(what, where="--parallel.tensor", mend="Start other numbers of ranks.")
