"""Text that was read in the wrong encoding, put right: `í•œêµ­ì–´` and `ÇÑ±¹¾î` are `한국어` again.

In: a batch. Out: the same documents with such lines repaired, counted by document. Two kinds of damage lose nothing
and can be undone: UTF-8 read as a one-byte encoding (by `ftfy`, https://ftfy.readthedocs.io, in those lines alone that
it is sure of), and EUC-KR read as Latin-1 (`euc_kr` below). Everything else in a text stays: quotation marks, widths,
ligatures, and what was lost for good. It comes before control characters are removed, for they are half of the damage.
"""

import re
from typing import TYPE_CHECKING

from dodam.data.outcome import Outcome, edits, texts_of
from dodam.data.text import HANGUL
from dodam.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "documents changed: mojibake"
HINT = re.compile(
    "[\u00a0-\u02ff\u0370-\u052f\u201a-\u201e\u2020-\u2030\u221a\u2248\u2500-\u25ff][\u0080-\u0fff\u2000-\u2fff]"
)
"""A first byte of UTF-8 as some one-byte encoding shows it, and another byte behind it: what `ftfy` repairs has it."""
HEBREW = re.compile("[\u0590-\u05ff]")
WORD = 3  # letters of Hebrew that a line must gain: in `가로×‘세로’` a sign and a quotation mark look like one
LATIN_RUN = re.compile("[\u00a1-\u00fe]{2,}")
EUC_HANGUL = re.compile("[\u00b0-\u00c8][\u00a1-\u00fe]")
LEAST = 3  # syllables that a text must gain before so unlikely a thing is believed
SHARE = 0.9  # of the accented letters in it that must be halves of syllables
FREQUENT = re.compile("[이다는에의을고하지은를가로한도사아나그어시인해자리기있서스대]")
OFTEN = 0.2  # of the syllables that must be among these, which are two in five in any Korean text


def mojibake(batch: "pa.RecordBatch") -> Outcome:
    """Every text with broken lines repaired. UsageError without the package ftfy."""
    texts = texts_of(batch)
    suspects = [row for row, text in enumerate(texts) if HINT.search(text)]
    changed = {row: after for row in suspects if (after := repaired(texts[row])) != texts[row]}
    return edits(batch, texts, changed, REASON)


def repaired(text: str) -> str:
    """The text with every line put right that is surely broken."""
    lines = euc_kr(text).split("\n")
    for place, line in enumerate(lines):
        if HINT.search(line):
            after = euc_kr(line)  # beside lines that are broken in another way the text as a whole was not sure
            lines[place] = utf_8(line) if after == line else after
    return "\n".join(lines)


def utf_8(line: str) -> str:
    """A line with UTF-8 that was read as a one-byte encoding decoded as what it is, where `ftfy` finds it to be so."""
    try:
        import ftfy
    except ImportError:
        raise UsageError("repairing mojibake needs the package ftfy", mend="pip install ftfy") from None
    settings = ftfy.TextFixerConfig(
        unescape_html=False, fix_c1_controls=False, replace_lossy_sequences=False, explain=False
    )
    after = ftfy.fix_encoding(line, settings)
    if EUC_HANGUL.search(after) and _halves(line, _decoded_runs(line)):
        return line  # EUC-KR of which some bytes are UTF-8 by chance
    return line if 0 < len(HEBREW.findall(after)) - len(HEBREW.findall(line)) < WORD else after


def euc_kr(text: str) -> str:
    """EUC-KR that was read as Latin-1, decoded. Two bytes of a syllable show as a sign or a capital from ° to È and any
    letter behind it; where nearly all letters beyond ASCII come in such pairs, the text is no European language."""
    if not EUC_HANGUL.search(text):
        return text
    after = _decoded_runs(text)
    gained = len(HANGUL.findall(after)) - len(HANGUL.findall(text))
    frequent = len(FREQUENT.findall(after)) - len(FREQUENT.findall(text))
    sure = gained >= LEAST and _halves(text, after) and frequent >= OFTEN * gained
    return after if sure else text


def _halves(text: str, after: str) -> bool:
    """Whether nearly all letters beyond ASCII are halves of the syllables that decoding has gained."""
    gained = len(HANGUL.findall(after)) - len(HANGUL.findall(text))
    return 2 * gained >= SHARE * len(re.findall("[\u00a1-\u00fe]", text)) > 0


def _decoded_runs(text: str) -> str:
    return LATIN_RUN.sub(_decoded, text)


def _decoded(match: re.Match[str]) -> str:
    try:
        return match[0].encode("latin-1").decode("euc_kr")
    except UnicodeDecodeError:
        return match[0]
