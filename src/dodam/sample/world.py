"""The bundled world in words: encyclopaedia, diaries, lists, stories and questions about its entities.

In: a random generator and a count. Out: `text` (documents), `chat` (conversations) and `tests` of two tasks. `facts`
completes a sentence of the text that is cut before its value (recall, in phrasings that were told). `unasked` asks
about the pairs (entity, attribute) that every kind of document tells and no question of the training data asks.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dodam.sample.endings import STYLES, styled
from dodam.sample.entities import KINDS, Entity, told_in
from dodam.sample.korean import fill, particle
from dodam.sample.phrasebook import columns, lines, listed, sections
from dodam.sample.split import chat_row, plain_question, task_item

LANGUAGES = ("ko", "en")
TOLD = {language: sections(f"world_{language}.txt") for language in LANGUAGES}
FRAMES = {language: sections(f"frames_{language}.txt") for language in LANGUAGES}
SUBJECTS = {"ko": {"film": "영화 '{name}'"}, "en": {"film": "the film {name}", "animal": "the {name}"}}
"""How a sentence that fits every kind names an entity; `{name}` for the kinds not listed."""

QUESTIONS_PER_UNASKED = 3
"""Phrasings in which each unasked pair is asked by the tests."""


@dataclass(frozen=True)
class Phrasing:
    """How one attribute of one kind is told and asked in one language."""

    label: str
    of: str
    statements: tuple[str, ...]
    completions: tuple[str, ...]
    questions: tuple[str, ...]


@lru_cache(maxsize=1)
def phrasings() -> dict[tuple[str, str, str], Phrasing]:
    """By (language, kind, attribute)."""
    found = {}
    for language, told in TOLD.items():
        for kind in KINDS:
            generic = told["generic"].replace("{name}", SUBJECTS[language].get(kind, "{name}"))
            for block in told[kind].removeprefix("# ").split("\n# "):
                head, own = block.split("\n", 1)
                attribute, label, wh = (word.replace("_", " ") for word in head.split())
                found[language, kind, attribute] = _phrasing(label, wh, f"{own}\n{generic}")
    return found


def _phrasing(label: str, wh: str, sentences: str) -> Phrasing:
    of = "{이/가}" if label.startswith("+") else "의"
    label = label.removeprefix("+")
    sentences = sentences.replace("{of}", of).replace("{label}", label).replace("{wh}", wh)
    completions = tuple(line[2:] for line in lines(sentences) if line.startswith("> "))
    questions = tuple(line[2:] for line in lines(sentences) if line.startswith("? "))
    statements = completions + tuple(line for line in lines(sentences) if line[:2] not in ("> ", "? "))
    return Phrasing(label, of, statements, completions, questions)


def ask(entity: Entity, attribute: str, language: str, phrase: str) -> tuple[str, str]:
    """A question in the wording `phrase`, and its answer: the bare value."""
    question = fill(phrase, {"name": entity.names[language]})
    return question, entity.facts[attribute][language]


def question(rng: random.Random, entity: Entity, language: str) -> tuple[str, str]:
    """A question about one of the asked attributes of `entity`, and its answer."""
    attribute = rng.choice(entity.asked)
    return ask(entity, attribute, language, rng.choice(phrasings()[language, entity.kind, attribute].questions))


class Voice:
    """One document's language and level of speech."""

    def __init__(self, rng: random.Random, language: str, style: str = "") -> None:
        self.rng = rng
        self.language = language
        self.style = style or (rng.choice(STYLES) if language == "ko" else "")

    def frame(self, section: str) -> str:
        """One of the lines of a section of the frames."""
        return self.rng.choice(lines(FRAMES[self.language][section]))

    def say(self, template: str, slots: dict[str, str]) -> str:
        """A sentence in this voice."""
        if self.language == "ko":
            return fill(styled(template, self.style), slots)
        sentence = fill(template, slots)
        return sentence[0].upper() + sentence[1:]

    def subject(self, entity: Entity) -> str:
        """How a sentence that fits every kind names `entity`."""
        name = {"name": entity.names[self.language]}
        return fill(SUBJECTS[self.language].get(entity.kind, "{name}"), name)

    def tell(self, entity: Entity, attribute: str) -> str:
        """A sentence that states one fact."""
        phrasing = phrasings()[self.language, entity.kind, attribute]
        slots = {"name": entity.names[self.language], "value": entity.facts[attribute][self.language]}
        return self.say(self.rng.choice(phrasing.statements), slots)

    def told(self, entity: Entity, least: int, most: int) -> list[str]:
        """Between `least` and `most` facts of `entity` in random order, each in one sentence."""
        attributes = self.rng.sample(list(entity.facts), self.rng.randint(least, most))
        return [self.tell(entity, attribute) for attribute in attributes]

    def slots(self, entity: Entity, attribute: str, suffix: str = "") -> dict[str, str]:
        """The slots name, of, label and value, each followed by `suffix`."""
        phrasing, subject = phrasings()[self.language, entity.kind, attribute], self.subject(entity)
        found = {"name": subject, "label": phrasing.label, "value": entity.facts[attribute][self.language]}
        found["of"] = "의" if phrasing.of == "의" else particle(subject, "이/가")
        return {key + suffix: value for key, value in found.items()}


def entry(voice: Voice, entity: Entity) -> str:
    """An encyclopaedia entry: the facts in random order, often under the name."""
    facts = " ".join(voice.told(entity, 2, 5))
    return f"{entity.names[voice.language]}\n{facts}" if voice.rng.random() < 0.3 else facts


def card(voice: Voice, entity: Entity) -> str:
    """An information box: one `label: value` a line."""
    name = "이름" if voice.language == "ko" else "name"
    rows = [f"{name}: {entity.names[voice.language]}"]
    for attribute in voice.rng.sample(list(entity.facts), voice.rng.randint(3, 5)):
        slots = voice.slots(entity, attribute)
        rows.append(f"{slots['label']}: {slots['value']}")
    return "\n".join(row[0].upper() + row[1:] for row in rows)


def framed(voice: Voice, entity: Entity) -> str:
    """A note, letter or diary page about an entity."""
    slots = {"name": voice.subject(entity)}
    opening = voice.say(voice.frame("openings"), slots)
    ending = voice.say(voice.frame("endings"), slots)
    return " ".join([opening, *voice.told(entity, 2, 4), ending])


def dialogue(voice: Voice, entity: Entity) -> str:
    """Two people talk about an entity; nothing is asked about one attribute."""
    voice = Voice(voice.rng, voice.language, STYLES[0])
    first, second = voice.rng.sample(listed(FRAMES[voice.language]["speakers"]), 2)
    said = voice.rng.choice(columns(FRAMES[voice.language]["dialogues"]))
    asked, replied, asked_again, replied_again = (voice.say(line, {"name": voice.subject(entity)}) for line in said)
    facts = voice.told(entity, 2, 4)
    turns = (asked, f"{replied} {facts[0]}", asked_again, " ".join([replied_again, *facts[1:]]))
    return "\n".join(f"{(first, second)[index % 2]}: {turn}" for index, turn in enumerate(turns))


def pairs(voice: Voice, entity: Entity) -> str:
    """The entity beside others of its kind, one attribute at a time."""
    others = [other for other in told_in(voice.language, entity.kind) if other is not entity]
    sentences = []
    for other in voice.rng.sample(others, voice.rng.randint(1, 3)):
        attribute = voice.rng.choice(list(entity.facts))
        slots = voice.slots(entity, attribute) | voice.slots(other, attribute, "2")
        sentences.append(voice.say(voice.frame("pairs"), slots))
    return " ".join(sentences)


def joints(voice: Voice, entity: Entity) -> str:
    """Two facts in one sentence, about this and one or two further entities."""
    sentences = []
    for each in [entity, *voice.rng.sample(told_in(voice.language), voice.rng.randint(1, 2))]:
        first, second = voice.rng.sample(list(each.facts), 2)
        slots = voice.slots(each, first) | voice.slots(each, second, "2")
        sentences.append(voice.say(voice.frame("joints"), slots))
    return " ".join(sentences)


def listing(voice: Voice, entity: Entity) -> str:
    """One attribute of several entities as a list."""
    attribute = voice.rng.choice(list(entity.facts))
    label = phrasings()[voice.language, entity.kind, attribute].label
    rows = [voice.say(voice.frame("headings"), {"label": label})]
    for each in voice.rng.sample(told_in(voice.language, entity.kind), voice.rng.randint(4, 8)):
        rows.append(f"- {each.names[voice.language]}: {each.facts[attribute][voice.language]}")
    return "\n".join(rows)


def story(voice: Voice, entity: Entity) -> str:
    """A little story with all five facts."""
    voice = Voice(voice.rng, voice.language, voice.style or STYLES[0])
    values = {attribute: fact[voice.language] for attribute, fact in entity.facts.items()}
    slots = values | {"name": entity.names[voice.language]}
    return voice.say(voice.frame(f"story of a {entity.kind}"), slots)


def questions(voice: Voice, entity: Entity) -> str:
    """A run of one to eight plain questions: about this entity, its kind, or any."""
    rng, language = voice.rng, voice.language
    pool = rng.choice(([entity], told_in(language, entity.kind), told_in(language)))
    asked = [question(rng, rng.choice(pool), language) for _ in range(rng.randint(1, 8))]
    return "\n\n".join(plain_question(language, *pair) for pair in dict.fromkeys(asked))


DOCUMENTS = (
    (entry, 30),
    (card, 8),
    (framed, 14),
    (dialogue, 8),
    (pairs, 8),
    (joints, 6),
    (listing, 4),
    (story, 6),
    (questions, 24),
)
"""Kinds of documents and how often each is written."""


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Documents about the world, half Korean, half English."""
    makers = [maker for maker, _ in DOCUMENTS]
    weights = [weight for _, weight in DOCUMENTS]
    for maker in rng.choices(makers, weights, k=count):
        language = rng.choice(LANGUAGES)
        yield maker(Voice(rng, language), rng.choice(told_in(language)))


def explain(rng: random.Random, entity: Entity, language: str) -> tuple[str, str]:
    """A request for an explanation; the answer tells two or three of the asked attributes."""
    voice = Voice(rng, language, rng.choice(STYLES[:2]))
    facts = [voice.tell(entity, attribute) for attribute in rng.sample(entity.asked, rng.randint(2, 3))]
    return fill(voice.frame("explain"), {"name": voice.subject(entity)}), " ".join(facts)


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Questions answered by the bare value, some two in a row, and explanations of whole sentences."""
    for _ in range(count):
        language = rng.choice(LANGUAGES)
        entity = rng.choice(told_in(language))
        turns = rng.choices(("question", "two questions", "about"), (70, 12, 18))[0]
        if turns == "about":
            yield chat_row("about", language, *explain(rng, entity, language))
        elif turns == "question":
            yield chat_row("fact", language, *question(rng, entity, language))
        else:
            first, second = question(rng, entity, language), question(rng, rng.choice(told_in(language)), language)
            yield chat_row("fact", language, *first, *second)


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """At most `count` items of `facts` and as many of `unasked`; all attributes of all entities come up."""
    yield from _shuffled(rng, count, list(_completions(rng)))
    yield from _shuffled(rng, count, list(_unasked(rng)))


def _shuffled(rng: random.Random, count: int, items: list[dict]) -> list[dict]:
    rng.shuffle(items)
    return items[:count]


def _completions(rng: random.Random) -> Iterator[dict]:
    for language in LANGUAGES:
        for entity in told_in(language):
            for attribute, fact in entity.facts.items():
                name = entity.names[language]
                template = rng.choice(phrasings()[language, entity.kind, attribute].completions)
                before = template.partition("{value}")[0].rstrip()
                prompt = Voice(rng, language).say(before, {"name": name})
                key = f"{name}:{attribute}"
                yield task_item("facts", language, key, fact[language], "exact", prompt=prompt)


def _unasked(rng: random.Random) -> Iterator[dict]:
    for language in LANGUAGES:
        for entity in told_in(language):
            phrases = phrasings()[language, entity.kind, entity.unasked].questions
            for index, phrase in enumerate(rng.sample(phrases, QUESTIONS_PER_UNASKED)):
                asked, answer = ask(entity, entity.unasked, language, phrase)
                key = f"{entity.names[language]}:{entity.unasked}:{index}"
                yield task_item("unasked", language, key, answer, "exact", question=asked)
