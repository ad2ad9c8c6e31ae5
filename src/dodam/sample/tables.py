"""Small tables to Markdown, Korean and English.

In: a random generator. Out: rows of people, goods, animals, days written with commas, tabs, bars or "key: value"
lines, and the Markdown table they make (task "table", to be met exactly). `cells` is the inverse of `markdown`.
"""

import random
from collections.abc import Callable, Iterator

from dodam.sample.split import chat_row, held_out, plain_question, task_item

TASK = "table"
HELD_OUT = 0.1
MAX_CELLS = 12
"""Cells with the header: keeps question and answer within about a hundred tokens."""

Rows = list[list[str]]

QUESTIONS = {
    "ko": (
        "다음 내용을 마크다운 표로 만들어줘:\n{}",
        "이것을 마크다운 표로 바꿔 주세요.\n{}",
        "표로 정리해줘:\n{}",
        "아래 자료를 표로 만들어 줘.\n{}",
        "{}\n위 내용을 마크다운 표로 바꿔줘.",
        "마크다운 표로 변환: \n{}",
    ),
    "en": (
        "Turn this into a Markdown table:\n{}",
        "Make a Markdown table from these rows.\n{}",
        "Convert to a Markdown table:\n{}",
        "Please format this as a table:\n{}",
        "{}\nWrite the above as a Markdown table.",
        "Put this in a Markdown table:\n{}",
    ),
}

Column = tuple[str, tuple[str, ...]]


def _column(name: str, words: str) -> Column:
    return name, tuple(word.strip() for word in words.split(","))


# Each subject: the first column names the row, the others tell something about it. "0-99" stands for a number.
SUBJECTS: dict[str, tuple[tuple[Column, tuple[Column, ...]], ...]] = {
    "ko": (
        (
            _column("이름", "민수, 지수, 하준, 수아, 서연, 도윤, 지호, 은서, 유진, 현우, 미나, 태민, 영희, 철수, 나래"),
            (
                _column("나이", "6-79"),
                _column("도시", "서울, 부산, 대구, 인천, 광주, 대전, 제주, 수원, 울산, 전주"),
                _column("직업", "의사, 교사, 가수, 요리사, 농부, 학생, 화가, 기자, 배우, 작가"),
                _column("점수", "10-99"),
                _column("취미", "수영, 독서, 요리, 등산, 축구, 노래, 그림, 춤, 낚시, 여행"),
                _column("반", "1-9"),
            ),
        ),
        (
            _column("물건", "연필, 공책, 가방, 모자, 우산, 의자, 시계, 컵, 신발, 책, 상자, 접시, 공, 수건, 양말"),
            (
                _column("가격", "10-99"),
                _column("수량", "1-30"),
                _column("색", "빨강, 파랑, 노랑, 초록, 하양, 검정, 분홍, 보라"),
                _column("위치", "부엌, 거실, 안방, 창고, 교실, 가게"),
            ),
        ),
        (
            _column("동물", "고양이, 강아지, 토끼, 소, 말, 돼지, 닭, 곰, 호랑이, 사자, 코끼리, 거북이, 여우, 양"),
            (
                _column("이름", "초코, 보리, 나비, 콩이, 두부, 별이, 구름, 하루, 복실, 까미"),
                _column("나이", "1-20"),
                _column("무게", "1-99"),
                _column("오는 날", "월요일, 화요일, 수요일, 목요일, 금요일"),
            ),
        ),
        (
            _column("요일", "월요일, 화요일, 수요일, 목요일, 금요일, 토요일, 일요일"),
            (
                _column("날씨", "맑음, 흐림, 비, 눈, 바람"),
                _column("기온", "1-35"),
                _column("과목", "국어, 수학, 영어, 과학, 음악, 미술, 체육"),
                _column("할 일", "청소, 운동, 공부, 요리, 산책, 빨래"),
            ),
        ),
    ),
    "en": (
        (
            _column("Name", "Tom, Anna, Minsu, Jisu, Ben, Lucy, Sam, Emma, Jack, Mia, Leo, Nora, Paul, Kate, Max"),
            (
                _column("Age", "6-79"),
                _column("City", "Seoul, Busan, London, Paris, Rome, Berlin, Tokyo, Boston, Madrid, Oslo"),
                _column("Job", "doctor, teacher, singer, cook, farmer, student, painter, actor, writer, nurse"),
                _column("Score", "10-99"),
                _column("Hobby", "swimming, reading, cooking, hiking, soccer, singing, drawing, dancing"),
                _column("Class", "1-9"),
            ),
        ),
        (
            _column(
                "Item", "pencil, notebook, bag, hat, umbrella, chair, clock, cup, shoes, book, box, plate, ball, towel"
            ),
            (
                _column("Price", "10-99"),
                _column("Count", "1-30"),
                _column("Color", "red, blue, yellow, green, white, black, pink, purple"),
                _column("Place", "kitchen, hall, bedroom, garage, classroom, shop"),
            ),
        ),
        (
            _column("Animal", "cat, dog, rabbit, cow, horse, pig, chicken, bear, tiger, lion, elephant, turtle, fox"),
            (
                _column("Name", "Coco, Luna, Bella, Max, Ruby, Buddy, Daisy, Rocky, Milo, Lucky"),
                _column("Age", "1-20"),
                _column("Weight", "1-99"),
                _column("Visit", "Monday, Tuesday, Wednesday, Thursday, Friday"),
            ),
        ),
        (
            _column("Day", "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
            (
                _column("Weather", "sunny, cloudy, rain, snow, wind"),
                _column("Degrees", "1-35"),
                _column("Subject", "math, English, science, music, art, history"),
                _column("Plan", "cleaning, sports, study, cooking, a walk, laundry"),
            ),
        ),
    ),
}


def markdown(rows: Rows) -> str:
    """The Markdown table whose header is the first row."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("---" for _ in rows[0]) + " |", *lines[1:]])


def cells(table: str) -> Rows:
    """The rows of a Markdown table, header first."""
    lines = table.splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def _keyed(rows: Rows) -> str:
    return "\n".join(
        "- " + ", ".join(f"{key}: {cell}" for key, cell in zip(rows[0], row, strict=True)) for row in rows[1:]
    )


def _divided(divider: str, mark: str = "- ") -> Callable[[Rows], str]:
    return lambda rows: "\n".join(mark + divider.join(row) for row in rows)


# Every word stands behind a space, but in the layout without a mark: there a row's first word begins a line.
LAYOUTS: tuple[Callable[[Rows], str], ...] = (
    _divided(", "),
    _divided(", ", mark=""),
    _divided(" / "),
    _divided(" ; "),
    _keyed,
)


def _values(rng: random.Random, words: tuple[str, ...], count: int, *, distinct: bool = False) -> list[str]:
    low, dash, high = words[0].partition("-")
    if dash and low.isdigit():
        return [str(rng.randint(int(low), int(high))) for _ in range(count)]
    return rng.sample(words, count) if distinct else rng.choices(words, k=count)


def _rows(rng: random.Random, language: str) -> Rows:
    first, others = rng.choice(SUBJECTS[language])
    num_columns = rng.choice((2, 2, 3, 3, 3, 4))
    num_rows = rng.randint(1, min(4, MAX_CELLS // num_columns - 1))
    columns = [(first[0], _values(rng, first[1], num_rows, distinct=True))]
    columns += [(name, _values(rng, words, num_rows)) for name, words in rng.sample(others, num_columns - 1)]
    return [[name for name, _ in columns], *(list(row) for row in zip(*(values for _, values in columns), strict=True))]


def rows(rng: random.Random, language: str, *, test: bool = False) -> Rows:
    """A header and one to four rows; `test` asks for a table that is held out, otherwise it is not.

    A table is held out by its first row of values, whatever the other rows say.
    """
    while True:
        made = _rows(rng, language)
        if held_out("table|" + "|".join(made[0] + made[1]), HELD_OUT) == test:
            return made


def _question(rng: random.Random, language: str, *, test: bool = False) -> tuple[str, str]:
    made = rows(rng, language, test=test)
    return rng.choice(QUESTIONS[language]).format(rng.choice(LAYOUTS)(made)), markdown(made)


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: a table told both ways, or questions with answers."""
    for _ in range(count):
        language, draw = rng.choice(("ko", "en")), rng.random()
        made = rows(rng, language)
        if draw < 0.35:
            yield f"{rng.choice(LAYOUTS)(made)}\n\n{markdown(made)}"
        elif draw < 0.5:
            yield f"{markdown(made)}\n\n{rng.choice(LAYOUTS)(made)}"
        else:
            yield plain_question(language, *_question(rng, language))


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations that ask for a Markdown table, task "table"."""
    for _ in range(count):
        language = rng.choice(("ko", "en"))
        yield chat_row(TASK, language, *_question(rng, language))


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """Test items: tables whose first row is in no text or chat."""
    seen: set[str] = set()
    while len(seen) < count:
        language = ("ko", "en")[len(seen) % 2]
        question, answer = _question(rng, language, test=True)
        if answer not in seen:
            seen.add(answer)
            yield task_item(TASK, language, f"{language}-{len(seen)}", answer, "exact", question=question)
