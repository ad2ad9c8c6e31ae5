"""Rankings read from every known form, and everything that can be wrong with them; pairs, splits and repetitions."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from dodam.data.conversation import read_conversations
from dodam.data.judged import Pair, fingerprint, judged, split
from dodam.data.preferences import Ranking, kept_rows, named, read_rankings
from dodam.errors import DataError, UsageError
from dodam.feedback.store import open_store

ASK = [{"role": "user", "content": "q"}]
SAY = {"role": "assistant", "content": "a"}
LONGER = [{"role": "system", "content": "s"}, *ASK, {"role": "assistant", "content": "x"}, *ASK]


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


Scores = tuple[float, ...] | None
FORMS: dict[str, tuple[dict[str, Any], dict[str, str], list[dict[str, str]], dict[str, int], Scores]] = {
    "ours": (
        {"id": "7", "prompt": ASK, "answers": ["a", "b", "c"], "ranks": [1, 2, 2], "all_bad": False, "annotator": "k"},
        {}, ASK, {"a": 1, "b": 2, "c": 2}, None,
    ),
    "a prompt as text": ({"prompt": "q", "answers": ["a", "b"], "ranks": [2, 1]}, {}, ASK, {"a": 2, "b": 1}, None),
    "scored": (
        {"prompt": "q",
         "answers": [{"text": "a", "score": 0.5}, {"text": "b", "score": 2}, {"text": "c", "score": 0.5}]},
        {}, ASK, {"a": 2, "b": 1, "c": 2}, (0.5, 2.0, 0.5),
    ),
    "scored under other names": (
        {"frage": "q", "answers": [{"answer": "a", "win": 0.2, "model": "x"}, {"answer": "b", "win": 0.9}]},
        {"prompt": "frage", "score": "win"}, ASK, {"a": 2, "b": 1}, (0.2, 0.9),
    ),
    "booleans": (
        {"question": "q", "responses": [{"response": "a", "acceptable?": 1}, {"response": "b", "acceptable?": 0}]},
        {"score": "acceptable?"}, ASK, {"a": 1, "b": 2}, (1.0, 0.0),
    ),
    "trl": ({"prompt": "q", "chosen": "a", "rejected": "b"}, {}, ASK, {"a": 1, "b": 2}, None),
    "trl, messages": (
        {"prompt": LONGER, "chosen": [SAY], "rejected": [turn("assistant", "b")]}, {}, LONGER, {"a": 1, "b": 2}, None,
    ),
    "trl, the prompt within both": (
        {"prompt": ASK, "chosen": [*ASK, SAY], "rejected": [*ASK, turn("assistant", "b")]}, {}, ASK, {"a": 1, "b": 2},
        None,
    ),
    "trl, no prompt": (
        {"chosen": [*LONGER, SAY], "rejected": [*LONGER, turn("assistant", "b")], "score_chosen": 3,
         "score_rejected": 1},
        {}, LONGER, {"a": 1, "b": 2}, (3.0, 1.0),
    ),
    "hh": (
        {"chosen": "\n\nHuman: q\n\nAssistant: x\n\nHuman: r\n\nmore\n\nAssistant: a",
         "rejected": "\n\nHuman: q\n\nAssistant: x\n\nHuman: r\n\nmore\n\nAssistant: b"},
        {}, [turn("user", "q"), turn("assistant", "x"), turn("user", "r\n\nmore")], {"a": 1, "b": 2}, None,
    ),
    "openai": (
        {"input": {"messages": ASK, "tools": []}, "preferred_output": [SAY],
         "non_preferred_output": [turn("assistant", "b")]},
        {}, ASK, {"a": 1, "b": 2}, None,
    ),
    "a system message beside": (
        {"system": "s", "prompt": "q", "chosen": "a", "rejected": "b"}, {}, [turn("system", "s"), *ASK],
        {"a": 1, "b": 2}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_found_out(form: str, tmp_path: Path) -> None:
    row, columns, prompt, ranks, scores = FORMS[form]
    (found,) = read_rankings([write(tmp_path / "a.jsonl", row)], columns=columns)
    assert found.prompt == prompt
    assert dict(zip(found.answers, found.ranks, strict=True)) == ranks
    assert found.scores == scores
    assert found.where.endswith("a.jsonl:1")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "too many ranks": ({"prompt": "q", "answers": ["a", "b"], "ranks": [1, 2, 3]}, "rank answers that are not there"),
    "too few ranks": ({"prompt": "q", "answers": ["a", "b", "c"], "ranks": [1, 2]}, "3 answers have 2 ranks"),
    "ranks from zero": ({"prompt": "q", "answers": ["a", "b"], "ranks": [0, 1]}, "whole numbers from 1"),
    "no ranks": ({"prompt": "q", "answers": ["a", "b"]}, "nothing says which answer is better"),
    "one answer": ({"prompt": "q", "answers": ["a"], "ranks": [1]}, "two answers or more"),
    "twice": ({"prompt": "q", "answers": ["a", "b", "a"], "ranks": [1, 2, 3]}, "an answer has two ranks"),
    "equal": ({"prompt": "q", "chosen": "a", "rejected": "a"}, "are equal"),
    "no prompt": ({"chosen": "a", "rejected": "b"}, "the prompt is missing"),
    "empty prompt": ({"prompt": "", "chosen": "a", "rejected": "b"}, "the prompt is missing"),
    "empty answer": ({"prompt": "q", "chosen": "a", "rejected": " "}, "an answer is empty"),
    "a score of no number": (
        {"prompt": "q", "answers": [{"text": "a", "score": "x"}, {"text": "b", "score": 1}]}, "a score is a number",
    ),
    "nan": ({"prompt": "q", "answers": [{"text": "a", "score": float("nan")}, {"text": "b", "score": 1}]}, "a number"),
    "an answer without a text": ({"prompt": "q", "answers": [{"x": "a"}, {"x": "b"}]}, "an answer has no text"),
    "ends with an answer": ({"prompt": [*ASK, SAY], "chosen": "a", "rejected": "b"}, "ends with a message of the user"),
    "nothing known": ({"foo": "a"}, "no ranking is found"),
    "more than an answer": (
        {"prompt": ASK, "chosen": [SAY, *ASK, SAY], "rejected": [SAY]}, "an answer is one message of the assistant",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_or_left_out(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row, told = BAD[case]
    good = {"prompt": "q", "answers": ["a", "b"], "ranks": [1, 2]}
    path = write(tmp_path / "a.jsonl", good, row)
    with pytest.raises(DataError, match=r"a\.jsonl:2") as caught:
        read_rankings([path])
    assert told in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    assert len(read_rankings([path], skip_bad=True)) == 1
    assert "1 left out" in capsys.readouterr().err


def test_who_contradicts_himself_is_named_others_may_differ(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "answers": ["a", "b", "c"], "ranks": [1, 2, 3], "annotator": "kim"},
        {"prompt": "q", "answers": ["c", "b"], "ranks": [1, 2], "annotator": "lee"},
        {"prompt": "r", "answers": ["c", "b"], "ranks": [1, 2], "annotator": "kim"},
    ]
    assert len(read_rankings([write(tmp_path / "a.jsonl", *rows)])) == 3
    path = write(tmp_path / "b.jsonl", *rows, {**rows[1], "annotator": "kim"})
    with pytest.raises(DataError, match=r"b.jsonl:4.*prefers what .*b.jsonl:1 finds worse by kim"):
        read_rankings([path])
    assert len(read_rankings([path], skip_bad=True)) == 3
    tie = {"prompt": "q", "answers": ["b", "c"], "ranks": [1, 1], "annotator": "kim"}
    path = write(tmp_path / "c.jsonl", *rows, tie, {**rows[1], "annotator": "kim"})
    with pytest.raises(DataError, match=r"c.jsonl:5.*c.jsonl:1 finds worse by kim"):
        read_rankings([path])


def test_repetitions_count_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"prompt": "q", "answers": ["a", "b"], "ranks": [1, 2]}
    again = {"prompt": "q", "answers": ["b", "a"], "ranks": [2, 1]}
    assert len(read_rankings([write(tmp_path / "a.jsonl", row, again, row)])) == 1
    assert "2 rankings are repetitions" in capsys.readouterr().err


def test_unknown_columns_and_empty_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"})
    with pytest.raises(UsageError, match="label is nothing a ranking has"):
        read_rankings([path], columns={"label": "x"})
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(DataError, match="there is no ranking here"):
        read_rankings([str(tmp_path / "b.jsonl")])


def ranking(prompt: str, answers: str, ranks: list[int], **values: Any) -> Ranking:
    return Ranking([turn("user", prompt)], tuple(answers), tuple(ranks), values.pop("scores", None), "x", **values)


def test_every_pair_of_a_ranking_once_and_ties_as_asked() -> None:
    (one,) = judged([ranking("q", "abcd", [2, 1, 2, 4], scores=(5.0, 9.0, 5.0, 1.0))])
    place = {answer: number for number, answer in enumerate(one.answers)}
    a, b, c, d = (place[answer] for answer in "abcd")
    assert set(one.pairs()) == {
        Pair(b, a, False, 1, 4.0, False), Pair(b, c, False, 1, 4.0, False), Pair(b, d, False, 3, 8.0, True),
        Pair(a, d, False, 2, 4.0, False), Pair(c, d, False, 2, 4.0, False),
    }  # fmt: skip
    assert [pair[:3] for pair in one.pairs(ties=True) if pair.tied] == [(a, c, True)]
    assert len(one.pairs(ties=True)) == len(list(combinations("abcd", 2)))


def test_rankings_of_a_prompt_are_put_together() -> None:
    first, second, other = ranking("q", "ab", [1, 2]), ranking("q", "cb", [1, 2]), ranking("r", "ab", [1, 2])
    one, two = judged([first, other, second])
    assert one.answers == ("a", "b", "c")
    assert [(pair.better, pair.worse) for pair in one.pairs()] == [(0, 1), (2, 1)]
    assert two.rankings == (other,)


def test_a_prompt_is_on_one_side_whatever_is_said_of_it() -> None:
    rankings = [ranking(f"prompt {n}", "ab", [1, 2]) for n in range(400)]
    learned, held_back = split(judged(rankings), 0.25)
    assert 60 < len(held_back) < 140
    again = split(judged([ranking(f"prompt {n}", "cd", [2, 1]) for n in range(400)]), 0.25)[1]
    assert {one.prompt[0]["content"] for one in again} == {one.prompt[0]["content"] for one in held_back}
    assert len(learned) + len(held_back) == 400
    assert fingerprint(learned) != fingerprint(held_back)
    flipped = judged([ranking(f"prompt {n}", "ab", [2, 1]) for n in range(400)])
    assert fingerprint(flipped) != fingerprint(judged(rankings))


def test_the_name_is_put_in() -> None:
    asked = ranking("who is {name}?", "ab", [1, 2])
    bundled = replace(asked, where="sample:preferences:7")
    assert named(asked, "봄이").prompt[0]["content"] == named(bundled, "봄이").prompt[0]["content"] == "who is 봄이?"
    assert named(bundled, None).prompt[0]["content"] == "who is 도담?"
    assert named(asked, None) is asked  # it may be somebody's code


def test_the_bundled_preferences_are_read() -> None:
    found = read_rankings(["sample:preferences"])
    assert len(found) > 5_000
    assert {len(one.answers) for one in found} == {2}
    assert len({one.task for one in found}) > 5


def test_one_text_of_two_models_is_one_answer(tmp_path: Path) -> None:
    row = {"prompt": "q", "answers": ["a", "b", "a"], "ranks": [1, 2, 1]}
    (found,) = read_rankings([write(tmp_path / "a.jsonl", row)])
    assert sorted(zip(found.answers, found.ranks, strict=True)) == [("a", 1), ("b", 2)]


def test_a_feedback_store_is_read(tmp_path: Path) -> None:
    path = tmp_path / "feedback.sqlite"
    with open_store(path, create=True) as store:
        prompt = store.add_prompt(LONGER, task="chat")
        ids = store.add_candidates(prompt, ["a", "b", "c"], [{"model": "x"}, {"model": "y"}, {"model": "x"}])
        for annotator, ranks in (("kim", [3, 1, 2]), ("lee", [1, 2, 2]), ("kim", [1, 1, 2])):  # kim thinks again
            store.add_ranking(id=f"{annotator}{ranks}", prompt=prompt, answers=ids, ranks=ranks, annotator=annotator)
    found = read_rankings([str(path)])
    assert [(one.prompt, one.annotator, one.ranks) for one in found] == [
        (LONGER, "lee", (1, 2, 2)), (LONGER, "kim", (1, 1, 2)),
    ]  # fmt: skip
    assert "feedback.sqlite, ranking " in found[0].where


def test_of_two_rankings_in_a_store_that_contradict_the_later_counts(tmp_path: Path, capsys) -> None:
    path = tmp_path / "feedback.sqlite"
    with open_store(path, create=True) as store:
        prompt = store.add_prompt("q")
        a, b, c = store.add_candidates(prompt, ["a", "b", "c"], [{}, {}, {}])
        for annotator, answers, ranks in (
            ("kim", [a, b, c], [1, 2, 3]),
            ("lee", [b, c], [1, 2]),
            ("kim", [b, c], [2, 1]),
        ):
            id = f"{annotator} on {len(answers)} answers"
            store.add_ranking(id=id, prompt=prompt, answers=answers, ranks=ranks, annotator=annotator)
    found = read_rankings([str(path)])
    assert [(one.annotator, len(one.answers)) for one in found] == [("lee", 2), ("kim", 2)]
    assert "1 rankings are left out: the same person said the opposite later" in capsys.readouterr().err


def test_a_run_goes_on_with_what_a_store_told_it(tmp_path: Path) -> None:
    path, run, other = tmp_path / "feedback.sqlite", tmp_path / "run", tmp_path / "other"
    with open_store(path, create=True) as store:
        prompt = store.add_prompt("q?\u2028")
        ids = store.add_candidates(prompt, ["a", "b"], [{}, {}])
        said = {"prompt": prompt, "answers": ids, "ranks": [1, 2]}
        store.add_ranking(id="ranking-of-kim-1", annotator="kim", **said)
        before = read_rankings([str(path)], run=run)
        talks = list(read_conversations([str(path)], run=run))
        store.add_ranking(id="ranking-of-lee-1", annotator="lee", **{**said, "ranks": [2, 1]})
        assert read_rankings([str(path)], run=run) == before
        assert list(read_conversations([str(path)], run=run)) == talks
        assert len(read_rankings([str(path)], run=other)) == 2 == len(before) + 1
        assert len(list(read_conversations([str(path)], run=other))) == 2 == len(talks) + 1


def test_members_read_what_was_read_for_all_of_them(tmp_path: Path) -> None:
    path, run = tmp_path / "feedback.sqlite", tmp_path / "run"
    with open_store(path, create=True) as store:
        prompt = store.add_prompt("q?")
        ids = store.add_candidates(prompt, ["a", "b"], [{}, {}])
        store.add_ranking(id="ranking-of-kim-1", prompt=prompt, answers=ids, ranks=[1, 2], annotator="kim")
    before = read_rankings([str(path)], run=run)
    with open_store(path) as store:
        store.add_ranking(id="ranking-of-lee-1", prompt=prompt, answers=ids, ranks=[1, 2], annotator="lee")
    plain = write(tmp_path / "a.jsonl", {"prompt": "p", "answers": ["a", "b"], "ranks": [1, 2]})
    copy, same = kept_rows([str(path), plain], run)
    assert same == plain
    (found,) = read_rankings([copy])
    assert replace(found, where=before[0].where) == before[0]
