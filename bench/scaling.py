"""The rule that says how low a decoder's loss will be: our own small runs, and what is fitted to them.

    python bench/scaling.py run --data DATA --tokenizer TOKENIZER --out DIR [--depths 2 3 4] [--flops 2e12 8e12]
    python bench/scaling.py fit DIR [DIR ...] [--picture PNG]

`run` trains `dodam pretrain` at every depth with each number of FLOPs (6 for every weight and token, and attention's),
so that the runs of one number differ only in how it is spent; what is done is kept, and several may run at the same
time with other --depths. `fit` reads their results, fits

    bits per byte = floor + A / N^a + B / D^a,   N weights inside the blocks, D bytes of text read

to all of them by least squares of the relative error, and prints the constants, each run beside the rule, and how a
curve falls on its way to the end. The floor is given and the exponent one, as runs as small as these cannot tell more
(docs/scaling.md). These constants stand in src/dodam/train/scaling.py.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import cli, files
from dodam.models.build import decoder_config, flops_per_token
from dodam.tokenizer.tokenizer import Tokenizer
from dodam.train import scaling
from dodam.train.budget import rows_per_step
from dodam.train.metrics import read_rows

LEAST_STEPS = 40


@dataclass(frozen=True)
class Point:
    """What a run read and how low it came."""

    name: str
    weights: float  # inside the blocks
    bytes_read: float
    measured: float  # bits per byte held back
    curve: tuple[tuple[float, float], ...]  # share of the run, bits per byte


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--data", type=Path, required=True)
    running.add_argument("--tokenizer", type=Path, required=True)
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--depths", nargs="+", type=int, default=[2, 3, 4, 5, 6, 8])
    running.add_argument("--flops", nargs="+", type=float, default=[2e12, 8e12, 3.2e13])
    running.add_argument("--context", type=int, default=256)
    running.add_argument("--rows", type=int, help="of a step, in place of what the rule gives")
    fitting = commands.add_parser("fit")
    fitting.add_argument("folders", nargs="+", type=Path)
    fitting.add_argument("--picture", type=Path)
    options, flags = parser.parse_known_args()
    if options.command == "run":
        run(options, flags)
    elif flags:
        parser.error(f"unknown: {' '.join(flags)}")
    else:
        fit(options.folders, options.picture)


def run(options: argparse.Namespace, flags: list[str]) -> None:
    """Every depth with each number of FLOPs, the cheapest first."""
    vocabulary = Tokenizer.load(options.tokenizer).size
    options.out.mkdir(parents=True, exist_ok=True)
    for flops, depth in product(sorted(options.flops), options.depths):
        sizes = decoder_config(vocabulary=vocabulary, context=options.context, depth=depth)
        tokens = flops / flops_per_token(sizes, options.context)
        batch = options.rows or rows_per_step(tokens, options.context)
        steps = round(tokens / (batch * options.context))
        if steps < LEAST_STEPS:
            print(f"depth {depth}: {flops:.1e} FLOPs are {steps} steps; left out.", file=sys.stderr)
            continue
        words = ["pretrain", "--data", str(options.data), "--tokenizer", str(options.tokenizer), "--depth", str(depth)]
        words += ["--context", str(options.context), "--batch", str(batch), "--steps", str(steps)]
        if cli.main([*words, "--out", str(options.out / f"depth-{depth}-{flops:.1e}"), *flags]):
            sys.exit(1)


def read(folder: Path) -> list[Point]:
    """The runs in a folder that are done."""
    points = []
    for result in sorted(folder.glob("*/result.json")):
        told = files.read_json(result)
        config = files.read_json(result.parent / "model" / "config.json")
        tables = 2 * config["vocab_size"] * config["hidden_size"]
        rows = read_rows(result.parent / "metrics.jsonl")
        curve = tuple((row["step"] / told["steps"], row["validation"]) for row in rows if "validation" in row)
        name = f"{folder.name}/{result.parent.name}"
        read_bytes = told["tokens"] * bytes_a_token(result.parent)
        points.append(Point(name, told["parameters"] - tables, read_bytes, told["validation"], curve))
    return points


def bytes_a_token(run_folder: Path) -> float:
    """Of the text that a run read."""
    config = files.read_json(run_folder / "config.json")
    manifest = files.read_json(Path(config["data"]) / "manifest.json")
    info: dict[str, Any] = files.read_json(run_folder / "model" / "dodam.json")
    return manifest["splits"]["train"]["bytes"] / info["lineage"]["tokens in the data"]


def solve(points: list[Point], exponent: float) -> tuple[np.ndarray, float]:
    """A and B at their best for an exponent, and the mean squared relative error; neither below 0."""
    terms = np.array([[one.weights**-exponent, one.bytes_read**-exponent] for one in points])
    measured = np.array([one.measured for one in points])
    relative, wanted = terms / measured[:, None], 1 - scaling.FLOOR / measured
    best, *_ = np.linalg.lstsq(relative, wanted, rcond=None)
    if (best < 0).any():
        return best, np.inf
    return best, float(((relative @ best - wanted) ** 2).mean())


def fit(folders: list[Path], picture: Path | None) -> None:
    points = [point for folder in folders for point in read(folder)]
    error, exponent = min((solve(points, one)[1], one) for one in np.arange(0.05, 1.0, 0.005))
    (size, text), _ = solve(points, exponent)
    constants = {"floor": scaling.FLOOR, "A": size, "B": text, "a": exponent, "error": error**0.5}
    print(json.dumps({key: float(f"{value:.4g}") for key, value in constants.items()}))

    def rule(weights: Any, read: Any) -> Any:
        return scaling.FLOOR + size * weights**-exponent + text * read**-exponent

    print("\n| run | weights in blocks | text read | bits per byte | rule | off |\n|---|---|---|---|---|---|")
    for one in points:
        told = rule(one.weights, one.bytes_read)
        cells = f"{one.weights / 1e6:.2f}M | {one.bytes_read / 1e6:.1f} MB | {one.measured:.3f} | {told:.3f}"
        print(f"| {one.name} | {cells} | {told / one.measured - 1:+.1%} |")
    print("\n| share of a run | bits per byte, as a multiple of the last: middle | tenth | nine tenths |")
    print("|---|---|---|---|")
    for share in np.arange(0.1, 1.0, 0.1):
        found = [nearest(one, share) / one.measured for one in points]
        low, middle, high = np.quantile(found, [0.1, 0.5, 0.9])
        print(f"| {share:.1f} | {middle:.3f} | {low:.3f} | {high:.3f} |")
    if picture:
        draw(points, rule, picture)


def nearest(point: Point, share: float) -> float:
    """A curve's value after a share of the run, between two measurements by the straight line."""
    shares, values = zip(*point.curve, strict=True)
    return float(np.interp(share, shares, values))


def draw(points: list[Point], rule: Any, picture: Path) -> None:
    """Each number of weights a colour: what was measured as points, the rule as a line, by the text read."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    sizes = sorted({one.weights for one in points})
    texts = np.geomspace(min(one.bytes_read for one in points), max(one.bytes_read for one in points), 50)
    for number, weights in enumerate(sizes):
        colour = pyplot.get_cmap("viridis")(number / max(1, len(sizes) - 1))
        mine = [one for one in points if one.weights == weights]
        axis.scatter([one.bytes_read for one in mine], [one.measured for one in mine], color=colour)
        axis.plot(texts, rule(weights, texts), color=colour, label=f"{weights / 1e6:.1f}M weights in blocks")
    axis.set_xscale("log")
    axis.set_xlabel("bytes of text read")
    axis.set_ylabel("bits per byte, held back")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main()
