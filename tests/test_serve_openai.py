"""The official `openai` client against the server, straight to the app: what it asks for is what it gets."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest

from dodam.data.conversation import CHAT_TEMPLATE
from dodam.generate.engine import Engine, generate
from dodam.generate.sequence import SamplingParams
from dodam.serve.app import make_app
from dodam.serve.auth import Keys
from dodam.serve.limits import Limits, Rate
from dodam.serve.metrics import Metrics
from dodam.serve.routes import Served, Service
from dodam.serve.worker import Worker
from talking_models import Reciter, make_decoder, make_tokenizer

TUNED, BASE = make_tokenizer(CHAT_TEMPLATE), make_tokenizer()
SAYING = "하늘은 파랗고 👩‍👩‍👧 웃어요. STOP here"
DEFAULTS = SamplingParams(max_tokens=64, temperature=0.7, top_p=0.9)


class Slow(Reciter):
    """Takes its time for each step, so that a test can come in between."""

    def forward(self, *args: Any, **values: Any) -> Any:
        import time

        time.sleep(0.02)
        return super().forward(*args, **values)


class Broken(Reciter):
    """Fails in every step."""

    def forward(self, *args: Any, **values: Any) -> Any:
        raise RuntimeError("broken on purpose")


def make_service(*, keys: tuple[str, ...] = (), max_running: int = 4, max_waiting: int = 8, **limits: Any) -> Service:
    script = TUNED.encode(SAYING)
    engines = {
        "tuned": (TUNED, Reciter(script, TUNED.end, TUNED.size, context=200)),
        "slow": (TUNED, Slow(script * 20, TUNED.end, TUNED.size, context=4000)),
        "broken": (TUNED, Broken(script, TUNED.end, TUNED.size)),
        "base": (BASE, make_decoder(BASE.size, context=96)),
    }
    models = {}
    for name, (tokenizer, model) in engines.items():
        engine = Engine(model, stop_ids=[tokenizer.eos, tokenizer.end], max_rows=max_running)
        models[name] = Served(tokenizer, Worker(engine, max_waiting=max_waiting))
    return Service(
        models=models,
        limits=Limits(**{"max_tokens": 64, "max_seconds": 60.0, "max_body": 100_000, "rate": 0} | limits),
        defaults=DEFAULTS,
        keys=Keys(keys),
        rate=Rate(limits.get("rate", 0)),
        metrics=Metrics({name: served.worker for name, served in models.items()}),
    )


class Clients:
    """The same server, asked by the official client and by hand."""

    def __init__(self, app: Any, service: Service, key: str) -> None:
        self.service = service
        self.plain = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://localhost"
        )
        self.openai = openai.AsyncOpenAI(
            api_key=key, base_url="http://localhost/v1", http_client=self.plain, max_retries=0
        )

    async def post(self, path: str, body: Any) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.plain.post(path, content=content, headers={"Content-Type": "application/json"})


@asynccontextmanager
async def serving(key: str = "none", **settings: Any) -> AsyncIterator[Clients]:
    service = make_service(**settings)
    app = make_app(service, "127.0.0.1")
    async with app.router.lifespan_context(app):
        clients = Clients(app, service, key)
        async with clients.plain:
            yield clients


def play(story: Callable[[Clients], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with serving(**settings) as clients:
            await story(clients)

    asyncio.run(run())


def ask(text: str = "안녕?") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_models() -> None:
    async def story(c: Clients) -> None:
        assert [model.id async for model in c.openai.models.list()] == ["tuned", "slow", "broken", "base"]
        assert (await c.openai.models.retrieve("base")).id == "base"
        with pytest.raises(openai.NotFoundError) as caught:
            await c.openai.models.retrieve("gpt-5")
        assert caught.value.code == "model_not_found"

    play(story)


def test_chat_at_once() -> None:
    async def story(c: Clients) -> None:
        answer = await c.openai.chat.completions.create(model="tuned", messages=ask(), seed=1)
        (choice,) = answer.choices
        assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", SAYING, "stop")
        assert answer.usage.completion_tokens == len(TUNED.encode(SAYING))
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

    play(story)


def test_chat_streamed_equals_chat_at_once() -> None:
    async def story(c: Clients) -> None:
        stream = await c.openai.chat.completions.create(
            model="tuned", messages=ask(), stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[0].choices[0].delta.role == "assistant"
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
        assert "".join(pieces) == SAYING
        assert not any("\ufffd" in piece for piece in pieces)
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == len(TUNED.encode(SAYING))
        assert len({chunk.id for chunk in chunks}) == 1

    play(story)


def test_the_prompt_is_what_sft_trained_on() -> None:
    async def story(c: Clients) -> None:
        messages = [
            {"role": "developer", "content": "짧게"},
            {"role": "user", "content": [{"type": "text", "text": "하늘은 "}, {"type": "text", "text": "왜?"}]},
            {"role": "assistant", "content": "파래서"},
            {"role": "user", "content": "<|end|>"},
        ]
        answer = await c.openai.chat.completions.create(model="tuned", messages=messages)
        special = {name: TUNED.token_id(f"<|{name}|>") for name in ("system", "user", "assistant", "end")}
        expected = [TUNED.bos]
        for role, text in (("system", "짧게"), ("user", "하늘은 왜?"), ("assistant", "파래서"), ("user", "<|end|>")):
            expected += [special[role], *TUNED.encode(f" {text}"), special["end"]]
        assert answer.usage.prompt_tokens == len([*expected, special["assistant"]])

    play(story)


def test_stop_length_and_several_choices() -> None:
    async def story(c: Clients) -> None:
        create = c.openai.chat.completions.create
        answer = await create(model="tuned", messages=ask(), stop=["STOP", "never"], n=3)
        assert [choice.message.content for choice in answer.choices] == [SAYING.partition("STOP")[0]] * 3
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        short = await create(model="tuned", messages=ask(), max_completion_tokens=3)
        assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)
        capped = await create(model="slow", messages=ask(), max_tokens=10_000)
        assert capped.usage.completion_tokens == DEFAULTS.max_tokens

    play(story)


def test_text_completions_equal_the_engine() -> None:
    async def story(c: Clients) -> None:
        texts = ["하늘은", "bananas are"]
        answer = await c.openai.completions.create(model="base", prompt=texts, temperature=0, max_tokens=9)
        params = SamplingParams(max_tokens=9, temperature=0)
        model = c.service.models["base"].worker.engine.runner.model
        prompts = [[BASE.bos, *BASE.encode(text)] for text in texts]
        expected = generate(model, prompts, params, stop_ids=[BASE.eos, BASE.end], tokenizer=BASE)
        assert [choice.text for choice in answer.choices] == [output.text for output in expected]
        by_ids = await c.openai.completions.create(model="base", prompt=prompts, temperature=0, max_tokens=9)
        assert [choice.text for choice in by_ids.choices] == [output.text for output in expected]
        stream = await c.openai.completions.create(
            model="base", prompt=texts[0], temperature=0, max_tokens=9, stream=True
        )
        assert "".join([chunk.choices[0].text async for chunk in stream]) == expected[0].text

    play(story)


def test_seeds_repeat_and_choices_differ() -> None:
    async def story(c: Clients) -> None:
        async def texts(seed: int) -> list[str]:
            answer = await c.openai.completions.create(
                model="base", prompt="하늘", seed=seed, temperature=1.0, n=3, max_tokens=16
            )
            return [choice.text for choice in answer.choices]

        first, again, other = await texts(7), await texts(7), await texts(100)
        assert first == again != other
        assert len(set(first)) == 3

    play(story)


def test_logprobs() -> None:
    async def story(c: Clients) -> None:
        answer = await c.openai.chat.completions.create(
            model="tuned", messages=ask(), logprobs=True, top_logprobs=2, temperature=0
        )
        content = answer.choices[0].logprobs.content
        assert len(content) == answer.usage.completion_tokens
        assert content[0].top_logprobs[0].token == content[0].token
        assert content[0].logprob == pytest.approx(0, abs=1e-6)
        plain = await c.openai.completions.create(model="base", prompt="a", logprobs=3, max_tokens=4, temperature=0)
        found = plain.choices[0].logprobs
        assert found.token_logprobs == [max(top.values()) for top in found.top_logprobs]
        assert len(found.tokens) == len(found.text_offset) == plain.usage.completion_tokens

    play(story)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, None),
        ({"messages": [{"role": "tool", "content": "x"}]}, None),
        ({"messages": []}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"repetition_penalty": 1e-50}, "repetition_penalty"),
        ({"n": 0}, "n"),
        ({"stop": [""]}, "stop"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_what_is_not_supported_is_refused(changes: dict, param: str | None) -> None:
    async def story(c: Clients) -> None:
        response = await c.post("/v1/chat/completions", {"model": "tuned", "messages": ask()} | changes)
        error = response.json()["error"]
        assert response.status_code == 400
        assert set(error) == {"message", "type", "param", "code"}
        assert param is None or error["param"] == param

    play(story)


def test_harmless_fields_are_accepted() -> None:
    async def story(c: Clients) -> None:
        extra = {"user": "me", "store": False, "metadata": {"a": "b"}, "tools": [], "response_format": {"type": "text"}}
        extra |= {"frequency_penalty": 0.0, "logit_bias": {}, "something_new": 1, "n": None, "stop": None}
        response = await c.post("/v1/chat/completions", {"model": "tuned", "messages": ask()} | extra)
        assert response.status_code == 200

    play(story)


def test_too_long_too_many_and_base() -> None:
    async def story(c: Clients) -> None:
        create = c.openai.chat.completions.create
        with pytest.raises(openai.BadRequestError) as caught:
            await create(model="tuned", messages=ask("하늘 " * 500))
        assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError, match="base model"):
            await create(model="base", messages=ask())
        with pytest.raises(openai.APIStatusError) as caught:
            await create(model="tuned", messages=ask("x" * 200_000))
        assert caught.value.status_code == 413
        for prompt in ([], [[]], "", [BASE.size], [-1], ["a"] * 1000):
            response = await c.post("/v1/completions", {"model": "base", "prompt": prompt, "max_tokens": 1})
            assert response.status_code == (200 if prompt == "" else 400), prompt

    play(story)


def test_keys() -> None:
    async def story(c: Clients) -> None:
        assert (await c.openai.chat.completions.create(model="tuned", messages=ask())).choices
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}):
            for path in ("/v1/models", "/metrics"):
                response = await c.plain.get(path, headers=headers)
                assert response.status_code == 401
                assert response.json()["error"]["code"] == "invalid_api_key"
        assert (await c.plain.get("/health")).status_code == 200
        assert "right" not in repr(vars(c.service.keys))

    play(story, key="right", keys=("other", "right"))


def test_rate_per_client() -> None:
    async def story(c: Clients) -> None:
        codes = [(await c.plain.get("/v1/models")).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        response = await c.plain.get("/v1/models")
        assert 1 <= int(response.headers["Retry-After"]) <= 60

    play(story, rate=3)


def test_wrong_keys_are_counted() -> None:
    async def story(c: Clients) -> None:
        wrong = {"Authorization": "Bearer wrong"}
        codes = [(await c.plain.get("/v1/models", headers=wrong)).status_code for _ in range(4)]
        assert codes == [401, 401, 401, 429]
        assert [model.id async for model in c.openai.models.list()]

    play(story, key="right", keys=("right",), rate=3)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came about")


def test_a_full_queue_says_try_again() -> None:
    async def story(c: Clients) -> None:
        body = {"model": "slow", "messages": ask(), "max_tokens": 60}
        first = [asyncio.create_task(c.post("/v1/chat/completions", body)) for _ in range(3)]
        await until(lambda: c.service.models["slow"].worker.num_open == 3)
        response = await c.post("/v1/chat/completions", body)
        assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
        assert {(await task).status_code for task in first} == {200}
        await until(lambda: c.service.models["slow"].worker.num_open == 0)

    play(story, max_running=2, max_waiting=1)


def test_the_time_ends_an_answer() -> None:
    async def story(c: Clients) -> None:
        answer = await c.openai.chat.completions.create(model="slow", messages=ask())
        assert answer.choices[0].finish_reason == "length"
        assert 0 < answer.usage.completion_tokens < DEFAULTS.max_tokens
        await until(lambda: not c.service.models["slow"].worker.engine.busy)

    play(story, max_seconds=0.2)


def test_a_broken_engine_tells_and_goes_on() -> None:
    async def story(c: Clients) -> None:
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await c.openai.chat.completions.create(model="broken", messages=ask())
        with pytest.raises(openai.APIError, match="engine failed"):
            async for _ in await c.openai.chat.completions.create(model="broken", messages=ask(), stream=True):
                pass
        assert (await c.openai.chat.completions.create(model="tuned", messages=ask())).choices

    play(story)


def test_health_and_metrics() -> None:
    async def story(c: Clients) -> None:
        assert (await c.plain.get("/health")).json() == {"status": "ok"}
        await c.openai.chat.completions.create(model="tuned", messages=ask())
        text = (await c.plain.get("/metrics")).text
        assert f'dodam_tokens_total{{kind="completion",model="tuned"}} {len(TUNED.encode(SAYING))}.0' in text
        assert 'dodam_requests_total{path="/v1/chat/completions",status="200"} 1.0' in text
        assert (await c.plain.get("/nowhere")).status_code == 404
        assert "/nowhere" not in (await c.plain.get("/metrics")).text

    play(story)


def test_the_pages_run_only_their_own_script() -> None:
    """Scripts by file and from here only; no style or script within a page, nothing of another machine."""

    async def story(c: Clients) -> None:
        for path in ("/", "/rank", "/write"):
            response = await c.plain.get(path)
            policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert policy["require-trusted-types-for"] == "'script'"
            assert re.findall(r"<script[^>]*>[^<]|<style|style=| on\w+=|https?://", response.text) == []
            for name in re.findall(r'(?:src|href)="\./([^"]+)"', response.text):
                found = await c.plain.get(f"/{name}")
                assert found.status_code == 200 and found.headers["X-Content-Type-Options"] == "nosniff"
                assert not re.search(r"document\.write|\beval\(|new Function|fetch\([\"'`]https?:", found.text)
        for path in ("/assets/", "/assets/../app.py", "/assets/%2e%2e/%2e%2e/app.py", "/static/index.html"):
            assert (await c.plain.get(path)).status_code == 404

    play(story)


def test_other_web_pages_are_kept_out() -> None:
    """A page elsewhere may send plain text anywhere, or give this machine a name of its own: neither gets through."""

    async def story(c: Clients) -> None:
        body = json.dumps({"model": "tuned", "messages": ask()})
        response = await c.plain.post("/v1/chat/completions", content=body, headers={"Content-Type": "text/plain"})
        assert response.status_code == 400
        for host in ("evil.example", "localhost.evil.example", "localhost@evil.example", "[::1", ""):
            response = await c.plain.get("/v1/models", headers={"Host": host})
            assert response.status_code == 400
            assert response.json()["error"]["code"] == "invalid_host"
        for host in ("LOCALHOST:8000", "127.0.0.1", "[::1]:80"):
            assert (await c.plain.get("/v1/models", headers={"Host": host})).status_code == 200

    play(story)
