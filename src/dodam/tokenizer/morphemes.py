"""Text cut at the borders of Korean morphemes, for learning merges that do not cross them.

In come texts, out come the same texts with a mark at every border inside a word: 학교에서는 -> 학교‖에서‖는. Only
learning reads them; whoever encodes later needs no analyser. The analyser is `kiwipiepy` (extra `ko`).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dodam.errors import UsageError

if TYPE_CHECKING:
    from kiwipiepy import Kiwi, Token

BORDER = "\x1f"
"""The unit separator, which is in no cleaned text; any that is there all the same is taken for white space."""
WORD = re.compile("[가-힣]{2,}")
GROUP = 1_000_000
KEPT = 1_000_000  # words whose borders are remembered at one time


def load_kiwi() -> "Kiwi":
    """The analyser, which takes some seconds to load. UsageError where it is not installed."""
    try:
        from kiwipiepy import Kiwi
    except ImportError:
        mend = "Install it with `pip install 'dodam[ko]'`, or choose --split korean."
        raise UsageError("needs kiwipiepy, which is not installed", where="--split morphemes", mend=mend) from None
    return Kiwi()


def with_borders(texts: Iterable[str]) -> Iterator[str]:
    """The texts with `BORDER` between the morphemes of each run of Hangul. A run is looked at by itself, once, and the
    text is in composed form (NFC)."""
    kiwi = load_kiwi()
    known: dict[str, str] = {}
    for group in groups(unicodedata.normalize("NFC", text).replace(BORDER, " ") for text in texts):
        words = {word for text in group for word in WORD.findall(text)}
        if len(known) > KEPT:
            known.clear()
        new = sorted(words - known.keys())
        found: Any = kiwi.tokenize(new)
        for word, tokens in zip(new, found, strict=True):
            known[word] = marked(word, tokens)
        for text in group:
            yield WORD.sub(lambda found: known[found[0]], text)


def groups(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of about `GROUP` characters, for the analyser is slow with few words at a time."""
    group, size = [], 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size > GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def marked(word: str, tokens: "Iterable[Token]") -> str:
    """A word with `BORDER` where one of its morphemes begins and none goes on; what is contracted (했 = 하 + 었) is not
    cut."""
    borders, reached = [], 0
    for token in tokens:
        if 0 < token.start < len(word) and token.start >= reached:
            borders.append(token.start)
        reached = max(reached, token.start + token.len)
    ends = [*borders, len(word)]
    return BORDER.join(word[start:end] for start, end in zip([0, *borders], ends, strict=True))
