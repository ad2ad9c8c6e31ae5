"""The language of every document: Hangul first, then the letters, then `py3langid` where there are enough of them.

In: a batch. Out: the batch with its column `language` filled ("ko", "en", another ISO 639-1 code, or "" where nobody
can tell), and without the documents in languages that are not wanted.

A fifth of Hangul among the letters makes a Korean text whatever else is in it. A text in other letters is judged by
its first 600 characters, from 50 letters on; Latin letters are English unless the model is sure of another language,
for lists, code and names look foreign to it.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dodam.data.cleaning.characters import HANGUL, LATIN, LETTER, kinds
from dodam.data.outcome import Outcome, dropped, texts_of
from dodam.data.text import LOOKED_AT
from dodam.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

HANGUL_SHARE = 0.2  # of the letters, as in data/text.py
ENOUGH = 50  # letters below which the model only guesses
READ = 600  # characters the model reads
SURE, LIKELY = 0.9, 0.5  # of a language other than English in Latin letters; of any in other letters
ENGLISH = re.compile(r"\b(the|and|of|to|that|with|for|this|is|are|was)\b", re.ASCII | re.IGNORECASE)
DIFFERENT = 3  # of these words, `the` among them, make a text English without asking the model, which is slow


def languages(batch: "pa.RecordBatch", wanted: Sequence[str] = ()) -> Outcome:
    """Fill `language`; with `wanted` drop the documents in all others. UsageError without the package py3langid."""
    import pyarrow as pa

    found = [language(text) for text in texts_of(batch)]
    place = batch.schema.get_field_index("language")
    batch = batch.set_column(place, batch.schema.field(place), pa.array(found, pa.string()))
    if not wanted:
        return Outcome(batch, {}, ())
    unwanted = {row: f"language {name or 'unknown'}" for row, name in enumerate(found) if name not in wanted}
    return dropped(batch, unwanted)


def language(text: str) -> str:
    """The language of one text: "ko", "en", another ISO 639-1 code, or ""."""
    counts = np.bincount(kinds(text[:LOOKED_AT]), minlength=HANGUL + 1)
    hangul, latin = counts[HANGUL], counts[LATIN]
    letters = hangul + latin + counts[LETTER]
    if hangul and hangul >= HANGUL_SHARE * letters:
        return "ko"
    by_letters = "en" if latin > 0.5 * letters else ""
    start = text[:READ]
    if letters < ENOUGH or (by_letters and _is_surely_english(start)):
        return by_letters
    name, probability = _identifier().classify(start)
    # Korean is told by its letters alone, above; zxx is no language.
    return name if name not in ("ko", "zxx") and probability >= (SURE if by_letters else LIKELY) else by_letters


def check_known(names: Sequence[str]) -> None:
    """UsageError for a language that no text is ever told to be in."""
    unknown = [name for name in names if name not in ("ko", "en") and name not in _identifier().nb_classes]
    if unknown:
        known = ", ".join(sorted(name for name in _identifier().nb_classes if len(name) == 2))
        mend = f"Known: ko, {known}."
        raise UsageError(f"{unknown[0]} is no language that is known here", where="--clean.languages", mend=mend)


def _is_surely_english(text: str) -> bool:
    found = {word.lower() for word in ENGLISH.findall(text)}
    return "the" in found and len(found) >= DIFFERENT


@cache
def _identifier():
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise UsageError("telling languages needs the package py3langid", mend="pip install py3langid") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
