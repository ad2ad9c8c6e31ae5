"""The word problems of the bundled corpus: arithmetic that holds, splits that never meet, right particles."""

import random
import re
from collections import Counter

import pytest

from dodam.sample import words
from dodam.sample.korean import final, particle

NUMBER = re.compile(r"\d+")
STEP = re.compile(r"[^:\n]+: (\d+[-+×÷]\d+(?:=\d+[-+]\d+)?=\d+)")
OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "×": lambda a, b: a * b,
    "÷": lambda a, b: a / b,
}


def value(expression: str) -> float:
    operation = re.search(r"[-+×÷]", expression)
    if not operation:
        return int(expression)
    left, right = expression[: operation.start()], expression[operation.end() :]
    return OPERATIONS[operation.group()](int(left), int(right))


def assert_holds(equation: str) -> int:
    """Every part of the chain has the same value; returns it."""
    values = {value(part) for part in equation.split("=")}
    assert len(values) == 1, equation
    return int(values.pop())


def drawn(count: int, seed: int = 0, **kind: bool) -> list[words.Problem]:
    rng = random.Random(seed)
    return [words.problem(rng, language, **kind) for language in words.LANGUAGES for _ in range(count // 2)]


def masked(text: str) -> str:
    """The text without its numbers, names and things: what is left is the phrasing."""
    for language in words.LANGUAGES:
        lexicon = words.WORDS[language]
        names = "|".join(sorted((*lexicon.NAMES, *lexicon.KIN), key=len, reverse=True))
        text = re.sub(names, "N", text)
    return NUMBER.sub("#", text)


def sentences(phrasing: str) -> list[str]:
    return re.findall(r"[^.?]+[.?]", phrasing)


def test_every_step_holds_and_leads_to_the_answer() -> None:
    for problem in drawn(4000) + drawn(1000, seed=1, test=True) + drawn(1000, seed=2, test=True, unseen=True):
        lines = problem.steps.splitlines()
        assert len(lines) == len(words.STRUCTURES[problem.structure].steps)
        results = []
        for line in lines:
            step = STEP.fullmatch(line)
            assert step, line
            results.append(assert_holds(step[1]))
            assert results[-1] > 0
        assert results[-1] == problem.answer == words.check(problem.worked)


def test_every_number_of_the_question_is_used_and_shown() -> None:
    for problem in drawn(2000) + drawn(500, test=True, unseen=True):
        told = Counter(map(int, NUMBER.findall(problem.question)))
        assert told == Counter(problem.numbers), problem.question
        assert set(problem.numbers) <= set(map(int, NUMBER.findall(problem.steps)))
        assert all(2 <= number <= 99 for number in problem.numbers)


def test_the_sister_is_67() -> None:
    rule = words.STRUCTURES["age-half"]
    assert words.solve(rule, (6, 70)) == [("6÷2=3", 3), ("6-3=3", 3), ("70-3=67", 67)]
    assert words.is_held_out("age-half", (6, 70))
    question = (
        "제가 {a}살이었을 때 {kin}{은/는} 제 나이의 절반이었습니다. 지금 저는 {b}살입니다. {kin}{은/는} 몇 살입니까?"
    )
    assert question in set(words.FORMS["ko"]["age-half"].phrasings())


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (words.add(47, 38), "47+38=70+15=85"),
        (words.add(70, 5), "70+5=75"),
        (words.add(168, 47), "168+47=200+15=215"),
        (words.add(3, 4), "3+4=7"),
        (words.subtract(85, 38), "85-38=55-8=47"),
        (words.subtract(105, 40), "105-40=65"),
        (words.multiply(24, 3), "24×3=60+12=72"),
        (words.multiply(7, 8), "7×8=56"),
        (words.divide(84, 7), "84÷7=12"),
    ],
)
def test_notation(chain: str, expected: str) -> None:
    assert chain == expected


def test_calculations_hold_for_all_operands() -> None:
    for first in range(2, 200):
        for second in range(2, 100):
            assert assert_holds(words.add(first, second)) == first + second
            if first > second:
                assert assert_holds(words.subtract(first, second)) == first - second
            if second < 10:
                assert assert_holds(words.multiply(first, second)) == first * second


def test_there_are_many_structures_and_phrasings() -> None:
    assert len(words.STRUCTURES) >= 12
    for language in words.LANGUAGES:
        assert set(words.FORMS[language]) == set(words.STRUCTURES)
        for structure, form in words.FORMS[language].items():
            assert len(form.labels) == len(words.STRUCTURES[structure].steps)
            assert len(set(form.phrasings())) >= 10
            assert len(form.unseen) >= 3


def test_all_structures_come_up_equally_often_in_both_languages() -> None:
    counts = Counter((problem.language, problem.structure) for problem in drawn(3200))
    assert len(counts) == 2 * len(words.STRUCTURES)
    assert min(counts.values()) > 60


def test_number_tuples_of_the_tests_are_never_trained_on() -> None:
    trained = {(problem.structure, problem.numbers) for problem in drawn(8000)}
    asked = {(problem.structure, problem.numbers) for problem in drawn(3000, test=True)}
    assert not trained & asked
    assert all(words.is_held_out(*key) for key in asked)
    assert len(asked) > 1000


def test_every_phrasing_tells_each_number_once() -> None:
    for language in words.LANGUAGES:
        for structure, form in words.FORMS[language].items():
            letters = sorted("abcd"[: len(words.STRUCTURES[structure].ranges)])
            for phrasing in {*form.phrasings(), *form.unseen}:
                assert sorted(re.findall(r"\{([a-d])\}", phrasing)) == letters, phrasing


def test_drawn_phrasings_are_those_of_the_phrasebook() -> None:
    for problem in drawn(200):
        assert problem.phrasing in set(words.FORMS[problem.language][problem.structure].phrasings())
    for problem in drawn(500, test=True, unseen=True):
        assert problem.phrasing in words.FORMS[problem.language][problem.structure].unseen


def test_unseen_phrasings_are_never_trained_on() -> None:
    for language in words.LANGUAGES:
        forms = words.FORMS[language].values()
        trained = {phrasing for form in forms for phrasing in form.phrasings()}
        kept = {phrasing for form in forms for phrasing in form.unseen}
        assert not trained & kept
        known = {sentence for phrasing in trained for sentence in sentences(phrasing)}
        for phrasing in kept:
            assert not set(sentences(phrasing)) <= known, phrasing
    trained = {masked(problem.question) for problem in drawn(8000)}
    assert not trained & {masked(problem.question) for problem in drawn(2000, test=True, unseen=True)}


def test_items() -> None:
    items = list(words.tests(random.Random(3), 500))
    counts = Counter((item["task"], item["language"]) for item in items)
    tasks = ("words-direct", "words-steps", "words-direct-new-phrasing", "words-steps-new-phrasing")
    assert counts == {(task, language): 250 for task in tasks for language in words.LANGUAGES}
    assert len({item["id"] for item in items}) == len(items)
    for kind in ("", "-new-phrasing"):
        direct, steps = (
            [item["answer"] for item in items if item["task"] == f"words-{how}{kind}"] for how in ("direct", "steps")
        )
        assert direct == steps
    questions = [item["messages"][0]["content"] for item in items]
    assert len(set(questions)) == len(questions)


def test_wishes_decide_the_form_of_the_answer() -> None:
    for row in words.chat(random.Random(4), 1000):
        question, answer = (message["content"] for message in row["messages"])
        lexicon = words.WORDS[row["language"]]
        direct = any(wish in question for wish in lexicon.ASK_DIRECT)
        assert direct == (row["task"] == "words-direct") == answer.isdigit()
        if not direct:
            assert answer.splitlines()[-1].startswith(f"{lexicon.ANSWER}: ")


def test_plain_forms() -> None:
    problem = words.problem(random.Random(5), "ko")
    assert problem.document(steps=False) == f"질문: {problem.question}\n답: {problem.answer}"
    assert problem.document(steps=True) == f"질문: {problem.question}\n풀이:\n{problem.steps}\n답: {problem.answer}"
    assert words.problem(random.Random(5), "en").document(steps=True).startswith("Question: ")


def test_drills_hold() -> None:
    rng = random.Random(6)
    for index in range(300):
        _, *lines = words.drill(rng, words.LANGUAGES[index % 2]).splitlines()
        assert 4 <= len(lines) <= 6
        for line in lines:
            assert_holds(line)


def test_same_seed_same_bytes() -> None:
    def everything() -> list:
        parts = (words.text, words.chat, words.tests)
        return [list(part(random.Random(7), 200)) for part in parts]

    assert everything() == everything()


def test_english_sentences_start_with_a_capital_or_a_number() -> None:
    rng = random.Random(8)
    for index in range(4000):
        problem = words.problem(rng, "en", test=index % 2 == 0, unseen=index % 4 == 0)
        assert not re.search(r"(?:^|[.?] )[a-z]", problem.question), problem.question
        assert problem.question[-1] in ".?"
        assert not re.search(r"\ba [aeiou]", problem.question), problem.question


def test_particles() -> None:
    pairs = ("은/는", "이/가", "을/를", "과/와")
    nouns = [*words.WORDS["ko"].NAMES, *(thing for thing, _ in words.WORDS["ko"].THINGS), *words.WORDS["ko"].BOXES]
    wrong = {
        noun + form for noun in nouns for pair in pairs for form in pair.split("/") if form != particle(noun, pair)
    }
    assert {"사과을", "구슬를", "민수은"} <= wrong
    for problem in drawn(4000) + drawn(1000, test=True, unseen=True):
        assert "{" not in problem.question and "/" not in problem.question
        if problem.language == "ko":
            assert not wrong & set(re.findall(r"[가-힣]+", problem.question)), problem.question
            for before, copula in re.findall(r"([가-힣0-9])(예요|이에요|라면)", problem.question):
                assert (copula == "이에요") == (final(before) != 0) or before == "이", problem.question


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("모두: 3+4=7\n답: 7", 7),
        ("Total: 700+300=1,000\nAnswer: 1,000", 1000),
        ("67", 67),
        ("여동생은 67살입니다.", 67),
        ("모르겠어요", None),
        ("답: 3\n답: 5", 5),
    ],
)
def test_check(answer: str, number: int | None) -> None:
    assert words.check(answer) == number
