"""Personal data in documents: planted pieces are masked, statutes are left alone, and the fast way finds what the slow
one does."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batches import batch, cut, texts_of
from dodam.data.cleaning.personal import personal
from dodam.data.outcome import SHOWN
from dodam.feedback.personal import Find, ascii_forms, finds, finds_in_line, is_account, is_ip, is_service, masked

BENCH = str(Path(__file__).parent.parent / "bench")
NUMBERS = ["010", "02", "1234", "5678", "110", "81", "47521", "900101", "1234568", "4111", "1111", "82", "０１０"]
NAMES = ["kim", "naver.com", "192.168.0.1", "10.0.0.1", "2001:db8", "GB82 WEST 1234 5698 7654 32", "2011. 12. 12."]
SIGNS = [" ", "  ", "-", ".", "/", "_", "(", ")", ",", "\n", "－", "~", "@", " @ ", ":", "::", "::1", "+", "2021-01-02"]
PIECES = st.sampled_from([*NUMBERS, *NAMES, *SIGNS, "계좌", "국민", "은행", "은 ", "a"])


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch):
    """bench/planted.py: made without a look at the rules."""
    monkeypatch.syspath_prepend(BENCH)
    import planted

    return planted


def test_planted_pieces_are_masked(planted) -> None:
    shares = planted.personal_data(200, seed=7)
    assert len(shares) == 10
    for kind, (share, missed) in shares.items():
        assert share >= 0.99, f"{kind}: {missed}"


def test_planted_pieces_that_were_shown_no_rule_are_not_masked(planted) -> None:
    """The measure can fail: what is told in words, or half a number, counts as missed."""
    assert not planted.masked("번호는 공일공에 1234", 4, 14)
    assert not planted.masked("010-1234-5678 9", 0, 15)
    assert planted.masked("번호는 010-1234-5678", 4, 17)


def test_the_bench_tells_all_it_was_asked(planted, tmp_path: Path, capsys) -> None:
    path = tmp_path / "law.jsonl"
    path.write_text('{"text": "제1조 010-1234-5678"}\n{"text": "제2조"}\n', encoding="utf-8")
    planted.main(["--pairs", "3", "--pieces", "2", "--clean", str(path)])
    found = {row["measure"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found.keys() == {"near duplicates", *planted.KINDS, "false spans"}
    assert found["near duplicates"]["pairs"] == 3 and found["IPv4"]["pieces"] == 2
    size = len("제1조 010-1234-5678제2조".encode()) / 1e6
    assert found["false spans"]["mb"] == pytest.approx(size)
    assert found["false spans"]["per_mb"] == pytest.approx(1 / size)


def statutes(rng: random.Random, articles: int) -> str:
    """Articles full of dates, amounts and numbers of other articles, as in a statute book."""
    lines = []

    def draw(most: int, least: int = 1) -> int:
        return rng.randint(least, most)

    for number in range(1, articles + 1):
        spaced = f"{draw(2024, 1950)}. {draw(12)}. {draw(28)}."
        plain = spaced[:-1].replace(" ", "")
        fine = f"{draw(999)},000,000원 이하의 과징금을 부과한다."
        lines += [
            f"제{number}조의{draw(9)}(과징금의 부과) ① {fine} <개정 {spaced}, {plain}>",
            f"② 법률 제{draw(20000)}호({spaced} 시행) 별표 {draw(30)} 제{draw(9)}호를 준용한다.",
            f"1. 관세율표 번호 제{draw(9700, 1000)}.{draw(99, 10)}-{draw(9999, 1000)}호 [전문개정 {plain}]",
            f"{number}.{draw(9)}.{draw(9)}.{draw(9)} 시험 온도는 {draw(99)}.{draw(9)} 도로 한다.",
        ]
    return "\n".join(lines)


def test_statutes_are_left_alone() -> None:
    """At most one false span per MB."""
    rng = random.Random(3)
    texts = [statutes(rng, 100) for _ in range(50)]
    assert sum(len(text.encode()) for text in texts) > 1e6
    found = [text[find.start - 9 : find.end + 9] for text in texts for find in finds(text)]
    assert len(found) <= 1, found


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_lines_without_a_hint_hold_nothing(text: str) -> None:
    """The sieve loses nothing: reading every line with every form finds the same."""
    everything, start = [], 0
    for line in ascii_forms(text).split("\n"):
        everything += [Find(start + first, start + last, kind) for first, last, kind in finds_in_line(line)]
        start += len(line) + 1
    assert finds(text) == everything


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_masks_are_not_masked_again(text: str) -> None:
    assert not any("[" in text[find.start : find.end] for find in finds(masked(text)))


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("010-1234-5678,010-2345-6789", "[PHONE],[PHONE]"),
        ("010 - 1234 - 5678", "[PHONE]"),
        ("010  1234  5678", "[PHONE]"),
        ("010_1234_5678", "[PHONE]"),
        ("+82 1034262061", "[PHONE]"),
        ("82-10-1234-5678", "[PHONE]"),
        ("kim @ naver.com", "[EMAIL]"),
        ("kim＠naver.com", "[EMAIL]"),
        ("신한 110123456789", "신한 [ACCOUNT]"),
        ("12345678901234 국민은행", "[ACCOUNT] 국민은행"),
        ("국민은행 9799-58-8366752", "국민은행 [ACCOUNT]"),
        ("y = a @ b.transpose(0, 1)", "y = a @ b.transpose(0, 1)"),
        ("f :: Int -> Int, Foo::Bar, a::b", "f :: Int -> Int, Foo::Bar, a::b"),
        ("10.2.3.4를 보라", "[IP]를 보라"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
        ("ISBN 978-89-123-4567-2", "ISBN 978-89-123-4567-2"),
        ("임진왜란 1592-1598, 1577-1600", "임진왜란 1592-1598, 1577-1600"),
        ("①2011 ②3456 ③7890", "①2011 ②3456 ③7890"),
        ("example.com/v/20190517133638230", "example.com/v/20190517133638230"),
        ("제8471.30-1000호", "제8471.30-1000호"),
        ("<개정 2011. 12. 12., 2013.3.23>", "<개정 2011. 12. 12., 2013.3.23>"),
    ],
)
def test_forms(text: str, after: str) -> None:
    assert masked(text) == after
    assert masked(f"한 줄\n그리고 {text}\n또 한 줄") == f"한 줄\n그리고 {after}\n또 한 줄"


def test_headings_are_no_addresses() -> None:
    assert masked("10.2.3.4 시험 방법\n12.3.4.5 장치") == "10.2.3.4 시험 방법\n12.3.4.5 장치"
    assert masked("192.168.0.1 - - GET /") == "[IP] - - GET /"


def test_checks() -> None:
    assert is_service("1588-1234") and not is_service("1577-1600")
    assert is_ip("192.168.0.1") and not is_ip("1.2.3.4") and not is_ip("127.0.0.1") and not is_ip("::1")
    assert is_account("1101234567890") and not is_account("2011. 12. 12. 10 20 30")


def test_the_step_counts_and_shows_shapes_only() -> None:
    texts = ["아무것도 없다", "전화 010-1234-5678, 메일 kim@naver.com", "또 010-9999-8888"]
    outcome = personal(batch(texts))
    assert outcome.batch.column("text").to_pylist() == ["아무것도 없다", "전화 [PHONE], 메일 [EMAIL]", "또 [PHONE]"]
    sizes = [len(text.encode()) for text in outcome.batch.column("text").to_pylist()]
    assert outcome.batch.column("bytes").to_pylist() == sizes
    assert outcome.counts == {"spans masked: e-mail address": 1, "spans masked: telephone number": 2}
    first = outcome.samples[0]
    assert first.id == "f:2" and first.before == "전화 000-0000-0000, 메일 xxx@xxxxx.xxx"
    assert first.after == "전화 [PHONE], 메일 [EMAIL]"
    everything = "".join(sample.before + sample.after for sample in outcome.samples)
    assert not any(piece in everything for piece in ("1234", "5678", "kim", "naver", "9999"))


def test_samples_are_short_and_hold_nothing_personal(planted) -> None:
    rng = random.Random(5)
    text = " ".join(planted.planted(kind, rng)[0] for kind in list(planted.KINDS) * 5)
    for sample in personal(batch([text])).samples:
        assert len(sample.before) <= SHOWN and len(sample.after) <= SHOWN
        # No digit of a find is left. (What cutting makes of a mask at the very end is a mask still.)
        assert masked(sample.after) == sample.after


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=8), st.lists(st.integers(0, 8), max_size=3)
)
def test_batches_do_not_matter(texts: list[str], borders: list[int]) -> None:
    whole = personal(batch(texts))
    parts = [personal(one) for one in cut(texts, borders)]
    assert texts_of([part.batch for part in parts]) == texts_of([whole.batch])
    assert {key: sum(part.counts.get(key, 0) for part in parts) for key in whole.counts} == whole.counts
