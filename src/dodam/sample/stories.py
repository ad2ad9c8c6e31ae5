"""Short stories, the plots of the bundled films, and reports with their summaries.

In: a random generator and a count. Out: `text` (stories, plots, reports), `chat` (summaries, plots in three sentences,
stories on request) and `tests` of `summary`: reports whose who, where and what never come together in training.
"""

import random
from collections.abc import Iterator

from dodam.sample.endings import STYLES, styled
from dodam.sample.entities import Entity, told_in
from dodam.sample.korean import fill
from dodam.sample.phrasebook import columns, lines, listed, sections
from dodam.sample.reports import Report, report
from dodam.sample.split import chat_row, pick, plain_question, task_item

LANGUAGES = ("ko", "en")
POLITE = "합니다"

FILES = {language: sections(f"stories_{language}.txt") for language in LANGUAGES}
PLOTS = {language: [columns(plot) for plot in file["plots"].split("\n\n")] for language, file in FILES.items()}
FILM_PLOTS = {language: [lines(plot) for plot in file["film plots"].split("\n\n")] for language, file in FILES.items()}
SLOTS = ("who", "thing", "place", "food", "season", "weather")


def story(rng: random.Random, language: str, style: str) -> tuple[str, dict[str, str]]:
    """A short story and the words in its slots."""
    slots = {slot: rng.choice(listed(FILES[language][slot])) for slot in SLOTS}
    slots["who"], slots["friend"] = rng.sample(listed(FILES[language]["who"]), 2)
    beats = [rng.choice(wordings) for wordings in rng.choice(PLOTS[language])]
    return " ".join(fill(styled(beat, style), slots) for beat in beats), slots


def film_plot(film: Entity, language: str, style: str = POLITE) -> str:
    """The plot of a film in three sentences, always the same for a film and a level of speech."""
    key = " ".join(film.names.values())
    hero, thing = film.facts["hero"][language], film.facts["thing"][language]
    slots = {
        "hero": hero,
        "thing": thing,
        "the_hero": "the " + hero.partition(" ")[2],
        "the_thing": "the " + thing.partition(" ")[2],
        "helper": pick(f"helper {key}", listed(FILES[language]["film helpers"])),
        "place": pick(f"place {key}", listed(FILES[language]["film places"])),
    }
    sentences = pick(f"plot {key}", FILM_PLOTS[language])
    filled = (fill(styled(sentence, style), slots) for sentence in sentences)
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in filled)


def _line(rng: random.Random, language: str, section: str) -> str:
    return rng.choice(lines(FILES[language][section]))


def _summarised(rng: random.Random, made: Report) -> str:
    language = made.language
    form = rng.choice(("plain", "below", "title", "question", "question"))
    if form == "plain":
        return made.body
    if form == "below":
        return made.body + "\n" + _line(rng, language, "summary") + f": {made.summary}"
    if form == "title":
        return _line(rng, language, "titles") + f": {made.summary}\n{made.body}"
    return plain_question(language, _line(rng, language, "ask for a summary").format(made.body), made.summary)


def _plot_page(rng: random.Random, language: str) -> str:
    film = rng.choice(told_in(language, "film"))
    heading = _line(rng, language, "plot headings").format(film.names[language])
    return f"{heading}\n{film_plot(film, language, rng.choice(STYLES))}"


def text(rng: random.Random, count: int) -> Iterator[str]:
    """Pretraining documents: stories, reports with or without a summary, plots of films."""
    for kind in rng.choices(("story", "report", "plot"), (50, 42, 8), k=count):
        language = rng.choice(LANGUAGES)
        if kind == "story":
            yield story(rng, language, rng.choice(STYLES))[0]
        elif kind == "report":
            yield _summarised(rng, report(rng, language))
        else:
            yield _plot_page(rng, language)


def chat(rng: random.Random, count: int) -> Iterator[dict]:
    """Conversations that ask for a summary, the plot of a film, or a story."""
    for kind in rng.choices(("summary", "plot", "story"), (70, 20, 10), k=count):
        language = rng.choice(LANGUAGES)
        if kind == "summary":
            made = report(rng, language)
            yield chat_row(
                "summary", language, _line(rng, language, "ask for a summary").format(made.body), made.summary
            )
        elif kind == "plot":
            film = rng.choice(told_in(language, "film"))
            asked = fill(_line(rng, language, "ask for a plot").replace("{}", "{name}"), {"name": film.names[language]})
            yield chat_row("plot", language, asked, film_plot(film, language))
        else:
            told, slots = story(rng, language, rng.choice(STYLES[:2]))
            yield chat_row("story", language, fill(_line(rng, language, "ask for a story"), slots), told)


def tests(rng: random.Random, count: int) -> Iterator[dict]:
    """`count` items of the task `summary`, half Korean, half English."""
    for index in range(count):
        language = LANGUAGES[index % 2]
        made = report(rng, language, test=True)
        asked = _line(rng, language, "ask for a summary").format(made.body)
        yield task_item("summary", language, f"{language}-{index}", made.summary, "rouge", question=asked)
