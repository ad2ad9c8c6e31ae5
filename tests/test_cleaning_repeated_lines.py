"""Lines that stand in many documents of a source go; headings, code and what other sources repeat stay."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from batches import batch, cut, texts_of
from dodam.data.cleaning.repeated_lines import LEAST_DOCUMENTS, apply, decide, observe, without

NOTICE = "무단 전재 및 재배포를 금지합니다"
LINES = ["홈", "로그인", "소개", NOTICE, "Subscribe to our newsletter today", "}", "---", ""]


def page(number: int) -> str:
    top, end = "홈\n\n로그인", f"{NOTICE}\n끝맺는 말 {number}\n\n로그인\n홈"
    return f"{top}\n제목 {number}\n\n{number}번째 글이다.\n홈\n또 {number}번째 문장.\n{end}"


def cleaned(texts: list[str], share: float = 0.1, **values: str) -> list[str]:
    one = batch(texts, **values)
    return apply(one, decide([observe(one)], share)).batch.column("text").to_pylist()


def test_menus_and_notices_go() -> None:
    texts = [page(number) for number in range(30)]
    expected = [f"제목 {n}\n\n{n}번째 글이다.\n홈\n또 {n}번째 문장.\n끝맺는 말 {n}" for n in range(30)]
    assert cleaned(texts) == expected  # `홈` in the middle is too short to be sure of


def test_counts_and_samples() -> None:
    one = batch([page(number) for number in range(30)])
    outcome = apply(one, decide([observe(one)], 0.1))
    assert outcome.counts == {"lines removed: repeated in many documents": 5 * 30}
    assert outcome.samples[0].before.startswith("홈\n\n로그인\n제목 0") and outcome.samples[0].after.startswith(
        "제목 0"
    )
    sizes = [len(text.encode()) for text in texts_of([outcome.batch])]
    assert outcome.batch.column("bytes").to_pylist() == sizes


def test_few_documents_and_small_shares_say_nothing() -> None:
    few = [page(number) for number in range(LEAST_DOCUMENTS - 1)]
    assert cleaned(few) == few
    rare = [page(number) if number < 25 else f"글 {number}" for number in range(300)]
    assert cleaned(rare) == rare and cleaned(rare, 0.05) != rare


def test_a_line_counts_once_a_document() -> None:
    texts = [f"처음\n{NOTICE}\n{NOTICE}\n{NOTICE}\n글 {number}" for number in range(LEAST_DOCUMENTS - 1)]
    texts += [f"다른 글 {number}" for number in range(20)]
    assert cleaned(texts) == texts


def test_sources_are_told_apart() -> None:
    pages, notes = batch([page(n) for n in range(30)], source="web"), batch([f"{NOTICE}\n글 {n}" for n in range(9)])
    decided = decide([observe(pages), observe(notes)], 0.1)
    assert decided["web"] and not decided["notes"]
    assert apply(notes, decided).batch.equals(notes)


def test_a_document_of_nothing_else_is_dropped() -> None:
    texts = [f"홈\n로그인\n{NOTICE}"] * 25 + [f"글 {number}" for number in range(25)]
    one = batch(texts)
    outcome = apply(one, decide([observe(one)], 0.1))
    assert texts_of([outcome.batch]) == texts[25:]
    assert outcome.counts["documents dropped: empty"] == 25


def test_lines_that_say_nothing_and_paragraphs_are_no_boilerplate() -> None:
    paragraph = "긴 문단이다. " * 60
    texts = [f"---\n함수 {number} {{\n}}\n{paragraph}\n글 {number}" for number in range(40)]
    assert cleaned(texts) == texts


def test_without_leaves_other_texts_alone() -> None:
    assert without("a\n\n\n\nb", frozenset()) == ("a\n\n\n\nb", 0)


DOCUMENT = st.lists(st.sampled_from(LINES), max_size=6).map("\n".join)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(DOCUMENT, min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=4),
    st.randoms(use_true_random=False),
)
def test_batches_and_their_order_do_not_matter(documents: list[str], borders: list[int], rng) -> None:
    parts = cut(documents, borders)
    seen = [observe(one) for one in parts]
    rng.shuffle(seen)
    decided = decide(seen, 0.3)
    assert decided == decide([observe(batch(documents))], 0.3)
    # Against the definition: so many documents hold the line.
    holding = Counter(line for text in documents for line in set(text.split("\n")) if line not in ("", "}", "---"))
    repeated = [line for line, count in holding.items() if count >= max(0.3 * len(documents), LEAST_DOCUMENTS)]
    assert len(decided["notes"]) == len(repeated)
    whole = apply(batch(documents), decided)
    assert texts_of([apply(one, decided).batch for one in parts]) == texts_of([whole.batch])
    for text in texts_of([whole.batch]):
        assert not set(text.split("\n")) & {line for line in repeated if len(line) >= 12}
