"""Rewards by hand-worked examples, mixtures, and what a user is told when one cannot be used; the sandbox."""

import os
import socket
import sys
from pathlib import Path

import pytest

from dodam.errors import DataError, UsageError
from dodam.rl.rewards import Asked, fingerprint, mixture
from dodam.rl.sandbox import run_python


def asked(said: str, prompt: str = "3 더하기 4는?", /, **item: object) -> Asked:
    return Asked([{"role": "user", "content": prompt}], said, item, "prompts.jsonl:7")


def reward(text: str, said: str, /, **item: object) -> float:
    return mixture([text])([asked(said, **item)])[0]


@pytest.mark.parametrize(
    ("text", "answer", "item", "expected"),
    [
        ("exact", "3+4=7\n답: 7", {"answer": 7}, 1.0),  # a number is looked for where the answer is one
        ("exact", "답: 17", {"answer": "7"}, 0.0),
        ("exact", "부산.", {"answer": "부산"}, 1.0),
        ("exact", "답은 부산", {"answer": "부산"}, 0.0),
        ("exact", "답: 7", {"answer": "7", "metric": "exact"}, 0.0),  # the item's own metric comes first
        ("exact:rouge", "가 나 다", {"answer": "가 나 다"}, 1.0),
        ("format:\\d+", "17", {}, 1.0),
        ("format:\\d+", "17개", {}, 0.0),
        ("format:<a>.*</a>", "<a>x\ny</a>", {}, 1.0),
        ("regex:^답: \\d+$", "풀이\n답: 3", {}, 1.0),
        ("regex:^답: \\d+$", "답 3", {}, 0.0),
        ("length:4", "네글자임", {}, 1.0),
        ("length:4", "여섯글자입니", {}, 0.5),
        ("length:4", "x" * 9, {}, 0.0),
        ("length:4-8", "xx", {}, 0.5),
        ("length:4-8", "xxxx", {}, 1.0),
        ("language", "일곱입니다", {}, 1.0),
        ("language", "seven", {}, 0.0),
        ("language:en", "seven", {}, 1.0),
    ],
)
def test_built_in_rewards(text: str, answer: str, item: dict[str, object], expected: float) -> None:
    assert reward(text, answer, **item) == pytest.approx(expected)


def test_a_mixture_is_the_weighted_sum() -> None:
    found = mixture(["exact", "0.1*length:4", "-2*regex:!"])([asked("7", answer=7), asked("여덟글자입니다!", answer=7)])
    assert found == pytest.approx([1.1, 0.0 + 0.1 * 0.0 - 2.0])


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def ends(prompt, answer, item):\n    return answer.endswith(item['end']) * len(prompt)\n"
    )
    assert reward(f"0.5*{tmp_path}/mine.py:ends", "그렇다", end="다") == 0.5 * len("3 더하기 4는?")


def test_the_scores_of_a_reward_model_are_of_whole_conversations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scorer:
        def scores(self, conversations: list[list[dict[str, str]]]) -> list[float]:
            assert [message["role"] for message in conversations[0]] == ["user", "assistant"]
            return [float(len(messages[-1]["content"])) for messages in conversations]

    fake = type(sys)("dodam.generate.scorer")
    fake.load_scorer = lambda path, device: Scorer()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dodam.generate.scorer", fake)
    assert mixture([str(tmp_path), "0.5*length:2"])([asked("아"), asked("아야")]) == [1.5, 2.5]


@pytest.mark.parametrize("body", ["return float('nan')", "return None", "return float('inf')", "raise KeyError('x')"])
def test_a_reward_that_is_no_number_names_the_prompt(body: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"def bad(prompt, answer, item):\n    {body}\n")
    with pytest.raises(DataError) as caught:
        reward(f"{tmp_path}/mine.py:bad", "무엇")
    assert caught.value.where == "prompts.jsonl:7"
    assert "mine.py:bad" in caught.value.what
    assert "무엇" in caught.value.what


def test_a_function_may_have_dataclasses_and_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("FACTOR = 3\n")
    (tmp_path / "own.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom beside import FACTOR\n"
        "@dataclass\nclass Length:\n    value: int\n"
        "def long(prompt, answer, item):\n    return Length(len(answer)).value * FACTOR\n"
    )
    before = list(sys.path)
    assert reward(f"{tmp_path}/own.py:long", "ab") == 6.0
    assert sys.path == before


def test_the_fingerprint_changes_with_files_and_weights(tmp_path: Path) -> None:
    own, model = tmp_path / "own.py", tmp_path / "judge" / "model"
    model.mkdir(parents=True)
    texts, seen = [f"0.5*{own}:long", str(model.parent)], set()
    for code, weights in (("a", b"1"), ("b", b"1"), ("b", b"2")):
        own.write_text(code)
        (model / "model.safetensors").write_bytes(weights)
        seen |= {fingerprint(texts), fingerprint(texts)}
    assert len(seen | {fingerprint(texts[:1])}) == 4


def test_a_metric_that_is_none_is_told_with_those_that_are() -> None:
    with pytest.raises(DataError, match=r"knows the metrics exact, .*not bleu"):
        reward("exact", "a", answer="a", metric="bleu")


def test_exact_without_an_answer_names_the_prompt() -> None:
    with pytest.raises(DataError, match="the prompt has none"):
        reward("exact", "7")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exakt", "no reward exakt"),
        ("length", "number of characters"),
        ("length:9-3", "number of characters"),
        ("regex:(", "no regular expression"),
        ("format", "needs a regular expression"),
        ("language:fr", "ko, en"),
        ("exact:bleu", "metrics are"),
        ("code:x", "takes nothing"),
        ("/nowhere/mine.py:f", "no file"),
    ],
)
def test_what_cannot_be_a_reward_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        mixture([text])
    assert caught.value.where == f"--reward {text}"


def test_a_file_that_cannot_be_read_or_lacks_the_function(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(:\n")
    with pytest.raises(UsageError, match="SyntaxError"):
        mixture([f"{tmp_path}/mine.py:f"])
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(UsageError, match="no function g"):
        mixture([f"{tmp_path}/mine.py:g"])


def test_code_is_run_with_its_tests() -> None:
    tests = "assert twice(3) == 6\nassert twice(0) == 0"
    right = "Here:\n```python\ndef twice(x):\n    return 2 * x\n```\nDone."
    assert reward("code", right, tests=tests) == 1.0
    assert reward("code", right.replace("2 *", "3 *"), tests=tests) == 0.0
    assert reward("code", "```python\nimport os\nos._exit(0)\n```", tests=tests) == 0.0  # leaves before the tests


def test_the_sandbox_ends_what_takes_too_long_and_what_it_started() -> None:
    ran = run_python("print('before', flush=True)\nwhile True: pass", seconds=1.0)
    assert (ran.ended, ran.output.strip()) == ("time", "before")


@pytest.mark.skipif(sys.platform != "linux", reason="limits are the system's")
def test_the_sandbox_limits_memory_files_and_what_is_known_of_us(tmp_path: Path) -> None:
    assert run_python("x = bytearray(1 << 30)", memory=256 << 20).ended == "error"
    big = tmp_path / "big"
    assert run_python(f"open({str(big)!r}, 'wb').write(bytes(1 << 22))").ended == "error"
    assert big.stat().st_size <= 1 << 20
    os.environ["DODAM_TEST_SECRET"] = "secret"
    try:
        ran = run_python("import os; print('secret' in str(os.environ), os.listdir('.'), __name__)")
    finally:
        del os.environ["DODAM_TEST_SECRET"]
    assert ran.output.split() == ["False", "[]", "__main__"]


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_the_sandbox_says_truly_whether_there_is_a_network() -> None:
    ran = run_python("import socket; print(len(socket.if_nameindex()))")
    if ran.networkless:
        assert ran.output.strip() == "1"  # a loopback of its own
    else:
        assert ran.output.strip() == str(len(socket.if_nameindex()))
