"""What a run tells while it goes: metrics.jsonl, one line on the terminal, a live loss curve, a picture at the end.

Each is a hook of the loop: it gets rows of plain numbers and never touches the model, except `Samples`, which is
given a function that writes some text with it.
"""

import contextlib
import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dodam import files
from dodam.data.progress import duration


class MetricsFile:
    """Every row as a line of metrics.jsonl. After a resume the lines that lie past the checkpoint are dropped first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, step: int) -> None:
        truncate_metrics(self.path, step)

    def step(self, row: dict[str, Any]) -> None:
        files.append_line(self.path, json.dumps(row))

    def validate(self, row: dict[str, Any]) -> None:
        if "validation" in row:
            files.append_line(self.path, json.dumps(row))

    def end(self) -> None:
        pass


class Console:
    """Progress on standard error: one line rewritten on a terminal, a plain line now and then elsewhere. `shown`: what
    of a stage's own numbers it tells; the curve is that of the first, or of the loss."""

    def __init__(self, name: str, unit: str, plain_seconds: float = 15.0, shown: Sequence[str] = ()) -> None:
        self.name, self.unit, self.plain_seconds, self.shown = name, unit, plain_seconds, shown
        self.live = sys.stderr.isatty()
        self.last = -math.inf
        self.curve: list[float] = []

    def start(self, step: int) -> None:
        if step:
            print(f"{self.name}: goes on at step {step}", file=sys.stderr)

    def step(self, row: dict[str, Any]) -> None:
        told = [name for name in self.shown if name in row]
        self.curve.append(row[told[0]] if told else row["loss"])
        numbers = "".join(f"  {name.replace('_', ' ')} {row[name]:.3f}" for name in told)
        text = (
            f"{self.name}: {row['progress']:4.0%}  step {row['step']}  loss {row['loss']:.3f}{numbers}  "
            f"{row['tokens_per_second']:,.0f} tokens/s  {duration(row['remaining'])} to go"
        )
        if self.live:
            line = f"{text}  {sparkline(self.curve)}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif row["seconds"] - self.last >= self.plain_seconds:
            self.last = row["seconds"]
            print(text, file=sys.stderr, flush=True)

    def validate(self, row: dict[str, Any]) -> None:
        if "validation" not in row:
            return
        start = "\r\x1b[K" if self.live else ""
        told = f" (expected {row['expected_low']:.2f} to {row['expected_high']:.2f})" if "expected_low" in row else ""
        print(
            f"{start}{self.name}: step {row['step']}  held back {row['validation']:.4f} {self.unit}{told}",
            file=sys.stderr,
        )

    def end(self) -> None:
        if self.live:
            print(file=sys.stderr)


class Expected:
    """Tells another hook beside each validation between which two values it was expected, by the share of the run."""

    def __init__(self, hook: "MetricsFile | Console", expected: Callable[[float], tuple[float, float]]) -> None:
        self.hook, self.expected = hook, expected

    def start(self, step: int) -> None:
        self.hook.start(step)

    def step(self, row: dict[str, Any]) -> None:
        self.hook.step(row)

    def validate(self, row: dict[str, Any]) -> None:
        low, high = self.expected(row["progress"])
        self.hook.validate({**row, "expected_low": low, "expected_high": high})

    def end(self) -> None:
        self.hook.end()


class Samples:
    """Texts written by the model at every validation, kept in samples.md. A resumed run tells none of them twice."""

    def __init__(self, path: Path, write: Callable[[], str]) -> None:
        self.path, self.write = path, write

    def start(self, step: int) -> None:
        truncate_samples(self.path, step)

    def step(self, row: dict[str, Any]) -> None:
        pass

    def validate(self, row: dict[str, Any]) -> None:
        measured = f" ({row['validation']:.4f})" if "validation" in row else ""
        files.append_line(self.path, f"## Step {row['step']}{measured}\n\n{self.write()}\n")

    def end(self) -> None:
        pass


class Alongside:
    """Has a rank whose part of the model is needed for it write the same texts as rank 0, which keeps them."""

    def __init__(self, write: Callable[[], str]) -> None:
        self.write = write

    def start(self, step: int) -> None:
        pass

    def step(self, row: dict[str, Any]) -> None:
        pass

    def validate(self, row: dict[str, Any]) -> None:
        self.write()

    def end(self) -> None:
        pass


def truncate_metrics(path: Path, step: int) -> None:
    """Drop the rows of a metrics.jsonl that lie after `step`, so that a resumed run does not tell a step twice."""
    if path.is_file():
        kept = [row for row in read_rows(path) if row.get("step", 0) <= step]
        files.write_atomic(path, "".join(json.dumps(row) + "\n" for row in kept))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, without a torn last one; none where there is no file."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def truncate_samples(path: Path, step: int) -> None:
    """Drop what a samples.md tells of steps after `step`."""
    if not path.is_file():
        return
    text = path.read_bytes().decode("utf-8", errors="replace")
    for heading in re.finditer(r"^## Step (\d+)", text, re.MULTILINE):
        if int(heading[1]) > step:
            files.write_atomic(path, text[: heading.start()])
            return


def sparkline(values: list[float], width: int = 24) -> str:
    """The last part of a curve in block characters."""
    blocks = "▁▂▃▄▅▆▇█"
    if len(values) > width:
        size = len(values) / width
        values = [values[int(index * size)] for index in range(width)]
    low, high = min(values), max(values)
    if high <= low:
        return blocks[0] * len(values)
    return "".join(blocks[int((value - low) / (high - low) * 7.999)] for value in values)


def draw(metrics: Path, picture: Path, unit: str, curve: str = "loss") -> None:
    """The run's curves as a PNG: training loss, or another number of its rows, and the validation where there is."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_rows(metrics)
    training = [(row["step"], row[curve]) for row in rows if curve in row and "loss" in row]
    validation = [(row["step"], row["validation"]) for row in rows if "validation" in row]
    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    axis.plot(*zip(*training, strict=True), linewidth=0.8, color="tab:blue")
    axis.set_xlabel("step")
    axis.set_ylabel("training loss (nats per token)" if curve == "loss" else f"training {curve}", color="tab:blue")
    if validation:
        right = axis.twinx()
        right.plot(*zip(*validation, strict=True), marker="o", color="tab:orange")
        right.set_ylabel(f"held back ({unit})", color="tab:orange")
        if band := [(row["step"], row["expected_low"], row["expected_high"]) for row in rows if "expected_low" in row]:
            steps, low, high = zip(*band, strict=True)
            right.fill_between(steps, low, high, color="tab:orange", alpha=0.15, label="expected")
            right.legend()
    axis.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
