"""The baselines of bench/: folds, naive Bayes, the nearest pair, trigrams, masked words, headings, memory."""

import json
import re
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dodam import cli
from dodam.config import build
from dodam.data.labels import Example, read_examples, split
from dodam.errors import UsageError
from dodam.folder import LoadedModel
from dodam.models.encoder import build_encoder, encoder_config
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import learn

BENCH = str(Path(__file__).parent.parent / "bench")


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts can be imported as they see each other."""
    monkeypatch.syspath_prepend(BENCH)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """120 rows of two labels that one word tells apart; every tenth text stands there twice."""
    lines = [f"{number} 번은 정말 {('좋다', '싫다')[number % 2]}" for number in range(120)]
    texts = [line for number, line in enumerate(lines) for _ in range(2 if number % 10 == 0 else 1)]
    path = tmp_path / "rows.jsonl"
    labelled = [{"text": text, "label": "yes" if "좋다" in text else "no"} for text in texts]
    path.write_text("\n".join(json.dumps(row) for row in labelled), encoding="utf-8")
    return path


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_folds_hold_every_row_back_once_and_equal_texts_together(rows: Path) -> None:
    import folds

    examples = read_examples([str(rows)], "single")
    held_back: Counter[str] = Counter()
    for learned, part in folds.cut(examples, 5):
        assert not {one.key for one in learned} & {one.key for one in part}
        assert len(learned) + len(part) == len(examples)
        held_back.update(one.where for one in part)
    assert held_back == Counter(one.where for one in examples)
    # A fold is no part of what `dodam classify` would hold back by itself.
    assert {folds.fold_of(one, 5) for one in split(examples, 0.2)[1]} == set(range(5))
    with pytest.raises(UsageError, match="of 3 rows is empty"):
        folds.cut(examples[:3], 5)


def test_folds_sum_up_what_the_command_says(rows: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """In place of training, a rule that is wrong for one text; the commands' flags are checked all the same."""
    import folds

    monkeypatch.setattr(cli, "call", lambda name, values, where, places=None: build(cli.load(name)[0], values, where))
    seen = []

    def fake(words: list[str]) -> None:
        assert cli.main(list(words)) == 0
        seen.append(words[0])
        if words[0] == "predict":
            dev, given = (Path(words[words.index(flag) + 1]) for flag in ("--input", "--output"))
            texts = [json.loads(line)["text"] for line in dev.read_text(encoding="utf-8").splitlines()]
            labels = ["yes" if "좋다" in text and not text.startswith("2 ") else "no" for text in texts]
            given.write_text("\n".join(json.dumps({"label": label}) for label in labels), encoding="utf-8")

    monkeypatch.setattr(folds, "dodam", fake)
    folds.main([str(rows), "--folds", "3", "--out", str(tmp_path / "out"), "--depth", "1"])
    found = printed(capsys)
    assert seen == ["classify", "predict"] * 3
    assert [row["fold"] for row in found] == [0, 1, 2, "all"]
    assert found[-1]["n"] == sum(row["n"] for row in found[:-1]) == 132
    assert found[-1]["accuracy"] == round(131 / 132, 4) and found[-1]["flags"] == ["--depth", "1"]
    low, high = found[-1]["macro_f1_interval"]
    assert low < found[-1]["macro_f1"] <= high <= 1
    assert (tmp_path / "out" / "labels.txt").read_text(encoding="utf-8").split() == ["no", "yes"]


def test_naive_bayes_measures_the_rows_that_classify_holds_back(rows: Path, capsys) -> None:
    import naive_bayes

    naive_bayes.main([str(rows), "--validation", "0.3"])
    naive_bayes.main([str(rows), "--folds", "3"])
    first, *others = printed(capsys)
    assert first["n"] == len(split(read_examples([str(rows)], "single"), 0.3)[1])
    assert first["accuracy"] == first["macro_f1"] == 1
    assert [row["fold"] for row in others] == [0, 1, 2, "all"] and others[-1]["n"] == 132


def test_naive_bayes_is_the_formula() -> None:
    """Log prior and smoothed counts of n-grams, by hand, for texts that both labels have seen parts of."""
    import naive_bayes

    from dodam.data.labels import Labels

    texts = {"a": ["가나 다", "나다라", "가나"], "b": ["라마", "마바 가", "바 라마"]}
    learned = [Example(text, None, label, "") for label, some in texts.items() for text in some]
    asked = [Example(text, None, None, "") for text in ("가나라", "바가", "라", "다마", "나나 라마")]
    given, added = naive_bayes.told(learned, Labels(("a", "b"), {}), asked)

    def grams(text: str) -> list[str]:
        words = [f" {word} " for word in text.split()]
        return [word[at : at + n] for word in words for n in range(1, 5) for at in range(len(word) - n + 1)]

    known = {gram for some in texts.values() for text in some for gram in grams(text)}

    def score(label: str, text: str) -> float:
        counts = Counter(gram for one in texts[label] for gram in grams(one))
        total = sum(counts.values()) + added * len(known)
        return sum(np.log((counts[gram] + added) / total) for gram in grams(text) if gram in known)

    assert [("a", "b")[number] for number in given] == [max("ab", key=lambda x: score(x, one.text)) for one in asked]


def test_nearest_pair_copies_from_what_is_not_held_back(tmp_path: Path, capsys) -> None:
    import nearest_pair

    assert nearest_pair.nearest(["개가 짖는다", "고양이가 잔다", "비가 온다"], ["고양이는 잔다", "비가 왔다"]) == [1, 2]
    path = tmp_path / "pairs.tsv"
    lines = [f"this is the box with number {n}\t이것은 상자 {n} 번" for n in range(200)]
    path.write_text("\n".join(["en\tko", *lines]), encoding="utf-8")
    columns = ["--columns", "source=ko", "target=en"]
    nearest_pair.main(["--data", str(path), "--validation", "0.2", *columns])
    found = {row["metric"]: row for row in printed(capsys)}
    n, known = found["bleu"]["n"], found["bleu"]["pairs to copy from"]
    assert 20 < n < 60 and n + known == 200
    assert "tok:13a" in found["bleu"]["signature"] and found["chrf"]["value"] < 100  # its own pair is not among them
    nearest_pair.main(["--data", str(path), "--dev", str(path), *columns])
    assert all(row["value"] == pytest.approx(100) for row in printed(capsys))


SENTENCES = [[2, 3, 4], [2, 3, 5, 3, 4], [5, 5, 2, 3], [4], [3, 4, 2], [2, 3, 4, 5], [6, 2, 3]]
SIZE, BOS, EOS = 8, 0, 1


def kneser_ney(u: int, v: int, w: int) -> float:
    """p(w | u, v) from the definition, counted anew."""
    grams = [
        tuple(framed[at - 2 : at + 1])
        for one in SENTENCES
        for framed in [[BOS, BOS, *one, EOS]]
        for at in range(2, len(framed))
    ]
    three = Counter(grams)
    two = Counter(gram[1:] for gram in three)
    one = Counter(gram[1:] for gram in two)

    def level(counts: Counter[tuple[int, ...]], context: tuple[int, ...], lower: float) -> float:
        values = Counter(counts.values())
        discount = values[1] / (values[1] + 2 * values[2]) if values[1] and values[2] else 0.5
        here = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        total = sum(here.values())
        if not total:
            return lower
        return max(here.get(w, 0) - discount, 0) / total + discount * len(here) / total * lower

    return level(three, (u, v), level(two, (v,), level(one, (), 1 / SIZE)))


def test_trigram_is_kneser_ney_and_sums_to_one() -> None:
    from trigram import Trigram

    model = Trigram([np.array(one) for one in SENTENCES], SIZE, BOS, EOS)
    everything = np.arange(SIZE)
    for u, v in product(range(SIZE), repeat=2):
        found = np.exp(model.log(u, v, everything))
        assert found.sum() == pytest.approx(1)
        assert found == pytest.approx([kneser_ney(u, v, w) for w in everything])


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("after", [[EOS], [4, EOS], [3, 5]])
def test_trigram_fills_a_gap_with_the_likeliest_tokens(both: bool, after: list[int]) -> None:
    """With as many beams as there are ways, the beam search is a search through all of them."""
    from trigram import Trigram

    model = Trigram([np.array(one) for one in SENTENCES], SIZE, BOS, EOS)
    first, others = np.array([2, 3, 6]), np.array([2, 3, 4, 5])

    def score(tokens: tuple[int, ...]) -> float:
        line = [BOS, 5, *tokens, *(after if both else [])]
        return sum(np.log(kneser_ney(*line[at - 2 : at + 1])) for at in range(2, len(line)))

    for choices in ([first], [first, others]):
        found = model.fill([BOS, 5], choices, after, both=both, beams=12)
        expected = {tokens: score(tokens) for tokens in product(*(one.tolist() for one in choices))}
        assert {tuple(tokens) for tokens, _ in found} == set(expected)
        assert [value for _, value in found] == pytest.approx(sorted(expected.values(), reverse=True))
        assert all(value == pytest.approx(expected[tuple(tokens)]) for tokens, value in found)


TEXT = "오늘은 아침부터 비가 내려서 우산을 들고 나갔다. 어제는 날씨가 좋아서 친구와 공원을 걸었다. Rain fell all day."


@pytest.fixture(scope="module")
def encoder() -> LoadedModel:
    tokenizer = Tokenizer(learn([TEXT], len(SPECIAL_TOKENS) + 320, SPECIAL_TOKENS).to_str())
    model = build_encoder(encoder_config(vocabulary=tokenizer.size, context=128, depth=1, width=32, heads=2), 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return LoadedModel(model.eval(), tokenizer, {}, {}, Path("."))


def test_gaps_are_words_of_sentences_that_stay_whole(encoder: LoadedModel) -> None:
    import fill_mask

    asked = list(fill_mask.sentences([TEXT]))
    assert len(asked) == 3
    found = list(fill_mask.gaps(asked * 2, encoder.tokenizer, 10, 30, 128))
    assert len(found) == 2  # one a sentence; the English one has no word of Hangul
    for gap in found:
        whole = f"{gap.before}{gap.word}{gap.after}"
        assert whole in asked and re.fullmatch("[가-힣]+", gap.word) and not whole.startswith(gap.word)
        ids = [*gap.before_ids, *gap.word_ids, *gap.after_ids]
        assert ids == encoder.tokenizer.encode(whole)
        assert encoder.tokenizer.decode(gap.word_ids) == f" {gap.word}"
    assert found == list(fill_mask.gaps(reversed(asked), encoder.tokenizer, 10, 30, 128))
    assert list(fill_mask.gaps(asked, encoder.tokenizer, 1, 30, 128)) == found[:1]


def test_encoder_fills_a_word_from_left_to_right(encoder: LoadedModel) -> None:
    """Against every way there is to fill two masks with three tokens each, one sentence at a time."""
    import fill_mask

    tokenizer, model = encoder.tokenizer, encoder.model
    first, others = (np.array(tokenizer.encode(text)[:3]) for text in (" 비 가 나", "아침부터"))
    word = (int(first[1]), int(others[2]))
    gaps = [
        fill_mask.Gap("", "", "", tokenizer.encode(before), list(word[:count]), tokenizer.encode(" 내려서"))
        for before, count in (("오늘은", 1), ("오늘은 아침부터", 2))
    ]
    choices = fill_mask.Choices(first, others)
    mask = tokenizer.token_id(tokenizer.names.mask)

    def log(gap: Any, filled: tuple[int, ...], token: int) -> float:
        hidden = [mask] * (len(gap.word_ids) - len(filled))
        ids = [tokenizer.bos, *gap.before_ids, *filled, *hidden, *gap.after_ids, tokenizer.eos]
        with torch.no_grad():
            logits = model.head(model(torch.tensor([ids])))[0, 1 + len(gap.before_ids) + len(filled)]
        return float(logits.log_softmax(-1)[token])

    for gap, found in zip(gaps, fill_mask.by_encoder(encoder, gaps, choices), strict=True):
        places = [choices.at(step).tolist() for step in range(len(gap.word_ids))]
        expected = [
            (sum(log(gap, way[:at], token) for at, token in enumerate(way)), tokenizer.decode(way).strip())
            for way in product(*places)
        ]
        expected.sort(reverse=True)
        assert [guess.score for guess in found] == pytest.approx([score for score, _ in expected], abs=1e-4)
        assert [guess.text for guess in found] == [text for _, text in expected]


def test_masked_words_are_counted(encoder: LoadedModel) -> None:
    import fill_mask

    gap = fill_mask.Gap("", "비가", "", [], [1, 2], [])
    guesses = [fill_mask.Guess(text, 0.0) for text in ("눈이", "눈이", "해가", "달이", "별이", "비가", "꽃이")]
    assert fill_mask.is_right(gap, guesses, 5) and not fill_mask.is_right(gap, guesses, 4)  # the same text counts once
    rows = list(fill_mask.measured("one", [gap, gap._replace(word_ids=[1])], [guesses, guesses[-2:]]))
    assert [(row["tokens"], row["n"], row["top-1"], row["top-5"]) for row in rows] == [
        ("all", 2, 0.5, 1.0),
        (1, 1, 1.0, 1.0),
        (2, 1, 0.0, 1.0),
    ]
    table = fill_mask.markdown(rows, [gap], {"one": [guesses], "two": [guesses]}, "about")
    assert "| one | all | 2 | 50.0%" in table and "**[비가]**" in table.partition("## Wrong")[2]


STATUTE = """형의 실효 등에 관한 법률

제1장 총칙

제1조 (목적)

이 법은 기록의 관리를 목적으로 한다.

제2조 (정의 (용어))

① 이 법에서 쓰는 말은 다음과 같다. 그 밖의 것은 제3조의2에 따른다.

  1. 기록: 적은 것

제3조

삭제 <2002.12.5>

제3조의2 (벌칙)

제4조 (벌칙의 적용)

삭제 <2010.1.1>

부칙

부칙 <제3281호,1980.12.18>

제1조 (시행일)

이 법은 공포한 날부터 시행한다."""


def test_articles_and_their_headings() -> None:
    import headings

    assert list(headings.articles(STATUTE)) == [
        ("목적", "이 법은 기록의 관리를 목적으로 한다."),
        ("정의 (용어)", "① 이 법에서 쓰는 말은 다음과 같다. 그 밖의 것은 제3조의2에 따른다.\n\n  1. 기록: 적은 것"),
    ]
    kinds = ("형법/법률", "형법/시행령", "형법/법률(법률)", "규칙/교육부령", "옛법/각령")
    assert [headings.statute_type(one) for one in kinds] == ["법률", "시행령", "법률", "부령", "기타"]
    assert headings.lead("① 이 법에서 1.5배는 다음과 같다. 그 밖에") == "이 법에서 1.5배는 다음과 같다."
    assert headings.lead("줄 하나\n둘째 줄") == "줄 하나"


def test_headings_are_held_back_by_statute_and_scored(tmp_path: Path, capsys) -> None:
    import headings

    def statute(number: int, kind: str) -> dict[str, str]:
        body = "\n\n".join(f"제{n}조 ({number}호의 {n}째 일)\n\n{number}호의 {n}째 일을 정한다. 끝." for n in (1, 2))
        return {"id": f"{number}호/{kind}", "text": f"{number}호\n\n{body}\n\n부칙\n\n제1조 (시행일)\n\n오늘."}

    law, out = tmp_path / "law.jsonl", tmp_path / "out"
    rows = [statute(number, kind) for number in range(60) for kind in ("법률", "시행령")]
    law.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    headings.main(["write", "--law", str(law), "--out", str(out), "--validation", "0.2"])
    told = {row["task"]: row for row in printed(capsys)}
    assert told["heading"]["train"] + told["heading"]["dev"] == 240 and told["heading"]["dev"] % 4 == 0
    assert told["type"]["labels"] == {"법률": 60, "시행령": 60}
    items = [json.loads(line) for line in (out / "heading.dev.jsonl").read_text(encoding="utf-8").splitlines()]
    train = (out / "heading.train.jsonl").read_text(encoding="utf-8")
    assert items and all(json.dumps(item["answer"], ensure_ascii=False) not in train for item in items)
    assert all(item["text"] in item["messages"][0]["content"] for item in items)
    headings.main(["score", str(out / "heading.dev.jsonl"), "--most", "8"])
    found = {(row["writer"], row["rows"], row["metric"], row["unit"]): row for row in printed(capsys)}
    # "3호의 1째 일을 정한다." for "3호의 1째 일": the same three eojeols but the particle, 6 units of 10.
    assert found["lead", "all", "rouge-1", "eojeols"]["value"] == pytest.approx(100 * 2 * 2 / 7, abs=0.01)
    assert found["lead", "new", "rouge-l", "syllables"]["value"] == pytest.approx(100 * 2 * 6 / 16, abs=0.01)
    assert found["lead words", "all", "rouge-1", "eojeols"]["value"] == pytest.approx(100 * 2 / 3, abs=0.01)
    given = tmp_path / "given.jsonl"
    given.write_text("\n".join(json.dumps({"text": item["answer"]}) for item in items), encoding="utf-8")
    headings.main(["score", str(out / "heading.dev.jsonl"), "--answers", str(given)])
    assert {row["value"] for row in printed(capsys) if row["writer"] == str(given)} == {100.0}


@pytest.mark.parametrize("model", ["bert", "modernbert", "marian"])
def test_both_sides_of_the_speed_bench_are_one_model(model: str, monkeypatch) -> None:
    import masked

    monkeypatch.setitem(masked.SIZES, model, {"2M": (2, 32, 2, 64)})
    batch, ours = masked.batch_of(model, 64), masked.ours_of(model, "2M")
    theirs = masked.theirs_of(ours)
    masked.check_same(model, ours, theirs, batch)
    with torch.no_grad():
        # The largest matrix inside the blocks: of a feed-forward.
        weight = max((w for w in theirs.parameters() if w.ndim == 2 and 64 not in w.shape), key=torch.numel)
        weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))
    with pytest.raises(SystemExit, match="not the same model"):
        masked.check_same(model, ours, theirs, batch)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_of_a_process_is_its_own() -> None:
    import import_memory

    code = "import time; held = b'x' * 60_000_000; time.sleep(0.2); del held; time.sleep(0.2)"
    found = import_memory.peaks([sys.executable, "-c", code])
    assert 60e6 < found["own"] < 100e6 and found["own"] <= found["resident"] and found["mapped"] > 1e6
