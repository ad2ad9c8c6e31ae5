"""Sentences with mistakes to be corrected or polished, Korean and English.

In: a random generator. Out: right sentences of the grammar spoiled by one or two typical mistakes (particles, spacing,
spelling, casual speech; tense, article, capital, doubled or misspelt words), and the right sentence (task "rewrite").
"""

import random
import re
from collections.abc import Callable, Iterator

from dodam.sample.conjugation import PAST, SSANG_SIOT, final
from dodam.sample.sentences import Sentence, casual, sentence
from dodam.sample.split import chat_row, plain_question, task_item

TASK = "rewrite"

QUESTIONS = {
    "ko": (
        "이 문장을 다듬어줘: {}",
        "이 문장을 다듬어 주세요: {}",
        "다음 문장을 바르게 고쳐줘: {}",
        "맞춤법을 고쳐 주세요: {}",
        "틀린 곳을 고쳐 줘: {}",
        "{}\n이 문장을 자연스럽게 고쳐줘.",
        "다듬어줘: {}",
    ),
    "en": (
        "Correct this sentence: {}",
        "Fix the mistakes: {}",
        "Please polish this sentence: {}",
        "Rewrite this sentence correctly: {}",
        "{}\nPlease correct this.",
        "Improve this sentence: {}",
    ),
}

SWAPPED = {"은": "는", "는": "은", "을": "를", "를": "을"}
# Spellings that sound the same, or nearly.
MISSPELT = (
    ("거예요", "거에요"),
    ("이에요", "이예요"),
    ("지 않", "지 안"),
    ("싶어", "십어"),
    ("있어", "잇어"),
    ("없어", "업어"),
    ("에서", "애서"),
    ("아요.", "아여."),
    ("어요.", "어여."),
    ("해요.", "헤요."),
    ("주세요", "주새요"),
    ("어제", "어재"),
    ("내일", "네일"),
    ("매일", "메일"),
)
TIMES = ("yesterday", "last ", "this morning")
PRESENT = {past: base for base, past in PAST.items() if base not in ("be", "read", "cut")}

Spoil = Callable[[random.Random, str], str]


def _particle(rng: random.Random, text: str) -> str:
    """책을 -> 책를."""
    places = [found.start() for found in re.finditer(r"(?<=[가-힣])[은는을를](?= )", text)]
    if not places:
        return text
    place = rng.choice(places)
    return text[:place] + SWAPPED[text[place]] + text[place + 1 :]


def _spacing(rng: random.Random, text: str) -> str:
    """One or two spaces are missing."""
    for _ in range(rng.randint(1, 2)):
        places = [found.start() for found in re.finditer(" ", text)]
        if places:
            place = rng.choice(places)
            text = text[:place] + text[place + 1 :]
    return text


def _misspelt(rng: random.Random, text: str) -> str:
    """A syllable as it sounds: 거예요 -> 거에요."""
    known = [(right, wrong) for right, wrong in MISSPELT if right in text]
    return text.replace(*rng.choice(known), 1) if known else text


def _single_siot(rng: random.Random, text: str) -> str:
    """갔어요 -> 갓어요."""
    return re.sub("[가-힣]", lambda found: chr(ord(found[0]) - (final(found[0]) == SSANG_SIOT)), text)


def _chatty(rng: random.Random, text: str) -> str:
    """As one writes to a friend: no particles, no polite ending: 나는 책을 읽었어요. -> 나 책 읽었어"""
    told = re.sub(r"(?<=[가-힣])[은는을를] ", " ", text)
    return casual(told.rstrip(".?")) + ("?" if text.endswith("?") else "")


def _lower(rng: random.Random, text: str) -> str:
    """No capital at the start, no full stop."""
    return text[0].lower() + text[1:].rstrip(".")


def _article(rng: random.Random, text: str) -> str:
    """An apple -> a apple, a book -> an book."""
    return re.sub(r"\b(an|a) ", lambda found: "a " if found[1] == "an" else "an ", text, count=1)


def _doubled(rng: random.Random, text: str) -> str:
    """One word twice."""
    words = text.split(" ")
    place = rng.randrange(len(words) - 1)
    words.insert(place + 1, words[place].lower() if place == 0 else words[place])
    return " ".join(words)


def _misspelt_word(rng: random.Random, text: str) -> str:
    """Two letters inside a longer word change places."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if long:
        place = rng.choice(long)
        word, at = words[place], rng.randrange(1, len(words[place]) - 2)
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def _tense(rng: random.Random, text: str) -> str:
    """I bought a book yesterday. -> I buy a book yesterday."""
    if not any(time in text for time in TIMES):
        return text
    return " ".join(PRESENT.get(word, word) for word in text.split(" "))


SPOILS: dict[str, tuple[Spoil, ...]] = {
    "ko": (_particle, _spacing, _misspelt, _single_siot, _chatty),
    "en": (_lower, _article, _doubled, _misspelt_word, _tense),
}
ALREADY_RIGHT = 0.06
"""Share of questions about a sentence that has no mistake."""


def spoiled(rng: random.Random, language: str, right: str) -> str:
    """`right` with one or two mistakes."""
    told = right
    while told == right:
        for spoil in rng.sample(SPOILS[language], rng.choice((1, 1, 2))):
            told = spoil(rng, told)
    return told


def _question(rng: random.Random, made: Sentence) -> tuple[str, str, str]:
    language = rng.choice(("ko", "en"))
    right = made.korean if language == "ko" else made.english
    told = right if rng.random() < ALREADY_RIGHT else spoiled(rng, language, right)
    return language, rng.choice(QUESTIONS[language]).format(told), right


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: questions with answers."""
    for _ in range(count):
        yield "\n\n".join(plain_question(*_question(rng, sentence(rng))) for _ in range(2))


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations that ask for one correction, task "rewrite"."""
    for _ in range(count):
        yield chat_row(TASK, *_question(rng, sentence(rng)))


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """Test items: sentences that are in no text or chat, right or wrong."""
    seen: set[str] = set()
    while len(seen) < count:
        language, question, answer = _question(rng, sentence(rng, test=True))
        if question not in seen:
            seen.add(question)
            yield task_item(TASK, language, f"{language}-{len(seen)}", answer, "exact", question=question)
