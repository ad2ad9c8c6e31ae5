"""Classifying: losses, batches and measures against plain ones; the whole of `dodam classify` on small files; and
everything that can be wrong with rows and flags. Heads are compared with those of `transformers` in test_heads.py."""

import json
import random
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from dodam import cli
from dodam.data import labels as labelled
from dodam.data.labels import Example, Labels, read_examples, read_labels
from dodam.errors import DataError, DodamError
from dodam.evaluate import classification
from dodam.exchange.heads import head_config
from dodam.folder import load, save_model
from dodam.generate.classifier import Encoded, collate, encode_texts, frame_of, load_classifier, with_template
from dodam.models.build import build_decoder, decoder_config
from dodam.models.encoder import build_encoder, encoder_config
from dodam.models.heads import add_head, classify
from dodam.stages.labelled import LabelledLoader, Rows
from dodam.stages.texts import LabelLoss
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

FEW = ["--threads", "1", "--compile", "no", "--checkpoint-seconds", "0"]
GOOD, BAD = ("재미있다", "great", "추천한다"), ("지루하다", "boring", "아깝다")
PLAIN = ("이", "영화는", "정말", "그리고", "배우", "연기", "음악", "the", "movie", "was", "really", "story", "어제")


def review(rng: random.Random, good: bool, length: int) -> str:
    words = [rng.choice(PLAIN) for _ in range(length)]
    words.insert(rng.randrange(length + 1), rng.choice(GOOD if good else BAD))
    return " ".join(words)


def reviews(count: int, seed: int = 0) -> list[tuple[str, int]]:
    rng = random.Random(seed)
    return [(review(rng, bool(number % 2), rng.randint(2, 12)), number % 2) for number in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = learn([text for text, _ in reviews(200)], 512, SPECIAL_TOKENS)
    fill_up(raw, 512)
    return Tokenizer(raw.to_str())


@pytest.fixture(scope="module")
def bases(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small encoder and a small decoder of ours, as model folders."""
    folder = tmp_path_factory.mktemp("bases")
    encoder = build_encoder(encoder_config(vocabulary=512, context=64, depth=2, width=32, heads=2), 0)
    decoder = build_decoder(decoder_config(vocabulary=512, context=64, depth=2, width=32, heads=2), 0)
    with torch.no_grad():  # as after some training: no matrix is zero
        for model in (encoder, decoder):
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    for name, model in (("encoder", encoder), ("decoder", decoder)):
        save_model(folder / name, model, tokenizer, info={"stage": "pretrain"}, card="")
    return {"encoder": folder / "encoder", "decoder": folder / "decoder"}


def write_reviews(path: Path, count: int = 120, seed: int = 0) -> Path:
    rows = [f"{number}\t{text}\t{label}\n" for number, (text, label) in enumerate(reviews(count, seed))]
    path.write_text("id\tdocument\tlabel\n" + "".join(rows), encoding="utf-8")
    return path


def run(*words: object) -> None:
    assert cli.main([str(word) for word in words]) == 0


# --- texts as ids


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_padding_and_company_change_nothing(kind: str, bases: dict[str, Path], tokenizer: Tokenizer) -> None:
    model = load(bases[kind], ("encoder", "decoder")).model
    add_head(model, head_config(model.config, 4), 0)
    template = with_template(tokenizer, kind)
    texts = encode_texts(template, [(text, None) for text, _ in reviews(9)], 64)
    with torch.no_grad():
        crowd = collate(texts, tokenizer.pad, step=64, most=64)
        together = classify(model, crowd.ids_BT, crowd.real_BT, crowd.segments_BT, torch.float32)
        for row, text in enumerate(texts):
            one = collate([text], tokenizer.pad)
            alone = classify(model, one.ids_BT, one.real_BT, one.segments_BT, torch.float32)
            torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-4)


def test_texts_are_framed_and_cut(tokenizer: Tokenizer) -> None:
    template = with_template(tokenizer, "encoder")
    cls, sep = tokenizer.token_id("<cls>"), tokenizer.token_id("<sep>")
    a, b = tokenizer.encode("the movie was great"), tokenizer.encode("이 영화는 재미있다 정말")
    texts = [("the movie was great", None), ("the movie was great", "이 영화는 재미있다 정말")]
    one, pair = encode_texts(template, texts, 64)
    assert one.ids == [cls, *a, sep] and set(one.segments) == {0} and not one.cut
    assert pair.ids == [cls, *a, sep, *b, sep] and pair.segments == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    frame = frame_of(template)
    cut = frame.encoded(list(range(200, 230)), [5, 6, 7], 16)
    assert cut.cut and len(cut.ids) == 16 and cut.ids[-4:] == [5, 6, 7, sep]
    both = frame.encoded(list(range(200, 230)), list(range(300, 330)), 16)
    assert both.ids == [cls, *range(200, 207), sep, *range(300, 306), sep]
    assert with_template(template, "encoder") is template
    decoder = frame_of(with_template(tokenizer, "decoder"))
    assert decoder.encoded([9], None, 16).ids == [tokenizer.bos, 9, tokenizer.eos]


def test_a_foreign_template_is_kept() -> None:
    """RoBERTa's way with pairs: two separators between, one segment."""
    from tokenizers import Tokenizer as Raw
    from tokenizers import models, pre_tokenizers, processors

    raw = Raw(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    tokenizer = Tokenizer(raw.to_str(), None, names)
    assert with_template(tokenizer, "encoder") is tokenizer
    pair = frame_of(tokenizer).encoded([4, 4], [5], 16)
    assert pair.ids == raw.encode("a a", "b").ids == [0, 4, 4, 2, 2, 5, 2] and set(pair.segments) == {0}


# --- what is minimised, and in what order


def batch_of(logits: torch.Tensor, targets: torch.Tensor) -> Any:
    from dodam.generate.classifier import TextBatch

    empty = torch.zeros(len(logits), 1, dtype=torch.long)
    return TextBatch(empty, empty, empty.bool(), targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_torchs(smoothing: float, weighted: bool) -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 0, 0, 1])
    weights = torch.tensor([0.5, 2.0, 1.5]) if weighted else None
    loss = LabelLoss("single_label_classification", torch.float32, weights, smoothing)
    mean = loss.loss(logits, targets) / loss.weight(batch_of(logits, targets))
    if not (weighted and smoothing):  # torch weighs each label a text is smoothed over, we the text
        torch.testing.assert_close(mean, F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing))
    else:
        each = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(mean, (each * weights[targets]).sum() / weights[targets].sum())


def test_the_other_losses_are_torchs() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    holds = (torch.rand(5, 3, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    several = LabelLoss("multi_label_classification", torch.float32)
    mean = several.loss(logits, holds) / several.weight(batch_of(logits, holds))
    torch.testing.assert_close(mean, F.binary_cross_entropy_with_logits(logits, holds))
    numbers = torch.tensor([0.5, -1.0, 2.0, 3.0, 0.0])
    squared = LabelLoss("regression", torch.float32)
    mean = squared.loss(logits[:, :1], numbers) / squared.weight(batch_of(logits, numbers))
    torch.testing.assert_close(mean, F.mse_loss(logits[:, 0], numbers))


def test_batches_are_of_like_length_and_every_pass_has_each_text_once() -> None:
    rng = random.Random(0)
    texts = [Encoded([number] * rng.randint(3, 60), [0], False) for number in range(96)]
    texts = [Encoded(one.ids, [0] * len(one.ids), False) for one in texts]
    targets = np.arange(96)

    def loader() -> LabelledLoader:
        return LabelledLoader(Rows(texts, targets), 8, 0, 5, 1, 0)

    one = loader()
    seen = [one.batch(step, 8)[0].targets.tolist() for step in range(36)]
    assert all(Counter(chain(*seen[first : first + 12])) == Counter(range(96)) for first in (0, 12, 24))
    assert seen[:12] != seen[12:24]
    assert loader().batch(17, 8)[0].targets.tolist() == seen[17]  # a function of the step alone
    parts = loader().batch(17, 3)
    assert [len(part.targets) for part in parts] == [3, 3, 2]
    assert [number for part in parts for number in part.targets.tolist()] == seen[17]
    spread = [max(len(texts[i].ids) for i in batch) - min(len(texts[i].ids) for i in batch) for batch in seen]
    assert np.mean(spread) < 12  # drawn by chance it would be about 50
    wide = LabelledLoader(Rows(texts, targets), 8, 0, 5, 16, 64).batch(0, 8)[0]
    assert wide.ids_BT.shape[1] % 16 == 0
    recut = LabelledLoader(Rows(texts, targets, lambda item, step: Encoded([step], [0], False)), 8, 0, 5, 1, 0)
    assert set(recut.batch(17, 8)[0].ids_BT.flatten().tolist()) == {17}
    assert recut.collated([0]).ids_BT.tolist() == [texts[0].ids]  # what is measured is never cut anew


# --- measures


def random_measured(kind: str = "single", n: int = 200, num_labels: int = 4) -> classification.Measured:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, num_labels))
    truth = np.where(rng.random(n) < 0.6, logits.argmax(1), rng.integers(0, num_labels - 1, n))  # one is never true
    given = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = tuple(f"label {number}" for number in range(num_labels))
    if kind == "multilabel":
        return classification.Measured("multilabel", names, ["t"] * n, (rng.random((n, num_labels)) < 0.4) * 1.0, given)
    return classification.Measured("single", names, ["t"] * n, truth, given)


def test_measures_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    one = random_measured()
    everything = np.arange(one.n)
    got = {name: statistic(everything) for name, statistic in classification.measures(one).items()}
    assert got["accuracy"] == pytest.approx(metrics.accuracy_score(one.truth, one.chosen))
    assert got["macro-f1"] == pytest.approx(metrics.f1_score(one.truth, one.chosen, average="macro"))
    np.testing.assert_array_equal(
        classification.confusion(one.truth, one.chosen, 4), metrics.confusion_matrix(one.truth, one.chosen)
    )
    expected = metrics.precision_recall_fscore_support(one.truth, one.chosen, zero_division=0)
    np.testing.assert_allclose(classification.precision_recall_f1(*classification.counts(one)), expected[:3])

    several = random_measured("multilabel")
    got = {name: statistic(everything) for name, statistic in classification.measures(several).items()}
    for average in ("micro", "macro"):
        expected = metrics.f1_score(several.truth, several.chosen, average=average, zero_division=0)
        assert got[f"{average}-f1"] == pytest.approx(expected)


def test_correlations_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, 80).astype(float)  # with ties
    given = truth + rng.normal(size=80).round(1)
    measured = classification.Measured("regression", (), [""] * 80, truth, given)
    got = {name: statistic(np.arange(80)) for name, statistic in classification.measures(measured).items()}
    assert got["pearson"] == pytest.approx(stats.pearsonr(truth, given).statistic)
    assert got["spearman"] == pytest.approx(stats.spearmanr(truth, given).statistic)
    assert got["mse"] == pytest.approx(((truth - given) ** 2).mean())
    assert classification.correlation(np.ones(5), truth[:5]) == 0.0


def test_calibration_error_is_the_one_of_the_definition() -> None:
    one = random_measured()
    right, confidence = one.chosen == one.truth, one.confidence
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert classification.calibration_error(confidence, right) == pytest.approx(expected)
    assert classification.calibration_error(np.ones(4), np.ones(4)) == 0.0


def test_intervals_hold_the_value_and_shrink_with_more_texts() -> None:
    widths = []
    for n in (50, 800):
        rows = classification.rows_of(random_measured(n=n), "m", "held-back", 0, 0.0)
        for row in rows:
            assert row["low"] <= row["value"] <= row["high"] or row["metric"] == "ece"
        widths.append({row["task"] + row["metric"]: row["high"] - row["low"] for row in rows})
    assert widths[1]["held-backaccuracy"] < widths[0]["held-backaccuracy"]
    assert widths[1]["held-backmacro-f1"] < widths[0]["held-backmacro-f1"]


def test_mistakes_are_the_most_confident_and_their_text_stays_inside_the_table() -> None:
    given = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    texts = ["sure | <b>bold</b>\n![x](y)", "unsure", "right", "wrong too"]
    one = classification.Measured("single", ("a", "b"), texts, np.array([1, 1, 1, 0]), given)
    found = classification.mistakes(one)
    assert [item["sure"] for item in found] == [0.9, 0.7, 0.6] and found[0]["given"] == "a"
    assert classification.cell(texts[0]) == r"sure \| &lt;b>bold&lt;/b> \!\[x\](y)"


# --- reading

FORMATS: dict[str, tuple[str, str, dict[str, str], list[tuple[str, str]]]] = {
    "names": ("a.tsv", "id\tdocument\tlabel\n1\t좋다\t1\n2\t싫다\t0\n", {}, [("좋다", "1"), ("싫다", "0")]),
    "other case": ("a.tsv", "ID\tText\tLabel\n1\tyes\t1\n2\tno\t0\n", {}, [("yes", "1"), ("no", "0")]),
    "no names": ("a.tsv", "ham\tsee you\nspam\twin now\nham\tok then\nham\tbye\n", {},
                 [("see you", "ham"), ("win now", "spam"), ("ok then", "ham"), ("bye", "ham")]),
    "by number": ("a.csv", "x,yes,1\ny,no,0\n", {"text": "2", "label": "3"}, [("yes", "1"), ("no", "0")]),
    "by number, with names": ("a.csv", "id,body,label\nx,yes,1\ny,no,0\n", {"text": "2"}, [("yes", "1"), ("no", "0")]),
    "lines, label first": ("a.txt", "0 who is it ?\n1 why ?\n0 where now ?\n1 so what ?\n", {},
                           [("who is it ?", "0"), ("why ?", "1"), ("where now ?", "0"), ("so what ?", "1")]),
    "lines with tabs": ("a.txt", "0\t만화 책\n1\t이치가\n\n0\t약\n1\t또\n", {},
                        [("만화 책", "0"), ("이치가", "1"), ("약", "0"), ("또", "1")]),
    "label last": ("a.tsv", "good one\tpos\nbad one\tneg\nfine\tpos\npoor\tneg\n", {},
                   [("good one", "pos"), ("bad one", "neg"), ("fine", "pos"), ("poor", "neg")]),
    "json": ("a.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": 3}\n', {}, [("a", "True"), ("b", "3")]),
    "renamed": ("a.jsonl", '{"body": "a", "kind": "x"}\n', {"text": "body", "label": "kind"}, [("a", "x")]),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMATS)
def test_formats_are_found_out(case: str, tmp_path: Path) -> None:
    name, content, columns, expected = FORMATS[case]
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = read_examples([str(tmp_path / name)], "single", columns=columns)
    assert [(one.text, one.label) for one in found] == expected


def test_pairs_numbers_and_several_labels_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,question1,question2,is_duplicate\n1,a,b,1\n2,c,d,0\n")
    found = read_examples([str(tmp_path / "p.csv")], "pair")
    assert [(one.text, one.text2, one.label) for one in found] == [("a", "b", "1"), ("c", "d", "0")]
    (tmp_path / "s.tsv").write_text("genre\tscore\tsentence1\tsentence2\nnews\t3.50\ta\tb\n")
    (one,) = read_examples([str(tmp_path / "s.tsv")], "regression")
    assert (one.text, one.text2, one.label) == ("a", "b", 3.5)
    rows = [{"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": []}, {"text": "c", "labels": "y|z, w|y"}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_examples([str(tmp_path / "m.jsonl")], "multilabel")
    assert [one.label for one in found] == [("x", "y"), (), ("y", "z, w")]


def test_names_of_labels(tmp_path: Path) -> None:
    (tmp_path / "dict.csv").write_text("topic,topic_idx\nIT과학,0\n경제,1\n사회,2\n", encoding="utf-8")
    (tmp_path / "y.tsv").write_text("index\ttitle\ttopic_idx\n0\t주가 오름\t1\n1\t새 칩\t0\n", encoding="utf-8")
    labels = read_labels(tmp_path / "dict.csv")
    assert labels.names == ("IT과학", "경제", "사회")
    found = read_examples([str(tmp_path / "y.tsv")], "single", labels=labels)
    assert [one.label for one in found] == ["경제", "IT과학"]
    (tmp_path / "list.txt").write_text("neg\npos\n")
    assert read_labels(tmp_path / "list.txt") == Labels(("neg", "pos"), {"0": "neg", "1": "pos"})
    numbers = [Example("t", None, value, "") for value in ("10", "9", "2")]
    assert labelled.labels_of(numbers).names == ("2", "9", "10")


def test_equal_texts_are_on_one_side_of_the_cut() -> None:
    examples = [Example(f"text {number % 50}", None, "a", "") for number in range(200)]
    learned, held_back = labelled.split(examples, 0.3)
    assert learned and held_back
    assert not {one.text for one in learned} & {one.text for one in held_back}


ROWS = [f"text number {number}\tlabel {number % 2}\n" for number in range(40)]
HEAD = "text\tlabel\n"
HARMS: dict[str, tuple[str, list[str], int, str]] = {
    "an empty text": (HEAD + "".join(ROWS) + "\tlabel 0\n", [], 1, "in.tsv:42: the text is empty"),
    "no label": (HEAD + "".join(ROWS) + "text\t\n", [], 1, "in.tsv:42: there is no label"),
    "a label of another set": (
        HEAD + "".join(ROWS) + "text\tlabel 7\n", ["--labels", "set.txt"], 1, "in.tsv:42: the label 'label 7' is not"
    ),
    "one label only": (HEAD + "a\tx\nb\tx\nc\tx\n", [], 1, "all rows have the label 'x'"),
    "fewer rows than labels": (HEAD + "a\tx\n", ["--labels", "set.txt"], 1, "the label 'x' is not among"),
    "rows fewer than labels": (HEAD + "a\tlabel 0\nb\tlabel 1\n", ["--labels", "set.txt"], 1, "2 rows for 3 labels"),
    "nothing held back": (HEAD + "a\tx\nb\ty\n", ["--validation", "0.0001"], 1, "none of 2 rows is held back"),
    "all held back": (HEAD + "a\tx\nb\ty\n", ["--validation", "0.9999"], 1, "each of 2 rows is held back"),
    "no column": ("body\tkind\n" + "".join(ROWS[:3]), ["--columns", "text=body"], 2, "there is no column of labels"),
    "no such column": (HEAD + "".join(ROWS), ["--columns", "label=kind"], 2, "there is no column `kind`"),
    "one column twice": (
        HEAD + "".join(ROWS), ["--columns", "label=label", "text=label"], 2, "column `label` is named twice"
    ),
    "counted from 0": (HEAD + "".join(ROWS), ["--columns", "label=0"], 2, "columns are counted from 1"),
    "unknown role": (HEAD + "".join(ROWS), ["--columns", "lable=label"], 2, "lable is nothing a row has"),
    "no second column": (HEAD + "".join(ROWS), ["--task", "pair"], 2, "there is no column of second texts"),
    "an empty second text": (
        "text\ttext2\tlabel\n" + "a\tb\tx\n" * 3 + "a\t\ty\n", ["--task", "pair"], 1, "in.tsv:5: a pair needs"
    ),
    "a second text too many": (HEAD + "".join(ROWS), ["--columns", "text2=label"], 2, "not read for single"),
    "no number": (HEAD + "".join(ROWS), ["--task", "regression"], 1, "a regression needs a number, not 'label 0'"),
    "a text for a label": ("".join(f"{n} a {n}\tb {n}\n" for n in range(9)), [], 2, "no column looks like labels"),
    "weights of numbers": (
        HEAD + "".join(ROWS), ["--task", "regression", "--class-weights", "balanced"], 2, "not weighted for regression"
    ),
    "smoothed sets": (
        HEAD + "".join(ROWS), ["--task", "multilabel", "--label-smoothing", "0.1"], 2, "not smoothed for multilabel"
    ),
    "a pooling the family has not": (
        HEAD + "".join(ROWS), ["--pooling", "last"], 2,
        "the head of a modernbert looks at the first token or the mean of all",
    ),
    "an adapter on fresh weights": (HEAD + "".join(ROWS), ["--lora.rank", "4"], 2, "fresh weights"),
    "a frozen head": (HEAD + "".join(ROWS), ["--freeze", "class*"], 2, "would freeze the head"),
    "too many bounds": (HEAD + "".join(ROWS), ["--steps", "2", "--epochs", "1"], 2, "bound the same run"),
    "a row too short": (HEAD + "".join(ROWS) + "text\n", [], 1, "in.tsv:42: has 1 fields"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_wrong_is_one_message_and_no_model_is_written(harm: str, tmp_path: Path, monkeypatch, capsys) -> None:
    content, flags, code, message = HARMS[harm]
    (tmp_path / "in.tsv").write_text(content)
    (tmp_path / "set.txt").write_text("label 0\nlabel 1\nlabel 2\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["classify", "--data", "in.tsv", "--out", "out", "--depth", "1", *FEW, *flags]) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and "mistake in dodam" not in err
    assert not (tmp_path / "out" / "model").exists()


def test_bad_rows_are_left_out_where_that_is_asked_for(tmp_path: Path, capsys) -> None:
    (tmp_path / "in.tsv").write_text(HEAD + "".join(ROWS) + "\tlabel 0\nshort\n")
    found = read_examples([str(tmp_path / "in.tsv")], "single", skip_bad=True)
    assert len(found) == 40 and "2 left out" in capsys.readouterr().err


# --- the whole stage


def held_back_result(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = json.loads((out / "report.json").read_text(encoding="utf-8"))["rows"]
    return {(row["task"], row["metric"]): row for row in rows}


def test_from_nothing_to_a_report_and_the_same_for_transformers(tmp_path: Path, capsys) -> None:
    data = write_reviews(tmp_path / "reviews.tsv", 400)
    out = tmp_path / "run"
    words = ["classify", "--data", data, "--out", out, "--depth", 1, "--epochs", 6, "--context", 32, *FEW]
    run(*words, "--class-weights", "balanced", "--label-smoothing", "0.05")
    rows = held_back_result(out)
    accuracy = rows["held-back", "accuracy"]
    assert accuracy["value"] > 0.9 and accuracy["low"] < accuracy["value"] <= accuracy["high"]
    assert {task for task, _ in rows} == {"held-back", "held-back:0", "held-back:1"}
    assert rows["held-back:0", "f1"]["n"] + rows["held-back:1", "f1"]["n"] == accuracy["n"]
    assert {row["model"] for row in rows.values()} == {"run"}
    assert all((out / name).stat().st_size > 1000 for name in ("confusion.png", "calibration.png", "loss.png"))
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "macro-f1" in report and "confusion.png" in report and "Step" in (out / "samples.md").read_text()

    capsys.readouterr()
    run(*words, "--class-weights", "balanced", "--label-smoothing", "0.05", "--json")
    captured = capsys.readouterr()
    assert "already done" in captured.err
    assert json.loads(captured.out)["accuracy"] == accuracy["value"]

    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out / "model").eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(out / "model")
    ours = load_classifier(out / "model")
    texts = [text for text, _ in reviews(20, seed=9)]
    inputs = their_tokenizer(texts, return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        expected = theirs(**inputs).logits.numpy()
    np.testing.assert_allclose(ours.logits([(text, None) for text in texts])[0], expected, atol=1e-4)
    assert theirs.config.id2label == {0: "0", 1: "1"}


def test_a_run_stopped_before_its_report_is_finished(tmp_path: Path, monkeypatch, capsys) -> None:
    data, out = write_reviews(tmp_path / "reviews.tsv"), tmp_path / "run"
    words = ["classify", "--data", data, "--out", out, "--depth", 1, "--steps", 4, "--context", 32, *FEW]

    def stopped(*_: object, **__: object) -> None:
        raise DodamError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(classification, "write", stopped)
        assert cli.main([str(word) for word in words]) == 1
    before = (out / "model" / "model.safetensors").read_bytes()
    run(*words)
    assert (out / "model" / "model.safetensors").read_bytes() == before
    assert ("held-back", "accuracy") in held_back_result(out)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("task", ["pair", "multilabel", "regression"])
def test_from_a_model_every_task(kind: str, task: str, bases: dict[str, Path], tmp_path: Path, capsys) -> None:
    rng = random.Random(1)
    rows: list[dict[str, Any]] = []
    for number in range(80):
        text = review(rng, number % 2 == 0, 4)
        label: Any = {"pair": "same" if number % 2 else "other", "multilabel": ["a", "b"][: number % 3]}.get(task)
        rows.append({"text": text, "text2": review(rng, True, 14), "label": number % 7 / 2 if label is None else label})
    data, dev = tmp_path / "d.jsonl", tmp_path / "dev.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dev.write_text("".join(json.dumps(row) + "\n" for row in rows[:20]), encoding="utf-8")
    out = tmp_path / "run"
    words = ["--data", data, "--dev", dev, "--task", task, "--model", bases[kind], "--out", out, "--steps", 3, *FEW]
    run("classify", *words, "--context", 16)
    err = capsys.readouterr().err
    assert "20 of 20 texts of --dev are also learned from" in err
    assert ("texts are longer than 16 tokens and were cut" in err) == (task != "multilabel")
    metrics = {metric for _, metric in held_back_result(out)}
    expected = {
        "pair": {"accuracy", "macro-f1", "ece", "f1"},
        "multilabel": {"micro-f1", "macro-f1", "f1"},
        "regression": {"pearson", "spearman", "mse"},
    }[task]
    assert metrics == expected
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out / "model").eval()
    ours = load_classifier(out)
    assert theirs.config.problem_type == ours.problem and ours.pairs == (task != "multilabel")
    texts = [(row["text"], row["text2"] if ours.pairs else None) for row in rows[:5]]
    batch = collate(encode_texts(ours.tokenizer, texts, 16), ours.tokenizer.pad)
    segments = {"token_type_ids": batch.segments_BT} if kind == "encoder" else {}
    with torch.inference_mode():
        logits = theirs(batch.ids_BT, attention_mask=batch.real_BT.long(), **segments).logits.numpy()
    np.testing.assert_allclose(ours.logits(texts)[0], logits, atol=1e-5)


TUNINGS = {
    "lora": ["--lora.rank", "4"],
    "frozen": ["--freeze", "embedding*", "--freeze", "blocks.0.*"],
    "layer decay": ["--layer-decay", "0.5"],
}


@pytest.mark.parametrize("tuning", TUNINGS)
def test_parts_are_tuned_and_the_head_always_is(
    tuning: str, bases: dict[str, Path], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    data, out = write_reviews(tmp_path / "reviews.tsv"), tmp_path / "run"
    words = ["classify", "--data", data, "--model", bases["decoder"], "--out", out, *FEW, *TUNINGS[tuning]]
    run(*words, "--steps", 3)
    before, after = load(bases["decoder"], ("decoder",)).model.state_dict(), load_classifier(out).model
    changed = {name for name, tensor in after.state_dict().items() if name in before and (tensor != before[name]).any()}
    fresh: Any = load(bases["decoder"], ("decoder",)).model
    add_head(fresh, head_config(fresh.config, 2), 0)
    assert (after.classifier.output.weight != fresh.classifier.output.weight).any()
    if tuning == "lora":
        assert changed and all(name.startswith("blocks.") and name.count("norm") == 0 for name in changed)
        assert (out / "adapter" / "adapter_model.safetensors").is_file()
    if tuning == "frozen":
        assert not any(name.startswith(("embedding", "blocks.0.")) for name in changed)
        assert any(name.startswith("blocks.1.") for name in changed)
    if tuning == "layer decay":
        assert any(name.startswith("blocks.0.") for name in changed)


def test_microbatches_change_nothing(bases: dict[str, Path], tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.tsv")
    words = ["classify", "--data", data, "--model", bases["encoder"], "--steps", 3, "--dropout", 0, *FEW]
    words += ["--dtype", "float32", "--class-weights", "balanced"]
    run(*words, "--out", tmp_path / "whole")
    run(*words, "--out", tmp_path / "parts", "--microbatch", "5")
    whole, parts = (load_classifier(tmp_path / name).model.state_dict() for name in ("whole", "parts"))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=2e-3, rtol=1e-2, msg=name)


def test_a_folder_that_is_no_classifier_is_refused(bases: dict[str, Path]) -> None:
    with pytest.raises(DodamError, match="holds no classifier"):
        load_classifier(bases["encoder"])
    with pytest.raises(DataError, match="not among the labels"):
        Labels(("a", "b"), {}).name("c", "x:1")
