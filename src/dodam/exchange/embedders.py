"""The layout of sentence-transformers: what tells a program how a model folder's hidden states become one vector.

Beside the model lie `modules.json` (the parts, one after the other), `1_Pooling/config.json`, the tokens of a text in
`sentence_bert_config.json`, and `config_sentence_transformers.json`. Its versions 2 to 5 read the names written here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dodam import files
from dodam.errors import FolderError
from dodam.models.heads import Pooling

MODULES, TEXTS, SETTINGS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
MODES: dict[Pooling, tuple[str, str]] = {
    "cls": ("cls", "pooling_mode_cls_token"),
    "mean": ("mean", "pooling_mode_mean_tokens"),
    "last": ("lasttoken", "pooling_mode_lasttoken"),
}
"""Our poolings: what newer versions call them, and the switch that all versions read."""
OTHER_MODES = ("pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
MEND = "Its vectors would be others here."


@dataclass(frozen=True)
class Layout:
    """How hidden states become a vector. `context`: tokens of a text; None where the folder does not say."""

    pooling: Pooling
    normalized: bool
    context: int | None


def has_layout(folder: Path) -> bool:
    return (folder / MODULES).is_file()


def write_layout(folder: Path, layout: Layout, width: int, made_with: dict[str, str]) -> None:
    """Write the files into a model folder; `modules.json` last, so that a folder that has it has all of them."""
    parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
    parts += [("2_Normalize", "Normalize")] if layout.normalized else []
    for name, _ in parts[1:]:
        (folder / name).mkdir(exist_ok=True)
    switches = {switch: pooling == layout.pooling for pooling, (_, switch) in MODES.items()}
    pooling = {"word_embedding_dimension": width, **switches, **dict.fromkeys(OTHER_MODES, False)}
    files.write_json(folder / "1_Pooling" / "config.json", {**pooling, "include_prompt": True})
    files.write_json(folder / TEXTS, {"max_seq_length": layout.context, "do_lower_case": False})
    about = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    files.write_json(folder / SETTINGS, {"__version__": made_with, "model_type": "SentenceTransformer", **about})
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(parts)
    ]
    files.write_atomic(folder / MODULES, json.dumps(modules, indent=2) + "\n")


def read_layout(folder: Path) -> Layout:
    """How a folder's vectors are made. FolderError names a file that is missing or torn, and a part we do not have."""
    where = folder / MODULES
    try:
        modules = json.loads(where.read_text(encoding="utf-8"))
        kinds = [str(one["type"]).rpartition(".")[2] for one in modules]
        paths = [str(one["path"]) for one in modules]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FolderError(f"cannot be read ({error})", where=str(where)) from None
    if unknown := [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]:
        raise FolderError(f"has a module that is not known here ({unknown[0]})", where=str(where), mend=MEND)
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) or paths[0]:
        what = f"has the modules {', '.join(kinds)}, not a transformer beside it, pooling and perhaps normalising"
        raise FolderError(what, where=str(where), mend=MEND)
    texts = files.read_json(folder / TEXTS) if (folder / TEXTS).is_file() else {}
    settings = files.read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    if texts.get("do_lower_case"):
        raise FolderError("lower-cases texts beside its tokenizer", where=str(folder / TEXTS), mend=MEND)
    if settings.get("default_prompt_name"):
        raise FolderError("puts a prompt before every text", where=str(folder / SETTINGS), mend=MEND)
    place = folder / paths[1] / "config.json"
    return Layout(pooling_of(files.read_json(place), place), "Normalize" in kinds, texts.get("max_seq_length"))


def pooling_of(values: dict[str, Any], where: Path) -> Pooling:
    """FolderError for one that we do not have, or several."""
    told = values.get("pooling_mode")
    names = [told] if isinstance(told, str) else list(told or ())
    names = names or [key for key, value in values.items() if key.startswith("pooling_mode_") and value]
    for pooling, known in MODES.items():
        if len(names) == 1 and names[0] in known:
            return pooling
    raise FolderError(f"the pooling {', '.join(names) or 'nothing'} is not known here", where=str(where), mend=MEND)
