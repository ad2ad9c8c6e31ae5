"""A grammar of Korean sentences and their English translations, word order fixed on each side.

In: a random generator. Out: `Sentence` records: polite Korean (해요체), English, other Korean wordings of the same
meaning, and the key by which the sentence is held out for the tests.
"""

import random
from dataclasses import dataclass

from dodam.sample import conjugation as form
from dodam.sample.korean import josa, native_number
from dodam.sample.lexicon import (
    ADJECTIVES,
    CITIES,
    COUNTED,
    FEELINGS,
    JOBS,
    LIKED,
    NUMBERS,
    SPOT_THINGS,
    SPOTS,
    SUBJECTS,
    TIMES,
    UNASKED,
    VERBS,
    WEATHER,
    YEARLY,
    YEARS,
    Pair,
    Subject,
    Verb,
)
from dodam.sample.split import held_out
from dodam.sample.tenses import (
    FIRST,
    NO_ONE,
    ORDERS,
    QUESTIONS,
    SAME_PAST,
    STATEMENTS,
    TOLD,
    WISHES,
    Tense,
    be,
    do,
    present,
)

HELD_OUT = 0.07
"""Share of sentence keys kept for the tests."""


CASUAL = (("에요", "야"), ("예요", "야"), ("주세요", "줘"), ("마세요", "마"), ("요", ""))
"""Polite endings and what friends say, the first that fits: 이에요 -> 이야, 아니에요 -> 아니야."""


@dataclass(frozen=True)
class Sentence:
    """One meaning in two languages; `others` are Korean wordings that translate to the same English."""

    korean: str
    english: str
    key: str
    others: tuple[str, ...] = ()

    @property
    def held_out(self) -> bool:
        """Whether the sentence is for the tests only."""
        return held_out(f"sentence|{self.key}", HELD_OUT)


def joined(*parts: str) -> str:
    """The parts that are not empty, with single spaces."""
    return " ".join(part for part in parts if part)


def capital(text: str) -> str:
    """`text` with a capital first letter."""
    return text[0].upper() + text[1:]


def casual(polite: str) -> str:
    """The same among friends: 갔어요 -> 갔어, 갈 거예요 -> 갈 거야, 의사예요 -> 의사야."""
    for ending, friendly in CASUAL:
        if polite.endswith(ending):
            return polite.removesuffix(ending) + friendly
    return polite


def _topic(subject: Subject) -> str:
    return josa(subject.korean, "은/는") if subject.korean else ""


def _sentence(subject: Subject, korean: str, english: str, key: str, *, written: str = "", mark: str = ".") -> Sentence:
    """Joins a subject and its predicate; adds the casual, the written and the humble (저는) wording."""
    topic = _topic(subject)
    others = [casual(korean)] if korean.endswith("요") else []
    if written:
        others.append(written)
    wordings = [joined(topic, text) + mark for text in (korean, *others)]
    if subject.korean == "나":
        wordings += ["저는 " + korean + mark, korean + mark]
    return Sentence(wordings[0], capital(english) + mark, key, tuple(wordings[1:]))


def _object(rng: random.Random, verb: Verb) -> Pair:
    if not verb.objects:
        return "", ""
    korean, english = rng.choice(verb.objects)
    return josa(korean, verb.particle) if "/" in verb.particle else korean + verb.particle, english


def _time(rng: random.Random, tense: Tense, *verbs: Verb) -> Pair:
    """A time that suits the tense, often left out; never where only the time tells the English tense ("I read")."""
    unclear = any(verb.english.split()[0] in SAME_PAST for verb in verbs)
    if not tense.time or (rng.random() > 0.7 and not unclear):
        return "", ""
    years = YEARS.get(tense.time, ()) if all(verb.stem in YEARLY for verb in verbs) else ()
    return rng.choice(TIMES[tense.time] + years)


def _place(rng: random.Random, verb: Verb) -> Pair:
    """A place that suits the verb, often left out."""
    return rng.choice(verb.places) if verb.places and rng.random() < (0.4 if verb.objects else 0.75) else ("", "")


def action(rng: random.Random, subject: Subject | None = None, tense: Tense | None = None) -> Sentence:
    """Someone does something somewhere, sometime: told, asked, wished or requested."""
    verb = rng.choice(VERBS)
    draw = rng.random()
    if tense is None:
        tense = rng.choice(STATEMENTS if draw < 0.72 else QUESTIONS if draw < 0.88 else ORDERS)
    if tense in ORDERS:
        verb = verb if verb.stem not in UNASKED else VERBS[0]
        subject = NO_ONE
    elif tense in QUESTIONS:
        subject = NO_ONE if rng.random() < 0.5 else rng.choice(SUBJECTS[1:])
    else:
        subject = subject or rng.choice(SUBJECTS)
    if tense.name in WISHES:
        tense = WISHES["wish" if subject.english in FIRST else "wishes"]
    thing, thing_english = _object(rng, verb)
    time, place = _time(rng, tense, verb), _place(rng, verb)
    phrase = verb.english.format(thing_english)
    start = joined(time[0], place[0], thing)
    mark = "?" if tense in QUESTIONS else "."
    return _sentence(
        subject,
        joined(start, tense.polite(verb)),
        joined(tense.english(subject, phrase), place[1], time[1]),
        f"{subject.english}|{phrase}|{tense.name}",
        written=joined(start, tense.written(verb)) if mark == "." else "",
        mark=mark,
    )


def question_word(rng: random.Random) -> Sentence:
    """Where, when, why, how or with what someone did something."""
    subject = NO_ONE if rng.random() < 0.5 else rng.choice(SUBJECTS[1:])
    verb = rng.choice([verb for verb in VERBS if verb.places and verb.particle != "과/와" and verb.stem != "자"])
    thing, thing_english = _object(rng, verb)
    phrase = verb.english.format(thing_english)
    word, english = rng.choice((("어디에서", "where"), ("언제", "when"), ("왜", "why"), ("누구와 함께", "who")))
    tense = rng.choice(QUESTIONS[:3])
    ending = " with" if english == "who" else ""
    return _sentence(
        subject,
        joined(word, thing, tense.polite(verb)),
        f"{english} {tense.english(subject, phrase)}{ending}",
        f"{subject.english}|{phrase}|{english} {tense.name}",
        mark="?",
    )


def two_actions(rng: random.Random) -> Sentence:
    """One subject does one thing and then another."""
    first, second = rng.sample([verb for verb in VERBS if verb.objects], 2)
    subject = rng.choice(SUBJECTS)
    tense = TOLD[rng.choice(("past", "past", "future", "present"))]
    time = _time(rng, tense, first, second)
    (thing, thing_english), (other, other_english) = _object(rng, first), _object(rng, second)
    if other == thing:
        return two_actions(rng)
    phrases = first.english.format(thing_english), second.english.format(other_english)
    inflected = {"past": form.english_past, "present": lambda p: present(subject, p)}.get(tense.name, lambda p: p)
    start = joined(time[0], thing, first.stem + "고", other)
    return _sentence(
        subject,
        joined(start, tense.polite(second)),
        joined(tense.english(subject, phrases[0]), "and", inflected(phrases[1]), time[1]),
        f"{subject.english}|{phrases[0]}|{phrases[1]}|{tense.name}",
        written=joined(start, tense.written(second)),
    )


def quality(rng: random.Random) -> Sentence:
    """This or that thing is, was, is not or is very something."""
    adjective = rng.choice(ADJECTIVES)
    noun, english = rng.choice(adjective.things)
    this, this_english = rng.choice((("이", "this"), ("저", "that")))
    thing = Subject(f"{this} {noun}", f"{this_english} {english}", "3")
    name, ending, written, wording, mark = rng.choice(
        (
            ("is", adjective.linked + "요", adjective.stem + "다", "{} is {}", "."),
            (
                "was",
                form.past_stem(adjective.linked) + "어요",
                form.past_stem(adjective.linked) + "다",
                "{} was {}",
                ".",
            ),
            ("is not", adjective.stem + "지 않아요", adjective.stem + "지 않다", "{} is not {}", "."),
            ("is very", f"아주 {adjective.linked}요", f"아주 {adjective.stem}다", "{} is very {}", "."),
            ("is it", adjective.linked + "요", "", "is {} {}", "?"),
        )
    )
    text = wording.format(thing.english, adjective.english)
    return _sentence(thing, ending, text, f"{english}|{adjective.english}|{name}", written=written, mark=mark)


def feeling(rng: random.Random) -> Sentence:
    """Someone is or was happy, tired, busy."""
    (korean, english), subject = rng.choice(FEELINGS), rng.choice(SUBJECTS)
    stem, linked = korean.split()
    past = rng.random() < 0.4
    time = ("어제", "yesterday") if past else rng.choice((("오늘", "today"), ("지금", "now")))
    if rng.random() < 0.3:
        ending, written = stem + ("지 않았어요" if past else "지 않아요"), stem + ("지 않았다" if past else "지 않다")
        text, name = f"{subject.english} {be(subject, past)} not {english}", f"not {past}"
    else:
        ending = form.past_stem(linked) + "어요" if past else linked + "요"
        written = form.past_stem(linked) + "다" if past else stem + "다"
        text, name = f"{subject.english} {be(subject, past)} {english}", f"{past}"
    return _sentence(
        subject, f"{time[0]} {ending}", f"{text} {time[1]}", f"{subject.english}|{english}|{name}",
        written=f"{time[0]} {written}",
    )  # fmt: skip


def job(rng: random.Random) -> Sentence:
    """What someone is, is not or wants to be."""
    korean, english = rng.choice(JOBS)
    person = rng.choice([one for one in SUBJECTS if one.person in "13" and not one.english.startswith("the ")])
    wish = "되고 싶어요" if person.english == "I" else "되고 싶어 해요"
    name, ending, text = rng.choice(
        (
            ("is", josa(korean, "이에요/예요"), f"{be(person)} {english}"),
            ("is not", josa(korean, "이/가") + " 아니에요", f"{be(person)} not {english}"),
            ("wish", josa(korean, "이/가") + " " + wish, f"{present(person, 'want')} to be {english}"),
            ("was", josa(korean, "이었/였") + "어요", f"{be(person, True)} {english}"),
        )
    )
    return _sentence(person, ending, f"{person.english} {text}", f"{person.english}|{english}|{name}")


def existence(rng: random.Random) -> Sentence:
    """There is, was or is no such thing in a place."""
    (spot, spot_english), (thing, thing_english) = rng.choice(SPOTS), rng.choice(SPOT_THINGS)
    bare = thing_english.split()[1]
    name, korean, english, mark = rng.choice(
        (
            ("is", f"{spot} {josa(thing, '이/가')} 있어요", f"there is {thing_english} {spot_english}", "."),
            ("was", f"{spot} {josa(thing, '이/가')} 있었어요", f"there was {thing_english} {spot_english}", "."),
            ("no", f"{spot} {josa(thing, '이/가')} 없어요", f"there is no {bare} {spot_english}", "."),
            ("the", f"{josa(thing, '은/는')} {spot} 있어요", f"the {bare} is {spot_english}", "."),
            ("is?", f"{spot} {josa(thing, '이/가')} 있어요", f"is there {thing_english} {spot_english}", "?"),
        )
    )
    return _sentence(NO_ONE, korean, english, f"{spot_english}|{bare}|{name}", mark=mark)


def weather(rng: random.Random) -> Sentence:
    """The weather in a city, today, yesterday or tomorrow."""
    (korean, english), (city, city_english) = rng.choice(WEATHER), rng.choice(CITIES)
    stem, linked = korean.split()
    day, day_english, ending, verb = rng.choice(
        (
            ("오늘", "today", linked + "요", "is"),
            ("어제", "yesterday", form.past_stem(linked) + "어요", "was"),
            ("내일", "tomorrow", form.future_stem(stem) + " 거예요", "will be"),
        )
    )
    text = f"it {verb} {english} in {city_english} {day_english}"
    return _sentence(NO_ONE, f"{day} {josa(city, '은/는')} {ending}", text, f"{city}|{english}|{day_english}")


def liking(rng: random.Random) -> Sentence:
    """What someone likes, does not like, or whether they do."""
    (korean, english), subject = rng.choice(LIKED), rng.choice((*SUBJECTS, NO_ONE, NO_ONE, NO_ONE))
    thing = josa(korean, "을/를")
    if subject is NO_ONE:
        return _sentence(subject, f"{thing} 좋아해요", f"do you like {english}", f"you|{english}|like?", mark="?")
    name, ending, written, text = rng.choice(
        (
            ("like", "좋아해요", "좋아한다", present(subject, "like")),
            ("not like", "좋아하지 않아요", "좋아하지 않는다", f"{do(subject)} not like"),
            ("really like", "정말 좋아해요", "정말 좋아한다", "really " + present(subject, "like")),
        )
    )
    return _sentence(
        subject, f"{thing} {ending}", f"{subject.english} {text} {english}",
        f"{subject.english}|{english}|{name}", written=f"{thing} {written}",
    )  # fmt: skip


def counting(rng: random.Random) -> Sentence:
    """Someone bought, sold or received some number of things."""
    subject, number = rng.choice(SUBJECTS), rng.randint(2, 10)
    noun, counter, english = rng.choice(COUNTED)
    verb, past = rng.choice((("샀", "bought"), ("팔았", "sold"), ("받았", "received"), ("찾았", "found")))
    korean = f"{noun} {native_number(number)} {josa(counter, '을/를')} {verb}"
    text = f"{subject.english} {past} {NUMBERS[number - 2]} {english}"
    return _sentence(
        subject, korean + "어요", text, f"{subject.english}|{number} {english}|{past}", written=korean + "다"
    )


KINDS = (action, two_actions, question_word, quality, feeling, job, existence, weather, liking, counting)
WEIGHTS = (50, 8, 6, 8, 6, 4, 6, 4, 5, 5)


def sentence(rng: random.Random, *, test: bool = False) -> Sentence:
    """A sentence of any kind; `test` asks for one that is held out, otherwise none is."""
    while True:
        made = rng.choices(KINDS, WEIGHTS)[0](rng)
        if made.held_out == test:
            return made
