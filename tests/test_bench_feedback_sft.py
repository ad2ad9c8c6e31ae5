"""bench/feedback_sft.py: the simulated person, what the store then holds, and the whole of it on next to nothing."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dodam.data.conversation import CHAT_TEMPLATE
from dodam.errors import UsageError
from dodam.feedback.store import open_store
from dodam.sample import corpus
from talking_models import make_decoder, make_tokenizer, write_model

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))

import feedback_sft as bench
import rl_gains
from held_back import PROBLEMS as PROBLEMS_TASK
from held_back import compared, read_lines, write_held_back

PROMPTS, ANSWERS, HELD_BACK = 7, 3, 4


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tokenizer = make_tokenizer(CHAT_TEMPLATE)
    return write_model(tmp_path / "model", make_decoder(context=512), tokenizer, CHAT_TEMPLATE)


def script(truths: list[str]) -> list[list[str | None]]:
    """What is answered to each prompt; None is what the model really wrote."""
    wrong = "답: 0"
    return [
        [truths[0], wrong, wrong],  # one text twice is one answer to rank
        [truths[1]] * 3,  # nothing to rank, nothing to mend
        [f"1+1=3\n{wrong}", wrong, "Answer: 1.5"],  # all bad
        [truths[3], f"A {truths[3]}", wrong],  # the first two tie
        [f"1+1=3\n{truths[4]}", truths[4], wrong],  # of two right ones the one with the clean working
        [None, None, wrong],
        [wrong] * 3,  # nothing to rank, one thing to mend
    ]


def told(text: str) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """The JSON lines, and the cells of the table."""
    lines = text.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [json.loads(line) for line in lines if line.startswith("{")], cells


def test_prompts_are_those_of_the_bundled_corpus_and_their_truths_are_right(monkeypatch) -> None:
    known = list(bench.problems(1, 40))
    rows = list(corpus.problems(1, 40))
    assert [(one.messages, one.answer, one.metric) for one in known] == [
        (row["messages"], row["answer"], row["metric"]) for row in rows
    ]
    assert all(one.badness(one.truth) == (False, 0, 0) for one in known)
    other = next(one.truth for one in known if one.answer != known[0].answer)
    assert known[0].badness(other) > known[0].badness(f"1+1=3\n{known[0].truth}") > (False, 0, 0)
    chat = corpus.chat
    monkeypatch.setattr(corpus, "chat", lambda seed: chat(seed, 0.01))
    chats = list(bench.chats(0, 5))
    assert len(chats) == 5 and all(one.messages[-1]["role"] == "user" and one.right(one.truth) for one in chats)
    assert chats[0].badness("") > chats[0].badness(chats[0].truth)


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ("모두: 47+38=70+15=85\n남은 수: 85-9=76\n답: 76", 0),
        ("All: 24×3=60+12=72\nEach: 72÷6=12\nAnswer: 12", 0),
        ("모두: 47+38=70+15=86\n남은 수: 86-9=76\n답: 76", 2),
        ("a: 5÷0=5", 1),
        ("a: 5+=5", 1),
        ("a: 7÷2=3", 1),
        ("답: 12", 0),
    ],
)
def test_false_equations_are_counted_by_line(answer: str, count: int) -> None:
    assert bench.false_equations(answer) == count


def test_from_answers_to_the_table(model: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    tests, generate, out = corpus.tests, bench.generate, tmp_path / "out"
    truths = [one.truth for one in bench.problems(0, PROMPTS)]
    scripted = [text for answers in script(truths) for text in answers]

    def answered(*asked: Any, **how: Any) -> list[Any]:
        outputs = generate(*asked, **how)
        return [one if text is None else replace(one, text=text) for one, text in zip(outputs, scripted, strict=True)]

    monkeypatch.setattr(bench, "generate", answered)
    monkeypatch.setattr(corpus, "tests", lambda seed: tests(seed, 4))
    words = ["--model", str(model), "--out", str(out), "--prompts", str(PROMPTS), "--answers", str(ANSWERS)]
    words += ["--steps", "1", "--n", str(HELD_BACK), "--tasks", "facts", "--limit", "2", "--max-tokens", "6"]
    words += ["--threads", "1", "--batch", "2"]
    bench.main(words)
    printed = capsys.readouterr().out
    (stored, *models), cells = told(printed)

    with open_store(out / "feedback.sqlite") as store:
        rankings = list(store.rankings())
        parts = {kind: list(store.demonstrations((kind,))) for kind in ("written", "edited", "ranked first")}
        prompts = [one.messages[-1]["content"] for one in store.prompts()]
        origins = [answer.origin for one in store.prompts() for answer in one.answers]
    assert {row["annotator"] for row in rankings} == {bench.PERSON}
    ranks = [dict(zip(row["answers"], row["ranks"], strict=True)) for row in rankings[:4]]
    assert [sorted(one.values()) for one in ranks] == [[1, 2], [1, 1, 2], [1, 1, 2], [1, 2, 3]]
    assert ranks[0][truths[0]] == 1 and ranks[3][truths[4]] == 1
    assert ranks[1]["답: 0"] < ranks[1]["1+1=3\n답: 0"]  # among bad ones too
    assert [row["all_bad"] for row in rankings] == [False, True, False, False, True]
    assert [row["messages"][-1]["content"] for row in parts["written"]] == truths
    mended = [truths[place] for place in (0, 2, 3, 4, 5, 6)]
    assert [row["messages"][-1]["content"] for row in parts["edited"]] == mended
    assert {row["original"] for row in parts["edited"][:1]} == {"답: 0"}
    first = sorted(row["messages"][-1]["content"] for row in parts["ranked first"])
    assert first == sorted([truths[0], truths[3], f"A {truths[3]}", truths[4]])
    assert stored["conversations"] == {"written": 7, "edited": 6, "ranked": 4}
    assert (stored["prompts"], stored["rankings"], stored["all_bad"]) == (7, 5, 2)
    assert stored["with_ties"] == sum(len(set(row["ranks"])) < len(row["ranks"]) for row in rankings) >= 2
    assert len({json.dumps(origin) for origin in origins}) == stored["candidates"] == len(origins)
    assert {origin["model"] for origin in origins} == {str(model)}

    paths = sorted((out / "held-back").iterdir(), reverse=True)  # first the problems
    held_back = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    assert len(held_back) == HELD_BACK + 2
    asked = {item["messages"][-1]["content"] if "messages" in item else item["prompt"] for item in held_back}
    assert len(set(prompts)) == PROMPTS and not set(prompts) & asked
    known = [replace(one, messages=held_back[0]["messages"]) for one in bench.problems(0, 1)]
    with pytest.raises(UsageError, match="is among the prompts too"):
        bench.check_apart(known, paths)

    rows = json.loads((out / "evaluate" / "report.json").read_text())["rows"]
    names = ["before", "written", "edited", "ranked", "all"]
    assert cells[0][1:] == [one["model"] for one in models] == names
    assert cells[1][1:] == ["", "7", "6", "4", "17"]
    found = {re.split(", ", line[0])[0]: line[1:] for line in cells}
    for row in rows:
        percent = [f"{100 * row[key]:.1f}" for key in ("value", "low", "high")]
        assert found[row["task"]][names.index(row["model"])] == f"{percent[0]}% ({percent[1]}-{percent[2]})"
        line = models[names.index(row["model"])]["tasks"][row["task"]]
        assert line == {key: row[key] for key in ("metric", "value", "low", "high", "n")}
    assert {row["n"] for row in rows if row["task"] == PROBLEMS_TASK} == {HELD_BACK}
    sizes = [json.loads((out / name / "config.json").read_text())["steps"] for name in names[1:]]
    assert sizes == [1, 1, 1, 1]

    begun = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert len(begun) >= 4
    monkeypatch.setattr(bench, "generate", None)
    bench.main(words)
    assert capsys.readouterr().out == printed
    assert {path: path.stat().st_mtime_ns for path in begun} == begun
    with pytest.raises(UsageError, match=r"other settings \(prompts\)"):
        bench.main([*words, "--prompts", "8"])


def test_problems_that_settings_were_chosen_by_are_passed_over(tmp_path: Path) -> None:
    (all_of_them,) = write_held_back(tmp_path, 0, 5, [], 0)
    (rest,) = write_held_back(tmp_path, 2, 3, [], 0)
    assert read_lines(rest) == read_lines(all_of_them)[2:]


def test_what_is_gone_and_what_is_lost() -> None:
    def row(model: str, task: str, value: float, high: float) -> dict[str, Any]:
        return {"model": model, "task": task, "metric": "exact", "value": value, "low": 0.0, "high": high, "n": 9}

    rows = [row("before", PROBLEMS_TASK, 0.5, 0.6), row("before", "facts", 0.9, 0.95), row("before", "table", 0.9, 1)]
    rows += [
        row("edited", PROBLEMS_TASK, 0.8, 0.9),
        row("edited", "facts", 0.8, 0.89),
        row("edited", "table", 0, 0.9),
    ]
    before, edited = compared(rows, {"edited": {"conversations": 3, "steps": 7}})
    assert edited["errors_cut"] == pytest.approx(0.6) and edited["lost"] == ["facts"]
    assert (edited["conversations"], edited["steps"]) == (3, 7) and "lost" not in before


def test_gains_of_every_algorithm_and_seed_in_one_table(model: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    tests, generate = corpus.tests, bench.generate

    def answered(*asked: Any, **how: Any) -> list[Any]:  # one right and one wrong answer to each prompt
        truths = [text for one in bench.problems(1, 20) for text in (one.truth, f"1+1=3\n{one.truth}")]
        return [replace(one, text=text) for one, text in zip(generate(*asked, **how), truths, strict=True)]

    monkeypatch.setattr(bench, "generate", answered)
    monkeypatch.setattr(corpus, "tests", lambda seed: tests(seed, 4))
    short = "--prompts 2 --max-tokens 6 --report-prompts 2"
    words = ["--model", str(model), "--out", str(tmp_path / "out"), "--seeds", "0", "1", "--steps", "1", "--n", "3"]
    words += ["--tasks", "facts", "--limit", "2", "--ranked", "20", "--answers", "2", "--max-tokens", "6"]
    words += ["--threads", "1", "--ppo", short, "--grpo", f"{short} --answers 2", "--dpo", "--steps 2 --batch 4"]
    rl_gains.main(words)
    lines, cells = told(capsys.readouterr().out)
    names = ["before", "ppo-0", "ppo-1", "grpo-0", "grpo-1", "dpo-0", "dpo-1"]
    assert [line["model"] for line in lines] == names == cells[0][1:]
    assert all(line["tasks"][PROBLEMS_TASK]["n"] == 3 for line in lines)
    assert all(line["steps"] == (2 if "dpo" in line["model"] else 1) for line in lines[1:])
    assert all((line["kl"] == "") == ("dpo" in line["model"]) for line in lines[1:])
    assert all(re.fullmatch(r"[\d.]+% -> [\d.]+%", line["preferred"]) for line in lines[5:])
