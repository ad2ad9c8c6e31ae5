"""Command `sample`: the bundled corpus as JSONL files to look at. In: a seed. Out: a folder of files."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Gt, Le

from dodam.files import write_atomic


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Write the bundled corpus as JSONL files: text, chat, tests and preferences."""

    out: Path
    """The folder to write to."""
    scale: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of the whole corpus, for a quick look."""
    seed: int = 1
    """Another seed gives another world."""


def run(config: Sample) -> dict:
    """Write the files; returns `out` and for each file its number of lines and bytes."""
    from dodam.sample import corpus

    parts = {
        "text": corpus.text(config.seed, config.scale),
        "chat": corpus.chat(config.seed, config.scale),
        "tests": corpus.tests(config.seed, max(1, round(corpus.NUM_TESTS * config.scale))),
        "preferences": corpus.preferences(config.seed, config.scale),
    }
    written = {}
    for name, rows in parts.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        data = "".join(f"{line}\n" for line in lines).encode()
        path = config.out / f"{name}.jsonl"
        write_atomic(path, data)
        print(f"{path}: {len(lines):,} lines, {len(data) / 1e6:.1f} MB", file=sys.stderr)
        written[name] = {"path": str(path), "lines": len(lines), "bytes": len(data)}
    return {"out": str(config.out), **written}
