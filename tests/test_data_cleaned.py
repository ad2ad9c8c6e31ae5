"""Cleaning through the whole stage: each step by its flag, all of them at once on any number of workers, the report."""

import json
import random
from pathlib import Path

import pytest

from dodam import cli
from dodam.data.documents import read_documents, read_manifest
from test_data_pipeline import made, tree

QUESTION = "Which of the seven rivers of the northern province runs through the old town and never freezes in winter?"
WORDS = ["the", "and", "of", "to", "that", "with", "for", "is", "was", "a", "in", "on", "at", "by", "from", "under"]
WORDS += ["river", "house", "tree", "bird", "water", "stone", "road", "night", "morning", "winter", "summer", "bread"]
WORDS += ["letter", "window", "garden", "mountain", "village", "children", "music", "paper", "old", "new", "long"]
NOTICE = "무단 전재 및 재배포를 금지합니다"
EVERYTHING = {
    "clean": {"repeated_lines": 0.1, "languages": ["ko", "en"]},
    "near_duplicates": 0.7,
    "min_characters": 40,
}


def prose(seed: int, words: int = 80) -> str:
    """English words in no order: no two seeds have eight in a row."""
    rng = random.Random(seed)
    return " ".join(rng.choices(WORDS, k=words))


def texts_of(folder: Path) -> list[str]:
    rows = [row for split in ("train", "validation") for row in read_documents(folder, split)]
    return [row["text"] for row in sorted(rows, key=lambda row: int(row["id"].rpartition(":")[2]))]


def rows(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"parts.PART_BYTES": 9000, "pipeline.GROUP_BYTES": 3000, "pipeline.FILE_BYTES": 20000}.items():
        monkeypatch.setattr(f"dodam.data.{name}", size)


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Rows of which each has something that one of the steps is for, among forty others."""
    texts = [f"홈\n로그인\n{prose(number)} 나무가 자란다.\n{NOTICE}" for number in range(40)]
    texts += [texts[3].replace("나무가", "나무들이"), texts[5], "  \n", "짧다"]
    texts += ["전화는 010-1234-5678 로 주세요. " + prose(50), "í•œêµ­ì–´ ë¬¸ìž¥ì\x9d´ ê¹¨ì¡Œë‹¤. " + prose(51)]
    texts += [f"{prose(52, 120)} {QUESTION} {prose(53, 120)}"]
    texts += ["<html><body><nav><a href='/'>홈</a></nav><p>" + "첫 문단이다. " * 30 + "</p></body></html>"]
    texts += ["Im letzten Winter haben wir zwei Wochen in einem kleinen Haus am Meer verbracht, und es war sehr schön."]
    return rows(tmp_path / "messy.jsonl", texts)


@pytest.fixture
def tests_to_keep_out(tmp_path: Path) -> Path:
    return rows(tmp_path / "rivers.jsonl", [QUESTION, "yes"])


def test_every_step_does_its_part(tmp_path: Path, messy: Path, tests_to_keep_out: Path) -> None:
    out = tmp_path / "out"
    result = made(out, str(messy), contamination=[f"rivers={tests_to_keep_out}"], **EVERYTHING)
    assert result["removed"] == {
        "duplicate": 1,
        "empty": 1,
        "language de": 1,
        "near duplicate": 1,
        "too short": 1,
    }
    assert result["changed"]["spans masked: telephone number"] == 1
    assert result["changed"]["documents changed: mojibake"] == 1
    assert result["changed"]["documents changed: web page to text"] == 1
    assert result["changed"]["passages cut out: in rivers"] == 1
    assert result["changed"]["lines removed: repeated in many documents"] == 3 * 42  # duplicates are found later
    texts = texts_of(out)
    assert len(texts) == result["documents"] == 40 + 4
    together = "\n".join(texts)
    assert "전화는 [PHONE] 로 주세요." in together and "한국어 문장이 깨졌다." in together
    assert not any(word in together for word in (NOTICE, "로그인", "010-1234", "seven rivers", "<p>", "Winter"))


def test_the_report_shows_what_was_done_and_nothing_personal(tmp_path: Path, messy: Path, tests_to_keep_out) -> None:
    out = tmp_path / "out"
    made(out, str(messy), contamination=[f"rivers={tests_to_keep_out}"], **EVERYTHING)
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| near duplicate | 1 |" in report and "1 went for 1 documents that stay" in report
    assert "rivers: 1 of its texts are too short to be looked for." in report
    assert "### Documents changed: mojibake" in report and "`í•œêµ" in report and "한국어 문장이" in report
    assert "000-0000-0000" in report and "010-1234-5678" not in report
    assert read_manifest(out)["decided"]["near duplicates"]["clusters"] == 1


@pytest.mark.usefixtures("small_parts")
def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path, messy: Path, tests_to_keep_out: Path) -> None:
    for workers in (1, 2):
        made(tmp_path / str(workers), str(messy), contamination=[str(tests_to_keep_out)], workers=workers, **EVERYTHING)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    made(tmp_path / "whole", str(messy), contamination=[str(tests_to_keep_out)], **EVERYTHING)
    assert texts_of(tmp_path / "whole") == texts_of(tmp_path / "1")


def test_all_of_it_can_be_left_off(tmp_path: Path) -> None:
    texts = ["a\r\nb 010-1234-5678 ", "<html><p>글</p></html>", "í•œêµ­ì–´", NOTICE]
    off = dict.fromkeys(("boilerplate", "mojibake", "unicode", "personal"), False)
    made(tmp_path / "out", str(rows(tmp_path / "raw.jsonl", texts)), clean=off)
    assert texts_of(tmp_path / "out") == texts


def test_halves_of_surrogate_pairs_are_no_text(tmp_path: Path) -> None:
    path = rows(tmp_path / "odd.jsonl", ["하나 \ud800 둘", "\udfff"])
    for unicode in (True, False):
        result = made(tmp_path / "out", str(path), clean={"unicode": unicode})
        assert texts_of(tmp_path / "out") == ["하나  둘"] and result["removed"] == {"empty": 1}


def test_flags_and_what_is_refused(tmp_path: Path, messy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "--data", str(messy), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--clean.languages", "ko", "en", "--clean.no-personal", "--near-duplicates", "0.8"]) == 0
    assert "010-1234-5678" in "\n".join(texts_of(tmp_path / "out"))
    capsys.readouterr()
    for more, told in (
        (["--near-duplicates", "0.05"], "`--near-duplicates` must be"),
        (["--near-duplicates", "0.7", "--no-deduplicate"], "near duplicates go, and equal texts are to stay"),
        (["--clean.languages", "Korean"], "no language code"),
        (["--clean.languages", "kr", "en"], "Did you mean ko?"),
        (["--clean.languages", "qq"], "no language that is known"),
        (["--contamination", "gone.jsonl"], "gone.jsonl: there is no such file"),
        (["--contamination", str(messy), f"messy={messy}"], "two sets are called messy"),
    ):
        assert cli.main([*words, *more]) == (1 if "gone" in told else 2)
        error = capsys.readouterr().err
        assert told in error and "Traceback" not in error, error


def test_an_evaluation_set_that_changed_is_kept_out_anew(tmp_path: Path, messy: Path, tests_to_keep_out: Path) -> None:
    first = made(tmp_path / "out", str(messy), contamination=[str(tests_to_keep_out)])
    assert first["changed"]["passages cut out: in rivers"] == 1
    rows(tests_to_keep_out, [prose(99, 30)])
    assert "passages cut out: in rivers" not in made(
        tmp_path / "out", str(messy), contamination=[str(tests_to_keep_out)]
    ).get("changed")


def test_the_dry_run_cleans_what_it_looks_at(tmp_path: Path, messy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "--data", str(messy), "--out", str(tmp_path / "out"), "--dry-run"]
    assert cli.main([*words, "--clean.languages", "ko", "en", "--min-characters", "40"]) == 0
    shown = capsys.readouterr().out
    assert "1 language de" in shown and "1 too short" in shown and not (tmp_path / "out").exists()
    assert "Not looked for" not in shown
    assert cli.main([*words, "--near-duplicates", "0.7", "--contamination", "sample:tests"]) == 0
    assert "Not looked for in a sample: near duplicates, contamination." in capsys.readouterr().out


def test_what_cannot_be_read_is_named_in_the_report_and_nothing_personal_is(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    personal = ["전화 010<b>-2345-</b>6789 \r로", "kim&#64;naver.com 으로 \r보내", "í•œêµ­ì–´ 11012345678901"]
    rows(folder / "a.jsonl", [*personal, f"{NOTICE} 하나", f"{NOTICE} 둘"])
    with (folder / "a.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": 3}\n{torn\n')
    (folder / "b.csv").write_bytes("text\n한글이다\n".encode("cp949"))
    (folder / "empty.txt").touch()
    (folder / "c.xyz").write_text("x")
    made(tmp_path / "out", str(folder), skip_bad=True)
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    manifest = (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")
    assert "a.jsonl:6: `text` is no text but int" in manifest
    assert "a.jsonl:7" in report and "files read as cp949" in report
    assert "files with nothing in them" in report and "left out for their endings (.xyz)" in report
    shown = report.partition("## Samples")[2]
    assert "2345" not in shown and "kim" not in shown and "11012345678901" not in shown and "한국어" in shown


def test_the_folder_to_write_may_lie_in_the_one_that_is_read(tmp_path: Path) -> None:
    rows(tmp_path / "a.jsonl", ["하나", "둘"])
    first = made(tmp_path / "data", str(tmp_path))
    assert made(tmp_path / "data", str(tmp_path)) == first
