"""`dodam generate` and `dodam chat` as a user types them, on tiny models in real folders."""

import io
import json
from pathlib import Path

import pytest

from dodam import cli
from dodam.data.conversation import CHAT_TEMPLATE, encode
from dodam.errors import UsageError
from dodam.generate.chat import Chat, Conversation, fit
from dodam.generate.engine import generate
from dodam.generate.generate import Generate, open_model
from dodam.generate.sequence import SamplingParams
from talking_models import make_decoder, make_tokenizer, write_model

GREEDY = ["--temperature", "0", "--max-tokens", "8", "--json"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tokenizer = make_tokenizer()
    model = make_decoder(tokenizer.size)
    write_model(folder / "run" / "model", model, tokenizer, CHAT_TEMPLATE)
    write_model(folder / "base", model, tokenizer, None)
    return folder


def answer(capsys: pytest.CaptureFixture, *words: str) -> tuple[str, dict]:
    """What a command prints, and its JSON."""
    assert cli.main([*words]) == 0, capsys.readouterr().err
    *lines, last = capsys.readouterr().out.split("\n")[:-1]
    return "\n".join(lines), json.loads(last)


def expected(models: Path, name: str, ids: list[int]) -> str:
    loaded = open_model(models / name, "cpu")
    params = SamplingParams(max_tokens=8, temperature=0)
    (output,) = generate(loaded.model, [ids], params, stop_ids=loaded.stop_ids, tokenizer=loaded.tokenizer)
    return output.text


def test_a_base_model_continues_the_text(models: Path, capsys: pytest.CaptureFixture) -> None:
    tokenizer = open_model(models / "base", "cpu").tokenizer
    text, result = answer(capsys, "generate", str(models / "base"), "하늘은", *GREEDY)
    ids = [tokenizer.bos, *tokenizer.encode("하늘은")]
    assert text == result["samples"][0]["text"] == expected(models, "base", ids)
    assert result["prompt"] == "하늘은"


def test_a_tuned_model_answers_unless_raw(models: Path, capsys: pytest.CaptureFixture) -> None:
    tokenizer = open_model(models / "run", "cpu").tokenizer
    as_message = encode(tokenizer, [{"role": "user", "content": "하늘은"}], generation_prompt=True).ids
    text, _ = answer(capsys, "generate", str(models / "run"), "하늘은", *GREEDY)
    assert text == expected(models, "run", as_message)
    raw, _ = answer(capsys, "generate", str(models / "run"), "하늘은", "--raw", *GREEDY)
    assert raw == expected(models, "run", [tokenizer.bos, *tokenizer.encode("하늘은")])
    assert raw != text


def test_the_prompt_from_standard_input(
    models: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, _ = answer(capsys, "generate", str(models / "base"), "하늘은", *GREEDY)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("하늘은\n".encode())))
    read, _ = answer(capsys, "generate", str(models / "base"), *GREEDY)
    assert read == typed


def test_seeds_and_samples(models: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["generate", str(models / "base"), "a", "--temperature", "1", "--max-tokens", "9", "--json"]
    _, three = answer(capsys, *words, "--seed", "5", "--num-samples", "3")
    _, second = answer(capsys, *words, "--seed", "6")
    texts = [sample["text"] for sample in three["samples"]]
    assert texts[1] == second["samples"][0]["text"]
    assert len(set(texts)) == 3
    printed, _ = answer(capsys, *words, "--seed", "5", "--num-samples", "3")
    assert printed.split("--- ")[0] == ""
    assert all(text in printed for text in texts)


def test_a_prompt_beyond_the_context(models: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["generate", str(models / "base"), "하늘 " * 200]) == 2
    assert "the model's context 96" in capsys.readouterr().err


def test_a_base_model_cannot_chat(models: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["chat", str(models / "base")]) == 2
    said = capsys.readouterr().err
    assert "dodam generate" in said and "dodam sft" in said


def test_a_conversation_by_lines(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "said.jsonl"
    lines = ["하늘은?", "", "/save", f"/save {saved}", "/reset", "/help", "/what", "왜?", f"/save {saved}"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    assert cli.main(["chat", str(models / "run"), "--system", "짧게", *GREEDY]) == 0
    captured = capsys.readouterr()
    first, second = (json.loads(line)["messages"] for line in saved.read_text(encoding="utf-8").splitlines())
    assert [message["role"] for message in first] == ["system", "user", "assistant"]
    assert first[1]["content"] == "하늘은?"
    assert second[1]["content"] == "왜?" and len(second) == 3
    assert captured.out.startswith(first[2]["content"] + "\n" + second[2]["content"] + "\n")
    assert captured.err.count("is not a command") == 1
    assert "/save needs the name of a file" in captured.err


def test_nothing_said_is_not_saved(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"/save {tmp_path / 'said.jsonl'}\n".encode())))
    assert cli.main(["chat", str(models / "run"), "--system", "짧게"]) == 0
    assert "(nothing to save yet)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_empty_answer_is_told(models: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("하늘은?\n".encode())))
    monkeypatch.setattr(Conversation, "reply", lambda self, text: iter([""]))
    assert cli.main(["chat", str(models / "run")]) == 0
    assert "(an empty answer)" in capsys.readouterr().err


@pytest.mark.parametrize("penalty", ["1e-50", "11"])
def test_a_penalty_out_of_bounds(models: Path, penalty: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["generate", str(models / "base"), "a", "--repetition-penalty", penalty]) == 2
    assert "--repetition-penalty" in capsys.readouterr().err


def test_the_next_answer_has_heard_the_first(models: Path) -> None:
    loaded = open_model(models / "run", "cpu")
    conversation = Conversation(loaded, Chat(model=models / "run", temperature=0, max_tokens=8))
    first = "".join(conversation.reply("하나"))
    second = "".join(conversation.reply("둘"))
    said = [("user", "하나"), ("assistant", first), ("user", "둘")]
    messages = [{"role": role, "content": content} for role, content in said]
    assert second == expected(models, "run", encode(loaded.tokenizer, messages, generation_prompt=True).ids)


def test_ctrl_c_keeps_what_was_said(models: Path) -> None:
    loaded = open_model(models / "run", "cpu")
    conversation = Conversation(loaded, Chat(model=models / "run", seed=1, temperature=1.0))
    reply = conversation.reply("하나")
    begun = next(reply) + next(reply)
    with pytest.raises(KeyboardInterrupt):
        reply.throw(KeyboardInterrupt())
    assert conversation.messages[-1] == {"role": "assistant", "content": begun}
    assert "".join(conversation.reply("둘"))


def test_the_oldest_turns_are_dropped(models: Path, capsys: pytest.CaptureFixture) -> None:
    tokenizer = open_model(models / "run", "cpu").tokenizer
    turns = [{"role": role, "content": f"{n} 하늘"} for n in range(9) for role in ("user", "assistant")][:-1]
    system = {"role": "system", "content": "짧게"}
    most = len(encode(tokenizer, [system, *turns[-5:]], generation_prompt=True).ids)
    assert fit(tokenizer, [system, *turns], most)[::2] == ([system, *turns[-5:]], 12)
    assert fit(tokenizer, turns, most)[0] == turns[-5:]
    with pytest.raises(UsageError, match="the message has"):
        fit(tokenizer, turns, 5)
    loaded = open_model(models / "run", "cpu")
    conversation = Conversation(loaded, Chat(model=models / "run", temperature=0))
    for number in range(8):
        "".join(conversation.reply(f"{number} 하늘은?"))
    assert "the oldest 2 messages were dropped" in capsys.readouterr().err


def test_generate_flags_reach_the_engine() -> None:
    config = Generate(model=Path("m"), prompt="x", top_k=3, min_p=0.1, stop=("a",), seed=4)
    params = config.params(5)
    assert (params.top_k, params.min_p, params.stop, params.seed, params.top_p) == (3, 0.1, ("a",), 9, 0.9)
