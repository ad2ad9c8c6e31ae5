"""The report: report.json for programs, report.md with a picture for people, samples.md with right and wrong answers.

In come rows {model, task, metric, value, low, high, n, seconds} and samples; what goes out is the same for the
same rows.
"""

from pathlib import Path
from typing import Any

from dodam import files
from dodam.versions import versions

FORMAT = 1


def write(
    out: Path,
    rows: list[dict[str, Any]],
    samples: dict[tuple[str, str], list[dict[str, Any]]],
    *,
    decoding: dict[str, Any],
    seed: int,
    models: dict[str, Path],
) -> dict[str, Any]:
    """Write all of it into `out`; returns what report.json holds."""
    report = {
        "format": FORMAT,
        "rows": rows,
        "decoding": decoding,
        "versions": versions(),
        "seed": seed,
        "models": {label: str(path) for label, path in models.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / "report.json", report)
    draw(rows, out / "report.png")
    files.write_atomic(out / "report.md", markdown(report))
    files.write_atomic(out / "samples.md", sample_text(samples))
    return report


def markdown(report: dict[str, Any]) -> str:
    """Tasks down, models across, each with its interval."""
    rows, models = report["rows"], list(report["models"])
    cells = {(row["task"], row["model"]): row for row in rows}
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = ["# Report", "", f"| task | metric | n | {' | '.join(models)} |", f"|---|---|---|{'---|' * len(models)}"]
    for task in tasks:
        first = next(row for row in rows if row["task"] == task)
        values = [shown(cells[task, model]) if (task, model) in cells else "" for model in models]
        lines.append(f"| {task} | {first['metric']} | {first['n']} | {' | '.join(values)} |")
    lines += ["", "Value with its 95% interval: Wilson's for shares, the bootstrap over items for the rest.", ""]
    lines += ["![every task with its interval](report.png)", "", "Decoding and versions:", ""]
    settings = {**report["decoding"], **report["versions"], "seed": report["seed"]}
    lines += [f"- {key}: {value}" for key, value in settings.items()]
    lines += ["", "Right and wrong answers are in [samples.md](samples.md).", ""]
    return "\n".join(lines)


def shown(row: dict[str, Any]) -> str:
    """Shares as percent, bits per byte with three digits, chrF and ROUGE as they are."""
    if row["metric"] == "bits-per-byte":
        return f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})"
    scale, sign = (100, "%") if row["metric"] == "exact" else (1, "")
    return f"{scale * row['value']:.1f}{sign} ({scale * row['low']:.1f}-{scale * row['high']:.1f})"


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    """One group of bars a task, one bar a model, with intervals; bits per byte in a panel of its own."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [
        ("percent", [row for row in rows if row["metric"] != "bits-per-byte"]),
        ("bits per byte", [row for row in rows if row["metric"] == "bits-per-byte"]),
    ]
    panels = [(unit, part) for unit, part in panels if part]
    heights = [len({row["task"] for row in part}) + 1 for _, part in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(9, 0.42 * sum(heights) + 1), height_ratios=heights, layout="constrained", squeeze=False
    )
    for axis, (unit, part) in zip(axes[:, 0], panels, strict=True):
        tasks, models = list(dict.fromkeys(r["task"] for r in part)), list(dict.fromkeys(r["model"] for r in part))
        for index, model in enumerate(models):
            mine = [row for row in part if row["model"] == model]
            scale = [100 if row["metric"] == "exact" else 1 for row in mine]
            places = [tasks.index(row["task"]) + (index - (len(models) - 1) / 2) * 0.8 / len(models) for row in mine]
            values = [row["value"] * k for row, k in zip(mine, scale, strict=True)]
            errors = [
                [max(0.0, (row["value"] - row["low"]) * k) for row, k in zip(mine, scale, strict=True)],
                [max(0.0, (row["high"] - row["value"]) * k) for row, k in zip(mine, scale, strict=True)],
            ]
            axis.barh(places, values, 0.8 / len(models), xerr=errors, capsize=2, label=ascii_label(model))
        axis.set_yticks(range(len(tasks)), [ascii_label(task) for task in tasks])
        axis.invert_yaxis()
        axis.set_xlabel(unit)
        axis.legend(loc="best", fontsize=8)
        axis.grid(axis="x", alpha=0.3)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def ascii_label(text: str) -> str:
    """matplotlib ships no Hangul font: a name it cannot draw is shown as its code points."""
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode()


def sample_text(samples: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Some right and some wrong answers of each model and task."""
    lines = ["# Samples", ""]
    for (model, task), shown_items in samples.items():
        if shown_items:
            lines += [f"## {model}: {task}", ""]
        for item in shown_items:
            mark = "right" if item["score"] in (1.0, 100.0) else f"score {item['score']:.1f}"
            for name, text in (
                ("asked", item["asked"]),
                (f"given ({mark})", item["given"]),
                ("expected", item["answer"]),
            ):
                lines += [f"**{name}**", "", "```text", text.replace("```", "'''"), "```", ""]
            lines += ["---", ""]
    return "\n".join(lines)
