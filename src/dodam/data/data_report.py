"""The report of a data folder: tables as Markdown with samples of what was done, and a picture of lengths, languages
and what was left out.

In: the manifest, the samples. Out: report.md, report.png.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dodam.data.outcome import Sample
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


def write(manifest: dict[str, Any], samples: Sequence[Sample], folder: Path) -> str:
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
    for head, counts in (("Left out | Documents", manifest["removed"]), ("Done | Times", manifest["changed"])):
        if counts:
            lines += ["", f"| {head} |", "| --- | ---: |"]
            lines += [f"| {reason} | {count:,} |" for reason, count in counts.items()]
    lines += ["", f"![Lengths, languages, and what was left out]({PICTURE})"]
    lines += of_near_duplicates(manifest["decided"].get("near duplicates"))
    for name, count in manifest["decided"].get("contamination", {}).get("unread", {}).items():
        if count:
            lines += ["", f"{name}: {count:,} of its texts are too short to be looked for."]
    if manifest["noted"]:
        lines += ["", "## Noted while reading", ""] + [
            f"- {what}: {count:,}" for what, count in manifest["noted"].items()
        ]
    if named := manifest["unreadable"]:
        more = manifest["removed"]["unreadable"] - len(named)
        lines += ["", "## Cannot be read", ""] + [f"- {code(one)}" for one in named]
        lines += [f"- and {more:,} more"] if more else []
    lines += of_samples(samples)
    return "\n".join(lines) + "\n"


def of_near_duplicates(found: dict[str, Any] | None) -> list[str]:
    """How many clusters there are, and the largest of them."""
    if not found or not found["clusters"]:
        return []
    lines = ["", "## Near duplicates", ""]
    lines += [f"{found['documents']:,} went for {found['clusters']:,} documents that stay. The largest clusters:", ""]
    lines += ["| Went | Stays | One that went | Jaccard |", "| ---: | --- | --- | ---: |"]
    for one in found["largest"]:
        stays, copy = (f"{code(one[id])}<br>{code(one[text])}" for id, text in (("id", "text"), ("copy_id", "copy")))
        lines.append(f"| {one['documents']:,} | {stays} | {copy} | {one['jaccard']:.2f} |")
    return lines


def of_samples(samples: Sequence[Sample]) -> list[str]:
    """The first documents of each reason, before and after."""
    if not samples:
        return []
    by_reason: dict[str, list[Sample]] = {}
    for sample in samples:
        by_reason.setdefault(sample.reason, []).append(sample)
    lines = ["", "## Samples", "", "The first of each kind, cut where they are long."]
    for reason, some in sorted(by_reason.items()):
        lines += [
            "",
            f"### {reason[0].upper()}{reason[1:]}",
            "",
            "| Document | Before | After |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {code(one.id)} | {code(one.before)} | {code(one.after)} |" for one in some]
    return lines


def code(text: str) -> str:
    """A text in a cell of a table, shown as it is: line ends and bars as signs, between backticks."""
    shown = text.replace("\n", "⏎").replace("|", "¦").replace("`", "ˋ").strip()
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
    return f"`{shown}`" if shown else ""


def languages(manifest: dict[str, Any]) -> Counter[str]:
    """Bytes of all documents by language."""
    found = Counter[str]()
    for split in manifest["splits"].values():
        found.update({name or "unknown": size for name, size in split["languages"].items()})
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
