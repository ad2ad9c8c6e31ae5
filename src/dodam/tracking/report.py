"""Command `report`: one or several training runs as one HTML page with curves. In: run folders. Out: the page.

With `--live` the page is written again and again while the runs go on, and tells the browser to load it anew.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, MinLen

from dodam import files
from dodam.errors import UsageError

if TYPE_CHECKING:
    from dodam.tracking.record import Record

MOST_RUNS = 26  # letters


@dataclass(frozen=True, kw_only=True)
class Report:
    """Show training runs as one HTML page: curves, settings, alarms, samples, results."""

    positional: ClassVar[tuple[str, ...]] = ("run",)

    run: Annotated[tuple[Path, ...], MinLen(1)]
    """Run folders, or folders of recipes; each run may be finished, still going or broken off."""
    out: Path
    """The page to write, an .html file; one that is there is replaced."""
    x: Literal["step", "tokens", "seconds"] = "step"
    """What lies along the curves."""
    language: Literal["en", "ko"] = "en"
    """The language of the words on the page."""
    title: str = ""
    """The heading of the page."""
    live: Annotated[int, Ge(0)] = 0
    """Write the page again every so many seconds until the runs have finished; of a recipe's folder, and of a run that
    was broken off, until Ctrl-C. An open page shows it by itself."""


def run(config: Report) -> dict[str, Any]:
    """Read the runs, write the page, and return where it is and what is on it."""
    if config.out.suffix.lower() not in (".html", ".htm"):
        raise UsageError("a page is a file that ends in .html", where=f"--out {config.out}")
    if config.out.is_dir():
        raise UsageError("is a folder", where=f"--out {config.out}", mend="Name a file.")
    records = write(config, config.live)
    print(config.out, flush=True)
    if config.live:
        try:
            while not finished(config, records):
                time.sleep(config.live)
                records = write(config, config.live)
        except KeyboardInterrupt:
            print("report: the page stays as it is now.", file=sys.stderr)
        records = write(config, 0)
    runs = [
        {"run": one.name, "stage": one.stage, "finished": one.result is not None, "rows": len(one.rows)}
        for one in records
    ]
    return {"out": str(config.out), "runs": runs}


def finished(config: Report, records: "list[Record]") -> bool:
    """Whether nothing more can come: a recipe's folder may get another stage."""
    from dodam.tracking.record import is_run

    return all(map(is_run, config.run)) and all(one.result is not None for one in records)


def write(config: Report, live: int) -> "list[Record]":
    """Read the runs and write the page; returns what is on it."""
    from dodam.tracking.page import page
    from dodam.tracking.record import read_record, run_folders

    folders = list(dict.fromkeys(folder for path in config.run for folder in run_folders(path)))
    if len(folders) > MOST_RUNS:
        raise UsageError(
            f"{len(folders)} runs are too many for one page", where="RUN", mend=f"Name {MOST_RUNS} at most."
        )
    records = [read_record(folder, chr(ord("A") + place)) for place, folder in enumerate(folders)]
    files.write_atomic(config.out, page(records, title=config.title, language=config.language, x=config.x, live=live))
    return records
