"""Three levels of Korean speech from one sentence.

In: a template whose predicates stand in brackets as stems, "{name}{은/는} {value}에서 [살]." Out: the template in one
`STYLES` style: "살아요." (해요체), "삽니다." (합니다체), "산다." (한다체); `[이]` is the copula, past stems end in ㅆ.
"""

import re
from functools import lru_cache

from dodam.sample.conjugation import BIEUP, RIEUL, SSANG_SIOT, add_final, final, open_stem, plain_present

STYLES = ("해요", "합니다", "한다")

COPULA = {"해요": "{이에요/예요}", "합니다": "입니다", "한다": "{이다/다}"}

PAST_COPULA = {"해요": "{이었/였}어요", "합니다": "{이었/였}습니다", "한다": "{이었/였}다"}

LINKED = {
    "가": "가", "걷": "걸어", "깨닫": "깨달아", "나오": "나와", "나타나": "나타나", "넣": "넣어", "다루": "다뤄",
    "달아나": "달아나", "데려가": "데려가", "돌아가": "돌아가", "돌아오": "돌아와", "되": "돼", "두": "둬",
    "들려주": "들려줘", "떠나": "떠나", "떠올리": "떠올려", "떨": "떨어", "만나": "만나", "많": "많아", "맞": "맞아",
    "먹": "먹어", "모이": "모여", "받": "받아", "보내": "보내", "보이": "보여", "부르": "불러", "빛나": "빛나",
    "빠지": "빠져", "사": "사", "살": "살아", "삼": "삼아", "숨": "숨어", "시작되": "시작돼", "싶": "싶어",
    "않": "않아", "없": "없어", "열": "열어", "열리": "열려", "오": "와", "적": "적어", "좋": "좋아", "즐기": "즐겨",
    "쫓": "쫓아", "찾": "찾아", "팔": "팔아", "퍼지": "퍼져", "풀": "풀어", "피": "피어",
}  # fmt: skip
"""The 아/어 form of each stem used in brackets; stems in 하 and ㅆ need no entry."""

ADJECTIVES = frozenset(("많", "싶", "없", "유명하", "좋", "충분하"))
"""Stems whose written present takes no ㄴ/는: 충분하다, not 충분한다."""


@lru_cache(maxsize=65536)
def styled(template: str, style: str) -> str:
    """`template` with every bracketed stem in `style`.

    Raises:
        KeyError: a stem that `LINKED` does not know.
    """
    return re.sub(r"\[([^\]]+)\]", lambda found: predicate(found.group(1), style), template)


def predicate(stem: str, style: str) -> str:
    """One predicate: ("살", "합니다") -> "삽니다"."""
    if stem in ("이", "이었"):
        return (COPULA if stem == "이" else PAST_COPULA)[style]
    if style == "해요":
        return _linked(stem) + "요"
    if style == "합니다":
        if final(stem) in (0, RIEUL):
            return add_final(open_stem(stem), BIEUP) + "니다"
        return stem + "습니다"
    if final(stem) == SSANG_SIOT or stem in ADJECTIVES:
        return stem + "다"
    return plain_present(stem)


def _linked(stem: str) -> str:
    if final(stem) == SSANG_SIOT:
        return stem + "어"
    if stem in LINKED:
        return LINKED[stem]
    if stem.endswith("하"):
        return stem[:-1] + "해"
    raise KeyError(stem)
