"""Short reports and the one sentence that sums each up: who did what where.

In: a random generator and reports_*.txt. Out: `report(...)`, a report with its summary. The combination of who, where
and what decides whether a report belongs to the tests.
"""

import random
from dataclasses import dataclass

from dodam.sample.endings import STYLES, styled
from dodam.sample.korean import fill
from dodam.sample.phrasebook import lines, listed, sections
from dodam.sample.split import held_out

HELD_OUT_SHARE = 0.1

FILES = {language: sections(f"reports_{language}.txt") for language in ("ko", "en")}
WHO, WHERE, WHAT = (
    list(zip(listed(FILES["ko"][name]), listed(FILES["en"][name]), strict=True)) for name in ("who", "where", "what")
)
"""Korean and English side by side."""


@dataclass(frozen=True)
class Report:
    """Three to five sentences, and the sentence that sums them up."""

    language: str
    body: str
    summary: str


def report(rng: random.Random, language: str, *, test: bool = False) -> Report:
    """A report whose combination of who, where and what belongs to the tests or to the training part."""
    while True:
        rows = rng.choice(WHO), rng.choice(WHERE), rng.choice(WHAT)
        if held_out(f"summary {rows}", HELD_OUT_SHARE) == test:
            break
    who, where, what = (row[language == "en"] for row in rows)
    style = rng.choice(STYLES)
    file = FILES[language]
    when = rng.choice(listed(file["when"]))
    slots = {"who": who, "where": where, "what": styled(what, style), "when": when}
    slots["when_inside"] = when[0].lower() + when[1:]
    slots["where_first"] = where[0].upper() + where[1:]
    template = rng.choice(lines(file[rng.choice(("place first", "who first"))]))
    body = " ".join([template, *rng.sample(lines(file["details"]), rng.randint(1, 2))])
    if language == "ko":
        summary = fill("{who}{이/가} {where}에서 {what}.", slots | {"what": styled(what, "합니다")})
        return Report(language, fill(styled(body, style), slots), summary)
    return Report(language, fill(body, slots), fill("A {who} {what} {where}.", slots))
