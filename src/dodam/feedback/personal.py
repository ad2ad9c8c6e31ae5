"""Personal data in a text, found by its form and masked: `010-1234-5678` becomes `[PHONE]`.

In: text. Out: the text with a mask in place of each find. What has a check digit is checked (cards, resident and
business numbers), so that other long numbers stay. Names, addresses and whatever is told in words have no form and
stay.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date
from typing import NamedTuple


class Find(NamedTuple):
    """A piece of text and what it is: `EMAIL`, `PHONE`, `CARD`, `RESIDENT`, `BUSINESS`, `IP`, `ACCOUNT`."""

    start: int
    end: int
    kind: str


def masked(text: str) -> str:
    """The text with `[KIND]` in place of everything personal that is found."""
    parts, last = [], 0
    for find in finds(text):
        parts += [text[last : find.start], f"[{find.kind}]"]
        last = find.end
    return "".join([*parts, text[last:]])


def finds(text: str) -> Iterator[Find]:
    """What is personal, in order, none within another. Kinds are looked for in the order of FORMS."""
    plain = ascii_forms(text)
    found: list[Find] = []
    for form in FORMS:
        for match in form.pattern.finditer(plain):
            start, end = match.span("it")
            free = all(end <= other.start or start >= other.end for other in found)
            if free and form.check(match["it"]):
                found.append(Find(start, end, form.kind))
    yield from sorted(found)


def ascii_forms(text: str) -> str:
    """Full-width digits, letters and signs and every kind of dash as their ASCII form, character by character: places
    stay the same."""
    return "".join(one if one.isascii() else ascii_form(one) for one in text)


def ascii_form(character: str) -> str:
    if unicodedata.category(character) == "Pd" or character in "−":
        return "-"
    if unicodedata.category(character) in ("Zs", "Cf"):
        return " "
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 and plain.isascii() else character


def digits(text: str) -> list[int]:
    return [int(one) for one in text if one.isdigit()]


def is_card(text: str) -> bool:
    """The check digit of ISO/IEC 7812 (Luhn)."""
    numbers = digits(text)
    doubled = [number if place % 2 == 0 else sum(divmod(2 * number, 10)) for place, number in enumerate(numbers[::-1])]
    return 13 <= len(numbers) <= 19 and sum(doubled) % 10 == 0 and len(set(numbers)) > 1


def is_resident(text: str) -> bool:
    """A Korean resident registration number: a date of birth, a digit for century and sex, and a check digit. Numbers
    given out since October 2020 have no check digit; they are known by their hyphen alone."""
    numbers = digits(text)
    century = {1: 1900, 2: 1900, 3: 2000, 4: 2000, 5: 1900, 6: 1900, 7: 2000, 8: 2000, 9: 1800, 0: 1800}[numbers[6]]
    try:
        date(century + numbers[0] * 10 + numbers[1], numbers[2] * 10 + numbers[3], numbers[4] * 10 + numbers[5])
    except ValueError:
        return False
    total = sum(weight * number for weight, number in zip((2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), numbers, strict=False))
    base = 13 if numbers[6] in (5, 6, 7, 8) else 11  # foreigners' numbers
    return "-" in text or (base - total % 11) % 10 == numbers[12]


def is_business(text: str) -> bool:
    """A Korean business registration number, by its check digit."""
    numbers = digits(text)
    total = sum(weight * number for weight, number in zip((1, 3, 7, 1, 3, 7, 1, 3, 5), numbers, strict=False))
    return (10 - (total + numbers[8] * 5 // 10) % 10) % 10 == numbers[9]


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_phone(text: str) -> bool:
    return 8 <= len(digits(text)) <= 15


def is_account(text: str) -> bool:
    """Ten to sixteen digits in groups; a date and a time are no account."""
    return 10 <= len(digits(text)) <= 16 and not re.match(r"(19|20)\d\d-[01]?\d-[0-3]?\d(?!\d)", text)


def is_iban(text: str) -> bool:
    """The check digits of ISO 13616: the number modulo 97 is 1."""
    plain = text.replace(" ", "").upper()
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def anything(text: str) -> bool:
    return True


class Form(NamedTuple):
    kind: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool]


def form(kind: str, pattern: str, check: Callable[[str], bool] = anything) -> Form:
    """A kind of personal data: the group `it` of the pattern where `check` agrees."""
    return Form(kind, re.compile(pattern, re.ASCII | re.IGNORECASE), check)


ALONE = r"(?<![\d.,-])(?P<it>{})(?![-.,]?\d)"
"""Digits that are no part of a longer number."""

FORMS = (
    form("EMAIL", r"(?P<it>[a-z0-9._%+-]{1,64}@(?:[a-z0-9가-힣-]{1,63}\.){1,8}(?:[a-z]{2,24}|한국))"),
    form("IP", r"(?<![\w.])(?P<it>(?:\d{1,3}\.){3}\d{1,3})(?![\d]|\.\d)", is_ip),
    form("IP", r"(?<![\w:.])(?P<it>(?:[0-9a-f]{0,4}:){2,7}(?:[0-9a-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?)(?![\w:])", is_ip),
    form("RESIDENT", ALONE.format(r"\d{6} ?-? ?\d{7}"), is_resident),
    form("CARD", ALONE.format(r"\d(?:[ -]?\d){12,18}"), is_card),
    form("BUSINESS", ALONE.format(r"\d{3}-?\d{2}-?\d{5}"), is_business),
    form("PHONE", r"(?<![\d.,-])(?P<it>\(?\+\d{1,3}\)?(?:[ .-]?\(?\d{1,4}\)?){2,5})(?![-.]?\d)", is_phone),
    form("PHONE", r"(?<![\d.,-])(?P<it>\(?0(?:1[016-9]|2|[3-6]\d|70|50\d)\)?[ .-]?\d{3,4}[ .-]?\d{4})(?![-.,]?\d)"),
    form("PHONE", ALONE.format(r"1[568]\d\d-\d{4}")),
    form("PHONE", r"(?<![\d.,-])(?P<it>\(?[2-9]\d\d\)?[ .-][2-9]\d\d[ .-]\d{4})(?![-.,]?\d)"),
    form("ACCOUNT", ALONE.format(r"\d{2,7}(?:-\d{1,7}){2,4}"), is_account),
    form("ACCOUNT", r"(?:계좌|통장|account|iban)[^\d\n]{0,24}(?P<it>\d(?:[ -]?\d){9,15})(?![-.,]?\d)"),
    form("ACCOUNT", r"\b(?P<it>[a-z]{2}\d\d(?: ?[a-z0-9]{4}){3,7}(?: ?[a-z0-9]{1,3})?)\b", is_iban),
)
"""In the order in which they are looked for: what has a check digit before what has only a form."""
