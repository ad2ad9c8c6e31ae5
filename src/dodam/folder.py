"""The model folder: Hugging Face's layout, written and read. A base model has no chat template, a tuned one has.

In come a model, its tokenizer and what is known of its making; out goes a folder that `transformers`, vLLM and
llama.cpp's converter read as it is, and back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from dodam import files
from dodam.errors import FolderError
from dodam.exchange.families import FAMILIES, family_of
from dodam.exchange.mapping import Family, Kind, load_theirs, made_theirs, table_of, to_theirs
from dodam.models.build import outline
from dodam.models.decoder import Decoder
from dodam.models.encoder import Encoder
from dodam.tensors import ModelTensors, has_model_tensors, write_model_tensors
from dodam.tokenizer.tokenizer import Tokenizer

FORMAT = 1
MISMATCH = "They are of two models; take both from one."
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class LoadedModel(Generic[M]):
    """A model folder in memory. `generation` is generation_config.json, `info` is dodam.json ({} for foreign
    folders)."""

    model: M
    tokenizer: Tokenizer
    generation: dict[str, Any]
    info: dict[str, Any]
    path: Path

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end an answer or a text."""
        eos = self.generation.get("eos_token_id", self.tokenizer.eos)
        return tuple(eos) if isinstance(eos, list) else (eos,)


def model_path(path: str | Path) -> Path:
    """A model folder as it is; of a run folder, its `model`. FolderError when there is neither."""
    path = Path(path)
    for candidate in (path, path / "model"):
        if (candidate / "config.json").is_file() and has_model_tensors(candidate):
            return candidate
    if not path.exists():
        raise FolderError("there is no such folder", where=str(path), mend="Name a model folder or a run folder.")
    raise FolderError(
        "holds no model (config.json and model.safetensors)",
        where=str(path),
        mend="If its training was stopped, start it again with the same --out and it goes on.",
    )


def load_model(path: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedModel[Decoder]:
    """Read the folder of a decoder. FolderError as in `load`."""
    return load(path, ("decoder",), device=device, dtype=dtype)


def load(
    path: str | Path, kinds: Sequence[Kind], *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> LoadedModel[Any]:
    """Read a model folder of one of these kinds. FolderError names the file and what is wrong with it."""
    path = model_path(path)
    values = files.read_json(path / "config.json")
    info = files.read_json(path / "dodam.json") if (path / "dodam.json").is_file() else {}
    if info:
        files.check_format(info.get("format"), FORMAT, path / "dodam.json")
    family = family_of(values.get("model_type"), str(path / "config.json"))
    if family.kind not in kinds:
        article = "an" if family.kind.startswith("e") else "a"
        raise FolderError(
            f"holds {article} {family.kind} ({family.model_type}); here a model must be: {' or '.join(kinds)}",
            where=str(path),
        )
    model = read_model(path, family, values, dtype)
    config = model.config
    tokenizer = Tokenizer.load(path)
    if tokenizer.size > config.vocabulary:
        raise FolderError(
            f"the tokenizer has {tokenizer.size} ids, the model only {config.vocabulary}",
            where=str(path),
            mend=MISMATCH,
        )
    generation_file = path / "generation_config.json"
    generation = files.read_json(generation_file) if generation_file.is_file() else {}
    return LoadedModel(model.to(device).eval(), tokenizer, generation, info, path)


def read_model(path: Path, family: Family, values: dict[str, Any], dtype: torch.dtype) -> Any:
    """The model of a folder whose config.json holds `values`, in `dtype`; only one tensor at a time is there twice."""
    try:
        config = family.from_theirs(values)
    except (KeyError, ValueError) as error:
        raise FolderError(f"the sizes cannot be used: {error}", where=str(path / "config.json")) from None
    model: Any = outline(family.model, config).to(dtype).to_empty(device="cpu")
    model.complete()
    weights = ModelTensors(path)
    load_theirs(model, weights, table_of(family, config), where=weights.where, ignored=family.ignored)
    return model


def save_model(
    path: str | Path,
    model: Any,
    tokenizer: Tokenizer,
    *,
    chat_template: str | None = None,
    info: dict[str, Any],
    card: str,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Write a model folder beside `path` and put it there in one move, so that it is whole or not there at all. The
    weights are the model's, or where it has no memory those of `weights`, by our names, one at a time."""
    path = Path(path)
    table = table_of(FAMILIES[model.config.family], model.config)
    if isinstance(model, Decoder) and weights is None:
        model.fold_embedding_norm()
    with files.new_dir(path) as folder:
        frame = tokenizer.frame_ids() if isinstance(model, Encoder) else {}
        files.write_json(folder / "config.json", {**config_json(model), **token_ids(tokenizer), **frame})
        if weights is None:
            write_model_tensors(to_theirs(model, table), folder)
        else:
            write_model_tensors(made_theirs(partial(folded, model, weights), model, table), folder)
        tokenizer.save(folder, chat_template=chat_template, context=model.config.context)
        ends = sorted({tokenizer.eos, tokenizer.end})
        stop_ids = ends if chat_template and len(ends) > 1 else tokenizer.eos
        files.write_json(folder / "generation_config.json", {**token_ids(tokenizer), "eos_token_id": stop_ids})
        files.write_json(folder / "dodam.json", {"format": FORMAT, **info})
        (folder / "README.md").write_text(card, encoding="utf-8")
    return path


def folded(model: Decoder, weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """One of a decoder's weights as its folder has it: the table of embeddings holds their norm."""
    weight = weights[name if name in weights else "embedding.weight"]  # a tied head is stored once
    return model.folded(weight) if name == "embedding.weight" else weight


def config_json(model: Any) -> dict[str, Any]:
    """The `config.json` of a model, without the ids of its special tokens."""
    family = FAMILIES[model.config.family]
    dtype = str(model.embedding.weight.dtype).removeprefix("torch.")
    about = {"architectures": [family.architecture], "model_type": family.model_type, "torch_dtype": dtype}
    return {**about, **family.to_theirs(model.config)}


def token_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """As config.json has them; a pad that only we use is left out."""
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos}
    return ids if tokenizer.pad_is_borrowed else {**ids, "pad_token_id": tokenizer.pad}


def model_card(title: str, facts: dict[str, Any]) -> str:
    """A README.md for the folder: front matter that hubs read, then what is known as a table and as JSON."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items() if not isinstance(value, dict | list))
    return (
        f"---\nlibrary_name: transformers\nlicense: other\n---\n# {title}\n\nGrown with [Dodam](https://pypi.org/project/dodam).\n\n"
        f"| | |\n|---|---|\n{rows}\n\n```json\n{json.dumps(facts, ensure_ascii=False, indent=2, default=str)}\n```\n"
    )
