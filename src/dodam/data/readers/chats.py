"""Chats as they are exported: KakaoTalk's (telephone and PC, Korean and English), and lines such as
`[2024-05-01 15:04] name: text`.

A document is a conversation: six hours of silence end it. Who speaks is called A, B, C ... in the order of the
conversation; what the program itself wrote (who came, left, sent a photo) is left out and counted.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import groupby
from typing import NamedTuple

from dodam.data.readers.notes import note
from dodam.data.readers.row import Prose, Row, Rows
from dodam.errors import DataError

TABLE = ["Date", "User", "Message"]
"""The columns of KakaoTalk's CSV."""
SILENCE = 6 * 60  # minutes that end a conversation
BACK = 60  # minutes that a clock may go back within one
LONGEST = 1 << 16  # characters of one document
LOOKED_AT = 40  # lines of a file that tell a chat
FEWEST = 3  # messages among them
LEFT_OUT = "lines of chats left out that nobody wrote (who came and left, photos, emoticons, deleted messages)"

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = rf"(?:{'|'.join(MONTHS)})[a-z]*"
DAY = rf"""(?:
    (?P<year>\d{{4}})(?:년\ ?|\.\ ?|-|/)(?P<month>\d{{1,2}})(?:월\ ?|\.\ ?|-|/)(?P<day>\d{{1,2}})(?:일|\.)?
  | (?:[a-z]+,\ )?(?P<month1>{MONTH})\ (?P<day1>\d{{1,2}}),\ (?P<year1>\d{{4}})
  | (?:[a-z]+,\ )?(?P<day2>\d{{1,2}})\ (?P<month2>{MONTH})\ (?P<year2>\d{{4}})
  | (?P<first>\d{{1,2}})[/.](?P<second>\d{{1,2}})[/.](?P<year3>\d{{2,4}})
)(?:\ [월화수목금토일]요일)?"""
CLOCK = (
    r"(?:(?P<half>오전|오후)\ )?(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?::\d\d)?(?:[\ \u202f]?(?P<half1>[ap]m))?"
)
FLAGS = re.VERBOSE | re.IGNORECASE

DAY_LINE = re.compile(rf"(?:-{{5,}}\ )?{DAY}(?:\ -{{5,}})?", FLAGS)
WHEN = re.compile(rf"(?:{DAY}(?:\ at\ |,?\ ))?{CLOCK}", FLAGS)
PHONE = re.compile(rf"{DAY}(?:\ at\ |,?\ ){CLOCK}(?:,\ (?:(?P<who>.+?)\ :\ (?P<text>.*)|.*))?", FLAGS)
"""`2024년 5월 1일 오후 3:04, 도담 : 안녕`; a line of the program's own has no ` : `."""
PC = re.compile(rf"\[(?P<who>.+?)\]\ \[{CLOCK}\]\ (?P<text>.*)", FLAGS)
"""`[도담] [오후 3:04] 안녕`, below a line with the day."""
BRACKETS = re.compile(r"\[(?P<when>[^\]]{4,40})\] ?(?P<who>[^:]{1,40}): (?P<text>.*)")
DASH = re.compile(r"(?P<when>\d[^-]{4,30}) - (?P<who>[^:]{1,40}): (?P<text>.*)")

HEADER = re.compile("카카오톡 대화|KakaoTalk Chats")
SAVED = re.compile("저장한 날짜 ?:|Date Saved ?:")
LEVELS = {"info", "warn", "warning", "error", "debug", "trace", "fatal", "notice", "critical"}
"""Who speaks in the log of a program."""
MEDIA = re.compile(
    r"사진(?: \d+장)?|동영상|이모티콘|음성 ?메시지|(?:보이스톡|페이스톡|라이브톡|그룹콜)\b.*"
    r"|(?:파일|샵검색|지도|연락처): .+"
    r"|삭제된 메시지입니다\.?|photos?(?: \d+)?|\d+ photos|video|emoticons?|stickers?|voice (?:message|note)|file: .+"
    r"|(?:this message was|message|you) deleted(?: this message)?\.?|<media omitted>"
    r"|\u200e?(?:image|video|audio|sticker|gif|document) omitted",
    re.IGNORECASE,
)
PROGRAM = re.compile(
    r".+님[이을] (?:들어왔습니다|나갔습니다|내보냈습니다|초대하였습니다|초대했습니다)\.?"
    r"|.+님이 .+님을 (?:초대하였습니다|초대했습니다|내보냈습니다)\.?|채팅방 관리자가 메시지를 가렸습니다\.?"
    r"|.{1,60} (?:joined|left|entered|was removed)(?: (?:this|the) (?:chatroom|chat|group))?\.?"
    r"|.{1,60} invited .{1,200} to (?:this|the) (?:chatroom|chat|group)\.?"
)


class Message(NamedTuple):
    """A line of a chat: the minute it was sent in, counted from some beginning; who "" for the program's own."""

    minute: int
    who: str
    text: str


def is_chat(head: str) -> bool:
    """Whether the first lines of a text are those of a chat."""
    lines = [line.strip("\ufeff\u200e\r") for line in head.split("\n", LOOKED_AT)[:LOOKED_AT] if line.strip()]
    if any(map(HEADER.search, lines[:3])) and any(map(SAVED.match, lines[:4])):
        return True
    found = [one for line in lines if (one := message_of(line, 0)) and one.who]
    names = {one.who.lower() for one in found}
    return len(found) >= FEWEST and 2 * len(found) >= len(lines) and len(names) > 1 and not names & LEVELS


def message_of(line: str, day: int) -> Message | None:
    """The message that begins in this line, if one does; `day` is that of a line which tells the hour alone."""
    for pattern in (PHONE, PC):
        if found := pattern.fullmatch(line):
            minute = _minute(found, day)
            return None if minute is None else Message(minute, found["who"] or "", found["text"] or "")
    found = BRACKETS.fullmatch(line) or DASH.fullmatch(line)
    when = WHEN.fullmatch(found["when"].strip()) if found else None
    minute = _minute(when, day) if when else None
    return Message(minute, found["who"].strip(), found["text"]) if found and minute is not None else None


def _minute(found: re.Match[str], day: int) -> int | None:
    """Minutes from the year 1 (where only the clock is known, from `day`); None where there is no such day."""
    groups = found.groupdict()
    if any(groups.get(key) for key in ("year", "year1", "year2", "year3")):
        told = _day(found)
        if told is None:
            return None
        day = told
    half = (groups["half"] or groups["half1"] or "").lower()
    hour = int(groups["hour"])
    if half:
        hour = hour % 12 + (12 if half in ("오후", "pm") else 0)
    return (day * 24 + hour) * 60 + int(groups["minute"])


def _day(found: re.Match[str]) -> int | None:
    """The day as a number. 3/4/2024 is read as the third of April; where it is not, only distances across midnight are
    wrong."""
    groups = found.groupdict()
    year = int(groups["year"] or groups["year1"] or groups["year2"] or groups["year3"])
    day = groups["day"] or groups["day1"] or groups["day2"]
    name = groups["month1"] or groups["month2"]
    month = MONTHS.index(name[:3].lower()) + 1 if name else int(groups["month"] or 0)
    if not day:
        first, second = int(groups["first"]), int(groups["second"])
        month, day = (first, second) if second > 12 else (second, first)
    try:
        return date(year if year > 99 else 2000 + year, month, int(day)).toordinal()
    except ValueError:
        return None


def chat_rows(path: str, lines: Iterable[tuple[int, str | DataError]]) -> Rows:
    """The conversations of a text file, from its numbered lines."""
    note("text files read as chats")
    yield from _conversations(_messages(path, lines))


def with_chats(rows: Iterable[tuple[str, Row]]) -> Rows:
    """Rows as they are, but those of KakaoTalk's CSV as conversations."""

    def table(where: str, row: Row) -> str:
        return where.rpartition(":")[0] if len(row) == len(TABLE) and list(row) == TABLE else ""

    for path, group in groupby(rows, lambda one: table(*one)):
        if not path:
            yield from group
            continue
        note("CSV files read as chats")
        yield from _conversations((where, _message_of_row(where, row)) for where, row in group)


def _message_of_row(where: str, row: Row) -> Message | DataError:
    when, who, text = row.values()
    found = WHEN.fullmatch(when.strip())
    minute = _minute(found, 0) if found else None
    if minute is None:
        return DataError("is no date, name and message", where=where, mend="Is it all of KakaoTalk's export?")
    return Message(minute, who, "" if PROGRAM.fullmatch(text) else text)


def _messages(path: str, lines: Iterable[tuple[int, str | DataError]]) -> Iterator[tuple[str, Message | DataError]]:
    """Messages with the place of their first lines; those of several lines put together again."""
    day, start, held = 0, "", Message(0, "", "")
    for number, line in lines:
        if isinstance(line, DataError):
            yield f"{path}:{number}", line
            continue
        line = line.strip("\ufeff\u200e\r\n")
        if told := DAY_LINE.fullmatch(line):
            day = _day(told) or day
        elif found := message_of(line, day):
            if start:
                yield start, held
            start, held = f"{path}:{number}", found
        elif PROGRAM.fullmatch(line):
            note(LEFT_OUT)
        else:
            held = held._replace(text=f"{held.text}\n{line}")
    if start:
        yield start, held


def _conversations(messages: Iterable[tuple[str, Message | DataError]]) -> Rows:
    """Messages that follow one another without silence, as documents; errors as they are."""
    held: list[Message] = []
    start, size, last = "", 0, 0
    for where, message in messages:
        if isinstance(message, DataError):
            yield where, message
            continue
        text = message.text.strip()
        if not message.who or not text or MEDIA.fullmatch(text):
            note(LEFT_OUT)
            continue
        away = message.minute - last
        if held and (away >= SILENCE or away < -BACK or size > LONGEST):
            yield start, _document(held)
            held, size = [], 0
        start = start if held else where
        held.append(message._replace(text=text))
        size, last = size + len(text), message.minute
    if held:
        yield start, _document(held)


def _document(messages: list[Message]) -> Prose:
    letters = {who: letter(place) for place, who in enumerate(dict.fromkeys(one.who for one in messages))}
    return Prose(text="\n".join(f"{letters[one.who]}: {one.text}" for one in messages))


def letter(place: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA."""
    return (letter(place // 26 - 1) if place > 25 else "") + chr(ord("A") + place % 26)
