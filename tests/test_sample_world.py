"""The bundled world: particles and endings, names, facts, and that no unasked pair is ever asked in training."""

import random
from collections import Counter
from itertools import permutations

import pytest

from dodam.sample import stories, world
from dodam.sample.endings import STYLES, styled
from dodam.sample.entities import VALUES, entities, told_in
from dodam.sample.korean import fill, josa, native_number, particle, sino_number
from dodam.sample.split import fraction, held_out, pick, random_for

LANGUAGES = ("ko", "en")

PARTICLES = [
    # word, 은/는, 이/가, 을/를, 과/와, 으로/로, 이에요/예요
    ("민수", "는", "가", "를", "와", "로", "예요"),
    ("부산", "은", "이", "을", "과", "으로", "이에요"),
    ("서울", "은", "이", "을", "과", "로", "이에요"),
    ("물", "은", "이", "을", "과", "로", "이에요"),
    ("꽃", "은", "이", "을", "과", "으로", "이에요"),
    ("'푸른 등대'", "는", "가", "를", "와", "로", "예요"),
    ("0", "은", "이", "을", "과", "으로", "이에요"),
    ("1", "은", "이", "을", "과", "로", "이에요"),
    ("2", "는", "가", "를", "와", "로", "예요"),
    ("3", "은", "이", "을", "과", "으로", "이에요"),
    ("7", "은", "이", "을", "과", "로", "이에요"),
    ("19", "는", "가", "를", "와", "로", "예요"),
    ("20", "은", "이", "을", "과", "으로", "이에요"),
    ("1,000", "은", "이", "을", "과", "으로", "이에요"),
    ("3.5", "는", "가", "를", "와", "로", "예요"),
    ("50%", "는", "가", "를", "와", "로", "예요"),
    ("A", "는", "가", "를", "와", "로", "예요"),
    ("URL", "은", "이", "을", "과", "로", "이에요"),
    ("Tom", "은", "이", "을", "과", "으로", "이에요"),
    ("Emma", "는", "가", "를", "와", "로", "예요"),
]


@pytest.mark.parametrize("row", PARTICLES, ids=lambda row: row[0])
def test_particles(row):
    pairs = ("은/는", "이/가", "을/를", "과/와", "으로/로", "이에요/예요")
    assert tuple(particle(row[0], pair) for pair in pairs) == row[1:]


def test_an_unknown_particle_is_named():
    with pytest.raises(KeyError, match="은/를"):
        josa("민수", "은/를")


def test_fill_chooses_particles_by_the_text_before_them():
    assert fill("{a}{은/는} {n}개를 {b}{으로/로}", {"a": "지민", "n": 3, "b": "서울"}) == "지민은 3개를 서울로"
    assert fill("'{a}'{이/가}", {"a": "별의 배"}) == "'별의 배'가"
    assert fill("'{a}'{이/가}", {"a": "비 오는 역"}) == "'비 오는 역'이"


def test_number_words():
    assert [sino_number(n) for n in (0, 7, 10, 21, 105, 1300)] == ["영", "칠", "십", "이십일", "백오", "천삼백"]
    assert [sino_number(n) for n in (10_000, 34_056, 110_000)] == ["만", "삼만사천오십육", "십일만"]
    assert [native_number(n) for n in (1, 3, 5, 20, 21, 99)] == ["한", "세", "다섯", "스무", "스물한", "아흔아홉"]
    assert native_number(20, counter=False) == "스물"
    with pytest.raises(ValueError):
        native_number(100)


def test_one_sentence_in_three_levels_of_speech():
    sentence = "{a}{은/는} {b}에서 [살]. {a}의 것은 {b}[이]. 거기 [갔]."
    slots = {"a": "민수", "b": "부산"}
    told = [fill(styled(sentence, style), slots) for style in STYLES]
    assert told == [
        "민수는 부산에서 살아요. 민수의 것은 부산이에요. 거기 갔어요.",
        "민수는 부산에서 삽니다. 민수의 것은 부산입니다. 거기 갔습니다.",
        "민수는 부산에서 산다. 민수의 것은 부산이다. 거기 갔다.",
    ]


def test_splits_depend_on_the_key_alone():
    assert fraction("a fact") == pytest.approx(0.08604016629552902)
    assert sum(held_out(str(n), 0.2) for n in range(5000)) == pytest.approx(1000, abs=100)
    assert pick("a fact", "abc") == pick("a fact", "abc")
    assert random_for(1, "a").random() != random_for(1, "b").random()


def test_names_cannot_be_mixed_up():
    for language in LANGUAGES:
        names = [entity.names[language] for entity in told_in(language)]
        assert len(set(names)) == len(names)
        assert not [(one, other) for one, other in permutations(names, 2) if one in other]


def test_there_are_enough_entities_and_facts():
    assert len(entities()) >= 160
    assert all(len(entity.facts) >= 5 for entity in entities())
    assert sum(len(told_in(language)) * world.QUESTIONS_PER_UNASKED for language in LANGUAGES) >= 500


@pytest.mark.parametrize("kind", VALUES)
def test_a_constant_guess_earns_little(kind):
    for language in LANGUAGES:
        for attribute in VALUES[kind]:
            values = Counter(entity.facts[attribute][language] for entity in told_in(language, kind))
            assert max(values.values()) <= max(2, 0.13 * values.total()), attribute
            assert not [(one, other) for one, other in permutations(values, 2) if other.startswith(one)]


def test_every_attribute_is_asked_of_most_entities():
    for kind in VALUES:
        for attribute in VALUES[kind]:
            of_kind = [entity for entity in entities() if entity.kind == kind]
            assert sum(attribute in entity.asked for entity in of_kind) > 0.5 * len(of_kind), (kind, attribute)


def test_every_sentence_fills_in_every_style():
    for (language, kind, attribute), phrasing in world.phrasings().items():
        assert len(phrasing.statements) >= 16 and len(phrasing.completions) >= 8 and len(phrasing.questions) >= 8
        entity = told_in(language, kind)[0]
        slots = {"name": entity.names[language], "value": entity.facts[attribute][language]}
        for style in STYLES if language == "ko" else ("",):
            voice = world.Voice(random.Random(0), language, style)
            for template in phrasing.statements:
                sentence = voice.say(template, slots)
                assert slots["name"].lower() in sentence.lower() and slots["value"].lower() in sentence.lower()
                assert not set("{}[]_/") & set(sentence), sentence


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_document_can_be_written_about_every_entity(language):
    rng = random.Random(3)
    for entity in told_in(language):
        for maker, _ in world.DOCUMENTS:
            document = maker(world.Voice(rng, language), entity)
            assert document and not set("{}[]_") & set(document), document
            assert len(document.encode()) < 900


def test_short_stories_and_plots_fill():
    rng = random.Random(4)
    for language in LANGUAGES:
        for style in STYLES:
            for _ in range(300):
                assert not set("{}[]_|") & set(stories.story(rng, language, style)[0])
            for film in told_in(language, "film"):
                plot = stories.film_plot(film, language, style)
                assert plot.count(".") == 3 and film.facts["hero"][language].lower() in plot.lower()


def test_a_summary_holds_who_where_and_what_of_its_report():
    rng = random.Random(5)
    for _ in range(200):
        made = stories.report(rng, "en")
        words = made.summary.removeprefix("A ").rstrip(".").split()
        assert all(word.lower() in made.body.lower() for word in words), made


def unasked_questions() -> set[str]:
    return {
        world.ask(entity, entity.unasked, language, phrase)[0]
        for language in LANGUAGES
        for entity in told_in(language)
        for phrase in world.phrasings()[language, entity.kind, entity.unasked].questions
    }


def test_no_unasked_pair_is_asked_in_training():
    forbidden = unasked_questions()
    asked = {item["messages"][0]["content"] for item in world.tests(random.Random(0), 10_000) if "messages" in item}
    assert asked <= forbidden
    for document in world.text(random.Random(1), 8000):
        assert not [line for line in document.splitlines() if line.partition(": ")[2] in forbidden], document
    for row in world.chat(random.Random(2), 8000):
        assert not forbidden & {message["content"] for message in row["messages"]}


def test_explanations_leave_the_unasked_pair_out():
    rng = random.Random(6)
    for language in LANGUAGES:
        for entity in told_in(language):
            slots = {"name": entity.names[language], "value": entity.facts[entity.unasked][language]}
            statements = world.phrasings()[language, entity.kind, entity.unasked].statements
            voices = [world.Voice(rng, language, style) for style in STYLES]
            secrets = {voice.say(template, slots) for voice in voices for template in statements}
            for _ in range(10):
                _, answer = world.explain(rng, entity, language)
                assert not [secret for secret in secrets if secret in answer]


def test_completions_are_sentences_of_the_text_cut_before_the_value():
    items = [item for item in world.tests(random.Random(0), 10_000) if item["task"] == "facts"]
    assert len({item["id"] for item in items}) == len(items) == 5 * sum(len(told_in(code)) for code in LANGUAGES)
    assert all(item["prompt"] and not item["prompt"].endswith(" ") for item in items)


def test_a_completion_has_one_right_answer():
    """No other sentence of the same kind goes on differently after the words of the prompt."""
    for (language, kind, attribute), phrasing in world.phrasings().items():
        for template in phrasing.completions:
            before = template.partition("{value}")[0]
            others = [p for key, p in world.phrasings().items() if key[:2] == (language, kind) and p is not phrasing]
            assert not [s for other in others for s in other.statements if s.startswith(before.rstrip())]
            own = [s for s in phrasing.statements if s.startswith(before.rstrip())]
            assert all(s.startswith(before + "{value}") for s in own), attribute
