"""Sentiment of reviews of restaurants, films, products and shops, Korean and English; `spam.py` rides along.

In: a random generator. Out: reviews joined from judgements of things (with negation, contrast, turns of mind), whose
label follows from how they are joined: the last judgement counts. Labels are 긍정 / 부정, positive / negative.
"""

import random
from collections.abc import Iterator

from dodam.sample import spam
from dodam.sample.opinions import FRAMES, SHELVES, Shelf
from dodam.sample.sentences import capital
from dodam.sample.split import chat_row, held_out, plain_question, task_item

TASK = "sentiment"
HELD_OUT = 0.08
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


def _judgement(rng: random.Random, shelf: Shelf, good: bool, used: str = "") -> str:
    thing = rng.choice([thing for thing in shelf.things if thing != used])
    return f"{thing} {rng.choice(shelf.good if good else shelf.bad)}"


def _review(rng: random.Random, language: str, good: bool) -> tuple[str, str]:
    """A review whose last judgement is `good` or bad, and the key of its judgements."""
    shelf = rng.choice(SHELVES[language])
    last = _judgement(rng, shelf, good)
    ending = rng.choice(KOREAN_ENDINGS) if language == "ko" else ""
    first, pattern, draw = "", "", rng.random()
    if draw < 0.35:
        pattern = rng.choice(ALONE[language])
    elif draw < 0.45:
        pattern = EXPECTED[language][good]
    else:
        same, pattern = rng.choice(JOINED[language])
        beside = rng.choice([other for other in SHELVES[language] if other.domain == shelf.domain])
        first = _judgement(rng, beside, good == same, last.split(" was ")[0])
    text = pattern.format(a=first, a2=first + ending, A=capital(first or " "), b=last + ending)
    text = capital(text)
    frame, draw = FRAMES[shelf.domain], rng.random()
    if draw < 0.25:
        text = f"{rng.choice(frame.openings)} {text}"
    elif draw < 0.5:
        text = f"{text} {rng.choice(frame.good if good else frame.bad)}"
    return text, f"{first}|{last}"
