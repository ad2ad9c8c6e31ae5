"""Sentiment of reviews of restaurants, films, products and shops, Korean and English; `spam.py` rides along.

In: a random generator. Out: reviews joined from judgements of things (with negation, contrast, turns of mind), whose
label follows from how they are joined: the last judgement counts. Labels are 긍정 / 부정, positive / negative.
"""

import random
from collections.abc import Iterator

from dodam.sample import spam
from dodam.sample.korean import josa
from dodam.sample.opinions import FRAMES, SHELVES
from dodam.sample.sentences import capital
from dodam.sample.split import chat_row, held_out, plain_question, task_item

TASK = "sentiment"
HELD_OUT = 0.06
"""Share of judgements of one thing, and of combinations of two judgements, that only the tests make."""
LABELS = {"ko": {True: "긍정", False: "부정"}, "en": {True: "positive", False: "negative"}}

QUESTIONS = {
    "ko": (
        "이 리뷰는 긍정인가요, 부정인가요? {}",
        "다음 리뷰가 긍정인지 부정인지 말해 줘: {}",
        "이 문장의 감정을 긍정 또는 부정으로 답해 주세요: {}",
        "다음 글의 감정을 분류해줘 (긍정/부정): {}",
        "{}\n이 후기는 긍정이야, 부정이야?",
        "리뷰: {}\n긍정 또는 부정으로 답하세요.",
        "감정 분석: {}",
    ),
    "en": (
        "Is this review positive or negative? {}",
        "Classify the sentiment as positive or negative: {}",
        "Tell me if this review is positive or negative: {}",
        "{}\nIs this positive or negative?",
        "Review: {}\nAnswer positive or negative.",
        "What is the sentiment of this review? {}",
        "Sentiment: {}",
    ),
}
FORMS = {
    "ko": ("리뷰: {}\n감정: {}", "후기: {}\n평가: {}", "{} -> {}"),
    "en": ("Review: {}\nSentiment: {}", "Comment: {}\nOpinion: {}", "{} -> {}"),
}
KOREAN_ENDINGS = ("어요", "어요", "다", "습니다")
# How two judgements are joined: same or opposite, Korean pattern, English pattern. {a} and {b} are judgements.
JOINED = {
    "ko": (
        (True, "{a}고 {b}."),
        (True, "{b}. {a2}."),
        (False, "{a}지만 {b}."),
        (False, "처음에는 {a}지만 결국 {b}."),
        (False, "{a}는데 전체적으로 {b}."),
        (False, "{a2}. 하지만 {b}."),
    ),
    "en": (
        (True, "{a} and {b}."),
        (True, "{b}. {A}."),
        (False, "{a}, but {b}."),
        (False, "at first {a}, but in the end {b}."),
        (False, "although {a}, {b}."),
        (False, "{a}. However, {b}."),
    ),
}
ALONE = {
    "ko": ("{b}.", "{b}.", "솔직히 {b}.", "전체적으로 {b}.", "역시 {b}."),
    "en": ("{b}.", "{b}.", "honestly, {b}.", "overall, {b}.", "I think {b}."),
}
EXPECTED = {
    "ko": {True: "기대하지 않았는데 {b}.", False: "기대했는데 {b}."},
    "en": {True: "I did not expect much, but {b}.", False: "I expected a lot, but {b}."},
}


def _said(rng: random.Random, language: str, thing: str, judged: str) -> str:
    """A judgement of a thing: "음식은 맛있었", "the food was good"."""
    if language == "ko":
        thing = josa(thing, rng.choice(("이/가", "이/가", "은/는")))
    return f"{thing} {judged}"


def _review(rng: random.Random, language: str, good: bool) -> tuple[str, bool]:
    """A review whose last judgement is `good` or bad, and whether it is for the tests only."""
    shelf = rng.choice(SHELVES[language])
    thing = rng.choice(shelf.things)
    judged = rng.choice(shelf.good if good else shelf.bad)
    frame, framed = FRAMES[shelf.domain], rng.random()
    ending = "" if language == "en" else "어요" if framed < 0.5 else rng.choice(KOREAN_ENDINGS)
    last, first, keys, draw = _said(rng, language, thing, judged), "", [f"{thing} {judged}"], rng.random()
    if draw < 0.35:
        pattern = rng.choice(ALONE[language])
    elif draw < 0.45:
        pattern = EXPECTED[language][good]
    else:
        same, pattern = rng.choice(JOINED[language])
        beside = rng.choice([other for other in SHELVES[language] if other.domain == shelf.domain])
        other = rng.choice([other for other in beside.things if other != thing])
        judged = rng.choice(beside.good if good == same else beside.bad)
        first, keys = _said(rng, language, other, judged), [f"{other} {judged}", *keys]
    text = capital(pattern.format(a=first, a2=first + ending, A=capital(first or " "), b=last + ending))
    if framed < 0.25:
        text = f"{rng.choice(frame.openings)} {text}"
    elif framed < 0.5:
        text = f"{text} {rng.choice(frame.good if good else frame.bad)}"
    return text, any(held_out(f"review|{key}", HELD_OUT) for key in (*keys, "|".join(keys)))


def review(rng: random.Random, language: str, *, test: bool = False) -> tuple[str, str]:
    """A review and its label; `test` asks for judgements that are held out, otherwise none is."""
    good = rng.random() < 0.5
    while True:
        text, held = _review(rng, language, good)
        if held == test:
            return text, LABELS[language][good]


def samples(rng: random.Random, count: int, language: str) -> Iterator[tuple[str, str]]:
    """Reviews with their labels, for runs of examples; none is in the tests."""
    for _ in range(count):
        yield review(rng, language)


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: runs of labelled reviews and of questions, reviews alone; one in six about spam."""
    for _ in range(count):
        language, draw = rng.choice(("ko", "en")), rng.random()
        if draw < 0.16:
            yield from spam.text(rng, 1)
        elif draw < 0.6:
            layout = rng.choice(FORMS[language])
            rows = [layout.format(*review(rng, language)) for _ in range(rng.randint(3, 4))]
            yield ("\n" if "->" in layout else "\n\n").join(rows)
        elif draw < 0.9:
            yield "\n\n".join(plain_question(language, *_question(rng, language)) for _ in range(2))
        else:
            yield " ".join(review(rng, language)[0] for _ in range(2))


def _question(rng: random.Random, language: str, *, test: bool = False) -> tuple[str, str]:
    told, label = review(rng, language, test=test)
    return rng.choice(QUESTIONS[language]).format(told), label


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations that ask for a label, tasks "sentiment" and, one in four, "spam"."""
    for _ in range(count):
        if rng.random() < 0.25:
            yield from spam.chat(rng, 1)
        else:
            language = rng.choice(("ko", "en"))
            yield chat_row(TASK, language, *_question(rng, language))


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """Test items: reviews with a judgement, or a pair of judgements, that is in no text or chat."""
    seen: set[str] = set()
    while len(seen) < count:
        language = ("ko", "en")[len(seen) % 2]
        question, answer = _question(rng, language, test=True)
        if question not in seen:
            seen.add(question)
            yield task_item(TASK, language, f"{language}-{len(seen)}", answer, "exact", question=question)
