"""Exported chats: every known form of one conversation gives the same documents; names and program's lines are gone."""

import zipfile
from pathlib import Path

import pytest

from dodam import cli
from dodam.data.readers import text_rows
from dodam.data.readers.chats import is_chat, letter
from dodam.data.readers.notes import NOTED
from dodam.data.skipped import Skipped
from dodam.data.sources import documents, inputs_of
from dodam.errors import DataError

PHONE_KOREAN = """\ufeff김하늘 님과 카카오톡 대화
저장한 날짜 : 2024년 5월 3일 오후 1:00


2024년 5월 1일 오후 11:50
2024년 5월 1일 오후 11:50, 김하늘 : 내일 뭐 해?
2024년 5월 1일 오후 11:58, 이도담 : 사과 따러 가요.
같이 갈래요?
2024년 5월 2일 오전 12:03, 김하늘 : 좋아요
2024년 5월 2일 오전 12:04, 김하늘 : 사진
2024년 5월 2일 오전 12:05, 김하늘님이 박바다님을 초대했습니다.
2024년 5월 2일 오전 9:30
2024년 5월 2일 오전 9:30, 박바다 : 저도요 : 꼭!
2024년 5월 2일 오전 9:31, 이도담 : 이모티콘
2024년 5월 2일 오전 9:32, 이도담 : 그래요
"""
PHONE_IOS = PHONE_KOREAN.replace("2024년 5월 1일 오후", "2024. 5. 1. 오후").replace(
    "2024년 5월 2일 오전", "2024. 5. 2. 오전"
)
PHONE_ENGLISH = """KakaoTalk Chats with 김하늘
Date Saved : May 3, 2024 at 1:00 PM

May 1, 2024 at 11:50 PM
May 1, 2024 at 11:50 PM, 김하늘 : 내일 뭐 해?
May 1, 2024 at 11:58 PM, 이도담 : 사과 따러 가요.
같이 갈래요?
May 2, 2024 at 12:03 AM, 김하늘 : 좋아요
May 2, 2024 at 12:04 AM, 김하늘 : Photo
May 2, 2024 at 12:05 AM, 박바다 joined this chatroom.
May 2, 2024 at 9:30 AM, 박바다 : 저도요 : 꼭!
May 2, 2024 at 9:31 AM, 이도담 : Emoticons
May 2, 2024 at 9:32 AM, 이도담 : 그래요
"""
PC_KOREAN = """김하늘 님과 카카오톡 대화
저장한 날짜 : 2024-05-03 13:00:00

--------------- 2024년 5월 1일 수요일 ---------------
[김하늘] [오후 11:50] 내일 뭐 해?
[이도담] [오후 11:58] 사과 따러 가요.
같이 갈래요?
--------------- 2024년 5월 2일 목요일 ---------------
[김하늘] [오전 12:03] 좋아요
[김하늘] [오전 12:04] 사진 2장
김하늘님이 박바다님을 초대했습니다.
[박바다] [오전 9:30] 저도요 : 꼭!
[이도담] [오전 9:31] 삭제된 메시지입니다.
[이도담] [오전 9:32] 그래요
"""
PC_ENGLISH = """김하늘 KakaoTalk Chats
Date Saved : 2024-05-03 13:00:00

--------------- Wednesday, May 1, 2024 ---------------
[김하늘] [11:50 PM] 내일 뭐 해?
[이도담] [11:58 PM] 사과 따러 가요.
같이 갈래요?
--------------- Thursday, May 2, 2024 ---------------
[김하늘] [12:03 AM] 좋아요
[박바다] [9:30 AM] 저도요 : 꼭!
[이도담] [9:31 AM] Emoticons
[이도담] [9:32 AM] 그래요
"""
CSV = """Date,User,Message
2024-05-01 23:50:00,"김하늘","내일 뭐 해?"
2024-05-01 23:58:10,"이도담","사과 따러 가요.
같이 갈래요?"
2024-05-02 00:03:00,"김하늘","좋아요"
2024-05-02 00:04:00,"김하늘","동영상"
2024-05-02 00:05:00,"김하늘","김하늘님이 박바다님을 초대했습니다."
2024-05-02 09:30:00,"박바다","저도요 : 꼭!"
2024-05-02 09:32:00,"이도담","그래요"
"""
BRACKETS = """[2024-05-01 23:50] 김하늘: 내일 뭐 해?
[2024-05-01 23:58] 이도담: 사과 따러 가요.
같이 갈래요?
[2024-05-02 00:03] 김하늘: 좋아요
[2024-05-02 09:30] 박바다: 저도요 : 꼭!
[2024-05-02 09:32] 이도담: 그래요
"""
DASHES = """01/05/2024, 23:50 - 김하늘: 내일 뭐 해?
01/05/2024, 23:58 - 이도담: 사과 따러 가요.
같이 갈래요?
02/05/2024, 00:03 - 김하늘: 좋아요
02/05/2024, 00:04 - 김하늘: <Media omitted>
02/05/2024, 09:30 - 박바다: 저도요 : 꼭!
02/05/2024, 09:32 - 이도담: 그래요
"""
CLOCK_ALONE = """[23:50] 김하늘: 내일 뭐 해?
[23:58] 이도담: 사과 따러 가요.
같이 갈래요?
[23:59] 김하늘: 좋아요
[09:30] 박바다: 저도요 : 꼭!
[09:32] 이도담: 그래요
"""
DOCUMENTS = ["A: 내일 뭐 해?\nB: 사과 따러 가요.\n같이 갈래요?\nA: 좋아요", "A: 저도요 : 꼭!\nB: 그래요"]
CHATS = {
    "phone-korean.txt": PHONE_KOREAN,
    "phone-ios.txt": PHONE_IOS,
    "phone-english.txt": PHONE_ENGLISH,
    "pc-korean.txt": PC_KOREAN,
    "pc-english.txt": PC_ENGLISH,
    "kakao.csv": CSV,
    "brackets.txt": BRACKETS,
    "dashes.md": DASHES,
    "clock.txt": CLOCK_ALONE,
}


def read(path: Path, columns=None):
    return list(documents(inputs_of([str(path)]), columns=columns or {}, encoding="auto", skipped=Skipped(False)))


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("name", CHATS)
def test_every_form_gives_the_same_conversations(tmp_path: Path, name: str, ends: str) -> None:
    (tmp_path / name).write_text(CHATS[name], encoding="utf-8", newline=ends)
    found = read(tmp_path / name)
    assert [one.text for one in found] == DOCUMENTS
    first, second = [int(one.id.rsplit(":", 1)[1]) for one in found]
    lines = CHATS[name].splitlines()
    assert "내일 뭐 해?" in lines[first - 1] and "저도요" in lines[second - 1]


def test_lines_nobody_wrote_are_counted(tmp_path: Path, capsys) -> None:
    NOTED.clear()
    (tmp_path / "chat.txt").write_text(PC_KOREAN, encoding="cp949")
    assert cli.main(["prepare", "--data", str(tmp_path / "chat.txt"), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().err
    assert "text files read as chats: 1." in told and "(--encoding names another): 1." in told
    assert "lines of chats left out that nobody wrote" in told and "deleted messages): 3." in told


def test_names_are_gone_and_a_long_talk_is_cut_between_messages(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("dodam.data.readers.chats.LONGEST", 100)
    lines = [f"[2024-05-01 10:{number // 6:02d}] {'가나다라'[number % 4]}씨: 말 {number}번째" for number in range(100)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    found = [one.text for one in read(tmp_path / "a.txt")]
    assert len(found) > 3 and all(len(text) < 400 and text.startswith("A: ") for text in found)
    assert [line.split(": ")[1] for text in found for line in text.split("\n")] == [f"말 {n}번째" for n in range(100)]


@pytest.mark.parametrize(
    "text",
    [
        "[2024-05-01 10:00] INFO: started\n[2024-05-01 10:01] ERROR: broken\n[2024-05-01 10:02] INFO: ended\n",
        "[10:00] 나: 혼자 쓰는\n[10:05] 나: 일기\n[10:07] 나: 이다\n",
        "회의록\n\n[10:00] 김: 시작합니다.\n그리고 아주\n긴 설명이\n이어지는\n글이다.\n",
        "도담: 안녕\n하늘: 안녕\n도담: 잘 지내?\n",
        "카카오톡 대화를 저장하는 방법\n\n설정을 누른다.\n",
    ],
)
def test_what_is_no_chat_stays_a_text(tmp_path: Path, text: str) -> None:
    assert not is_chat(text)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert [row["text"] for _, row in text_rows(str(tmp_path / "a.txt"), "auto")] == [text]


def test_tables_that_are_no_chat_and_spoiled_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Date,User,Message,text\n2024,a,b,글\n", encoding="utf-8")
    assert [one.text for one in read(path)] == ["글"]
    path.write_text(CSV, encoding="utf-8")
    assert [one.text for one in read(path, {"text": "Message"})][:2] == ["내일 뭐 해?", "사과 따러 가요.\n같이 갈래요?"]
    path.write_text(CSV.replace("2024-05-02 09:32:00", "yesterday"), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv:9: is no date, name and message"):
        read(path)
    skipped = Skipped(True)
    found = documents(inputs_of([str(path)]), columns={}, encoding="auto", skipped=skipped)
    assert [one.text for one in found] == [DOCUMENTS[0], "A: 저도요 : 꼭!"] and skipped.count == 1


def test_chats_in_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("kakao.csv", CSV)
        archive.writestr("pc.txt", PC_KOREAN)
        archive.writestr("z.jsonl", '{"text": "글"}')
    assert [one.text for one in read(tmp_path / "a.zip")] == [*DOCUMENTS, *DOCUMENTS, "글"]


def test_letters() -> None:
    assert [letter(place) for place in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
