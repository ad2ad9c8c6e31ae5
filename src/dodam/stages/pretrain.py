"""Stage `pretrain`: a data folder -> a language model that predicts the next token, or what was hidden or dropped.

What it reads: token shards of the data folder (made here for the tokenizer, if they are not there yet), and with
`--model` the model to go on with. What it writes: a run folder with the model. `--budget` chooses size, batch and steps
for the best model this data and this machine give in that time; `--depth --steps` fix them.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from dodam import files
from dodam.errors import DataError, UsageError
from dodam.stages import compiling, dial, expected, parts, run_folder, training
from dodam.stages.architecture import build, check_architecture, kinds, row_length, sizes
from dodam.stages.parallel import is_sharded, is_spread
from dodam.stages.start import encoder_decoder_rates, load_start
from dodam.stages.training import Setup, Training

if TYPE_CHECKING:
    import torch

    from dodam.data.batch import TokenBatch
    from dodam.data.mixture import Mixture
    from dodam.data.pairs import PairBatch
    from dodam.data.shards import Shards, TokenFile
    from dodam.folder import LoadedModel
    from dodam.machine import Machine
    from dodam.models.build import Sizes
    from dodam.tokenizer.tokenizer import Tokenizer
    from dodam.train.budget import Corpus
    from dodam.train.objective import Objective

DEFAULT_CONTEXT = 512
DEFAULT_DEPTH = {"decoder": 6, "encoder": 6, "encoder-decoder": 3}
CONTINUED_RATE = 0.3  # of the learning rates that fresh weights have
FEW_TOKENS = 500_000  # some 2 MB of text
# What a --model has itself.
OF_FRESH = (
    "tokenizer", "family", "depth", "decoder_depth", "width", "heads", "kv_heads", "feedforward_size", "tied",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pretrain(Training):
    """Train a language model on a data folder, from nothing or from a model."""

    data: Path
    """A data folder, as `dodam prepare` writes it."""
    tokenizer: Path | None = None
    """A tokenizer folder. Default: the one the data folder was prepared with, else one is trained and said so."""
    model: Path | None = None
    """Go on with this model, ours or an imported one, with its tokenizer; without it the weights are fresh."""
    architecture: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    """Which Transformer: decoder (GPT), which writes; encoder (BERT), which fills in masks and reads to both sides; or
    encoder-decoder (T5), which reads a text and writes what was dropped from it. A --model keeps its own."""
    family: Literal["modernbert", "bert"] | None = None
    """Layout of a fresh encoder: modernbert (rotary positions, gated, norms before each part; the default), or bert."""
    masking: Literal["token", "word", "eojeol"] | None = None
    """What an encoder's masks hide together: tokens, words, or all that stands between two spaces. Default: eojeol."""
    mask_share: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the tokens an encoder has to tell. Default: 0.15."""
    drop_share: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the tokens that are dropped for an encoder-decoder to write. Default: 0.15."""
    span_length: Annotated[float, Ge(1)] | None = None
    """How many tokens are dropped side by side, on the average. Default: 3."""
    depth: Annotated[int, Gt(0)] | None = None
    """Blocks, of either side where there are two; sets all other sizes that are not given."""
    decoder_depth: Annotated[int, Gt(0)] | None = None
    """Blocks of the side of an encoder-decoder that writes. Default: as many as of the side that reads."""
    width: Annotated[int, Gt(0)] | None = None
    """Width of the stream. Default: 48 per block, as a multiple of 64; an encoder's 64, an encoder-decoder's 85."""
    heads: Annotated[int, Gt(0)] | None = None
    """Query heads. Default: one per 64 of width."""
    kv_heads: Annotated[int, Gt(0)] | None = None
    """Key/value heads of a decoder, a divisor of heads. Default: half of them."""
    feedforward_size: Annotated[int, Gt(0)] | None = None
    """Width of the feed-forward. Default: 8/3 of the width; 4 times where there is an encoder."""
    tied: bool = False
    """Share one table between embedding and head: smaller, learns more slowly. Where there is an encoder it is so."""
    document_mask: bool = False
    """Keep attention within each document."""
    packing: Literal["concatenate", "best-fit"] | None = None
    """How documents become rows: concatenate, one after another, so that a row's end may cut any; or best-fit, each
    whole in one row where it fits, and padding in what is left of a row. Default: concatenate."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model learns from rows of text, and how that is measured and shown."""

    batch: "Callable[[int, int], TokenBatch | PairBatch]"
    """From the number of the first row and how many they are."""
    objective: "Callable[[bool], Objective]"
    """From whether it is to be compiled."""
    validate: Callable[[Any], float] | None
    unit: str
    sample: Callable[[Any], str]
    card: dict[str, Any] = field(default_factory=dict)
    result: Callable[[Any], dict[str, Any]] = lambda model: {}
    """What --json prints besides what it prints of every stage."""
    save: Callable[[Any, Path, dict[str, Any], str], object] | None = None
    """Writes a model into a folder, with what dodam.json tells and the card, where that is not as usual."""


def run(config: Pretrain) -> dict[str, Any]:
    """Train and return what --json prints. See the file's head."""
    done = run_folder.open_run(config, "pretrain")
    if done:
        return done
    from dodam.data.shards import bytes_a_token, ensure_shards
    from dodam.train import distributed, scaling
    from dodam.train.budget import Corpus
    from dodam.train.optim import OptimConfig

    choices = run_folder.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    loaded = load_start(config, config.model, OF_FRESH, kinds(config), machine)
    architecture = check_architecture(config, loaded)
    tokenizer = loaded.tokenizer if loaded else distributed.in_turn(lambda: find_tokenizer(config))
    context = choices["context"] if choices else context_of(config, loaded)
    length = row_length(config, architecture, tokenizer, context)
    shards = distributed.in_turn(lambda: ensure_shards(config.data, tokenizer))

    def shape(depth: int) -> "Sizes":
        return loaded.model.config if loaded else sizes(config, tokenizer.size, context, depth, tokenizer.bos)

    load = partial(loader, config, tokenizer, length, causal=architecture != "encoder")
    sources = shards.split("train")
    rows = load(sources)
    held_back = held_back_rows(load, shards, length)
    run_folder.same_data(config, choices, shards.fingerprint)
    task = task_of(architecture, loaded)(config, tokenizer, rows, held_back, machine.torch_dtype)
    if not choices:
        tell_rows(rows)
        corpus = Corpus(rows.rows_per_epoch * length, bytes_a_token(sources))
        choices = distributed.first(lambda: choose(config, machine, rows, corpus, shape, loaded, task))
        choices |= {"context": context, "data": shards.fingerprint}
        if loaded is None and held_back and architecture == "decoder":
            choices |= expected.expect(choices, shape(choices["depth"]), corpus, rows, tokenizer)
    batch, microbatch = choices["batch"], config.microbatch or choices["batch"]
    mine, count = distributed.share(batch)
    fill = fresh_parts(config, architecture, loaded)
    sized = shape(choices["depth"])
    model = loaded.model.train() if loaded else fresh_model(config, sized, machine, empty=fill is not None)
    factors = parts.choose_parts(config, model)
    if choices["compiled"] and not is_spread(config):
        compiling.compile_blocks(model)

    def batches(step: int) -> "Sequence[TokenBatch | PairBatch]":
        rows.locate((step + 1) * batch - 1)  # all of the step has to be there, or all ranks stop at it
        return task.batch(step * batch + mine, count).split(microbatch)

    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        objective=task.objective(choices["compiled"]),
        optim=OptimConfig(**choices["optim"]),
        loop=training.loop_bounds(config, choices, rows.rows_per_epoch / batch),
        validate=task.validate,
        unit=task.unit,
        sample=task.sample,
        chat_template=tokenizer.chat_template,
        card=card_of(config, loaded, tokenizer, rows) | task.card,
        factors=factors,
        fill=fill,
        save=partial(task.save, model) if task.save else None,
        expected=partial(scaling.expected, choices["expected"]) if "expected" in choices else None,
        nothing=math.log(tokenizer.size) if loaded and architecture == "decoder" else None,
        result=lambda: {"padded": round(rows.padded, 6)} if config.packing == "best-fit" else {},
    )
    result = training.train_run(config, "pretrain", setup, choices)
    result = distributed.first(lambda: with_more(config, result, task.result(model)))
    if config.budget is not None:
        tell_how_to_repeat(choices, result, fresh=loaded is None)
    return result


def with_more(config: Pretrain, result: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The result with what a task tells besides; written again where that is anything."""
    if more:
        files.write_json(config.out / "result.json", result | more)
    return result | more


def fresh_parts(config: Pretrain, architecture: str, loaded: "LoadedModel | None") -> Callable[[Any], object] | None:
    """What fills the ranks' parts of a fresh decoder that no rank ever has whole; None where each builds all of it."""
    from dodam.models.build import initialize
    from dodam.train.pieces import put_part

    changed = config.freeze or config.lora.rank
    if loaded or architecture != "decoder" or changed or not is_sharded(config):
        return None
    return partial(initialize, seed=config.seed, put=put_part)


def fresh_model(config: Pretrain, sizes: "Sizes", machine: "Machine", *, empty: bool) -> Any:
    """A model of these sizes; without memory where it is `empty`, for its parts to be filled."""
    from dodam.models.build import outline_decoder

    return outline_decoder(sizes) if empty else build(sizes, config.seed).to(machine.device)


def tell_how_to_repeat(choices: dict[str, Any], result: dict[str, Any], *, fresh: bool) -> None:
    """What was chosen for a budget, as flags."""
    depth = [f"--depth {choices['depth']}"] if fresh else []
    same = [*depth, f"--batch {choices['batch']}", f"--steps {result['steps']}"]
    print(f"pretrain: to repeat it: {' '.join(same)}", file=sys.stderr)


def card_of(config: Pretrain, loaded: "LoadedModel | None", tokenizer: "Tokenizer", rows: "Mixture") -> dict[str, Any]:
    """What the model card tells of what was read."""
    return {
        "base": str(config.model or ""),
        "base lineage": loaded.info.get("lineage", {}) if loaded else {},
        "data": str(config.data),
        "tokenizer": tokenizer.fingerprint,
        "tokens in the data": rows.tokens_per_epoch,
        **rows.card,
    }


def task_of(architecture: str, loaded: "LoadedModel | None") -> Callable[..., Task]:
    """What models of an architecture learn; the one to go on with knows what its targets begin with."""
    if architecture == "encoder":
        from dodam.stages.masked import masked_task

        return masked_task
    if architecture == "encoder-decoder":
        from dodam.stages.corrupted import corrupted_task

        return partial(corrupted_task, start=loaded.model.config.start_id) if loaded else corrupted_task
    return causal_task


def causal_task(
    config: Pretrain, tokenizer: "Tokenizer", rows: "Mixture", held_back: "Mixture | None", dtype: "torch.dtype"
) -> Task:
    """Predicting each next token, measured in bits per byte of held-back text."""
    from dodam.stages.validation import bits_per_byte, continuations, next_tokens
    from dodam.train.objective import TokenCrossEntropy

    def validate(model: Any) -> float:
        assert held_back is not None
        return bits_per_byte(model, tokenizer, held_back, dtype, document_mask=config.document_mask)

    return Task(
        batch=partial(next_tokens, rows, document_mask=config.document_mask, bos=tokenizer.bos),
        objective=partial(TokenCrossEntropy, dtype),
        validate=validate if held_back else None,
        unit="bits per byte",
        sample=lambda model: continuations(model, tokenizer, held_back or rows),
    )


def context_of(config: Pretrain, loaded: "LoadedModel | None") -> int:
    """Tokens the model reads. UsageError when the model to go on with cannot look back so far."""
    if loaded is None:
        return config.context or DEFAULT_CONTEXT
    most = loaded.model.config.context
    if config.context and config.context > most:
        raise UsageError(f"the model looks back on {most} tokens at most", where="--context")
    return config.context or min(most, DEFAULT_CONTEXT)


def loader(
    config: Pretrain, tokenizer: "Tokenizer", length: int, sources: "Sequence[TokenFile]", *, causal: bool
) -> "Mixture":
    """Rows of the documents of some token files, as --packing says."""
    from dodam.data.best_fit import BestFitLoader
    from dodam.data.loader import RowLoader

    if config.packing == "best-fit":
        return BestFitLoader(sources, length, tokenizer.pad, config.seed, ahead=int(causal))
    return RowLoader(sources, length, config.seed)


def tell_rows(rows: "Mixture") -> None:
    """How many rows the text makes, how much of it they waste, and whether it is enough to learn from."""
    print(f"pretrain: {rows.rows_per_epoch:,} rows of {rows.context} tokens, {rows.told}.", file=sys.stderr)
    if rows.tokens_per_epoch < FEW_TOKENS:
        print(
            f"pretrain: {rows.tokens_per_epoch:,} tokens are very few; a model needs about {FEW_TOKENS:,} before what "
            "it writes makes sense. More text helps more than more time.",
            file=sys.stderr,
        )


def held_back_rows(load: "Callable[[Sequence[TokenFile]], Mixture]", shards: "Shards", length: int) -> "Mixture | None":
    """Rows of the text held back; None, which is said, when it is shorter than a row and nothing can be measured."""
    try:
        return load(shards.split("validation"))
    except DataError:
        print(
            f"pretrain: less than a row of {length} tokens is held back, so nothing is measured on it. "
            "More text, a larger share for `prepare --validation` or a shorter --context mend that.",
            file=sys.stderr,
        )
        return None


def find_tokenizer(config: Pretrain) -> "Tokenizer":
    """The one named, else the one the data folder has shards for, else a new one with defaults, in OUT/tokenizer."""
    from dodam.data.shards import tokenizers_of
    from dodam.tokenizer.tokenizer import Tokenizer
    from dodam.tokenizer.train import TokenizerTrain
    from dodam.tokenizer.train import run as train_tokenizer

    if config.tokenizer is not None:
        return Tokenizer.load(config.tokenizer)
    known = tokenizers_of(config.data)
    if len(known) > 1:
        what = f"the data folder has token shards of {len(known)} tokenizers"
        raise UsageError(what, where=str(config.data), mend="Name one with --tokenizer.")
    if known:
        return Tokenizer.load(known[0])
    folder = config.out / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        print(f"pretrain: no --tokenizer, so one is trained with defaults, in {folder}.", file=sys.stderr)
        train_tokenizer(TokenizerTrain(data=(str(config.data),), out=folder, seed=config.seed))
    return Tokenizer.load(folder)


def choose(
    config: Pretrain,
    machine: "Machine",
    rows: "Mixture",
    corpus: "Corpus",
    shape: "Callable[[int], Sizes]",
    loaded: "LoadedModel | None",
    task: Task,
) -> dict[str, Any]:
    """All that a run is begun with; saved at step 0. With --budget the time dial picks what was not given."""
    from dodam.models.build import flops_per_token
    from dodam.train import budget, distributed

    if config.budget is not None and config.steps is not None:
        raise UsageError("--steps and --budget bound the same run", mend="Give one of them.")
    length, fixed = rows.context, loaded.model.config.depth if loaded else config.depth
    if config.budget is None:
        depth, seconds = fixed or DEFAULT_DEPTH[config.architecture], None
        usual = (
            budget.rows_of_steps(config.steps, length) if config.steps else budget.rows_per_step(corpus.tokens, length)
        )
        batch = config.batch or distributed.divisible(usual)
        steps = config.steps or max(1, rows.rows_per_epoch // batch)
        flops, has_experts = flops_per_token(shape(depth), length), getattr(shape(depth), "experts", 0) > 0
        flops *= steps * batch * length
        compiled = compiling.worth_compiling(config.compile, machine, flops, experts=has_experts)
        if config.steps is None:
            print(f"pretrain: neither --steps nor --budget, so one pass over the data: {steps} steps.", file=sys.stderr)
    else:
        told, compiled = dial.turn(config, machine, corpus, length, shape, task, fixed)
        depth, batch, steps, seconds = told.depth, told.batch, told.steps, training.seconds_left(config)
        print(
            f"pretrain: in {config.budget} here: depth {depth}, {batch} rows a step, about {steps} steps "
            f"({told.tokens / 1e6:.1f}M tokens, {steps * batch / rows.rows_per_epoch:.1f} passes over the data).",
            file=sys.stderr,
        )
    return {
        "machine": machine.to_dict(),
        "depth": depth,
        "batch": batch,
        "steps": steps,
        "seconds": seconds,
        "compiled": compiled,
        "optim": rates(config, shape(depth), loaded),
    }


def rates(config: Pretrain, shape: "Sizes", loaded: "LoadedModel | None") -> dict[str, float]:
    """The optimisers' settings of this architecture, lower where a model is gone on with."""
    from dodam.models.encoder import EncoderConfig
    from dodam.models.encoder_decoder import EncoderDecoderConfig

    if isinstance(shape, EncoderConfig):
        from dodam.stages import masked

        return masked.learning_rates(config, loaded.model if loaded else None)
    if isinstance(shape, EncoderDecoderConfig):
        model = loaded.model if loaded else build(shape, config.seed)  # for the size of its weights
        return encoder_decoder_rates(config, model, fresh=loaded is None)
    if loaded is not None:
        return training.learning_rates(config, loaded.model, scale=CONTINUED_RATE)
    return training.learning_rates(config)
