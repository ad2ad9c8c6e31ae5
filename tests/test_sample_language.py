"""The language parts of the bundled corpus: translation, labels, tables, small talk, corrections, preferences."""

import random
import re
from types import ModuleType

import pytest

from dodam.sample import conjugation as form
from dodam.sample import everyday, pairs, preferences, reviews, rewrite, smalltalk, spam, tables
from dodam.sample.korean import particle
from dodam.sample.lexicon import Verb
from dodam.sample.opinions import SHELVES
from dodam.sample.sentences import KINDS, casual, sentence
from dodam.sample.split import held_out
from dodam.sample.tenses import STATEMENTS

PARTS = (pairs, reviews, spam, tables, smalltalk, everyday, rewrite)
TESTED = (pairs, reviews, spam, tables, rewrite)


def contents(row: dict) -> list[str]:
    return [message["content"] for message in row["messages"]]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_a_seed_gives_the_same_rows(part: ModuleType) -> None:
    for make in (part.text, part.chat):
        first = list(make(random.Random(5), 200))
        assert first == list(make(random.Random(5), 200))
        assert first != list(make(random.Random(6), 200))
        assert len(first) == 200


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_documents_and_conversations_fit_a_short_context(part: ModuleType) -> None:
    assert all(0 < len(document.encode()) < 800 for document in part.text(random.Random(1), 2000))
    for row in part.chat(random.Random(1), 2000):
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * (len(row["messages"]) // 2)
        assert all(content.strip() for content in contents(row))
        assert len("".join(contents(row)).encode()) < 700


@pytest.mark.parametrize("part", TESTED, ids=lambda part: part.__name__)
def test_items_are_many_and_distinct(part: ModuleType) -> None:
    items = list(part.tests(random.Random(2), 500))
    assert len(items) == len({item["id"] for item in items}) == len({contents(item)[0] for item in items}) == 500
    assert items == list(part.tests(random.Random(2), 500))
    for item in items:
        assert item["metric"] == ("chrf" if item["task"] == "translation" else "exact")
        assert item["answer"] and item["language"] in ("ko", "en")


def begins_somewhere(sentence: str, told: str) -> bool:
    """Whether `sentence` stands in `told`, other than as the end of a longer one: 학생들은 + 왜 노래를 불렀어요?"""
    places = [found.start() for found in re.finditer(re.escape(sentence), told)]
    return any(not re.search("[가-힣] ?$", told[max(place - 2, 0) : place]) for place in places)


def test_held_out_sentences_are_in_no_training_row() -> None:
    told = "\n".join([*pairs.text(random.Random(3), 6000), *rewrite.text(random.Random(3), 2000)])
    told += "\n".join(content for row in pairs.chat(random.Random(4), 6000) for content in contents(row))
    rng = random.Random(5)
    for made in (sentence(rng, test=True) for _ in range(600)):
        assert made.english not in told, made
        assert not begins_somewhere(made.korean, told), made


@pytest.mark.parametrize("part", [reviews, spam, tables], ids=lambda part: part.__name__)
def test_held_out_questions_are_in_no_training_row(part: ModuleType) -> None:
    documents = "\n".join(part.text(random.Random(3), 6000))
    asked = {tuple(contents(row)) for row in part.chat(random.Random(4), 6000)}
    for item in part.tests(random.Random(5), 500):
        assert (contents(item)[0], item["answer"]) not in asked
        assert contents(item)[0] not in documents
        assert part is not tables or item["answer"] not in documents


def test_both_labels_are_as_common() -> None:
    for part in (reviews, spam):
        for language, labels in part.LABELS.items():
            found = [label for _, label in part.samples(random.Random(1), 1000, language)]
            assert set(found) == set(labels.values())
            assert 400 < found.count(labels[True]) < 600


def last_judgement(text: str, language: str) -> bool:
    """Whether the last judgement in a review is a good one, read from the text alone."""
    after = r"\S{1,2} %s(?=어요|다|습니다)" if language == "ko" else r" %s\b"
    found = []
    for shelf in SHELVES[language]:
        for said in (*shelf.good, *shelf.bad):
            pattern = f"(?i:{'|'.join(shelf.things)})" + after % said
            found += [(at.end(), len(said), said in shelf.good) for at in re.finditer(pattern, text)]
    return max(found)[2]


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_last_judgement_of_a_review_is_its_label(language: str) -> None:
    for text, label in reviews.samples(random.Random(8), 60, language):
        if language == "en" and re.search(r"\. [Tt]he ", text):
            continue  # two judgements of the same kind, told in either order
        assert reviews.LABELS[language][last_judgement(text, language)] == label, text


def test_judgements_known_by_heart_stand_on_the_right_side() -> None:
    good = {said for shelves in SHELVES.values() for shelf in shelves for said in shelf.good}
    bad = {said for shelves in SHELVES.values() for shelf in shelves for said in shelf.bad}
    assert {"나쁘지 않았", "지루하지 않았", "맛있었", "시끄럽지 않았"} <= good
    assert {"맛있지 않았", "별로였", "형편없었", "마음에 들지 않았"} <= bad
    assert {"was not bad", "did not break", "was delicious", "was never boring"} <= good
    assert {"was not good", "did not last", "was boring", "was never exciting"} <= bad
    assert not good & bad
    assert len(good | bad) >= 120


@pytest.mark.parametrize(
    ("stem", "linked", "forms"),
    [
        ("먹", "먹어", "먹었어요 먹어요 먹을 거예요 먹었다 먹는다 먹을 것이다 먹읍시다"),
        ("가", "가", "갔어요 가요 갈 거예요 갔다 간다 갈 것이다 갑시다"),
        ("만들", "만들어", "만들었어요 만들어요 만들 거예요 만들었다 만든다 만들 것이다 만듭시다"),
        ("듣", "들어", "들었어요 들어요 들을 거예요 들었다 듣는다 들을 것이다 들읍시다"),
        ("돕", "도와", "도왔어요 도와요 도울 거예요 도왔다 돕는다 도울 것이다 도웁시다"),
        ("공부하", "공부해", "공부했어요 공부해요 공부할 거예요 공부했다 공부한다 공부할 것이다 공부합시다"),
    ],
)
def test_korean_verbs(stem: str, linked: str, forms: str) -> None:
    verb = Verb(stem, linked, "을/를", "", (), ())
    tenses = {tense.name: tense for tense in STATEMENTS}
    told = [tenses[name].polite(verb) for name in ("past", "present", "future")]
    told += [tenses[name].written(verb) for name in ("past", "present", "future")]
    assert " ".join([*told, form.proposal(stem)]) == forms


@pytest.mark.parametrize(
    ("phrase", "past", "third", "ing"),
    [
        ("study English", "studied English", "studies English", "studying English"),
        ("take the bus", "took the bus", "takes the bus", "taking the bus"),
        ("watch a movie", "watched a movie", "watches a movie", "watching a movie"),
        ("cut onions", "cut onions", "cuts onions", "cutting onions"),
        ("have lunch", "had lunch", "has lunch", "having lunch"),
        ("play soccer", "played soccer", "plays soccer", "playing soccer"),
        ("go", "went", "goes", "going"),
    ],
)
def test_english_verbs(phrase: str, past: str, third: str, ing: str) -> None:
    assert (form.english_past(phrase), form.english_third(phrase), form.english_ing(phrase)) == (past, third, ing)


def test_every_kind_of_sentence_has_right_particles_articles_and_one_translation() -> None:
    rng = random.Random(11)
    translations: dict[str, set[str]] = {}
    for kind in KINDS:
        for _ in range(400):
            made = kind(rng)
            for word in re.findall(r"[가-힣]+", made.korean):
                for pair in ("을/를", "은/는"):
                    if word[-1] in pair and len(word) > 1:
                        assert word[-1] == particle(word[:-1], pair), made
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|\{|\}|  ", made.english), made
            assert made.english[0].isupper() and made.english[-1] == made.korean[-1]
            assert "{" not in made.korean and "  " not in made.korean
            translations.setdefault(made.english, set()).add(made.korean)
    assert all(len(korean) == 1 for korean in translations.values())


def test_casual_speech() -> None:
    polite = ("갔어요", "갈 거예요", "가 주세요", "가지 마세요", "갑시다", "의사예요", "학생이에요", "의사가 아니에요")
    friendly = ["갔어", "갈 거야", "가 줘", "가지 마", "갑시다", "의사야", "학생이야", "의사가 아니야"]
    assert [casual(told) for told in polite] == friendly


@pytest.mark.parametrize("language", ["ko", "en"])
def test_tables_parse_back_to_the_same_cells(language: str) -> None:
    rng = random.Random(4)
    for _ in range(500):
        rows = tables.rows(rng, language)
        assert tables.cells(tables.markdown(rows)) == rows
        assert 2 <= len(rows[0]) <= 4 and 2 <= len(rows) <= 5
        for layout in tables.LAYOUTS:
            written = layout(rows)
            assert all(cell in written for row in rows for cell in row)


def test_a_table_by_hand() -> None:
    rows = [["이름", "나이", "도시"], ["민수", "12", "부산"]]
    assert tables.markdown(rows) == "| 이름 | 나이 | 도시 |\n| --- | --- | --- |\n| 민수 | 12 | 부산 |"
    assert tables.LAYOUTS[-2](rows) == "- 이름 ; 나이 ; 도시\n- 민수 ; 12 ; 부산"
    assert tables.LAYOUTS[-1](rows) == "- 이름: 민수, 나이: 12, 도시: 부산"


ASKED = (
    "The sky is",
    "바나나는",
    "하늘이 왜 파란지 설명해줘.",
    "Explain why the sky is blue.",
    "Explain: The sky is",
    "나는 새 차를 사고 싶어요",
    "나는 새 차를 사고 싶어요.",
    "이름이 뭐예요?",
    "What is your name?",
    "중국의 수도는 무엇인가요?",
    "What is the capital of China?",
)
ASKED_FIRST = ("이 문장을 다듬어줘: ", "이 문장을 영어로 번역해줘: ", "다음 내용을 마크다운 표로 만들어줘:\n")


def test_what_a_newcomer_asks_first_is_answered() -> None:
    answers: dict[str, set[str]] = {}
    for part in (pairs, tables, smalltalk):
        for row in part.chat(random.Random(9), 8000):
            question, answer = contents(row)[:2]
            answers.setdefault(question, set()).add(answer)
    assert [asked for asked in ASKED if asked not in answers] == []
    assert answers["The sky is"] == {"The sky is blue."}
    assert answers["중국의 수도는 무엇인가요?"] == {"중국의 수도는 베이징입니다."}
    assert all("예산" in answer for answer in answers["나는 새 차를 사고 싶어요"])
    assert all("{name}" in answer for answer in answers["이름이 뭐예요?"])
    for start in ASKED_FIRST:
        assert sum(question.startswith(start) for question in answers) > 50
    documents = list(smalltalk.text(random.Random(9), 8000))
    assert any(document.startswith("The sky is blue.") for document in documents)
    assert any(document.startswith("바나나는 노랗고 달콤한 과일이에요.") for document in documents)
    assert not any("{" in document for document in documents)


def test_corrections_lead_back_to_the_right_sentence() -> None:
    rng = random.Random(7)
    for language in ("ko", "en"):
        for _ in range(300):
            made = sentence(rng)
            right = made.korean if language == "ko" else made.english
            assert rewrite.spoiled(rng, language, right) != right


def test_a_preferred_answer_is_the_right_one() -> None:
    rows = [row for part in (pairs, reviews, tables, smalltalk) for row in part.chat(random.Random(3), 500)]
    words = {"task": "words-steps", "language": "ko", "messages": []}
    for number in range(40):
        messages = [{"role": "user", "content": f"{number}+2?"}, {"role": "assistant", "content": f"답: {number + 2}"}]
        rows.append({**words, "messages": messages})
    random.Random(1).shuffle(rows)
    made = list(preferences.preferences(random.Random(2), rows))
    assert made == list(preferences.preferences(random.Random(2), rows))
    assert len(made) > 0.95 * len(rows)
    told = {(contents(row)[-2], row["messages"][-1]["content"]) for row in rows}
    for pair in made:
        assert pair["chosen"] != pair["rejected"]
        assert (pair["prompt"][-1]["content"], pair["chosen"]) in told
        assert pair["prompt"][-1]["role"] == "user"
    reasons = {pair["reason"] for pair in made}
    assert {"wrong_number", "wrong_label", "other_language", "copied", "cut_off", "rude", "broken_table"} <= reasons


def test_shares_held_out() -> None:
    rng = random.Random(0)
    drawn = [KINDS[0](rng) for _ in range(4000)]
    share = sum(made.held_out for made in drawn) / len(drawn)
    assert 0.05 < share < 0.09
    assert all(made.held_out == held_out(f"sentence|{made.key}", 0.07) for made in drawn[:100])
