"""A story over a real port: `dodam serve` in a process of its own, a client that leaves, a taken port, SIGTERM."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from dodam import cli
from dodam.data.conversation import CHAT_TEMPLATE
from dodam.serve.app import all_keys
from talking_models import make_decoder, make_tokenizer, write_model

BAD = [
    (["--host", "0.0.0.0"], "without a key"),
    (["--api-key", ""], "--api-key: a key must not be empty. Is the shell variable set?"),
    (["--api-key", "good", "--api-key", " "], "a key must not be empty"),
    (["same=x", "same=y"], "two models are called 'same'"),
    (["--port", "99999"], "--port"),
    ([], "is required"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tokenizer = make_tokenizer()
    model = make_decoder(tokenizer.size, context=3000)
    tuned = write_model(folder / "tuned" / "model", model, tokenizer, CHAT_TEMPLATE)
    never = {"eos_token_id": tokenizer.size + 1}  # so that an answer goes on until somebody stops it
    (tuned / "generation_config.json").write_text(json.dumps(never))
    write_model(folder / "base", model, tokenizer, None)
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[str]:
    """The address of a server with two models; at the end SIGTERM must end it cleanly."""
    named = [str(models / "tuned" / "model"), f"basis={models / 'base'}"]
    words = [*named, "--port", "0", "--max-tokens", "3000", "--json"]
    command = [sys.executable, "-m", "dodam", "serve", *words]
    environment = {name: value for name, value in os.environ.items() if name != "DODAM_API_KEY"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    ) as process:
        lines = iter(process.stderr.readline, "")
        url = next(found.group() for line in lines if (found := re.search(r"http://[\d.:]+", line)))
        yield url
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert err == ""
    assert json.loads(out.splitlines()[-1]) == {"models": ["tuned", "basis"], "url": url}


def test_chat_and_completion_over_the_port(server: str) -> None:
    with openai.OpenAI(api_key="none", base_url=f"{server}/v1") as client:
        assert [model.id for model in client.models.list()] == ["tuned", "basis"]
        messages = [{"role": "user", "content": "하늘은?"}]
        ask = {"model": "tuned", "messages": messages, "temperature": 0, "max_tokens": 20}
        whole = client.chat.completions.create(**ask).choices[0].message.content
        with client.chat.completions.create(**ask, stream=True) as stream:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole
        assert client.completions.create(model="basis", prompt="하늘", max_tokens=5).usage.prompt_tokens > 1
    assert "도담" in httpx2.get(server).text


def running(server: str) -> float:
    return float(re.search(r'dodam_running\{model="tuned"\} (\d+)', httpx2.get(f"{server}/metrics").text).group(1))


def wait_until(server: str, condition: Callable[[float], bool]) -> None:
    for _ in range(60):
        if condition(running(server)):
            return
        time.sleep(0.02)
    raise AssertionError("it never came about")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_the_curl_line_of_the_readme(readme: str, server: str) -> None:
    """As it is shown, but for the address, the model's name and a shorter answer."""
    text = (Path(__file__).parent.parent / readme).read_text(encoding="utf-8")
    line = re.search(r"^curl .*?\}'$", text, re.MULTILINE | re.DOTALL)
    assert line is not None
    shown = line.group().replace("http://127.0.0.1:8000", server).replace('"mine"', '"tuned", "max_tokens": 3')
    done = subprocess.run(shown, shell=True, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["choices"][0]["message"]["role"] == "assistant", done.stdout + done.stderr


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_stops_its_answer(server: str, streamed: bool) -> None:
    body = {"model": "tuned", "messages": [{"role": "user", "content": "?"}], "stream": streamed, "n": 4}
    with httpx2.Client(timeout=0.4) as client:
        try:
            with client.stream("POST", f"{server}/v1/chat/completions", json=body) as response:
                lines = response.iter_lines()  # kept: when it goes, the connection goes
                next(lines)
                wait_until(server, lambda num: num > 0)
        except httpx2.ReadTimeout:
            assert not streamed
    wait_until(server, lambda num: num == 0)


def test_a_taken_port_is_said_in_one_line(server: str, models: Path, capsys: pytest.CaptureFixture) -> None:
    port = server.rsplit(":", 1)[1]
    assert cli.main(["serve", str(models / "base"), "--port", port]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"127.0.0.1:{port}: cannot listen" in line and "--port 0" in line


@pytest.mark.parametrize(("words", "said"), BAD)
def test_wrong_use(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.delenv("DODAM_API_KEY", raising=False)
    given = words if not words or "=" in words[0] else ["model", *words]
    assert cli.main(["serve", *given]) == 2
    assert said in capsys.readouterr().err


def test_keys_of_the_environment() -> None:
    assert all_keys((), " \n") == ()
    assert all_keys(("a",), " b\n") == ("a", "b")
