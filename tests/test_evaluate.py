"""Scores by rule, intervals against textbook values, bits per byte against a naive sum, and a whole report."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dodam.errors import DataError, UsageError
from dodam.evaluate import perplexity, score, tasks
from dodam.evaluate.answer import answer, encoded_prompt, max_tokens
from dodam.evaluate.tasks import Evaluate
from dodam.folder import LoadedModel, load_model, save_model
from dodam.models.build import build_decoder, decoder_config
from dodam.sample import corpus
from dodam.tokenizer import train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = train.learn(["The sky is blue.", "질문: 하늘은 무슨 색인가요?\n답: 파란색"] * 4, 512, SPECIAL_TOKENS)
    train.fill_up(raw, 512)
    model = build_decoder(decoder_config(vocabulary=512, context=32, depth=1, width=64), 3)
    with torch.no_grad():
        model.output.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    where = tmp_path_factory.mktemp("models") / "tiny"
    return save_model(where, model, Tokenizer(raw.to_str()), info={}, card="")


@pytest.mark.parametrize(
    ("given", "answer", "right"),
    [
        ("부산입니다. 부산은", "부산", 1), (" blue.", "blue", 1), ("bluebell", "blue", 0), ("1894.", "1894", 1),
        ("18945", "1894", 0), ("10월이에요", "10월", 1), ("the cello", "cello", 0), ("", "x", 0), ("산", "부산", 0),
        ("12,345", "12", 0), ("12.7", "12", 0), ("12, 13", "12", 1), ("12.", "12", 1),
    ],
)  # fmt: skip
def test_completions(given: str, answer: str, right: int) -> None:
    assert score.begins(given, answer) == right


def test_exact_and_number() -> None:
    assert score.exact(" 파란색. ", "파란색") == 1
    assert score.exact("하늘은 파란색", "파란색") == 0
    assert score.number("25+39=64\n답: 25", "25") == 1
    assert score.number("그래서 1,250", "1250") == 1
    assert score.number("답: 26, 아니 25", "25") == 0
    assert score.number("모릅니다", "25") == 0
    assert score.number("답: 3.5.", "3.5") == score.number("그래서 1,250.50", "1250.5") == 1
    assert score.number("3.5", "5") == score.number("답: 3.5", "3") == 0


def test_chrf_is_sacrebleus_and_rouge_counts_syllables() -> None:
    import sacrebleu

    assert score.chrf("the cat sat", "the cat sits") == sacrebleu.sentence_chrf("the cat sat", ["the cat sits"]).score
    assert score.rouge_l("the cat sat", "the cat sat") == 100
    assert score.rouge_l("고양이가 잔다", "고양이는 잔다") == pytest.approx(100 * 5 / 6)
    assert score.rouge_l("a b c d", "a c d e f") == pytest.approx(200 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))
    assert score.rouge_l("x", "y") == 0


def test_rouge_n_counts_runs_that_both_have() -> None:
    """Of two runs of a word only as many count as the other side has; by syllables a particle is one unit of many."""
    assert score.rouge_n("the the cat", "the cat sat on", 1) == pytest.approx(100 * 2 * 2 / (3 + 4))
    assert score.rouge_n("the the cat", "the cat sat on", 2) == pytest.approx(100 * 2 * 1 / (2 + 3))
    assert score.rouge_n("고양이가 잔다", "고양이는 잔다", 1) == pytest.approx(100 * 5 / 6)
    assert score.rouge_n("고양이가 잔다", "고양이는 잔다", 1, score.eojeols) == pytest.approx(100 * 1 / 2)
    assert score.rouge_l("고양이가 잔다", "잔다 고양이가", score.eojeols) == pytest.approx(50)
    assert score.rouge_n("끝", "끝", 2) == score.rouge_n("", "끝", 1) == score.rouge_l("", "", score.eojeols) == 0
    assert score.units("위임ㆍ위탁 제3조의2") == ["위", "임", "위", "탁", "제", "3", "조", "의", "2"]
    assert score.eojeols("「국어기본법」에 따른 (이하 'A-1'이라) ㆍ 끝.") == [
        "국어기본법」에",
        "따른",
        "이하",
        "a-1'이라",
        "끝",
    ]


def test_intervals() -> None:
    low, high = score.wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert score.wilson(1.0, 10) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1.0))
    values = np.random.default_rng(0).normal(50, 10, 400)
    low, high = score.bootstrap(values, np.ones(400), 1)
    assert (low, high) == score.bootstrap(values, np.ones(400), 1)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.15)


def test_every_prediction_is_counted_in_one_window_with_half_a_context_before_it() -> None:
    for length in (2, 9, 33, 34, 100, 257):
        counted = []
        for window in perplexity.windows(0, list(range(length)), 32):
            assert len(window.ids) <= 33
            for place in range(window.first, len(window.ids) - 1):
                target = window.ids[place + 1]
                counted.append(target)
                assert place + 1 >= min(target, 16)
        assert counted == list(range(1, length))


def test_bits_equal_a_naive_sum_whatever_is_batched_together(folder: Path) -> None:
    loaded = load_model(folder)
    texts = ["하늘", "The sky is blue. " * 12, "a", "The sea"]
    tokenizer, context = loaded.tokenizer, 32
    naive = []
    for text in texts:
        ids = [tokenizer.bos, *tokenizer.encode(text), tokenizer.eos]
        total = 0.0
        for window in perplexity.windows(0, ids, context):
            logits = loaded.model.head(loaded.model(torch.tensor([window.ids[:-1]])))[0].log_softmax(-1)
            for place in range(window.first, len(window.ids) - 1):
                total -= float(logits[place, window.ids[place + 1]].detach()) / math.log(2)
        naive.append(total)
    assert perplexity.bits(loaded, texts) == pytest.approx(naive, rel=1e-4)
    uniform = LoadedModel(loaded.model, tokenizer, {}, {}, folder)
    with torch.no_grad():
        kept = uniform.model.output.weight.clone()
        uniform.model.output.weight.zero_()
        assert perplexity.bits(uniform, ["a"]) == pytest.approx([2 * math.log2(512)], rel=1e-5)
        uniform.model.output.weight.copy_(kept)


def test_a_base_model_is_asked_in_the_plain_form_and_a_tuned_one_through_its_template(folder: Path) -> None:
    from dodam.data.conversation import CHAT_TEMPLATE

    item = {
        "task": "unasked",
        "language": "ko",
        "messages": [{"role": "user", "content": "무슨 색?"}],
        "answer": "x",
        "metric": "exact",
    }
    base = load_model(folder)
    assert base.tokenizer.decode(encoded_prompt(base, item)) == "질문: 무슨 색?\n답:"
    steps = {**item, "task": "words-steps", "language": "en"}
    assert base.tokenizer.decode(encoded_prompt(base, steps)) == "Question: 무슨 색?\nSolution:\n"
    tuned = LoadedModel(base.model, Tokenizer(base.tokenizer.json, CHAT_TEMPLATE), {}, {}, folder)
    assert (
        tuned.tokenizer.raw.decode(encoded_prompt(tuned, item), skip_special_tokens=False)
        == "<bos><|user|> 무슨 색?<|end|><|assistant|>"
    )
    assert max_tokens(item) < max_tokens(steps) == max_tokens({**item, "metric": "number", "task": "sums"})
    assert max_tokens({**item, "metric": "number", "task": "words-direct"}) == max_tokens(item)
    assert [one.item for one in answer(base, [item, steps])] == [item, steps]


def test_a_report_is_written_goes_on_and_is_the_same_again(folder: Path, tmp_path: Path) -> None:
    items = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": "The sky is", "answer": "blue"},
        {"task": "sums", "messages": [{"role": "user", "content": "1+1"}], "answer": "2", "metric": "number"},
    ]
    items.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "The sky is blue."}\n{"text": "하늘"}\n', encoding="utf-8")
    config = Evaluate(
        model=(f"base={folder}",), task=(str(items), "bits-per-byte"), data=(str(text),), out=tmp_path / "report"
    )
    report = tasks.run(config)
    assert {row["task"] for row in report["rows"]} == {"mine", "sums", "bits-per-byte"}
    assert set(report["rows"][0]) == {"model", "task", "metric", "value", "low", "high", "n", "seconds"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in report["rows"])
    assert tasks.run(config) == report  # from partial.json, the seconds included
    for name in ("report.json", "report.md", "report.png", "samples.md"):
        assert (tmp_path / "report" / name).stat().st_size > 0
    fresh = tasks.run(Evaluate(model=config.model, task=config.task, data=config.data, out=tmp_path / "other"))
    assert [{**row, "seconds": 0} for row in fresh["rows"]] == [{**row, "seconds": 0} for row in report["rows"]]


def test_harder_problems_are_a_task_by_their_name(folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(corpus, "problems_tests", lambda seed, made=corpus.problems_tests: made(seed, 3))
    rows = tasks.run(Evaluate(model=(str(folder),), task=("sample:problems-tests",), out=tmp_path, limit=2))["rows"]
    assert [(row["task"], row["metric"], row["n"]) for row in rows] == [("problems-1", "exact", 2)]


def test_bits_per_byte_of_all_texts_and_where_there_are_several_of_each_source(monkeypatch) -> None:
    bits_of = {"aa": 4.0, "b": 8.0}
    monkeypatch.setattr(perplexity, "bits", lambda loaded, texts: [bits_of[text] for text in texts])

    def values(texts: list[tuple[str, str]]) -> dict[str, tuple[float, int]]:
        rows = tasks.measure_texts(None, "bits-per-byte", texts, Evaluate(model=("m",)))["rows"]
        assert len({row["task"] for row in rows}) == len(rows)
        return {row["task"]: (row["value"], row["n"]) for row in rows}

    expected = {"bits-per-byte": (4.0, 2), "bits-per-byte:all": (2.0, 1), "bits-per-byte:law": (8.0, 1)}
    assert values([("all", "aa"), ("law", "b")]) == expected
    assert values([("law", "b")]) == {"bits-per-byte": (8.0, 1)}


def test_what_is_kept_belongs_to_the_whole_model_folder_and_to_this_dodam(folder: Path, tmp_path, monkeypatch) -> None:
    marks = [tasks.model_mark(folder)]
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        copy = shutil.copytree(folder, tmp_path / name)
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        marks.append(tasks.model_mark(copy))
    split = shutil.copytree(folder, tmp_path / "split")
    (split / "model.safetensors").rename(split / "model-00001-of-00002.safetensors")
    marks.append(tasks.model_mark(split))
    (split / "model-00002-of-00002.safetensors").write_bytes(b"more")
    marks.append(tasks.model_mark(split))
    monkeypatch.setattr("dodam.__version__", "another")
    marks.append(tasks.model_mark(folder))
    assert len(set(marks)) == 8


def write_items(path: Path, *items: dict, encoding: str = "utf-8") -> str:
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding=encoding)
    return str(path)


USER = {"role": "user", "content": "1+1"}


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ({"prompt": "a", "answer": "셋", "metric": "number"}, "needs a number"),
        ({"prompt": "a", "answer": "3.5", "metric": "number"}, "two metrics, exact and number"),
        ({"prompt": "a", "answer": "b", "metric": ["exact"]}, "no metric"),
        ({"prompt": "a", "answer": " . "}, "empty"),
        ({"prompt": "a", "answer": ["b"]}, "text was expected"),
        ({"prompt": 3, "answer": "b"}, "`prompt` is no text"),
        ({"prompt": "a", "answer": "b", "task": 3}, "cannot be called 3"),
        ({"prompt": "a", "answer": "b", "task": "bits-per-byte"}, "cannot be called 'bits-per-byte'"),
        ({"messages": "1+1", "answer": "2"}, "no list"),
        ({"messages": [], "answer": "2"}, "the user's turn"),
        ({"messages": ["1+1"], "answer": "2"}, "a turn is not an object"),
        ({"messages": [{"role": "user"}], "answer": "2"}, "text was expected"),
        ({"messages": [{"role": "user", "content": ""}], "answer": "2"}, "empty"),
        ({"messages": [USER, {"role": "assistant", "content": "2"}], "answer": "2"}, "the user's turn"),
    ],
)
def test_an_item_that_cannot_be_used_is_named_by_its_line(tmp_path: Path, item: dict, complaint: str) -> None:
    mine = write_items(tmp_path / "mine.jsonl", {"prompt": "a", "answer": "b"}, item)
    with pytest.raises(DataError, match=complaint) as error:
        tasks.read_items(Evaluate(model=("m",), task=(mine,)))
    assert error.value.where == f"{mine}:2"


def test_items_may_have_decimals_nulls_and_another_encoding(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "하늘", "messages": None, "answer": 3.5, "metric": "number", "task": None},
        {"messages": [{"role": "system", "content": "짧게."}, USER], "answer": 2, "metric": "number"},
    ]
    mine = write_items(tmp_path / "mine.jsonl", *rows, encoding="cp949")
    config = Evaluate(model=(str(folder),), task=(mine,), encoding="cp949", out=tmp_path / "report")
    (items,) = tasks.read_items(config).values()
    assert [item["answer"] for item in items] == ["3.5", "2"] and items[0]["prompt"] == "하늘"
    assert [(row["task"], row["n"]) for row in tasks.run(config)["rows"]] == [("mine", 2)]
    (tmp_path / "text.txt").write_text("하늘은 파랗다", encoding="cp949")
    config = Evaluate(model=("m",), data=(str(tmp_path / "text.txt"),), encoding="cp949")
    assert [text for _, text in tasks.read_texts(config)] == ["하늘은 파랗다"]


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task 'fact'"):
        tasks.run(Evaluate(model=(str(folder),), task=("fact",), out=tmp_path / "r"))
    with pytest.raises(UsageError, match="two models"):
        tasks.run(Evaluate(model=(str(folder), str(folder)), task=("facts",), out=tmp_path / "r"))
    with pytest.raises(UsageError, match="needs text"):
        tasks.run(Evaluate(model=(str(folder),), task=("bits-per-byte",), out=tmp_path / "r"))
    with pytest.raises(UsageError, match=r"--data is read for bits-per-byte only\. Add --task bits-per-byte\."):
        tasks.run(Evaluate(model=(str(folder),), task=("facts",), data=("x.txt",), out=tmp_path / "r"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        tasks.run(Evaluate(model=(str(folder),), task=(str(bad),), out=tmp_path / "r"))
