"""The report of a data folder: tables as Markdown, and a picture of lengths, languages and what was left out.

In: the manifest. Out: report.md, report.png.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from dodam.data.split_file import LENGTHS

REPORT, PICTURE = "report.md", "report.png"


def summary(manifest: dict[str, Any]) -> str:
    """One line for people."""
    splits = manifest["splits"]
    removed = ", ".join(f"{count:,} {reason}" for reason, count in manifest["removed"].items())
    return (
        f"prepare: {manifest['documents']:,} documents, {manifest['bytes'] / 1e6:.1f} MB; "
        f"{splits['validation']['documents']:,} of them held back ({splits['validation']['bytes'] / 1e6:.2g} MB); "
        f"left out: {removed or 'none'}."
    )


def write(manifest: dict[str, Any], folder: Path) -> str:
    """Draw the picture and return the Markdown that shows it."""
    draw(manifest, folder / PICTURE)
    lines = ["# Data folder", "", summary(manifest).removeprefix("prepare: "), ""]
    lines += ["| Source | Documents | Held back | MB | Weight | Path |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for source in manifest["sources"]:
        held_back = manifest["splits"]["validation"]["sources"][source["name"]]["documents"]
        lines.append(
            f"| {source['name']} | {source['documents']:,} | {held_back:,} | {source['bytes'] / 1e6:.2f} "
            f"| {source['weight']:g} | `{source['path']}` |"
        )
    for name in manifest["cut"]:
        lines += ["", f"{name}: a text was cut in two and its end is held back; all of it would be too much."]
    lines += ["", "| Language | MB |", "| --- | ---: |"]
    lines += [f"| {name} | {size / 1e6:.2f} |" for name, size in languages(manifest).most_common()]
    if manifest["removed"]:
        lines += ["", "| Left out | Documents |", "| --- | ---: |"]
        lines += [f"| {reason} | {count:,} |" for reason, count in manifest["removed"].items()]
    lines += ["", f"![Lengths, languages, and what was left out]({PICTURE})"]
    return "\n".join(lines) + "\n"


def languages(manifest: dict[str, Any]) -> Counter[str]:
    """Bytes of all documents by language."""
    found = Counter[str]()
    for split in manifest["splits"].values():
        found.update(split["languages"])
    return found


def draw(manifest: dict[str, Any], picture: Path) -> None:
    """Documents by length, in classes a quarter of a factor of ten wide; bytes by language; documents left out."""
    from matplotlib.figure import Figure

    by_language = [(name, size / 1e6) for name, size in languages(manifest).most_common(12)]
    panels = [("MB by language", by_language)]
    if manifest["removed"]:
        panels.append(("documents left out", list(manifest["removed"].items())))
    figure = Figure(figsize=(4.5 * (1 + len(panels)), 3.2), layout="constrained")
    axes = figure.subplots(1, 1 + len(panels))
    lengths = [sum(column) for column in zip(*(s["lengths"] for s in manifest["splits"].values()), strict=True)]
    axes[0].stairs(lengths, LENGTHS, fill=True)
    axes[0].set_xscale("log")
    shown = [index for index, count in enumerate(lengths) if count] or [0]
    axes[0].set_xlim(LENGTHS[shown[0]], LENGTHS[shown[-1] + 1])
    axes[0].set_xlabel("characters a document")
    axes[0].set_ylabel("documents")
    for axis, (label, bars) in zip(axes[1:], panels, strict=True):
        axis.barh([name if name.isascii() else ascii(name) for name, _ in bars], [value for _, value in bars])
        axis.invert_yaxis()
        axis.set_xlabel(label)
    figure.savefig(picture, dpi=110, metadata={"Software": None})
