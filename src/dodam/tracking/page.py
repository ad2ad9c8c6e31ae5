"""The page of one or several runs: one HTML file that needs no network and shows the same with and without scripts.

In come records; out goes HTML. Everything that comes out of a run folder passes `text` or the escapes of `curves.draw`;
the page's own policy allows the one script that is in it, by its hash, and nothing from elsewhere.
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dodam.data.progress import duration
from dodam.tracking import curves
from dodam.tracking.curves import Chart, shown
from dodam.tracking.follow import flat, is_number
from dodam.tracking.record import Record
from dodam.tracking.words import word

MOST_TEXT = 6000  # characters of a sample
FOLDER = Path(__file__).parent


def page(records: Sequence[Record], *, title: str, language: str, x: str, live: int = 0) -> str:
    """The whole page; with `live` the browser loads it anew every so many seconds."""
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))

    def w(key: str) -> str:
        return word(key, language)

    stages = list(dict.fromkeys(one.stage for one in records))
    groups = [[one for one in records if one.stage == stage] for stage in stages]
    drawn = [(group, curves.charts(group, x)) for group in groups]
    numbered = iter(range(10**6))
    body = [f"<h1>{text(title or w('report'))}</h1>", runs_table(records, w), alarm_boxes(records, w)]
    body += [results_table(records, w), settings_tables(groups, w), machine_table(records, w)]
    body.append(f"<h2>{text(w('curves'))}</h2>")
    for group, charts in drawn:
        if len(groups) > 1:
            body.append(f"<h3>{text(group[0].stage)}</h3>")
        figures = [figure(chart, next(numbered), group, w, x) for chart in charts]
        body.append(f'<div class="charts">{"".join(figures)}</div>' if figures else f"<p>{text(w('nothing yet'))}</p>")
    body += [sample_blocks(records, w), all_settings(records, w)]
    data = json.dumps([data_of(chart) for _, charts in drawn for chart in charts], allow_nan=False)
    policy = f"default-src 'none'; style-src '{hash_of(style)}'; script-src '{hash_of(script)}'; base-uri 'none'"
    return "\n".join(
        [
            f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}; form-action \'none\'">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            *([f'<meta http-equiv="refresh" content="{live}">'] if live else []),
            f"<title>{text(title or w('report'))}</title>\n<style>{style}</style>\n</head>\n<body>",
            *filter(None, body),
            f'<script type="application/json" id="charts">{inside_script(data)}</script>',
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def text(value: Any) -> str:
    """Anything as text in HTML; control characters, which no page may hold, as a sign."""
    kept = "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in str(value))
    return escape(kept, quote=True)


def inside_script(data: str) -> str:
    """JSON in which nothing can end the element it stands in."""
    return data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def hash_of(source: str) -> str:
    """What a content security policy knows an inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; cells are HTML."""
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead>\n<tbody>{lines}</tbody></table></div>'


def compared(records: Sequence[Record], keys: Iterable[str], values: Sequence[dict[str, Any]], head: str) -> str:
    """A table with a line for each key and a column for each run."""
    rows = [[text(key), *(text(readable(one[key])) if key in one else "" for one in values)] for key in keys]
    return table([text(head), *(text(one.letter) for one in records)], rows)


def readable(value: Any) -> str:
    return shown(value) if isinstance(value, float) else f"{value:,}" if is_number(value) else str(value)


def runs_table(records: Sequence[Record], w: Callable[[str], str]) -> str:
    rows = []
    for one in records:
        key = f"{curves.sign(ord(one.letter[0]) - ord('A'))} <b>{text(one.letter)}</b>"
        notes = f"<br>{text(w('left out'))}: {text('; '.join(one.notes))}" if one.notes else ""
        rows.append([key, text(one.name), text(one.stage), text(state_of(one, w)) + notes])
    return table(["", text(w("run")), text(w("stage")), text(w("state"))], rows)


def state_of(record: Record, w: Callable[[str], str]) -> str:
    """Finished, or how far it is and when it last said so."""
    if record.result is not None:
        return w("finished")
    if not record.rows or record.changed is None:
        return f"{w('unfinished')}, {w('nothing yet')}"
    progress = next((row["progress"] for row in reversed(record.rows) if is_number(row.get("progress"))), None)
    done = f", {progress:.0%} {w('done')}" if progress is not None else ""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.changed))
    return f"{w('unfinished')}{done}; {w('last row')}: {w('step')} {record.rows[-1]['step']:,}, {when}"


def alarm_boxes(records: Sequence[Record], w: Callable[[str], str]) -> str:
    told = [f'<div class="alarm"><b>{text(one.letter)}</b> {text(a)}</div>' for one in records for a in one.alarms]
    return f"<h2>⚠ {text(w('alarms'))}</h2>{''.join(told)}" if told else ""


def results_table(records: Sequence[Record], w: Callable[[str], str]) -> str:
    """How far each run came and what it ended with."""
    values = [numbers_of(one, w) for one in records]
    keys = list(dict.fromkeys(key for one in values for key in one))
    return f"<h2>{text(w('results'))}</h2>" + compared(records, keys, values, "") if keys else ""


def numbers_of(record: Record, w: Callable[[str], str]) -> dict[str, Any]:
    """The last row's numbers under those of the result."""
    result = flat(record.result or {})
    measured = [row["validation"] for row in record.rows if is_number(row.get("validation"))]
    last = next((row for row in reversed(record.rows) if "loss" in row), {})
    found: dict[str, Any] = {key: last[key] for key in ("loss", "tokens") if key in last}
    if record.rows:
        found["steps"] = record.rows[-1]["step"]
    if measured:
        found["validation"] = measured[-1]
    found |= {key: value for key, value in result.items() if key == "unit" or is_number(value)}
    seconds = result.get("seconds", record.rows[-1].get("seconds") if record.rows else None)
    if is_number(seconds):
        found["seconds"] = duration(seconds)
        if is_number(found.get("tokens")) and seconds > 0:
            found["tokens_per_second"] = found["tokens"] / seconds
    return {w(key): value for key, value in found.items()}


def settings_tables(groups: Sequence[Sequence[Record]], w: Callable[[str], str]) -> str:
    """What sets the runs of one stage apart; nothing of a single one."""
    lines = []
    for group in groups:
        if len(group) < 2:
            continue
        keys = list(dict.fromkeys(key for one in group for key in one.settings))
        differing = [key for key in keys if len({repr(one.settings.get(key)) for one in group}) > 1]
        told = compared(group, differing, [one.settings for one in group], w("setting")) if differing else ""
        lines.append(told or f"<p>{text(w('same'))}</p>")
    return f"<h2>{text(w('differing'))}</h2>{''.join(lines)}" if lines else ""


def machine_table(records: Sequence[Record], w: Callable[[str], str]) -> str:
    keys = list(dict.fromkeys(key for one in records for key in one.machine))
    if not keys:
        return ""
    return f"<h2>{text(w('machine'))}</h2>" + compared(records, keys, [one.machine for one in records], "")


def all_settings(records: Sequence[Record], w: Callable[[str], str]) -> str:
    keys = list(dict.fromkeys(key for one in records for key in one.settings))
    told = compared(records, keys, [one.settings for one in records], w("setting"))
    return f"<h2>{text(w('settings'))}</h2><details><summary>{len(keys)}</summary>{told}</details>"


def figure(chart: Chart, number: int, group: Sequence[Record], w: Callable[[str], str], x: str) -> str:
    """A chart with its caption, the place for what the pointer shows, and a table of its ends."""
    units = {one.unit for one in group if one.unit}
    unit = f" ({units.pop()})" if chart.number == "validation" and len(units) == 1 else ""
    title = w(chart.number) + unit

    def place(point: curves.Point) -> str:
        return f"{shown(point[1])} ({text(w('at'))} {shown(point[0])})"

    rows = []
    for one in chart.series:
        lowest, highest = min(one.points, key=lambda p: p[1]), max(one.points, key=lambda p: p[1])
        ends = (one.points[0], lowest, highest, one.points[-1])
        rows.append([text(one.letter), *(place(point) for point in ends)])
    numbers = table(["", *(text(w(key)) for key in ("first", "lowest", "highest", "last"))], rows)
    return (
        f'<figure data-chart="{number}"><figcaption>{text(title)}</figcaption>{curves.draw(chart, title, w(x))}'
        f'<div class="told"></div><details><summary>{text(w("numbers"))}</summary>{numbers}</details></figure>'
    )


def data_of(chart: Chart) -> dict[str, Any]:
    """What the script needs to know of a chart."""
    frame = curves.frame_of(chart)
    series = [{"letter": one.letter, "points": one.points} for one in chart.series]
    right = curves.WIDTH - curves.RIGHT
    return {
        "width": curves.WIDTH, "left": curves.LEFT, "right": right, "x0": frame.x0, "x1": frame.x1, "series": series,
    }  # fmt: skip


def sample_blocks(records: Sequence[Record], w: Callable[[str], str]) -> str:
    """The first and the last samples of each run, as plain text."""
    lines = []
    for one in records:
        if not one.samples:
            continue
        blocks = []
        for heading, written in one.samples:
            cut = f"\n{w('cut')}" if len(written) > MOST_TEXT else ""
            blocks.append(f"<div><b>{text(heading)}</b><pre>{text(written[:MOST_TEXT] + cut)}</pre></div>")
        lines.append(f'<h3>{text(one.letter)} {text(one.name)}</h3><div class="samples">{"".join(blocks)}</div>')
    return f"<h2>{text(w('samples'))}</h2>{''.join(lines)}" if lines else ""
