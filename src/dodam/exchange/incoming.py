"""Command `import`: a Hugging Face folder, from the disk or the hub -> a model folder of ours.

What it reads: `config.json`, safetensors, `tokenizer.json` and what goes with them. What it writes: the same files, as
they are, with where they came from. All of it is checked first, tensor by tensor, without reading the weights into
memory; a folder is written whole or not at all.
"""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dodam import files
from dodam.errors import DataError, FolderError, UsageError

if TYPE_CHECKING:
    from dodam.tensors import ModelTensors

ALONGSIDE = ("generation_config.json", "chat_template.jinja", "special_tokens_map.json", "added_tokens.json", "LICENSE")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
WANTED = ["*.json", "*.safetensors", "*.jinja", "LICENSE*", "README.md"]


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


def run(config: Import) -> dict[str, Any]:
    """Check and copy; returns family, sizes and where it came from."""
    from dodam.exchange.families import family_of
    from dodam.exchange.mapping import check_tensors, table_of
    from dodam.models.build import outline
    from dodam.tensors import ModelTensors
    from dodam.tokenizer.tokenizer import Tokenizer

    folder = located(config)
    values = files.read_json(folder / "config.json")
    values = values.get("text_config", values) if "model_type" not in values else values
    family = family_of(values.get("model_type"), str(folder / "config.json"))
    try:
        sizes = family.from_theirs(values)
    except (KeyError, ValueError) as error:
        raise FolderError(f"cannot be taken in: {error}", where=str(folder / "config.json")) from None
    weights = ModelTensors(folder)
    table = table_of(family, sizes)
    check_tensors(outline(family.model, sizes), weights.shapes(), table, where=weights.where, ignored=family.ignored)
    tokenizer = Tokenizer.load(folder)
    if tokenizer.size > sizes.vocabulary:
        raise FolderError(
            f"the tokenizer has {tokenizer.size} ids, the model only {sizes.vocabulary}", where=str(folder)
        )
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
    write(config, folder, weights, told)
    print(
        f"import: {family.model_type}, {told['parameters']:,} parameters, {', '.join(told['dtypes'])}, context "
        f"{sizes.context:,}, {'with' if told['chat_template'] else 'without'} a chat template. In {config.out}.",
        file=sys.stderr,
    )
    return told


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


def write(config: Import, folder: Path, weights: "ModelTensors", told: dict[str, Any]) -> None:
    """Copy what belongs to the model, and say where it came from."""
    from dodam.folder import FORMAT, model_card
    from dodam.versions import versions

    if config.out.exists() and config.out.resolve() == folder.resolve():
        raise UsageError("is the folder to read", where="--out", mend="Choose another one.")
    if config.out.exists() and not (config.out / "dodam.json").is_file() and any(config.out.iterdir()):
        raise UsageError("is there and holds no model of ours", where=str(config.out), mend="Choose another --out.")
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", *ALONGSIDE, *weights.opened]
    if weights.where.name not in weights.opened:
        names.append(weights.where.name)
    with files.new_dir(config.out) as made:
        for name in dict.fromkeys(names):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, made / name)
        checksums = {name: files.xxh3(made / name) for name in sorted(weights.opened)}
        lineage = {"source": config.source, "revision": config.revision, "xxh3": checksums}
        info = {"format": FORMAT, "stage": "import", "lineage": lineage, "result": told, "versions": versions()}
        files.write_json(made / "dodam.json", info)
        if (folder / "README.md").is_file():
            shutil.copyfile(folder / "README.md", made / "README.md")
        else:
            card = model_card(config.out.name, {"source": config.source, **told})
            (made / "README.md").write_text(card, encoding="utf-8")
