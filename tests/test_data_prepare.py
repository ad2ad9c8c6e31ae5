"""prepare: what it writes, what it leaves out, the split, doing nothing twice, and folders that stay whole."""

import json
import signal
import subprocess
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest

from dodam import files
from dodam.config import build
from dodam.data import parts, pipeline, prepare
from dodam.data.documents import COLUMNS, read_documents, read_manifest
from dodam.data.prepare import Prepare
from dodam.data.split_file import LENGTHS, SplitFile
from dodam.errors import DataError, FolderError, StorageError, UsageError


def made(out: Path, *data: object, **choices: object) -> dict:
    return prepare.run(build(Prepare, {"data": data, "out": out, **choices}, "test"))


def texts(out: Path, split: str) -> list[str]:
    return [row["text"] for row in read_documents(out, split)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two sources of rows and one of text."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, count in (("many", 400), ("few", 3)):
        rows = [{"text": f"{name} {number}: 도담은 말을 배운다."} for number in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "alone.txt").write_text("한 편의 글.", encoding="utf-8")
    return folder


def test_the_folder_it_writes(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "data"
    result = made(out, str(corpus), license="CC0", validation=0.05)
    manifest = read_manifest(out)
    assert result["documents"] == 404 and result["out"] == str(out)
    rows = [*read_documents(out, "train"), *read_documents(out, "validation")]
    assert all(tuple(row) == COLUMNS and row["bytes"] == len(row["text"].encode()) for row in rows)
    assert {row["license"] for row in rows} == {"CC0"} and {row["language"] for row in rows} == {"ko"}
    assert sum(row["bytes"] for row in rows) == manifest["bytes"]
    assert {source["name"]: source["documents"] for source in manifest["sources"]} == {
        "many": 400,
        "few": 3,
        "corpus": 1,
    }
    for split in ("train", "validation"):
        sources = [row["source"] for row in read_documents(out, split)]
        assert manifest["splits"][split]["documents"] == len(sources)
        assert all(
            entry["documents"] == sources.count(name) for name, entry in manifest["splits"][split]["sources"].items()
        )
    assert manifest["files"] == {name: files.xxh3(out / name) for name in manifest["files"]}
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| few | 3 | 1 |" in report and "](report.png)" in report
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    lengths = [len(row["text"]) for row in rows]
    classes = [sum(low <= length < high for length in lengths) for low, high in pairwise(LENGTHS)]
    of_splits = [split["lengths"] for split in manifest["splits"].values()]
    assert [sum(one) for one in zip(*of_splits, strict=True)] == classes


def test_the_split(tmp_path: Path, corpus: Path) -> None:
    """Every source of two or more is measured, about the share asked for is held back, and no text is on both sides."""
    splits = {}
    for name, data in (("a", [str(corpus)]), ("b", [str(corpus / "few.jsonl"), str(corpus / "many.jsonl")])):
        made(tmp_path / name, *data, validation=0.05)
        splits[name] = {split: set(texts(tmp_path / name, split)) for split in ("train", "validation")}
    assert splits["a"]["validation"] == splits["b"]["validation"]  # order and company change nothing
    validation, train = splits["a"]["validation"], splits["a"]["train"]
    assert not validation & train and len(validation | train) == 404
    assert sum(text.startswith("few") for text in validation) == 1
    assert 8 <= len(validation) <= 36
    assert "한 편의 글." in train


def test_a_single_long_text_gives_its_end(tmp_path: Path) -> None:
    paragraphs = [f"{number}번째 문단.\n" + "도담은 말을 배운다. " * 9 for number in range(400)]
    text = "\n\n".join(paragraphs)
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    made(tmp_path / "out", str(tmp_path / "book.txt"), validation=0.05)
    (train,), (validation,) = texts(tmp_path / "out", "train"), texts(tmp_path / "out", "validation")
    assert 0.05 <= len(validation) / len(text) < 0.06
    assert train.split() + validation.split() == text.split() and "번째 문단." in validation.splitlines()[0]
    assert "book: a text was cut in two" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["짧다. " * 500, "가" * 9000])
def test_a_text_that_cannot_be_cut_stays_whole(tmp_path: Path, text: str) -> None:
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    made(tmp_path / "out", str(tmp_path / "book.txt"))
    assert texts(tmp_path / "out", "train") == [text.strip()] and not texts(tmp_path / "out", "validation")


def test_equal_texts_are_never_on_both_sides(tmp_path: Path) -> None:
    rows = [{"text": f"text {number % 5}"} for number in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made(tmp_path / "out", str(tmp_path / "a.jsonl"), deduplicate=False)
    train, validation = texts(tmp_path / "out", "train"), texts(tmp_path / "out", "validation")
    assert len(train) == 32 and len(validation) == 8 and not set(train) & set(validation)


def test_cleaning_and_what_is_left_out(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "도담은 배운다")
    rows = ["도담은 배운다", decomposed, " 도담은\x07 배운다\r\n", "", " \n", None, "짧다", "a\ud800bcdefgh"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in rows) + "not JSON\n"
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    result = made(tmp_path / "out", str(tmp_path / "a.jsonl"), min_characters=5, skip_bad=True)
    assert result["removed"] == {"duplicate": 2, "empty": 3, "too short": 1, "unreadable": 1}
    found = {*texts(tmp_path / "out", "train"), *texts(tmp_path / "out", "validation")}
    assert found == {"도담은 배운다", "abcdefgh"}


def test_done_twice_is_done_once(tmp_path: Path, corpus: Path, capsys) -> None:
    out = tmp_path / "data"
    result = made(out, str(corpus))
    before, place = tree(out), (out / "manifest.json").stat().st_ino
    (out / "shards").mkdir()
    assert made(out, str(corpus)) == result and "already done" in capsys.readouterr().err
    assert (out / "manifest.json").stat().st_ino == place
    made(tmp_path / "again", str(corpus))
    assert tree(tmp_path / "again") == before  # the same bytes wherever it is made

    (corpus / "alone.txt").write_text("다른 글.", encoding="utf-8")
    made(out, str(corpus))
    assert "다른 글." in texts(out, "train") and not (out / "shards").exists()
    made(out, str(corpus), validation=0.4)
    assert "already done" not in capsys.readouterr().err

    file = out / "documents" / "train-00000.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(FolderError, match=r"train-00000\.parquet: is torn"):
        texts(out, "train")
    made(out, str(corpus), validation=0.4)
    assert "다른 글." in texts(out, "train")


def test_many_files_and_groups(tmp_path: Path, corpus: Path, monkeypatch) -> None:
    made(tmp_path / "one", str(corpus))
    monkeypatch.setattr(parts, "PART_BYTES", 2000)
    monkeypatch.setattr(pipeline, "GROUP_BYTES", 200)
    monkeypatch.setattr(pipeline, "FILE_BYTES", 3000)
    made(tmp_path / "many", str(corpus), workers=1)
    assert len(read_manifest(tmp_path / "many")["splits"]["train"]["files"]) > 3
    for split in ("train", "validation"):
        assert texts(tmp_path / "many", split) == texts(tmp_path / "one", split)


def test_weights_and_names_of_sources(tmp_path: Path, corpus: Path) -> None:
    made(
        tmp_path / "out", {"path": str(corpus / "many.jsonl"), "weight": 2.5, "name": "lots"}, str(corpus / "few.jsonl")
    )
    sources = read_manifest(tmp_path / "out")["sources"]
    assert [(source["name"], source["weight"]) for source in sources] == [("lots", 2.5), ("few", 1.0)]
    with pytest.raises(UsageError, match="wieght"):
        made(tmp_path / "out", {"path": str(corpus), "wieght": 2})


def test_an_empty_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.txt: there is no text here \(1 empty\)"):
        made(tmp_path / "out", str(tmp_path / "a.txt"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_ours_is_never_replaced(tmp_path: Path, corpus: Path) -> None:
    before = tree(corpus)
    for out, complaint in ((corpus, "holds the text to read"), (tmp_path, "holds the text to read")):
        with pytest.raises(UsageError, match=complaint):
            made(out, str(corpus))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="no data folder"):
        made(tmp_path / "mine", str(corpus))
    assert tree(corpus) == before and (tmp_path / "mine" / "thesis.txt").exists()


def test_a_failure_leaves_what_was_there(tmp_path: Path, corpus: Path, monkeypatch) -> None:
    out = tmp_path / "data"
    made(out, str(corpus))
    before = tree(out)
    (corpus / "z.jsonl").write_text("not JSON\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"z\.jsonl:1"):
        made(out, str(corpus))
    assert tree(out) == before

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SplitFile, "flush", full)
    with pytest.raises(StorageError, match="the disk is full"):
        made(out, str(corpus), skip_bad=True)
    assert tree(out) == before and sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "data"]


KILLED = """
import os, signal, sys
from dodam.data import data_report, prepare
data_report.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
prepare.run(prepare.Prepare(data=(sys.argv[1],), out=prepare.Path(sys.argv[2])))
"""


def test_killed_and_started_again(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "data"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(corpus), str(out)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL and not out.exists()
    made(out, str(corpus))
    made(tmp_path / "undisturbed", str(corpus))
    assert tree(out) == tree(tmp_path / "undisturbed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "data", "undisturbed"]


def test_shards_are_made_at_once_when_asked(tmp_path: Path, corpus: Path) -> None:
    from dodam.data.shards import tokenizers_of
    from dodam.tokenizer import train
    from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

    raw = train.learn(["도담은 말을 배운다."] * 9, 384, SPECIAL_TOKENS)
    train.fill_up(raw, 384)
    Tokenizer(raw.to_str()).save(tmp_path / "tokenizer")
    made(tmp_path / "out", str(corpus), tokenizer=tmp_path / "tokenizer")
    assert len(tokenizers_of(tmp_path / "out")) == 1


def test_what_is_no_data_folder(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not a data folder"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(FolderError, match="Update Dodam"):
        read_manifest(tmp_path)
    manifest = {"format": 1, "splits": {"train": {"files": ["documents/train-00000.parquet"]}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(FolderError, match="is missing"):
        texts(tmp_path, "train")
