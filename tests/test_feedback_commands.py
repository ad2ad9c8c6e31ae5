"""`dodam feedback`: what goes out comes in again, every form, bad rows named; and `sft` learns from a store."""

import itertools
import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dodam
import feedback_stores
from dodam import cli
from dodam.data.conversation import read_conversations
from dodam.feedback import forms
from dodam.feedback.conversations import new_key
from dodam.feedback.store import open_store
from feedback_stores import filled, told
from test_preferences import FORMS

postgres, place = feedback_stores.postgres, feedback_stores.place  # fixtures

USER = [{"role": "user", "content": "수도는?"}]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def command(capsys: pytest.CaptureFixture, *words: object) -> dict:
    """Run through the command line; returns what --json prints."""
    capsys.readouterr()
    assert cli.main(["feedback", *map(str, words), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    capsys.readouterr()
    assert cli.main(["feedback", *map(str, words)]) == 1
    return capsys.readouterr().err


@pytest.fixture
def judged(place: str) -> str:
    """A store with rankings of two annotators, an edit, and something written."""
    with open_store(place, create=True) as store:
        for number, (prompt, answers) in enumerate(filled(store, prompts=3, answers=3)):
            for name, ranks in (("kim", [1, 2, 2]), ("lee", [2, 1, 3])):
                said = {
                    "id": f"{name}{number}",
                    "prompt": prompt,
                    "answers": answers,
                    "ranks": ranks,
                    "annotator": name,
                }
                store.add_ranking(**said, seconds=4.5, guideline="1", shown=[1, 2, 0], all_bad=number == 2)
        store.add_demonstration(id="w", prompt=prompt, text="쓴 답", annotator="kim", seconds=9)
        store.add_demonstration(id="e", prompt=prompt, text="고친 답", annotator="lee", edited=answers[0])
    return place


def test_rankings_go_out_and_come_in_unchanged(judged: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first, second, new = tmp_path / "1.jsonl", tmp_path / "2.jsonl", tmp_path / "new.sqlite"
    assert command(capsys, "export", judged, "--out", first)["rows"] == 6
    found = command(capsys, "import", new, first)
    assert (found["rankings"], found["known"]) == (6, 0)
    command(capsys, "export", new, "--out", second)
    assert second.read_bytes() == first.read_bytes()
    again = command(capsys, "import", new, first, first)
    assert (again["rankings"], again["known"]) == (0, 12)


def test_conversations_go_out_and_come_in(judged: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out, new = tmp_path / "d.jsonl", tmp_path / "new.sqlite"
    command(capsys, "export", judged, "--out", out, "--form", "conversations")
    rows = lines(out)
    assert [row["kind"] for row in rows] == ["written", "edited", *["ranked first"] * 4]
    assert f"{out}:3: an answer that was ranked first is no demonstration" in refused(capsys, "import", new, out)
    assert not new.exists()
    jsonl(out, *rows[:2])
    assert command(capsys, "import", new, out)["demonstrations"] == 2
    with open_store(new) as store:
        assert list(store.demonstrations()) == rows[:2]
        assert rows[1]["origin"]["model"] == "runs/sft"
    assert command(capsys, "import", judged, out)["known"] == 2, "a store's own export is what it has already"
    with open_store(judged) as store:
        assert store.counts()["candidates"] == 9


def test_rows_that_differ_in_origins_or_original_alone_are_two(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = {"prompt": "수도는?", "answers": ["서울", "부산"], "ranks": [1, 2]}
    edit = {"messages": USER + answer("서울입니다.")}
    rows = jsonl(
        tmp_path / "rows.jsonl",
        *(one | {"origins": [{"model": model}, {"model": "z"}]} for model in "ab"),
        *(edit | {"original": original} for original in ("서울", "부산")),
        edit | {"original": "부산", "origin": {"model": "a"}},
    )
    found = command(capsys, "import", tmp_path / "new.sqlite", rows)
    assert (found["rankings"], found["demonstrations"], found["known"]) == (2, 3, 0)
    assert command(capsys, "import", tmp_path / "new.sqlite", rows)["known"] == 5


@pytest.mark.parametrize("form", ["trl", "openai"])
def test_pairs_go_out_and_come_in(judged: str, tmp_path: Path, capsys: pytest.CaptureFixture, form: str) -> None:
    out, second, new = tmp_path / "1.jsonl", tmp_path / "2.jsonl", tmp_path / "new.sqlite"
    command(capsys, "export", judged, "--out", out, "--form", form)
    rows = lines(out)
    assert len(rows) == 3 * (2 + 3)  # kim ties two of three
    better, worse = {"trl": ("chosen", "rejected"), "openai": ("preferred_output", "non_preferred_output")}[form]
    assert (rows[0][better], rows[0][worse]) == (answer("답 0"), answer("답 1"))
    assert (rows[2][better], rows[2][worse]) == (answer("답 1"), answer("답 0"))  # lee's best first
    found = command(capsys, "import", new, out)
    assert (found["rankings"], found["known"]) == (15, 0)  # kim's pair and lee's are two
    command(capsys, "export", new, "--out", second, "--form", form)
    assert lines(second) == rows


def test_exported_pairs_are_what_the_training_stages_read(judged: str, tmp_path: Path, capsys) -> None:
    """`dodam reward` finds the same pairs in the store, in our rows and in both forms of pairs."""
    from dodam.data.preferences import read_rankings

    with open_store(judged) as store:
        wanted = sorted(pair for row in store.rankings() for pair in forms.pairs(row))
    sources = [judged]
    for form in ("rankings", "trl", "openai"):  # kim and lee disagree
        sources.append(str(tmp_path / f"{form}.jsonl"))
        command(capsys, "export", judged, "--out", sources[-1], "--form", form)
    for source in sources:
        found = [forms.pairs({"answers": one.answers, "ranks": one.ranks}) for one in read_rankings((source,))]
        assert sorted(pair for pairs in found for pair in pairs) == wanted


def test_an_older_ranking_that_comes_in_later_supersedes_nothing(place: str, tmp_path: Path, capsys) -> None:
    def brought(day: str, ranks: list[int], time: str) -> dict:
        row = {"prompt": "수도는?", "answers": ["서울", "부산"], "ranks": ranks, "id": day, "annotator": "kim"}
        return command(capsys, "import", place, jsonl(tmp_path / f"{day}.jsonl", row | {"time": time}))

    def counting() -> list[str]:
        with open_store(place) as store:
            return [row["id"] for row in store.rankings()]

    assert brought("tuesday", [2, 1], "2026-05-02T00:00:00+00:00")["superseded"] == 0
    assert brought("monday", [1, 2], "2026-05-01T00:00:00+00:00")["superseded"] == 0
    assert counting() == ["tuesday"]
    assert brought("wednesday", [1, 2], "2026-05-03T00:00:00+00:00")["superseded"] == 1
    assert brought("future", [2, 1], "2999-01-01T00:00:00+00:00")["superseded"] == 1
    with open_store(place) as store:
        asked = next(store.prompts())
        store.add_ranking(
            id="now", prompt=asked.id, answers=[one.id for one in asked.answers], ranks=[1, 2], annotator="kim"
        )
    assert counting() == ["now"]
    with open_store(place) as store:
        store.undo("now", "kim")
    assert counting() == ["future"]


EQUAL = [
    {"prompt": "수도는?", "chosen": "서울", "rejected": "부산"},
    {"prompt": USER, "chosen": answer("서울"), "rejected": answer("부산")},
    {"chosen": USER + answer("서울"), "rejected": USER + answer("부산")},
    {"input": {"messages": USER}, "preferred_output": answer("서울"), "non_preferred_output": answer("부산")},
    {"prompt": "수도는?", "answers": ["서울", "부산"], "ranks": [1, 2]},
]


@pytest.mark.parametrize("row", EQUAL, ids=lambda row: "-".join(row))
def test_every_form_is_the_same_ranking(row: dict) -> None:
    assert forms.entry(row) == forms.entry(EQUAL[0])


READ_ALIKE = [name for name, (_, columns, *_) in FORMS.items() if not columns and name != "scored"]


@pytest.mark.parametrize("form", READ_ALIKE)
def test_what_comes_in_is_what_training_reads_from_the_file(form: str) -> None:
    """The table of `dodam reward`'s own reader: a system message is kept, a dialogue in one text is taken apart."""
    row, _, prompt, ranks, _ = FORMS[form]
    found = forms.entry(row)
    assert found.prompt == prompt
    assert dict(zip(found.answers, found.ranks, strict=True)) == ranks


def test_a_dialogue_as_a_prompt_and_a_system_message_are_read_in_every_form() -> None:
    text, system = "\n\nHuman: hi\n\nAssistant:", {"role": "system", "content": "s"}
    asked = [{"role": "user", "content": "hi"}]
    for row in ({"chosen": " hello", "rejected": " no"}, {"answers": ["a", "b"], "ranks": [1, 2]}, {}):
        assert forms.entry({"prompt": text} | row).prompt == asked
        assert forms.entry({"prompt": "hi", "system": "s"} | row).prompt == [system, *asked]
    assert forms.entry({"messages": asked + answer("b"), "system": "s"}).prompt == [system, *asked]


def test_answers_and_prompts_to_ask(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = jsonl(
        tmp_path / "p.jsonl",
        {"prompt": "하나", "answers": ["a", "b"], "origins": [{"model": "m"}, {}]},
        {"prompt": "둘", "task": "facts"},
    )
    store = tmp_path / "s.sqlite"
    found = command(capsys, "import", store, rows)
    assert (found["answers_to_rank"], found["prompts_to_ask"], found["known"]) == (1, 1, 0)
    assert command(capsys, "import", store, rows)["known"] == 2
    with open_store(store) as opened:
        asked = {one.messages[0]["content"]: one for one in (opened.next_prompt("a"), opened.next_prompt("b"))}
        assert [answer.text for answer in asked["하나"].answers] == ["a", "b"]
        assert asked["하나"].answers[0].origin == {"model": "m"}
        assert (asked["둘"].task, asked["둘"].source) == ("facts", "p.jsonl")


BAD = {
    "is not JSON": "{",
    "a row must be an object": "[1]",
    "no known form has the columns text": {"text": "a"},
    "no ranking is found in the columns prompt, chosen": {"prompt": "a", "chosen": "b"},
    "the preferred answer and the other one are equal": {"prompt": "a", "chosen": "b", "rejected": " b "},
    "an answer is empty": {"prompt": "a", "chosen": "b", "rejected": ""},
    "an answer is one message of the assistant": {
        "chosen": USER + answer("a") + USER + answer("a"),
        "rejected": USER + answer("b"),
    },
    "there are 2 answers and 3 ranks": {"prompt": "a", "answers": ["b", "c"], "ranks": [1, 2, 3]},
    "2 to 26 answers, not 1": {"prompt": "a", "answers": ["b"], "ranks": [1]},
    "the answer 'b' has two ranks": {
        "prompt": "a",
        "answers": ["b", "b"],
        "ranks": [1, 2],
        "origins": [{}, {"model": "m"}],
    },
    "the same answer is there twice": {"prompt": "a", "answers": ["b", "b"], "ranks": [1, 1]},
    "2 answers and 1 origins": {"prompt": "a", "answers": ["b", "c"], "ranks": [1, 2], "origins": [{}]},
    "the time 'yesterday' is none": {"prompt": "a", "answers": ["b", "c"], "ranks": [1, 2], "time": "yesterday"},
    "the origin of an answer": {"prompt": "a", "answers": ["b", "c"], "origins": [{"x": float("nan")}, {}]},
    "the last message must be the assistant's": {"messages": USER},
    "ends with a message of the user": {"prompt": USER + answer("a"), "chosen": "b", "rejected": "c"},
    "the prompt is missing": {"input": "a", "preferred_output": answer("a"), "non_preferred_output": answer("b")},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_rows_are_named_and_nothing_comes_in(tmp_path: Path, capsys, message: str) -> None:
    bad = BAD[message] if isinstance(BAD[message], str) else json.dumps(BAD[message])
    path, store = tmp_path / "bad.jsonl", tmp_path / "s.sqlite"
    path.write_text(json.dumps(EQUAL[0]) + "\n\n" + bad + "\n", encoding="utf-8")
    error = refused(capsys, "import", store, path)
    assert f"{path}:3: " in error and message in error
    assert not store.exists()


def test_what_cannot_be_exported_or_read(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = tmp_path / "s.sqlite"
    assert "there is no such store" in refused(capsys, "export", store, "--out", tmp_path / "o.jsonl")
    with open_store(store, create=True):
        pass
    assert "nothing to export" in refused(capsys, "export", store, "--out", tmp_path / "o.jsonl")
    assert not (tmp_path / "o.jsonl").exists()
    assert "cannot be read" in refused(capsys, "import", store, tmp_path / "nowhere.jsonl")
    (tmp_path / "old.jsonl").write_bytes("하나".encode("cp949"))
    assert "is not UTF-8" in refused(capsys, "import", store, tmp_path / "old.jsonl")
    assert "is no finished run" in refused(
        capsys, "report", store, "--runs", reward_run(tmp_path / "r", 10, 0.5, "sft")
    )


def reward_run(path: Path, rankings: int, accuracy: float, stage: str = "reward") -> Path:
    """What a run of `dodam reward` leaves of its size and accuracy."""
    (path / "model").mkdir(parents=True)
    (path / "result.json").write_text(json.dumps({"accuracy": accuracy, "held_back": 100}))
    lineage = {"prompts learned from": rankings}
    (path / "model" / "dodam.json").write_text(json.dumps({"stage": stage, "lineage": lineage}))
    return path


def test_the_report_tells_what_the_numbers_are(place: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rng = random.Random(1)
    with open_store(place, create=True) as store:
        for number, (prompt, answers) in enumerate(filled(store, prompts=12, answers=3)):
            ranks = rng.sample([1, 2, 3], 3)
            for name in ("kim", "lee"):  # they agree wholly
                said = {
                    "id": f"{name}{number}",
                    "prompt": prompt,
                    "answers": answers,
                    "ranks": ranks,
                    "annotator": name,
                }
                seconds = 600.0 if (name, number) == ("lee", 3) else rng.uniform(4, 6)
                store.add_ranking(**said, seconds=seconds, shown=rng.sample(range(3), 3))
    runs = [reward_run(tmp_path / "small", 100, 0.6), reward_run(tmp_path / "large", 400, 0.7)]
    report = command(capsys, "report", place, "--runs", runs[0], "--runs", runs[1], "--out", tmp_path / "report")
    assert report["agreement"]["alpha"] == 1 and report["agreement"]["ranked by several"] == 12
    assert report["agreement"]["pairwise"][0] == {
        "annotators": ["kim", "lee"],
        "value": 1,
        "low": 1,
        "high": 1,
        "n": 36,
    }
    assert [one["id"] for one in report["outliers"]] == ["lee3"]
    assert (report["pairs"], report["annotators"]) == (72, {"kim": 12, "lee": 12})
    curve = report["more"]["curve"]  # error 0.4 at 100 and 0.3 at 400: 0.2 + 2 / sqrt(n)
    assert (curve["floor"], curve["slope"]) == (pytest.approx(0.2), pytest.approx(2))
    assert curve["more"] == curve["enough"] - 12
    assert json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8")) == report
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "alpha (ordinal) is 1.000, over 12 prompts" in text and f"{curve['more']} more prompts" in text
    assert "secret" not in text


def test_the_report_of_an_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with open_store(tmp_path / "s.sqlite", create=True):
        pass
    assert cli.main(["feedback", "report", str(tmp_path / "s.sqlite")]) == 0
    text = capsys.readouterr().out
    assert "0 rankings" in text and "No answers were ranked by two" in text and "Of the model nothing is known" in text


def test_a_chat_is_deleted_by_its_key(place: str, capsys: pytest.CaptureFixture) -> None:
    key = new_key()
    with open_store(place, create=True) as store:
        prompt, one = store.collect(key, "하나", "둘", {})
        (two,) = store.add_candidates(prompt, ["셋"])
        store.add_ranking(id="r", prompt=prompt, answers=[one, two], ranks=[1, 2], annotator="kim")
    found = command(capsys, "delete", place, "--key", key)
    assert (found["prompts"], found["answers"], found["rankings"]) == (1, 2, ["r"])
    assert "no conversation has this key" in refused(capsys, "delete", place, "--key", key)


def test_thumbs_go_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with open_store(tmp_path / "s.sqlite", create=True) as store:
        store.add_thumb(id="t", answer=filled(store)[0][1][1], up=False, annotator="kim")
        said = list(store.thumbs())
    command(capsys, "export", tmp_path / "s.sqlite", "--out", tmp_path / "t.jsonl", "--form", "thumbs")
    assert lines(tmp_path / "t.jsonl") == said and said[0]["answer"] == "답 1" and not said[0]["up"]


def test_commands_are_functions_too(judged: str, tmp_path: Path) -> None:
    assert dodam.feedback_export(judged, out=tmp_path / "o.jsonl", form="trl")["rows"] == 15


def test_import_killed_and_started_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [{"prompt": f"{number}", "chosen": "a", "rejected": "b"} for number in range(300)]
    path, store = jsonl(tmp_path / "p.jsonl", *rows), tmp_path / "s.sqlite"
    with open_store(store, create=True):
        pass
    words = ["feedback", "import", str(store), str(path)]
    script = f"from dodam import cli; from dodam.feedback import incoming; incoming.AT_ONCE = 20; cli.main({words})"
    process = subprocess.Popen([sys.executable, "-c", script])
    with open_store(store) as watched:
        while process.poll() is None and watched.counts()["rankings"] == 0:
            time.sleep(0.05)
    process.kill()
    process.wait()
    found = command(capsys, "import", store, path)
    assert found["rankings"] + found["known"] == 300 and found["known"] > 0
    with open_store(store) as opened:
        assert opened.counts()["rankings"] == 300


def test_conversations_of_a_store(judged: str) -> None:
    def kinds(*data: str) -> list[tuple[str, str]]:
        return [(one.where.rpartition(", ")[2], one.messages[-1]["content"]) for one in read_conversations(data)]

    ranked = [("ranked first kim0", "답 0"), ("ranked first lee0", "답 1"), ("ranked first kim1", "답 0")]
    ranked += [("ranked first lee1", "답 1")]  # the third prompt's are all bad
    assert kinds(f"{judged}#written") == [("written w", "쓴 답")]
    assert kinds(f"{judged}#edited") == [("edited e", "고친 답")]
    assert kinds(f"{judged}#ranked") == ranked
    assert kinds(judged) == [("written w", "쓴 답"), ("edited e", "고친 답"), *ranked]
    assert kinds(f"{judged}#edited", f"{judged}#written") == [("edited e", "고친 답"), ("written w", "쓴 답")]
    assert "a store has no part `best`" in told(lambda: kinds(f"{judged}#best"))


@pytest.mark.usefixtures("no_pictures")
def test_sft_learns_from_a_store(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Through the command line: the edited answers, and nothing else, are what the model is tuned on."""
    from talking_models import make_decoder, make_tokenizer, write_model

    base = write_model(tmp_path / "base", make_decoder(context=32), make_tokenizer(), None)
    store, out = tmp_path / "s.sqlite", tmp_path / "run"
    with open_store(store, create=True) as opened:
        for number, (prompt, answers) in enumerate(filled(opened, prompts=4, answers=2)):
            opened.add_ranking(id=f"r{number}", prompt=prompt, answers=answers, ranks=[1, 2], annotator="kim")
            said = {"prompt": prompt, "text": "고친 답", "annotator": "kim", "edited": answers[0]}
            opened.add_demonstration(id=f"e{number}", **said)
    words = ["--model", base, "--steps", 1, "--batch", 2, "--device", "cpu", "--threads", 1, "--name", "나"]
    assert cli.main(["sft", "--data", f"{store}#edited", "--out", *map(str, (out, *words))]) == 0
    said = capsys.readouterr().err
    assert "» 고친 답<|end|>«" in said and "답 0" not in said  # what is learned, as sft shows it
    lineage = json.loads((out / "model" / "dodam.json").read_text(encoding="utf-8"))["lineage"]
    assert lineage["data"] == [f"{store}#edited"] and 1 <= lineage["conversations"] <= 4


def test_uncertainty_is_the_entropy_of_which_answer_is_better() -> None:
    import numpy as np

    from dodam.feedback.uncertainty import uncertainty

    def entropy(p: float) -> float:
        return -p * math.log2(p) - (1 - p) * math.log2(1 - p)

    assert uncertainty(np.array([[1.0, 1.0, 1.0]])) == 1
    assert uncertainty(np.array([[0.0, 900.0]])) == pytest.approx(0)
    three = np.array([[0.0, 1.0, 3.0]])
    apart = [1 / (1 + math.exp(-difference)) for difference in (1, 2, 3)]
    assert uncertainty(three) == pytest.approx(sum(map(entropy, apart)) / 3)
    assert uncertainty(np.array([[0.0, 5.0], [5.0, 0.0]])) == pytest.approx(1)  # each member is sure, and they disagree


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of a short run."""
    for drawn in ("dodam.evaluate.preference.draw_calibration", "dodam.train.metrics.draw"):
        monkeypatch.setattr(drawn, lambda *_: None)


@pytest.mark.usefixtures("no_pictures")
def test_a_reward_model_learns_from_a_store_and_tells_what_it_knows_least(tmp_path: Path, capsys) -> None:
    """Through the command line: rankings come in, a reward model is trained on the store, its numbers go back into the
    store, which asks by them, and the report reads the run."""
    from dodam.generate.scorer import load_scorer
    from ranked_answers import FEW, rankings, run, write_bases
    from talking_models import make_tokenizer

    rows = [{key: row[key] for key in ("prompt", "answers", "ranks")} for row in rankings(60)]
    data, store, out = jsonl(tmp_path / "r.jsonl", *rows), tmp_path / "s.sqlite", tmp_path / "reward"
    command(capsys, "import", store, data)
    base = write_bases(tmp_path, make_tokenizer())["decoder"]
    words = ["--steps", 4, "--validation", 0.3, "--learning-rate", 2]
    assert run("reward", "--data", store, "--model", base, "--out", out, *words, *FEW) == 0
    assert "no prompt has two answers" in refused(capsys, "uncertainty", empty(tmp_path), "--reward", out)
    found = command(capsys, "uncertainty", store, "--reward", out, "--threads", 1)
    scorer = load_scorer(out)
    with open_store(store) as opened:
        asked = list(opened.prompts())
        assert found["prompts"] == len(asked)
        unknown = {}
        for one in asked:
            scores = scorer.scores([[*one.messages, *answer(text.text)] for text in one.answers])
            chances = [1 / (1 + math.exp(b - a)) for a, b in itertools.combinations(scores, 2)]
            unknown[one.id] = sum(-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in chances) / len(chances)
        assert found["mean"] == pytest.approx(sum(unknown.values()) / len(unknown), rel=1e-4)
        lent = [opened.next_prompt(f"a{place}", "uncertain").id for place in range(3)]
        assert lent == sorted(unknown, key=lambda id: -unknown[id])[:3]
    report = command(capsys, "report", store, "--runs", out, "--runs", reward_run(tmp_path / "small", 5, 0.5))
    point = report["more"]["curve"]["points"][0]
    assert point["rankings"] + point["held_back"] == len(asked)


def empty(folder: Path) -> Path:
    with open_store(folder / "empty.sqlite", create=True) as store:
        store.add_prompt("하나")
    return folder / "empty.sqlite"
