"""The page of training runs: it shows what metrics.jsonl holds, of whole and torn runs, and nothing in it is markup.

Run folders are written by hand here; tests/test_track_story.py makes one by training.
"""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodam import cli
from dodam.tracking import curves, page
from dodam.tracking.words import LANGUAGES, WORDS, word

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> & \'"` \x00\u2028]]>-->{{7*7}}'


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, their attributes, their texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.within = tag

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self.within == "script" else self.text).append(data)

    @property
    def shown(self) -> str:
        return "".join(self.text)


def rows_of(steps: int, factor: float = 1.0) -> list[dict[str, Any]]:
    """Rows as a run of 40 steps writes them."""
    rows: list[dict[str, Any]] = []
    for step in range(10, steps + 1, 10):
        row = {
            "step": step, "loss": factor * 9.0 / step, "tokens": 100 * step, "tokens_per_second": 50.0,
            "step_seconds": 0.1, "learning_rate_scale": 1 - step / 80, "gradient_norm": 0.5, "seconds": step / 2.0,
            "progress": step / 40, "remaining": 1.0, "reward": 0.1 * step, "kl": 0.001 * step, "kl_twist": 3.0,
        }  # fmt: skip
        rows.append(row)
        if step % 20 == 0:
            rows.append({"step": step, "validation": 2.0 + factor / step, "seconds": step / 2.0 + 0.25})
    return rows


def write_run(folder: Path, rows: list[dict[str, Any]], result: dict | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True)
    settings = {"format": 1, "stage": "ppo", "out": str(folder), "seed": 0, "lora": {"rank": 0}, "track": ["wandb"]}
    (folder / "config.json").write_text(json.dumps({**settings, **config}), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    choices = {
        "machine": {"device": "cpu", "threads": 2, "dtype": "float32", "compiler": True},
        "optim": {"matrix": 0.02, "lora": 0.5}, "batch": 8, "samples": [["a secret text", 1.0]],
    }  # fmt: skip
    checkpoint = folder / "checkpoint" / "step-00000010"
    checkpoint.mkdir(parents=True)
    state = {"choices": choices, "ledger": {"alarms": {"collapse": "entropy fell"}}}
    (checkpoint / "state.json").write_text(json.dumps(state), encoding="utf-8")
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        (folder / "model").mkdir()
        info = {"choices": choices, "versions": {"dodam": "0.1.0", "torch": "9.9"}}
        (folder / "model" / "dodam.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


def report(out: Path, *words: str | Path) -> Reader:
    assert cli.main(["report", *map(str, words), "--out", str(out)]) == 0
    return Reader(out.read_text(encoding="utf-8"))


def data_of(read: Reader) -> list[dict[str, Any]]:
    return json.loads(read.scripts[0])


def titles(read: Reader) -> list[str | None]:
    return [attributes["aria-label"] for tag, attributes in read.tags if tag == "svg" and "aria-label" in attributes]


def test_the_curves_are_those_of_metrics_jsonl(tmp_path: Path) -> None:
    rows = rows_of(40)
    read = report(tmp_path / "a.html", write_run(tmp_path / "run", rows, {"unit": "mean reward", "steps": 40}))
    names = titles(read)
    assert names == [
        "training loss", "held back (mean reward)", "reward", "KL to the reference", "kl twist", "learning rate",
        "tokens a second, between rows", "gradient norm", "seconds a step",
    ]  # fmt: skip
    points = {name: chart["series"][0]["points"] for name, chart in zip(names, data_of(read), strict=True)}
    assert points["training loss"] == [[row["step"], row["loss"]] for row in rows if "loss" in row]
    assert points["held back (mean reward)"] == [[20, 2.05], [40, 2.025]]
    assert [rate for _, rate in points["learning rate"]] == pytest.approx([0.0175, 0.015, 0.0125, 0.01])
    assert points["tokens a second, between rows"] == [[step, 200.0] for step in (10, 20, 30, 40)]
    # What is drawn is what is told to the script: the line of the first chart, read back from its picture.
    chart = data_of(read)[0]
    lines = [a["d"] for tag, a in read.tags if a.get("class") == "line" and a["d"] != "M1 7H39"]
    places = [tuple(map(float, place.split())) for place in lines[0].removeprefix("M").split("L")]
    frame = curves.frame_of(curves.Chart("loss", [curves.Series("A", 0, points["training loss"])]))
    assert (frame.x0, frame.x1) == (chart["x0"], chart["x1"])
    assert [y for _, y in places] == sorted(y for _, y in places), "a falling loss goes down the picture"
    for (x, y), (step, loss) in zip(places, points["training loss"], strict=True):
        assert (x, y) == (pytest.approx(frame.x(step), abs=0.06), pytest.approx(frame.y(loss), abs=0.06))


@pytest.mark.parametrize(("x", "places"), [("tokens", [2000, 4000]), ("seconds", [10.25, 20.25])])
def test_other_things_along_the_curves(x: str, places: list[float], tmp_path: Path) -> None:
    read = report(tmp_path / "a.html", write_run(tmp_path / "run", rows_of(40)), "--x", x)
    assert [point[0] for point in data_of(read)[1]["series"][0]["points"]] == places


def test_a_run_under_way_with_a_torn_last_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rows_of(20))
    with (run / "metrics.jsonl").open("ab") as file:
        file.write('{"step": 30, "loss": 0.3, "ko": "학'.encode()[:-1])
    read = report(tmp_path / "a.html", run)
    assert "not finished, 50% of it done; last row: step 20" in read.shown
    assert "Left out as it could not be read: metrics.jsonl: 1 torn" in read.shown
    assert data_of(read)[0]["series"][0]["points"] == [[10, 0.9], [20, 0.45]]
    assert "collapse: entropy fell" in read.shown and "a secret text" not in read.shown


def test_a_run_that_has_told_nothing_yet_and_a_torn_config(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [])
    (run / "metrics.jsonl").unlink()
    assert "no numbers yet" in report(tmp_path / "a.html", run).shown
    (run / "config.json").write_text('{"stage": "pp', encoding="utf-8")
    (run / "result.json").write_text("[]", encoding="utf-8")
    (run / "checkpoint" / "step-00000010" / "state.json").write_text("{", encoding="utf-8")
    told = report(tmp_path / "a.html", run).shown
    assert "config.json: is not JSON" in told and "result.json: is not a JSON object" in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_comes_out_of_a_run_stays_text(language: str, tmp_path: Path) -> None:
    rows = [{**row, HOSTILE: 1.0, "text": HOSTILE} for row in rows_of(40)]
    result = {"unit": HOSTILE, "alarms": [HOSTILE], HOSTILE: 5.0, "model": HOSTILE}
    run = write_run(tmp_path / "<b>run & 'one'", rows, result, stage=HOSTILE, data=[HOSTILE], **{HOSTILE: HOSTILE})
    (run / "samples.md").write_text(f"## Step 0 {HOSTILE}\n\n{HOSTILE}\n\n## Step 40\n\n{HOSTILE}", encoding="utf-8")
    read = report(tmp_path / "a.html", run, "--title", HOSTILE, "--language", language)
    assert {tag for tag, _ in read.tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "b", "br", "div", "table", "thead",
        "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary", "pre", "svg", "g", "path", "text",
        "script",
    }  # fmt: skip
    for tag, attributes in read.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "style")}, tag
    assert [tag for tag, _ in read.tags].count("script") == len(read.scripts) == 2
    known = HOSTILE.replace("\x00", "\ufffd").replace("\u2028", "\ufffd")
    assert read.shown.count(known) >= 9
    assert "<b>run & 'one'" in read.shown
    policy = next(attributes["content"] for tag, attributes in read.tags if tag == "meta" and "content" in attributes)
    assert policy and policy.startswith("default-src 'none'") and page.hash_of(read.scripts[1]) in policy
    assert "http" not in read.scripts[1] and "//" not in policy


def test_runs_side_by_side(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", rows_of(40), {"unit": "mean reward", "accuracy": 0.75}, learning_rate=1.0)
    two = write_run(
        tmp_path / "two", rows_of(30, 2.0), learning_rate=2.0, data=["postgresql://kim:secret@h/d"], lora={"rank": 4}
    )
    other = write_run(tmp_path / "other", rows_of(20), stage="sft")
    read = report(tmp_path / "a.html", one, two, other)
    assert titles(read).count("training loss") == 2, "a chart for each stage"
    assert [one["letter"] for one in data_of(read)[0]["series"]] == ["A", "B"]
    rates = data_of(read)[titles(read).index("learning rate")]["series"]
    assert [one["points"][0][1] for one in rates] == pytest.approx([0.02 * 0.875, 0.5 * 0.875]), "of the adapter"
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    differing = text.partition("Settings that differ")[2].partition("<h2>")[0]
    assert re.findall(r"<td>([^<]*)</td>", differing)[::3] == ["lora.rank", "learning_rate", "data"]
    assert "secret" not in text and "postgresql://***@h/d" in text
    assert "0.75" in text.partition("Results")[2].partition("<h2>")[0]


def test_a_recipes_folder_is_all_its_runs(tmp_path: Path, capsys) -> None:
    write_run(tmp_path / "mine" / "base", rows_of(20), stage="pretrain")
    write_run(tmp_path / "mine" / "chat", rows_of(20), {"steps": 20}, stage="sft")
    (tmp_path / "mine" / "prepare").mkdir()
    read = report(tmp_path / "a.html", tmp_path / "mine", "--json", "--language", "ko")
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sorted((one["stage"], one["finished"]) for one in told["runs"]) == [("pretrain", False), ("sft", True)]
    assert titles(read).count("학습 손실") == 2 and "끝나지 않음" in read.shown
    assert ("html", {"lang": "ko"}) in read.tags


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    rows = [*rows_of(20), {"step": 30, "loss": math.nan, "seconds": 15.0}, {"step": 40, "loss": math.inf}]
    rows += [{"step": 50, "loss": 10**400, "seconds": "soon"}, {"step": "51", "loss": 1.0}, {"step": 52, "loss": None}]
    result = {"alarms": 5, "seconds": math.inf, "unit": None, "loss": [1]}
    read = report(tmp_path / "a.html", write_run(tmp_path / "run", rows, result))
    assert [point[0] for point in data_of(read)[0]["series"][0]["points"]] == [10, 20]


@given(st.lists(st.tuples(st.integers(0, 10**18), st.floats(-1e299, 1e299)), min_size=1, max_size=5))
def test_any_numbers_can_be_drawn(points: list[tuple[int, float]]) -> None:
    series = curves.Series("A", 0, [(float(x), y) for x, y in sorted(points)])
    drawn = curves.draw(curves.Chart("loss", [series]), "loss", "step")
    (line,) = re.findall(r'class="line" d="M([^"]*)"', drawn)
    for place in line.split("L"):
        x, y = map(float, place.split())
        assert curves.LEFT - 0.1 <= x <= curves.WIDTH - curves.RIGHT + 0.1
        assert curves.TOP - 0.1 <= y <= curves.HEIGHT - curves.BOTTOM + 0.1


def test_no_line_hangs_on_its_colour() -> None:
    """Of the eight styles each has a sign of its own and a dash pattern of its own."""
    style = (page.FOLDER / "page.css").read_text(encoding="utf-8")
    dashes = dict(re.findall(r"\.s(\d) \.line \{ stroke-dasharray: ([\d ]+);", style))
    assert len(set(dashes.values())) == len(dashes) == curves.STYLES - 1 and "0" not in dashes
    assert len(set(curves.SIGNS)) == len(curves.SIGNS) == curves.STYLES
    for scheme in style.split("@media"):
        assert all(f"--c{number}: #" in scheme for number in range(curves.STYLES))


def test_every_word_is_there_in_both_languages() -> None:
    assert all(len(words) == len(LANGUAGES) and all(words) for words in WORDS.values())
    assert all(re.search("[가-힣]", word(key, "ko")) for key in WORDS if key != "kl")
    source = (page.FOLDER / "page.py").read_text(encoding="utf-8")
    asked = set(re.findall(r'\bw\("([^"]+)"\)', source))
    assert asked and asked <= WORDS.keys()
    assert word("a_new_number", "ko") == "a new number"


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300), st.integers(6, 40))
def test_thinning_loses_no_spike(values: list[float], most: int) -> None:
    points = [(float(place), value) for place, value in enumerate(values)]
    kept = curves.thinned(points, most)
    assert len(kept) <= max(most, 2) and set(kept) <= set(points)
    assert kept == sorted(kept) and (kept[0], kept[-1]) == (points[0], points[-1])
    heights = [y for _, y in kept]
    assert (min(heights), max(heights)) == (min(values), max(values))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_within(low: float, length: float) -> None:
    high = low + length
    found = curves.ticks(low, high)
    assert 2 <= len(found) <= 11
    slack = 1e-6 * length + 1e-9 * abs(low)
    assert all(low - slack <= value <= high + slack for value in found)
    step = (found[-1] - found[0]) / (len(found) - 1)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert any(mantissa == pytest.approx(digit, rel=1e-3) for digit in (1, 2, 5))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{run}", "--out", "{tmp}/page.txt"], "a page is a file that ends in .html"),
        (["{run}", "--out", "{tmp}/folder.html"], "is a folder"),
        (["{tmp}/nowhere", "--out", "{tmp}/a.html"], "is no run folder"),
        (["{tmp}/folder.html", "--out", "{tmp}/a.html"], "is no run folder"),
        (["{run}/model", "--out", "{tmp}/a.html"], "is no run folder"),
        (["--out", "{tmp}/a.html"], "RUN"),
        (["{run}", "--language", "de", "--out", "{tmp}/a.html"], "--language"),
    ],
)
def test_what_is_wrong_is_one_message(words: list[str], told: str, tmp_path: Path, capsys) -> None:
    run = write_run(tmp_path / "run", rows_of(20), {"steps": 20})
    (tmp_path / "folder.html").mkdir()
    assert cli.main(["report", *(one.format(run=run, tmp=tmp_path) for one in words)]) in (1, 2)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists() and not (tmp_path / "page.txt").exists()


def refreshes(path: Path) -> list[str | None]:
    tags = Reader(path.read_text(encoding="utf-8")).tags
    return [a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv") == "refresh"]


@pytest.mark.parametrize("broken_off", [False, True])
def test_a_live_page_follows_the_run_and_stays(tmp_path: Path, monkeypatch, capsys, broken_off: bool) -> None:
    folder, out, seen = write_run(tmp_path / "run", rows_of(10)), tmp_path / "live.html", []

    def slept(seconds: float) -> None:
        """Between two pages the run makes ten steps, then ends or is never heard of again."""
        read = Reader(out.read_text(encoding="utf-8"))
        seen.append((seconds, refreshes(out), len(data_of(read)[0]["series"][0]["points"])))
        steps = 10 * (len(seen) + 1)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(steps)))
        if len(seen) == 3 and broken_off:
            raise KeyboardInterrupt
        if len(seen) == 3:
            (folder / "result.json").write_text(json.dumps({"steps": 40}))

    monkeypatch.setattr("time.sleep", slept)
    last = report(out, folder, "--live", "7")
    assert seen == [(7, ["7"], 1), (7, ["7"], 2), (7, ["7"], 3)]
    assert refreshes(out) == [] and len(data_of(last)[0]["series"][0]["points"]) == 4
    told = capsys.readouterr()
    assert told.out.count(str(out)) == 1 and ("stays as it is" in told.err) == broken_off


def test_a_live_page_of_a_recipe_waits_for_its_next_stage(tmp_path: Path, monkeypatch) -> None:
    write_run(tmp_path / "mine" / "pretrain", rows_of(40), {"steps": 40})

    def slept(seconds: float) -> None:
        if (tmp_path / "mine" / "sft").is_dir():
            raise KeyboardInterrupt
        write_run(tmp_path / "mine" / "sft", rows_of(10), stage="sft")

    monkeypatch.setattr("time.sleep", slept)
    assert "sft" in report(tmp_path / "live.html", tmp_path / "mine", "--live", "1").shown
