"""Answers out of a text: spans and windows against trying all of them, reading, measures against the definitions, and
the whole of `dodam classify --task span` and `predict` on small files; everything that can be wrong with questions."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from dodam import cli
from dodam.data.batch import IGNORED
from dodam.data.questions import Answer, Question, read_questions
from dodam.errors import DataError, DodamError
from dodam.evaluate import reading as measuring
from dodam.folder import load, save_model
from dodam.generate import spans
from dodam.generate.classifier import load_classifier, token_logits_of, with_template
from dodam.generate.pieces import Pieces, Window
from dodam.models.encoder import build_encoder, encoder_config
from dodam.stages import span as stage
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

FEW = ["--threads", "1", "--compile", "no", "--checkpoint-seconds", "0"]
KINDS = {
    "what": ("공", "컵", "hat", "책", "ring", "돌", "box", "꽃"),
    "colour": ("red", "blue", "하얀색", "green", "까만색", "pink"),
    "어디": ("서울", "Paris", "부산", "집", "Rome"),
}


def question(rng: random.Random, number: int, *, unanswerable: float = 0.0) -> Question:
    """A thing, its colour and its place in any order, one of them asked for; where that is left out there is none."""
    asked = rng.choice(list(KINDS))
    told = rng.sample(list(KINDS), 3)
    if rng.random() < unanswerable:
        told.remove(asked)
    text, answers = "", []
    for kind in told:
        word = rng.choice(KINDS[kind])
        answers += [Answer(word, len(text))] if kind == asked else []
        text += f"{word} . "
    return Question(text, asked, tuple(answers), f"article {number}", "")


def questions(count: int, seed: int = 0, *, unanswerable: float = 0.0) -> list[Question]:
    rng = random.Random(seed)
    return [question(rng, number, unanswerable=unanswerable) for number in range(count)]


def squad(asked: list[Question]) -> dict[str, Any]:
    """As SQuAD 2.0 has them."""
    data = []
    for number, one in enumerate(asked):
        answers = [{"text": answer.text, "answer_start": answer.start} for answer in one.answers]
        qa = {"id": str(number), "question": one.question, "answers": answers, "is_impossible": not answers}
        data.append({"title": one.article, "paragraphs": [{"context": one.context, "qas": [qa]}]})
    return {"version": "v2.0", "data": data}


def write(path: Path, asked: list[Question]) -> Path:
    path.write_text(json.dumps(squad(asked), ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = learn([one.context for one in questions(100)], 448, SPECIAL_TOKENS)
    fill_up(raw, 448)
    return Tokenizer(raw.to_str())


def run(*words: object) -> None:
    assert cli.main([str(word) for word in words]) == 0


# --- windows and spans


def test_the_question_is_whole_in_every_window_and_the_context_is_all_there(tokenizer: Tokenizer) -> None:
    framed = with_template(tokenizer, "encoder")
    asked = [Question("red hat . " * 20, "hat 하얀색 어디", (), "", ""), Question(" blue", "공", (), "", "")]
    reading = spans.encode_questions(framed, asked, 40)
    cls, sep = tokenizer.token_id("<cls>"), tokenizer.token_id("<sep>")
    held: dict[int, set[int]] = {0: set(), 1: set()}
    for window in reading.windows:
        head = [cls, *tokenizer.encode(asked[window.text].question), sep]
        inside = reading.pieces[window.text].ids[window.first : window.last]
        assert window.row.ids == [*head, *inside, sep] and len(window.row.ids) <= 40 and window.begin == len(head)
        assert window.row.segments == [0] * len(head) + [1] * (len(inside) + 1)
        held[window.text] |= set(range(window.first, window.last))
    assert held == {number: set(range(len(reading.pieces[number].ids))) for number in (0, 1)}
    assert sum(window.text == 0 for window in reading.windows) > 2
    with pytest.raises(DataError, match="tokens, which leaves"):
        spans.encode_questions(framed, [Question("red", "hat " * 30, (), "", "in.jsonl:3")], 40)


def spans_by_trying(
    pieces: Pieces, parts: list[tuple[Window, np.ndarray]], longest: int
) -> dict[tuple[int, int], float]:
    """Every span there is, and its score in the window where that is highest."""
    found: dict[tuple[int, int], float] = {}
    for window, logits in parts:
        for first in range(window.first, window.last):
            for last in range(first, min(first + longest, window.last)):
                if pieces.stands(first) and pieces.stands(last):
                    place = window.begin - window.first
                    score = float(logits[first + place, 0]) + float(logits[last + place, 1])
                    found[first, last] = max(score, found.get((first, last), -np.inf))
    return found


@pytest.mark.parametrize("unanswerable", [False, True])
def test_the_best_span_is_the_best_of_all(unanswerable: bool, tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    model: Any = build_encoder(encoder_config(vocabulary=448, context=64, depth=1, width=32, heads=2), 0)
    asked = [Question("red  hat . 뷁 " * size, "공", (), "", "") for size in (1, 4, 9)] * 4
    reading = spans.encode_questions(with_template(tokenizer, "encoder"), asked, 30)
    logits = [2 * rng.normal(size=(len(window.row.ids), 2)).astype(np.float32) for window in reading.windows]
    found = spans.decoded(model, asked, reading, logits, longest=5, unanswerable=unanswerable, tails=())
    nones = 0
    for number, (one, told) in enumerate(zip(asked, found, strict=True)):
        parts = [(w, part) for w, part in zip(reading.windows, logits, strict=True) if w.text == number]
        scores = spans_by_trying(reading.pieces[number], parts, 5)
        none = min(float(part[0].sum()) for _, part in parts)
        best = max(scores, key=lambda ends: scores[ends])
        total = sum(np.exp(score) for score in scores.values()) + unanswerable * np.exp(none)
        if unanswerable and none > scores[best]:
            nones += 1
            assert (told.answer, told.start) == ("", None) and told.confidence == pytest.approx(np.exp(none) / total)
            continue
        pieces = reading.pieces[number]
        start, end = pieces.starts[best[0]], pieces.ends[best[1]]
        assert (told.answer, told.start) == (one.context[start:end], start)
        assert told.confidence == pytest.approx(np.exp(scores[best]) / total)
    assert not nones or unanswerable


def test_none_is_said_only_where_it_was_learned_and_scores_best() -> None:
    pieces = Pieces("a b", [5, 6], [0, 2], [1, 3])
    scores = np.array([[1.0, 2.0], [0.0, -np.inf]])
    assert spans.best_span(pieces, scores, None, ())[:2] == ("a b", 0)
    assert spans.best_span(pieces, scores, 1.9, ())[:2] == ("a b", 0)
    assert spans.best_span(pieces, scores, 2.1, ())[:2] == ("", None)
    assert spans.best_span(pieces, np.full((2, 2), -np.inf), None, ()) == ("", None, 0.0)


def test_targets_are_at_the_ends_of_the_answer_or_at_no_answer(tokenizer: Tokenizer) -> None:
    model: Any = build_encoder(encoder_config(vocabulary=448, context=64, depth=1, width=32, heads=2), 0)
    asked = [*questions(20), *questions(6, seed=1, unanswerable=1.0)]
    asked += [Question(one.context * 3, one.question, one.answers, "", "") for one in asked[:5]]
    reading = spans.encode_questions(with_template(tokenizer, "encoder"), asked, 32)
    whole = set()
    for window, target in zip(reading.windows, stage.targets_of(model, reading, asked), strict=True):
        pieces, one = reading.pieces[window.text], asked[window.text]
        assert (target == 1).sum(0).tolist() == [1, 1]
        start, end = (target == 1).argmax(0)
        assert target[0].tolist() != [IGNORED, IGNORED] and (target[1 : window.begin] == IGNORED).all()
        assert (target[-1] == IGNORED).all()  # the separator
        if start == 0:
            assert end == 0
            continue
        whole.add(window.text)
        first, last = (place - window.begin + window.first for place in (start, end))
        assert one.context[pieces.starts[first] : pieces.ends[last]] == one.answers[0].text
    assert whole == {number for number, one in enumerate(asked) if one.answers}


def test_the_loss_is_torchs_over_the_tokens_that_may_be_ends() -> None:
    logits = torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets, means = torch.full((4, 9, 2), IGNORED), []
    for row, (first, last, start, end) in enumerate([(3, 8, 3, 5), (4, 9, 8, 8), (2, 5, 0, 0), (0, 9, 1, 7)]):
        allowed = sorted({0, *range(first, last)})
        targets[row, allowed] = 0
        targets[row, start, 0] = targets[row, end, 1] = 1
        for side, place in enumerate((start, end)):
            means.append(F.cross_entropy(logits[row, allowed, side][None], torch.tensor([allowed.index(place)])))
    loss = stage.SpanLoss(torch.float32).loss(logits, targets)
    torch.testing.assert_close(loss, torch.stack(means).sum() / 2)
    loss.backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


# --- measures


@pytest.mark.parametrize(
    ("given", "true", "exact", "f1"),
    [
        ("The cat's hat", "cats hat", 1.0, 1.0),  # no article, no punctuation
        ("a red,  hat", "red hat.", 1.0, 1.0),
        ("Theatre", "atre", 0.0, 0.0),  # an article is a word
        ("red hat", "the blue hat", 0.0, 0.5),  # 1 word of 2 and of 2
        ("hat hat", "hat", 0.0, 2 / 3),  # 1 of 2 and of 1
        ("1,000", "1000", 1.0, 1.0),
        ("서울은", "서울", 0.0, 0.0),
        ("...", "an", 1.0, 1.0),  # nothing is left of either
        ("...", "hat", 0.0, 0.0),
    ],
)
def test_squads_measures_by_hand(given: str, true: str, exact: float, f1: float) -> None:
    assert measuring.exact(given, true) == exact
    assert measuring.f1(given, true) == pytest.approx(f1)


def test_overlap_is_what_crossing_out_gives() -> None:
    rng = random.Random(0)
    for _ in range(200):
        given, true = (rng.choices("abcd", k=rng.randint(1, 6)) for _ in range(2))
        left, common = list(true), 0
        for one in given:
            if one in left:
                left.remove(one)
                common += 1
        precision, recall = common / len(given), common / len(true)
        expected = 2 * precision * recall / (precision + recall) if common else 0.0
        assert measuring.overlap_f1(given, true) == pytest.approx(expected)


def test_korquads_measures_by_hand() -> None:
    assert measuring.korquad_form("《서울》은 'The' (도시), 1,000명") == "서울 은 the 도시 1000명"
    assert measuring.korquad_exact("‘서울’", "서울") == 1.0 and measuring.korquad_exact("서울은", "서울") == 0.0
    # 서울은 | 서울: 2 characters of 3 and of 2
    assert measuring.korquad_f1("서울은", "서울") == pytest.approx(0.8)
    assert measuring.f1("서울은", "서울") == 0.0
    # 대한 민국 | 민국대: 3 of 4 and of 3, whatever their order
    assert measuring.korquad_f1("대한 민국", "민국대") == pytest.approx(2 * 3 / 7)
    assert measuring.korquad_f1("부산", "서울") == 0.0


def test_the_best_of_several_answers_counts_and_none_is_an_answer() -> None:
    assert measuring.score(measuring.f1, "blue hat", ["red", "the blue hat", "blue"]) == 1.0
    assert [measuring.score(measuring.f1, given, []) for given in ("", "hat")] == [1.0, 0.0]
    assert measuring.score(measuring.exact, "", ["the"]) == 0.0  # which is empty once its article is gone
    one = measuring.Measured(["q"] * 4, [["a b"], ["c"], [], []], ["a b", "d", "", "x"], [0.1, 0.7, 0.9, 0.8])
    rows = {(row["task"], row["metric"]): row for row in measuring.rows_of(one, "m", "t", 0, 0.0)}
    assert {task for task, _ in rows} == {"t", "t:answerable", "t:unanswerable"}
    assert [rows[task, "f1"]["value"] for task in ("t", "t:answerable", "t:unanswerable")] == [0.5, 0.5, 0.5]
    assert rows["t", "exact"]["n"] == 4 and rows["t:answerable", "korquad-f1"]["n"] == 2
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values())
    assert [(wrong["given"], wrong["sure"]) for wrong in measuring.mistakes(one)] == [("x", 0.8), ("d", 0.7)]
    assert "## unanswerable" in measuring.markdown(one, list(rows.values()))


# --- reading


def test_squads_files_and_rows_hold_the_same(tmp_path: Path) -> None:
    asked = questions(12, unanswerable=0.3)
    assert any(not one.answers for one in asked)

    def told(found: list[Question]) -> list[tuple[Any, ...]]:
        return [(one.context, one.question, one.answers, one.article) for one in found]

    write(tmp_path / "a.json", asked)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress((tmp_path / "a.json").read_bytes()))
    for name in ("a.json", "b.json.gz"):
        assert told(read_questions([str(tmp_path / name)])) == told(asked)
    rows = [{"passage": one.context, "q": one.question, "title": one.article} for one in asked]
    forms: list[Any] = [
        lambda one: [{"text": answer.text, "answer_start": answer.start} for answer in one.answers],
        lambda one: {"text": [a.text for a in one.answers], "answer_start": [a.start for a in one.answers]},
    ]
    for number, form in enumerate(forms):
        path = tmp_path / f"{number}.jsonl"
        lines = [json.dumps({**row, "answers": form(one)}) + "\n" for row, one in zip(rows, asked, strict=True)]
        path.write_text("".join(lines))
        assert told(read_questions([str(path)], columns={"context": "passage", "question": "q"})) == told(asked)
    (tmp_path / "c.jsonl").write_text('{"context": " The hat is red.", "question": "hat?", "answers": " red"}\n')
    (one,) = read_questions([str(tmp_path / "c.jsonl")])
    assert one.answers == (Answer("red", 12),) and one.context[12:15] == "red" and one.article == one.context


ROW: dict[str, Any] = {"context": "red hat", "question": "hat?", "answers": [{"text": "red", "answer_start": 0}]}
HARMS: dict[str, tuple[Any, list[str], int, str]] = {
    "not there": (
        {**ROW, "answers": [{"text": "red", "answer_start": 4}]}, [], 1,
        "in.jsonl:2: the answer 'red' does not stand at 4, there is 'hat'",
    ),
    "no place": ({**ROW, "answers": [{"text": "red", "answer_start": "0"}]}, [], 1, "answer_start is no place"),
    "twice there": (
        {**ROW, "context": "red red", "answers": ["red"]}, [], 1, "the answer 'red' stands in the context 2 times"
    ),
    "an empty answer": ({**ROW, "answers": [{"text": " ", "answer_start": 3}]}, [], 1, "2: an answer is empty"),
    "no answers": ({**ROW, "answers": None}, [], 1, "in.jsonl:2: there is no answer"),
    "fewer places": ({**ROW, "answers": {"text": ["red"], "answer_start": []}}, [], 1, "not as many answer_start"),
    "an empty context": ({**ROW, "context": " "}, [], 1, "in.jsonl:2: the context is empty"),
    "an empty question": ({**ROW, "question": ""}, [], 1, "in.jsonl:2: the question is empty"),
    "no columns": ({"text": "red"}, [], 2, "there is no column of questions"),
    "no such column": (ROW, ["--columns", "context=body"], 2, "there is no column `body`"),
    "unknown role": (ROW, ["--columns", "label=answers"], 2, "label is nothing that is read here"),
    "one article": (ROW, [], 1, "all questions are of one article"),
    "labels": (ROW, ["--labels", "set.txt"], 2, "a span has no labels"),
    "weights": (ROW, ["--class-weights", "balanced"], 2, "labels are not weighted for span"),
    "a question too long": (
        {**ROW, "question": "why " * 90}, ["--dev", "in.jsonl", "--context", "64"], 1, "tokens, which leaves 0 of 64"
    ),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_wrong_is_one_message_and_no_model_is_written(harm: str, tmp_path: Path, monkeypatch, capsys) -> None:
    row, flags, code, message = HARMS[harm]
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(ROW)}\n{json.dumps(row)}\n")
    (tmp_path / "set.txt").write_text("PER\n")
    monkeypatch.chdir(tmp_path)
    words = ["classify", "--task", "span", "--data", "in.jsonl", "--out", "out", "--depth", "1", *FEW, *flags]
    assert cli.main(words) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and "mistake in dodam" not in err
    assert not (tmp_path / "out" / "model").exists()


def test_what_is_wrong_inside_squads_json_is_named_by_its_place(tmp_path: Path) -> None:
    value = squad(questions(3))
    value["data"][1]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] += 1
    (tmp_path / "in.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"in.json: entry 2: paragraph 1: question 1: the answer .* does not stand at"):
        read_questions([str(tmp_path / "in.json")])
    assert len(read_questions([str(tmp_path / "in.json")], skip_bad=True)) == 2
    value["data"][1]["paragraphs"] = [{"context": "red"}]
    value["data"][2]["paragraphs"][0]["qas"][0]["answers"] = []  # and not said to be impossible
    (tmp_path / "in.json").write_text(json.dumps(value))
    assert len(read_questions([str(tmp_path / "in.json")], skip_bad=True)) == 1


# --- the whole stage


def test_from_nothing_to_a_report_to_predictions_and_the_same_for_transformers(tmp_path: Path, capsys) -> None:
    data, out = write(tmp_path / "d.json", questions(250, unanswerable=0.2)), tmp_path / "run"
    words = ["classify", "--task", "span", "--data", data, "--out", out, "--depth", 1, "--epochs", 5, "--batch", 16]
    run(*words, "--context", 32, "--longest-answer", "6", "--validation", "0.2", *FEW)
    assert "questions are read in" in capsys.readouterr().err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    rows = {(row["task"], row["metric"]): row for row in report["rows"]}
    assert {task for task, _ in rows} == {"held-back", "held-back:answerable", "held-back:unanswerable"}
    assert rows["held-back", "exact"]["value"] > 0.6 and rows["held-back", "korquad-f1"]["value"] > 0.6
    assert "korquad-exact" in (out / "report.md").read_text() and "(is: " in (out / "samples.md").read_text()

    asked = questions(30, seed=9)
    (tmp_path / "in.txt").write_text("".join(f"{one.question}\t{one.context}\n" for one in asked), encoding="utf-8")
    lines = [json.dumps({"question": one.question, "context": one.context}) + "\n" for one in asked]
    (tmp_path / "in.jsonl").write_text("".join(lines))
    write(tmp_path / "in.json", asked)
    answers = []
    for name in ("in.txt", "in.jsonl", "in.json"):
        run("predict", out, "--input", tmp_path / name, "--output", tmp_path / "o.jsonl", *FEW[:2])
        answers.append([json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()])
    assert answers[0] == answers[1] == answers[2]
    for one, told in zip(asked, answers[0], strict=True):
        assert told.keys() == {"answer", "start", "confidence"} and 0 < told["confidence"] <= 1
        if told["answer"]:
            assert one.context[told["start"] : told["start"] + len(told["answer"])] == told["answer"]
        else:
            assert told["start"] is None
    right = [told["answer"] == one.answers[0].text for one, told in zip(asked, answers[0], strict=True)]
    assert sum(right) > 15

    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(out / "model").eval()
    classifier = load_classifier(out)
    reading = spans.encode_questions(classifier.tokenizer, asked, 32)
    ours = token_logits_of(classifier.model, [window.row for window in reading.windows], classifier.tokenizer.pad)
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(out / "model")
    for window, logits in zip(reading.windows, ours, strict=True):
        inputs = their_tokenizer(asked[window.text].question, asked[window.text].context, return_tensors="pt")
        if window.last - window.first == len(reading.pieces[window.text].ids):
            assert inputs["input_ids"][0].tolist() == window.row.ids
        more = {"token_type_ids": torch.tensor([window.row.segments])} if classifier.model.config.segments > 1 else {}
        with torch.inference_mode():
            said = theirs(torch.tensor([window.row.ids]), **more)
        np.testing.assert_allclose(logits, torch.stack([said.start_logits[0], said.end_logits[0]], -1), atol=1e-4)


def encoder_base(tokenizer: Tokenizer, folder: Path) -> Path:
    model = build_encoder(encoder_config(vocabulary=448, context=64, depth=2, width=32, heads=2), 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return save_model(folder, model, tokenizer, info={"stage": "pretrain"}, card="")


def test_from_an_encoder_parts_of_it_frozen(tokenizer: Tokenizer, tmp_path: Path) -> None:
    base = encoder_base(tokenizer, tmp_path / "base")
    data = write(tmp_path / "d.json", questions(60))
    words = ["classify", "--task", "span", "--data", data, "--model", base, "--steps", 3, "--layer-decay", 0.8, *FEW]
    run(*words, "--out", tmp_path / "run", "--freeze", "embedding*", "--freeze", "blocks.0.*")
    before, after = load(base, ("encoder",)).model.state_dict(), load_classifier(tmp_path / "run").model.state_dict()
    changed = {name for name, tensor in after.items() if name in before and (tensor != before[name]).any()}
    assert any(name.startswith("blocks.1.") for name in changed)
    assert not any(name.startswith("blocks.0.") for name in changed)
    assert after["classifier.output.weight"].shape == (2, 32)
    assert load_classifier(tmp_path / "run").context == 64  # 384, or what the model has
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "run" / "model")
    assert type(theirs).__name__.endswith("BertForQuestionAnswering")


def test_crashed_and_started_again_ends_the_same(tmp_path: Path, monkeypatch) -> None:
    data = write(tmp_path / "d.json", questions(40))
    words = ["classify", "--task", "span", "--data", data, "--depth", 1, "--steps", 6, "--batch", 8, "--context", 32]
    run(*words, *FEW, "--out", tmp_path / "calm")
    calls = []

    def crash(self: stage.SpanLoss, model: Any, batch: Any) -> torch.Tensor:
        calls.append(model.training)
        if sum(calls) == 4:
            raise DodamError("stopped")
        return whole(self, model, batch)

    whole = stage.SpanLoss.__call__
    with monkeypatch.context() as patch:
        patch.setattr(stage.SpanLoss, "__call__", crash)
        assert cli.main([str(word) for word in [*words, *FEW, "--out", tmp_path / "torn"]]) == 1
    assert not (tmp_path / "torn" / "model").exists()
    run(*words, *FEW, "--out", tmp_path / "torn")
    one, two = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("calm", "torn"))
    assert one == two


def test_a_folder_that_transformers_trained_answers(tokenizer: Tokenizer, tmp_path: Path, capsys) -> None:
    config = transformers.BertConfig(
        vocab_size=448, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=48, pad_token_id=tokenizer.pad,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForQuestionAnswering(config)
    model.save_pretrained(tmp_path / "bert")
    tokenizer.save(tmp_path / "bert")
    (tmp_path / "in.txt").write_text("hat\tred hat . blue ring .\n")
    run("predict", tmp_path / "bert", "--input", tmp_path / "in.txt", "--output", tmp_path / "o.jsonl", *FEW[:2])
    (told,) = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert told["answer"] and told["answer"] == "red hat . blue ring ."[told["start"] :][: len(told["answer"])]
    capsys.readouterr()
    for content, code, message in (
        ("hat\tred hat\nhat\n", 1, "in.txt:2: the context is empty"),
        ("", 1, "holds no questions"),
        (f"{'hat ' * 60}\tred hat\n", 1, "in.txt:1: the question has"),
    ):
        (tmp_path / "in.txt").write_text(content)
        words = ["predict", tmp_path / "bert", "--input", tmp_path / "in.txt", "--output", tmp_path / "no.jsonl"]
        assert cli.main([*map(str, words), *FEW[:2]]) == code
        err = capsys.readouterr().err
        assert message in err and "mistake in dodam" not in err
    assert not (tmp_path / "no.jsonl").exists()
