"""Whatever is posted, the server answers with its own words: never a 5xx, always JSON in the shape clients expect."""

import asyncio
import json
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test_serve_openai import Clients, play

PATHS = ["/v1/chat/completions", "/v1/completions"]
FIELDS = ["model", "messages", "prompt", "stream", "max_tokens", "temperature", "top_p", "top_k", "n", "seed", "stop"]
FIELDS += ["logprobs", "top_logprobs", "stream_options", "tools", "response_format", "repetition_penalty", "suffix"]

texts = st.text(st.characters(codec=None), max_size=8)  # lone surrogates too
plain = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(["tuned", "base", "user"])
anything = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
bodies = st.dictionaries(st.sampled_from(FIELDS) | texts, anything, max_size=8)
messages = [{"role": "user", "content": "안녕"}]
nearly_right = st.builds(
    lambda changes: {"model": "tuned", "messages": messages, "prompt": "하늘", "max_tokens": 3} | changes, bodies
)
raw = st.binary(max_size=40) | st.just(b"[" * 50_000) | st.just(b'{"model":' + b"9" * 5000 + b"}")


def test_no_body_breaks_the_server() -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(PATHS))
        posted.append((path, data.draw(raw | (bodies | nearly_right).map(lambda b: json.dumps(b).encode()))))

    async def story(c: Clients) -> None:
        for path, body in posted:
            response = await c.post(path, body)
            assert response.status_code < 500, (path, body, response.text)
            if response.status_code != 200:
                assert response.json()["error"]["message"], (path, body)

    posted: list[tuple[str, bytes]] = []
    examples()
    play(story)


def test_the_schema_is_kept() -> None:
    """Requests made from the server's own OpenAPI schema."""

    async def story(c: Clients) -> None:
        described = (await c.plain.get("/openapi.json")).json()
        schema = schemathesis.openapi.from_dict(described)
        cases: list[Any] = []

        def collect(strategy: st.SearchStrategy) -> None:
            @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(strategy)
            def take(case: Any) -> None:
                cases.append(case)

            take()

        for path in PATHS:
            await asyncio.to_thread(collect, schema[path]["POST"].as_strategy())
        for case in cases:
            if isinstance(case.body, dict):
                case.body["max_tokens"] = 2
            response = await c.post(case.path, case.body if isinstance(case.body, dict) else {})
            assert response.status_code < 500, (case.path, case.body, response.text)

    play(story)
