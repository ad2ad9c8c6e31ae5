"""Command `plan`: what a training will take before it is begun: memory by part, time, energy and cost, on this machine,
on a GPU of the table, or on many; or the largest model that fits into a memory or a time.

In: a recipe or sizes, and a machine. Out: lines on standard output, and the same numbers for --json.
"""

import re
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator

from dodam.config import Duration, seconds
from dodam.errors import UsageError

if TYPE_CHECKING:
    from dodam.models.build import Sizes
    from dodam.plan.cluster import Failures, Layout
    from dodam.plan.hardware import Hardware
    from dodam.plan.memory import Memory
    from dodam.plan.stages import Work

OF_ONE_MODEL = (
    "architecture", "family", "decoder_depth", "width", "heads", "kv_heads", "feedforward_size", "tied", "context",
    "batch", "microbatch", "recompute", "tokens_per_parameter",
)  # fmt: skip
SLOWEST = 1000.0  # times the work itself: such a run is none
UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def num_bytes(text: str) -> float:
    """`24GB`, `512 MB`, `80GiB` in bytes. ValueError for anything else."""
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?)B", text.strip(), re.IGNORECASE)
    try:
        amount = float(found[1]) * (BINARY if found[3] else UNITS)[found[2].upper()] if found else 0.0
    except ValueError:  # 1.2.3GB
        amount = 0.0
    if amount <= 0:
        raise ValueError("must be an amount of memory such as 24GB, 512MB or 80GiB")
    return amount


def checked_bytes(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('must be an amount of memory in quotes, such as "24GB" or "80GiB"')
    num_bytes(value)
    return value


Bytes = Annotated[str, BeforeValidator(checked_bytes)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Say what a training will take: memory, time, energy and cost.

    Of a recipe's training stages, or of one model whose sizes are given."""

    positional: ClassVar[tuple[str, ...]] = ("recipe",)

    recipe: Path | None = None
    """A recipe, a TOML file; without one the model that the other flags describe."""
    set: tuple[str, ...] = ()
    """Change a value of the recipe: STAGE.KEY=VALUE, as in `dodam run`."""
    on: str = "here"
    """What it runs on: `here` (measured, a second or two), or a GPU of the table such as h100-sxm or rtx-4090."""
    devices: Annotated[int, Ge(1)] = 1
    """How many of them."""
    parameters: Annotated[float, Gt(0)] | None = None
    """A model of about so many parameters, such as 7e9, in place of --depth."""
    tokens: Annotated[float, Gt(0)] | None = None
    """Tokens it reads, such as 2e12. In a recipe: where a stage has neither steps nor a budget."""
    tokens_per_parameter: Annotated[float, Gt(0)] = 20.0
    """Tokens for each parameter where --tokens is not given (Hoffmann et al. 2022 found 20 to be best for the work)."""
    fit_memory: Bytes | None = None
    """Find the largest model that can be trained in so much memory of a device, such as 24GB."""
    fit_time: Duration | None = None
    """Find the largest model that can read its tokens in this time, such as 1h."""
    architecture: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    """Which Transformer, as in `dodam pretrain`."""
    family: Literal["modernbert", "bert"] | None = None
    """Layout of an encoder. Default: modernbert."""
    depth: Annotated[int, Gt(0), Le(1024)] | None = None
    """Blocks; sets all other sizes that are not given, as in `dodam pretrain`."""
    decoder_depth: Annotated[int, Gt(0)] | None = None
    """Blocks of the side of an encoder-decoder that writes. Default: as many as of the side that reads."""
    width: Annotated[int, Gt(0)] | None = None
    """Width of the stream."""
    heads: Annotated[int, Gt(0)] | None = None
    """Query heads."""
    kv_heads: Annotated[int, Gt(0)] | None = None
    """Key/value heads of a decoder."""
    feedforward_size: Annotated[int, Gt(0)] | None = None
    """Width of the feed-forward."""
    tied: bool = False
    """Share one table between embedding and head."""
    vocabulary: Annotated[int, Gt(0)] = 32_768
    """Number of token ids. In a recipe: where no stage tells it."""
    context: Annotated[int, Ge(16)] = 2048
    """Tokens per row."""
    batch: Annotated[int, Gt(0)] | None = None
    """Rows of a step, over all devices. Default: as `dodam pretrain` chooses by the tokens that are read, and one for
    each device at least."""
    microbatch: Annotated[int, Gt(0)] | None = None
    """Rows a device computes at one time. Default: all of the batch; 1 with several devices or --fit-memory."""
    recompute: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the blocks whose activations are computed again on the way back, as in `dodam pretrain`."""
    tensor: Annotated[int, Gt(0)] = 1
    """Devices that share every matrix."""
    pipeline: Annotated[int, Gt(0)] = 1
    """Devices that have a part of the blocks each."""
    chunks: Annotated[int, Gt(0)] = 1
    """Parts of the blocks that each device of a pipeline has, in turns."""
    sharding: Literal["full", "optimizer"] = "full"
    """What data-parallel devices have only a share of: weights, gradients and optimiser, or the optimiser's state."""
    device_hours: Annotated[float, Gt(0)] = 50_000.0
    """Hours between two failures of one device."""
    save_time: Duration = "30s"
    """How long all devices wait for a checkpoint."""
    restart_time: Duration = "10m"
    """How long it takes to go on after a failure."""
    conversations: Annotated[int, Gt(0)] = 16
    """Sequences of the whole context that serving keeps keys and values of."""
    peak: Annotated[float, Gt(0)] | None = None
    """TFLOP/s of one device, in place of the table's."""
    efficiency: Annotated[float, Gt(0), Le(1)] | None = None
    """Share of the peak that is reached in training, in place of the table's."""
    memory: Bytes | None = None
    """Memory of one device, in place of the table's."""
    bandwidth: Annotated[float, Gt(0)] | None = None
    """GB/s of one device's own memory, in place of the table's."""
    watts: Annotated[float, Gt(0)] | None = None
    """What one device draws, in place of the table's."""
    price: Annotated[float, Ge(0)] | None = None
    """Dollars for an hour of one device, in place of the table's."""


def run(config: Plan) -> dict[str, Any]:
    """Reckon, print, and return the numbers."""
    from dodam.plan import stages
    from dodam.plan.lines import described, paid, tell, time_of
    from dodam.recipe import read as read_recipe

    check(config)
    recipe = read_recipe(config.recipe, config.set) if config.recipe else None
    hardware = hardware_of(config)
    print(described(hardware, config.devices))
    left: dict[str, str] = {}
    if recipe is not None:
        rate = hardware.rate * config.devices
        works, left = stages.of_recipe(recipe, rate, config.vocabulary, config.tokens)
        most = max(stage.ranks for stage in recipe.stages)
        if most > config.devices and config.on != "here":
            print(f"it trains on {most} ranks; --devices {most} plans for as many GPUs", file=sys.stderr)
    else:
        works = [one_model(config, hardware)]
    rows = []
    for one in works:
        rows.append(reckon(one, config, hardware))
        tell(rows[-1], hardware, config)
    for name, why in left.items():
        print(f"{name}: {why}; nothing is said of it", file=sys.stderr)
    known = [row["seconds"] for row in rows]
    total = None if None in known or left else sum(known)
    if len(rows) > 1 and total is not None:
        print(f"in all    {time_of(total)}{paid(sum(row['dollars'] or 0 for row in rows))}")
    return {"on": asdict(hardware), "devices": config.devices, "stages": rows, "left": left, "seconds": total}


def check(config: Plan) -> None:
    """UsageError for flags that do not go together."""
    sized = [name for name in ("depth", "parameters", "fit_memory", "fit_time") if getattr(config, name) is not None]
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in sized)
    if config.recipe is not None and sized:
        raise UsageError(f"a recipe tells its own sizes, and so does {flags}", mend="Give one of them.")
    defaults = {field.name: field.default for field in fields(config)}
    own = [name for name in OF_ONE_MODEL if getattr(config, name) != defaults[name]]
    if config.recipe is not None and own:
        what, key = "a recipe tells this of each of its stages", own[0].replace("_", "-")
        raise UsageError(what, where=f"--{key}", mend=f"Change it there, or with --set STAGE.{own[0]}=VALUE.")
    if config.recipe is None and not sized:
        mend = "Give a recipe, or --depth, --parameters, --fit-memory or --fit-time."
        raise UsageError("there is nothing to plan", mend=mend)
    if len(sized) > 1 and set(sized) != {"fit_memory", "fit_time"}:
        raise UsageError(f"{flags} each set the size", mend="Give one of them; the two --fit flags go together.")
    if config.set and config.recipe is None:
        raise UsageError("only a recipe has values to change", where="--set", mend="Name the recipe too.")


def hardware_of(config: Plan) -> "Hardware":
    """What was named, with what was given in place of what is known of it."""
    from dodam.plan.hardware import GB, TERA, changed, named

    return changed(
        named(config.on),
        peak=config.peak * TERA if config.peak else None,
        efficiency=config.efficiency,
        memory=num_bytes(config.memory) if config.memory else None,
        bandwidth=config.bandwidth * GB if config.bandwidth else None,
        watts=config.watts,
        price=config.price,
    )


def one_model(config: Plan, hardware: "Hardware") -> "Work":
    """The model that the flags describe, or the largest that fits."""
    from dodam.plan.stages import shape_of, with_parameters

    if config.fit_memory or config.fit_time:
        return work_of(largest(config, hardware), config)
    if config.parameters:
        return work_of(with_parameters(config, config.parameters), config)
    assert config.depth is not None
    return work_of(shape_of(config, config.depth), config)


def work_of(sizes: "Sizes", config: Plan) -> "Work":
    """The training of a model of these sizes."""
    from dodam.models.build import num_parameters
    from dodam.plan.stages import Work
    from dodam.train.budget import rows_per_step

    count = num_parameters(sizes)
    tokens = config.tokens or config.tokens_per_parameter * count
    return Work(
        name="model",
        sizes=sizes,
        context=config.context,
        batch=config.batch or max(data_parallel(config), rows_per_step(tokens, config.context)),
        microbatch=config.microbatch or (1 if config.fit_memory else None),
        recompute=config.recompute,
        tokens=tokens,
    )


def largest(config: Plan, hardware: "Hardware") -> "Sizes":
    """The deepest model within the memory and the time that were given."""
    from dodam.plan.fit import deepest
    from dodam.plan.stages import shape_of

    room = num_bytes(config.fit_memory) if config.fit_memory else None
    time = seconds(config.fit_time) if config.fit_time else None

    def fits(sizes: "Sizes") -> bool:
        one = work_of(sizes, config)
        layout = layout_of(one, config)
        if time is not None and (one.tokens or 0) / pace(one, layout, config, hardware) > time:
            return False
        return room is None or memory_of(one, config, hardware, layout.rows).peak <= room

    where = "--fit-memory" if config.fit_memory else "--fit-time"
    return deepest(lambda depth: shape_of(config, depth), fits, where)


def data_parallel(config: Plan) -> int:
    """How many devices have rows of their own."""
    return max(1, config.devices // (config.tensor * config.pipeline))


def layout_of(one: "Work", config: Plan) -> "Layout":
    """How a step is shared out; rows a device computes at one time are at most its share of the batch."""
    from dodam.plan.cluster import Layout

    rows = one.microbatch or (one.batch if config.devices == 1 else 1)
    return Layout(
        devices=config.devices, tensor=config.tensor, pipeline=config.pipeline, chunks=config.chunks, batch=one.batch,
        rows=min(rows, max(1, one.batch // data_parallel(config))), sharding=config.sharding,
        recompute=one.recompute,
    )  # fmt: skip


def pace(one: "Work", layout: "Layout", config: Plan, hardware: "Hardware") -> float:
    """Tokens a second, with all waiting and all failures. UsageError where failures leave no time to work."""
    from dodam.plan.cluster import step

    failures = failures_of(config)
    slowdown = failures.slowdown(config.devices, failures.interval(config.devices)) if config.devices > 1 else 1.0
    if slowdown > SLOWEST:
        what = f"{config.devices:,} devices fail too often for any work to be done"
        raise UsageError(what, where="--device-hours", mend="Give more hours, or fewer devices.")
    return one.batch * one.context / (step(one.sizes, one.context, hardware, layout).seconds * slowdown)


def memory_of(one: "Work", config: Plan, hardware: "Hardware", rows: int) -> "Memory":
    """Of one device that computes so many rows at one time."""
    from dodam.plan import memory

    whole = memory.training(
        one.sizes, rows, one.context, dtype=hardware.dtype, device=hardware.kind, model=one.frozen,
        recompute=one.recompute,
    )  # fmt: skip
    return whole.shared(
        data=data_parallel(config), tensor=config.tensor, pipeline=config.pipeline, full=config.sharding == "full"
    )


def rows_that_fit(one: "Work", config: Plan, hardware: "Hardware", rows: int) -> int:
    """How many rows at one time fit into a device's memory, of `rows` at the most; 0 where not even one does."""
    fit, too_many = 0, rows + 1
    while too_many - fit > 1:
        middle = (fit + too_many) // 2
        holds = hardware.memory is None or memory_of(one, config, hardware, middle).peak <= hardware.memory
        fit, too_many = (middle, too_many) if holds else (fit, middle)
    return fit


def failures_of(config: Plan) -> "Failures":
    from dodam.plan.cluster import Failures

    return Failures(
        device_hours=config.device_hours,
        save_seconds=seconds(config.save_time),
        restart_seconds=seconds(config.restart_time),
    )


def reckon(one: "Work", config: Plan, hardware: "Hardware") -> dict[str, Any]:
    """The numbers of one training."""
    from dodam.models.build import flops_per_token, num_parameters
    from dodam.plan import cluster
    from dodam.plan.cost import cost

    layout = layout_of(one, config)
    cluster.check(layout, one.sizes)
    memory = memory_of(one, config, hardware, layout.rows)
    step = cluster.step(one.sizes, one.context, hardware, layout)
    per_second = pace(one, layout, config, hardware)
    interval = failures_of(config).interval(config.devices) if config.devices > 1 else None
    tokens = one.tokens if one.seconds is None else one.seconds * per_second
    time = one.seconds if one.seconds is not None else None if tokens is None else tokens / per_second
    paid_for = None if time is None else cost(time, config.devices, hardware)
    row = {
        "name": one.name,
        "sizes": one.sizes.to_dict(),
        "parameters": num_parameters(one.sizes),
        "context": one.context,
        "batch": one.batch,
        "microbatch": layout.rows,
        "tokens": tokens,
        "flops": None if tokens is None else flops_per_token(one.sizes, one.context) * tokens,
        "memory": asdict(memory) | {"peak": memory.peak},
        "microbatch_that_fits": rows_that_fit(one, config, hardware, layout.rows),
        "serving": serving_of(one, config, hardware),
        "tokens_per_second": per_second,
        "mfu": flops_per_token(one.sizes, one.context) * per_second / (config.devices * hardware.peak),
        "step": asdict(step),
        "interval": interval,
        "slowdown": one.batch * one.context / per_second / step.seconds,
        "seconds": time,
        "device_hours": paid_for.device_hours if paid_for else None,
        "energy": paid_for.energy if paid_for else None,
        "dollars": paid_for.dollars if paid_for else None,
    }
    return row


def serving_of(one: "Work", config: Plan, hardware: "Hardware") -> dict[str, Any] | None:
    """Keys and values while serving, in full precision as a model is loaded; and how many tokens a second one answer
    gets at most, as every weight and its full context are read from memory for each. None for an encoder."""
    from dodam.models.encoder import EncoderConfig
    from dodam.plan.memory import FULL, cache_bytes, outlined, weight_bytes

    if isinstance(one.sizes, EncoderConfig):
        return None
    each = cache_bytes(one.sizes, 1, one.sizes.context, FULL)
    read = weight_bytes(outlined(one.sizes)) + each
    most = None if hardware.bandwidth is None else hardware.bandwidth / read
    return {"cache": config.conversations * each, "tokens_per_second": most}
