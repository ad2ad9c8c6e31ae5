"""Small talk: greetings, names, feelings, wishes, what cannot be known; `everyday.py` and `rewrite.py` ride along.

In: a random generator. Out: dialogues and questions with answers for the pretraining text, conversations of one to
three turns, test items of "rewrite". `{name}` in a conversation stands for the assistant's name (`sft --name`).
"""

import random
from collections.abc import Iterator

from dodam.sample import everyday, rewrite
from dodam.sample.knowledge import favored
from dodam.sample.korean import fill
from dodam.sample.split import chat_row, plain_question
from dodam.sample.talk import EXCHANGES
from dodam.sample.wishes import wish

Exchange = tuple[str, str, str]  # language, question, answer

NAMES = {
    "ko": ("민수", "지수", "하준", "수아", "서연", "도윤", "지호", "은서", "유진", "현우", "미나", "태민"),
    "en": ("Tom", "Anna", "Ben", "Lucy", "Sam", "Emma", "Jack", "Mia", "Leo", "Nora", "Paul", "Kate"),
}
SPEAKERS = {"ko": ("가", "나"), "en": ("A", "B")}
MY_NAME = {
    "ko": ("제 이름은 {me}{이에요/예요}.", "저는 {me}{이에요/예요}.", "나는 {me}{이야/야}.", "저는 {me}입니다."),
    "en": ("My name is {me}.", "I am {me}.", "I'm {me}.", "You can call me {me}."),
}
GLAD = {"ko": "반가워요, {me} 님! 무엇을 도와드릴까요?", "en": "Nice to meet you, {me}! How can I help you?"}
ASK_MY_NAME = {
    "ko": ("제 이름이 뭐라고 했죠?", "내 이름이 뭐예요?", "제 이름을 기억해요?"),
    "en": ("What is my name?", "Do you remember my name?", "What did I say my name was?"),
}
REMEMBERED = {"ko": "{me} 님이라고 하셨어요.", "en": "Your name is {me}."}
KINDS = ("greeting", "farewell", "assistant", "assistant", "feeling", "feeling", "unknown")


def exchange(rng: random.Random, language: str, *kinds: str) -> Exchange:
    """Something said and its answer, of one of the kinds."""
    said, answers = favored(rng, EXCHANGES[language, rng.choice(kinds)])
    return language, favored(rng, said), rng.choice(answers)


def _wish(rng: random.Random, language: str) -> Exchange:
    while True:
        made = wish(rng)
        if made[0] == language:
            return made


def _topic(rng: random.Random, language: str) -> Exchange:
    """A feeling, a wish, a question about the assistant or about everyday things."""
    draw = rng.random()
    if draw < 0.4:
        return exchange(rng, language, "feeling", "assistant", "unknown")
    if draw < 0.65:
        return _wish(rng, language)
    while True:
        made = (everyday.knowledge if draw < 0.88 else everyday.explanation)(rng)
        if made[0] == language:
            return made


def dialogue(rng: random.Random, language: str) -> list[str]:
    """Two or three turns: a greeting or one's own name, a topic, a farewell."""
    if rng.random() < 0.25:
        slots = {"me": rng.choice(NAMES[language])}
        middle = [_topic(rng, language)[1:]] if rng.random() < 0.5 else []
        first = (fill(rng.choice(MY_NAME[language]), slots), fill(GLAD[language], slots))
        last = (rng.choice(ASK_MY_NAME[language]), fill(REMEMBERED[language], slots))
        turns = [first, *middle, last]
    else:
        turns = [exchange(rng, language, "greeting")[1:]] if rng.random() < 0.6 else []
        turns.append(_topic(rng, language)[1:])
        if len(turns) == 1 or rng.random() < 0.5:
            turns.append(exchange(rng, language, "farewell")[1:])
    return [content for turn in turns for content in turn]


def _script(rng: random.Random, language: str) -> str:
    """A dialogue of two people, each line with its speaker; the one who answers has some name."""
    name = rng.choice(NAMES[language])
    lines = [line.replace("{name}", name) for line in dialogue(rng, language)]
    return "\n".join(f"{SPEAKERS[language][index % 2]}: {line}" for index, line in enumerate(lines))


def _said_and_answered(rng: random.Random, language: str) -> str:
    made = _wish(rng, language) if rng.random() < 0.35 else exchange(rng, language, *KINDS)
    return plain_question(*made).replace("{name}", rng.choice(NAMES[language]))


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: everyday knowledge, corrections, dialogues, questions with answers."""
    for _ in range(count):
        language, draw = rng.choice(("ko", "en")), rng.random()
        if draw < 0.45:
            yield from everyday.text(rng, 1)
        elif draw < 0.6:
            yield from rewrite.text(rng, 1)
        elif draw < 0.8:
            yield _script(rng, language)
        else:
            yield "\n\n".join(_said_and_answered(rng, language) for _ in range(2))


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations, tasks "smalltalk", "wish", "knowledge", "explain" and "rewrite"."""
    for _ in range(count):
        language, draw = rng.choice(("ko", "en")), rng.random()
        if draw < 0.35:
            yield from everyday.chat(rng, 1)
        elif draw < 0.5:
            yield from rewrite.chat(rng, 1)
        elif draw < 0.68:
            yield chat_row("wish", *wish(rng))
        elif draw < 0.8:
            yield chat_row("smalltalk", *exchange(rng, language, *KINDS))
        else:
            yield chat_row("smalltalk", language, *dialogue(rng, language))


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """Test items of "rewrite"; the rest of small talk has no answer to be met word for word."""
    yield from rewrite.tests(rng, count)
