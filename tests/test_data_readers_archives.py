"""Archives: what is in them is read as if it lay in a folder; what is hostile in them is named and does no harm."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from dodam import cli
from dodam.data.readers import archives, packed
from dodam.data.readers.notes import NOTED
from dodam.data.skipped import Skipped
from dodam.data.sources import documents, inputs_of, rows
from dodam.errors import DataError

MEMBERS = {
    "b.txt": "나무 글\n".encode(),
    "deep/a.jsonl": b'{"text": "one"}\n{"text": "two", "license": "CC0"}\n',
    "c.csv.gz": gzip.compress(b"text\nthree\n"),
    "old.txt": "옛날 옛적의 글\n".encode("cp949"),
    "photo.png": b"\x89PNG",
    ".hidden/x.txt": b"hidden",
    "__MACOSX/b.txt": b"resource fork",
}
TEXTS = [("b.txt:1", "나무 글"), ("c.csv.gz:2", "three"), ("deep/a.jsonl:1", "one"), ("deep/a.jsonl:2", "two")]
TEXTS += [("old.txt:1", "옛날 옛적의 글")]


def zipped(members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(members: dict[str, bytes], others: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in others:
            archive.addfile(entry)
    return file.getvalue()


KINDS = {
    "a.zip": zipped,
    "a.tar": tarred,
    "a.tar.gz": lambda members: gzip.compress(tarred(members)),
    "a.tgz": lambda members: gzip.compress(tarred(members)),
    "a.tar.zst": lambda members: zstandard.compress(tarred(members)),
}


def read(path: Path, skipped: Skipped | None = None, columns=None):
    inputs = inputs_of([str(path)])
    return list(documents(inputs, columns=columns or {}, encoding="auto", skipped=skipped or Skipped(False)))


@pytest.mark.parametrize("name", KINDS)
def test_members_are_read_by_sorted_name(tmp_path: Path, name: str, capsys) -> None:
    NOTED.clear()
    path = tmp_path / name
    path.write_bytes(KINDS[name](MEMBERS))
    found = read(path)
    assert [(one.id, one.text) for one in found] == [(f"{path}!{where}", text) for where, text in TEXTS]
    assert [one.license for one in found] == ["", "", "", "CC0", ""] and {one.source for one in found} == {"a"}
    told = capsys.readouterr().err
    assert "files in archives left out for their endings: 1." in told and "files read as cp949" in told
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_archives_hold_rows_too(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"q.jsonl": b'{"q": "1", "a": "2"}\n', "r.tsv": b"q\ta\n3\t4\n"}))
    assert [row["prompt"] for _, row in rows(str(tmp_path / "a.zip"), columns={"prompt": "q"})] == ["1", "3"]


def test_one_level_of_archives_in_archives(tmp_path: Path) -> None:
    inner = zipped({"b.txt": b"inner", "deepest.tgz": gzip.compress(tarred({"c.txt": b"deepest"}))})
    path = tmp_path / "a.tar"
    path.write_bytes(tarred({"inner.zip": inner, "z.txt": b"outer"}))
    with pytest.raises(DataError, match=r"a\.tar!inner\.zip!deepest\.tgz: is an archive in an archive in an archive"):
        read(path)
    skipped = Skipped(True)
    assert [(one.id, one.text) for one in read(path, skipped)] == [
        (f"{path}!inner.zip!b.txt:1", "inner"),
        (f"{path}!z.txt:1", "outer"),
    ]
    assert skipped.count == 1


def test_links_and_devices_are_left_out(tmp_path: Path, capsys) -> None:
    NOTED.clear()
    others = []
    for name, kind in (("soft.txt", tarfile.SYMTYPE), ("hard.txt", tarfile.LNKTYPE), ("null.txt", tarfile.CHRTYPE)):
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/hostname"
        others.append(entry)
    (tmp_path / "a.tar").write_bytes(tarred({"../../up.txt": b"only a name", "b.txt": b"b"}, tuple(others)))
    assert [one.text for one in read(tmp_path / "a.tar")] == ["b"]  # whose name begins with a dot is hidden
    assert "links and devices in archives left out: 3." in capsys.readouterr().err


def test_korean_names_of_windows(tmp_path: Path) -> None:
    plain = zipped({"xxxx.txt": b"1"})
    (tmp_path / "a.zip").write_bytes(plain.replace(b"xxxx", "사과".encode("cp949")))
    assert [one.id for one in read(tmp_path / "a.zip")] == [f"{tmp_path / 'a.zip'}!사과.txt:1"]


def test_of_two_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "first")
        archive.writestr("a.txt", "last")
    assert [one.text for one in read(tmp_path / "a.zip")] == ["last"]


def damaged(data: bytes, good: bytes) -> bytes:
    """One byte of a stored member changed, so that its checksum is wrong."""
    return data.replace(good, good[:-1] + b"!")


def encrypted(data: bytes) -> bytes:
    """A zip of one member with the mark of encryption."""
    data = bytearray(data)
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


SPOILED = {
    "crc.zip": (damaged(zipped({"a.txt": b"spoiled", "b.txt": b"good"}, 0), b"spoiled"), r"crc\.zip!a\.txt: .*torn"),
    "json.zip": (zipped({"a.jsonl": b"{", "b.txt": b"good"}), r"json\.zip!a\.jsonl:1: is not JSON"),
    "pdf.zip": (zipped({"a.pdf": b"%PDF", "b.txt": b"good"}), r"pdf\.zip!a\.pdf: is no PDF file, or torn"),
    "nul.tar": (tarred({"a.txt": b"x\0y", "b.txt": b"good"}), r"nul\.tar!a\.txt: holds NUL bytes"),
    "gz.tar": (tarred({"a.txt.gz": b"no gzip", "b.txt": b"good"}), r"gz\.tar!a\.txt\.gz: cannot be unpacked"),
    "inner.tar": (tarred({"a.zip": b"no zip", "b.txt": b"good"}), r"inner\.tar!a\.zip: is no zip file, or torn"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_member_is_named_or_skipped_alone(tmp_path: Path, name: str) -> None:
    data, complaint = SPOILED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=complaint) as error:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and "member." not in str(error.value)
    skipped = Skipped(True)
    assert [one.text for one in read(tmp_path / name, skipped)] == ["good"] and skipped.count == 1


SPOILED_WHOLE = {
    "torn.zip": (zipped(MEMBERS)[:-40], "is no zip file, or torn"),
    "torn.tar": (tarred({"a.txt": bytes(3000)})[:1500], "is no tar file, or torn"),
    "torn.tar.gz": (gzip.compress(tarred(MEMBERS))[:-20], "cannot be unpacked"),
    "torn.tar.zst": (zstandard.compress(tarred(MEMBERS))[:-20], "is no tar file, or torn|cannot be unpacked"),
    "other.tar": (b"no archive at all " * 99, "is no tar file, or torn"),
    "locked.zip": (encrypted(zipped({"a.txt": b"secret"})), r"locked\.zip!a\.txt: is encrypted"),
}


@pytest.mark.parametrize("name", SPOILED_WHOLE)
def test_a_spoiled_archive_is_named_or_skipped(tmp_path: Path, name: str) -> None:
    data, complaint = SPOILED_WHOLE[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "z.txt").write_text("good", encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        read(tmp_path)
    skipped = Skipped(True)
    assert [one.text for one in read(tmp_path, skipped)][-1] == "good" and skipped.count == 1


ZEROS = bytes(9 << 20)
HEAD = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: %d\r\n\r\n"
BOMBS = {
    "bomb.zip": lambda: zipped({"a.txt": ZEROS}),
    "bomb.tar.gz": lambda: gzip.compress(tarred({"a.txt": ZEROS})),
    "bomb.txt.zst": lambda: zstandard.compress(ZEROS),
    "bomb.jsonl.gz": lambda: gzip.compress(b" " * len(ZEROS)),
    "bomb.warc.gz": lambda: gzip.compress(HEAD % len(ZEROS) + ZEROS),
    "bomb.docx": lambda: zipped({"word/document.xml": ZEROS}),
    "bomb.parquet.gz": lambda: gzip.compress(ZEROS),
    "inner.tar": lambda: tarred({"bomb.zip": zipped({"a.txt": ZEROS})}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_fills_anything(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.setattr(packed, "FREE", 8 << 20)
    (tmp_path / name).write_bytes(BOMBS[name]())
    with pytest.raises(DataError, match=r"unpacks to more than 250 times its size \(and more than 8 MB\)"):
        read(tmp_path / name)
    (tmp_path / "z.txt").write_text("good", encoding="utf-8")
    assert [one.text for one in read(tmp_path, Skipped(True))] == ["good"]


def test_what_packs_well_is_no_bomb(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(packed, "FREE", 1 << 10)
    lines = b"".join(b'{"text": "%d"}\n' % (number % 7) for number in range(3000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    assert 10 < len(lines) / (tmp_path / "a.jsonl.gz").stat().st_size < packed.LARGEST_RATIO
    assert len(read(tmp_path / "a.jsonl.gz")) == 3000


def test_a_member_too_large_for_the_disk_is_skipped_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 100)
    (tmp_path / "a.zip").write_bytes(zipped({"a.txt": b"x" * 101, "b.txt": b"good"}))
    with pytest.raises(DataError, match=r"a\.zip!a\.txt: is larger than"):
        read(tmp_path / "a.zip")
    assert [one.text for one in read(tmp_path / "a.zip", Skipped(True))] == ["good"]


def test_sparse_files_of_any_size_are_left_out(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("huge.txt")
    entry.type, entry.size = tarfile.GNUTYPE_SPARSE, 0
    data = bytearray(tarred({"a.txt": b"a"}, (entry,)))
    (tmp_path / "a.tar").write_bytes(bytes(data))
    assert [one.text for one in read(tmp_path / "a.tar")] == ["a"]


def test_an_archive_through_the_command(tmp_path: Path, capsys) -> None:
    (tmp_path / "all.zip").write_bytes(zipped(MEMBERS | {"bad.jsonl": b'{"text": \n{"text": "four"}\n'}))
    asked = ["prepare", "--data", str(tmp_path / "all.zip"), "--out", str(tmp_path / "out")]
    assert cli.main(asked) == 1
    assert "all.zip!bad.jsonl:1: is not JSON" in capsys.readouterr().err
    assert cli.main([*asked, "--skip-bad", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["documents"] == len(TEXTS) + 1 and result["removed"] == {"unreadable": 1}
