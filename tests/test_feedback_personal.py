"""Personal data is masked by its form, what only looks like it stays, and nothing else in a text changes."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodam.feedback.personal import finds, is_business, is_card, is_iban, is_resident, masked

MASKED = {
    "kim@naver.com으로 보내줘": "[EMAIL]으로 보내줘",
    "메일은kim.lee+a@sub.example.co.kr.": "메일은[EMAIL].",
    "kim@한글.한국 입니다": "[EMAIL] 입니다",
    "010-1234-5678로 전화해": "[PHONE]로 전화해",
    "01012345678": "[PHONE]",
    "０１０－１２３４－５６７８": "[PHONE]",
    "010 1234 5678, 02)345-6789": "[PHONE], [PHONE]",
    "(02) 345-6789": "[PHONE]",
    "031-123-4567": "[PHONE]",
    "1588-1234": "[PHONE]",
    "+82 10-1234-5678": "[PHONE]",
    "+1 (415) 555-2671": "[PHONE]",
    "(415) 555-2671": "[PHONE]",
    "4111 1111 1111 1111": "[CARD]",
    "카드는 5500-0000-0000-0004예요": "카드는 [CARD]예요",
    "378282246310005": "[CARD]",
    "900101-1234568": "[RESIDENT]",
    "9001011234568": "[RESIDENT]",
    "201105-3123456": "[RESIDENT]",  # given out since October 2020: no check digit
    "120-81-47521": "[BUSINESS]",
    "사업자번호1208147521": "사업자번호[BUSINESS]",
    "192.168.0.1에서": "[IP]에서",
    "2001:db8::ff00:42:8329": "[IP]",
    "110-123-456789": "[ACCOUNT]",
    "3333-01-1234567 카카오": "[ACCOUNT] 카카오",
    "계좌번호는 국민 12345678901234": "계좌번호는 국민 [ACCOUNT]",
    "GB82 WEST 1234 5698 7654 32": "[ACCOUNT]",
    "한 줄에 kim@a.co, 010-1111-2222, 10.0.0.1": "한 줄에 [EMAIL], [PHONE], [IP]",
}


@pytest.mark.parametrize("text", MASKED)
def test_masked(text: str) -> None:
    assert masked(text) == MASKED[text]
    assert masked(f"앞 {text} 뒤") == f"앞 {MASKED[text]} 뒤"


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15 12:30:45",
        "2024-01-15-1230-99",
        "1,234,567,890원",
        "3.14159265358979",
        "4111 1111 1111 1112",  # no card: its check digit is wrong
        "901301-1234567",  # no month 13
        "9001011234567",  # no hyphen, and the check digit is wrong
        "a@b",
        "1.2.3",
        "300.1.1.1",
        "12:30:45",
        "C++::std::vector",
        "def f(a, b): return a - b",
        "1950-1953",
        "주문 20개, 2,000원",
        "GB82 WEST 1234 5698 7654 33",
        "ISO 8601-2019",
        "0000000000000000",
        "서울특별시 강남구에 사는 김도담",
    ],
)
def test_what_only_looks_personal_stays(text: str) -> None:
    assert masked(text) == text


def test_check_digits() -> None:
    """Every check finds one wrong digit; Luhn's was published with 79927398713."""
    assert is_card("0079927398713") and not is_card("0079927398710")
    for good, check in (
        ("4111111111111111", is_card),
        ("9001011234568", is_resident),
        ("1208147521", is_business),
        ("GB82WEST12345698765432", is_iban),
    ):
        assert check(good)
        place = len(good) - 1
        wrong = [good[:place] + digit for digit in "0123456789" if digit != good[place]]
        assert not any(check(text) for text in wrong)


@given(st.text(alphabet="0123456789-. @:()+ab가한", max_size=80))
def test_masking_is_stable_and_leaves_the_rest(text: str) -> None:
    """Finds do not overlap, and between the masks stands what stood between the finds."""
    found = list(finds(text))
    assert all(one.end <= other.start for one, other in pairwise(found))
    outside, last = [], 0
    for find in found:
        outside.append(text[last : find.start])
        last = find.end
    assert re.split(r"\[[A-Z]+\]", masked(text)) == [*outside, text[last:]]


@pytest.mark.parametrize("unit", ["1", "1-", "1 ", "1.", "a@", "a.", "1:", "+1 ", "(1) ", "0", "계좌", "010-"])
def test_long_texts_take_no_long_time(unit: str) -> None:
    """No pattern tries all ways to read a long run: that would end in the timeout."""
    text = unit * 4_000
    assert re.sub(r"\[[A-Z]+\]", "", masked(text)) in text * 2
