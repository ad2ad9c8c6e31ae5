"""Each cleaning step does what its page says, leaves what is good as it is, and does not mind how documents are
batched."""

import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batches import batch, cut, texts_of
from dodam.config import build
from dodam.data import text as texts
from dodam.data.cleaning import quality as rules
from dodam.data.cleaning.boilerplate import boilerplate, is_page
from dodam.data.cleaning.languages import language, languages
from dodam.data.cleaning.mojibake import euc_kr, mojibake, repaired, utf_8
from dodam.data.cleaning.quality import fault, quality
from dodam.data.cleaning.steps import Cleaning, clean_batch
from dodam.data.cleaning.unicode import unicode
from dodam.data.outcome import SAMPLES, SHOWN, Sample, first_samples, shown
from dodam.errors import UsageError

KOREAN = (
    "도담이는 아침 일찍 일어나 마당을 쓸었다. 감나무 아래에는 밤새 떨어진 잎이 수북했고, "
    "그 사이로 고양이 한 마리가 지나갔다. 할머니는 부엌에서 된장국을 끓이셨다. 냄새가 마루까지 퍼지자 "
    "동생도 눈을 비비며 나왔다. 우리는 둘러앉아 밥을 먹으며 오늘 할 일을 이야기했다. "
    "나는 밭에 나가 고추를 따기로 하였고 동생은 책을 읽기로 하였다."
)
ENGLISH = (
    "The river was high that spring and the ferry did not run for a week. People who lived on the other side had to "
    "wait until the water went down, so they stayed with friends in the village and helped with whatever there was to "
    "do. Nobody complained. It was a good time to mend nets, to sharpen tools and to tell the old stories again, and "
    "the children were glad that they did not have to go to school."
)


# --- Unicode ---


def test_unicode_is_composed_and_freed_of_control_characters() -> None:
    apart = unicodedata.normalize("NFD", "한국어")
    outcome = unicode(batch([f"{apart}\r\n둘\x00째 \ufeff", "한국어"]))
    assert outcome.batch.column("text").to_pylist() == ["한국어\n둘째", "한국어"]
    assert outcome.counts == {"documents changed: Unicode": 1}
    assert [sample.id for sample in outcome.samples] == ["f:1"]


def test_what_is_empty_afterwards_is_dropped() -> None:
    outcome = unicode(batch(["\x00\x01", "글"]))
    assert outcome.batch.column("id").to_pylist() == ["f:2"]
    assert outcome.counts == {"documents changed: Unicode": 1, "documents dropped: empty": 1}


# --- mojibake ---


@pytest.mark.parametrize("encoding", ["latin-1", "sloppy-windows-1252"])
def test_utf_8_that_was_read_as_western_is_repaired(encoding: str) -> None:
    import ftfy.bad_codecs

    assert ftfy.bad_codecs
    for line in (KOREAN, "“인용” – café", "Das Mädchen aß Öl, été, señor"):
        broken = line.encode().decode(encoding)
        assert broken != line and repaired(broken) == line


def test_euc_kr_that_was_read_as_western_is_repaired() -> None:
    line = "한국어 문장을 (잘못) 읽었다. 가격은 3,000원이다."
    broken = line.encode("euc_kr").decode("latin-1")
    assert repaired(broken) == line
    assert repaired(f"{broken}\n{broken}") == f"{line}\n{line}"


def test_only_broken_lines_are_touched() -> None:
    """Quotation marks, widths, ligatures, entities stay; `ftfy` alone would change all of them."""
    good = "“곧은” 따옴표, ﬁn, ＡＢＣ, &amp; １２３, ½, …"
    broken = "카페 café".encode().decode("latin-1")
    assert repaired(f"{good}\n{broken}\n{good}") == f"{good}\n카페 café\n{good}"


@pytest.mark.parametrize(
    "text",
    [
        "Größe, Übermut, Äpfel; ÅNGSTRÖM; “ÉTÉ” à Çankırı — ½ £5 §3 «oui»",
        "°±²³´µ¶·¸¹º»¼½¾¿",
        "Съешь же ещё этих мягких французских булок",
        "Tiếng Việt: đường, người, Nguyễn",
        "Fiancé(e) ÀÈ",
    ],
)
def test_other_languages_come_through(text: str) -> None:
    assert repaired(text) == text


KOREAN_TEXT = st.text(
    st.one_of(
        st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3),
        st.characters(min_codepoint=0x20, max_codepoint=0x7E),
        st.sampled_from(list("\n·…“”‘’「」『』〈〉《》※→±×÷㎡℃①②ㅋㅎㅠ、。！？～韓國")),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(KOREAN_TEXT)
@example("가로×‘세로’ 크기")
@example("3×“큰 것”")
def test_korean_comes_through_untouched(text: str) -> None:
    assert repaired(text) == text
    assert "\n".join(utf_8(line) for line in euc_kr(text).split("\n")) == text  # without the hint too


ENCODINGS = [
    "latin-1",
    "macroman",
    "cp437",
    "iso-8859-2",
    *(f"sloppy-windows-{number}" for number in range(1250, 1258)),
]


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from(list("가나한국어 éüßñçñяжд“”–€한…ąćžő a")), max_size=12), st.sampled_from(ENCODINGS))
def test_the_hint_loses_nothing(text: str, encoding: str) -> None:
    """What `ftfy` repairs has the hint, whatever the encoding was."""
    import ftfy.bad_codecs

    assert ftfy.bad_codecs
    broken = text.encode().decode(encoding, "ignore")
    lines = euc_kr(broken).split("\n")
    decoded = [(line, euc_kr(line)) for line in lines]
    assert repaired(broken) == "\n".join(utf_8(line) if after == line else after for line, after in decoded)


def test_one_kind_of_damage_does_not_hide_the_other() -> None:
    """`Ñ±` of EUC-KR is a letter of Cyrillic in UTF-8; beside lines of UTF-8 the text as a whole is not sure."""
    euc, utf = "한국어 글".encode("euc_kr").decode("latin-1"), KOREAN.encode().decode("latin-1")
    assert repaired("한국어".encode("euc_kr").decode("latin-1")) == "한국어"
    assert repaired(f"{utf}\n{euc}\n{utf}") == f"{KOREAN}\n한국어 글\n{KOREAN}"
    unsure = "떡국 찌개 볶음 국수".encode("euc_kr").decode("latin-1")  # no syllable of it is frequent
    assert repaired(unsure) == unsure
    assert repaired("été déjà vu".encode().decode("latin-1")) == "été déjà vu"


def test_mojibake_is_counted() -> None:
    outcome = mojibake(batch([KOREAN, KOREAN.encode().decode("latin-1")]))
    assert outcome.batch.column("text").to_pylist() == [KOREAN, KOREAN]
    assert outcome.counts == {"documents changed: mojibake": 1}
    assert outcome.batch.column("bytes").to_pylist() == [len(KOREAN.encode())] * 2


# --- web pages ---

PAGE = f"""<!DOCTYPE html><html><head><title>마당</title><script>var a = 1;</script></head><body>
<nav><ul><li><a href="/">홈</a></li><li><a href="/login">로그인</a></li></ul></nav>
<main><h1>마당을 쓸다</h1><p>{KOREAN}</p><p>둘째 문단 &amp; 끝. {KOREAN}</p></main>
<footer>무단 전재 금지</footer></body></html>"""


def test_pages_give_their_main_text() -> None:
    article = "HTML에서 문단은 <p>이렇게</p> 쓰고, 제목은 <h1>이렇게</h1> 쓴다."
    outcome = boilerplate(batch([PAGE, article]))
    page, kept = outcome.batch.column("text").to_pylist()
    assert kept == article and outcome.counts == {"documents changed: web page to text": 1}
    assert KOREAN in page and "둘째 문단 & 끝." in page
    assert not any(word in page for word in ("<", "로그인", "무단 전재", "var a"))


def test_what_is_a_page() -> None:
    assert is_page(PAGE) and is_page("\n <html><body>x</body></html>")
    assert is_page("<div><p>하나</p><p>둘</p></div>")
    assert not is_page("<p>문단 하나로 시작하는 글") and not is_page("글 <p>하나</p><p>둘</p><p>셋</p>")
    assert not is_page("<이름>은 누구인가</p></p></p>")


# --- languages ---


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (KOREAN, "ko"),
        (ENGLISH, "en"),
        ("안녕", "ko"),
        ("Hello", "en"),
        ("도담은 Python 3.11 이상과 PyTorch에서 동작한다", "ko"),
        ("L'hiver dernier, nous avons passé deux semaines dans une petite maison au bord de la mer.", "fr"),
        ("Im letzten Winter haben wir zwei Wochen in einem kleinen Haus am Meer verbracht und viel gelesen.", "de"),
        ("これは日本語で書かれた文章です。" * 5, "ja"),
        ("今天天气很好，我们一起去公园散步，然后回家吃饭。" * 4, "zh"),
        ("Прошлой зимой мы провели две недели в маленьком доме у самого моря.", "ru"),
        ("1234 5678", ""),
        ("", ""),
    ],
)
def test_language(text: str, name: str) -> None:
    assert language(text) == name


@settings(max_examples=60, deadline=None)
@given(st.text(st.one_of(st.characters(), st.sampled_from(list("가각abcABC 1ㄱㅏ"))), max_size=60))
def test_hangul_decides_as_it_does_while_reading(text: str) -> None:
    assert (language(text) == "ko") == (texts.language(text) == "ko")


def test_only_wanted_languages_stay() -> None:
    french = "L'hiver dernier, nous avons passé deux semaines dans une petite maison au bord de la mer."
    outcome = languages(batch([KOREAN, french, ENGLISH, "12"], language="en"), ("ko", "en"))
    assert outcome.batch.column("language").to_pylist() == ["ko", "en"]
    assert outcome.counts == {"documents dropped: language fr": 1, "documents dropped: language unknown": 1}
    assert {sample.reason for sample in outcome.samples} == set(outcome.counts)
    everything = languages(batch([KOREAN, french], language="en"))
    assert everything.batch.column("language").to_pylist() == ["ko", "fr"] and not everything.counts


# --- quality ---


def words(count: int, of: int = 10_000) -> str:
    """Words that a text could have, none twice in a row of `of`."""
    return " ".join(f"word{number % of}x" for number in range(count))


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        (ENGLISH, "en", ""),
        (KOREAN, "ko", ""),
        ("The cat sat.", "en", "too short"),
        ("짧은 글이다.", "ko", "too short"),
        (f"the and {words(100)}", "en", ""),
        (words(100), "en", "no sentences"),
        (" ".join(f"가나{number}다" for number in range(100)), "ko", "no sentences"),
        ("the and " + " ".join("a" for _ in range(100)), "en", "words too short or too long"),
        (ENGLISH + " # ... #" * 10, "en", "too many signs"),
        (ENGLISH + " 1234 5678 91011" * 12, "en", "too few letters"),
        ("\n".join(f"- the item and number{n} of it" for n in range(30)), "en", "a list"),
        ("\n".join(f"the line and number{n} of it..." for n in range(4)) + "\n" + words(60), "en", "lines cut off"),
        ("\n".join(["the same line and this"] * 4 + [words(80)]), "en", "repeated lines"),
        ("the and " + "buy this now " * 20 + words(60), "en", "one phrase over and over"),
        (" ".join(["the and " + words(60)] * 2), "en", "repeated phrases"),
        (KOREAN + " " + KOREAN, "ko", "repeated phrases"),
        ("こんにちは", "ja", ""),
    ],
)
def test_rules(text: str, name: str, reason: str) -> None:
    assert fault(text, name) == reason


def slow_repetition(text: str) -> str:
    """The n-gram rules, word for word, with dictionaries."""
    found = text.split()
    total = sum(map(len, found))
    for n in range(2, 11):
        grams = [tuple(found[place : place + n]) for place in range(len(found) - n + 1)]
        times: dict[tuple[str, ...], int] = {}
        covered = [False] * len(found)
        for place, gram in enumerate(grams):
            if gram in times:
                covered[place : place + n] = [True] * n
            times[gram] = times.get(gram, 0) + 1
        if n <= 4:
            most = max((len("".join(gram)) * count for gram, count in times.items() if count > 1), default=0)
            if most > rules.MOST_FREQUENT[n] * total:
                return "one phrase over and over"
        elif sum(len(word) for word, one in zip(found, covered, strict=True) if one) > rules.REPEATED[n] * total:
            return "repeated phrases"
    return ""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), st.integers(1, 40))
def test_ngrams_are_counted_exactly(numbers: list[int], spread: int) -> None:
    """Against the definition, with texts that repeat much, some or nothing."""
    text = " ".join(
        f"w{'o' * (number % 4)}{number if number < 6 else number + place * spread}"
        for place, number in enumerate(numbers)
    )
    assert rules._ngrams(text.split()) == slow_repetition(text)


def test_quality_drops_and_counts() -> None:
    outcome = quality(batch([KOREAN, "짧은 글이다.", "또 짧다."], language="ko"))
    assert outcome.batch.column("id").to_pylist() == ["f:1"]
    assert outcome.counts == {"documents dropped: too short": 2}
    assert outcome.samples[0] == Sample("documents dropped: too short", "f:2", "짧은 글이다.", "")


# --- all of them ---


def test_order_and_switches() -> None:
    broken = (KOREAN + " 전화 010-1234-5678").encode().decode("latin-1")
    done = clean_batch(batch([broken, "짧은 글이다."]), Cleaning(quality=True))
    assert [name for name, _ in done] == ["boilerplate", "mojibake", "unicode", "languages", "quality", "personal"]
    assert done[-1][1].batch.column("text").to_pylist() == [KOREAN + " 전화 [PHONE]"]
    off = Cleaning(boilerplate=False, mojibake=False, unicode=False, personal=False)
    assert [name for name, _ in clean_batch(batch([KOREAN]), off)] == ["languages"]


def test_settings_are_checked() -> None:
    assert build(Cleaning, {"languages": ["ko", "en"], "personal": "false"}, "flags").languages == ("ko", "en")
    for values in ({"languages": ["korean"]}, {"repeated_lines": 2}, {"qualty": True}):
        with pytest.raises(UsageError):
            build(Cleaning, values, "flags")


@pytest.mark.parametrize(
    ("package", "text", "call"),
    [
        ("ftfy", KOREAN.encode().decode("latin-1"), mojibake),
        ("resiliparse.extract.html2text", PAGE, boilerplate),
        (
            "py3langid.langid",
            "Im letzten Winter haben wir zwei Wochen in einem kleinen Haus am Meer verbracht.",
            languages,
        ),
    ],
)
def test_a_missing_package_is_named(package: str, text: str, call, monkeypatch) -> None:
    from dodam.data.cleaning import languages as module

    module._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=package.split(".")[0]):
        call(batch([text]))


DOCUMENTS = st.sampled_from(
    [
        KOREAN,
        ENGLISH,
        PAGE,
        "짧다",
        "\x00",
        f"{KOREAN}\r\n연락 010-1234-5678",
        KOREAN.encode().decode("latin-1"),
        "kim@naver.com\n" + ENGLISH,
        KOREAN * 3,
        "Nous avons passé deux semaines dans une petite maison.",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(DOCUMENTS, min_size=1, max_size=10), st.lists(st.integers(0, 10), max_size=3))
def test_batches_do_not_matter(documents: list[str], borders: list[int]) -> None:
    switches = Cleaning(quality=True, languages=("ko", "en"))
    whole = clean_batch(batch(documents), switches)
    parts = [clean_batch(one, switches) for one in cut(documents, borders)]
    for place, (_, outcome) in enumerate(whole):
        of_step = [part[place][1] for part in parts]
        assert texts_of([one.batch for one in of_step]) == texts_of([outcome.batch])
        assert {key: sum(one.counts.get(key, 0) for one in of_step) for key in outcome.counts} == outcome.counts
        assert first_samples([sample for one in of_step for sample in one.samples]) == list(outcome.samples)


def test_steps_leave_a_clean_batch_as_it_is() -> None:
    clean = batch([KOREAN, ENGLISH])
    assert all(
        outcome.batch.column("text").equals(clean.column("text")) for _, outcome in clean_batch(clean, Cleaning())
    )
    assert clean_batch(batch([]), Cleaning(quality=True))[-1][1].batch.num_rows == 0


def test_samples() -> None:
    sample = shown("why", "f:1", "a" * 500 + "b" * 500, "a" * 500 + "c")
    assert sample.before == "a" * 60 + "b" * (SHOWN - 60) and sample.after == "a" * 60 + "c"
    many = [Sample("one", str(number), "", "") for number in range(9)] + [Sample("two", "x", "", "")]
    assert [one.id for one in first_samples(many)] == [*map(str, range(SAMPLES)), "x"]
