"""Command `feedback report`: what a store holds and how far to trust it, printed and written as Markdown and JSON."""

import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dodam import files
from dodam.errors import FolderError

if TYPE_CHECKING:
    from dodam.feedback.learning_curve import Curve, Point

SHOWN = 10  # outliers that the text names; the JSON has all


@dataclass(frozen=True, kw_only=True)
class FeedbackReport:
    """Tell what a store holds, how far annotators agree, and how many more rankings are worth having."""

    positional: ClassVar[tuple[str, ...]] = ("store",)

    store: str
    """The feedback store: an SQLite file or the URL of a PostgreSQL database."""
    runs: tuple[Path, ...] = ()
    """Run folders of `dodam reward` on different numbers of rankings: how many more are needed is read off them."""
    out: Path | None = None
    """A folder to write report.md and report.json into."""


def run(config: FeedbackReport) -> dict[str, Any]:
    """Print the report, write it, and return it."""
    from dodam.feedback.store import open_store

    points = [point_of(path) for path in config.runs]
    with open_store(config.store) as store:
        rows, counts, where = list(store.rankings()), store.counts(), store.where
    report = {"store": where, "counts": counts, **measured(rows), "more": more(rows, points)}
    text = markdown(report)
    print(text)
    if config.out is not None:
        files.write_json(config.out / "report.json", report)
        files.write_atomic(config.out / "report.md", text + "\n")
        print(f"feedback report: written to {config.out}.", file=sys.stderr)
    return report


def measured(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that follows from the rankings alone."""
    from dodam.feedback import agreement
    from dodam.feedback.win_rate import win_rates

    judged = list(agreement.together(rows).values())
    bias = agreement.position_bias(rows)
    outliers = agreement.speed_outliers(rows)
    return {
        "pairs": sum(one < two for row in map(agreement.once, rows) for one in row["ranks"] for two in row["ranks"]),
        "all_bad": sum(row["all_bad"] for row in rows),
        "annotators": dict(Counter(row["annotator"] for row in rows)),
        "agreement": {
            "ranked by several": len(judged),
            "alpha": agreement.ranking_alpha(judged),
            "pairwise": [
                {"annotators": list(pair), **asdict(share)} for pair, share in agreement.pairwise(judged).items()
            ],
        },
        "position": bias
        and {
            "first": bias.share,
            "chance": bias.chance,
            "biased": bias.biased,
            "luck": bias.luck,
            **asdict(bias.difference),
        },
        "outliers": [asdict(outlier) for outlier in outliers],
        "win_rates": [
            {"models": list(one.models), "ties": one.ties, "prompts": one.prompts, **asdict(one.rate)}
            for one in win_rates(rows)
        ],
    }


def point_of(path: Path) -> "Point":
    """What a run of `dodam reward` says of its size and accuracy. FolderError for another folder."""
    from dodam.feedback.learning_curve import Point

    result, model = files.read_json(path / "result.json"), files.read_json(path / "model" / "dodam.json")
    accuracy, held_back = result.get("accuracy"), result.get("held_back")
    rankings = model.get("lineage", {}).get("prompts learned from")
    if model.get("stage") != "reward" or not accuracy or not held_back or not rankings:
        raise FolderError("is no finished run of `dodam reward`", where=str(path))
    return Point(int(rankings), float(accuracy), int(held_back))


def more(rows: list[dict[str, Any]], points: "list[Point]") -> dict[str, Any]:
    """How many more rankings, by the runs or by what it takes to measure."""
    from dodam.feedback.learning_curve import fit, to_measure

    useful = len({repr(row["prompt"]) for row in rows if max(row["ranks"]) > 1})
    curve: Curve | None = fit(points, useful)
    found = {"prompts": useful, "to_measure": max(0, to_measure() - useful)}
    if curve is None:
        return found
    return {**found, "curve": {**asdict(curve), "flat": curve.flat}}


def markdown(report: dict[str, Any]) -> str:
    """The report as people read it."""
    counts = report["counts"]
    lines = [
        f"# Feedback in {report['store']}",
        "",
        f"{counts['rankings']} rankings ({report['pairs']} pairs without ties, {report['all_bad']} all bad) of "
        f"{counts['candidates']} answers to {counts['prompts']} prompts; {counts['demonstrations']} demonstrations, "
        f"{counts['thumbs']} thumbs, {counts['conversations']} collected chats.",
        "",
        "| annotator | rankings |",
        "| --- | --- |",
        *(f"| {name or '(not known)'} | {number} |" for name, number in sorted(report["annotators"].items())),
        "",
        *agreement_lines(report["agreement"]),
        "",
        *win_lines(report["win_rates"]),
        "",
        *position_lines(report["position"]),
        "",
        *outlier_lines(report["outliers"]),
        "",
        *more_lines(report["more"]),
    ]
    return "\n".join(lines)


def agreement_lines(found: dict[str, Any]) -> list[str]:
    lines = ["## Agreement", ""]
    if found["alpha"] is None:
        return [*lines, "No answers were ranked by two annotators whose names are known."]
    alpha = f"Krippendorff's alpha (ordinal) is {found['alpha']:.3f}"
    lines += [f"{alpha}, over {found['ranked by several']} prompts ranked by several."]
    if found["pairwise"]:
        lines += ["", "| annotators | same order | 95% interval | pairs |", "| --- | --- | --- | --- |"]
    for one in found["pairwise"]:
        names = " and ".join(one["annotators"])
        lines.append(f"| {names} | {one['value']:.3f} | {one['low']:.3f}-{one['high']:.3f} | {one['n']} |")
    return lines


def win_lines(found: list[dict[str, Any]]) -> list[str]:
    lines = ["## Models compared", ""]
    if not found:
        return [*lines, "No answers of two models were ranked together."]
    lines += ["| preferred | to | share | 95% interval | prompts | ties |", "| --- | --- | --- | --- | --- | --- |"]
    for one in found:
        names, interval = " | ".join(one["models"]), f"{one['low']:.1%}-{one['high']:.1%}"
        lines.append(f"| {names} | {one['value']:.1%} | {interval} | {one['prompts']} | {one['ties']:.1%} |")
    return lines


def position_lines(found: dict[str, Any] | None) -> list[str]:
    lines = ["## Position bias", ""]
    if found is None:
        return [*lines, "No ranking says where answers stood."]
    verdict = "a bias" if found["biased"] else "no bias to be seen"
    return [
        *lines,
        f"What stood first was ranked first in {found['first']:.1%} of {found['n']} rankings, by chance it would be in "
        f"{found['chance']:.1%}: {verdict} ({found['value']:+.1%}, 95% interval {found['low']:+.1%} to "
        f"{found['high']:+.1%}; luck alone gives as much in {found['luck']:.1%} of cases).",
    ]


def outlier_lines(found: list[dict[str, Any]]) -> list[str]:
    lines = ["## Speed outliers", ""]
    if not found:
        return [*lines, "None."]
    lines += [f"{len(found)} rankings are far faster or slower than usual for the length of their texts.", ""]
    lines += ["| ranking | annotator | seconds | score |", "| --- | --- | --- | --- |"]
    for one in sorted(found, key=lambda one: -abs(one["score"]))[:SHOWN]:
        lines.append(f"| {one['id']} | {one['annotator']} | {one['seconds']:.1f} | {one['score']:+.1f} |")
    return lines


def more_lines(found: dict[str, Any]) -> list[str]:
    from dodam.feedback.learning_curve import HELD_BACK, MARGIN, WORTH

    lines = ["## How many more", ""]
    measure = (
        f"To measure held-back accuracy to ±{100 * MARGIN:.0f} points with {HELD_BACK:.0%} of the prompts held back "
        f"takes {found['to_measure']} more prompts with rankings than the {found['prompts']} there are."
    )
    if "curve" not in found:
        reason = "Of the model nothing is known: name runs of `dodam reward` on different numbers of rankings (--runs)."
        return [*lines, measure, "", reason]
    curve = found["curve"]
    lines += ["| rankings | held-back accuracy | measured on |", "| --- | --- | --- |"]
    for point in sorted(curve["points"], key=lambda point: point["rankings"]):
        lines.append(f"| {point['rankings']} | {point['accuracy']:.3f} | {point['held_back']} |")
    if curve["flat"]:
        verdict = "More rankings did not help in these runs, so nothing can be told from them."
    else:
        verdict = (
            f"error = {curve['floor']:.3f} + {curve['slope']:.2f} / √rankings. Twice as many gain less than "
            f"{100 * WORTH:.0f} point from {curve['enough']} on: {curve['more']} more prompts. "
            f"This extrapolates {len(curve['points'])} runs."
        )
    return [*lines, "", verdict, "", measure]
