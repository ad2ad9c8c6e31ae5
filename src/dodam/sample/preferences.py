"""Pairs of answers whose quality is known by rule, for preference tuning.

In: conversations of any part. Out: rows with the prompt, the right answer as `chosen` and, as `rejected`, the same
answer spoiled by one rule: `reason` says which (wrong number, wrong label, other language, copied question, ...).
`{name}` stays as it is in the conversations.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dodam.sample.reviews import LABELS as SENTIMENTS
from dodam.sample.spam import LABELS as SPAM

OPPOSITE = {
    label: labels[not bad] for table in (SENTIMENTS, SPAM) for labels in table.values() for bad, label in labels.items()
}
RUDE = {
    "ko": ("그것도 몰라요?", "귀찮게 하지 마세요.", "알아서 찾아보세요.", "바보 같은 질문이네요."),
    "en": ("Don't you know that?", "Leave me alone.", "Find it yourself.", "What a silly question."),
}
REFUSED = {"ko": ("싫어요.", "대답하기 싫어요."), "en": ("No.", "I will not answer.")}
REMEMBERED = 64
"""So many earlier answers of each task and language are kept: answers to other questions are taken from them."""


@dataclass(frozen=True)
class Answered:
    """One conversation as the rules see it."""

    task: str
    language: str
    question: str
    answer: str
    others: tuple[str, ...]
    foreign: tuple[str, ...]


Rule = Callable[[random.Random, Answered], str]


def wrong_number(rng: random.Random, asked: Answered) -> str:
    """The last number of the answer is another one."""
    found = list(re.finditer(r"\d+", asked.answer))
    if not found:
        return asked.answer
    last = found[-1]
    number = int(last[0])
    other = rng.choice([number + shift for shift in (-10, -3, -2, -1, 1, 2, 3, 10) if number + shift >= 0])
    return asked.answer[: last.start()] + str(other) + asked.answer[last.end() :]


def wrong_label(rng: random.Random, asked: Answered) -> str:
    """Positive for negative, spam for ham."""
    return OPPOSITE.get(asked.answer, asked.answer)


def other_answer(rng: random.Random, asked: Answered) -> str:
    """The right answer to another question of the kind."""
    return rng.choice(asked.others) if asked.others else asked.answer


def other_language(rng: random.Random, asked: Answered) -> str:
    """An answer in the language that was not asked for."""
    return rng.choice(asked.foreign) if asked.foreign else asked.answer


def copied(rng: random.Random, asked: Answered) -> str:
    """The question once more."""
    return asked.question


def cut_off(rng: random.Random, asked: Answered) -> str:
    """The answer breaks off in the middle of a word or a sentence."""
    if len(asked.answer) < 12:
        return asked.answer
    return asked.answer[: rng.randint(len(asked.answer) // 3, len(asked.answer) * 2 // 3)].rstrip()


def rude(rng: random.Random, asked: Answered) -> str:
    """The right answer with a rude word before it."""
    return f"{rng.choice(RUDE[asked.language])} {asked.answer}"


def refused(rng: random.Random, asked: Answered) -> str:
    """No answer, for no reason."""
    return rng.choice(REFUSED[asked.language])


def repeated(rng: random.Random, asked: Answered) -> str:
    """The answer three times."""
    return " ".join([asked.answer] * 3)


def broken_table(rng: random.Random, asked: Answered) -> str:
    """A table without its rule, without its bars, or with a row too few."""
    lines = asked.answer.split("\n")
    if len(lines) < 3 or not lines[1].startswith("| ---"):
        return asked.answer
    return rng.choice(
        ("\n".join([lines[0], *lines[2:]]), "\n".join(line.strip("| ") for line in lines), "\n".join(lines[:-1]))
    )


OPEN: tuple[Rule, ...] = (other_language, copied, copied, cut_off, rude, refused, repeated)
"""For questions with many good answers: the answer to another one may be good too."""
COMMON: tuple[Rule, ...] = (other_answer, *OPEN)
RULES: dict[str, tuple[Rule, ...]] = {
    "table": (broken_table, broken_table, copied, other_answer, cut_off),
    "sentiment": (wrong_label, wrong_label, copied, rude, refused),
    "spam": (wrong_label, wrong_label, copied, rude, refused),
    "translation": (other_answer, copied, cut_off, rude, repeated),
    "rewrite": (other_answer, copied, cut_off, rude),
    "fact": (other_answer, other_answer, wrong_number, *COMMON),
    "smalltalk": OPEN,
    "wish": OPEN,
    "story": OPEN,
}
"""Rules by task; word problems have `WORD_RULES`, every other task the common ones."""
WORD_RULES: tuple[Rule, ...] = (wrong_number, wrong_number, wrong_number, copied, cut_off, refused)


def rules(task: str) -> tuple[Rule, ...]:
    """The rules that spoil answers of a task."""
    return WORD_RULES if task.startswith("words") else RULES.get(task, COMMON)


def preferences(rng: random.Random, conversations: Iterable[dict]) -> Iterator[dict]:
    """One pair for each conversation that a rule can spoil.

    Yields {"task", "language", "prompt": messages up to the last answer, "chosen", "rejected", "reason": the rule}.
    """
    seen: dict[tuple[str, str], list[str]] = {}
    for row in conversations:
        *prompt, last = row["messages"]
        task, language, answer = row["task"], row["language"], last["content"]
        mine = seen.setdefault((task, language), [])
        foreign = seen.get((task, "en" if language == "ko" else "ko"), [])
        others = tuple(other for other in mine if other != answer)
        asked = Answered(task, language, prompt[-1]["content"], answer, others, tuple(foreign))
        for rule in rng.sample(rules(task), len(rules(task))):
            rejected = rule(rng, asked)
            if rejected != answer:
                pair = {"prompt": prompt, "chosen": answer, "rejected": rejected, "reason": rule.__name__}
                yield {"task": task, "language": language, **pair}
                break
        mine.append(answer)
        del mine[:-REMEMBERED]
