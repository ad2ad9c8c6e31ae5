"""Command `predict`: a model and a file of texts -> one JSON object a line, in the order of the texts.

What it writes depends on the model: a classifier's labels or scores, entities, answers to questions, vectors, what
fills masks in, a translation or summary.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from annotated_types import Gt

from dodam import files
from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    from dodam.data.labels import Example

Item = TypeVar("Item")
STANDARD = "-"
PART = 4096  # texts between two writes


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Label the texts of a file, find entities or answers in them, score, embed or translate them, or fill masks in."""

    positional: ClassVar[tuple[str, ...]] = ("model",)

    model: Path
    """A model folder or a run folder: a classifier, a reward model, one of embeddings, an encoder for masks, or an
    encoder-decoder."""
    input: str
    """JSONL, JSON, CSV/TSV or Parquet, or lines of text (the second of a pair after a tab; after a question its text);
    - is standard input, as lines."""
    output: str = STANDARD
    """The JSONL file to write; - is standard output."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold the texts, by name or in a table by number from 1: text=body text2=answer, for questions
    question=asked context=body, for answers to be scored prompt=asked target=answer."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    batch: Annotated[int, Gt(0)] = 64
    """Texts computed at one time."""
    threads: Annotated[int, Gt(0)] | None = None
    """CPU threads. Default: all cores this process may use."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""


def run(config: Predict) -> dict[str, Any]:
    """Write an object for every text; returns how many, and how many texts were cut."""
    from dodam import machine as machines
    from dodam.generate.classifier import asked_of
    from dodam.generate.embedder import holds_embedder
    from dodam.generate.scorer import holds_scorer

    machine = machines.look(config.device, config.threads)
    machines.use(machine)
    if config.output != STANDARD and Path(config.output).is_dir():
        raise UsageError("is a folder", where=config.output, mend="Name a file.")
    asked = asked_of(config.model)
    predict = PREDICTED[asked] if asked else written
    if holds_embedder(config.model):
        predict = embeddings
    if holds_scorer(config.model):
        predict = rewards
    told: dict[str, Any] = {"model": str(config.model), "output": config.output, "texts": 0}
    objects = predict(config, machine.device, told)
    if config.output == STANDARD:
        for one in objects:
            print(json.dumps(one, ensure_ascii=False), flush=False)
            told["texts"] += 1
        return told
    with files.new_file(config.output) as path, path.open("w", encoding="utf-8") as file:
        for one in objects:
            file.write(json.dumps(one, ensure_ascii=False) + "\n")
            told["texts"] += 1
    return told


def embeddings(config: Predict, device: str, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The vector of each text."""
    from dodam.generate.embedder import load_embedder

    embedder, told["cut"] = load_embedder(config.model, device=device), 0
    for part in parts(read(config, pairs=False)):
        vectors, num_cut = embedder.embed([one.text for one in part], batch=config.batch)
        told["cut"] += num_cut
        # As text a number of fp32 has few digits; all of it is kept.
        yield from ({"embedding": [float(str(number)) for number in vector]} for vector in vectors)
    if told["cut"]:
        print(f"predict: {told['cut']} texts are longer than {embedder.context} tokens and were cut.", file=sys.stderr)


def labels(config: Predict, device: str, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a classifier says of each text."""
    from dodam.generate.classifier import answers, load_classifier

    classifier = load_classifier(config.model, device=device)
    pairs = classifier.pairs if classifier.pairs is not None else "text2" in config.columns
    num_cut = 0
    for part in parts(read(config, pairs=pairs)):
        logits, cut = classifier.logits([(one.text, one.text2) for one in part], batch=config.batch)
        num_cut += cut
        yield from answers(logits, classifier.labels, classifier.problem)
    told["cut"] = num_cut
    if num_cut:
        print(f"predict: {num_cut} texts are longer than {classifier.context} tokens and were cut.", file=sys.stderr)


def rewards(config: Predict, device: str, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The score of each conversation's last answer."""
    from dodam.data.conversation import read_conversations
    from dodam.generate.scorer import load_scorer

    scorer, told["cut"] = load_scorer(config.model, device=device), 0
    for part in parts(list(read_conversations([config.input], columns=config.columns, encoding=config.encoding))):
        scores, num_cut = scorer.score_all([one.messages for one in part], batch=config.batch)
        told["cut"] += num_cut
        yield from ({"score": round(value, 6)} for value in scores)
    if told["cut"]:
        print(f"predict: {told['cut']} answers do not fit into {scorer.context} tokens; cut.", file=sys.stderr)


def written(config: Predict, device: str, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What fills each text's masks in, or what is written for it. FolderError for a model of another kind."""
    from dodam.folder import load
    from dodam.generate.fill import fill
    from dodam.generate.translate import translate
    from dodam.models.encoder import Encoder

    loaded = load(config.model, ("encoder", "encoder-decoder"), device=device)
    examples = read(config, pairs=False)
    if isinstance(loaded.model, Encoder):
        found = fill(loaded, [one.text for one in examples], where=[one.where for one in examples])
        if without := [one.where for one, masks in zip(examples, found, strict=True) if not masks]:
            told_of = f"{len(without)} of {len(found)} texts have no mask to fill in, as {without[0]}"
            if len(without) == len(found):
                raise DataError(told_of, mend="Write [MASK] where a token is wanted.")
            print(f"predict: {told_of}.", file=sys.stderr)
        yield from ({"tokens": masks} for masks in found)
        return
    for part in parts(examples):
        for text in translate(loaded, [one.text for one in part], max_rows=config.batch):
            yield {"text": text}


def read(config: Predict, *, pairs: bool) -> "list[Example]":
    """The texts. DataError names one that is empty, or a pair without its second text."""
    from dodam.data.labels import read_examples

    if "label" in config.columns:
        raise UsageError("labels are what is predicted", where="--columns", mend="Leave label out.")
    examples = read_examples(
        [config.input], "single", columns=config.columns, encoding=config.encoding, labelled=False, pairs=pairs
    )
    if not examples:
        raise DataError("holds no texts", where=config.input)
    return examples


def entities(config: Predict, device: str, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The entities of each text."""
    from dodam.data.entities import read_texts
    from dodam.generate.classifier import load_classifier
    from dodam.generate.entities import answer_of, tell_entities

    classifier = load_classifier(config.model, device=device)
    for part in parts(read_texts(config.input, columns=config.columns, encoding=config.encoding)):
        yield from map(answer_of, tell_entities(classifier, [one.text for one in part], batch=config.batch))


def spans(config: Predict, device: str, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer to each question, out of its context."""
    from dodam.data.questions import read_questions
    from dodam.generate.classifier import load_classifier
    from dodam.generate.spans import answer_questions

    classifier = load_classifier(config.model, device=device)
    questions = read_questions([config.input], columns=config.columns, encoding=config.encoding, answered=False)
    for part in parts(questions):
        for one in answer_questions(classifier, part, batch=config.batch):
            yield {"answer": one.answer, "start": one.start, "confidence": round(one.confidence, 6)}


PREDICTED: dict[str, Callable[[Predict, str, dict[str, Any]], Iterator[dict[str, Any]]]] = {
    "text": labels,
    "tokens": entities,
    "span": spans,
}
"""By what the head of a classifier is asked."""


def parts(examples: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The texts in parts, so that much is written as it comes."""
    for first in range(0, len(examples), PART):
        yield examples[first : first + PART]
