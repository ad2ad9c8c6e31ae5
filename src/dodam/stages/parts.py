"""Which parts of a model are trained: a LoRA adapter beside frozen layers, all but what is frozen, deep ones slower.

In come a stage's flags and its model; the model is changed in place, and after training an adapter is written beside it
and merged into it.
"""

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from dodam.errors import UsageError

if TYPE_CHECKING:
    from dodam.stages.training import Training


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Small trained matrices beside frozen layers, in place of training all weights (docs/lora.md)."""

    rank: Annotated[int, Ge(0)] = 0
    """Train a LoRA adapter of this rank, 8 or 16 for instance, and nothing else; 0 trains the weights themselves."""
    alpha: Annotated[float, Gt(0)] = 16.0
    """The adapter's update is multiplied by alpha / rank."""
    targets: tuple[str, ...] = ("all",)
    """Which layers: all, attention, or names such as query value."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the adapter's inputs dropped while training."""
    rank_stabilized: bool = False
    """Multiply by alpha / sqrt(rank) instead (rsLoRA)."""
    dora: bool = False
    """Train a magnitude for every output too (DoRA)."""
    quantize: Literal["none", "nf4"] = "none"
    """Hold the frozen matrices in 4 bits while training: nf4 is QLoRA's NormalFloat. No GPU has run this yet."""


NO_ADAPTER = Lora()


def check_lora(lora: Lora) -> None:
    """UsageError for options of an adapter that is not there."""
    given = [key for key, usual in asdict(NO_ADAPTER).items() if getattr(lora, key) != usual]
    if given and not lora.rank:
        flag = f"--lora.{given[0].replace('_', '-')}"
        raise UsageError("there is no adapter without a rank", where=flag, mend="Add --lora.rank 8, for instance.")


def choose_parts(config: "Training", model: Any) -> dict[str, float]:
    """Add LoRA, freeze what shall stay, and say what each parameter's learning rate is multiplied by.

    UsageError for a layer, a pattern or a rank that does not fit the model."""
    from dodam.nn import lora

    wanted = config.lora
    targets: Any = wanted.targets[0] if wanted.targets in (("all",), ("attention",)) else wanted.targets
    try:
        if wanted.rank:
            settings = lora.LoraConfig(
                rank=wanted.rank, alpha=wanted.alpha, rank_stabilized=wanted.rank_stabilized, dora=wanted.dora,
                dropout=wanted.dropout, targets=targets,
            )  # fmt: skip
            if wanted.quantize == "nf4":
                lora.quantize_layers(model)
            lora.add_lora(model, settings, config.seed)
        lora.freeze(model, config.freeze)
    except ValueError as error:
        where = "--lora" if wanted != NO_ADAPTER else "--freeze"
        raise UsageError(str(error), where=where) from None
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    packed = lora.quantized_layers(model).values()
    num_packed = sum(layer.in_features * layer.out_features for layer in packed)
    if wanted.rank or config.freeze:
        whole = num_packed + sum(parameter.numel() for parameter in model.parameters())
        print(f"{config.out}: {lora.num_trained(model):,} of {whole:,} numbers are trained.", file=sys.stderr)
    if packed:
        bits = 8 * sum(layer.stored.num_bytes for layer in packed) / num_packed
        print(f"{config.out}: {num_packed:,} of them are held in {bits:.2f} bits each.", file=sys.stderr)
    return lora.depth_factors(trained, config.layer_decay) if config.layer_decay < 1 else {}


def use_float8(config: "Training", model: Any, machine: dict[str, Any]) -> None:
    """Have a model's blocks multiply in 8 bits. UsageError where that cannot be."""
    from dodam.nn import float8

    leave = "Leave the flag out."
    if not float8.supported(machine["device"]):
        raise UsageError("this device does not multiply in 8 bits", where="--float8", mend=leave)
    if machine["dtype"] != "bfloat16":
        mend = "Add --dtype bfloat16, or leave the flag out."
        raise UsageError(f"all else would be computed in {machine['dtype']}", where="--float8", mend=mend)
    if config.lora.rank or config.parallel.tensor > 1:
        what = "adapters are" if config.lora.rank else "a product that several ranks compute is"
        raise UsageError(f"{what} not computed in 8 bits", where="--float8", mend=leave)
    if not float8.use_float8(model):
        what = f"no matrix of the blocks has sizes that {float8.GRAIN} divides"
        raise UsageError(what, where="--float8", mend=leave)


def finish_parts(config: "Training", model: Any) -> None:
    """Write the adapter to OUT/adapter, in PEFT's layout, and merge it into the model."""
    from dodam.exchange.adapter import save_adapter
    from dodam.exchange.families import FAMILIES
    from dodam.exchange.mapping import table_of
    from dodam.folder import model_path
    from dodam.nn.lora import merge_lora, quantized_layers

    if not config.lora.rank:
        return
    table = table_of(FAMILIES[model.config.family], model.config)
    base = str(model_path(getattr(config, "model")))  # noqa: B009 - only stages that start from a model have it
    try:
        save_adapter(config.out / "adapter", model, table, base=base)
    except UsageError as error:  # the model has it all the same
        print(f"{config.out}: no folder of the adapter alone: {error.what}.", file=sys.stderr)
    if packed := quantized_layers(model).values():
        largest = max(layer.largest_difference for layer in packed)
        relative = max(layer.relative_difference for layer in packed)
        print(
            f"{config.out}: the adapter is added to the matrices of 4 bits, which differ from those of {base} "
            f"by at most {largest:.3g}, and by {relative:.1%} of their size (root mean square) where it is most.",
            file=sys.stderr,
        )
    merge_lora(model)
