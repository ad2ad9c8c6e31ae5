"""The model folder: Hugging Face's layout, written and read. A base model has no chat template, a tuned one has.

In come a model, its tokenizer and what is known of its making; out goes a folder that `transformers`, vLLM and
llama.cpp's converter read as it is, and back.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dodam import files
from dodam.errors import FolderError
from dodam.models.decoder import QWEN3_NAMES, Decoder, from_qwen3_config, to_qwen3_config
from dodam.tensors import read_tensors, write_tensors
from dodam.tokenizer.tokenizer import Tokenizer

FORMAT = 1


@dataclass(frozen=True)
class LoadedModel:
    """A model folder in memory. `generation` is generation_config.json, `info` is dodam.json ({} for foreign
    folders)."""

    model: Decoder
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
        if (candidate / "config.json").is_file() and (candidate / "model.safetensors").is_file():
            return candidate
    if not path.exists():
        raise FolderError("there is no such folder", where=str(path), mend="Name a model folder or a run folder.")
    raise FolderError(
        "holds no model (config.json and model.safetensors)",
        where=str(path),
        mend="If its training was stopped, start it again with the same --out and it goes on.",
    )


def load_model(path: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Read a model folder. FolderError names the file and what is wrong with it."""
    path = model_path(path)
    values = files.read_json(path / "config.json")
    info = files.read_json(path / "dodam.json") if (path / "dodam.json").is_file() else {}
    if info:
        files.check_format(info.get("format"), FORMAT, path / "dodam.json")
    if values.get("model_type") != "qwen3":
        raise FolderError(
            f"model_type {values.get('model_type')!r} is not one of ours (qwen3)", where=str(path / "config.json")
        )
    try:
        config = from_qwen3_config(values)
    except (KeyError, ValueError) as error:
        raise FolderError(f"the sizes cannot be used: {error}", where=str(path / "config.json")) from None
    weights = read_tensors(path / "model.safetensors")
    model = Decoder(config)
    model.load_state_dict(
        ours_from_theirs(weights, config.depth, tied=config.tied, where=path / "model.safetensors", model=model)
    )
    tokenizer = Tokenizer.load(path)
    if tokenizer.size > config.vocabulary:
        raise FolderError(
            f"the tokenizer has {tokenizer.size} ids, the model only {config.vocabulary}", where=str(path)
        )
    generation_file = path / "generation_config.json"
    generation = files.read_json(generation_file) if generation_file.is_file() else {}
    return LoadedModel(model.to(device=device, dtype=dtype).eval(), tokenizer, generation, info, path)


def save_model(
    path: str | Path,
    model: Decoder,
    tokenizer: Tokenizer,
    *,
    chat_template: str | None = None,
    info: dict[str, Any],
    card: str,
) -> Path:
    """Write a model folder beside `path` and put it there in one move, so that it is whole or not there at all."""
    path = Path(path)
    model.fold_embedding_norm()
    with files.new_dir(path) as folder:
        files.write_json(folder / "config.json", {**to_qwen3_config(model.config), **token_ids(tokenizer)})
        write_tensors(theirs_from_ours(model), folder / "model.safetensors", metadata={"format": "pt"})
        tokenizer.save(folder, chat_template=chat_template, context=model.config.context)
        stop_ids = [tokenizer.eos, tokenizer.end] if chat_template else tokenizer.eos
        files.write_json(folder / "generation_config.json", {**token_ids(tokenizer), "eos_token_id": stop_ids})
        files.write_json(folder / "dodam.json", {"format": FORMAT, **info})
        (folder / "README.md").write_text(card, encoding="utf-8")
    return path


def token_ids(tokenizer: Tokenizer) -> dict[str, int]:
    return {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos, "pad_token_id": tokenizer.pad}


def theirs_from_ours(model: Decoder) -> dict[str, torch.Tensor]:
    """Our weights under Qwen3's names, fp32, contiguous; a tied head is left out."""
    ours = model.state_dict()
    return {
        theirs: ours[name].detach().to("cpu", torch.float32).contiguous()
        for theirs, name in qwen3_names(model.config.depth, tied=model.config.tied)
    }


def ours_from_theirs(
    weights: dict[str, torch.Tensor], depth: int, *, tied: bool, where: Path, model: Decoder
) -> dict[str, torch.Tensor]:
    """Qwen3's names turned into ours; every tensor must be there, none may be left over, every shape must fit."""
    names = qwen3_names(depth, tied=tied)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    missing = [theirs for theirs, _ in names if theirs not in weights]
    extra = sorted(set(weights) - {theirs for theirs, _ in names} - ({"lm_head.weight"} if tied else set()))
    if missing or extra:
        what = f"tensors missing: {missing[:3]}" if missing else f"tensors nobody asked for: {extra[:3]}"
        raise FolderError(what, where=str(where), mend="The file does not belong to this config.json.")
    for theirs, name in names:
        if weights[theirs].shape != shapes[name]:
            what = f"{theirs} is {tuple(weights[theirs].shape)}, config.json says {tuple(shapes[name])}"
            raise FolderError(what, where=str(where), mend="The file does not belong to this config.json.")
    ours = {name: weights[theirs].float() for theirs, name in names}
    if tied:
        ours["output.weight"] = ours["embedding.weight"]
    return ours


def qwen3_names(depth: int, *, tied: bool) -> list[tuple[str, str]]:
    """(their name, our name) of every tensor that is stored."""
    names = []
    for theirs, ours in QWEN3_NAMES:
        if "{i}" in ours:
            names += [(theirs.format(i=i), ours.format(i=i)) for i in range(depth)]
        elif not (tied and ours == "output.weight"):
            names.append((theirs, ours))
    return names


def model_card(title: str, facts: dict[str, Any]) -> str:
    """A README.md for the folder: front matter that hubs read, then what is known as a table and as JSON."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items() if not isinstance(value, dict | list))
    return (
        f"---\nlibrary_name: transformers\nlicense: other\n---\n# {title}\n\nGrown with [Dodam](https://pypi.org/project/dodam).\n\n"
        f"| | |\n|---|---|\n{rows}\n\n```json\n{json.dumps(facts, ensure_ascii=False, indent=2, default=str)}\n```\n"
    )
