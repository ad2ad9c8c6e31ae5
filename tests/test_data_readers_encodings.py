"""Encodings found out by the bytes: Korean and Western texts of every kind are read as they were written, what is not
sure is named with its byte, and files of two encodings are never read as one."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam import cli
from dodam.data.readers import encodings, text_rows
from dodam.data.readers.encodings import blocks, decoded, encoding_of
from dodam.data.readers.notes import NOTED
from dodam.errors import DataError, UsageError

KOREAN = "옛날 어느 마을에 사과를 파는 아이가 살았다.\n똠방각하와 펲시를 마셨다. 漢字도 조금 있다.\n"
FRENCH = "Le garçon a mangé une pomme à côté de l'église. “Déjà vu”, dit-il.\n"
ENGLISH = "The apple fell from the tree.\n"


def read(path: Path, encoding: str = "auto") -> str:
    return "".join(blocks(str(path), encoding))


@pytest.mark.parametrize(
    ("text", "written", "found"),
    [
        (KOREAN, "utf-8", "utf-8"),
        (KOREAN, "utf-8-sig", "utf-8"),
        (KOREAN, "cp949", "cp949"),
        ("가나다", "euc-kr", "cp949"),
        (ENGLISH * 3 + KOREAN, "cp949", "cp949"),
        ("짜장면", "cp949", "cp949"),  # whose first two bytes are also UTF-8
        (KOREAN, "utf-16", "utf-16"),
        (KOREAN, "utf-16-le", "utf-16-le"),
        (KOREAN, "utf-16-be", "utf-16-be"),
        (ENGLISH, "utf-16-le", "utf-16-le"),
        (FRENCH, "cp1252", "cp1252"),
        ("Ärger über Öl", "latin-1", "cp1252"),
        ("¡¿Qué dices?! ¡Olé, olé!", "latin-1", "cp1252"),
        ("“It’s an apple” ― he said…\n", "cp949", "cp949"),
        ("“It’s an apple” — he said…\n", "cp1252", "cp1252"),
        (ENGLISH, "ascii", "utf-8"),
        ("", "ascii", "utf-8"),
    ],
)
def test_found_out(tmp_path: Path, text: str, written: str, found: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(written))
    assert encoding_of(str(path)) == found
    assert read(path) == text
    assert [row["text"] for _, row in text_rows(str(path), "auto")] == ([text] if text else [])


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("В этой деревне жил мальчик, который продавал яблоки.\n", "cp1251"),
        ("むかし、ある村にりんごを売る子がいました。今日も晴れです。\n", "shift-jis"),
        ("むかし、ある村にりんごを売る子がいました。今日も晴れです。\n", "euc-jp"),
        ("从前，村里有一个卖苹果的孩子。他每天早上都去市场。\n", "gbk"),
    ],
)
def test_what_is_not_sure_is_named_and_not_guessed(tmp_path: Path, text: str, written: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((ENGLISH + text).encode(written))
    with pytest.raises(DataError, match=rf"a\.txt: is not UTF-8 at byte {len(ENGLISH)}, and no .*--encoding"):
        read(path)
    assert read(path, written) == ENGLISH + text


def test_two_encodings_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(KOREAN.encode() + KOREAN.encode("cp949"))
    with pytest.raises(DataError, match=rf"is utf-8 up to byte {len(KOREAN.encode())}, and not there"):
        read(path)
    path.write_bytes(KOREAN.encode("cp949") * 3 + KOREAN.encode())
    with pytest.raises(DataError, match=r"is cp949 up to byte (\d+)") as error:
        read(path)
    place = int(str(error.value).split("byte ")[1].split(",")[0])
    assert 0 <= place - 3 * len(KOREAN.encode("cp949")) < 20


def test_a_byte_that_is_spoiled_far_behind_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(encodings, "BLOCK", 256)
    path = tmp_path / "a.txt"
    good = KOREAN.encode("cp949") * 9
    path.write_bytes(good + b"\xff\n" + good)
    with pytest.raises(DataError, match=rf"is cp949 up to byte {len(good)}, and not there"):
        read(path)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1))
def test_any_text_in_utf8_is_read_as_utf8(text: str) -> None:
    assert decoded(text.encode(), "auto", "page") == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(KOREAN.split()[:9]), min_size=1, max_size=30), st.integers(1, 40))
def test_borders_of_blocks_change_nothing(tmp_path_factory, words: list[str], block: int) -> None:
    text = " ".join(["아이가", *words])
    path = tmp_path_factory.mktemp("blocks") / "a.txt"
    path.write_bytes(text.encode("cp949"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "BLOCK", max(block, 6))
        assert read(path, "cp949") == text
    assert read(path) == text


def test_a_named_encoding_is_for_files_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(KOREAN, encoding="utf-8")
    assert read(path, "cp949") == KOREAN
    path.write_bytes("é".encode("cp1252"))  # too little to be sure of
    with pytest.raises(DataError, match="no encoding is sure"):
        read(path)
    assert read(path, "latin-1") == "é"
    with pytest.raises(UsageError, match="klingon is not an encoding"):
        decoded(b"a", "klingon", "page")


def test_what_was_found_is_told_once_for_each_encoding(tmp_path: Path, capsys) -> None:
    NOTED.clear()
    for number in range(3):
        (tmp_path / f"old{number}.txt").write_bytes(f"{KOREAN}{number}".encode("cp949"))
    (tmp_path / "wide.jsonl").write_bytes('{"text": "넓은 글"}\n'.encode("utf-16"))
    (tmp_path / "new.txt").write_text(KOREAN, encoding="utf-8")
    assert cli.main(["prepare", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().err
    assert told.count("files read as cp949, found out by their bytes (--encoding names another): 3.") == 1
    assert told.count("files read as utf-16,") == 1 and "5 documents" in told


def test_binary_files_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for data in (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9, b"abc \xe9 \x01\x02\x03 defghijklm"):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.txt: .*(NUL|no encoding is sure)"):
            read(path)
