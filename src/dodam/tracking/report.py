"""Command `report`: one or several training runs as one HTML page with curves. In: run folders. Out: the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from dodam import files
from dodam.errors import UsageError

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


def run(config: Report) -> dict[str, Any]:
    """Read the runs, write the page, and return where it is and what is on it."""
    from dodam.tracking.page import page
    from dodam.tracking.record import read_record, run_folders

    if config.out.suffix.lower() not in (".html", ".htm"):
        raise UsageError("a page is a file that ends in .html", where=f"--out {config.out}")
    if config.out.is_dir():
        raise UsageError("is a folder", where=f"--out {config.out}", mend="Name a file.")
    folders = list(dict.fromkeys(folder for path in config.run for folder in run_folders(path)))
    if len(folders) > MOST_RUNS:
        raise UsageError(
            f"{len(folders)} runs are too many for one page", where="RUN", mend=f"Name {MOST_RUNS} at most."
        )
    records = [read_record(folder, chr(ord("A") + place)) for place, folder in enumerate(folders)]
    files.write_atomic(config.out, page(records, title=config.title, language=config.language, x=config.x))
    print(config.out)
    runs = [
        {"run": one.name, "stage": one.stage, "finished": one.result is not None, "rows": len(one.rows)}
        for one in records
    ]
    return {"out": str(config.out), "runs": runs}
