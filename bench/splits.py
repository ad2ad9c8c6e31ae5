"""Which way of cutting text into words is best for Korean? A table of all ways at several vocabularies.

    python bench/splits.py --data FILES... --out DIR [--vocabularies 8192 32768] [--splits qwen2 gpt2 ...]
        [--seconds 120 | --steps 500] [--depth 4]

The text is prepared once in DIR/data. For each vocabulary and split a tokenizer is learned in DIR/SPLIT-SIZE, and one
with the digits the other way for those named with --digits; they are compared on the text held back. With --seconds or
--steps a small model is trained with each, with equal time or equal compute, for bits per byte. Prints the table of
`dodam tokenizer compare` and writes DIR/report.md and DIR/report.json. Started again, tokenizers that are there are
kept.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import files
from dodam.data.prepare import Prepare
from dodam.data.prepare import run as prepare
from dodam.errors import DodamError
from dodam.tokenizer.compare import TokenizerCompare
from dodam.tokenizer.compare import run as compare
from dodam.tokenizer.patterns import SplitName
from dodam.tokenizer.train import TokenizerTrain
from dodam.tokenizer.train import run as train


def folders(config: argparse.Namespace) -> list[Path]:
    """The tokenizers, learned where they are not there yet."""
    found = []
    for vocabulary in config.vocabularies:
        for split in config.splits:
            for digits in (None, *config.digits):
                name = "-".join(str(part) for part in (split, digits, vocabulary) if part)
                train(
                    TokenizerTrain(
                        data=(str(config.out / "data"),),
                        out=config.out / name,
                        vocabulary=vocabulary,
                        split=split,
                        digits=digits,
                    )
                )
                found.append(config.out / name)
    return found


def main(words: list[str] | None = None) -> int:
    splits = get_args(SplitName)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[8192, 32_768])
    parser.add_argument("--splits", nargs="+", choices=splits, default=splits)
    parser.add_argument("--digits", nargs="*", choices=("single", "grouped"), default=[])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=int)
    length.add_argument("--steps", type=int)
    parser.add_argument("--depth", type=int, default=4)
    config = parser.parse_args(words)
    trained: str | None = str(config.steps) if config.steps else f"{config.seconds}s" if config.seconds else None
    try:
        prepare(Prepare(data=tuple(config.data), out=config.out / "data", validation=0.02))
        result: dict[str, Any] = compare(
            TokenizerCompare(
                tokenizers=tuple(folders(config)),
                data=(str(config.out / "data"),),
                out=config.out / "report.md",
                train=trained,
                depth=config.depth,
            )
        )
    except DodamError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    files.write_json(config.out / "report.json", result)
    print(json.dumps({"report": str(config.out / "report.md"), "tokenizers": len(result["rows"])}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
