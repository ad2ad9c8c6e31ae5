"""Spam and ham: short messages, Korean and English.

In: a random generator. Out: messages joined from an opening, an offer and a push (spam) or from what friends, families
and offices write to each other (ham). Labels are 스팸 / 정상, spam / ham.
"""

import random
import re
from collections.abc import Iterator
from itertools import pairwise

from dodam.sample.korean import fill
from dodam.sample.split import chat_row, held_out, plain_question, task_item

TASK = "spam"
HELD_OUT = 0.08
LABELS = {"ko": {True: "스팸", False: "정상"}, "en": {True: "spam", False: "ham"}}

QUESTIONS = {
    "ko": (
        "이 문자는 스팸인가요, 정상인가요? {}",
        "다음 메시지가 스팸인지 정상인지 말해 줘: {}",
        "스팸 또는 정상으로 분류해 주세요: {}",
        "{}\n이 문자, 스팸이야 정상이야?",
    ),
    "en": (
        "Is this message spam or ham? {}",
        "Classify this message as spam or ham: {}",
        "Spam or ham? {}",
        "{}\nIs this spam or ham?",
    ),
}
FORMS = {
    "ko": ("문자: {}\n분류: {}", "{} -> {}"),
    "en": ("Message: {}\nLabel: {}", "{} -> {}"),
}

SPAM = {
    "ko": (
        ("[광고]", "(광고)", "축하합니다!", "긴급 안내!", "오늘만!", "회원님,", "마지막 기회!", "[무료]"),
        (
            "{prize}{이/가} 무료예요.",
            "{prize}에 당첨되셨어요.",
            "{prize}{을/를} 반값에 드려요.",
            "누구나 바로 대출돼요.",
            "하루 {sum}만 원을 벌 수 있어요.",
            "{prize}{을/를} 공짜로 받으세요.",
            "{sum}만 원을 그냥 드려요.",
            "계좌가 정지되었어요.",
            "살이 일주일 만에 빠져요.",
            "이 주식은 내일 {sum}배 올라요.",
        ),
        (
            "지금 클릭하세요.",
            "아래 링크를 누르세요.",
            "빨리 전화하세요.",
            "비밀번호를 보내 주세요.",
            "선착순 {sum}명!",
            "카드 번호를 알려 주세요.",
            "오늘 안에 신청하세요.",
        ),
    ),
    "en": (
        (
            "Congratulations!",
            "URGENT!",
            "Last chance!",
            "Dear customer,",
            "FREE!!!",
            "Winner!",
            "Today only!",
        ),
        (
            "you won {prize}.",
            "get {prize} for free.",
            "{prize} is half price.",
            "earn {sum} dollars a day from home.",
            "your account is locked.",
            "we give you {sum} dollars.",
            "anyone can get a loan.",
            "lose weight in one week.",
            "claim {prize} now.",
        ),
        (
            "Click the link now.",
            "Call us right away.",
            "Send your password.",
            "Only {sum} left!",
            "Tell us your card number.",
            "Reply YES to get it.",
            "Offer ends tonight.",
        ),
    ),
}
HAM = {
    "ko": (
        (
            "{who},",
            "{who}!",
            "안녕하세요.",
            "늦어서 미안해.",
            "고마워.",
            "나 지금 출발했어.",
            "수고했어요.",
        ),
        (
            "{time}에 {place}에서 만나자.",
            "{time}에 {place}{으로/로} 와 줘.",
            "회의는 {time}에 시작해요.",
            "저녁은 {time}에 먹자.",
            "{place} 앞에서 기다릴게.",
            "{time}까지 보고서 보내 주세요.",
            "어제 빌린 책은 {place}에서 돌려줄게.",
            "{place}에 우산을 두고 왔어.",
            "수업이 {time}{으로/로} 바뀌었어요.",
            "{time}에 전화할게.",
        ),
        ("이따 봐.", "늦지 마.", "천천히 와.", "괜찮으면 알려 줘.", "고마워요.", "밥 잘 챙겨 먹어.", "조심해서 와."),
    ),
    "en": (
        (
            "Hi {who},",
            "Hello {who},",
            "Sorry I am late.",
            "Thank you.",
            "I just left home.",
            "Good job.",
        ),
        (
            "let us meet at {place} at {time}.",
            "please come to {place} at {time}.",
            "the meeting starts at {time}.",
            "dinner is at {time}.",
            "I will wait in front of {place}.",
            "please send the report by {time}.",
            "I left my umbrella at {place}.",
            "the class moved to {time}.",
            "I will call you at {time}.",
        ),
        (
            "See you soon.",
            "Do not be late.",
            "Take your time.",
            "Let me know.",
            "Thanks.",
            "Take care.",
            "Have a nice day.",
        ),
    ),
}
WORDS = {
    "ko": {
        "who": ("엄마", "민수야", "지수야", "선생님", "아빠", "하준아"),
        "place": ("도서관", "학교", "역", "카페", "공원", "회사", "병원"),
        "time": ("세 시", "네 시", "다섯 시", "일곱 시", "내일 아침 아홉 시", "오늘 저녁 여섯 시"),
        "prize": ("새 휴대폰", "상품권", "명품 가방", "영화표", "여행권", "노트북"),
        "sum": ("10", "20", "30", "50", "100", "300"),
    },
    "en": {
        "who": ("Mom", "Tom", "Anna", "Dad", "Jisu", "Minsu"),
        "place": ("the library", "the school", "the station", "the cafe", "the park", "the office"),
        "time": ("three", "four", "five", "seven", "nine", "noon"),
        "prize": ("a new phone", "a gift card", "a luxury bag", "a free trip", "a laptop", "a new car"),
        "sum": ("10", "20", "50", "100", "300", "500"),
    },
}


def _message(rng: random.Random, language: str, bad: bool) -> tuple[str, bool]:
    """A message, and whether two of its neighbouring parts only meet in the tests."""
    openings, bodies, endings = (SPAM if bad else HAM)[language]
    slots = {name: rng.choice(words) for name, words in WORDS[language].items()}
    parts = [rng.choice(bodies)]
    draw = rng.random()
    if draw < 0.7:
        parts.insert(0, rng.choice(openings))
    if draw > 0.3:
        parts.append(rng.choice(endings))
    held = any(held_out(f"message|{one}|{next_one}", HELD_OUT) for one, next_one in pairwise(parts))
    text = fill(" ".join(parts), slots)
    return re.sub(r"(^|[.!?] )([a-z])", lambda found: found[1] + found[2].upper(), text), held


def message(rng: random.Random, language: str, *, test: bool = False) -> tuple[str, str]:
    """A message and its label; `test` asks for a combination that is held out, otherwise it is not."""
    bad = rng.random() < 0.5
    while True:
        text, held = _message(rng, language, bad)
        if held == test:
            return text, LABELS[language][bad]


def samples(rng: random.Random, count: int, language: str) -> Iterator[tuple[str, str]]:
    """Messages with their labels, for runs of examples; none is in the tests."""
    for _ in range(count):
        yield message(rng, language)


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: runs of labelled messages, questions with answers."""
    for _ in range(count):
        language = rng.choice(("ko", "en"))
        if rng.random() < 0.6:
            layout = rng.choice(FORMS[language])
            rows = [layout.format(*message(rng, language)) for _ in range(rng.randint(3, 4))]
            yield ("\n" if "->" in layout else "\n\n").join(rows)
        else:
            yield "\n\n".join(plain_question(language, *_question(rng, language)) for _ in range(2))


def _question(rng: random.Random, language: str, *, test: bool = False) -> tuple[str, str]:
    told, label = message(rng, language, test=test)
    return rng.choice(QUESTIONS[language]).format(told), label


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations that ask for a label, task "spam"."""
    for _ in range(count):
        language = rng.choice(("ko", "en"))
        yield chat_row(TASK, language, *_question(rng, language))


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """Test items: messages whose combination of parts is in no text or chat."""
    seen: set[str] = set()
    while len(seen) < count:
        language = ("ko", "en")[len(seen) % 2]
        question, answer = _question(rng, language, test=True)
        if question not in seen:
            seen.add(question)
            yield task_item(TASK, language, f"{language}-{len(seen)}", answer, "exact", question=question)
