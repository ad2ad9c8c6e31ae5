"""Personal data in a text, found by its form and masked: `010-1234-5678` becomes `[PHONE]`.

In: text. Out: the text with a mask in place of each find. What has a check digit is checked (cards, resident and
business numbers, IBANs), so that other long numbers stay. Names, addresses and whatever is told in words have no form
and stay. Chats (`serve --collect`) and training text (`data/cleaning/personal.py`) are masked by these same rules.

Nothing personal goes over the end of a line, so a text is read by lines, and only lines in which HINT finds something
are read by the exact forms: that makes it fast enough for large corpora.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from datetime import date
from functools import cache
from typing import NamedTuple


class Find(NamedTuple):
    """A piece of text and what it is: `EMAIL`, `PHONE`, `CARD`, `RESIDENT`, `BUSINESS`, `IP`, `ACCOUNT`."""

    start: int
    end: int
    kind: str


def masked(text: str) -> str:
    """The text with `[KIND]` in place of everything personal that is found."""
    return mask(text, finds(text))


def mask(text: str, found: list[Find]) -> str:
    """The text with `[KIND]` in place of each find."""
    parts, last = [], 0
    for find in found:
        parts += [text[last : find.start], f"[{find.kind}]"]
        last = find.end
    return "".join([*parts, text[last:]])


def finds(text: str) -> list[Find]:
    """What is personal, in order, none within another."""
    plain = ascii_forms(text)
    found: list[Find] = []
    hint = HINT.search(plain)
    while hint:
        start = plain.rfind("\n", 0, hint.start()) + 1
        end = plain.find("\n", hint.start())
        end = len(plain) if end < 0 else end
        found += (Find(start + first, start + last, kind) for first, last, kind in finds_in_line(plain[start:end]))
        hint = HINT.search(plain, end)
    return found


def finds_in_line(line: str) -> list[Find]:
    """What is personal in one line of `ascii_forms`, in order. Kinds are looked for in the order of FORMS."""
    taken = bytearray(len(line))
    found: list[Find] = []
    for form in FORMS:
        for match in form.pattern.finditer(line) if form.sign in line else ():
            start, end = match.span("it")
            if not any(taken[start:end]) and form.check(match["it"]):
                taken[start:end] = b"\1" * (end - start)
                found.append(Find(start, end, form.kind))
    return sorted(found)


def ascii_forms(text: str) -> str:
    """Full-width digits, letters and signs, every kind of dash, of space and of invisible mark as their ASCII form,
    character by character: places stay the same."""
    if text.isascii():
        return text
    forms, other = _ascii_forms()
    return other.sub(lambda match: forms[match[0]], text)


@cache
def _ascii_forms() -> tuple[dict[str, str], re.Pattern[str]]:
    """What each such character becomes, and a pattern that finds one. Only wide forms: a circled 1 is no digit."""
    forms = {"−": "-"}
    for code in (*range(0x80, 0x3100), *range(0xFE00, 0x10000)):
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Pd":
            forms[character] = "-"
        elif category in ("Zs", "Cf"):
            forms[character] = " "
        elif unicodedata.decomposition(character).startswith("<wide>"):
            plain = unicodedata.normalize("NFKC", character)
            if plain.isascii():
                forms[character] = plain
    return forms, re.compile("[" + "".join(map(re.escape, forms)) + "]")


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
    return (10 - (total + numbers[8] * 5 // 10) % 10) % 10 == numbers[9] and any(numbers)


def is_email(text: str) -> bool:
    """No picture in two sizes (`icon@2x.png`), and no address of a repository (`git@github.com`)."""
    return not text.lower().startswith("git@") and text.lower().rpartition(".")[2] not in FILES


def is_ip(text: str) -> bool:
    """An address by `ipaddress` that can be somebody's: not 127.0.0.1, no 1.2.3.4 (a section, a version), and of IPv6
    not `::` and not such short ones as `a::b`, which programming languages write."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return False
    if address.version == 4:
        return len(text) > len("1.2.3.4")
    groups = [group for group in text.split(":") if group]
    return any(map(str.isdigit, text)) and (len(groups) > 2 or len(groups[0]) == 4)


def is_phone(text: str) -> bool:
    return 8 <= len(digits(text)) <= 15


def is_service(text: str) -> bool:
    """A number such as 1588-1234, and no span of years such as 1577-1600."""
    numbers = "".join(map(str, digits(text)))
    return not 0 <= int(numbers[4:]) - int(numbers[:4]) <= 300


def is_account(text: str) -> bool:
    """Ten to sixteen digits; no date with what follows it, and no ISBN."""
    numbers = digits(text)
    isbn = bool(ISBN.match(text)) and sum(numbers[::2], 3 * sum(numbers[1::2])) % 10 == 0
    return 10 <= len(numbers) <= 16 and not isbn and not DATE.match(text)


def is_lone_account(text: str) -> bool:
    """As banks write it: eleven digits or more, in groups; no patent, and no number of a case or an order that begins
    with its year."""
    return len(digits(text)) >= 11 and is_account(text) and not BY_YEAR.match(text)


def is_iban(text: str) -> bool:
    """The check digits of ISO 13616: the number modulo 97 is 1."""
    plain = text.replace(" ", "").upper()
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def anything(text: str) -> bool:
    return True


class Form(NamedTuple):
    kind: str
    sign: str
    """Stands in every match; a line without it need not be searched."""
    pattern: re.Pattern[str]
    check: Callable[[str], bool]


def form(kind: str, pattern: str, check: Callable[[str], bool] = anything, sign: str = "") -> Form:
    """A kind of personal data: the group `it` of the pattern where `check` agrees."""
    return Form(kind, sign, re.compile(pattern, re.ASCII | re.IGNORECASE), check)


DATE = re.compile(r"(19|20)\d\d ?[-./] ?[01]?\d ?[-./] ?[0-3]?\d(?!\d)")
BY_YEAR = re.compile(r"(?:[1-4]0-)?(?:19|20)\d\d-")
FILES = ("png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "html")
ISBN = re.compile(r"97[89](?:\d{10}|-[\d-]{10,13})$")
BY = r"(?: {0,2}[-.·/_] {0,2}| {1,2})?"
"""What people write between the groups of a number: nothing, spaces, or a sign with spaces around it."""
START, END = r"(?<![\d.,-])", r"(?![-.,]?\d)"
ALONE = START + r"(?P<it>{})" + END
"""Digits that are no part of a longer number."""
NO_PATH = r"(?<![\w]/)"  # nor of a web address
AREA = r"0(?:1[016-9]|2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|80|50\d)"
SERVICE = r"(?:15(?:22|33|44|55|66|77|88|99)|16(?:00|11|22|33|44|55|6[0168]|7[07]|88|99)|18(?:00|11|33|55|66|77|99))"
BANK = r"(?:은행|뱅크|계좌|통장|농협|수협|신협|새마을금고|우체국|카카오|토스|account|acct|iban|\bbank)"
SECTION = r"(?<!.)\d{1,3}(?:\.\d){3} "  # at the beginning of a line: 10.2.3.4 and a heading
DOTTED = r"(?:\d{1,3}\.){3}\d{1,3}"
BRAND = r"(?:국민|신한|우리|하나|기업|제일|씨티|산업|대구|부산|경남|광주|전북|제주|새마을|카뱅|\b(?:kb|nh|ibk|sc))"
USER = r"(?:[a-z0-9._%+-]{1,64}|(?<![가-힣])[가-힣]{2,8}[0-9._-]{0,8})"
PLACES = r"(?:com|net|org|kr|io|edu|gov|info|biz|me|jp|us|uk|de|fr)"

FORMS = (
    form("EMAIL", rf"(?P<it>{USER}@(?:[a-z0-9가-힣-]{{1,63}}\.){{1,8}}(?:[a-z]{{2,24}}|한국))", is_email, "@"),
    form("EMAIL", rf"(?P<it>{USER} ?@ ?(?:[a-z0-9-]{{1,63}} ?\. ?){{1,3}}{PLACES}(?![a-z0-9]))", is_email, "@"),
    form("ACCOUNT", r"\b(?P<it>[a-z]{2}\d\d(?: ?[a-z0-9]{4}){3,7}(?: ?[a-z0-9]{1,3})?)\b", is_iban),
    form("IP", rf"(?<![\w.=])(?<!version )(?<!버전 )(?!{SECTION})(?P<it>{DOTTED})(?!\d|\.\d)", is_ip, "."),
    form("IP", rf"(?<![\w:.])(?P<it>(?:[0-9a-f]{{0,4}}:){{2,7}}(?:[0-9a-f]{{1,4}}|{DOTTED})?)(?![\w:])", is_ip, ":"),
    form("RESIDENT", ALONE.format(rf"\d{{6}}{BY}\d{{7}}"), is_resident),
    form("CARD", NO_PATH + ALONE.format(rf"[2-69]\d{{3}}{BY}\d{{4}}{BY}\d{{4}}{BY}\d{{4}}(?:{BY}\d{{1,3}})?"), is_card),
    form("CARD", NO_PATH + ALONE.format(rf"3[04-9]\d\d{BY}\d{{6}}{BY}\d{{4,5}}"), is_card),
    form("PHONE", rf"(?<![\d.,-])(?P<it>\(?\+\d{{1,3}}\)?(?:{BY}\(?\d{{1,4}}\)?){{2,5}})(?![-.]?\d)", is_phone, "+"),
    form("PHONE", ALONE.format(rf"(?:00)?82{BY}\(?0?\)?{BY}1[016-9]{BY}\d{{3,4}}{BY}\d{{4}}")),
    form("BUSINESS", NO_PATH + ALONE.format(rf"[1-9]\d\d{BY}\d\d{BY}\d{{5}}"), is_business),
    form("PHONE", rf"(?<![\d-])(?<!\d\.)(?P<it>(?:\( ?{AREA} ?\)|{AREA}\)?){BY}\d{{3,4}}{BY}\d{{4}})(?![-.]?\d)"),
    form("PHONE", ALONE.format(rf"{SERVICE} ?[-.] ?\d{{4}}"), is_service),
    form("PHONE", ALONE.format(r"(?:1[ .-])?\([2-9]\d\d\) ?[2-9]\d\d[ .-]\d{4}")),
    form("PHONE", ALONE.format(r"(?:1[.-])?[2-9]\d\d(?P<by>[.-])[2-9]\d\d(?P=by)\d{4}")),
    form("ACCOUNT", ALONE.format(r"\d{2,6}-\d{2,7}(?:-\d{1,7}){1,2}"), is_lone_account, "-"),
    form("ACCOUNT", rf"{BANK}[^\d\n]{{0,24}}(?P<it>\d(?:{BY}\d){{9,15}}){END}", is_account),
    form("ACCOUNT", rf"{BRAND}[ :]{{0,3}}(?P<it>\d(?:-?\d){{10,13}}){END}", is_account),
    form("ACCOUNT", rf"{START}(?P<it>\d(?:{BY}\d){{9,15}})[ ,(/]{{0,3}}[가-힣a-z]{{0,4}} ?{BANK}", is_account),
)
"""In the order in which they are looked for: what has a check digit before what has only a form."""

HINT = re.compile(
    r"[@:\d](?:(?<=@)|(?<=:)(?<![G-Zg-z_]:)[0-9A-Fa-f]{0,4}:(?![G-Zg-z_])|(?<=\d)(?:"
    r"(?!(?<=\d)(?<=[12])(?:9|0)\d\d ?[.] ?[01]?\d ?[.] ?[0-3]?\d(?! {0,2}[-./·_]? {0,2}\d))(?:[ .·/_()-]{0,5}\d){7}"
    r"|\d{0,2}\.\d{1,3}\.\d{1,3}\.\d|(?<=[A-Za-z]{2}\d)\d ?[A-Za-z0-9]{4} ?[A-Za-z0-9]{4}))",
    re.ASCII,
)
"""Stands in every line in which a form can find something: an @, two colons, eight digits with little between them
(a date written with dots apart, of which statutes are full), a dotted quad, the head of an IBAN."""
