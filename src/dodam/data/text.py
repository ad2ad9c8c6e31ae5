"""What is done to every text that is learned from: clean it, and tell its language. In: a string. Out: a string."""

import re
import unicodedata

UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
"""Control characters but newline and tab, byte-order marks, halves of surrogate pairs (no UTF-8 can hold them)."""

HANGUL = re.compile("[가-힣ㄱ-ㅎㅏ-ㅣ]")
LATIN = re.compile("[A-Za-z]")
LOOKED_AT = 4096  # characters that decide on the language


def clean(text: str) -> str:
    """NFC, `\\n` as the only line end, no control characters, no white space around it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", UNWANTED.sub("", text)).strip()


def storable(text: str) -> str:
    """The text without halves of surrogate pairs, which no UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="ignore").decode()
    return text


def language(text: str) -> str:
    """`ko`, `en` or `other`, by the share of Hangul and of Latin among the letters. A Hangul syllable says as much as
    two or three Latin letters, so a fifth of Hangul makes a Korean text, foreign names and code notwithstanding."""
    text = text[:LOOKED_AT]
    hangul, latin, letters = len(HANGUL.findall(text)), len(LATIN.findall(text)), sum(map(str.isalpha, text))
    if hangul and hangul >= 0.2 * letters:
        return "ko"
    return "en" if latin > 0.5 * letters else "other"
