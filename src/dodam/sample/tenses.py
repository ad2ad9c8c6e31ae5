"""Tense, wish, question and request: how a verb phrase is said in both languages.

In: a verb of `lexicon.py`, a subject and an English verb phrase. Out: the Korean ending, polite (해요체) or written
(한다체), and the English wording.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dodam.sample import conjugation as form
from dodam.sample.lexicon import Subject, Verb


@dataclass(frozen=True)
class Tense:
    """How a verb phrase is said: time words it goes with, polite and written Korean ending, English wording."""

    name: str
    time: str
    polite: Callable[[Verb], str]
    written: Callable[[Verb], str]
    english: Callable[[Subject, str], str]


NO_ONE = Subject("", "you", "2")
FIRST = ("I", "we")
"""Subjects whose wish is told as one's own: 싶어요, not 싶어 해요."""
SAME_PAST = ("read", "cut")
"""Verbs whose past looks like their present."""


def be(subject: Subject, past: bool = False) -> str:
    """The form of "to be" for the subject."""
    if past:
        return "was" if subject.person in "13" else "were"
    return {"1": "am", "3": "is"}.get(subject.person, "are")


def do(subject: Subject) -> str:
    """The form of "do" that helps a question or a negation."""
    return "does" if subject.person == "3" else "do"


def present(subject: Subject, phrase: str) -> str:
    """The verb phrase in the present, with -s for the third person."""
    return form.english_third(phrase) if subject.person == "3" else phrase


STATEMENTS = (
    Tense(
        "past", "past", lambda v: form.past_stem(v.linked) + "어요", lambda v: form.past_stem(v.linked) + "다",
        lambda s, p: f"{s.english} {form.english_past(p)}",
    ),
    Tense(
        "present", "present", lambda v: v.linked + "요", lambda v: form.plain_present(v.stem),
        lambda s, p: f"{s.english} {present(s, p)}",
    ),
    Tense(
        "now", "now", lambda v: v.stem + "고 있어요", lambda v: v.stem + "고 있다",
        lambda s, p: f"{s.english} {be(s)} {form.english_ing(p)}",
    ),
    Tense(
        "future", "future",
        lambda v: form.future_stem(v.stem) + " 거예요", lambda v: form.future_stem(v.stem) + " 것이다",
        lambda s, p: f"{s.english} will {p}",
    ),
    Tense(
        "not past", "past", lambda v: v.stem + "지 않았어요", lambda v: v.stem + "지 않았다",
        lambda s, p: f"{s.english} did not {p}",
    ),
    Tense(
        "not present", "present", lambda v: v.stem + "지 않아요", lambda v: v.stem + "지 않는다",
        lambda s, p: f"{s.english} {do(s)} not {p}",
    ),
    Tense(
        "not future", "future", lambda v: v.stem + "지 않을 거예요", lambda v: v.stem + "지 않을 것이다",
        lambda s, p: f"{s.english} will not {p}",
    ),
    Tense(
        "wish", "future", lambda v: v.stem + "고 싶어요", lambda v: v.stem + "고 싶다",
        lambda s, p: f"{s.english} want to {p}",
    ),
    Tense(
        "wishes", "future", lambda v: v.stem + "고 싶어 해요", lambda v: v.stem + "고 싶어 한다",
        lambda s, p: f"{s.english} {present(s, 'want')} to {p}",
    ),
    Tense(
        "can", "", lambda v: form.future_stem(v.stem) + " 수 있어요", lambda v: form.future_stem(v.stem) + " 수 있다",
        lambda s, p: f"{s.english} can {p}",
    ),
    Tense(
        "cannot", "",
        lambda v: form.future_stem(v.stem) + " 수 없어요", lambda v: form.future_stem(v.stem) + " 수 없다",
        lambda s, p: f"{s.english} cannot {p}",
    ),
    Tense(
        "must", "future", lambda v: v.linked + "야 해요", lambda v: v.linked + "야 한다",
        lambda s, p: f"{s.english} {present(s, 'have')} to {p}",
    ),
)  # fmt: skip

WISHES = {tense.name: tense for tense in STATEMENTS if tense.name.startswith("wish")}
TOLD = {tense.name: tense for tense in STATEMENTS if tense.name in ("past", "present", "future", "can")}

QUESTIONS = (
    replace(TOLD["past"], name="did", english=lambda s, p: f"did {s.english} {p}"),
    replace(TOLD["present"], name="do", english=lambda s, p: f"{do(s)} {s.english} {p}"),
    replace(TOLD["future"], name="will", english=lambda s, p: f"will {s.english} {p}"),
    replace(TOLD["can"], name="can?", english=lambda s, p: f"can {s.english} {p}"),
)

ORDERS = (
    Tense("please", "", lambda v: v.linked + " 주세요", lambda v: v.linked + "라", lambda s, p: f"please {p}"),
    Tense(
        "do not", "", lambda v: v.stem + "지 마세요", lambda v: v.stem + "지 마라", lambda s, p: f"please do not {p}"
    ),
    Tense("let us", "future", lambda v: form.proposal(v.stem), lambda v: v.stem + "자", lambda s, p: f"let us {p}"),
)
