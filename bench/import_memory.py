"""Peak memory of `dodam import` for a large checkpoint.

    python bench/import_memory.py [--gigabytes 1] [--dtype bfloat16] [--files 4] [--folder DIR]

A Llama-shaped folder with random weights, in several safetensors files with their index, is made in DIR (a temporary
folder unless named) and imported by a process of its own, whose memory is read every 5 ms from /proc: Linux alone.
Prints a JSON line for a checkpoint of next to nothing and one for the large one: bytes of the weights, the highest
resident memory, and of its parts the highest of the process' own (RssAnon) and of pages of mapped files (RssFile, which
the system may take back), with their ratios to the weights.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import files
from dodam.errors import DodamError, UsageError
from dodam.exchange.families import FAMILIES
from dodam.exchange.mapping import table_of, to_theirs
from dodam.folder import config_json
from dodam.models.build import outline
from dodam.tensors import write_model_tensors
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import learn

SOURCE = Path(__file__).resolve().parent.parent / "src"
PARTS = {"resident": "VmHWM", "own": "RssAnon", "mapped": "RssFile"}
EVERY = 0.005  # seconds between two looks
LARGE = {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 16}
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2}


def write_checkpoint(folder: Path, sizes: dict[str, int], num_bytes: int, dtype: torch.dtype, num_files: int) -> int:
    """Write a Llama with as many layers as make about so many bytes; returns the bytes of its weights."""
    width, vocabulary = sizes["hidden_size"], 32_000 if sizes is LARGE else 512
    layer = 4 * width**2 + 3 * width * sizes["intermediate_size"]
    depth = max(1, round((num_bytes / dtype.itemsize - 2 * vocabulary * width) / layer))
    values = {**sizes, "vocab_size": vocabulary, "num_hidden_layers": depth, "max_position_embeddings": 2048}
    settings = {"rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu", "tie_word_embeddings": False}
    family = FAMILIES["llama"]
    config = family.from_theirs({**values, **settings})
    model: Any = outline(family.model, config).to(dtype).to_empty(device="cpu")
    model.complete()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02)
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(learn(["dodam 도담"], len(SPECIAL_TOKENS) + 256, SPECIAL_TOKENS).to_str(pretty=True))
    tokenizer.save(folder)
    files.write_json(folder / "config.json", config_json(model))
    tensors = to_theirs(model, table_of(family, config))
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_model_tensors(tensors, folder, largest=-(-total // num_files))
    return total


def peaks(command: Sequence[str]) -> dict[str, int]:
    """The highest value of each of `PARTS`, in bytes, while a command runs to its end."""
    paths = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL)
    highest = dict.fromkeys(PARTS, 0)
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:  # it has just ended
            break
        status = dict(line.split(":", 1) for line in lines)
        for name, key in PARTS.items():
            if key in status:  # a process that ends has no memory any more
                highest[name] = max(highest[name], 1024 * int(status[key].split()[0]))
        time.sleep(EVERY)
    if process.wait():
        sys.exit(process.returncode)
    return highest


def measured(folder: Path, name: str, sizes: dict[str, int], options: argparse.Namespace) -> dict[str, Any]:
    """Make a checkpoint, import it, and return the row."""
    dtype, num_files = getattr(torch, options.dtype), options.files if sizes is LARGE else 1
    source = folder / name
    wanted = int(options.gigabytes * 1e9) if sizes is LARGE else 0
    total = write_checkpoint(source, sizes, wanted, dtype, num_files)
    out = str(folder / f"{name}-imported")
    found = peaks([sys.executable, "-m", "dodam", "import", str(source), "--out", out])
    row: dict[str, Any] = {"checkpoint": name, "dtype": options.dtype, "files": num_files, "bytes": total, **found}
    return row | {f"{part} / bytes": round(value / total, 3) for part, value in found.items() if sizes is LARGE}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--folder", help="where to put both folders; they are deleted at the end")
    options = parser.parse_args(arguments)
    if not Path("/proc/self/status").is_file():
        raise UsageError("memory is read from /proc, which this system does not have")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name, sizes in (("tiny", TINY), ("large", LARGE)):
            print(json.dumps(measured(Path(folder), name, sizes, options)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except DodamError as error:
        sys.exit(f"import_memory: {error}")
