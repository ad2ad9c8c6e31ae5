"""What is to be trained: the training stages of a recipe, or one model of given sizes.

In come a recipe or flags; out comes for each training its sizes, rows, and how much it reads or how long it may take.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodam.config import build, seconds
from dodam.errors import UsageError
from dodam.recipe import REFERENCE, Recipe, Stage

if TYPE_CHECKING:
    from torch import nn

    from dodam.models.build import Sizes

BYTES_A_TOKEN = 3.5  # of Korean and English text, with some thousand token ids
TOKENS_A_PARAMETER = 20  # where nothing says how much is read (Hoffmann et al. 2022)
PLANNED = ("pretrain", "sft")
NO_TRAINING = ("prepare", "tokenizer train", "tokenizer import", "evaluate", "sample", "import", "export", "best-of")


@dataclass(frozen=True, kw_only=True)
class Work:
    """One training. Of `tokens` and `seconds` one is known, or neither where that depends on the data."""

    name: str
    sizes: "Sizes"
    context: int
    batch: int
    """Rows of a step."""
    microbatch: int | None
    """Rows that are computed at one time; None: all."""
    recompute: float = 0.0
    """Share of the blocks that are computed again on the way back."""
    tokens: float | None
    seconds: float | None = None
    frozen: "nn.Module | None" = None
    """The model, without memory, where parts of it are not trained."""


def of_recipe(recipe: Recipe, rate: float, vocabulary: int, tokens: float | None) -> tuple[list[Work], dict[str, str]]:
    """The trainings of a recipe, and by name the stages that train in a way nothing is reckoned for. `rate`, FLOP/s,
    decides where a budget chooses the depth; `vocabulary` and `tokens` hold where the recipe does not tell."""
    works: dict[str, Work] = {}
    left: dict[str, str] = {}
    for stage in recipe.stages:
        if stage.kind in NO_TRAINING:
            continue
        if stage.kind not in PLANNED:
            left[stage.name] = f"`{stage.kind}` is not reckoned yet"
        elif source_of(stage) in left:
            left[stage.name] = f"goes on with `{source_of(stage)}`"
        else:
            found = pretrain if stage.kind == "pretrain" else tuning
            works[stage.name] = found(stage, recipe, works, rate, vocabulary, tokens)
    return list(works.values()), left


def config_of(stage: Stage) -> Any:
    """The stage's settings, checked."""
    from dodam.cli import load

    return build(load(stage.kind)[0], stage.values(), f"stage `{stage.name}`")


def source_of(stage: Stage) -> str:
    """The earlier stage whose model it goes on with; empty where it is none."""
    found = REFERENCE.fullmatch(str(stage.config.get("model") or ""))
    return found[1] if found else ""


def pretrain(
    stage: Stage, recipe: Recipe, works: dict[str, Work], rate: float, vocabulary: int, tokens: float | None
) -> Work:
    """As `stages/pretrain.py` chooses; a budget's depth is that of endless text."""
    from dodam.models.build import flops_per_token, num_parameters
    from dodam.stages import architecture
    from dodam.stages.pretrain import DEFAULT_CONTEXT, DEFAULT_DEPTH
    from dodam.train import budget

    config = config_of(stage)
    known = sizes_of(stage, works)
    context = config.context or min(known.context if known else DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    ids = vocabulary_of(stage, recipe, vocabulary)

    def shape(depth: int) -> "Sizes":
        return known or architecture.sizes(config, ids, context, depth)

    depth = config.depth or DEFAULT_DEPTH[config.architecture]
    if config.budget is not None and config.depth is None and known is None:
        endless = budget.Corpus(float("inf"), BYTES_A_TOKEN)
        depth = budget.best_depth(seconds(config.budget), endless, context, shape, {depth: rate})
    sizes = shape(depth)
    if config.batch:
        batch = config.batch
    elif config.steps:
        batch = budget.rows_of_steps(config.steps, context)
    else:
        read = tokens or TOKENS_A_PARAMETER * num_parameters(sizes)
        if config.budget is not None:
            read = seconds(config.budget) * rate / flops_per_token(sizes, context)
        batch = budget.rows_per_step(read, context)
    return work(stage, config, sizes, context, batch, tokens)


def tuning(
    stage: Stage, recipe: Recipe, works: dict[str, Work], rate: float, vocabulary: int, tokens: float | None
) -> Work:
    """As `stages/sft.py` chooses; rows count as full."""
    from dodam.models.build import num_parameters
    from dodam.stages.sft import rows_per_step

    config, sizes = config_of(stage), sizes_of(stage, works)
    assert sizes is not None, "sft has a model"
    context = min(config.context or sizes.context, sizes.context)
    return work(stage, config, sizes, context, config.batch or rows_per_step(num_parameters(sizes), context), tokens)


def work(stage: Stage, config: Any, sizes: "Sizes", context: int, batch: int, tokens: float | None) -> Work:
    if config.steps is not None:
        tokens = config.steps * batch * context
    return Work(
        name=stage.name,
        sizes=sizes,
        context=context,
        batch=batch,
        microbatch=config.microbatch,
        recompute=config.recompute,
        tokens=None if config.budget else tokens,
        seconds=seconds(config.budget) if config.budget else None,
        frozen=partly_frozen(config, sizes, stage.name),
    )


def sizes_of(stage: Stage, works: dict[str, Work]) -> "Sizes | None":
    """The sizes of the model a stage goes on with; None where its weights are fresh."""
    model = stage.config.get("model")
    if not model:
        return None
    if source_of(stage) in works:
        return works[source_of(stage)].sizes
    from dodam.exchange.families import family_of
    from dodam.files import read_json
    from dodam.folder import model_path

    file = model_path(stage.values()["model"]) / "config.json"
    values = read_json(file)
    return family_of(values.get("model_type"), str(file)).from_theirs(values)


def vocabulary_of(stage: Stage, recipe: Recipe, otherwise: int) -> int:
    """Of the tokenizer that a stage reads with, `otherwise` where that will depend on the text."""
    named = stage.config.get("tokenizer")
    found = REFERENCE.fullmatch(str(named or ""))
    if found:
        trained = next(one for one in recipe.stages if one.name == found[1])
        return trained.config.get("vocabulary") or otherwise
    if named:
        from dodam.tokenizer.tokenizer import Tokenizer

        return Tokenizer.load(Path(named)).size
    return otherwise


def partly_frozen(config: Any, sizes: "Sizes", name: str) -> "nn.Module | None":
    """The model without memory, with its adapter and what is frozen; None where everything is trained."""
    if not (config.lora.rank or config.freeze):
        return None
    from dodam.models.build import MODELS, outline
    from dodam.nn import lora

    if config.lora.dora or config.lora.quantize != "none":
        what = "DoRA and 4 bits are not reckoned yet"
        raise UsageError(what, where=f"stage `{name}`", mend="Plan it with --set NAME.lora.dora=false or without nf4.")
    model = outline(MODELS[type(sizes)], sizes)
    wanted = config.lora
    targets: Any = wanted.targets[0] if wanted.targets in (("all",), ("attention",)) else wanted.targets
    try:
        if wanted.rank:
            lora.add_lora(model, lora.LoraConfig(rank=wanted.rank, targets=targets), 0)
        lora.freeze(model, config.freeze)
    except ValueError as error:
        raise UsageError(str(error), where=f"stage `{name}`") from None
    return model


def shape_of(config: Any, depth: int) -> "Sizes":
    """Sizes from the flags of `plan`, which are those of `pretrain`. UsageError when they do not go together."""
    from dodam.stages import architecture

    try:
        return architecture.sizes(config, config.vocabulary, config.context, depth)
    except UsageError as error:
        raise UsageError(error.what, where="plan") from None


def with_parameters(config: Any, wanted: float) -> "Sizes":
    """Sizes with about so many parameters: the depth that comes nearest, its feed-forward made to fit."""
    from dodam.models.build import num_parameters
    from dodam.plan.fit import deepest

    def count(depth: int) -> int:
        return num_parameters(shape_of(config, depth))

    if count(1) > wanted:
        what = f"one block with {config.vocabulary:,} tokens has {count(1):,} parameters"
        raise UsageError(what, where="--parameters", mend="Give a smaller --vocabulary.")
    below = deepest(
        lambda depth: shape_of(config, depth), lambda sizes: num_parameters(sizes) <= wanted, "--parameters"
    )
    if config.feedforward_size:
        return below
    wider: Sizes = replace(below, feedforward_size=below.feedforward_size + 64)
    more = 64 * round((wanted - num_parameters(below)) / (num_parameters(wider) - num_parameters(below)))
    return replace(below, feedforward_size=below.feedforward_size + more)
