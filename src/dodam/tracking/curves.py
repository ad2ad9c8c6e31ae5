"""Curves: rows of a run as series of points, thinned without losing a spike, drawn as SVG.

In come records; out go charts: one for each number, a line for each run. A line has a dash pattern, a sign and a letter
of its own, so that nothing hangs on its colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from dodam.tracking.follow import is_number
from dodam.tracking.record import Record

Point = tuple[float, float]

GENERAL = ("learning_rate", "tokens_between", "gradient_norm", "step_seconds")
"""What every stage tells; it comes after what a stage has of its own."""
PLACES = ("step", "tokens", "seconds", "progress", "remaining")
REPLACED = {"learning_rate_scale": "learning_rate", "tokens_per_second": "tokens_between"}
MOST_POINTS = 600
STYLES = 8  # in page.css
WIDTH, HEIGHT = 560, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 22, 12, 40  # margins
SIGNS = (
    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",  # circle
    "M-3-3h6v6h-6z",  # square
    "M0-4L3.5 3h-7z",  # triangle
    "M0-4.2L4.2 0 0 4.2-4.2 0z",  # diamond
    "M-3.5-3.5L3.5 3.5M3.5-3.5L-3.5 3.5",  # cross
    "M0 4L3.5-3h-7z",  # triangle upside down
    "M-4 0H4M0-4V4",  # plus
    "M-4-1.5h8v3h-8z",  # bar
)
SIGNS_A_LINE = 8


@dataclass(frozen=True)
class Series:
    """One run's points of one number. `style` tells its line from the others."""

    letter: str
    style: int
    points: list[Point]


@dataclass(frozen=True)
class Chart:
    """One number of several runs."""

    number: str
    series: list[Series]


def charts(records: Sequence[Record], x: str) -> list[Chart]:
    """A chart for every number that stands in the rows, over `x`: step, tokens or seconds."""
    seen = {REPLACED.get(name, name) for one in records for row in one.rows for name in row if is_number(row[name])}
    order = dict.fromkeys(REPLACED.get(name, name) for one in records for row in one.rows for name in row)
    own = [name for name in order if name in seen and name not in (*PLACES, *GENERAL, "loss", "validation")]
    found = []
    share = any(one.rate is None for one in records)
    for number in ("loss", "validation", *own, *GENERAL):
        series = [
            Series(one.letter, ord(one.letter[0]) - ord("A"), points)
            for one in records
            if (points := points_of(one, number, x, share=share))
        ]
        if series:
            shown = "learning_rate_share" if number == "learning_rate" and share else number
            found.append(Chart(shown, series))
    return found


def points_of(record: Record, number: str, x: str, *, share: bool) -> list[Point]:
    """What a run tells of a number, thinned. `share`: learning rates as a share of the highest."""
    points: list[Point] = []
    tokens, before = 0.0, (0.0, 0.0)
    for row in record.rows:
        tokens = row["tokens"] if is_number(row.get("tokens")) else tokens
        place = tokens if x == "tokens" else row.get(x)
        value: Any = row.get(number)
        if number == "learning_rate" and is_number(scale := row.get("learning_rate_scale")):
            value = scale if share else scale * (record.rate or 0.0)
        if number == "tokens_between" and is_number(row.get("tokens")) and is_number(row.get("seconds")):
            now = (row["tokens"], row["seconds"])
            value = (now[0] - before[0]) / (now[1] - before[1]) if now[1] > before[1] else None
            before = now
        if is_number(place) and is_number(value):
            points.append((float(place), float(value)))
    return thinned(points)


def thinned(points: list[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most so many points: of each stretch the lowest and the highest, and the two ends."""
    if len(points) <= most:
        return points
    inner, buckets = points[1:-1], (most - 2) // 2
    kept = [points[0]]
    for place in range(buckets):
        stretch = range(place * len(inner) // buckets, (place + 1) * len(inner) // buckets)
        if stretch:
            ends = {min(stretch, key=lambda at: inner[at][1]), max(stretch, key=lambda at: inner[at][1])}
            kept += [inner[at] for at in sorted(ends)]
    return [*kept, points[-1]]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers within a range: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def shown(value: float) -> str:
    """A number as people read it: 12,000, 0.0345, 1.2e-07."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.2e}"


@dataclass(frozen=True)
class Frame:
    """Where a chart's numbers lie on the picture."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def frame_of(chart: Chart) -> Frame:
    """The range of all points, with some room above and below."""
    xs, ys = zip(*(point for one in chart.series for point in one.points), strict=True)
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    room = 0.05 * (y1 - y0) or 0.05 * abs(y1) or 1.0
    room = max(room, 1e-12, 1e-12 * abs(y1))  # what floats can tell apart
    return Frame(x0, x1 if x1 - x0 > 1e-12 * abs(x1) else x0 + max(1.0, 1e-9 * abs(x0)), y0 - room, y1 + room)


def draw(chart: Chart, title: str, x_title: str) -> str:
    """The chart as SVG; everything in it is escaped here."""
    frame = frame_of(chart)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
    ]
    for value in ticks(frame.y0, frame.y1):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{shown(value)}</text>')
    for value in ticks(frame.x0, frame.x1):
        x = frame.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{shown(value)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>')
    parts += [draw_series(one, frame) for one in chart.series]
    parts.append(f'<path class="cursor" d="M0 {TOP}V{HEIGHT - BOTTOM}"/></svg>')
    return "".join(parts)


def draw_series(series: Series, frame: Frame) -> str:
    """The line, some signs along it, and the run's letter at its end."""
    places = [(frame.x(x), frame.y(y)) for x, y in series.points]
    style = series.style % STYLES
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    every = max(1, len(places) // SIGNS_A_LINE)
    offset = (series.style * every) // 3 % every if len(places) > SIGNS_A_LINE else 0
    signs = "".join(
        f'<path class="sign" transform="translate({x:.1f} {y:.1f})" d="{SIGNS[style]}"/>'
        for x, y in places[offset::every]
    )
    x, y = places[-1]
    letter = f'<text class="letter" x="{x + 6:.1f}" y="{y + 4:.1f}">{escape(series.letter)}</text>'
    return f'<g class="run s{style}"><path class="line" d="M{line}"/>{signs}{letter}</g>'


def sign(style: int) -> str:
    """A piece of a run's line with its sign, for a legend."""
    style %= STYLES
    path = f'<path class="line" d="M1 7H39"/><path class="sign" transform="translate(20 7)" d="{SIGNS[style]}"/>'
    return f'<svg class="key" viewBox="0 0 40 14" aria-hidden="true"><g class="run s{style}">{path}</g></svg>'
