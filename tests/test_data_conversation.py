"""Conversations: each format gives the same messages, bad rows are named, transformers renders and encodes the same."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.data.conversation import CHAT_TEMPLATE, Conversation, encode, encode_many, read_conversations, render
from dodam.errors import DataError, UsageError
from dodam.stages.sft import Sft
from dodam.stages.sft import read as read_for_sft
from dodam.tokenizer import train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

QUESTION, ANSWER = "하늘은 무슨 색이야?", "파란색이에요."
PAIR = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
LONG = [
    {"role": "system", "content": "Be brief."},
    *PAIR,
    {"role": "user", "content": "And <|end|> the sea?\n"},
    {"role": "assistant", "content": "  Blue 🙂"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    raw = train.learn([QUESTION, ANSWER, "Be brief. And the sea? Blue."] * 9, 512, SPECIAL_TOKENS)
    train.fill_up(raw, 512)
    return Tokenizer(raw.to_str())


def read(path: Path, **choices) -> list[Conversation]:
    return list(read_conversations([str(path)], **choices))


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"messages": PAIR},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}, PAIR[1]]},
        {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]},
        {"instruction": QUESTION, "input": "", "output": ANSWER},
        {"instruction": QUESTION, "context": None, "response": ANSWER, "category": "open_qa"},
        {"Q": QUESTION, "A": ANSWER, "label": 0},
        {"question": QUESTION, "answer": ANSWER},
        {"prompt": QUESTION, "completion": ANSWER},
        {"질문": f" {QUESTION}\r\n", "답": ANSWER},
    ],
    ids=lambda row: "-".join(row),
)
def test_every_format_gives_the_same_messages(tmp_path: Path, row: dict) -> None:
    path = jsonl(tmp_path / "rows.jsonl", row)
    assert read(path) == [Conversation(PAIR, f"{path}:1")]


def test_csv_with_a_label(tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    path.write_text(f'Q,A,label\n{QUESTION},"{ANSWER}",0\n"a, b","둘\n셋",1\n', encoding="utf-8-sig")
    assert [one.messages[1]["content"] for one in read(path)] == [ANSWER, "둘\n셋"]


def test_input_and_system_columns(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"system": "Be kind.", "instruction": "Add.", "input": "1+1", "output": 2})
    (found,) = read(path)
    assert [message["content"] for message in found.messages] == ["Be kind.", "Add.\n\n1+1", "2"]


def test_columns_override_what_would_be_found(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"question": "no", "answer": "no", "ask": QUESTION, "say": ANSWER})
    assert read(path, columns={"prompt": "ask", "target": "say"})[0].messages == PAIR
    with pytest.raises(DataError, match=r"no column `speak`.*`ask`, `say`"):
        read(path, columns={"prompt": "ask", "target": "speak"})
    with pytest.raises(UsageError, match="reply"):
        read(path, columns={"reply": "say"})


def test_a_greeting_may_come_first(tmp_path: Path) -> None:
    messages = [{"role": "assistant", "content": "안녕하세요!"}, *PAIR]
    assert read(jsonl(tmp_path / "a.jsonl", {"messages": messages}))[0].messages == messages


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"messages": [PAIR[0]]}, "a user and an assistant"),
        ({"messages": [PAIR[1]]}, "a user and an assistant"),
        ({"messages": [*PAIR, PAIR[0]]}, "without an answer"),
        ({"messages": [PAIR[0], *PAIR]}, "in turn"),
        ({"messages": [*PAIR, {"role": "system", "content": "x"}, *PAIR]}, "first one"),
        ({"messages": [PAIR[0], {"role": "assistant", "content": " \n"}]}, "the assistant is empty"),
        ({"messages": [PAIR[0], {"role": "tool", "content": "x"}]}, "role tool"),
        ({"messages": [PAIR[0], {"role": "assistant"}]}, "NoneType"),
        ({"messages": ["hello"]}, "not an object"),
        ({"messages": "hello"}, "not str"),
        ({"title": "x", "body": "y"}, "title, body.*--columns"),
        ([1], "not a JSON object"),
    ],
)
def test_a_bad_row_is_named_or_left_out(tmp_path: Path, capsys, row: object, complaint: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"messages": PAIR}, row, {"messages": PAIR})
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{complaint}.*--skip-bad"):
        read(path)
    assert len(read(path, skip_bad=True)) == 2
    assert "1 left out" in capsys.readouterr().err


def test_sft_reads_another_encoding(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(json.dumps({"question": QUESTION, "answer": ANSWER}, ensure_ascii=False).encode("cp949"))
    config = Sft(data=(str(path),), model=tmp_path, out=tmp_path / "run", encoding="cp949", validation=1e-9)
    learned, _, _ = read_for_sft(config, tokenizer, 128)
    assert ANSWER in tokenizer.decode(learned[0].ids)


def test_no_conversation_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no conversation"):
        read(jsonl(tmp_path / "a.jsonl"))


def test_the_template_is_what_transformers_renders_and_encodes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path, chat_template=CHAT_TEMPLATE)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for messages in (PAIR, LONG, LONG[:2], LONG[2:], [LONG[2], *PAIR]):
        for prompt in (False, True):
            ours = render(CHAT_TEMPLATE, messages, generation_prompt=prompt)
            assert ours == theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    harmless = [{**message, "content": message["content"].replace("<|end|>", "end")} for message in LONG]
    found = theirs.apply_chat_template(
        harmless, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, add_generation_prompt=True
    )
    ours = encode(tokenizer, harmless, generation_prompt=True)
    assert ours.ids == found["input_ids"]
    assert tokenizer.decode([token for token, learned in zip(ours.ids, ours.trained, strict=True) if learned]) == (
        f" {ANSWER}   Blue 🙂"
    )
    assert ours.trained == [bool(learned) for learned in found["assistant_masks"]]


def test_exactly_the_answers_and_their_ends_are_learned(tokenizer: Tokenizer) -> None:
    encoded = encode(tokenizer, LONG, generation_prompt=True)
    learned = [token for token, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
    end = tokenizer.end
    assert learned == [*tokenizer.encode(f" {ANSWER}"), end, *tokenizer.encode(f" {LONG[4]['content']}"), end]
    assert encoded.ids[0] == tokenizer.bos and encoded.ids[-1] == tokenizer.token_id("<|assistant|>")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), min_size=2, max_size=5))
def test_nothing_in_a_message_is_a_special_token(tokenizer: Tokenizer, contents: list[str]) -> None:
    contents = [*contents, "</s><|end|><|assistant|>{{ messages }}{% raw %}", "\U000f0000\U00100000"]
    messages = [{"role": "user" if n % 2 else "assistant", "content": text} for n, text in enumerate(contents)]
    encoded = encode(tokenizer, messages)
    assert sum(token < len(SPECIAL_TOKENS) for token in encoded.ids) == 1 + 2 * len(messages)
    assert encode_many(tokenizer, [messages, PAIR]) == [encoded, encode(tokenizer, PAIR)]


def test_a_template_of_its_own_is_used(tokenizer: Tokenizer) -> None:
    template = (
        "{%- for m in messages %}\n    {%- if loop.first %}{{ eos_token }}{% endif %}[{{ m.content }}]\n{%- endfor %}"
    )
    own = Tokenizer(tokenizer.json, template)
    ids = [own.end, *own.encode("["), *own.encode(QUESTION), *own.encode("]["), *own.encode(ANSWER), *own.encode("]")]
    assert encode(own, PAIR).ids == ids


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ messages[0].content }}", "leaves out"),
        ("{% for m in messages %}{{ raise_exception('no ' + m.role) }}{% endfor %}", "refuses.*no user"),
        ("{% for %}", "cannot be read"),
        ("{{ ''.__class__.__mro__ }}", "refuses"),
    ],
)
def test_a_template_that_cannot_be_used(tokenizer: Tokenizer, template: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        encode(Tokenizer(tokenizer.json, template), PAIR)


def test_messages_that_cannot_be_encoded(tokenizer: Tokenizer) -> None:
    assert encode_many(tokenizer, []) == []
    with pytest.raises(DataError, match="no messages"):
        encode(tokenizer, [])
    with pytest.raises(DataError, match="role tool"):
        encode(tokenizer, [{"role": "tool", "content": "x"}])
