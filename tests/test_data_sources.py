"""Reading: one text in every format gives the same documents; whatever cannot be read is named with file and place."""

import csv
import gzip
import io
import json
import os
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.data.loader import RowLoader
from dodam.data.prepare import Prepare
from dodam.data.prepare import run as prepare
from dodam.data.readers import encodings, text_pieces
from dodam.data.readers import text as text_files
from dodam.data.shards import ensure_shards
from dodam.data.skipped import Skipped
from dodam.data.sources import Document, Source, documents, files_of, inputs_of, rows
from dodam.data.text import clean, language
from dodam.errors import DataError, UsageError
from dodam.tokenizer.tokenizer import Tokenizer
from dodam.tokenizer.train import TokenizerTrain, open_texts
from dodam.tokenizer.train import run as train

TEXTS = ['도담은 "말"을 배운다.\n\n둘째 문단, 쉼표.', "The sky is blue.", "세 번째 글 🙂"]
ROWS = [{"n": str(number), "text": text} for number, text in enumerate(TEXTS)]


def read(
    *sources: str | Path | Source, skipped: Skipped | None = None, columns=None, encoding="utf-8"
) -> list[Document]:
    inputs = inputs_of([one if isinstance(one, Source) else str(one) for one in sources])
    return list(documents(inputs, columns=columns or {}, encoding=encoding, skipped=skipped or Skipped(False)))


def texts(*sources: str | Path | Source, **choices) -> list[str]:
    return [document.text for document in read(*sources, **choices)]


def table(rows: list[dict], **dialect) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], **dialect)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def parquet(rows: list[dict]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


FORMATS = {
    ".jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode(),
    ".ndjson": "\n\n".join(json.dumps(row) for row in ROWS).encode("utf-8-sig"),
    ".json": json.dumps(ROWS, indent=2).encode(),
    "-inside.json": json.dumps({"version": 1, "data": ROWS}).encode(),
    "-lines.json": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    ".csv": table(ROWS),
    ".parquet": parquet(ROWS),
}


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_documents(tmp_path: Path, ending: str, packed: str) -> None:
    data = FORMATS[ending]
    path = tmp_path / f"notes{ending}{packed}"
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packed](data))
    found = read(path)
    assert [document.text for document in found] == TEXTS
    assert [document.language for document in found] == ["ko", "en", "ko"]
    assert all(document.id.startswith(str(path)) for document in found)
    assert [row["n"] for _, row in rows(str(path))] == ["0", "1", "2"]


def test_tsv_leaves_quotation_marks_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tn\n"a" and b\t1\n"whole ""field"""\t2\n"\t3\n', encoding="utf-8")
    assert texts(tmp_path / "a.tsv") == ['"a" and b', 'whole "field"', '"']


@pytest.mark.parametrize("ending", [".txt", ".md", ".log", ".txt.gz"])
def test_a_text_file_is_one_document(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"note{ending}"
    path.write_bytes((gzip.compress if ending.endswith("gz") else bytes)("\ufeff# 제목\r\n\r\n글".encode()))
    (found,) = read(path)
    assert (found.text, found.id, found.source) == ("# 제목\n\n글", f"{path}:1", "note")


@pytest.mark.parametrize("separator", ["\n\n", "\n", " ", ""])
def test_a_long_text_is_cut_without_losing_a_character(tmp_path: Path, separator: str) -> None:
    whole = separator.join(
        f"문단 {number:05d} 도담도담".replace(" ", "" if not separator else " ") for number in range(20_000)
    )
    (tmp_path / "book.txt").write_text(whole, encoding="utf-8")
    found = list(text_pieces(str(tmp_path / "book.txt"), "utf-8"))
    assert "".join(text for _, text in found) == whole
    assert all(len(text) <= text_files.LARGEST_PIECE for _, text in found) and len(found) > 3
    assert all(text.endswith(separator) for _, text in found[:-1])
    assert texts(tmp_path / "book.txt") == [clean(text) for _, text in found]
    ids = [where for where, _ in found]
    assert len(set(ids)) == len(ids)
    if "\n" in separator:
        assert ids[1] == f"{tmp_path / 'book.txt'}:{1 + found[0][1].count(chr(10))}"
    else:
        assert ids[:3] == [f"{tmp_path / 'book.txt'}:1{nth}" for nth in ("", ".2", ".3")]


def test_a_character_across_two_blocks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(encodings, "BLOCK", 7)
    (tmp_path / "a.jsonl").write_bytes(FORMATS[".jsonl"])
    assert texts(tmp_path / "a.jsonl") == TEXTS


def test_folders_globs_and_several_sources(tmp_path: Path, capsys) -> None:
    corpus = tmp_path / "corpus"
    (corpus / "deep").mkdir(parents=True)
    (corpus / ".hidden").mkdir()
    (corpus / "b.txt").write_text("b", encoding="utf-8")
    (corpus / "deep" / "a.md").write_text("a", encoding="utf-8")
    (corpus / "law-00001-of-00002.jsonl").write_text('{"text": "l1", "license": "CC0"}\n', encoding="utf-8")
    (corpus / "law-00002-of-00002.jsonl").write_text('{"text": "l2"}\n', encoding="utf-8")
    (corpus / ".hidden" / "c.txt").write_text("hidden", encoding="utf-8")
    (corpus / "photo.png").write_bytes(b"\x89PNG")
    found = read(corpus)
    assert [(one.text, one.source, one.license) for one in found] == [
        ("b", "corpus", ""), ("a", "corpus", ""), ("l1", "law", "CC0"), ("l2", "law", ""),
    ]  # fmt: skip
    assert "left out for their endings (.png): 1" in capsys.readouterr().err
    assert texts(f"{corpus}/**/*.md", corpus / "b.txt", f"{corpus}/*.txt") == ["a", "b"]
    assert {one.source for one in read(Source(str(corpus), name="mine"))} == {"mine"}


def test_sources_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    for folder in ("ko", "en"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "docs.jsonl").write_text(f'{{"text": "{folder}"}}', encoding="utf-8")
    assert [one.source for one in read(tmp_path / "ko", tmp_path / "en")] == ["docs", "en-docs"]
    with pytest.raises(UsageError, match=r"docs\.jsonl: belongs to two sources"):
        read(tmp_path / "ko", Source(str(tmp_path / "ko" / "docs.jsonl"), weight=2.0))


def test_a_column_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "글", "title": "제목"}\n', encoding="utf-8")
    assert texts(tmp_path / "a.jsonl", columns={"text": "body"}) == ["글"]
    with pytest.raises(DataError, match=r"a\.jsonl:1: there is no column `text`; there are `body`, `title`.*text=NAME"):
        read(tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="txt is nothing"):
        read(tmp_path / "a.jsonl", columns={"txt": "body"})


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_a_column_of_a_table_by_its_number(tmp_path: Path, ending: str) -> None:
    made = [{"2": "named 2", "글": "본문"}]
    data = parquet(made) if ending == ".parquet" else table(made, delimiter="\t" if ending == ".tsv" else ",")
    path = tmp_path / f"a{ending}"
    path.write_bytes(data)
    assert texts(path, columns={"text": "1"}) == texts(path, columns={"text": "2"}) == ["named 2"]
    assert next(rows(str(path), columns={"target": "1"}))[1]["target"] == "named 2"
    for number in ("0", "3"):
        with pytest.raises(DataError, match=f"there is no column `{number}`"):
            read(path, columns={"text": number})


@pytest.mark.parametrize("sign", [";", "\t"])
def test_a_csv_of_office_programs(tmp_path: Path, sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the first line has no comma, what it has instead stands between the values; commas are then text."""
    (tmp_path / "a.csv").write_bytes(table([{"id": "1", "text": f"가, 나{sign}다"}], delimiter=sign))
    assert texts(tmp_path / "a.csv") == [f"가, 나{sign}다"]
    name = "semicolons" if sign == ";" else "tabs"
    assert f"files .csv with {name} between their columns: 1" in capsys.readouterr().err


def test_rows_that_are_no_table_have_no_column_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "글"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="there is no column `1`"):
        read(tmp_path / "a.jsonl", columns={"text": "1"})


BAD_ROWS = {
    "a.jsonl": (b'{"text": "good"}\n{"text": \n{"text": "good"}\n', r"a\.jsonl:2: is not JSON"),
    "b.jsonl": (b'{"text": "good"}\n[1]\n{"text": "good"}\n', r"b\.jsonl:2: is not a JSON object"),
    "c.jsonl": (b'{"text": "good"}\n{"text": 3}\n{"text": "good"}\n', r"c\.jsonl:2: `text` is no text but int"),
    "d.csv": (b'n,text\n1,"go\nod"\n1,2,3\n3,good\n', r"d\.csv:4: has 3 fields, there are 2"),
    "e.csv": (b'text\ngood\n"a"b\ngood\n', r"e\.csv:3: is not CSV"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named_or_skipped(tmp_path: Path, name: str) -> None:
    data, complaint = BAD_ROWS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=complaint) as error:
        read(tmp_path / name, skipped=Skipped(False, "Or skip it."))
    assert str(error.value).count("Or skip it.") == 1
    skipped = Skipped(True)
    assert len(read(tmp_path / name, skipped=skipped)) == 2 and skipped.count == 1


BAD_FILES = {
    "cp949.txt": ("가나다".encode("cp949"), r"is not utf-8 at byte 0\. It reads as cp949: --encoding cp949"),
    "later.jsonl": (b'{"text": "1"}\n\xb0\xa1', r"is not utf-8 at byte 14"),
    "utf16.txt": ("가나다".encode("utf-16"), r"It reads as utf-16: --encoding utf-16"),
    "latin.txt": ("déjà vu".encode("latin-1"), r"is not utf-8 at byte 1\. It reads as cp1252"),
    "nul.txt": (b"a\0b", "NUL"),
    "broken.json": (b'[\n{"text": "a"},\n]', r"broken\.json:3: is not JSON"),
    "number.json": (b"3", "neither an array nor an object"),
    "twice.csv": (b"a,a\n1,2\n", "two columns have the same name"),
    "torn.parquet": (parquet(ROWS)[:-9], "no Parquet file, or torn"),
    "torn.jsonl.gz": (gzip.compress(FORMATS[".jsonl"])[:-12], "cannot be unpacked"),
    "torn.txt.zst": (b"no zstd at all", "cannot be unpacked"),
    "torn.txt.gz": (b"no gzip at all", "cannot be unpacked"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_or_skipped(tmp_path: Path, name: str) -> None:
    data, complaint = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "z.txt").write_text("good", encoding="utf-8")
    with pytest.raises(DataError, match=complaint) as error:
        read(tmp_path, skipped=Skipped(False, "Or skip it."))
    assert str(tmp_path / name) in str(error.value) and str(error.value).count("Or skip it.") == 1
    skipped = Skipped(True)
    assert texts(tmp_path, skipped=skipped)[-1] == "good" and skipped.count == 1


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "UTF8"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    for name in ("a.txt", "b.jsonl", "c.csv"):
        text = {"a.txt": "가나다", "b.jsonl": '{"text": "가나다"}\n', "c.csv": "text\n가나다\n"}[name]
        (tmp_path / name).write_bytes(text.encode(encoding))
    assert texts(tmp_path, encoding=encoding) == ["가나다"] * 3
    read_by_tokenizer, _, _ = open_texts(TokenizerTrain(data=(str(tmp_path),), out=tmp_path / "t", encoding=encoding))
    assert list(read_by_tokenizer) == ["가나다"] * 3
    with pytest.raises(UsageError, match="klingon is not an encoding"):
        read(tmp_path / "a.txt", encoding="klingon", skipped=Skipped(True))


def test_old_files_and_new_ones_in_one_folder(tmp_path: Path) -> None:
    """A named encoding is for those files that are not UTF-8."""
    (tmp_path / "new.txt").write_text("새 글 🙂", encoding="utf-8")
    (tmp_path / "old.txt").write_text("옛 글", encoding="cp949")
    (tmp_path / "rows.jsonl").write_text('{"text": "줄"}\n', encoding="utf-8-sig")
    assert texts(tmp_path, encoding="cp949") == ["새 글 🙂", "옛 글", "줄"]


def test_whole_files_that_are_left_out_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n{"text"\n', encoding="utf-8")
    for number in range(7):
        (tmp_path / f"old{number}.txt").write_text("옛 글", encoding="cp949")
    skipped = Skipped(True)
    assert texts(tmp_path, skipped=skipped) == ["good"]
    told = str(skipped)
    assert told.startswith("8 left out") and "bad.jsonl:2: is not JSON" in told
    assert told.endswith("old4.txt and 2 more.") and "Whole files" in told


def test_one_giant_line_is_named_or_skipped_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(text_files, "LONGEST_LINE", 1000)
    monkeypatch.setattr(encodings, "BLOCK", 100)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "' + "x" * 5000 + '"}\n{"text": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:2: is longer than"):
        read(path)
    skipped = Skipped(True)
    assert [(one.text, one.id) for one in read(path, skipped=skipped)] == [("a", f"{path}:1"), ("b", f"{path}:3")]
    assert skipped.count == 1
    for end in ("", "\n"):  # a line of just so many characters is a row
        path.write_text(f'{{"text": "{"x" * (1000 - 12 - len(end))}"}}{end}', encoding="utf-8")
        assert len(read(path)) == 1
    path.write_text(f'{{"text": "{"x" * (1001 - 12)}"}}', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:1: is longer than"):
        read(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
def test_a_giant_line_needs_little_memory(tmp_path: Path, name: str, monkeypatch) -> None:
    """10 MB in one line, of which 1 MB may be held: the peak is a small multiple of the latter."""
    monkeypatch.setattr(text_files, "LONGEST_LINE", 1 << 20)
    monkeypatch.setattr(encodings, "BLOCK", 1 << 16)
    (tmp_path / name).write_bytes(b"a" * (10 << 20))
    skipped = Skipped(True)
    inputs = inputs_of([str(tmp_path / name)])
    found = documents(inputs, columns={}, encoding="auto", skipped=skipped)
    tracemalloc.start()
    try:
        pieces = sum(len(document.text) for document in found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (pieces, skipped.count) == ((10 << 20, 0) if name == "a.txt" else (0, 1))
    assert peak < 6 << 20


def test_a_source_is_read_as_often_as_it_may_and_then_left_out(tmp_path: Path) -> None:
    """From the source to the rows that are learned from."""
    for name, word in (("rare", "apple"), ("plenty", "pear")):
        lines = [json.dumps({"text": f"{word} {number} " * 60}) for number in range(30)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rare = Source(str(tmp_path / "rare.jsonl"), weight=2.0, epochs=5.0)
    prepare(Prepare(data=(rare, str(tmp_path / "plenty.jsonl")), out=tmp_path / "data", validation=0.1))
    train(TokenizerTrain(data=(str(tmp_path / "data"),), out=tmp_path / "tokenizer", vocabulary=448))
    shards = ensure_shards(tmp_path / "data", Tokenizer.load(tmp_path / "tokenizer"))
    sources = shards.split("train")
    assert {one.name: (one.weight, one.epochs) for one in sources} == {"rare": (2.0, 5.0), "plenty": (1.0, 0.0)}
    loader = RowLoader(sources, context=32, seed=1)
    place = [one.name for one in loader.sources].index("rare")
    owners = [loader.locate(number)[0] for number in range(6 * loader.rows_per_epoch)]
    in_all = 5 * loader.num_rows[place]
    assert owners.count(place) == in_all and place not in owners[-loader.rows_per_epoch :]
    read = [loader.locate(number)[1] for number, owner in enumerate(owners) if owner == place]
    assert set(np.bincount(read)) == {5}
    first = owners[: loader.rows_per_epoch]
    assert first.count(place) == 2 * loader.num_rows[place]


@dataclass
class Tokens:
    name: str
    tokens: np.ndarray
    weight: float
    epochs: float


LIMITED = st.tuples(st.integers(20, 200), st.sampled_from([0.25, 0.5, 1.0, 3.0]), st.sampled_from([0.0, 0.5, 1.0, 4.0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(LIMITED, min_size=1, max_size=4))
def test_limits_of_epochs_hold_whatever_the_weights(sources: list[tuple[int, float, float]]) -> None:
    made = [Tokens(str(i), np.full(n, i), weight, epochs) for i, (n, weight, epochs) in enumerate(sources)]
    loader = RowLoader(made, context=8, seed=1)
    owners: list[int] = []
    with suppress(DataError):
        owners = [loader.locate(number)[0] for number in range(int(loader.starts[-1]))]
        owners += [loader.locate(len(owners) + number)[0] for number in range(loader.rows_per_epoch)]
    for index, source in enumerate(made):
        limit = max(1, round(source.epochs * loader.num_rows[index]))
        if source.epochs:
            assert owners.count(index) == limit
        else:
            assert owners.count(index) > 0
    if all(source.epochs for source in made):
        with pytest.raises(DataError, match="as often as their `epochs` allow"):
            loader.rows(len(owners), 1)


def test_one_source_at_least_has_no_limit(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(UsageError, match="every source has a limit of epochs"):
        inputs_of([Source(str(tmp_path / "a.txt"), epochs=2.0)])
    with pytest.raises(UsageError, match="of different weight, name or epochs"):
        inputs_of([str(tmp_path), Source(str(tmp_path / "a.txt"), epochs=2.0)])


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        files_of(str(tmp_path / "missing.txt"))
    for path in (tmp_path, tmp_path / "*.txt"):
        with pytest.raises(DataError, match="no file here can be read"):
            files_of(str(path))
    with pytest.raises(DataError, match=r"not part of the bundled corpus\. Known: text"):
        read("sample:words")
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(DataError, match="rows were expected"):
        list(rows(str(tmp_path / "a.txt")))


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch) -> None:
    locked = tmp_path / "locked"
    for folder in (locked, tmp_path / ".locked"):
        folder.mkdir()
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    scan = os.scandir

    def scandir(path):
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for path in (tmp_path, locked):
        with pytest.raises(DataError, match=r"/locked: cannot be read \(Permission denied\)"):
            files_of(str(path))
    skipped = Skipped(True)
    assert files_of(str(tmp_path), skipped) == [str(tmp_path / "a.txt")]
    assert (skipped.count, skipped.files) == (1, [str(locked)])
    out = tmp_path.parent / f"{tmp_path.name}-out"
    manifest = prepare(Prepare(data=(str(tmp_path),), out=out, skip_bad=True))
    assert manifest["removed"] == {"unreadable": 1} and "/locked: cannot be read" in (out / "report.md").read_text()
    locked.rmdir()
    assert files_of(str(tmp_path)) == [str(tmp_path / "a.txt")]


def test_the_bundled_corpus(monkeypatch) -> None:
    from dodam.sample import corpus

    seeds = []
    monkeypatch.setattr(corpus, "text", lambda seed: seeds.append(seed) or iter([{"text": "The sky is blue."}]))
    (found,) = read("sample:text")
    assert (found.id, found.source, found.language, seeds) == ("sample:text:1", "sample", "en", [1])


def test_clean_and_language() -> None:
    assert clean("\ufeff 한\r\n\tb\x00\x1b\x85\ud800c\n ") == "한\n\tbc"
    assert [language(text) for text in ("`print`는 파이썬의 함수", "An essay on 김치", "これは", "123", "")] == [
        "ko", "en", "other", "other", "other",
    ]  # fmt: skip
