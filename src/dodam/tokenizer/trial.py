"""Small models trained with several tokenizers and equal compute: which tokenizer do models learn most from?

In come tokenizers and text, out come bits per byte on text held back, which are comparable whatever the tokens are. All
models have the same blocks; a larger vocabulary costs more for each token, and gets fewer steps for it.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dodam import config as configs
from dodam import files
from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    from dodam.stages.pretrain import Pretrain
    from dodam.tokenizer.tokenizer import Tokenizer

CONTEXT, BATCH = 256, 16
HELD_BACK = 0.05  # of text that is no data folder yet
MEASURED_BYTES = 200_000  # of the text held back, from its beginning


def check_length(length: str) -> None:
    """UsageError for what is neither a number of steps nor a time."""
    try:
        if not (length.isdecimal() and int(length) > 0):
            configs.seconds(length)
    except ValueError:
        mend = "Give steps, such as 300, or time for each tokenizer, such as 5m."
        raise UsageError(f"cannot be {length}", where="--train", mend=mend) from None


def trials(
    tokenizers: "Mapping[str, Tokenizer]", data: tuple[str, ...], length: str, encoding: str, depth: int, seed: int
) -> list[dict[str, Any]]:
    """{"bits_per_byte", "steps", "parameters"} of each tokenizer, in their order. `length`: steps of the first, or time
    for each. DataError where too little text is held back to measure on."""
    from dodam.data.prepare import Prepare
    from dodam.data.prepare import run as prepare
    from dodam.stages.pretrain import Pretrain

    found = []
    with TemporaryDirectory(prefix="dodam-compare-") as name:
        folder = Path(name)
        if len(data) == 1 and (Path(data[0]) / "manifest.json").is_file():
            borrow(Path(data[0]), folder / "data")
        else:
            prepare(Prepare(data=data, out=folder / "data", encoding=encoding, validation=HELD_BACK))
        flops = 0.0
        for number, (label, tokenizer) in enumerate(tokenizers.items()):
            tokenizer.save(folder / f"tokenizer-{number}", tokenizer.chat_template)
            values: dict[str, Any] = {
                "data": folder / "data",
                "tokenizer": folder / f"tokenizer-{number}",
                "out": folder / f"run-{number}",
                "depth": depth,
                "batch": BATCH,
                "context": CONTEXT,
                "seed": seed,
                "validate_every": 1.0,
            }
            if length.isdecimal():
                cost = step_flops(Pretrain(**values), tokenizer)
                flops = flops or int(length) * cost
                values["steps"] = max(1, round(flops / cost))
            else:
                values["budget"] = length
            print(f"tokenizer: training with {label}.", file=sys.stderr)
            found.append(trial(Pretrain(**values)))
            shutil.rmtree(folder / f"run-{number}")
    return found


def borrow(data: Path, folder: Path) -> None:
    """A data folder's documents in another folder, so that no tokenizer leaves anything in the first."""
    from dodam.data.documents import read_manifest

    folder.mkdir()
    manifest = read_manifest(data)
    for split in manifest["splits"].values():
        for name in split["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.symlink((data / name).resolve(), folder / name)
            except OSError:  # where links are not allowed
                shutil.copyfile(data / name, folder / name)
    files.write_json(folder / "manifest.json", manifest)


def step_flops(config: "Pretrain", tokenizer: "Tokenizer") -> float:
    """Floating point operations of one step."""
    from dodam.models.build import flops_per_token
    from dodam.stages.architecture import sizes

    assert config.depth is not None
    shape = sizes(config, tokenizer.size, CONTEXT, config.depth, tokenizer.bos)
    return flops_per_token(shape, CONTEXT) * BATCH * CONTEXT


def trial(config: "Pretrain") -> dict[str, Any]:
    """Train, then measure on the text held back: bits of whole documents over their bytes as they stand."""
    from dodam import machine
    from dodam.data.shards import ensure_shards
    from dodam.evaluate.perplexity import bits
    from dodam.folder import load_model
    from dodam.stages.pretrain import run as pretrain
    from dodam.tokenizer.tokenizer import Tokenizer

    assert config.tokenizer is not None
    ensure_shards(config.data, Tokenizer.load(config.tokenizer))
    machine.begin(time.monotonic())
    result = pretrain(config)
    texts = list(held_back(config.data))
    if not texts:
        raise DataError("holds nothing back to measure on", where=str(config.data), mend="Name more text.")
    per_byte = sum(bits(load_model(config.out), texts)) / sum(len(text.encode()) for text in texts)
    return {"bits_per_byte": per_byte, "steps": result["steps"], "parameters": result["parameters"]}


def held_back(data: Path) -> Iterator[str]:
    """The first texts of the part held back, up to `MEASURED_BYTES`; a longer one is cut at a space."""
    from dodam.data.documents import read_documents

    room = MEASURED_BYTES
    for row in read_documents(data, "validation"):
        text = row["text"]
        if len(text.encode()) > room:
            text = text.encode()[:room].decode(errors="ignore").rpartition(" ")[0]
        if not text:
            break
        room -= len(text.encode())
        yield text
