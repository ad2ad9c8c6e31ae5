"""`dodam reward` on small files: it learns what people prefer, says how well beside the baselines, and its folder gives
the same scores here, in `predict` and in `transformers`; every option does something, every wrong one is named."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dodam.data.conversation import encode
from dodam.data.judged import judged, split
from dodam.data.preferences import read_rankings
from dodam.errors import DataError, FolderError
from dodam.evaluate import preference
from dodam.generate.scorer import load_scorer
from dodam.tensors import read_tensors
from ranked_answers import FEW, rankings, run, write_bases, write_rows
from talking_models import make_tokenizer

ONE = ["--threads", "1"]


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of a run of two steps."""
    for place in ("dodam.evaluate.preference.draw_calibration", "dodam.train.metrics.draw"):
        monkeypatch.setattr(place, lambda *_: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reward")
    return {**write_bases(folder, make_tokenizer()), "data": write_rows(folder / "data.jsonl", rankings(240))}


@pytest.fixture(scope="module")
def trained(world: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "kind"
    given = ["--data", world["data"], "--model", world["decoder"], "--validation", "0.2", "--learning-rate", "2"]
    assert run("reward", *given, "--steps", "40", "--out", out, *FEW) == 0
    return out


def held_back(world: dict[str, str]) -> list:
    return split(judged(read_rankings([world["data"]])), 0.2)[1]


def test_it_learns_what_is_preferred_and_tells_how_well(trained: Path, world: dict[str, str]) -> None:
    report = json.loads((trained / "report.json").read_text())
    rows = {(row["model"].split(" (")[0], row["metric"]): row for row in report["rows"]}
    own, by_length = rows["kind", "accuracy"], rows["length", "accuracy"]
    assert own["value"] > 0.9
    assert own["low"] > by_length["high"]
    assert own["n"] == len(held_back(world)) == json.loads((trained / "result.json").read_text())["held_back"]
    assert {model for model, _ in rows} == {"kind", "length", "log-probability", "log-probability a token"}
    assert 0 <= rows["kind", "ece"]["low"] <= rows["kind", "ece"]["value"] <= rows["kind", "ece"]["high"]
    validations = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [row["accuracy"] for row in validations if "validation" in row][-1] > 0.9
    told = (trained / "report.md").read_text()
    assert "length" in told and "log-probability a token" in told and "calibration.png" in told
    assert (trained / "calibration.png").stat().st_size > 0
    assert "1. (" in (trained / "samples.md").read_text()


def test_held_back_numbers_are_those_of_the_report(trained: Path, world: dict[str, str]) -> None:
    lines = [json.loads(line) for line in (trained / "held-back.jsonl").read_text().splitlines()]
    scorer = load_scorer(trained)
    for line, one in zip(lines, held_back(world), strict=True):
        scores = scorer.scores([[*one.prompt, {"role": "assistant", "content": text}] for text in one.answers])
        assert line["scores"]["kind"] == pytest.approx(scores, abs=1e-4)
        right = [scores[pair.better] > scores[pair.worse] for pair in one.pairs()]
        assert line["accuracy"]["kind"] == pytest.approx(np.mean(right))
    value = json.loads((trained / "report.json").read_text())["rows"][0]["value"]
    assert value == pytest.approx(np.mean([line["accuracy"]["kind"] for line in lines]))


def test_scores_of_what_was_learned_from_have_a_mean_of_zero(trained: Path, world: dict[str, str]) -> None:
    learned = split(judged(read_rankings([world["data"]])), 0.2)[0]
    scores, num_cut = load_scorer(trained).scores_of([(one.prompt, one.answers) for one in learned])
    assert np.mean([values.mean() for values in scores]) == pytest.approx(0.0, abs=1e-4)
    assert num_cut == 0


def test_predict_scores_answers(trained: Path, world: dict[str, str], tmp_path: Path) -> None:
    rows = rankings(12, seed=9)
    flat = [{"q": row["prompt"], "a": text} for row in rows for text in row["answers"]]
    given = [write_rows(tmp_path / "in.jsonl", flat), "--output", tmp_path / "out.jsonl", "--batch", "5"]
    assert run("predict", trained, "--input", *given, "--columns", "prompt=q", "--columns", "target=a", *ONE) == 0
    found = [json.loads(line)["score"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        mine = found[3 * number : 3 * number + 3]
        assert np.argmax(mine) == row["ranks"].index(1)


def test_transformers_gives_the_same_scores(trained: Path) -> None:
    """Less the mean, which a decoder's head has no place for."""
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(trained / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained / "model")
    scorer = load_scorer(trained)
    asked = [[{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": text}]
             for row in rankings(3, seed=4) for text in row["answers"]]  # fmt: skip
    ours = scorer.scores(asked)
    for messages, value in zip(asked, ours, strict=True):
        ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)["input_ids"]
        assert ids[0].tolist() == encode(scorer.tokenizer, messages).ids
        with torch.no_grad():
            assert float(theirs(ids).logits) - scorer.mean == pytest.approx(value, abs=1e-4)


def test_a_score_does_not_depend_on_what_is_scored_beside_it(trained: Path) -> None:
    scorer = load_scorer(trained)
    asked = [[{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": text}]
             for row in rankings(6, seed=5, answers=5) for text in row["answers"]]  # fmt: skip
    asked.append([{"role": "user", "content": "하늘은 " * 60}, {"role": "assistant", "content": "yellow " * 60}])
    together = scorer.scores(asked)
    assert together == pytest.approx([scorer.scores([one])[0] for one in asked], abs=1e-5)
    assert together[::-1] == pytest.approx(scorer.scores(asked[::-1]), abs=1e-5)
    assert scorer.score_all(asked)[1] == 1


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_tensors(out / "model" / "model.safetensors")


OPTIONS = {
    "plackett-luce": ["--loss", "plackett-luce"],
    "best-and-worst": ["--loss", "best-and-worst"],
    "davidson": ["--ties", "davidson"],
    "margin": ["--margin", "0.5"],
    "balanced": ["--length-control", "balanced"],
    "dropout": ["--dropout", "0.3"],
    "context": ["--context", "16"],
    "seed": ["--seed", "1"],
}


@pytest.mark.usefixtures("no_pictures")
def test_every_option_does_something(world: dict[str, str], tmp_path: Path) -> None:
    rows = rankings(30, seed=2)
    for row in rows[::3]:
        row["ranks"] = [1, 1, 2]
    data = write_rows(tmp_path / "data.jsonl", rows)
    few = ["--data", data, "--model", world["decoder"], "--steps", "2", "--batch", "6", *FEW]  # Adam's first is signs
    assert run("reward", *few, "--out", tmp_path / "plain") == 0
    plain = weights(tmp_path / "plain")["score.weight"]
    for name, words in OPTIONS.items():
        assert run("reward", *few, *words, "--out", tmp_path / name) == 0
        assert not torch.equal(weights(tmp_path / name)["score.weight"], plain), name


@pytest.mark.usefixtures("no_pictures")
def test_fewer_rows_at_one_time_change_nothing_else(world: dict[str, str], tmp_path: Path) -> None:
    few = ["--data", world["data"], "--model", world["decoder"], "--steps", "3", "--batch", "6", *FEW]
    assert run("reward", *few, "--out", tmp_path / "whole") == 0
    assert run("reward", *few, "--microbatch", "2", "--out", tmp_path / "parts") == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-3, atol=2e-4)


@pytest.mark.usefixtures("no_pictures")
def test_an_encoder_and_an_adapter_learn_too(world: dict[str, str], tmp_path: Path) -> None:
    few = ["--data", world["data"], "--steps", "25", "--learning-rate", "2", *FEW]
    assert run("reward", *few, "--model", world["encoder"], "--pooling", "mean", "--out", tmp_path / "encoder") == 0
    result = json.loads((tmp_path / "encoder" / "result.json").read_text())
    assert result["accuracy"] > 0.8
    models = {row["model"] for row in json.loads((tmp_path / "encoder" / "report.json").read_text())["rows"]}
    assert not any("log-probability" in model for model in models)
    assert run("reward", *few, "--model", world["decoder"], "--lora.rank", "4", "--out", tmp_path / "lora") == 0
    assert json.loads((tmp_path / "lora" / "result.json").read_text())["accuracy"] > 0.7
    assert (tmp_path / "lora" / "adapter" / "adapter_config.json").is_file()


@pytest.mark.usefixtures("no_pictures")
def test_balanced_lengths_keep_length_out(world: dict[str, str], tmp_path: Path) -> None:
    """Where the longer of two answers is preferred four times in five, and nothing else tells them apart."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(300):
        short, long = sorted(rng.choice(np.arange(1, 16), 2, replace=False))
        answers = ["sky " * int(long), "sky " * int(short)]
        ranks = [1, 2] if rng.random() < 0.8 else [2, 1]
        rows.append({"prompt": f"and {number}?", "answers": answers, "ranks": ranks})
    data = write_rows(tmp_path / "data.jsonl", rows)
    gained = {}
    for control in ("none", "balanced"):
        few = ["--data", data, "--model", world["decoder"], "--steps", "30", "--length-control", control, *FEW]
        assert run("reward", *few, "--learning-rate", "2", "--validation", "0.2", "--out", tmp_path / control) == 0
        lines = [json.loads(line) for line in (tmp_path / control / "held-back.jsonl").read_text().splitlines()]
        gaps = [np.subtract(*line["scores"][control]) for line in lines]  # the longer answer's less the shorter one's
        gained[control] = np.mean(gaps)
    assert gained["none"] > 0.2
    assert abs(gained["balanced"]) < 0.3 * gained["none"]


@pytest.mark.usefixtures("no_pictures")
def test_an_ensemble_is_the_mean_of_its_members_less_their_spread(world: dict[str, str], tmp_path: Path) -> None:
    few = ["--data", world["data"], "--model", world["decoder"], "--steps", "2", "--batch", "6", *FEW]
    assert run("reward", *few, "--members", "3", "--caution", "0.5", "--out", tmp_path / "three") == 0
    folders = [tmp_path / "three" / "members" / str(number) for number in (1, 2, 3)]
    asked = [[{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": text}]
             for row in rankings(3, seed=4) for text in row["answers"]]  # fmt: skip
    single = np.array([load_scorer(folder).scores(asked) for folder in folders])
    assert (single.std(0) > 0).all()
    moved = (tmp_path / "three" / "model").rename(tmp_path / "elsewhere")
    together = load_scorer(moved).scores(asked)
    assert together == pytest.approx(single.mean(0) - 0.5 * single.std(0), abs=1e-5)
    rows = json.loads((tmp_path / "three" / "report.json").read_text())["rows"]
    assert {"member 1", "member 2", "member 3"} <= {row["model"] for row in rows}
    assert any(row["metric"] == "spread" and row["value"] > 0 for row in rows)
    assert run("reward", *few, "--seed", "1", "--out", tmp_path / "alone") == 0
    assert load_scorer(tmp_path / "alone").scores(asked) == single[1].tolist()


WRONG = {
    "a spread of one": (["--caution", "1"], "has no spread"),
    "loss with ties": (["--loss", "plackett-luce", "--ties", "davidson"], "knows no ties"),
    "margin of many": (["--loss", "plackett-luce", "--margin", "1"], "one and many"),
    "lengths of many": (["--loss", "plackett-luce", "--length-control", "balanced"], "between two answers"),
    "margin of nothing": (["--margin-by", "scores"], "there is no margin"),
    "scores not there": (["--margin-by", "scores", "--margin", "1"], "needs a score"),
    "two bounds": (["--epochs", "1"], "bound the same run"),
    "two parts": (["--dev", "x.jsonl", "--validation", "0.1"], "name the held-back prompts"),
    "too long": (["--context", "4096"], "reads 64 tokens at most"),
    "compiled": (["--compile", "yes"], "all lengths"),
    "frozen head": (["--freeze", "classifier.*"], "would freeze the head"),
    "pooling": (["--pooling", "mean"], "looks at the last token"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_named(
    case: str, world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, told = WRONG[case]
    given = ["--data", world["data"], "--model", world["decoder"], "--steps", "2", "--out", tmp_path / "out", *FEW]
    assert run("reward", *given, *words) in (1, 2)
    errors = capsys.readouterr().err
    assert told in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "model").exists()


def test_only_ties_are_nothing_to_learn(
    world: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "ranks": [1, 1, 1]} for row in rankings(20)]
    data = write_rows(tmp_path / "ties.jsonl", rows)
    given = ["--model", world["decoder"], "--steps", "2", "--out", tmp_path / "out", *FEW]
    assert run("reward", "--data", data, *given) == 1
    errors = capsys.readouterr().err
    assert "20 prompts left out: all their answers are tied" in errors
    assert "no prompt with a preferred answer is learned from" in errors


def test_what_is_no_reward_model_is_refused(world: dict[str, str], trained: Path) -> None:
    with pytest.raises(FolderError, match="no reward model"):
        load_scorer(world["decoder"])
    with pytest.raises(DataError, match="ends with an answer"):
        load_scorer(trained).scores([[{"role": "user", "content": "hello"}]])


def test_measures_against_counting() -> None:
    prompts = judged(read_rankings_of([[1, 2, 3], [2, 1, 1]]))
    scores = [np.array([3.0, 3.0, 1.0]), np.array([0.0, 1.0, -1.0])]
    assert preference.accuracies(prompts, scores).tolist() == pytest.approx([2.5 / 3, 0.5])
    assert [preference.length_sign([one]) for one in prompts] == [-1.0, 1.0]
    found, owners = preference.differences(prompts, scores)
    assert sorted(found.tolist()) == sorted([0.0, 2.0, 2.0, 1.0, -1.0])
    assert owners.tolist() == [0, 0, 0, 1, 1]
    pairs = preference.calibration(prompts, scores, 0)
    right = 1 / (1 + np.exp(-found))
    assert pairs.given[np.arange(5), pairs.truth] == pytest.approx(right)
    assert preference.mistakes(prompts, scores)[0].gap == 1.0


def read_rankings_of(ranks: list[list[int]]) -> list:
    from dodam.data.preferences import Ranking

    return [
        Ranking([{"role": "user", "content": f"q{n}"}], ("a", "bb", "ccc"), tuple(mine), None, "x")
        for n, mine in enumerate(ranks)
    ]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "bench"))
    import rankings as script

    return script


@pytest.mark.usefixtures("no_pictures")
def test_bench_compares_losses_on_the_same_prompts(
    bench: Any,
    world: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = []
    for row in rankings(40):
        pairs = zip(row["answers"], row["ranks"], strict=True)
        responses = [{"response": text, "acceptable?": int(rank == 1)} for text, rank in pairs]
        rows.append({"question": row["prompt"], "responses": responses})
    (tmp_path / "square").mkdir()
    write_rows(tmp_path / "square" / "train.jsonl", [*rows, {"question": "?", "responses": rows[0]["responses"][:1]}])
    words = ["square", "--data", tmp_path, "--model", world["decoder"], "--out", tmp_path / "out", "--steps", "1", *FEW]
    words += ["--losses", "bradley-terry", "best-and-worst"]
    monkeypatch.setattr("sys.argv", ["rankings.py", *map(str, words)])
    bench.main()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    values = {row["scorer"]: row["value"] for row in told}
    assert {row["n"] for row in told} == {8}
    assert {"bradley-terry", "best-and-worst", "length", "log-probability", "log-probability a token"} <= values.keys()
    gap = values["bradley-terry"] - values["best-and-worst"]
    assert values["bradley-terry above best-and-worst"] == pytest.approx(gap)


def test_bench_leaves_each_question_of_logickor_out_once(bench: Any, tmp_path: Path) -> None:
    rows = [
        {"id": number, "turn": turn, "category": "수학", "questions": [f"q{number}", "and then?"],
         "answers": [{"model": "m", "score": score, "answer": f"a{score}"} for score in (9.0, 5.0, 5.0)]}
        for number in range(4) for turn in (1, 2)
    ]  # fmt: skip
    (tmp_path / "logickor_ranked").mkdir()
    write_rows(tmp_path / "logickor_ranked" / "train.jsonl", rows)
    options = SimpleNamespace(questions=None, folds=None, answers=2)
    parts = bench.write("logickor_ranked", tmp_path / "logickor_ranked", tmp_path / "out", options)
    assert len(parts) == 4
    sides = [json.loads(path.read_text(encoding="utf-8").splitlines()[0])["answers"] for path in parts[0]]
    assert [len(answers) for answers in sides] == [2, 3]  # fewer are learned from, all are measured on
    assert [one["score"] for one in sides[0]] == [9.0, 5.0]
    held = []
    for learned, out in parts:
        prompts = [{one.rankings[0].key for one in judged(read_rankings([str(path)]))} for path in (learned, out)]
        assert not prompts[0] & prompts[1]
        assert len(prompts[0]) == 6
        held += prompts[1]
    assert len(set(held)) == 8
