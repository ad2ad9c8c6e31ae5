"""`dodam preview`: what rows are read as, which cannot be, and that what it writes is read as the same again."""

import json
from pathlib import Path

import pytest

from dodam import cli
from dodam.config import build
from dodam.data import preview
from dodam.data.preview import KINDS, Preview

SQUAD = {
    "title": "강",
    "paragraphs": [
        {
            "context": "한강은 서울을 지난다.",
            "qas": [
                {"id": "1", "question": "한강은 어디를 지나나?", "answers": [{"text": "서울", "answer_start": 4}]},
                {"id": "2", "question": "한강은 얼마나 긴가?", "answers": [], "is_impossible": True},
            ],
        }
    ],
}
FILES = {
    "rankings": ("r.jsonl", '{"prompt": "q", "chosen": "a", "rejected": "b"}\n'
                 '{"prompt": "q2", "answers": [{"text": "a", "score": 2.5}, {"text": "b", "score": 1}], '
                 '"annotator": "kim"}\n'),
    "questions": ("q.json", json.dumps({"data": [SQUAD]}, ensure_ascii=False)),
    "entities": ("e.txt", "도담 B-PS\n이 O\n\n서울 B-LC\n에 O\n"),
    "conversations": ("c.csv", "질문,답\n수도는?,서울이에요.\n안녕?,안녕하세요.\n"),
    "pairs": ("p.tsv", "source\ttarget\nA tree.\t나무 한 그루.\nA bird.\t새 한 마리.\n"),
    "triplets": ("t.jsonl", '{"anchor": "a", "positive": "b", "negative": "c"}\n{"anchor": "d", "positive": "e"}\n'),
    "labels": ("l.tsv", "text\tlabel\n좋다\tpos\n나쁘다\tneg\n"),
    "texts": ("x.jsonl", '{"text": "하나", "license": "CC0"}\n{"text": "둘"}\n'),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.values():
        Path(name).write_text(text, encoding="utf-8")
    return tmp_path


def shown(*words: str, code: int = 0) -> None:
    assert cli.main(["preview", *words]) == code


def understood(name: str, kind: str) -> list[dict]:
    """The rows of a file as one kind, without where they stand."""
    config = build(Preview, {"data": [name], "kind": kind}, "test")
    return [item.row for item in KINDS[kind].read(config, preview.Problems(allowed=True))]


@pytest.mark.parametrize("kind", FILES)
def test_each_kind_is_found_out_and_written_in_a_form_that_is_read_as_the_same(kind: str) -> None:
    name, _ = FILES[kind]
    found = preview.run(build(Preview, {"data": [name], "out": "out.jsonl"}, "test"))
    assert found["kind"] == kind and found["rows"] == 2 and found["unusable"] == 0
    assert understood("out.jsonl", kind) == understood(name, kind)
    assert preview.run(build(Preview, {"data": ["out.jsonl"]}, "test"))["kind"] == kind


def test_the_first_rows_and_the_rows_that_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"instruction": f"{n}?", "output": "응"} if n % 3 else {"instruction": f"{n}?"} for n in range(24)]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{torn\n", encoding="utf-8")
    shown("a.jsonl", "--shown", "1", "--json")
    out = capsys.readouterr().out
    assert "| conversations | 16 | 9 | dodam sft |" in out
    assert "  a.jsonl:2\n    user: 1?\n    assistant: 응" in out and "user: 2?" not in out
    told = [line for line in out.splitlines() if line.startswith("  a.jsonl:") and ": no conversation" in line]
    assert len(told) == 5 and "  and 4 more" in out
    result = json.loads(out.splitlines()[-1])
    assert result["unusable"] == 9 and result["kinds"] == {"conversations": 16}


def test_rankings_are_shown_by_rank_and_messages_by_role(capsys: pytest.CaptureFixture[str]) -> None:
    shown("r.jsonl")
    assert "    user: q2\n    1. a\n    2. b" in capsys.readouterr().out


def test_two_texts_and_a_label_are_pairs_unless_another_task_is_named() -> None:
    Path("n.jsonl").write_text('{"premise": "a", "hypothesis": "b", "label": "entailment"}\n', encoding="utf-8")
    assert understood("n.jsonl", "labels") == [{"text": "a", "text2": "b", "label": "entailment"}]
    config = build(Preview, {"data": ["n.jsonl"], "kind": "labels", "task": "single"}, "test")
    assert [item.row for item in KINDS["labels"].read(config, preview.Problems(allowed=True))] == [
        {"text": "a", "label": "entailment"}
    ]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["gone.jsonl"], 1, "gone.jsonl"),
        (["odd.jsonl"], 1, "odd.jsonl: no row can be read; the first has the columns `x`. Name the columns"),
        (["odd.jsonl", "--kind", "conversations"], 1, "odd.jsonl:1: no conversation is found in the columns x"),
        (
            ["odd.jsonl", "--columns", "prompt=nope", "target=x"],
            1,
            "odd.jsonl:1: there is no column `nope`. There are `x`.",
        ),
        (["empty.jsonl"], 1, "empty.jsonl: holds no rows"),
        (["torn.jsonl"], 1, "holds no rows. torn.jsonl:1: is not JSON"),
        (["l.tsv", "--kind", "rankings"], 1, "no ranking is found"),
        (["l.tsv", "--kind", "labels", "--task", "pair"], 2, "there is no column of second texts"),
        (["l.tsv", "--kind", "poems"], 2, "--kind"),
        (["l.tsv", "--out", "rows.csv"], 2, "rows are written as JSONL"),
        (["c.csv", "--kind", "conversations", "--columns", "prompt=ask", "target=답"], 1, "there is no column `ask`"),
    ],
)
def test_what_is_refused(words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.jsonl").write_text('{"x": 1}\n', encoding="utf-8")
    Path("empty.jsonl").touch()
    Path("torn.jsonl").write_text('{"x": \n', encoding="utf-8")
    shown(*words, code=code)
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error, error
    assert not Path("rows.csv").exists()
