"""Command `import`: a Hugging Face folder, from the disk or the hub -> a model folder of ours.

What it reads: `config.json`, safetensors, `tokenizer.json` and what goes with them. What it writes: the same files, as
they are, with where they came from; others are only the tables that have a row for each token where a vocabulary grows,
and the weights of an encoder that gets the head it lacks. All of it is checked first, tensor by tensor, without reading
the weights into memory; a folder is written whole or not at all.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from dodam import files
from dodam.errors import DataError, FolderError, UsageError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from dodam.exchange.mapping import Family, Weight
    from dodam.tensors import ModelTensors
    from dodam.tokenizer.extend import Extension
    from dodam.tokenizer.tokenizer import Tokenizer

ALONGSIDE = ("generation_config.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json", "LICENSE")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
WANTED = ["*.json", "*.safetensors", "*.jinja", "LICENSE*", "README.md"]
TABLES = ("embedding.weight", "output.weight")
"""Our names of the tensors that have a row for each token."""
MULTIPLE = 64
"""The rows of a table that has to grow are a multiple of this."""
CHUNK = 8192  # rows that are summed at a time


@dataclass(frozen=True, kw_only=True)
class Import:
    """Take in open weights: a folder in the Hugging Face layout, or a name on its hub."""

    positional: ClassVar[tuple[str, ...]] = ("source",)

    source: str
    """A local folder with config.json, safetensors and tokenizer.json, or a hub name such as `org/model`."""
    out: Path
    """The model folder to write."""
    revision: str = "main"
    """Of a hub name: which branch, tag or commit."""
    extend_vocabulary: Annotated[int, Ge(0)] = 0
    """Give a decoder so many more tokens, learned from --data; its tokenizer has to be a byte-level BPE."""
    data: tuple[str, ...] = ()
    """What the new tokens are learned from: a data folder, or text files, folders and globs; of more than 20 MB an even
    sample."""
    encoding: str = "auto"
    """The encoding of text files in --data that are not UTF-8, such as cp949; `auto` finds it out."""


def run(config: Import) -> dict[str, Any]:
    """Check, learn the tokens asked for, and copy; returns family, sizes and what the new tokens do."""
    from dodam.exchange.bare import with_head
    from dodam.exchange.families import family_of
    from dodam.folder import MISMATCH
    from dodam.models.build import outline
    from dodam.tensors import ModelTensors
    from dodam.tokenizer.tokenizer import Tokenizer

    check_flags(config)
    folder = located(config)
    check_out(config, folder)
    values = files.read_json(folder / "config.json")
    values = values.get("text_config", values) if "model_type" not in values else values
    family = family_of(values.get("model_type"), str(folder / "config.json"))
    try:
        sizes = family.from_theirs(with_head(values, family))
    except (KeyError, ValueError) as error:
        raise FolderError(f"cannot be taken in: {error}", where=str(folder / "config.json")) from None
    weights = ModelTensors(folder)
    model = outline(family.model, sizes)
    table, bare = checked_table(weights, family, sizes, model)
    tokenizer = Tokenizer.load(folder)
    if tokenizer.size > sizes.vocabulary:
        raise FolderError(
            f"the tokenizer has {tokenizer.size} ids, the model only {sizes.vocabulary}",
            where=str(folder),
            mend=MISMATCH,
        )
    extension = extended(config, family, tokenizer)
    if extension:
        sizes = replace(sizes, vocabulary=num_rows(sizes.vocabulary, extension))
    told = {
        "model": str(config.out),
        "family": family.model_type,
        "architecture": family.kind,
        "parameters": sum(parameter.numel() for parameter in outline(family.model, sizes).parameters()),
        "dtypes": sorted(weights.dtypes()),
        "context": sizes.context,
        "vocabulary": sizes.vocabulary,
        "chat_template": tokenizer.chat_template is not None,
    }
    if bare:
        told["head"] = "fresh"
    if extension:
        told["extension"] = {
            "tokens": len(extension.pieces),
            "bytes_per_token": extension.bytes_per_token,
            "most_used": [{"text": text, "count": count} for text, count in extension.most_used],
        }
    write(config, folder, weights, told, extension, table, family)
    tell(config, told, extension)
    return told


def checked_table(
    weights: "ModelTensors", family: "Family", sizes: Any, model: "Module"
) -> tuple["Sequence[Weight]", bool]:
    """The table that names the weights, and whether they lack the model's head. FolderError where they do not fit."""
    from dodam.exchange.bare import full_shapes, is_bare
    from dodam.exchange.mapping import check_tensors, table_of

    table, shapes = table_of(family, sizes), weights.shapes()
    bare = is_bare(family, table, shapes)
    shapes = full_shapes(table, shapes, model.state_dict()) if bare else shapes
    check_tensors(model, shapes, table, where=weights.where, ignored=family.ignored)
    return table, bare


def tell(config: Import, told: dict[str, Any], extension: "Extension | None") -> None:
    """Say on standard error what was taken in."""
    template = "with" if told["chat_template"] else "without"
    print(
        f"import: {told['family']}, {told['parameters']:,} parameters, {', '.join(told['dtypes'])}, context "
        f"{told['context']:,}, {template} a chat template. In {config.out}.",
        file=sys.stderr,
    )
    if "head" in told:
        what = "it has no head that fills masks in, and gets a fresh one; `pretrain --model` teaches it"
        print(f"import: {what}. Classifiers and vectors do without.", file=sys.stderr)
    if extension:
        print(told_of(extension, told["vocabulary"]), file=sys.stderr)


def check_flags(config: Import) -> None:
    """UsageError for new tokens without a text to learn them from, and for a text that nothing is learned from."""
    if config.extend_vocabulary and not config.data:
        raise UsageError("needs a text to learn from", where="--extend-vocabulary", mend="Name it with --data.")
    if config.data and not config.extend_vocabulary:
        mend = "Say how many with --extend-vocabulary, such as 2000."
        raise UsageError("is what new tokens are learned from, and none are asked for", where="--data", mend=mend)
    if config.encoding != "auto" and not config.data:
        raise UsageError("is that of --data, and there is none", where="--encoding")


def check_out(config: Import, folder: Path) -> None:
    """UsageError for an --out that must not be overwritten."""
    if config.out.exists() and config.out.resolve() == folder.resolve():
        raise UsageError("is the folder to read", where="--out", mend="Choose another one.")
    if config.out.exists() and not (config.out / "dodam.json").is_file() and any(config.out.iterdir()):
        raise UsageError("is there and holds no model of ours", where=str(config.out), mend="Choose another --out.")


def extended(config: Import, family: "Family", tokenizer: "Tokenizer") -> "Extension | None":
    """The tokenizer with the tokens that are asked for, if any are. UsageError for what is no decoder."""
    if not config.extend_vocabulary:
        return None
    if family.kind != "decoder":
        article = "an" if family.kind.startswith("e") else "a"
        what = f"is for decoders, and this is {article} {family.kind} ({family.model_type})"
        raise UsageError(what, where="--extend-vocabulary", mend="Import it without.")
    from dodam.tokenizer.extend import extend

    print(f"import: learning {config.extend_vocabulary:,} tokens.", file=sys.stderr)
    return extend(tokenizer, config.data, config.extend_vocabulary, config.encoding)


def num_rows(rows: int, extension: "Extension") -> int:
    """How many rows the tables get: as many as they have when the new tokens fit into those that no token used."""
    needed = extension.first + len(extension.pieces)
    return rows if needed <= rows else -(-needed // MULTIPLE) * MULTIPLE


def told_of(extension: "Extension", rows: int) -> str:
    """What the new tokens do, for people."""
    before, after = (extension.bytes_per_token[when] for when in ("before", "after"))
    used = " ".join(f"`{text}`" for text, _ in extension.most_used).replace("\n", "⏎")
    return (
        f"import: {len(extension.pieces):,} tokens added, the vocabulary is {rows:,} now; on lines held back "
        f"{before:.2f} bytes per token before, {after:.2f} now.\nimport: most used there: {used or 'none of them'}"
    )


def located(config: Import) -> Path:
    """The folder on the disk; of a hub name the local copy, fetched if it is not there yet."""
    folder = Path(config.source)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise FolderError(
                "holds no config.json", where=config.source, mend="Name a folder in Hugging Face's layout."
            )
        pickled = [*folder.glob("*.bin"), *folder.glob("*.pth"), *folder.glob("*.pt")]
        if pickled and not list(folder.glob("*.safetensors")):
            raise FolderError(
                "holds its weights as pickles only, which can run code when they are read",
                where=str(pickled[0]),
                mend="Save them as safetensors with the program that made them.",
            )
        return folder
    if not HUB_NAME.fullmatch(config.source):
        raise UsageError("there is no such folder, and a hub name is like org/model", where=config.source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(config.source, revision=config.revision, allow_patterns=WANTED))
    except RepositoryNotFoundError:
        mend = "Check the name; a private one needs `hf auth login`."
        raise DataError("the hub has no such model", where=config.source, mend=mend) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        what = "cannot be fetched, and there is no copy of it here"
        raise DataError(f"{what} ({str(error).splitlines()[0]})", where=config.source) from None


def write(
    config: Import,
    folder: Path,
    weights: "ModelTensors",
    told: dict[str, Any],
    extension: "Extension | None",
    table: "Sequence[Weight]",
    family: "Family",
) -> None:
    """Copy what belongs to the model, complete what lacks its head, grow what new tokens make larger, and say where it
    all came from."""
    from dodam.folder import FORMAT, model_card
    from dodam.versions import versions

    names = ["config.json", "tokenizer.json", "tokenizer_config.json", *ALONGSIDE, *weights.opened]
    if weights.where.name not in weights.opened:
        names.append(weights.where.name)
    checksums = {name: files.xxh3(folder / name) for name in sorted(weights.opened)}
    lineage: dict[str, Any] = {"source": config.source, "revision": config.revision, "xxh3": checksums}
    with files.new_dir(config.out) as made:
        done: set[str] = set()
        if extension:
            lineage["extension"] = {"data": list(config.data), "text": extension.text}
            done = write_extended(made, folder, weights, extension, table, told["vocabulary"])
        elif "head" in told:
            done = write_completed(made, folder, weights, table, family)
        for name in dict.fromkeys(names):
            if name not in done and (folder / name).is_file():
                shutil.copyfile(folder / name, made / name)
        info = {"format": FORMAT, "stage": "import", "lineage": lineage, "result": told, "versions": versions()}
        files.write_json(made / "dodam.json", info)
        if (folder / "README.md").is_file():
            shutil.copyfile(folder / "README.md", made / "README.md")
        else:
            card = model_card(config.out.name, {"source": config.source, **told})
            (made / "README.md").write_text(card, encoding="utf-8")


def write_completed(
    made: Path, folder: Path, weights: "ModelTensors", table: "Sequence[Weight]", family: "Family"
) -> set[str]:
    """Write an encoder with a fresh head, and return the names of the files that are others now."""
    from dodam.exchange.bare import completed, with_head
    from dodam.models.build import outline
    from dodam.tensors import write_model_tensors

    values = files.read_json(folder / "config.json")
    sizes = family.from_theirs(with_head(values, family))
    write_model_tensors(completed(table, weights, outline(family.model, sizes).state_dict()), made)
    files.write_json(made / "config.json", with_head(values, family))
    return {"config.json", weights.where.name, *weights.opened}


def write_extended(
    made: Path,
    folder: Path,
    weights: "ModelTensors",
    extension: "Extension",
    table: "Sequence[Weight]",
    rows: int,
) -> set[str]:
    """Write the files that new tokens change, and return their names: the tokenizer, the weights' files that hold a
    table, and where the tables grow the two that count their rows."""
    from dodam.tensors import FILE, write_tensors

    files.write_atomic(made / "tokenizer.json", extension.tokenizer.json)
    shapes = weights.shapes()
    tables = {weight.source(shapes) for weight in table if weight.parts[0] in TABLES}
    done = {"tokenizer.json"} | {weights.places[name] for name in tables}
    more = dict.fromkeys(("total_size", "total_parameters"), 0)
    for file in sorted(done - {"tokenizer.json"}):
        # What stays as it is is a view of the file that is read, and takes no memory of its own.
        tensors = {name: weights[name] for name, place in weights.places.items() if place == file}
        for name in tables & tensors.keys():
            before = tensors[name]
            tensors[name] = with_rows(before, extension.first, extension.pieces, rows)
            more["total_size"] += tensors[name].nbytes - before.nbytes
            more["total_parameters"] += tensors[name].numel() - before.numel()
        write_tensors(tensors, made / file, metadata=weights.opened[file].metadata())
    if not more["total_size"]:
        return done
    settings = files.read_json(folder / "config.json")
    (settings if "model_type" in settings else settings["text_config"])["vocab_size"] = rows
    files.write_json(made / "config.json", settings)
    if weights.where.name == FILE:
        return done | {"config.json"}
    index = files.read_json(weights.where)
    totals = index.get("metadata") or {}
    index["metadata"] = {key: value + more.get(key, 0) for key, value in totals.items()}
    files.write_json(made / weights.where.name, index)
    return done | {"config.json", weights.where.name}


def with_rows(table_VD: "Tensor", first: int, pieces: Sequence[Sequence[int]], rows: int) -> "Tensor":
    """A table with the rows of new tokens, from `first` on: each the mean of the rows of its pieces, so that the model
    begins with what it knows of them. A table that grows to `rows` is filled up with the mean of all old tokens."""
    import torch

    known_VD = table_VD[:first]
    new_ND = torch.stack([known_VD[list(piece)].mean(0, dtype=torch.float32) for piece in pieces]).to(table_VD.dtype)
    rest = first + len(pieces)
    if rows == len(table_VD):
        return torch.cat([known_VD, new_ND, table_VD[rest:]])
    totals_CD = torch.stack([part.sum(0, dtype=torch.float32) for part in known_VD.split(CHUNK)])
    mean_D = (totals_CD.sum(0) / first).to(table_VD.dtype)
    return torch.cat([known_VD, new_ND, mean_D.expand(rows - rest, -1)])
