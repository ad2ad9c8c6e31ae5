"""Stage `embed`: texts that mean the same -> a model that gives a text a vector, and a report of how well it does.

What it reads: pairs, triplets or texts alone, and an encoder or decoder to start from. What it writes: a run folder
with the model, report.json and report.md, measured on held-back pairs and on files with human scores.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt, MinLen

from dodam import files, ranks
from dodam.errors import DataError, UsageError
from dodam.stages import compiling, parts, run_folder, training
from dodam.stages.parallel import NOT_TOGETHER, is_sharded
from dodam.stages.training import Setup, Training

if TYPE_CHECKING:
    from dodam.data.triplets import Triplet, TripletLoader
    from dodam.evaluate.similarity import Scored
    from dodam.generate.embedder import Embedder
    from dodam.machine import Machine
    from dodam.train.contrastive import InfoNCE

DEFAULT_BATCH = 64
DEFAULT_CONTEXT = 128
DEFAULT_EPOCHS = 3.0
DEFAULT_VALIDATION = 0.1
TUNING_RATE = 0.25  # of pretraining's learning rates
VALIDATED = 1024  # held-back rows read at every validation
SAMPLES, NEIGHBOURS = 6, 64  # held-back texts in samples.md, and those that their nearest is looked for among
REPORT_SHARE = 0.05  # of a budget


@dataclass(frozen=True, kw_only=True)
class Embed(Training):
    """Teach a model vectors of texts, from texts that mean the same."""

    UNSHARED: ClassVar = NOT_TOGETHER

    data: Annotated[tuple[str, ...], MinLen(1)]
    """Pairs that mean the same, triplets, or texts alone: JSONL, JSON, CSV/TSV or Parquet files, folders, globs, or
    lines of text with tabs between."""
    model: Path
    """The encoder or decoder to start from, a model or run folder."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold what, by name or in a table by number from 1: text=asked text2=asked_again negative=other
    label=gold. With it only what is named is read."""
    dev: tuple[str, ...] = ()
    """Rows to measure on, in place of a part of --data."""
    validation: Annotated[float, Gt(0), Lt(1)] | None = None
    """Share of the rows that is held back to measure on, when there is no --dev. Default: 0.1."""
    sts: tuple[str, ...] = ()
    """Files with two texts and a human score a row, to measure on: sentence1, sentence2, score."""
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    """What the vector is made of: the mean of all tokens, the first, the last. auto: as the folder says, else mean for
    an encoder and last for a decoder."""
    temperature: Annotated[float, Gt(0)] = 0.05
    """What cosines are divided by; less looks at the hardest negatives more."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of embeddings, and of what each part of a block adds, that is dropped while training."""
    dimensions: tuple[Annotated[int, Gt(0)], ...] = ()
    """Train the first so many numbers of the vectors too, such as 128 64, so that they may be cut."""
    epochs: Annotated[float, Gt(0)] | None = None
    """Passes over the rows, when neither --steps nor --budget is given. Default: 3."""
    batch: Annotated[int, Gt(1)] | None = None
    """Rows per optimiser step; the other rows' texts are the negatives. Default: 64."""
    microbatch: Annotated[int, Gt(0)] | None = None
    """Texts whose activations are kept at one time; fewer need less memory and more time. Default: all of the batch."""
    context: Annotated[int, Ge(16)] | None = None
    """Tokens of a text; what is longer is cut. Default: 128, or what the model has where that is less."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, and count them, instead of stopping at the first."""


@dataclass(frozen=True)
class Data:
    """What is learned from, what is held back, and the files with human scores."""

    learned: "list[Triplet]"
    held_back: "list[Triplet]"
    scored: "list[Scored]"

    @property
    def triplets(self) -> "list[Triplet]":
        return [*self.learned, *self.held_back]


def run(config: Embed) -> dict[str, Any]:
    """Train, write how vectors are made into the folder, measure, and return what --json prints. See the file's head.

    Each part is done where it is not done yet, so a run stopped while it measured goes on there."""
    check_options(config)
    done = run_folder.open_run(config, "embed")
    if done and "report" in done:
        return done
    from dodam.train import distributed

    data = read(config)
    result = done or train(config, data)
    return distributed.first(lambda: finish(config, data, result))


def check_options(config: Embed) -> None:
    """UsageError for options that do not go together."""
    compiling.refuse_compiling(config, "texts")
    if config.parallel.shard == "full" and config.microbatch:
        what = "ranks that hold a part of the model each compute all their texts at one time"
        raise UsageError(what, where="--microbatch", mend="Leave it out, or --parallel.shard.")
    if sum(value is not None for value in (config.steps, config.budget, config.epochs)) > 1:
        raise UsageError("--steps, --budget and --epochs bound the same run", mend="Give one of them.")
    if config.dev and config.validation is not None:
        raise UsageError("--dev and --validation name the held-back rows", mend="Give one of them.")


def read(config: Embed) -> Data:
    """The rows, cut into what is learned and what is held back, and the human scores. DataError where nothing can be
    told apart."""
    from dodam.data.skipped import OR_SKIP, Skipped
    from dodam.data.triplets import read_triplets, split

    skipped = Skipped(config.skip_bad, OR_SKIP)
    reading = {"columns": config.columns, "encoding": config.encoding, "skipped": skipped}
    learned = read_triplets(config.data, **reading)
    if config.dev:
        held_back = read_triplets(config.dev, **reading)
        known = {one.anchor for one in learned}
        if num_known := sum(one.anchor in known for one in held_back):
            print(f"embed: {num_known} of {len(held_back)} rows of --dev have a text learned from.", file=sys.stderr)
    else:
        learned, held_back = split(learned, config.validation or DEFAULT_VALIDATION)
    if skipped.count:
        print(f"embed: {skipped}", file=sys.stderr)
    if len({one.anchor for one in learned}) < 2:
        what = f"a batch needs another row to tell a row from, and there are {len(learned)} of different texts"
        raise DataError(what, where=", ".join(config.data), mend="More rows, or a smaller --validation, mend that.")
    if config.dropout == 0 and all(one.alone for one in learned):
        what = "texts alone are told from each other by dropout"
        raise UsageError(what, where="--dropout", mend="Give one above 0, or pairs.")
    told = ", ".join(f"{count:,} {kind}" for kind, count in Counter(one.kind for one in learned).items())
    print(f"embed: {told} learned from, {len(held_back):,} held back.", file=sys.stderr)
    return Data(learned, held_back, read_scored(config))


def read_scored(config: Embed) -> "list[Scored]":
    """The files of --sts, one task a file, called by its name."""
    import numpy as np

    from dodam.data.labels import read_examples
    from dodam.evaluate.similarity import Scored

    found: dict[str, Scored] = {}
    for path in config.sts:
        examples = read_examples([path], "regression", encoding=config.encoding, skip_bad=config.skip_bad, pairs=True)
        scores = np.array([example.label for example in examples], dtype=np.float64)
        if len(set(scores.tolist())) < 2:
            raise DataError("all rows have one score, so nothing can go together with it", where=path)
        name = Path(path).name.partition(".")[0]
        name = f"{name}-{len(found) + 1}" if name in found else name
        found[name] = Scored(name, [one.text for one in examples], [str(one.text2) for one in examples], scores)
    return list(found.values())


def train(config: Embed, data: Data) -> dict[str, Any]:
    """From texts to the model folder, which does not say yet how its vectors are made."""
    from dodam.data.triplets import TripletLoader, distinct_texts, fingerprint
    from dodam.generate.classifier import encode_texts
    from dodam.models.heads import freeze_language_head
    from dodam.nn.dropout import set_dropout
    from dodam.train import distributed
    from dodam.train.contrastive import InfoNCE
    from dodam.train.optim import OptimConfig

    choices = run_folder.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    start, lineage = load_start(config, machine)
    model, tokenizer = start.model.train(), start.tokenizer
    digest = fingerprint(data.triplets) + tokenizer.fingerprint
    run_folder.same_data(config, choices, digest)
    context = choices["context"] if choices else context_of(config, start)
    texts = distinct_texts(data.triplets)
    encoded = encode_texts(tokenizer, [(text, None) for text in texts], context)
    if num_cut := sum(one.cut for one in encoded):
        print(f"embed: {num_cut} texts are longer than {context} tokens and were cut.", file=sys.stderr)
    ids = {text: one.ids for text, one in zip(texts, encoded, strict=True)}
    if not choices:
        choices = distributed.first(lambda: choose(config, machine, start, len(data.learned), context))
        choices |= {"data": digest}
    distributed.share(choices["batch"])  # which the ranks have to divide, though what they share is its texts
    rows = TripletLoader(data.learned, ids, batch=choices["batch"], pad=tokenizer.pad, seed=config.seed)
    factors = parts.choose_parts(config, model)
    freeze_language_head(model)
    set_dropout(model, config.dropout)
    objective = InfoNCE(
        temperature=config.temperature, pooling=choices["pooling"], dtype=machine.torch_dtype,
        dimensions=config.dimensions, microbatch=config.microbatch,
        at_once=sys.maxsize if is_sharded(config) else None,  # each call of sharded weights is one of all ranks
    )  # fmt: skip
    held_rows = None
    if len(data.held_back) > 1:
        held_rows = TripletLoader(data.held_back, ids, batch=choices["batch"], pad=tokenizer.pad, seed=0)
    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        batches=lambda step: [rows.batch(step, (ranks.replica(), ranks.replicas()))],
        objective=objective,
        optim=OptimConfig(**choices["optim"]),
        loop=training.loop_bounds(config, choices, rows.batches_per_epoch),
        validate=(lambda model: held_back_loss(model, data, held_rows, objective)) if held_rows else None,
        unit="nats per row",
        sample=lambda model: neighbours(replace(start, model=model), data, choices),
        chat_template=None,
        card={
            "base": str(config.model),
            "base lineage": lineage,
            "data": list(config.data),
            "rows learned from": len(data.learned),
            "rows held back": len(data.held_back),
            "pooling": choices["pooling"],
            "dimensions": [model.config.width, *config.dimensions],
        },
        factors=factors,
    )
    return training.train_run(config, "embed", setup, choices)


def load_start(config: Embed, machine: "Machine") -> "tuple[Embedder, dict[str, Any]]":
    """The model to start from with its tokenizer, and what is known of its making. UsageError for a mixture of experts,
    and for vectors that are too short."""
    from dodam.generate.embedder import start_embedder

    start = start_embedder(config.model, device=machine.device)
    if getattr(start.model.config, "experts", 0):
        raise UsageError("mixtures of experts are not trained for embeddings here", where="--model")
    if any(size >= start.model.config.width for size in config.dimensions):
        raise UsageError(f"the vector has {start.model.config.width} numbers", where="--dimensions", mend="Give fewer.")
    about = start.path / "dodam.json"
    return start, files.read_json(about).get("lineage", {}) if about.is_file() else {}


def context_of(config: Embed, start: "Embedder") -> int:
    """Tokens of a text. UsageError when the model cannot read so many."""
    most = start.model.config.context
    if config.context and config.context > most:
        raise UsageError(f"the model reads {most} tokens at most", where="--context")
    return config.context or min(start.context, DEFAULT_CONTEXT)


def choose(config: Embed, machine: "Machine", start: "Embedder", num_rows: int, context: int) -> dict[str, Any]:
    """All that a run is begun with; saved at step 0."""
    from dodam.generate.embedder import holds_embedder
    from dodam.models.decoder import Decoder
    from dodam.train.distributed import divisible

    batch = min(config.batch or divisible(DEFAULT_BATCH), num_rows)
    usual = "last" if isinstance(start.model, Decoder) else "mean"
    found = start.pooling if holds_embedder(config.model) else usual
    return {
        "machine": machine.to_dict(),
        "context": context,
        "batch": batch,
        "steps": config.steps or max(1, round((config.epochs or DEFAULT_EPOCHS) * num_rows / batch)),
        "seconds": training.seconds_left(config) * (1 - REPORT_SHARE) if config.budget is not None else None,
        "compiled": False,
        "pooling": found if config.pooling == "auto" else config.pooling,
        "optim": learning_rates(config, start.model),
    }


def learning_rates(config: Embed, model: Any) -> dict[str, float]:
    """A share of pretraining's that the model's weights bear, as for a classifier."""
    from dodam.models.decoder import Decoder
    from dodam.stages.masked import RATES

    tuned = training.learning_rates(config, model, scale=TUNING_RATE)
    if isinstance(model, Decoder):
        return tuned
    # Tables are as small in all encoders as in fresh ones, and norms' biases begin at zero.
    fresh = training.learning_rates(config, scale=TUNING_RATE)
    return {**tuned, **{key: RATES[key] * fresh[key] for key in ("embedding", "scalar")}}


def held_back_loss(model: Any, data: Data, rows: "TripletLoader", objective: "InfoNCE") -> float:
    """Mean loss of the first held-back rows. The same batches at every call.

    Texts alone are equal without dropout, so where there is nothing else it stays, and draws the same each time."""
    import torch

    from dodam.stages.validation import evaluating

    total, weight = 0.0, 0.0
    torch.manual_seed(0)  # the loop sets its own before every step
    with evaluating(model):
        model.train(all(one.alone for one in data.held_back))
        for step in range(max(1, min(VALIDATED, len(data.held_back)) // rows.batch_size)):
            batch = rows.batch(step).to(model.embedding.weight.device)
            total += float(objective(model, batch))
            weight += objective.weight(batch)
    return total / weight


def neighbours(start: "Embedder", data: Data, choices: dict[str, Any]) -> str:
    """Some held-back texts and what is nearest to them now, as Markdown."""
    from dodam.data.triplets import distinct_texts
    from dodam.generate.classifier import encode_texts
    from dodam.generate.embedder import unit, vectors_of
    from dodam.stages.validation import evaluating

    texts = distinct_texts(data.held_back or data.learned)[:NEIGHBOURS]
    encoded = encode_texts(start.tokenizer, [(text, None) for text in texts], choices["context"])
    with evaluating(start.model):
        vectors_ND = unit(vectors_of(start.model, encoded, start.tokenizer.pad, choices["pooling"]))
    cosines = vectors_ND @ vectors_ND.T
    shown = []
    for place, text in enumerate(texts[:SAMPLES]):
        cosines[place, place] = -2.0
        nearest = int(cosines[place].argmax())
        told = f"{text}\n\n{texts[nearest]} ({cosines[place, nearest]:.3f})"
        shown.append("\n".join(f"> {line}".rstrip() for line in told.splitlines()))
    return "\n\n".join(shown)


def finish(config: Embed, data: Data, result: dict[str, Any]) -> dict[str, Any]:
    """Say in the folder how its vectors are made, measure that folder beside the baselines, and write the report."""
    from dodam.data.triplets import distinct_texts
    from dodam.evaluate import similarity
    from dodam.evaluate.ngrams import CharacterNgrams
    from dodam.exchange.embedders import Layout, write_layout
    from dodam.generate.embedder import load_embedder, start_embedder
    from dodam.versions import versions

    folder = config.out / "model"
    choices = files.read_json(folder / "dodam.json")["choices"]
    machine = training.machine_for(config, choices)
    start = replace(start_embedder(config.model, device=machine.device), context=choices["context"])
    layout = Layout(choices["pooling"], True, choices["context"])
    write_layout(folder, layout, start.model.config.width, {"pytorch": versions()["torch"]})
    trained = load_embedder(folder, device=machine.device)
    search = similarity.Search.of(data.held_back)
    if search is None and any(not one.alone for one in data.triplets):
        what = f"none of {len(data.triplets)} rows is held back, so nothing is found again"
        print(f"embed: {what}. A larger --validation or --dev mends that.", file=sys.stderr)
    texts = [text for one in data.scored for text in one.texts]
    texts += distinct_texts(data.held_back) if search else []
    name = config.out.name
    own = similarity.Vectors(lambda texts: trained.embed(texts)[0])
    models: dict[str, similarity.Likeness] = {name: own}
    models |= {f"{name}, first {size}": own.cut_to(size) for size in config.dimensions}
    models["the start"] = similarity.Vectors(lambda texts: start.embed(texts)[0])
    models["character n-grams"] = CharacterNgrams(texts)
    about = {"pooling": choices["pooling"], "context": choices["context"]}
    report = similarity.write(config.out, models, data.scored, search, seed=config.seed, about=about)
    values = {f"{row['task']} {row['metric']}": row["value"] for row in report["rows"] if row["model"] == name}
    for measure, value in values.items():
        print(f"embed: {measure} {value:.4f}.", file=sys.stderr)
    result = {**result, **values, "held_back": len(data.held_back), "report": str(config.out / "report.json")}
    files.write_json(config.out / "result.json", result)
    return result
