"""Three levels of Korean speech from one sentence.

In: a template whose predicates stand in brackets as stems, "{name}{은/는} {value}에서 [살]." Out: the template in one
`STYLES` style: "살아요." (해요체), "삽니다." (합니다체), "산다." (한다체); `[이]` is the copula, past stems end in ㅆ.
"""

import re
from functools import lru_cache

from dodam.sample.conjugation import BIEUP, RIEUL, SSANG_SIOT, add_final, final, open_stem, plain_present

STYLES = ("해요", "합니다", "한다")

COPULA = {"해요": "{이에요/예요}", "합니다": "입니다", "한다": "{이다/다}"}

LINKED = {
    "가": "가", "가르치": "가르쳐", "걸리": "걸려", "걷": "걸어", "꼽히": "꼽혀", "꾸미": "꾸며", "끌": "끌어", "나": "나",
    "나오": "나와", "나타나": "나타나", "남": "남아", "다루": "다뤄", "다르": "달라", "되": "돼", "들": "들어", "들려주": "들려줘",
    "떠오르": "떠올라", "떠올리": "떠올려", "만나": "만나", "만들": "만들어", "맡": "맡아", "먹": "먹어", "모르": "몰라",
    "모이": "모여", "믿": "믿어", "받": "받아", "보": "봐", "보내": "보내", "보이": "보여", "부르": "불러", "불리": "불려",
    "붙": "붙어", "빛나": "빛나", "사": "사", "살": "살아", "숨": "숨어", "쉬": "쉬어", "쓰": "써", "시작되": "시작돼", "알": "알아",
    "알려지": "알려져", "열": "열어", "열리": "열려", "오": "와", "이르": "이르러", "잡": "잡아", "적": "적어", "전하": "전해",
    "즐기": "즐겨", "지키": "지켜", "짓": "지어", "찍": "찍어", "찾": "찾아", "챙기": "챙겨", "커지": "커져", "팔": "팔아",
    "펼쳐지": "펼쳐져", "피": "피어", "피하": "피해", "흐르": "흘러", "돌아오": "돌아와", "떠나": "떠나", "배우": "배워", "자라": "자라",
    "멈추": "멈춰", "웃": "웃어", "깨닫": "깨달아", "돌보": "돌봐", "이기": "이겨", "나누": "나눠", "떨": "떨어", "달아나": "달아나",
    "차지하": "차지해", "두": "둬", "높": "높아", "많": "많아", "같": "같아", "좋": "좋아", "싶": "싶어", "않": "않아",
    "맞": "맞아", "켜": "켜", "주": "줘", "삼": "삼아", "없": "없어", "돌아가": "돌아가", "넣": "넣어", "그리": "그려", "고르": "골라", "외우": "외워", "물어보": "물어봐",
}  # fmt: skip
"""The 아/어 form of each stem used in brackets; stems in 하 need no entry."""

ADJECTIVES = frozenset("유명하 행복하 소중하 특별하 분명하 충분하 궁금하 비슷하 조용하 다르 높 많 같 좋 싶 없".split())
"""Stems whose written present takes no ㄴ/는: 유명하다, not 유명한다."""


@lru_cache(maxsize=65536)
def styled(template: str, style: str) -> str:
    """`template` with every bracketed stem in `style`.

    Raises:
        KeyError: a stem that `LINKED` does not know.
    """
    return re.sub(r"\[([^\]]+)\]", lambda found: predicate(found.group(1), style), template)


def predicate(stem: str, style: str) -> str:
    """One predicate: ("살", "합니다") -> "삽니다"."""
    if stem == "이":
        return COPULA[style]
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
