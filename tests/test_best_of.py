"""`dodam best-of`: the best answer of each prompt, as conversations that sft reads; interrupted and gone on with."""

import json
from pathlib import Path

import pytest
import torch

from dodam import cli
from dodam.data.conversation import CHAT_TEMPLATE, read_conversations
from dodam.data.preferences import read_rankings
from dodam.rl import best_of
from talking_models import make_decoder, make_tokenizer, write_model


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(best_of, "PART", 4)
    tokenizer = make_tokenizer(CHAT_TEMPLATE)
    model = make_decoder(tokenizer.size)
    with torch.no_grad():  # endings are likely
        model.output.weight.mul_(0.2)
        model.output.weight[tokenizer.end] = model.output.weight.mean(0) + 0.02
    write_model(tmp_path / "model", model, tokenizer, CHAT_TEMPLATE)
    rows = [{"prompt": f"sky {number}?"} for number in range(10)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.py").write_text("def long(prompt, answer, item):\n    return len(answer)\n")
    return [
        "best-of", "--model", str(tmp_path / "model"), "--data", str(tmp_path / "prompts.jsonl"), "--reward",
        f"{tmp_path}/mine.py:long", "--answers", "16", "--max-tokens", "40", "--threads", "1", "--json",
    ]  # fmt: skip


def test_the_best_is_kept_and_sft_reads_it(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "best.jsonl"
    assert cli.main([*words, "--out", str(out)]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out.splitlines()[-1])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == result["conversations"] > 5
    assert f"{len(rows)} conversations of 10 prompts, worth " in told.err
    assert all(row["reward"] == len(row["messages"][-1]["content"]) for row in rows)
    assert result["best_reward"] > result["mean_reward"]
    assert [one.messages for one in read_conversations([str(out)])] == [row["messages"] for row in rows]
    assert not (tmp_path / "best.jsonl.part").exists()
    assert cli.main([*words, "--out", str(out)]) == 0
    again = capsys.readouterr()
    assert "already done" in again.err
    assert json.loads(again.out.splitlines()[-1]) == result
    assert cli.main([*words, "--out", str(out), "--seed", "5"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main([*words, "--out", str(tmp_path / "none.jsonl"), "--least", "999"]) == 0
    assert "nothing is kept, so there is nothing to learn from. A lower --least" in capsys.readouterr().err
    least = sorted(row["reward"] for row in rows)[len(rows) // 2]
    assert cli.main([*words, "--out", str(tmp_path / "good"), "--least", str(least)]) == 0
    good = [json.loads(line) for line in (tmp_path / "good" / "conversations.jsonl").read_text().splitlines()]
    assert good == [row for row in rows if row["reward"] >= least]


def test_rankings_of_all_answers_are_read_by_reward(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--out", str(tmp_path / "best")]) == 0
    assert cli.main([*words, "--write", "rankings", "--out", str(tmp_path / "ranked")]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    file = tmp_path / "ranked" / "rankings.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == result["rankings"] > 5
    best = [json.loads(line) for line in (tmp_path / "best" / "conversations.jsonl").read_text().splitlines()]
    chosen = {row["messages"][0]["content"]: row["messages"][-1]["content"] for row in best}
    ranked = read_rankings([str(file)])
    assert len(ranked) == len(rows)
    for row, one in zip(rows, ranked, strict=True):
        assert all(answer["score"] == len(answer["text"]) for answer in row["answers"])
        assert len({answer["text"] for answer in row["answers"]}) == len(row["answers"]) > 1
        first = [text for text, rank in zip(one.answers, one.ranks, strict=True) if rank == 1]
        assert chosen[one.prompt[0]["content"]] in first
    least = sorted(row["reward"] for row in rows)[len(rows) // 2]
    good = [*words, "--write", "rankings", "--least", str(least), "--out", str(tmp_path / "good.jsonl")]
    assert cli.main(good) == 0
    kept = [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    assert kept == [row for row in rows if row["reward"] >= least]


def test_interrupted_it_goes_on_to_the_same_file(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--out", str(tmp_path / "calm.jsonl")]) == 0
    out, append = tmp_path / "killed.jsonl", best_of.files.append_line
    written = []

    def append_some(path: Path, line: str) -> None:
        if len(written) == 6:
            raise KeyboardInterrupt
        written.append(line)
        append(path, line)

    monkeypatch.setattr(best_of.files, "append_line", append_some)
    assert cli.main([*words, "--out", str(out)]) == 1
    assert not out.exists()
    part = tmp_path / "killed.jsonl.part"
    with part.open("a") as file:
        file.write('{"messages": [')  # torn
    monkeypatch.setattr(best_of.files, "append_line", append)
    capsys.readouterr()
    assert cli.main([*words, "--out", str(out)]) == 0
    assert "goes on after 6 of 10" in capsys.readouterr().err
    assert out.read_bytes() == (tmp_path / "calm.jsonl").read_bytes()


def test_another_model_in_the_same_place_is_noticed(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "best.jsonl")
    assert cli.main([*words, "--out", out]) == 0
    tokenizer = make_tokenizer(CHAT_TEMPLATE)
    write_model(tmp_path / "model", make_decoder(tokenizer.size), tokenizer, CHAT_TEMPLATE)
    assert cli.main([*words, "--out", out]) == 2
    assert "was not made with these settings" in capsys.readouterr().err


def test_a_separator_of_lines_inside_an_answer_does_not_tear_it(tmp_path: Path) -> None:
    part = tmp_path / "best.jsonl.part"
    begun = {"model": "x"}
    assert best_of.done_rows(part, begun) == []
    rows = [{"messages": [], "reward": 1.0, "text": text} for text in ("a\u2028b", "c\x85d", "e")]
    for row in rows:
        best_of.files.append_line(part, json.dumps(row, ensure_ascii=False))
    assert best_of.done_rows(part, begun) == rows


def test_other_settings_do_not_go_on_with_it(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.jsonl.part").write_text('{"format": 1}\n')
    assert cli.main([*words, "--out", str(tmp_path / "x.jsonl")]) == 2
    assert "other settings" in capsys.readouterr().err
