"""Word problems with worked steps: one to three calculations each, in Korean and English.

In: a random generator and a count. Out: pretraining documents, conversations, test items, all checkable by rule.
A problem is a structure (what is calculated), its numbers, and a phrasing from the phrasebook of its language.
Plain forms: `질문: …`, then `답: 67` (direct) or `풀이:`, steps, `답: 67` (English: Question, Solution, Answer).
In a conversation the worked answer is the steps and `답: 67`, also where nothing is said about the form; a direct one
is the bare number. A step is a line `name: equation`, in which each digit is easily told from what stands before it.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import permutations, product

from dodam.sample import word_forms_en, word_forms_ko
from dodam.sample.korean import fill
from dodam.sample.split import chat_row, held_out, plain_question, task_item

WORDS = {"ko": word_forms_ko, "en": word_forms_en}
LANGUAGES = tuple(WORDS)

HELD_OUT_SHARE = 0.1
RESERVED = frozenset({("age-half", (6, 70))})
"""Number tuples that are kept for the tests whatever their hash says: the example in the README."""

STEPS_SHARE, DRILL_SHARE, INTRO_SHARE, LEADING_SHARE = 0.75, 0.1, 0.04, 0.25


@dataclass(frozen=True)
class Structure:
    """What is calculated: the ranges of the numbers a, b, c, d, and the steps over them; x, y, z name the results."""

    ranges: tuple[range, ...]
    steps: tuple[str, ...]
    condition: Callable[..., bool] = lambda *numbers: True


STRUCTURES = {
    "receive-give": Structure((range(12, 100), range(3, 61), range(3, 61)), ("a+b", "x-c")),
    "bus": Structure((range(12, 100), range(3, 61), range(3, 61)), ("a-b", "x+c")),
    "groups": Structure((range(11, 100), range(2, 10)), ("a×b",)),
    "groups-loose": Structure((range(4, 41), range(2, 10), range(2, 61)), ("a×b", "x+c")),
    "groups-left": Structure((range(4, 41), range(2, 10), range(2, 61)), ("a×b", "x-c")),
    "share": Structure((range(6, 91), range(3, 61), range(2, 10)), ("a+b", "x÷c"), lambda a, b, c: a + b < 100),
    "leftover-share": Structure((range(12, 100), range(3, 61), range(2, 10)), ("a-b", "x÷c")),
    "change": Structure((range(20, 100), range(2, 13), range(2, 10)), ("b×c", "a-x")),
    "two-goods": Structure((range(2, 10),) * 4, ("a×b", "c×d", "x+y"), lambda a, b, c, d: a != c),
    "more-total": Structure((range(8, 71), range(3, 41)), ("a+b", "a+x")),
    "fewer-total": Structure((range(12, 100), range(3, 61)), ("a-b", "a+x")),
    "times-total": Structure((range(6, 51), range(2, 10)), ("a×b", "a+x")),
    "half-total": Structure((range(8, 100), range(3, 61)), ("a÷2", "a+x", "y+b")),
    "age-half": Structure((range(4, 25), range(8, 100)), ("a÷2", "a-x", "b-y"), lambda a, b: b > a),
    "reading": Structure((range(30, 100), range(3, 16), range(2, 10)), ("b×c", "a-x")),
    "distance": Structure((range(11, 91), range(2, 7), range(3, 100)), ("a×b", "x+c")),
}


@dataclass(frozen=True)
class Block:
    """Sentences that make up a problem: alternatives for each place, and which places may change."""

    fixed: tuple[tuple[str, ...], ...]
    free: tuple[tuple[str, ...], ...]
    """Places that may stand in any order."""
    questions: tuple[str, ...]
    leading: frozenset[str]
    """The questions that may also stand first."""

    def draw(self, rng: random.Random) -> str:
        """One phrasing."""
        sentences = [rng.choice(place) for place in self.fixed + tuple(rng.sample(self.free, len(self.free)))]
        if self.questions:
            question = rng.choice(self.questions)
            first = question in self.leading and rng.random() < LEADING_SHARE
            sentences.insert(0 if first else len(sentences), question)
        return " ".join(sentences)

    def phrasings(self) -> Iterator[str]:
        """Every phrasing."""
        for free in permutations(self.free):
            for sentences in product(*self.fixed, *free):
                body = " ".join(sentences)
                if not self.questions:
                    yield body
                for question in self.questions:
                    yield f"{body} {question}"
                    if question in self.leading:
                        yield f"{question} {body}"


@dataclass(frozen=True)
class Form:
    """How a structure is told in one language: names of the steps, blocks of sentences, phrasings kept for tests."""

    labels: tuple[str, ...]
    blocks: tuple[Block, ...]
    unseen: tuple[str, ...]

    @cached_property
    def weights(self) -> list[int]:
        """How often each block is drawn: blocks with alternatives more often than single phrasings."""
        return [4 if block.questions else 1 for block in self.blocks]

    def phrasings(self) -> Iterator[str]:
        """Every training phrasing."""
        for block in self.blocks:
            yield from block.phrasings()


def phrasebook(text: str) -> dict[str, Form]:
    """Reads a phrasebook.

    `[structure] label, label` opens a structure, blank lines part its blocks. In a block, lines with the same mark are
    alternatives for one place of the problem: digits stand in their order, letters a to d in any order after them,
    `e` is a question at the end, `q` one at the end or the beginning. A block of `?` lines is one phrasing kept for the
    tests.
    """
    forms = {}
    for section in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        head, *paragraphs = re.split(r"\n{2,}", section.strip())
        name, labels = head.split("] ")
        blocks, unseen = [], []
        for paragraph in paragraphs:
            places: dict[str, list[str]] = {}
            for line in paragraph.splitlines():
                mark, sentence = line.split(" ", 1)
                places.setdefault(mark, []).append(sentence)
            if "?" in places:
                unseen.append(" ".join(places["?"]))
            else:
                blocks.append(_block(places))
        forms[name] = Form(tuple(labels.split(", ")), tuple(blocks), tuple(unseen))
    return forms


def _block(places: dict[str, list[str]]) -> Block:
    leading = places.pop("q", [])
    questions = (*leading, *places.pop("e", []))
    fixed = tuple(tuple(alternatives) for mark, alternatives in places.items() if mark.isdigit())
    free = tuple(tuple(alternatives) for mark, alternatives in places.items() if not mark.isdigit())
    return Block(fixed, free, questions, frozenset(leading))


FORMS = {
    language: phrasebook(files("dodam.sample").joinpath(f"word_forms_{language}.txt").read_text(encoding="utf-8"))
    for language in LANGUAGES
}


@dataclass(frozen=True)
class Problem:
    """One problem, its worked steps (a line each, without the last line) and its answer."""

    structure: str
    language: str
    numbers: tuple[int, ...]
    phrasing: str
    """The template of the question."""
    question: str
    steps: str
    answer: int

    @property
    def worked(self) -> str:
        """The steps and the last line with the answer, as an assistant gives them."""
        return f"{self.steps}\n{WORDS[self.language].ANSWER}: {self.answer}"

    def document(self, *, steps: bool) -> str:
        """The plain form of the pretraining text."""
        if not steps:
            return plain_question(self.language, self.question, str(self.answer))
        words = WORDS[self.language]
        return f"{words.QUESTION}: {self.question}\n{words.SOLUTION}:\n{self.worked}"


def is_held_out(structure: str, numbers: tuple[int, ...]) -> bool:
    """Whether this number tuple is kept for the tests, in every language and phrasing."""
    key = f"words:{structure}:{','.join(map(str, numbers))}"
    return (structure, numbers) in RESERVED or held_out(key, HELD_OUT_SHARE)


def problem(
    rng: random.Random,
    language: str,
    structure: str | None = None,
    *,
    test: bool = False,
    unseen: bool = False,
    structures: Mapping[str, Structure] = STRUCTURES,
) -> Problem:
    """A problem with numbers of the training part or of the tests, in a training phrasing or an `unseen` one.
    `structures`: others under the same names, with other ranges."""
    structure = structure or rng.choice(tuple(structures))
    form = FORMS[language][structure]
    numbers, results = _draw(rng, structure, structures[structure], test)
    phrasing = rng.choice(form.unseen) if unseen else rng.choices(form.blocks, form.weights)[0].draw(rng)
    slots = WORDS[language].slots(rng)
    slots.update(zip("abcd", map(str, numbers), strict=False))
    question = fill(phrasing, slots)
    if rng.random() < INTRO_SHARE:
        question = f"{rng.choice(WORDS[language].INTROS)} {question}"
    steps = "\n".join(f"{label}: {equation}" for label, (equation, _) in zip(form.labels, results, strict=True))
    return Problem(structure, language, numbers, phrasing, question, steps, results[-1][1])


def _draw(
    rng: random.Random, structure: str, rule: Structure, test: bool
) -> tuple[tuple[int, ...], list[tuple[str, int]]]:
    while True:
        numbers = tuple(rng.choice(numbers) for numbers in rule.ranges)
        if not rule.condition(*numbers):
            continue
        results = solve(rule, numbers)
        if results and is_held_out(structure, numbers) == test:
            return numbers, results


def solve(rule: Structure, numbers: tuple[int, ...]) -> list[tuple[str, int]]:
    """The equation and the result of each step; none where a result is no natural number (a share is at least 2)."""
    values: dict[str, int] = dict(zip("abcd", numbers, strict=False))
    results = []
    for name, (left, operation, right) in zip("xyz", rule.steps, strict=False):
        first = values[left]
        second = values[right] if right in values else int(right)
        if (operation == "-" and first <= second) or (operation == "÷" and (first % second or first < 2 * second)):
            return []
        chain = CALCULATE[operation](first, second)
        values[name] = int(chain.rpartition("=")[2])
        results.append((chain, values[name]))
    return results


def add(first: int, second: int) -> str:
    """47+38=70+15=85: tens and ones apart, so that no carry has to be foreseen."""
    tens, ones = first // 10 + second // 10, first % 10 + second % 10
    parts = f"{tens * 10}+{ones}" if tens and ones else ""
    between = "" if parts in ("", f"{first}+{second}") else f"{parts}="
    return f"{first}+{second}={between}{first + second}"


def subtract(first: int, second: int) -> str:
    """85-38=55-8=47: first the tens, then the ones."""
    tens, ones = second // 10 * 10, second % 10
    between = f"{first - tens}-{ones}=" if tens and ones else ""
    return f"{first}-{second}={between}{first - second}"


def multiply(first: int, second: int) -> str:
    """24×3=60+12=72: tens and ones of the first number apart; the second has one digit."""
    tens, ones = first // 10 * 10, first % 10
    between = f"{tens * second}+{ones * second}=" if tens and ones else ""
    return f"{first}×{second}={between}{first * second}"


def divide(first: int, second: int) -> str:
    """84÷7=12: exact, below 100, so a table to learn by heart."""
    return f"{first}÷{second}={first // second}"


CALCULATE = {"+": add, "-": subtract, "×": multiply, "÷": divide}


def drill(rng: random.Random, language: str) -> str:
    """A sheet of four to six calculations of one kind, in the notation of the worked steps."""
    operation = rng.choice(tuple(CALCULATE))
    lines = [WORDS[language].DRILLS[operation]]
    for _ in range(rng.randint(4, 6)):
        first, second = _operands(rng, operation)
        lines.append(CALCULATE[operation](first, second))
    return "\n".join(lines)


def _operands(rng: random.Random, operation: str) -> tuple[int, int]:
    if operation == "÷":
        second = rng.randint(2, 9)
        return second * rng.randint(2, 99 // second), second
    if operation == "×":
        return rng.choice((rng.randint(2, 9), rng.randint(11, 99), rng.randint(11, 99))), rng.randint(2, 9)
    first = rng.choice((rng.randint(10, 99), rng.randint(10, 99), rng.randint(100, 450)))
    return first, rng.randint(2, min(first - 1, 99))


def ask(rng: random.Random, problem: Problem, *, steps: bool) -> str:
    """The question with a wish for the form of the answer, mostly after it; without a wish steps are expected."""
    words = WORDS[problem.language]
    if steps and rng.random() < 0.3:
        return problem.question
    wish = rng.choice(words.ASK_STEPS if steps else words.ASK_DIRECT)
    return f"{wish} {problem.question}" if rng.random() < 0.15 else f"{problem.question} {wish}"


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: problems with steps, direct ones, and sheets of calculations."""
    for _ in range(count):
        language = rng.choice(LANGUAGES)
        if rng.random() < DRILL_SHARE:
            yield drill(rng, language)
        else:
            yield problem(rng, language).document(steps=rng.random() < STEPS_SHARE)


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations of one question and one answer; tasks `words-steps` and `words-direct`."""
    for _ in range(count):
        drawn = problem(rng, rng.choice(LANGUAGES))
        steps = rng.random() < STEPS_SHARE
        task, answer = ("words-steps", drawn.worked) if steps else ("words-direct", str(drawn.answer))
        yield chat_row(task, drawn.language, ask(rng, drawn, steps=steps), answer)


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """Test items, `count` for each of the four tasks: the same problems are asked directly and with steps."""
    structures = tuple(STRUCTURES)
    for ending, unseen in (("", False), ("-new-phrasing", True)):
        drawn: dict[str, Problem] = {}
        while len(drawn) < count:
            language = LANGUAGES[len(drawn) % 2]
            found = problem(rng, language, structures[len(drawn) // 2 % len(structures)], test=True, unseen=unseen)
            drawn.setdefault(found.question, found)
        for kind in ("direct", "steps"):
            for index, item in enumerate(drawn.values()):
                question = ask(rng, item, steps=kind == "steps")
                key = f"{item.structure}:{item.language}:{index}"
                yield task_item(
                    f"words-{kind}{ending}", item.language, key, str(item.answer), "number", question=question
                )


def check(text: str) -> int | None:
    """The final number of an answer: after the last `답:` or `Answer:`, else the last number; None without one."""
    named = re.findall(r"(?:답|Answer)\s*:\s*(-?\d[\d,]*)", text)
    numbers = named or re.findall(r"-?\d[\d,]*", text)
    return int(numbers[-1].replace(",", "")) if numbers else None
