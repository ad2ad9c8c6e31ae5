"""Stage `classify`: texts with labels -> a model that labels texts, and a report of how well it does.

What it reads: rows of text, or of two texts, and their labels; an encoder or decoder to start from, or none. What it
writes: a run folder with the classifier, report.json, report.md and pictures, measured on rows that were held back.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt, MinLen

from dodam import config as configs
from dodam import files
from dodam.errors import DataError, UsageError
from dodam.stages import training
from dodam.stages.training import Setup, Training
from dodam.versions import versions

if TYPE_CHECKING:
    import torch

    from dodam.data.labels import Example, Labels
    from dodam.generate.classifier import Encoded
    from dodam.machine import Machine
    from dodam.models.heads import Pooling
    from dodam.tokenizer.tokenizer import Tokenizer

DEFAULT_BATCH = 32
DEFAULT_CONTEXT = 128
DEFAULT_DEPTH = 4
DEFAULT_EPOCHS = 3.0
TUNING_RATE = 0.25  # of pretraining's learning rates
SAMPLES = 6  # held-back texts shown with what is said of them
NONE = Path("none")


@dataclass(frozen=True, kw_only=True)
class Classify(Training):
    """Teach a model to label texts, from texts with labels."""

    data: Annotated[tuple[str, ...], MinLen(1)]
    """Texts with labels: JSONL, JSON, CSV/TSV or Parquet files, or lines that hold a label and a text."""
    task: Literal["single", "multilabel", "pair", "regression"] = "single"
    """One label a text, any number of them, one label for two texts, or a number for one or two."""
    model: Path = NONE
    """The encoder or decoder to start from, a model or run folder; none: a fresh encoder."""
    dev: tuple[str, ...] = ()
    """Texts with labels to measure on, in place of a part of --data."""
    validation: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the texts that is held back to measure on, when there is no --dev."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold what, by name or in a table by number from 1: text=body text2=answer label=kind."""
    labels: Path | None = None
    """A file of all labels: a name a line, or names and numbers as they stand in the data. Default: from the data."""
    epochs: Annotated[float, Gt(0)] | None = None
    """Passes over the texts, when neither --steps nor --budget is given. Default: 3."""
    batch: Annotated[int, Gt(0)] | None = None
    """Texts per optimiser step. Default: 32."""
    context: Annotated[int, Ge(16)] | None = None
    """Tokens of a text; what is longer is cut. Default: 128, or what the model has where that is less."""
    tokenizer: Path | None = None
    """A tokenizer folder for a fresh encoder. Default: one is learned from the texts."""
    depth: Annotated[int, Gt(0)] | None = None
    """Blocks of a fresh encoder; sets its other sizes. Default: 4."""
    pooling: Literal["auto", "cls", "mean", "last"] = "auto"
    """What the head looks at: the first token, the mean of all, the last token; auto: as transformers does in the
    model's family."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of the numbers the head reads that are dropped while training."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rare labels count as much as frequent ones."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of each label's weight that is spread over all labels."""
    encoding: str = "utf-8"
    """The encoding of those text files that are not UTF-8, such as cp949."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, and count them, instead of stopping at the first."""


@dataclass(frozen=True)
class Data:
    """What is learned from, what is held back, and the labels; `names` are empty for a regression."""

    learned: "list[Example]"
    held_back: "list[Example]"
    labels: "Labels"
    pairs: bool

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels.names


def run(config: Classify) -> dict[str, Any]:
    """Train, write the classifier and its report, and return what --json prints. See the file's head."""
    check_options(config)
    done = training.open_run(config, "classify")
    if done and "report" in done:
        return done
    from dodam.data.labels import fingerprint
    from dodam.generate.classifier import encode_texts
    from dodam.models.heads import freeze_language_head
    from dodam.stages.labelled import LabelledLoader, LabelLoss, held_back_loss, problem_of, targets_of
    from dodam.train.optim import OptimConfig

    data = read(config)
    choices = training.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    model, tokenizer, lineage = start(config, data, machine)
    context = choices["context"] if choices else context_of(config, model)
    digest = fingerprint([*data.learned, *data.held_back]) + tokenizer.fingerprint
    training.same_data(config, choices, digest)
    learned, held_back = (
        encode_texts(tokenizer, [(one.text, one.text2) for one in side], context)
        for side in (data.learned, data.held_back)
    )
    if num_cut := sum(one.cut for one in [*learned, *held_back]):
        print(f"classify: {num_cut} texts are longer than {context} tokens and were cut.", file=sys.stderr)
    if not choices:
        choices = choose(config, machine, model, learned, context) | {"data": digest}
    factors = training.choose_parts(config, model)
    freeze_language_head(model)
    model.classifier.requires_grad_(True)  # an adapter froze it
    if choices["compiled"]:
        training.compile_blocks(model)
    targets, held_back_targets = (targets_of(side, data.names, config.task) for side in (data.learned, data.held_back))
    step = -(-context // 4) if choices["compiled"] else 8  # each length is compiled anew
    rows = LabelledLoader(learned, targets, choices["batch"], tokenizer.pad, config.seed, step, context)
    objective = LabelLoss(
        problem_of(config.task), machine.torch_dtype, weights_of(config, data), config.label_smoothing
    )
    plain = LabelLoss(objective.problem, machine.torch_dtype)
    held_back_rows = LabelledLoader(held_back, held_back_targets, 1, tokenizer.pad, 0, 1, 0)
    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        batches=lambda step: rows.batch(step, config.microbatch or choices["batch"]),
        objective=objective,
        optim=OptimConfig(**choices["optim"]),
        loop=training.loop_bounds(config, choices, rows.batches_per_epoch),
        validate=lambda model: held_back_loss(model, held_back_rows, plain),
        unit="squared error" if config.task == "regression" else "nats per text",
        sample=lambda: samples(config, model, data, held_back, tokenizer.pad),
        chat_template=None,
        card=card_of(config, data, lineage),
        factors=factors,
    )
    result = training.train_run(config, "classify", setup, choices)
    return finish(config, setup, data, result, choices)


def card_of(config: Classify, data: Data, lineage: dict[str, Any]) -> dict[str, Any]:
    """What the model card tells of what was read."""
    return {
        "base": "" if config.model == NONE else str(config.model),
        "base lineage": lineage,
        "data": list(config.data),
        "task": config.task,
        "labels": list(data.names),
        "texts learned from": len(data.learned),
        "texts held back": len(data.held_back),
    }


def check_options(config: Classify) -> None:
    """UsageError for options that do not go together."""
    one_label = config.task in ("single", "pair")
    if config.class_weights == "balanced" and not one_label:
        raise UsageError(f"labels are not weighted for {config.task}", where="--class-weights")
    if config.label_smoothing and not one_label:
        raise UsageError(f"labels are not smoothed for {config.task}", where="--label-smoothing")
    if config.labels is not None and config.task == "regression":
        raise UsageError("a regression has no labels", where="--labels")
    if sum(value is not None for value in (config.steps, config.budget, config.epochs)) > 1:
        raise UsageError("--steps, --budget and --epochs bound the same run", mend="Give one of them.")
    if config.model == NONE and config.lora.rank:
        raise UsageError("fresh weights have to be trained themselves", where="--lora", mend="Name a --model.")
    if config.model != NONE and (config.depth or config.tokenizer):
        flag = "--depth" if config.depth else "--tokenizer"
        raise UsageError("the model to start from has its own", where=flag, mend=f"Leave out {flag} or --model.")
    head = ("classifier.dense.weight", "classifier.output.weight")
    for pattern in config.freeze:
        if any(fnmatchcase(name, pattern) for name in head):
            raise UsageError(f"{pattern} would freeze the head, which is new", where="--freeze")


def read(config: Classify) -> Data:
    """The rows, checked, and cut into what is learned and what is held back."""
    from dodam.data.labels import Labels, check_labels, labels_of, read_examples, read_labels, split

    labels = read_labels(config.labels, config.encoding) if config.labels else None
    examples = read_examples(
        config.data, config.task, columns=config.columns, labels=labels, encoding=config.encoding,
        skip_bad=config.skip_bad,
    )  # fmt: skip
    labels = labels or (Labels((), {}) if config.task == "regression" else labels_of(examples))
    check_labels(examples, labels, config.task)
    pairs = {example.text2 is not None for example in examples}
    if len(pairs) > 1:
        raise DataError("some rows have two texts and others one", where=", ".join(config.data))
    if not config.dev:
        learned, held_back = split(examples, config.validation)
        if not held_back or not learned:
            what = f"{'none' if learned else 'each'} of {len(examples)} rows is held back"
            raise DataError(what, where=", ".join(config.data), mend="Give another --validation, or --dev FILE.")
        return Data(learned, held_back, labels, pairs.pop())
    held_back = read_examples(
        config.dev, config.task, columns=config.columns, labels=None if config.task == "regression" else labels,
        encoding=config.encoding, skip_bad=config.skip_bad,
    )  # fmt: skip
    if any((example.text2 is not None) not in pairs for example in held_back):
        raise DataError("has two texts a row where --data has one, or one where that has two", where=config.dev[0])
    known = {example.key for example in examples}
    if num_known := sum(example.key in known for example in held_back):
        print(f"classify: {num_known} of {len(held_back)} texts of --dev are also learned from.", file=sys.stderr)
    return Data(examples, held_back, labels, pairs.pop())


def start(config: Classify, data: Data, machine: "Machine") -> "tuple[Any, Tokenizer, dict[str, Any]]":
    """The model with a fresh head, a tokenizer that frames texts, and what is known of the model's making."""
    from dodam.exchange.heads import head_config
    from dodam.folder import load
    from dodam.generate.classifier import with_template
    from dodam.models.decoder import Decoder
    from dodam.models.encoder import build_encoder, encoder_config
    from dodam.models.heads import add_head

    pooling: Pooling | None = None if config.pooling == "auto" else config.pooling
    num_labels = len(data.names) or 1
    lineage: dict[str, Any] = {}
    if config.model == NONE:
        tokenizer = with_template(find_tokenizer(config, data), "encoder")
        context, depth = config.context or DEFAULT_CONTEXT, config.depth or DEFAULT_DEPTH
        sizes = encoder_config(vocabulary=tokenizer.size, context=context, depth=depth)
        head = head_config(sizes, num_labels, pooling=pooling, dropout=config.dropout)
        model: Any = build_encoder(sizes, config.seed).to(machine.device)
    else:
        loaded = load(config.model, ("encoder", "decoder"), device=machine.device)
        model, lineage = loaded.model, loaded.info.get("lineage", {})
        head = head_config(model.config, num_labels, pooling=pooling, dropout=config.dropout)
        kind: Literal["encoder", "decoder"] = "decoder" if isinstance(model, Decoder) else "encoder"
        tokenizer = with_template(loaded.tokenizer, kind)
        if kind == "encoder" and loaded.tokenizer.foreign is None:
            begin_frame(model, tokenizer)
    add_head(model, head, config.seed)
    return model.train(), tokenizer, lineage


def begin_frame(model: Any, tokenizer: "Tokenizer") -> None:
    """Our pretraining shows no <cls> and no <sep>: they begin as <bos> and <eos>, which stood in their places."""
    import torch

    with torch.no_grad():
        for name, other in ((tokenizer.names.cls, tokenizer.bos), (tokenizer.names.sep, tokenizer.eos)):
            model.embedding.weight[tokenizer.token_id(name)] = model.embedding.weight[other]


def find_tokenizer(config: Classify, data: Data) -> "Tokenizer":
    """The one named, else one learned from the texts, in OUT/tokenizer."""
    from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
    from dodam.tokenizer.train import BY_BYTES, fill_up, learn

    if config.tokenizer is not None:
        return Tokenizer.load(config.tokenizer)
    folder = config.out / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        texts = [text for one in data.learned for text in (one.text, one.text2) if text is not None]
        num_bytes = sum(len(text.encode()) for text in texts)
        vocabulary = next(size for limit, size in BY_BYTES if num_bytes < limit)
        raw = learn(texts, vocabulary, SPECIAL_TOKENS)
        fill_up(raw, vocabulary)
        print(f"classify: no --tokenizer, so one is learned from the texts, in {folder}.", file=sys.stderr)
        with files.new_dir(folder) as made:
            Tokenizer(raw.to_str(pretty=True)).save(made)
    return Tokenizer.load(folder)


def context_of(config: Classify, model: Any) -> int:
    """Tokens of a text. UsageError when the model cannot read so many."""
    most = model.config.context
    if config.context and config.context > most:
        raise UsageError(f"the model reads {most} tokens at most", where="--context")
    return config.context or min(most, DEFAULT_CONTEXT)


def weights_of(config: Classify, data: Data) -> "torch.Tensor | None":
    """What a text of each label counts, [L]: texts / (labels x texts of the label), so that labels count alike."""
    import numpy as np
    import torch

    from dodam.stages.labelled import targets_of

    if config.class_weights == "none":
        return None
    held = np.bincount(targets_of(data.learned, data.names, config.task), minlength=len(data.names))
    return torch.from_numpy(len(data.learned) / (len(data.names) * np.maximum(held, 1))).float()


def choose(
    config: Classify, machine: "Machine", model: Any, learned: "Sequence[Encoded]", context: int
) -> dict[str, Any]:
    """All that a run is begun with; saved at step 0."""
    batch = min(config.batch or DEFAULT_BATCH, len(learned))
    steps = config.steps or max(1, round((config.epochs or DEFAULT_EPOCHS) * len(learned) / batch))
    seconds = training.seconds_left(config) if config.budget is not None else None
    inside = sum(parameter.numel() for name, parameter in model.named_parameters() if name.startswith("blocks."))
    flops = 6.0 * inside * steps * batch * sum(len(one.ids) for one in learned) / len(learned)
    return {
        "machine": machine.to_dict(),
        "context": context,
        "batch": batch,
        "steps": steps,
        "seconds": seconds,
        "compiled": training.worth_compiling(
            config.compile, machine, flops, experts=getattr(model.config, "experts", 0) > 0
        ),
        "optim": learning_rates(config, model),
    }


def learning_rates(config: Classify, model: Any) -> dict[str, float]:
    """A fresh encoder's, or for a model to go on with a share of them that its weights bear. The head is fresh always,
    and has the full rate."""
    from dodam.models.decoder import Decoder
    from dodam.stages.masked import RATES

    fresh = training.learning_rates(config)
    fresh = {key: rate * RATES.get(key, 1.0) if key != "lora" else rate for key, rate in fresh.items()}
    if config.model == NONE:
        return fresh
    tuned = training.learning_rates(config, model, scale=TUNING_RATE)
    if isinstance(model, Decoder):
        return {**tuned, "head": fresh["head"]}
    # Tables are as small in all encoders as in fresh ones, and norms' biases begin at zero.
    small = {key: TUNING_RATE * fresh[key] for key in ("embedding", "scalar")}
    return {**tuned, **small, "head": fresh["head"]}


def samples(config: Classify, model: Any, data: Data, held_back: "Sequence[Encoded]", pad: int) -> str:
    """Some held-back texts and what is said of them, as Markdown."""
    from dodam.generate.classifier import answers, logits_of
    from dodam.stages.labelled import evaluating, problem_of
    from dodam.stages.validation import eager

    with eager(model), evaluating(model):
        logits = logits_of(model, held_back[:SAMPLES], pad)
    said = answers(logits, data.names, problem_of(config.task))
    shown = []
    for example, answer in zip(data.held_back, said, strict=False):
        text = " / ".join(filter(None, (example.text, example.text2))).replace("\n", "\n> ")
        shown.append(f"> {text}\n>\n> **{told(next(iter(answer.values())))}** (is: {told(example.label)})")
    return "\n\n".join(shown)


def told(label: Any) -> str:
    return ", ".join(label) if isinstance(label, list | tuple) else str(label)


def finish(
    config: Classify, setup: Setup, data: Data, result: dict[str, Any], choices: dict[str, Any]
) -> dict[str, Any]:
    """Put the classifier where the shared part has put the encoder or decoder alone, measure that folder on what was
    held back, and write the report. A run that is stopped in here is finished when it is started again."""
    from dodam.evaluate import classification
    from dodam.exchange.heads import save_classifier
    from dodam.folder import FORMAT, model_card
    from dodam.generate.classifier import load_classifier, probabilities
    from dodam.stages.labelled import problem_of, targets_of

    problem = problem_of(config.task)
    info = {
        "format": FORMAT, "stage": "classify", "result": result, "choices": choices, "recipe": configs.to_json(config),
        "versions": versions(), "seed": config.seed, "lineage": setup.card, "pairs": data.pairs,
        "context": choices["context"],
    }  # fmt: skip
    card = model_card(f"{config.out.name} (classify)", {**result, **setup.card})
    folder = config.out / "model"
    save_classifier(folder, setup.model, setup.tokenizer, data.names, problem, info=info, card=card)
    began = time.perf_counter()
    classifier = load_classifier(folder, device=choices["machine"]["device"])
    logits, _ = classifier.logits([(one.text, one.text2) for one in data.held_back])
    given = probabilities(logits, problem)
    measured = classification.Measured(
        kind="single" if config.task == "pair" else config.task,
        labels=data.names,
        texts=[one.key.replace("\x1f", " / ") for one in data.held_back],
        truth=targets_of(data.held_back, data.names, config.task),
        given=given[:, 0] if config.task == "regression" else given,
    )
    task = Path(config.dev[0]).name.partition(".")[0] if config.dev else "held-back"
    report = classification.write(config.out, measured, model=config.out.name, task=task, seed=config.seed, began=began)
    overall = {row["metric"]: row["value"] for row in report["rows"] if row["metric"] != "f1"}
    for metric, value in overall.items():
        print(f"classify: {metric} {value:.4f} on {measured.n} texts held back.", file=sys.stderr)
    result = {**result, **overall, "held_back": measured.n, "report": str(config.out / "report.json")}
    files.write_json(config.out / "result.json", result)
    return result
