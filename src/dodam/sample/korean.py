"""Korean particles and number words.

In: words (Hangul, digits or Latin letters) and templates such as "{이름}{은/는} {도시}에서 살아요.".
Out: the same text with the particle that the last sound of the word before it asks for.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

PARTICLES = (
    "은/는", "이/가", "을/를", "과/와", "으로/로", "이나/나", "이랑/랑", "아/야", "이야/야", "이에요/예요", "이었/였",
    "이라/라", "이고/고", "이며/며", "이든/든", "이란/란", "이다/다",
)  # fmt: skip
"""Known pairs: the form after a final consonant, then the form after a vowel."""

RIEUL = 8
"""Index of the final consonant ㄹ in the Unicode order of finals; 0 is "no final"."""

CONSONANT = 21
"""Index of ㅇ: stands for any final consonant other than ㄹ where the exact one does not matter."""

# Finals of the digits as read: 영 일 이 삼 사 오 육 칠 팔 구.
DIGIT_FINALS = (CONSONANT, RIEUL, 0, CONSONANT, 0, 0, CONSONANT, RIEUL, RIEUL, 0)
CLOSING = "\"'”’)]}」』》〉.,!?… "

DIGITS = ("", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")
SMALL_UNITS = ("", "십", "백", "천")
LARGE_UNITS = ("", "만", "억", "조")
NATIVE_ONES = ("", "하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉")
NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
COUNTER_FORMS = {"하나": "한", "둘": "두", "셋": "세", "넷": "네", "스물": "스무"}


@lru_cache(maxsize=65536)
def final(word: str) -> int:
    """The final consonant of the last sound of `word`: 0 for none, `RIEUL` for ㄹ, else another number.

    Closing quotes, brackets and punctuation are passed over. Digits sound as Korean numbers, Latin capitals as letter
    names (PDF ends in 에프), other Latin words roughly as Koreans transcribe them.
    """
    word = word.rstrip(CLOSING)
    if not word:
        return 0
    last = word[-1]
    if "가" <= last <= "힣":
        return (ord(last) - 0xAC00) % 28
    if last.isascii() and last.isdigit():
        return _digit_final(word)
    if last.isascii() and last.isalpha():
        return _latin_final(word)
    return 0


def _digit_final(word: str) -> int:
    number = re.findall(r"[\d,]*\.?\d+$", word)[0].replace(",", "")
    significant = number.rstrip("0")
    if "." in number or not significant or significant == number:
        return DIGIT_FINALS[int(number[-1])]
    # 10 십, 100 백, 1,000 천, 10,000 만 and so on: every unit has a final except 조 (10^12).
    return 0 if 12 <= len(number) - len(significant) < 16 else CONSONANT


def _latin_final(word: str) -> int:
    letters = re.findall(r"[A-Za-z]+$", word)[0]
    if letters.isupper():
        return {"L": RIEUL, "R": RIEUL, "M": CONSONANT, "N": CONSONANT}.get(letters[-1], 0)
    ending = letters.lower()
    if ending.endswith("l") or ending.endswith("le"):
        return RIEUL
    return CONSONANT if re.search(r"([mn]|ng|ck|[aeiou][bckpt])$", ending) else 0


def particle(word: str, pair: str) -> str:
    """The form of `pair` ("은/는", ...) that follows `word`; ㄹ counts as a vowel before 으로/로.

    Raises:
        KeyError: the pair is not one of `PARTICLES`.
    """
    if pair not in PARTICLES:
        raise KeyError(f"{pair}: unknown particle pair; write one of {' '.join(sorted(PARTICLES))}")
    with_final, without_final = pair.split("/")
    found = final(word)
    if found == 0 or (found == RIEUL and pair == "으로/로"):
        return without_final
    return with_final


def josa(word: str, pair: str) -> str:
    """`word` with its particle: josa("민수", "은/는") -> "민수는"."""
    return word + particle(word, pair)


@lru_cache(maxsize=65536)
def _pieces(template: str) -> tuple[str, ...]:
    return tuple(re.split(r"\{([^{}]+)\}", template))


def fill(template: str, slots: Mapping[str, object]) -> str:
    """`template` with `{key}` taken from `slots` and `{은/는}` chosen by the text before it, in one pass.

    fill("{이름}{은/는} {수}개를", {"이름": "민수", "수": 3}) -> "민수는 3개를". English templates work the same way.

    Raises:
        KeyError: a slot that `slots` does not have.
    """
    pieces = _pieces(template)
    out = [pieces[0]]
    last = pieces[0]
    for index in range(1, len(pieces), 2):
        key = pieces[index]
        word = particle(last, key) if "/" in key else str(slots[key])
        following = pieces[index + 1]
        out.append(word)
        out.append(following)
        last = word + following
    return "".join(out)


def sino_number(n: int) -> str:
    """Chinese-Korean reading of 0 <= n < 10^16: 0 영, 10 십, 21 이십일, 12345 만 이천삼백사십오 (written together)."""
    if n == 0:
        return "영"
    text = ""
    for large in LARGE_UNITS:
        n, group = divmod(n, 10_000)
        if group:
            read = _group(group)
            text = ("만" if large == "만" and group == 1 and not n else read + large) + text
    return text


def _group(group: int) -> str:
    text = ""
    for unit in SMALL_UNITS:
        group, digit = divmod(group, 10)
        if digit:
            text = (unit if digit == 1 and unit else DIGITS[digit] + unit) + text
    return text


def native_number(n: int, *, counter: bool = True) -> str:
    """Native reading of 1 <= n <= 99: before a counter 한, 두, 세, 스무, 스물한; else 하나, 둘, 스물."""
    if not 1 <= n <= 99:
        raise ValueError(f"native numbers run from 1 to 99, not {n}")
    tens, ones = NATIVE_TENS[n // 10], NATIVE_ONES[n % 10]
    if not counter:
        return tens + ones
    if ones:
        return tens + COUNTER_FORMS.get(ones, ones)
    return COUNTER_FORMS.get(tens, tens)
