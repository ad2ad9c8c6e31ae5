"""Classifiers in the layout of `transformers`: which head each family has, what its tensors and settings are called.

In comes a model with a head (`models/heads.py`), out goes a folder that the classes `...ForSequenceClassification`,
`...ForTokenClassification` and `...ForQuestionAnswering` read, and back. The tables of the families say the rest; what
a language model has for tokens is left out of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from dodam import files
from dodam.errors import FolderError, UsageError
from dodam.exchange.families import FAMILIES, family_of
from dodam.exchange.mapping import Family, Weight, load_theirs, table_of, to_theirs
from dodam.models.build import outline
from dodam.models.decoder import Decoder, DecoderConfig
from dodam.models.encoder import EncoderConfig
from dodam.models.heads import (
    LANGUAGE_HEAD,
    ClassifierHead,
    HeadConfig,
    Pooling,
    without_language_head,
)
from dodam.tensors import ModelTensors, write_model_tensors
from dodam.tokenizer.tokenizer import Tokenizer

Problem = Literal["single_label_classification", "multi_label_classification", "regression", "tokens", "span"]
"""What a head is asked: the first three of a text, as `config.json` calls their losses; a tag of each token; where in a
text the answer begins and ends."""

Asked = Literal["text", "tokens", "span"]
CLASSES: dict[Asked, str] = {
    "text": "ForSequenceClassification",
    "tokens": "ForTokenClassification",
    "span": "ForQuestionAnswering",
}
"""How the classes end that ask it."""
ENDS = ("start", "end")
"""The two logits of a token where a span is asked for."""


@dataclass(frozen=True)
class Shape:
    """The heads of a family: how its classes begin, what may be pooled of a text, the usual first, what can be asked,
    and what the decoder is called where a span is (empty: as elsewhere)."""

    prefix: str
    poolings: tuple[Pooling, ...]
    asked: tuple[Asked, ...] = ("text", "tokens", "span")
    span_base: str = ""


SHAPES: dict[str, Shape] = {
    "bert": Shape("Bert", ("cls",)),
    "roberta": Shape("Roberta", ("cls",)),
    "modernbert": Shape("ModernBert", ("cls", "mean")),
    "qwen3": Shape("Qwen3", ("last",), span_base="transformer."),
    "qwen2": Shape("Qwen2", ("last",), span_base="transformer."),
    "llama": Shape("Llama", ("last",), span_base="transformer."),
    "mistral": Shape("Mistral", ("last",)),
    "smollm3": Shape("SmolLM3", ("last",), span_base="transformer."),
    "exaone4": Shape("Exaone4", ("last",), span_base="transformer."),
    "gemma2": Shape("Gemma2", ("last",), asked=("text", "tokens")),
    "gemma3_text": Shape("Gemma3Text", ("last",), asked=("text",)),
    "gpt2": Shape("GPT2", ("last",)),
}
SPOKEN: dict[Pooling, str] = {"cls": "the first token", "mean": "the mean of all", "last": "the last token"}
DOING = {"text": "classifying", "tokens": "telling tokens", "span": "answering"}


def asked_by(problem: Problem) -> Asked:
    """Which of the three classes a problem has."""
    if problem == "tokens" or problem == "span":
        return problem
    return "text"


def shape_of(family: str, asked: Asked, where: str) -> Shape:
    """UsageError for a family that has no such head."""
    if family not in SHAPES or asked not in SHAPES[family].asked:
        mend = f"Families with one: {', '.join(name for name, shape in SHAPES.items() if asked in shape.asked)}."
        raise UsageError(f"a {family} has no head for {DOING[asked]} here", where=where, mend=mend)
    return SHAPES[family]


def head_config(
    config: EncoderConfig | DecoderConfig,
    labels: int,
    *,
    problem: Problem = "single_label_classification",
    pooling: Pooling | None = None,
    dropout: float = 0.0,
) -> HeadConfig:
    """The head that `transformers` has for models of this config. UsageError for a family or a pooling without one."""
    asked = asked_by(problem)
    shape = shape_of(config.family, asked, "--model")
    pooling = pooling or shape.poolings[0]
    if pooling not in shape.poolings:
        what = f"the head of a {config.family} looks at {' or '.join(SPOKEN[one] for one in shape.poolings)}"
        raise UsageError(f"{what}, in `transformers` too", where="--pooling", mend="Leave the flag out.")
    plain = HeadConfig(labels=labels, pooling=pooling if asked == "text" else "each", dropout=dropout)
    if config.family == "modernbert":
        assert isinstance(config, EncoderConfig)
        return replace(
            plain, activation=config.head_activation, dense_bias=config.head_bias, norm_eps=config.eps,
            norm_bias=config.norm_bias,
        )  # fmt: skip
    if asked != "text":
        return plain
    return replace(plain, output_bias=False) if isinstance(config, DecoderConfig) else replace(plain, activation="tanh")


def layer(theirs: str, ours: str, *, bias: bool = True) -> list[Weight]:
    """A layer of the head: its weight and, unless told otherwise, its bias."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return [Weight(f"{theirs}.{kind}", f"classifier.{ours}.{kind}") for kind in kinds]


def head_weights(family: str, head: HeadConfig, asked: Asked = "text") -> list[Weight]:
    """What the tensors of a head are called."""
    if family == "modernbert":
        dense, norm = (
            layer("head.dense", "dense", bias=head.dense_bias),
            layer("head.norm", "norm", bias=head.norm_bias),
        )
        return [*dense, *norm, *layer("classifier", "output")]
    if asked == "span":
        return layer("qa_outputs", "output")
    if asked == "tokens":
        return layer("classifier" if family in ("bert", "roberta", "gpt2") else "score", "output")
    if family == "bert":
        return [*layer("bert.pooler.dense", "dense"), *layer("classifier", "output")]
    if family == "roberta":
        return [*layer("classifier.dense", "dense"), *layer("classifier.out_proj", "output")]
    return layer("score", "output", bias=False)


def classifier_table(family: Family, config: Any, head: HeadConfig, asked: Asked = "text") -> list[Weight]:
    """The tensors of a classifier: the family's without the head for tokens, then its own."""
    kept = [weight for weight in table_of(family, config) if not weight.parts[0].startswith(LANGUAGE_HEAD)]
    if asked == "span" and (base := SHAPES[family.model_type].span_base):
        kept = [replace(weight, theirs=base + weight.theirs.removeprefix("model.")) for weight in kept]
    return [*kept, *head_weights(family.model_type, head, asked)]


def save_classifier(
    path: str | Path,
    model: Any,
    tokenizer: Tokenizer,
    labels: Sequence[str],
    problem: Problem,
    *,
    info: dict[str, Any],
    card: str,
) -> Path:
    """Write a classifier's folder beside `path` and put it there in one move. `labels` are empty for a regression."""
    path, family, head = Path(path), FAMILIES[model.config.family], model.classifier.config
    asked = asked_by(problem)
    if isinstance(model, Decoder):
        model.fold_embedding_norm()
    names = list(labels) or ["LABEL_0"]
    values = {
        "architectures": [SHAPES[family.model_type].prefix + CLASSES[asked]],
        "model_type": family.model_type,
        "torch_dtype": str(model.embedding.weight.dtype).removeprefix("torch."),
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "pad_token_id": tokenizer.pad,
        **({} if isinstance(model, Decoder) else tokenizer.frame_ids()),
        **family.to_theirs(model.config),  # a RoBERTa's pad token tells where its positions begin
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "classifier_dropout": head.dropout,
    }
    if asked == "text":
        values["problem_type"] = problem
        if len(SHAPES[family.model_type].poolings) > 1:
            values["classifier_pooling"] = head.pooling
    with files.new_dir(path) as folder:
        files.write_json(folder / "config.json", values)
        write_model_tensors(to_theirs(model, classifier_table(family, model.config, head, asked)), folder)
        tokenizer.save(folder, context=model.config.context)
        files.write_json(folder / "dodam.json", info)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return path


def asked_in(values: dict[str, Any]) -> Asked | None:
    """What the head of a config.json is asked; None where it is that of another model."""
    saved_as = str((values.get("architectures") or [""])[0])
    return next((asked for asked, ending in CLASSES.items() if saved_as.endswith(ending)), None)


def read_classifier(path: Path) -> tuple[Any, tuple[str, ...], Problem]:
    """Model, labels and problem of a folder. FolderError names the file and what is wrong with it."""
    where = path / "config.json"
    values = files.read_json(where)
    family, asked = family_of(values.get("model_type"), str(where)), asked_in(values)
    shape = SHAPES.get(family.model_type)
    if shape is None or asked not in shape.asked or values["architectures"] != [shape.prefix + CLASSES[asked]]:
        raise FolderError(f"holds no classifier ({values.get('architectures')})", where=str(where))
    labels = labels_in(values, where)
    problem = asked if asked != "text" else problem_in(values, labels)
    if asked == "span" and len(labels) != len(ENDS):
        raise FolderError(f"a span has two ends, and id2label names {len(labels)} labels", where=str(where))
    try:
        config = family.from_theirs({**values, "architectures": [family.architecture]})
        pooling = values.get("classifier_pooling") if family.model_type == "modernbert" and asked == "text" else None
        head = head_config(config, len(labels), problem=problem, pooling=pooling)
    except (KeyError, ValueError) as error:
        raise FolderError(f"the settings cannot be used: {error}", where=str(where)) from None

    def build(config: Any) -> Any:
        model: Any = family.model(config)
        model.classifier = ClassifierHead(config.width, head)
        without_language_head(model)
        return model

    model: Any = outline(build, config).to(torch.float32).to_empty(device="cpu")
    model.complete()
    weights, ignored = ModelTensors(path), family.ignored
    if asked == "text":  # a language model's pooler is ignored; a classifier's is not
        ignored = ignored.replace(r"^bert\.pooler\.|", "")
    load_theirs(model, weights, classifier_table(family, config, head, asked), where=weights.where, ignored=ignored)
    return model.eval(), labels, problem


def problem_in(values: dict[str, Any], labels: Sequence[str]) -> Problem:
    """The problem of a classifier of texts; where it is not told, what `transformers` trains then."""
    return values.get("problem_type") or ("regression" if len(labels) == 1 else "single_label_classification")


def labels_in(values: dict[str, Any], where: Path) -> tuple[str, ...]:
    """The names of `id2label`, by number. FolderError when numbers are missing; two labels when it is not there, as
    `transformers` has it."""
    found = values.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    try:
        numbered = {int(number): str(name) for number, name in found.items()}
    except (AttributeError, ValueError):
        numbered = {}
    if sorted(numbered) != list(range(len(numbered))) or not numbered:
        raise FolderError("id2label does not number its labels from 0", where=str(where))
    return tuple(numbered[number] for number in range(len(numbered)))
