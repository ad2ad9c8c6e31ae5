"""Planted duplicates and personal data: how much of it `dodam prepare` finds, and what it takes by mistake.

    python bench/planted.py [--pairs 2000] [--pieces 200] [--threshold 0.7] [--clean FILE ...] [--show 3]

Near duplicates: so many texts with a copy that is edited word by word until the Jaccard similarity of the two is
between 0.80 and 0.90, among as many texts that are alone and pairs that are less alike (0.40 to 0.65). Told are the
share of copies that is found, and of all removed documents the share whose exact similarity to the one that stays is
below the threshold; similarity is computed here, from the definition, with sets of words.

Personal data: of every kind so many pieces, made and written here without a look at the rules: with hyphens, dots,
spaces or nothing, in full-width digits, with a particle behind, in the middle of Korean and English prose. A piece is
masked if none of its letters and digits is left. --clean names files of text without personal data (JSONL, text, also
.gz), in which every find is a false one; told is their number per MB.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam.data import duplicates
from dodam.data.decision import Row
from dodam.data.sources import rows
from dodam.feedback.personal import finds

UNIT = re.compile(r"[가-힣]|[a-z0-9]+")
ONSETS, VOWELS = "bdfghklmnprstvw", "aeiou"


# --- near duplicates ---


def vocabulary(rng: random.Random, korean: bool) -> list[str]:
    """2,000 words of one to four syllables."""
    if korean:
        syllables = [chr(rng.randrange(ord("가"), ord("힣"))) for _ in range(400)]
    else:
        syllables = [rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(["", "n", "r", "s"]) for _ in range(200)]
    return ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(2000)]


def prose(rng: random.Random, words: Sequence[str], length: int) -> list[str]:
    """Words by their rank, some far more frequent than others, with a full stop now and then."""
    picked = [words[min(int(rng.paretovariate(0.6)), len(words)) - 1] for _ in range(length)]
    return [f"{word}." if rng.random() < 0.08 else word for word in picked]


def set_of(text: str) -> set[tuple[str, ...]]:
    """Five units in a row, by the definition: syllables of Hangul, words of Latin letters and digits."""
    found = UNIT.findall(text.lower())
    return {tuple(found[place : place + 5]) for place in range(max(len(found) - 4, 1))}


def similarity(one: str, other: str) -> float:
    first, second = set_of(one), set_of(other)
    return len(first & second) / len(first | second)


def edited(rng: random.Random, words: list[str], vocabulary: Sequence[str], low: float, high: float) -> str | None:
    """A copy with single words changed, left out, put in or moved, until it is at most `high` like the text; None when
    that makes it less like than `low`."""
    text, copy = " ".join(words), list(words)
    aim, like = rng.uniform(low, high), 1.0
    while like > aim:
        for _ in range(max(len(words) // 80, 1)):  # as many as change the similarity by a few hundredths
            place, way = rng.randrange(len(copy)), rng.randrange(4)
            if way == 0:
                copy[place] = rng.choice(vocabulary)
            elif way == 1:
                copy.insert(place, rng.choice(vocabulary))
            elif way == 2:
                del copy[place]
            else:
                copy.insert(rng.randrange(len(copy)), copy.pop(place))
        like = similarity(text, " ".join(copy))
    return " ".join(copy) if like >= low else None


def near_duplicates(pairs: int, threshold: float, seed: int = 1) -> dict[str, float | int]:
    """Plant the pairs, look for them, and count."""
    import pyarrow as pa

    rng = random.Random(seed)
    texts: dict[str, str] = {}
    words = {korean: vocabulary(rng, korean) for korean in (True, False)}
    for kind, low, high in (("planted", 0.8, 0.9), ("less", 0.4, 0.65)):
        made = 0
        while made < pairs:
            chosen = words[rng.random() < 0.5]
            text = prose(rng, chosen, rng.randint(60, 400))
            copy = edited(rng, text, chosen, low, high)
            if copy is not None:
                texts |= {f"{kind}:{made}": " ".join(text), f"{kind}:{made}:copy": copy}
                made += 1
    for number in range(pairs):
        texts[f"alone:{number}"] = " ".join(prose(rng, words[number % 2 == 0], rng.randint(60, 400)))
    ids = list(texts)
    rng.shuffle(ids)
    in_order = [texts[one] for one in ids]
    batches = [
        pa.RecordBatch.from_pydict({"text": in_order[at : at + 512], "place": range(at, min(at + 512, len(ids)))})
        for at in range(0, len(ids), 512)
    ]
    observed = [duplicates.observe(batch, threshold) for batch in batches]
    decided = duplicates.decide(observed, lambda _: lambda place: Row(ids[place], in_order[place]), threshold)
    gone = {ids[one]: ids[stays] for one, stays in zip(decided.gone.tolist(), decided.stay.tolist(), strict=True)}
    found = sum(f"planted:{number}" in gone or f"planted:{number}:copy" in gone for number in range(pairs))
    wrong = sum(similarity(texts[one], texts[stays]) < threshold for one, stays in gone.items())
    return {"pairs": pairs, "found": found / pairs, "removed": len(gone), "wrong": wrong / max(len(gone), 1)}


# --- personal data ---


def drawn(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("0123456789", k=length))


def grouped(rng: random.Random, *groups: str) -> str:
    """Groups of a number as somebody writes them."""
    return rng.choice(["-", "-", "-", ".", " ", "", " - ", "‐", "–"]).join(groups)


def checked(number: str, is_right: Callable[[str], bool]) -> str:
    """The number with the last digit that makes it right."""
    return next(number + digit for digit in "0123456789" if is_right(number + digit))


def mobile(rng: random.Random) -> str:
    return grouped(
        rng,
        rng.choice(["010", "010", "010", "011", "016", "019"]),
        f"{rng.randint(2, 9)}{drawn(rng, 3)}",
        drawn(rng, 4),
    )


def landline(rng: random.Random) -> str:
    area = rng.choice(["02", "031", "032", "042", "051", "053", "062", "064", "070"])
    middle = f"{rng.randint(2, 9)}{drawn(rng, rng.choice([2, 3]))}"
    if rng.random() < 0.25:
        return rng.choice([f"({area}) {middle}-", f"{area}) {middle}-", f"({area}){middle}-"]) + drawn(rng, 4)
    return grouped(rng, area, middle, drawn(rng, 4))


def international(rng: random.Random) -> str:
    way = rng.randrange(4)
    if way == 0:
        return (
            "+82"
            + rng.choice([" ", "-", ""])
            + grouped(rng, "10", f"{rng.randint(2, 9)}{drawn(rng, 3)}", drawn(rng, 4))
        )
    if way == 1:
        return f"+1 ({rng.randint(201, 989)}) {rng.randint(200, 999)}-{drawn(rng, 4)}"
    if way == 2:
        return "+44 20 " + rng.choice([f"7{drawn(rng, 3)} {drawn(rng, 4)}", f"7{drawn(rng, 3)}-{drawn(rng, 4)}"])
    return f"+81-{rng.choice('369')}-{rng.randint(1000, 9999)}-{drawn(rng, 4)}"


def email(rng: random.Random) -> str:
    name = rng.choice(["minsu", "j.kim", "hello_world", "seo-yeon", "lee" + drawn(rng, 2), "A.Park", "team+news"])
    place = rng.choice(["naver.com", "gmail.com", "sub.univ.ac.kr", "example.co.kr", "my-shop.io", "daum.net"])
    return name + rng.choice(["@", "@", "@", "＠", " @ "]) + place


def card(rng: random.Random) -> str:
    def luhn(number: str) -> bool:
        total = 0
        for place, digit in enumerate(reversed(number)):
            value = int(digit) * (2 if place % 2 else 1)
            total += value - 9 if value > 9 else value
        return total % 10 == 0

    if rng.random() < 0.15:
        number = checked(rng.choice(["34", "37"]) + drawn(rng, 12), luhn)
        return grouped(rng, number[:4], number[4:10], number[10:])
    number = checked(rng.choice(["4", "51", "55", "62", "9"]).ljust(6, "1") + drawn(rng, 9), luhn)
    return grouped(rng, number[:4], number[4:8], number[8:12], number[12:])


def resident(rng: random.Random) -> str:
    year, month, day = rng.randint(1940, 2019), rng.randint(1, 12), rng.randint(1, 28)
    foreign = rng.random() < 0.2
    sex = rng.randint(0, 1) + (1 if year < 2000 else 3) + (4 if foreign else 0)
    number = f"{year % 100:02d}{month:02d}{day:02d}{sex}{drawn(rng, 5)}"
    total = sum(int(digit) * (place % 8 + 2) for place, digit in enumerate(number))
    last = (13 if foreign else 11) - total % 11
    return grouped(rng, number[:6], f"{number[6:]}{last % 10}")


def business(rng: random.Random) -> str:
    def right(number: str) -> bool:
        figures = [int(one) for one in number]
        total = sum(one * weight for one, weight in zip(figures, (1, 3, 7, 1, 3, 7, 1, 3), strict=False))
        nine = figures[8] * 5
        return (total + nine // 10 + nine % 10 + figures[9]) % 10 == 0

    number = checked(f"{rng.randint(101, 899)}{rng.randint(10, 89)}{drawn(rng, 4)}", right)
    return grouped(rng, number[:3], number[3:5], number[5:])


def ip_4(rng: random.Random) -> str:
    """Any but those of the machine itself (127)."""
    return ".".join(
        str(one)
        for one in (
            rng.choice([11, 58, 112, 126, 172, 192, 211, 223]),
            rng.randint(0, 255),
            rng.randint(0, 255),
            rng.randint(1, 254),
        )
    )


def ip_6(rng: random.Random) -> str:
    groups = [f"{rng.randrange(1, 1 << 16):x}" for _ in range(8)]
    head = rng.choice(["2001", "2406", "fe80", "2a00"])
    return ":".join([head, *groups[:7]]) if rng.random() < 0.5 else f"{head}:{groups[0]}::{groups[1]}:{groups[2]}"


def account(rng: random.Random) -> str:
    """A number as a bank gives it out, with the bank's name ahead of it or behind."""
    sizes = rng.choice([(3, 3, 6), (3, 6, 5), (6, 2, 6), (4, 2, 7), (3, 2, 6), (3, 4, 4, 2), (4, 3, 6)])
    return grouped(rng, *(str(rng.randint(1, 9)) + drawn(rng, size - 1) for size in sizes))


KINDS: dict[str, Callable[[random.Random], str]] = {
    "mobile phone": mobile,
    "landline": landline,
    "international phone": international,
    "e-mail": email,
    "card": card,
    "resident number": resident,
    "business number": business,
    "IPv4": ip_4,
    "IPv6": ip_6,
    "bank account": account,
}
AROUND = (
    ("연락은 ", "{}으로 주세요."),
    ("", "{}입니다."),
    ("어제 받은 쪽지에는 '", "{}'라고 적혀 있었고, 나머지는 지워져 있었다."),
    ("신청서에 적힌 번호(", "{})를 다시 확인해 주시기 바랍니다."),
    ("담당자 김 과장: ", "{}\n문의는 평일에만 받습니다."),
    ("Please write down ", "{} and keep it to yourself."),
    ('It said "', '{}", which surprised everyone.'),
    ("Contact: ", "{}."),
    ("2024년 3월 5일에 등록한 ", "{}은 더 이상 쓰지 않습니다."),
    ("값은", "{}이고 나머지는 비어 있다."),
)
BANKS = (
    ("국민은행 ", "{}으로 보내 주세요."),
    ("입금 계좌: ", "{} (예금주 홍길동)"),
    ("제 통장 번호는 ", "{}이에요."),
    ("농협 ", "{}번으로 이체했습니다."),
    ("", "{} 신한은행으로 부탁드립니다."),
    ("My bank account number is ", "{}, thanks."),
    ("", "{} 카카오뱅크 김철수"),
)


def planted(kind: str, rng: random.Random) -> tuple[str, int, int]:
    """A sentence with a piece of personal data, and where in it the piece stands."""
    piece = KINDS[kind](rng)
    if rng.random() < 0.2:
        piece = "".join(chr(ord(one) + 0xFEE0) if one.isdigit() else one for one in piece)
    before, after = rng.choice(BANKS if kind == "bank account" else AROUND)
    return before + after.format(piece), len(before), len(before) + len(piece)


def masked(text: str, start: int, end: int) -> bool:
    """Whether nothing of the piece is left but signs and spaces."""
    hidden = {place for find in finds(text) for place in range(find.start, find.end)}
    return all(place in hidden for place in range(start, end) if text[place].isalnum())


def personal_data(pieces: int, seed: int = 1) -> dict[str, tuple[float, list[str]]]:
    """By kind the share that is masked, and the sentences in which it is not."""
    found = {}
    for kind in KINDS:
        rng = random.Random(f"{seed} {kind}")
        cases = [planted(kind, rng) for _ in range(pieces)]
        missed = [text for text, start, end in cases if not masked(text, start, end)]
        found[kind] = (1 - len(missed) / pieces, missed)
    return found


def false_spans(paths: Sequence[str]) -> tuple[float, list[str]]:
    """MB of text, and what is found in it, with its neighbourhood."""
    size, found = 0, []
    for path in paths:
        for where, row in rows(path):
            text = str(row.get("text", ""))
            size += len(text.encode())
            for find in finds(text):
                found.append(f"{where}: {find.kind} {text[max(find.start - 20, 0) : find.end + 20]!r}")
    return size / 1e6, found


def results(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--pieces", type=int, default=200)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--clean", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--show", type=int, default=3, help="what was missed or found by mistake, so many of each")
    config = parser.parse_args(words)
    if config.pairs:
        yield {"measure": "near duplicates", **near_duplicates(config.pairs, config.threshold)}
    if config.pieces:
        for kind, (share, missed) in personal_data(config.pieces).items():
            yield {"measure": kind, "pieces": config.pieces, "masked": share, "missed": missed[: config.show]}
    if config.clean:
        size, found = false_spans(config.clean)
        yield {"measure": "false spans", "mb": size, "per_mb": len(found) / size, "found": found[: config.show]}


def main(words: Sequence[str] | None = None) -> None:
    for row in results(sys.argv[1:] if words is None else words):
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
