"""Translation between Korean and English: sentence pairs from the grammar of `sentences.py` and set phrases.

In: a random generator. Out: documents of pairs and small diaries, chat rows and test items (task "translation"). A
Korean sentence to translate may be polite, casual or written; an English one is always answered in the polite style.
"""

import random
from collections.abc import Iterator
from dataclasses import replace

from dodam.sample.lexicon import JOBS, SPOT_THINGS, SUBJECTS, VERBS, Pair
from dodam.sample.phrases import PHRASES
from dodam.sample.sentences import Sentence, action, sentence
from dodam.sample.split import chat_row, plain_question, task_item
from dodam.sample.tenses import TOLD, Tense

TASK = "translation"

TO_ENGLISH = (
    "이 문장을 영어로 번역해줘: {}",
    "다음 문장을 영어로 번역해 줘: {}",
    "이 문장을 영어로 번역해 주세요: {}",
    "영어로 번역해줘: {}",
    "영어로 옮겨 주세요: {}",
    '"{}" 이 문장을 영어로 번역해줘.',
    "다음을 영어로 바꿔 줘.\n{}",
    "{}\n이 말을 영어로 어떻게 해요?",
    "영어로: {}",
    "Translate into English: {}",
    "Translate this Korean sentence into English: {}",
)
TO_KOREAN = (
    "Translate into Korean: {}",
    "Translate this sentence into Korean: {}",
    "Please translate into Korean: {}",
    'How do you say "{}" in Korean?',
    "Put this into Korean: {}",
    "Korean: {}",
    "이 문장을 한국어로 번역해줘: {}",
    "다음 문장을 한국어로 번역해 주세요: {}",
    "한국어로 번역해줘: {}",
    "한국어로 옮겨 줘.\n{}",
)
WORD_TO_ENGLISH = ("'{}' 이 말은 영어로 뭐예요?", "{}, 영어로 뭐라고 해요?", "이 단어를 영어로 번역해줘: {}")
WORD_TO_KOREAN = ('What is "{}" in Korean?', "Translate this word into Korean: {}", "'{}' 이 말은 한국어로 뭐예요?")

THEN = (("그리고", "Then"), ("그다음에", "After that"), ("나중에", "Later"))
ENDS = (
    ("정말 즐거운 하루였어요.", "It was a really fun day."),
    ("조금 피곤했지만 행복했어요.", "I was a little tired but happy."),
    ("집에 와서 일찍 잤어요.", "I came home and went to bed early."),
    ("내일도 좋은 하루가 되면 좋겠어요.", "I hope tomorrow is a good day too."),
    ("오래 기억하고 싶은 날이에요.", "It is a day I want to remember."),
    ("할 일이 많아서 바쁜 날이었어요.", "It was a busy day because there was a lot to do."),
)
DIARY_TITLES = (("오늘의 일기", "My diary"), ("짧은 일기", "A short diary"), ("어제 한 일", "What I did yesterday"))
FORMS = ("한국어: {0}\nEnglish: {1}", "English: {1}\n한국어: {0}", "{0}\n= {1}", "{1} = {0}")
NO_PAIR_SHARE = 0.25
"""Share of documents that are diaries or questions, not lists of pairs."""


def _words() -> tuple[Pair, ...]:
    """Single words and their translations, each once."""
    found: dict[str, str] = {}
    for verb in VERBS:
        for korean, english in verb.objects:
            found.setdefault(korean, english)
    for korean, english in (*SPOT_THINGS, *JOBS):
        found.setdefault(korean, english)
    for subject in SUBJECTS[5:]:
        found.setdefault(subject.korean, subject.english)
    return tuple(
        (korean, english.removeprefix("a ").removeprefix("an ").removeprefix("the "))
        for korean, english in found.items()
    )


WORDS = _words()


def _asked(rng: random.Random, pair: Sentence) -> tuple[str, str, str]:
    """Language of the sentence, question and answer, in one direction or the other."""
    if rng.random() < 0.5:
        korean = rng.choice(pair.others) if pair.others and rng.random() < 0.3 else pair.korean
        return "ko", rng.choice(TO_ENGLISH).format(korean), pair.english
    return "en", rng.choice(TO_KOREAN).format(pair.english), pair.korean


def _question(rng: random.Random) -> tuple[str, str, str]:
    """A question and its answer: a sentence, sometimes a set phrase or a word."""
    draw = rng.random()
    if draw < 0.86:
        return _asked(rng, sentence(rng))
    if draw < 0.93:
        return _asked(rng, Sentence(*rng.choice(PHRASES), key=""))
    korean, english = rng.choice(WORDS)
    if rng.random() < 0.5:
        return "ko", rng.choice(WORD_TO_ENGLISH).format(korean), english
    return "en", rng.choice(WORD_TO_KOREAN).format(english), korean


def _pair_list(rng: random.Random) -> str:
    """A list of pairs in one of several layouts; other Korean wordings only where the Korean comes first."""
    layout = rng.choice(FORMS)
    korean_first = layout.index("{0}") < layout.index("{1}")
    rows = []
    for _ in range(rng.randint(3, 6)):
        draw, made = rng.random(), sentence(rng)
        if draw < 0.16 and made.others and korean_first:
            rows.append(layout.format(rng.choice(made.others), made.english))
        elif draw < 0.8:
            rows.append(layout.format(made.korean, made.english))
        else:
            rows.append(layout.format(*rng.choice(PHRASES if draw < 0.9 else WORDS)))
    return ("\n\n" if "\n" in layout else "\n").join(rows)


def _said_by_me(rng: random.Random, tense: Tense) -> Sentence:
    while True:
        made = action(rng, SUBJECTS[0], tense)
        if not made.held_out:
            return made


def _diary(rng: random.Random) -> str:
    """A few things I did, in one language or with the translation below."""
    told = [_said_by_me(rng, TOLD["past"])]
    told += [_said_by_me(rng, replace(TOLD["past"], time="")) for _ in range(rng.randint(1, 3))]
    joints = rng.sample(THEN, len(told) - 1)
    title, end = rng.choice(DIARY_TITLES), rng.choice(ENDS)
    korean, english = told[0].korean, told[0].english
    for made, (then, then_english) in zip(told[1:], joints, strict=True):
        korean += f" {then} {made.korean.removeprefix('나는 ')}"
        english += f" {then_english}, {made.english}"
    korean, english = f"{korean} {end[0]}", f"{english} {end[1]}"
    return rng.choice((f"{title[0]}\n{korean}", f"{title[1]}\n{english}", f"한국어: {korean}\nEnglish: {english}"))


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: lists of pairs, questions with answers, diaries."""
    for _ in range(count):
        draw = rng.random()
        if draw > NO_PAIR_SHARE:
            yield _pair_list(rng)
        elif draw < 0.1:
            yield _diary(rng)
        else:
            yield "\n\n".join(plain_question(*_question(rng)) for _ in range(rng.randint(2, 3)))


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations that ask for one translation, task "translation"."""
    for _ in range(count):
        yield chat_row(TASK, *_question(rng))


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """Test items: sentences whose combination of subject, verb phrase and tense is in no text or chat."""
    seen: set[str] = set()
    while len(seen) < count:
        made = sentence(rng, test=True)
        language, question, answer = _asked(rng, made)
        if made.english not in seen:
            seen.add(made.english)
            yield task_item(TASK, language, f"{language}-{len(seen)}", answer, "chrf", question=question)
