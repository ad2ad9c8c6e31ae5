"""The cleaning steps in their order, and the switches by which they are chosen.

In: a batch of documents and a `Cleaning`. Out: for every step that is on, its name and its `Outcome`; the batch of the
last one is what is left. What needs to see all documents (repeated lines, duplicates, contamination) comes after it,
in `repeated_lines.py`, `data/duplicates.py` and `data/contamination.py`. All steps are pure: the same documents give
the same result in any batches, on any machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le

from dodam.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from dodam.data.outcome import Outcome


COUNTRIES = {"kr": "ko", "jp": "ja", "cn": "zh"}
"""What people write for a language, and its code."""


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Which cleaning steps are done."""

    boilerplate: bool = True
    """Turn texts that are whole web pages into their main text."""
    mojibake: bool = True
    """Repair text that was read in the wrong encoding."""
    unicode: bool = True
    """Composed Unicode (NFC), one line end, no control characters."""
    repeated_lines: Annotated[float, Ge(0), Le(1)] = 0.0
    """Take out lines that stand in this share of a source's documents, and in 20 of them: 0.1 for web pages. 0 keeps
    all."""
    languages: tuple[str, ...] = ()
    """Keep only documents in these languages: ko en. None named: keep all."""
    quality: bool = False
    """Leave out documents that are too short, hold few sentences or repeat themselves: for text from the web."""
    personal: bool = True
    """Mask e-mail addresses, telephone, card, resident, business and account numbers and IP addresses."""

    def __post_init__(self) -> None:
        meant = next((name for name in self.languages if name in COUNTRIES), "")
        if meant:
            raise UsageError(
                f"{meant!r} is a country", where="--clean.languages", mend=f"Did you mean {COUNTRIES[meant]}?"
            )
        odd = [name for name in self.languages if not (len(name) == 2 and name.isalpha() and name.islower())]
        if odd:
            raise UsageError(
                f"{odd[0]!r} is no language code of two small letters",
                where="--clean.languages",
                mend="Such as: --clean.languages ko en",
            )


def clean_batch(batch: "pa.RecordBatch", settings: Cleaning) -> list[tuple[str, "Outcome"]]:
    """Every step that is on, in order, each on what the one before left. UsageError where one lacks its package.

    Languages are always told: `quality` goes by them, and the report. With `personal` the samples of all steps are
    masked."""
    # Imported here, for `--help` reads this file and should not wait for numpy and the patterns.
    from dodam.data.cleaning.boilerplate import boilerplate
    from dodam.data.cleaning.languages import languages
    from dodam.data.cleaning.mojibake import mojibake
    from dodam.data.cleaning.personal import masked_samples, personal
    from dodam.data.cleaning.quality import quality
    from dodam.data.cleaning.unicode import unicode

    steps: dict[str, Callable[[pa.RecordBatch], Outcome]] = {
        "boilerplate": boilerplate,
        "mojibake": mojibake,
        "unicode": unicode,
        "languages": lambda batch: languages(batch, settings.languages),
        "quality": quality,
        "personal": personal,
    }
    done = []
    for name, step in steps.items():
        if name == "languages" or getattr(settings, name):
            outcome = step(batch)
            if settings.personal and name != "personal":
                outcome = masked_samples(outcome)
            done.append((name, outcome))
            batch = outcome.batch
    return done
