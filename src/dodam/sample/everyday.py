"""Everyday knowledge: what things are, colors, opposites, days, capitals, and why things are as they are.

In: a random generator. Out: statements to complete ("The sky is" -> " blue."), questions with their answers, and an
explanation once one asks for it; as documents and as conversations (tasks "knowledge", "explain").
"""

import random
from collections.abc import Iterator

from dodam.sample.explanations import ENGLISH, KOREAN
from dodam.sample.knowledge import CAPITALS, COLORS, OPPOSITES, SERIES, THINGS, favored
from dodam.sample.korean import josa
from dodam.sample.sentences import capital
from dodam.sample.split import chat_row, plain_question

Exchange = tuple[str, str, str]  # language, question, answer

WHAT = {
    "ko": ("{이} 뭐예요?", "{은} 무엇인가요?", "{은} 뭐야?", "{noun}에 대해 한 문장으로 말해 줘."),
    "en": ("What is {noun}?", "Tell me about {noun} in one sentence.", "What do you know about {noun}?"),
}
COMPLETE = {
    "ko": ("{}", "{} ...", "문장을 완성해 줘: {}", "이어서 써 줘: {}"),
    "en": ("{}", "{} ...", "Complete the sentence: {}", "Finish this sentence: {}"),
}
COLOR = {
    "ko": ("{} 무슨 색이에요?", "{} 어떤 색인가요?", "{} 무슨 색이야?"),
    "en": ("What color is {}?", "Which color is {}?", "Tell me the color of {}."),
}
OPPOSITE = {
    "ko": ("'{}'의 반대말은 뭐예요?", "'{}'의 반대말을 알려 줘.", "반대말: {}"),
    "en": ("What is the opposite of {}?", "Tell me the opposite of {}.", "Opposite of {}?"),
}
CAPITAL = {
    "ko": (
        "{}의 수도는 무엇인가요?",
        "{}의 수도는 어디인가요?",
        "{}의 수도는 어디예요?",
        "{} 수도가 어디야?",
        "{}의 수도를 알려 주세요.",
        "{} 수도 이름이 뭐예요?",
    ),
    "en": (
        "What is the capital of {}?",
        "Tell me the capital of {}.",
        "Which city is the capital of {}?",
        "Do you know the capital of {}?",
    ),
}
WHICH = {"요일": "무슨 요일", "달": "몇 월", "계절": "어떤 계절"}
WHY = {
    "ko": (
        "{subject} 왜 {does}지 설명해줘.",
        "{subject} 왜 {does}지 설명해 주세요.",
        "왜 {subject} {asks}?",
        "{subject} 왜 {asks}?",
        "{subject} {does} 이유를 알려 줘.",
        "{subject} {does} 까닭을 설명해 주세요.",
    ),
    "en": (
        "Explain why {told}.",
        "Why {asks}?",
        "Can you explain why {told}?",
        "Please tell me why {told}.",
        "Explain this: {Told}.",
    ),
}
COMPLETE_AND_EXPLAIN = {
    "ko": ("문장을 완성하고 설명해줘: {}", "{} ... 이 문장을 완성하고 이유를 설명해 주세요.", "설명해줘: {}"),
    "en": ("Complete the sentence and explain: {}", "Finish this sentence and explain why: {}", "Explain: {}"),
}
EXPLAINED = {(subject, does): answer for subject, does, answer in KOREAN}
STARTS = {
    "ko": tuple(
        (start, end, EXPLAINED[subject, does])
        for start, end, subject, does in (
            ("하늘은", "파래요.", "하늘이", "파란"),
            ("바다는", "짜요.", "바다가", "짠"),
            ("여름은", "더워요.", "여름이", "더운"),
            ("겨울은", "추워요.", "겨울이", "추운"),
            ("달은", "밝아요.", "달이", "밝은"),
            ("나뭇잎은", "초록색이에요.", "나뭇잎이", "초록색인"),
        )
    ),
    "en": tuple(
        (capital(told.rsplit(" ", 1)[0]), told.rsplit(" ", 1)[1] + ".", answer)
        for told, _, answer in ENGLISH
        if told.split()[-2] in ("is", "are") and not told.startswith("there")
    ),
}
"""Sentences to complete and to explain: start, end, explanation."""


def _language(rng: random.Random) -> str:
    return rng.choice(("ko", "en"))


def statement(rng: random.Random, language: str) -> tuple[str, str]:
    """Start and end of an everyday sentence: ("The sky is", "blue.")."""
    korean, end, english, end_english = favored(rng, THINGS)
    return (josa(korean, "은/는"), end + ".") if language == "ko" else (capital(english), end_english + ".")


def thing(rng: random.Random) -> Exchange:
    """What is this thing? Also the bare start of the sentence, which the answer completes."""
    language = _language(rng)
    start, end = statement(rng, language)
    if rng.random() < 0.6:
        return language, favored(rng, COMPLETE[language]).format(start), f"{start} {end}"
    noun = start[:-1] if language == "ko" else start.rsplit(" ", 1)[0].lower()
    slots = {"noun": noun, "이": josa(noun, "이/가"), "은": start}
    return language, rng.choice(WHAT[language]).format(**slots), f"{start} {end}"


def color(rng: random.Random) -> Exchange:
    """What color is it?"""
    language, (noun, name, english, name_english) = _language(rng), favored(rng, COLORS)
    topic = josa(noun, "은/는") if language == "ko" else english
    answer = f"{topic} {name}이에요." if language == "ko" else f"{capital(english)} is {name_english}."
    return language, rng.choice(COLOR[language]).format(topic), answer


def opposite(rng: random.Random) -> Exchange:
    """What is the opposite of a word?"""
    language, row = _language(rng), rng.choice(OPPOSITES)
    word, other = rng.sample(row[:2] if language == "ko" else row[2:], 2)
    answer = f"'{word}'의 반대말은 '{other}'예요." if language == "ko" else f"The opposite of {word} is {other}."
    return language, rng.choice(OPPOSITE[language]).format(word), answer


def capital_city(rng: random.Random) -> Exchange:
    """What is the capital of a country, or whose capital is a city?"""
    language, row, back = _language(rng), favored(rng, CAPITALS), rng.random() < 0.25
    country, city = row[:2] if language == "ko" else row[2:]
    if back and language == "ko":
        city = josa(city, "은/는")
        return language, f"{city} 어느 나라의 수도인가요?", f"{city} {country}의 수도입니다."
    if back:
        return language, f"{city} is the capital of which country?", f"{city} is the capital of {country}."
    answer = f"{country}의 수도는 {city}입니다." if language == "ko" else f"The capital of {country} is {city}."
    return language, favored(rng, CAPITAL[language]).format(country), answer


def next_one(rng: random.Random) -> Exchange:
    """What comes after or before a day, a month, a season?"""
    language, kind, items = rng.choice(SERIES)
    index, after = rng.randrange(len(items)), rng.random() < 0.6
    item, other = items[index], items[(index + (1 if after else -1)) % len(items)]
    if language == "ko":
        side = "다음" if after else "전"
        return "ko", f"{item} {side}은 {WHICH[kind]}이에요?", f"{item} {side}은 {josa(other, '이에요/예요')}."
    side = "after" if after else "before"
    return "en", f"What {kind} comes {side} {item}?", f"{capital(other)} comes {side} {item}."


KNOWLEDGE = (thing, color, opposite, capital_city, next_one)
WEIGHTS = (9, 2, 3, 7, 2)


def knowledge(rng: random.Random) -> Exchange:
    """A question about everyday things and its answer."""
    return rng.choices(KNOWLEDGE, WEIGHTS)[0](rng)


def explanation(rng: random.Random) -> Exchange:
    """Why something is so."""
    language = _language(rng)
    if language == "ko":
        subject, does, answer = favored(rng, KOREAN)
        asks = does[:-1] + "나요" if does.endswith("는") else does + "가요"
        return language, favored(rng, WHY[language]).format(subject=subject, does=does, asks=asks), answer
    told, asks, answer = favored(rng, ENGLISH)
    return language, favored(rng, WHY[language]).format(told=told, Told=capital(told), asks=asks), answer


def completed_and_explained(rng: random.Random) -> Exchange:
    """The start of a sentence together with an instruction to explain it."""
    language = _language(rng)
    start, end, answer = favored(rng, STARTS[language])
    return language, rng.choice(COMPLETE_AND_EXPLAIN[language]).format(start), f"{start} {end} {answer}"


def _statements(rng: random.Random, count: int) -> str:
    """An everyday sentence, whose start alone calls for its end, and `count` more statements."""
    language = _language(rng)
    told = [" ".join(statement(rng, language))]
    while len(told) <= count:
        found, _, answer = knowledge(rng)
        if found == language and answer not in told:
            told.append(answer)
    return rng.choice(("\n", " ")).join(told)


def _told_why(rng: random.Random) -> str:
    """An explanation as a paragraph of its own."""
    if rng.random() < 0.5:
        told, _, answer = rng.choice(ENGLISH)
        return f"{capital(told)}. {answer}"
    subject, does, answer = rng.choice(KOREAN)
    return f"{subject} {does} 까닭\n{answer}"


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: statements to complete, explanations, questions with answers."""
    for _ in range(count):
        draw = rng.random()
        if draw < 0.45:
            yield _statements(rng, rng.randint(1, 4))
        elif draw < 0.55:
            yield _told_why(rng)
        elif draw < 0.75:
            yield "\n\n".join(plain_question(*explanation(rng)) for _ in range(2))
        else:
            yield "\n\n".join(plain_question(*knowledge(rng)) for _ in range(rng.randint(2, 4)))


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations, tasks "knowledge" and "explain"."""
    for _ in range(count):
        draw = rng.random()
        if draw < 0.6:
            yield chat_row("knowledge", *knowledge(rng))
        else:
            yield chat_row("explain", *(explanation if draw < 0.93 else completed_and_explained)(rng))
