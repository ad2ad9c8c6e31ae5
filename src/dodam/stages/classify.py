"""Stage `classify`: texts with labels -> a model that labels texts, and a report of how well it does.

What it reads: texts and what is said of them; an encoder or decoder to start from, or none. What it writes: a run
folder with the classifier, report.json and report.md, measured on texts that were held back. Here stands what is the
same for all tasks; what each brings (class Task) is in texts.py, tokens.py and span.py.
"""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Ge, Gt, Lt, MinLen

from dodam import files
from dodam.errors import UsageError
from dodam.stages import compiling, parts, run_folder, training
from dodam.stages.parallel import OWN_ROWS, is_spread
from dodam.stages.training import Setup, Training

if TYPE_CHECKING:
    import torch

    from dodam.exchange.heads import Problem
    from dodam.generate.classifier import Classifier
    from dodam.machine import Machine
    from dodam.models.heads import Pooling
    from dodam.stages.labelled import Rows
    from dodam.tokenizer.tokenizer import Tokenizer
    from dodam.train.objective import Objective

DEFAULT_BATCH = 32
DEFAULT_CONTEXT = 128
DEFAULT_DEPTH = 4
DEFAULT_EPOCHS = 3.0
TUNING_RATE = 0.25  # of pretraining's learning rates
SPAN_CONTEXT = 384  # where a text is read with a question, as BERT's for SQuAD
LONGEST_ANSWER = 30
NONE = Path("none")


@dataclass(frozen=True, kw_only=True)
class Classify(Training):
    """Teach a model to label texts or parts of them, from texts with labels."""

    UNSHARED: ClassVar = {"pipeline": OWN_ROWS, "context": OWN_ROWS}

    data: Annotated[tuple[str, ...], MinLen(1)]
    """Texts with labels: JSONL, JSON, CSV/TSV or Parquet files, or lines that hold a label and a text; for tokens also
    CoNLL files, for span SQuAD's."""
    task: Literal["single", "multilabel", "pair", "regression", "tokens", "span"] = "single"
    """One label a text, any number of them, one label for two texts, or a number for one or two; entities in a text;
    the part of a text that answers a question."""
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
    """Tokens of a text; what is longer is cut, for tokens and span read in windows. Default: 128, for span 384, or what
    the model has where that is less."""
    tokenizer: Path | None = None
    """A tokenizer folder for a fresh encoder. Default: one is learned from the texts."""
    depth: Annotated[int, Gt(0)] | None = None
    """Blocks of a fresh encoder; sets its other sizes. Default: 4."""
    pooling: Literal["auto", "cls", "mean", "last"] = "auto"
    """What the head looks at: the first token, the mean of all, the last token; auto: as transformers does in the
    model's family."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of embeddings, of what each part of a block adds and of what the head reads that is dropped while
    training."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rare labels count as much as frequent ones."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of each label's weight that is spread over all labels."""
    r_drop: Annotated[float, Ge(0)] = 0.0
    """Read every text twice, with other things dropped, and weigh by this how far what is said of both is apart: 1 to 5
    help where there are few texts, at twice the work."""
    bpe_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the tokenizer's merges dropped by chance whenever a text is read, so that words are seen in other pieces
    each time; not for tokens and span, whose labels belong to tokens."""
    longest_answer: Annotated[int, Gt(0)] = LONGEST_ANSWER
    """Tokens of the longest answer that is given; for span."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows that cannot be used, and count them, instead of stopping at the first."""


class Task(Protocol):
    """What a task brings: what it has read, and how that is encoded, learned, shown and measured."""

    @property
    def problem(self) -> "Problem":
        """What the head is asked."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the logits are called; none for a regression."""

    @property
    def unit(self) -> str:
        """Of the loss."""

    @property
    def counted(self) -> str:
        """What is measured: texts or questions."""

    @property
    def fingerprint(self) -> str:
        """Changes with everything that was read."""

    def texts(self) -> Iterable[str]:
        """What a tokenizer is learned from where none is named."""

    def facts(self) -> dict[str, Any]:
        """What the model card tells."""

    def told(self) -> dict[str, Any]:
        """What dodam.json tells to those who predict."""

    def rows(self, model: Any, tokenizer: "Tokenizer", context: int) -> "tuple[Rows, Rows]":
        """What is learned and what is held back, encoded."""

    def objective(self, dtype: "torch.dtype") -> "Objective":
        """What is minimised."""

    def plain_objective(self, dtype: "torch.dtype") -> "Objective":
        """The same unweighted and unsmoothed, for what is held back."""

    def samples(self, model: Any, tokenizer: "Tokenizer", context: int) -> str:
        """Some held-back texts and what is said of them, as Markdown."""

    def report(self, classifier: "Classifier", *, out: Path, task: str, seed: int, began: float) -> dict[str, Any]:
        """Measure a saved classifier on what is held back, write the report into `out`; what report.json holds."""


def read(config: Classify) -> Task:
    """The task with its data, checked, and cut into what is learned and what is held back."""
    from dodam.stages import span, texts, tokens

    if config.task == "tokens":
        return tokens.read(config)
    return span.read(config) if config.task == "span" else texts.read(config)


def run(config: Classify) -> dict[str, Any]:
    """Train, write the classifier and its report, and return what --json prints. See the file's head."""
    check_options(config)
    done = run_folder.open_run(config, "classify")
    if done and "report" in done:
        return done
    from dodam.exchange.heads import save_classifier
    from dodam.folder import FORMAT
    from dodam.models.heads import freeze_language_head
    from dodam.nn.dropout import set_dropout
    from dodam.stages.labelled import LabelledLoader, held_back_loss
    from dodam.train import distributed
    from dodam.train.optim import OptimConfig

    task = read(config)
    choices = run_folder.saved_choices(config.out)
    machine = training.machine_for(config, choices)
    model, tokenizer, lineage = start(config, task, machine)
    context = choices["context"] if choices else context_of(config, model)
    digest = task.fingerprint + tokenizer.fingerprint
    run_folder.same_data(config, choices, digest)
    learned, held_back = task.rows(model, tokenizer, context)
    if not choices:
        choices = distributed.first(lambda: choose(config, machine, model, learned, context)) | {"data": digest}
    factors = parts.choose_parts(config, model)
    freeze_language_head(model)
    model.classifier.requires_grad_(True)  # an adapter froze it
    set_dropout(model, config.dropout)
    if choices["compiled"] and not is_spread(config):
        compiling.compile_blocks(model)
    step = -(-context // 4) if choices["compiled"] else 8  # each length is compiled anew
    rows = LabelledLoader(learned, choices["batch"], tokenizer.pad, config.seed, step, context)
    held_back_rows = LabelledLoader(held_back, 1, tokenizer.pad, 0, 1, 0)
    plain = task.plain_objective(machine.torch_dtype)

    def save(path: Path, info: dict[str, Any], card: str) -> None:
        info = {"format": FORMAT, **info, **task.told(), "context": context}
        save_classifier(path, model, tokenizer, task.names, task.problem, info=info, card=card)

    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        batches=lambda step: rows.batch(step, config.microbatch or choices["batch"]),
        objective=task.objective(machine.torch_dtype),
        optim=OptimConfig(**choices["optim"]),
        loop=training.loop_bounds(config, choices, rows.batches_per_epoch),
        validate=lambda model: held_back_loss(model, held_back_rows, plain),
        unit=task.unit,
        sample=lambda model: task.samples(model, tokenizer, context),
        chat_template=None,
        card=card_of(config, task, lineage),
        factors=factors,
        save=save,
    )
    result = training.train_run(config, "classify", setup, choices)
    return distributed.first(lambda: finish(config, task, result, choices))


def card_of(config: Classify, task: Task, lineage: dict[str, Any]) -> dict[str, Any]:
    """What the model card tells of what was read."""
    return {
        "base": "" if config.model == NONE else str(config.model),
        "base lineage": lineage,
        "data": list(config.data),
        "task": config.task,
        **task.facts(),
    }


def check_options(config: Classify) -> None:
    """UsageError for options that do not go together."""
    check_task_options(config)
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


def check_task_options(config: Classify) -> None:
    """UsageError for options that a task has no use for."""
    one_label = config.task in ("single", "pair")
    if config.class_weights == "balanced" and not one_label:
        raise UsageError(f"labels are not weighted for {config.task}", where="--class-weights")
    if config.label_smoothing and not one_label:
        raise UsageError(f"labels are not smoothed for {config.task}", where="--label-smoothing")
    if config.labels is not None and config.task in ("regression", "span"):
        raise UsageError(f"a {config.task} has no labels", where="--labels")
    if config.r_drop and not one_label:
        raise UsageError(f"two readings are not compared for {config.task}", where="--r-drop", mend="Leave it out.")
    if config.r_drop and not config.dropout:
        raise UsageError("nothing is dropped, so both readings are the same", where="--r-drop", mend="Give --dropout.")
    if config.bpe_dropout and config.task in ("tokens", "span"):
        raise UsageError(f"labels belong to tokens in {config.task}", where="--bpe-dropout", mend="Leave it out.")
    if config.pooling != "auto" and config.task in ("tokens", "span"):
        raise UsageError(f"every token speaks for itself in {config.task}", where="--pooling", mend="Leave it out.")
    if config.longest_answer != LONGEST_ANSWER and config.task != "span":
        raise UsageError(f"there are no answers in {config.task}", where="--longest-answer", mend="Leave it out.")


def start(config: Classify, task: Task, machine: "Machine") -> "tuple[Any, Tokenizer, dict[str, Any]]":
    """The model with a fresh head, a tokenizer that frames texts, and what is known of the model's making."""
    from dodam.exchange.heads import head_config
    from dodam.folder import load
    from dodam.generate.classifier import with_template
    from dodam.models.decoder import Decoder
    from dodam.models.encoder import build_encoder, encoder_config
    from dodam.models.heads import add_head
    from dodam.train import distributed

    pooling: Pooling | None = None if config.pooling == "auto" else config.pooling
    num_labels = len(task.names) or 1
    lineage: dict[str, Any] = {}
    if config.model == NONE:
        tokenizer = with_template(distributed.in_turn(lambda: find_tokenizer(config, task)), "encoder")
        context, depth = config.context or usual_context(config), config.depth or DEFAULT_DEPTH
        sizes = encoder_config(vocabulary=tokenizer.size, context=context, depth=depth)
        head = head_config(sizes, num_labels, problem=task.problem, pooling=pooling, dropout=config.dropout)
        model: Any = build_encoder(sizes, config.seed).to(machine.device)
    else:
        loaded = load(config.model, ("encoder", "decoder"), device=machine.device)
        model, lineage = loaded.model, loaded.info.get("lineage", {})
        head = head_config(model.config, num_labels, problem=task.problem, pooling=pooling, dropout=config.dropout)
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


def find_tokenizer(config: Classify, task: Task) -> "Tokenizer":
    """The one named, else one learned from the texts, in OUT/tokenizer."""
    from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
    from dodam.tokenizer.train import BY_BYTES, fill_up, learn

    if config.tokenizer is not None:
        return Tokenizer.load(config.tokenizer)
    folder = config.out / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        texts = list(task.texts())
        num_bytes = sum(len(text.encode()) for text in texts)
        vocabulary = next(size for limit, size in BY_BYTES if num_bytes < limit)
        raw = learn(texts, vocabulary, SPECIAL_TOKENS)
        fill_up(raw, vocabulary)
        print(f"classify: no --tokenizer, so one is learned from the texts, in {folder}.", file=sys.stderr)
        with files.new_dir(folder) as made:
            Tokenizer(raw.to_str(pretty=True)).save(made)
    return Tokenizer.load(folder)


def usual_context(config: Classify) -> int:
    """Tokens of a text where nothing is said."""
    return SPAN_CONTEXT if config.task == "span" else DEFAULT_CONTEXT


def context_of(config: Classify, model: Any) -> int:
    """Tokens of a text. UsageError when the model cannot read so many."""
    most = model.config.context
    if config.context and config.context > most:
        raise UsageError(f"the model reads {most} tokens at most", where="--context")
    return config.context or min(most, usual_context(config))


def choose(config: Classify, machine: "Machine", model: Any, learned: "Rows", context: int) -> dict[str, Any]:
    """All that a run is begun with; saved at step 0."""
    lengths = [len(one.ids) for one in learned.texts]
    batch = min(config.batch or DEFAULT_BATCH, len(lengths))
    steps = config.steps or max(1, round((config.epochs or DEFAULT_EPOCHS) * len(lengths) / batch))
    seconds = training.seconds_left(config) if config.budget is not None else None
    inside = sum(parameter.numel() for name, parameter in model.named_parameters() if name.startswith("blocks."))
    flops = 6.0 * inside * steps * batch * sum(lengths) / len(lengths)
    return {
        "machine": machine.to_dict(),
        "context": context,
        "batch": batch,
        "steps": steps,
        "seconds": seconds,
        "compiled": compiling.worth_compiling(
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


def finish(config: Classify, task: Task, result: dict[str, Any], choices: dict[str, Any]) -> dict[str, Any]:
    """Measure the saved classifier on what was held back, and write the report. A run that is stopped in here is
    finished when it is started again."""
    from dodam.generate.classifier import load_classifier

    began = time.perf_counter()
    classifier = load_classifier(config.out / "model", device=choices["machine"]["device"])
    name = Path(config.dev[0]).name.partition(".")[0] if config.dev else "held-back"
    report = task.report(classifier, out=config.out, task=name, seed=config.seed, began=began)
    overall = [row for row in report["rows"] if row["task"] == name]
    for row in overall:
        counted = f"{row['n']} {task.counted} held back"
        print(f"classify: {row['metric']} {row['value']:.4f} on {counted}.", file=sys.stderr)
    measured = {row["metric"]: row["value"] for row in overall}
    result = {**result, **measured, "held_back": overall[0]["n"], "report": str(config.out / "report.json")}
    files.write_json(config.out / "result.json", result)
    return result
