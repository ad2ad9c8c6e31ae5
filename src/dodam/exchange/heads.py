"""Classifiers in the layout of `transformers`: which head each family has, what its tensors and settings are called.

In comes a model with a head (`models/heads.py`), out goes a folder that `AutoModelForSequenceClassification` reads, and
back. The tables of the families say the rest; what a language model has for tokens is left out of them.
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

Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
"""What `config.json` calls the three losses."""

POOLER = (Weight("bert.pooler.dense.weight", "classifier.dense.weight"),
          Weight("bert.pooler.dense.bias", "classifier.dense.bias"))  # fmt: skip
OUTPUT = (Weight("classifier.weight", "classifier.output.weight"), Weight("classifier.bias", "classifier.output.bias"))


@dataclass(frozen=True)
class Shape:
    """The head of a family: the class it makes, and what may be pooled, the usual first."""

    architecture: str
    poolings: tuple[Pooling, ...]


SHAPES: dict[str, Shape] = {
    "bert": Shape("BertForSequenceClassification", ("cls",)),
    "roberta": Shape("RobertaForSequenceClassification", ("cls",)),
    "modernbert": Shape("ModernBertForSequenceClassification", ("cls", "mean")),
    "qwen3": Shape("Qwen3ForSequenceClassification", ("last",)),
    "qwen2": Shape("Qwen2ForSequenceClassification", ("last",)),
    "llama": Shape("LlamaForSequenceClassification", ("last",)),
    "mistral": Shape("MistralForSequenceClassification", ("last",)),
    "smollm3": Shape("SmolLM3ForSequenceClassification", ("last",)),
    "exaone4": Shape("Exaone4ForSequenceClassification", ("last",)),
    "gemma2": Shape("Gemma2ForSequenceClassification", ("last",)),
    "gemma3_text": Shape("Gemma3TextForSequenceClassification", ("last",)),
    "gpt2": Shape("GPT2ForSequenceClassification", ("last",)),
}
SPOKEN = {"cls": "first", "last": "last"}


def shape_of(family: str, where: str) -> Shape:
    """UsageError for a family that we give no head."""
    if family not in SHAPES:
        mend = f"Families with one: {', '.join(SHAPES)}."
        raise UsageError(f"a {family} has no head for classifying here", where=where, mend=mend)
    return SHAPES[family]


def head_config(
    config: EncoderConfig | DecoderConfig, labels: int, *, pooling: Pooling | None = None, dropout: float = 0.0
) -> HeadConfig:
    """The head that `transformers` has for models of this config. UsageError for a family or a pooling without one."""
    shape = shape_of(config.family, "--model")
    pooling = pooling or shape.poolings[0]
    if pooling not in shape.poolings:
        what = f"the head of a {config.family} looks at the {SPOKEN[shape.poolings[0]]} token"
        raise UsageError(f"{what}, in `transformers` too", where="--pooling", mend="Leave the flag out.")
    plain = HeadConfig(labels=labels, pooling=pooling, dropout=dropout)
    if isinstance(config, DecoderConfig):
        return replace(plain, output_bias=False)
    if config.family == "modernbert":
        return replace(
            plain, activation=config.head_activation, dense_bias=config.head_bias, norm_eps=config.eps,
            norm_bias=config.norm_bias,
        )  # fmt: skip
    return replace(plain, activation="tanh")


def head_weights(family: str, head: HeadConfig) -> list[Weight]:
    """What the tensors of a head are called."""
    if head.activation == "":
        return [Weight("score.weight", "classifier.output.weight")]
    if family == "bert":
        return [*POOLER, *OUTPUT]
    if family == "roberta":
        parts = (("dense", "dense"), ("out_proj", "output"))
        kinds = ("weight", "bias")
        return [Weight(f"classifier.{theirs}.{k}", f"classifier.{ours}.{k}") for theirs, ours in parts for k in kinds]
    dense = ("weight", "bias") if head.dense_bias else ("weight",)
    norm = ("weight", "bias") if head.norm_bias else ("weight",)
    return [
        *(Weight(f"head.dense.{kind}", f"classifier.dense.{kind}") for kind in dense),
        *(Weight(f"head.norm.{kind}", f"classifier.norm.{kind}") for kind in norm),
        *OUTPUT,
    ]


def classifier_table(family: Family, config: Any, head: HeadConfig) -> list[Weight]:
    """The tensors of a classifier: the family's without the head for tokens, then its own."""
    kept = [weight for weight in table_of(family, config) if not weight.parts[0].startswith(LANGUAGE_HEAD)]
    return [*kept, *head_weights(family.model_type, head)]


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
    if isinstance(model, Decoder):
        model.fold_embedding_norm()
    names = list(labels) or ["LABEL_0"]
    values = {
        "architectures": [SHAPES[family.model_type].architecture],
        "model_type": family.model_type,
        "torch_dtype": str(model.embedding.weight.dtype).removeprefix("torch."),
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "pad_token_id": tokenizer.pad,
        **family.to_theirs(model.config),  # a RoBERTa's pad token tells where its positions begin
        "problem_type": problem,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "classifier_dropout": head.dropout,
    }
    if len(SHAPES[family.model_type].poolings) > 1:
        values["classifier_pooling"] = head.pooling
    with files.new_dir(path) as folder:
        files.write_json(folder / "config.json", values)
        write_model_tensors(to_theirs(model, classifier_table(family, model.config, head)), folder)
        tokenizer.save(folder, context=model.config.context)
        files.write_json(folder / "dodam.json", info)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return path


def is_classifier(values: dict[str, Any]) -> bool:
    """Whether a config.json is that of a classifier of texts."""
    return str((values.get("architectures") or [""])[0]).endswith("ForSequenceClassification")


def read_classifier(path: Path) -> tuple[Any, tuple[str, ...], Problem]:
    """Model, labels and problem of a folder. FolderError names the file and what is wrong with it."""
    where = path / "config.json"
    values = files.read_json(where)
    family = family_of(values.get("model_type"), str(where))
    if family.model_type not in SHAPES or values.get("architectures") != [SHAPES[family.model_type].architecture]:
        raise FolderError(f"holds no classifier ({values.get('architectures')})", where=str(where))
    labels = labels_in(values, where)
    problem = values.get("problem_type") or (
        "regression" if len(labels) == 1 else "single_label_classification"
    )  # what transformers trained without saying so
    try:
        config = family.from_theirs({**values, "architectures": [family.architecture]})
        pooling = values.get("classifier_pooling") if family.model_type == "modernbert" else None
        head = head_config(config, len(labels), pooling=pooling)
    except (KeyError, ValueError) as error:
        raise FolderError(f"the settings cannot be used: {error}", where=str(where)) from None

    def build(config: Any) -> Any:
        model: Any = family.model(config)
        model.classifier = ClassifierHead(config.width, head)
        without_language_head(model)
        return model

    model: Any = outline(build, config).to(torch.float32).to_empty(device="cpu")
    model.complete()
    weights = ModelTensors(path)
    ignored = family.ignored.replace(r"^bert\.pooler\.|", "")  # a language model's pooler is; a classifier's is not
    load_theirs(model, weights, classifier_table(family, config, head), where=weights.where, ignored=ignored)
    return model.eval(), labels, problem


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
