"""Stage `seq2seq`: pairs of texts -> a model that writes the second for the first: a translator, a summariser.

What it reads: pairs, line-aligned or in rows, and with `--model` an encoder-decoder to go on with. What it writes: a
run folder with the model, and a report of how it translates held-back pairs: BLEU, chrF, ROUGE-L, attention.png.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Lt

from dodam import files, ranks
from dodam.errors import DataError, UsageError
from dodam.stages import compiling, parts, run_folder, training
from dodam.stages.parallel import NOT_TOGETHER
from dodam.stages.start import encoder_decoder_rates, load_start
from dodam.stages.training import Setup, Training

if TYPE_CHECKING:
    from dodam.data.pairs import EncodedPair, Pair, PairBatch, PairLoader
    from dodam.folder import LoadedModel
    from dodam.machine import Machine
    from dodam.models.encoder_decoder import EncoderDecoder
    from dodam.tokenizer.tokenizer import Tokenizer
    from dodam.train.loop import LoopConfig
    from dodam.train.objective import Objective

DEFAULT_CONTEXT = 512
DEFAULT_DEPTH = 3
DEFAULT_EPOCHS = 10.0
DEFAULT_VALIDATION = 0.01
MOST_EPOCHS = 60  # under a budget: pairs bear more passes than running text, with dropout and smoothing
SHOWN, SHOWN_TOKENS = 4, 96  # held-back pairs in samples.md, and most tokens of what is written for one
VALIDATION_TOKENS = 32_768  # of both sides, read at every validation
REPORT_SHARE = 0.05  # of a budget
OF_FRESH = ("tokenizer", "depth", "decoder_depth", "width", "heads", "feedforward_size")  # what a --model has itself


@dataclass(frozen=True, kw_only=True)
class Seq2seq(Training):
    """Learn to translate or summarise, from pairs of texts."""

    UNSHARED: ClassVar = {"shard": "an encoder-decoder is not sharded", **NOT_TOGETHER}

    data: tuple[str, ...]
    """Pairs: line-aligned files as a.en:b.de, or JSONL, JSON, CSV/TSV or Parquet files, folders, globs."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold what, when they cannot be found out: source=en target=de."""
    dev: tuple[str, ...] = ()
    """Pairs to measure on, read in the same way. Default: a share of the data is held back."""
    validation: Annotated[float, Gt(0), Lt(0.5)] | None = None
    """Share of the pairs held back where there is no --dev. Default: 0.01."""
    model: Path | None = None
    """Go on with this encoder-decoder, ours or an imported one, and its tokenizer; else the weights are fresh."""
    tokenizer: Path | None = None
    """A tokenizer folder for both sides. Default: one is trained on the pairs, and said so."""
    depth: Annotated[int, Gt(0)] | None = None
    """Blocks of either side; sets all other sizes that are not given. Default: 3."""
    decoder_depth: Annotated[int, Gt(0)] | None = None
    """Blocks of the side that writes. Default: as many as of the side that reads."""
    width: Annotated[int, Gt(0)] | None = None
    """Width of the stream. Default: 85 per block, as a multiple of 64."""
    heads: Annotated[int, Gt(0)] | None = None
    """Attention heads. Default: one per 64 of width."""
    feedforward_size: Annotated[int, Gt(0)] | None = None
    """Width of the feed-forward. Default: four times the width."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of what each part adds, and of embeddings, that is dropped while training."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of each label's probability that is spread over the whole vocabulary."""
    r_drop: Annotated[float, Ge(0)] = 0.0
    """Read every pair twice, with other things dropped, and weigh by this how far what is said of both is apart: 5
    helps where there are few pairs, at twice the work."""
    bpe_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the tokenizer's merges dropped by chance whenever a pair is read, so that words are seen in other pieces
    each time: 0.1 helps where there are few pairs."""
    batch_tokens: Annotated[int, Gt(0)] = 4096
    """A step reads as many pairs as fit: pairs times the longest side among them. --batch limits the pairs too."""
    epochs: Annotated[float, Gt(0)] | None = None
    """Passes over the pairs, when neither --steps nor --budget is given. Default: 10."""
    warmup: Annotated[float, Ge(0), Lt(0.5)] = 0.05
    """Share of the run in which the learning rate rises."""
    report_pairs: Annotated[int, Ge(0)] = 500
    """Held-back pairs the finished model translates for the report; 0 writes none."""
    beams: Annotated[int, Gt(0)] = 4
    """Hypotheses followed side by side in the report; 1 takes the likeliest token each time."""
    length_penalty: float = 1.0
    """In the report a hypothesis is scored by its log-probability / length ** length_penalty."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out pairs that cannot be used, and count them, instead of stopping at the first."""


def run(config: Seq2seq) -> dict[str, Any]:
    """Train, translate held-back pairs, and return what --json prints. See the file's head.

    Each part is done where it is not done yet, so a run stopped while it translated goes on there."""
    if config.dev and config.validation is not None:
        raise UsageError("--dev and --validation name the held-back pairs", mend="Give one of them.")
    if config.r_drop and not config.dropout:
        raise UsageError("nothing is dropped, so both readings are the same", where="--r-drop", mend="Give --dropout.")
    result = run_folder.open_run(config, "seq2seq") or train(config)
    from dodam.train import distributed

    return distributed.first(lambda: finish(config, result))


def finish(config: Seq2seq, result: dict[str, Any]) -> dict[str, Any]:
    """Complete the model folder, measure what it translates, and tell both."""
    complete_generation(config)
    return {**result, **report(config)}


def train(config: Seq2seq) -> dict[str, Any]:
    """From pairs to the model folder."""
    from dodam.data.pairs import PairLoader
    from dodam.folder import LoadedModel
    from dodam.generate.translate import translate
    from dodam.nn.dropout import set_dropout
    from dodam.stages.validation import evaluating
    from dodam.train import distributed
    from dodam.train.optim import OptimConfig

    choices = run_folder.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    learned_pairs, held_pairs = read(config)
    loaded = load_start(config, config.model, OF_FRESH, ("encoder-decoder",), machine)
    tokenizer = loaded.tokenizer if loaded else distributed.in_turn(lambda: find_tokenizer(config, learned_pairs))
    context = context_of(config, loaded)
    model: EncoderDecoder = loaded.model if loaded else fresh(config, tokenizer, context).to(machine.device)
    learned_pairs, learned = encoded(config, tokenizer, learned_pairs, context)
    if not learned:
        mend = "Check --context and the files."
        raise DataError("no pair can be learned from", where=", ".join(config.data), mend=mend)
    _, held_back = encoded(config, tokenizer, held_pairs, context)
    framing = {"pad": tokenizer.pad, "start": model.config.start_id, "batch_tokens": config.batch_tokens}
    recut = recutting_of(config, tokenizer, learned_pairs, learned, context)
    loader = PairLoader(learned, **framing, seed=config.seed, most_pairs=config.batch, recut=recut)
    held = PairLoader(held_back, **framing, seed=config.seed)
    run_folder.same_data(config, choices, loader.fingerprint + held.fingerprint)
    if not choices:
        choices = distributed.first(lambda: choose(config, machine, model, loader))
        choices |= {"data": loader.fingerprint + held.fingerprint}
    tell(loader, held)
    set_dropout(model, config.dropout)
    factors = parts.choose_parts(config, model)
    shown = (held_pairs or learned_pairs)[:SHOWN]
    writer = LoadedModel(model, tokenizer, loaded.generation if loaded else {}, {}, config.out)

    def batches(step: int) -> "list[PairBatch]":
        batch = loader.batch(step)
        parts = batch.split(-(-len(batch.labels_BT) // ranks.replicas()))
        mine = parts[ranks.replica() : ranks.replica() + 1]  # none, where a step has fewer pairs than there are ranks
        return [part for one in mine for part in (one.split(config.microbatch) if config.microbatch else [one])]

    def sample(_: Any) -> str:
        with evaluating(model):
            written = translate(writer, [pair.source for pair in shown], beams=1, max_tokens=SHOWN_TOKENS)
        texts = zip(shown, written, strict=True)
        return "\n\n".join(f"> {pair.source}\n>\n> **{text}**\n>\n> {pair.target}" for pair, text in texts)

    setup = Setup(
        model=model.train(),
        tokenizer=tokenizer,
        batches=batches,
        objective=objective_of(config, machine, compiled=choices["compiled"]),
        optim=OptimConfig(**choices["optim"]),
        loop=bounds(config, choices, loader),
        validate=(lambda model: target_loss(model, held, machine)) if held_back else None,
        unit="nats per target token",
        sample=sample,
        chat_template=None,
        card=card_of(config, loaded, tokenizer, loader),
        factors=factors,
    )
    return training.train_run(config, "seq2seq", setup, choices)


def objective_of(config: Seq2seq, machine: "Machine", *, compiled: bool) -> "Objective":
    """What is minimised."""
    from dodam.train.label_smoothing import SmoothedCrossEntropy
    from dodam.train.r_drop import RDropCrossEntropy

    if config.r_drop:
        return RDropCrossEntropy(config.r_drop, config.label_smoothing, machine.torch_dtype, compiled)
    return SmoothedCrossEntropy(config.label_smoothing, machine.torch_dtype, compiled)


def card_of(
    config: Seq2seq, loaded: "LoadedModel[EncoderDecoder] | None", tokenizer: "Tokenizer", loader: "PairLoader"
) -> dict[str, Any]:
    """What the model card tells of what was read."""
    return {
        "base": str(config.model or ""),
        "base lineage": loaded.info.get("lineage", {}) if loaded else {},
        "data": list(config.data),
        "tokenizer": tokenizer.fingerprint,
        "pairs": len(loader.pairs),
        "positions padded": round(loader.wasted, 6),
    }


def read(config: Seq2seq) -> "tuple[list[Pair], list[Pair]]":
    """Pairs to learn from, and those held back."""
    from dodam.data.pairs import is_held_back, pairs_of

    reading = {"columns": config.columns, "encoding": config.encoding, "skip_bad": config.skip_bad}
    pairs = pairs_of(config.data, **reading)
    if config.dev:
        return pairs, pairs_of(config.dev, **reading)
    share = config.validation or DEFAULT_VALIDATION
    held_back = [pair for pair in pairs if is_held_back(pair, share)]
    return [pair for pair in pairs if not is_held_back(pair, share)], held_back


def context_of(config: Seq2seq, loaded: "LoadedModel[EncoderDecoder] | None") -> int:
    """Most tokens of a side. UsageError when the model to go on with has fewer positions."""
    if loaded is None:
        return config.context or DEFAULT_CONTEXT
    most = loaded.model.config.context
    if config.context and config.context > most:
        raise UsageError(f"the model has {most} positions", where="--context")
    return config.context or most


def find_tokenizer(config: Seq2seq, pairs: "list[Pair]") -> "Tokenizer":
    """The one named, else a new one for both sides, in OUT/tokenizer; with its framing for other programs."""
    from dodam.data.pairs import framed_tokenizer
    from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer, encodable
    from dodam.tokenizer.train import BY_BYTES, fill_up, learn

    folder = config.tokenizer or config.out / "tokenizer"
    if config.tokenizer is None and not (folder / "tokenizer.json").is_file():
        print(f"seq2seq: no --tokenizer, so one is trained on both sides with defaults, in {folder}.", file=sys.stderr)
        texts = [encodable(text) for pair in pairs for text in (pair.source, pair.target)]
        num_bytes = sum(len(text.encode()) for text in texts)
        vocabulary = next(size for limit, size in BY_BYTES if num_bytes < limit)
        raw = learn(texts, vocabulary, SPECIAL_TOKENS)
        fill_up(raw, vocabulary)
        with files.new_dir(folder) as new:
            Tokenizer(raw.to_str(pretty=True)).save(new)
    return framed_tokenizer(Tokenizer.load(folder))


def fresh(config: Seq2seq, tokenizer: "Tokenizer", context: int) -> "EncoderDecoder":
    """A model with fresh weights; its targets begin with <bos>. UsageError when the sizes do not fit together."""
    from dodam.models.encoder_decoder import build_encoder_decoder, encoder_decoder_config

    try:
        sizes = encoder_decoder_config(
            vocabulary=tokenizer.size, context=context, start_id=tokenizer.bos, depth=config.depth or DEFAULT_DEPTH,
            decoder_depth=config.decoder_depth, width=config.width, heads=config.heads,
            feedforward_size=config.feedforward_size,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error), where="seq2seq") from None
    return build_encoder_decoder(sizes, config.seed)


def encoded(
    config: Seq2seq, tokenizer: "Tokenizer", pairs: "list[Pair]", context: int
) -> "tuple[list[Pair], list[EncodedPair]]":
    """Those pairs of which both sides fit the context, as texts and as ids; the others are counted."""
    from dodam.data.pairs import encode_pairs

    found = zip(pairs, encode_pairs(tokenizer, pairs, context), strict=True)
    fitting = [(pair, ids) for pair, ids in found if ids is not None]
    if too_long := len(pairs) - len(fitting):
        print(f"seq2seq: left out: {too_long:,} pairs with a side of more than {context} tokens.", file=sys.stderr)
    return [pair for pair, _ in fitting], [ids for _, ids in fitting]


def recutting_of(
    config: Seq2seq, tokenizer: "Tokenizer", pairs: "list[Pair]", encoded: "list[EncodedPair]", context: int
) -> "Callable[[int, int], EncodedPair] | None":
    """How pairs are cut anew for each pass, if they are. UsageError for a tokenizer that cannot."""
    from dodam.data.pairs import recutting

    if not config.bpe_dropout:
        return None
    try:
        return recutting(tokenizer, pairs, encoded, context, config.bpe_dropout, config.seed)
    except ValueError as error:
        raise UsageError(str(error), where="--bpe-dropout", mend="Leave the flag out.") from None


def tell(loader: "PairLoader", held: "PairLoader") -> None:
    """How much there is to read, and how much of it is padding."""
    print(
        f"seq2seq: {len(loader.pairs):,} pairs to learn from, {len(held.pairs):,} held back; "
        f"{loader.batches_per_epoch:,} steps a pass, {loader.wasted:.1%} of the positions padded.",
        file=sys.stderr,
    )
    if not held.pairs:
        mend = "More pairs, a larger --validation or --dev mend that."
        print(f"seq2seq: no pair is held back, so nothing is measured. {mend}", file=sys.stderr)


def choose(config: Seq2seq, machine: "Machine", model: "EncoderDecoder", loader: "PairLoader") -> dict[str, Any]:
    """All that a run is begun with; saved at step 0."""
    if sum(value is not None for value in (config.steps, config.budget, config.epochs)) > 1:
        raise UsageError("--steps, --budget and --epochs bound the same run", mend="Give one of them.")
    epochs = config.epochs or DEFAULT_EPOCHS
    seconds = training.seconds_left(config) * (1 - REPORT_SHARE) if config.budget is not None else None
    steps = config.steps or max(1, round(epochs * loader.batches_per_epoch))
    # Of a position of either side about half of the weights; only the loss is compiled, as lengths differ.
    flops = 3.0 * sum(weight.numel() for weight in model.parameters()) * steps * 2 * config.batch_tokens
    return {
        "machine": machine.to_dict(),
        "steps": steps,
        "seconds": seconds,
        "compiled": compiling.worth_compiling(config.compile, machine, flops),
        "optim": encoder_decoder_rates(config, model, fresh=config.model is None),
    }


def bounds(config: Seq2seq, choices: dict[str, Any], loader: "PairLoader") -> "LoopConfig":
    """Steps or seconds, and how often to look up; under a budget no more than `MOST_EPOCHS`."""
    loop = training.loop_bounds(config, choices, loader.batches_per_epoch)
    return loop if config.budget is None else replace(loop, steps=MOST_EPOCHS * loader.batches_per_epoch)


def target_loss(model: "EncoderDecoder", held: "PairLoader", machine: "Machine") -> float:
    """Mean cross-entropy (nats) of held-back target tokens, not smoothed. The same pairs at every call."""
    from dodam.stages.validation import evaluating
    from dodam.train.label_smoothing import SmoothedCrossEntropy

    objective = SmoothedCrossEntropy(0.0, machine.torch_dtype)
    total, weight, read = 0.0, 0.0, 0
    with evaluating(model):
        for step in range(held.batches_per_epoch):
            batch = held.batch(step).to(machine.device)
            total += float(objective(model, batch))
            weight += objective.weight(batch)
            read += batch.num_tokens
            if read >= VALIDATION_TOKENS:
                break
    return total / weight


def complete_generation(config: Seq2seq) -> None:
    """Tell other programs in generation_config.json how targets begin and are searched for, as we do it ourselves."""
    file = config.out / "model" / "generation_config.json"
    values, model = files.read_json(file), files.read_json(config.out / "model" / "config.json")
    start, ends = model["decoder_start_token_id"], values["eos_token_id"]
    wanted = {
        "decoder_start_token_id": start,
        "suppress_tokens": sorted({values.get("pad_token_id", start), start} - {ends}),
        "num_beams": config.beams,
        "length_penalty": config.length_penalty,
        "max_length": model.get("max_position_embeddings") or model["n_positions"],  # T5 has the second
    }
    if values | wanted != values:
        files.write_json(file, values | wanted)


def report(config: Seq2seq) -> dict[str, float]:
    """Translate held-back pairs with the finished model and write the report, unless it is there; returns the
    scores."""
    from dodam.data.pairs import pairs_of
    from dodam.evaluate import alignment, translation
    from dodam.evaluate.report import shown
    from dodam.folder import load
    from dodam.generate.translate import translate

    file = config.out / "report.json"
    if not file.is_file():
        reading = {"columns": config.columns, "encoding": config.encoding, "skip_bad": config.skip_bad}
        pairs = pairs_of(config.dev, **reading) if config.dev else read(config)[1]
        pairs = pairs[: config.report_pairs]
        if not pairs:
            return {}
        machine = training.machine_for(config, {})
        loaded = load(config.out, ("encoder-decoder",), device=machine.device)
        begun = time.perf_counter()
        decoding = {"beams": config.beams, "length_penalty": config.length_penalty}
        given = translate(loaded, [pair.source for pair in pairs], **decoding)
        seconds = time.perf_counter() - begun
        looked = alignment.draw(loaded, pairs[0].source, pairs[0].target, config.out / "attention.png")
        for row in translation.write(
            config.out, loaded.path, pairs, given, decoding=decoding, seconds=seconds, seed=config.seed,
            alignment=alignment.table(looked),
        ):  # fmt: skip
            told = f"{row['metric']} {shown(row)} on {row['n']} held-back pairs"
            print(f"seq2seq: {told}{row['signature'] and ', ' + row['signature']}", file=sys.stderr)
    return {row["metric"]: row["value"] for row in files.read_json(file)["rows"]}
