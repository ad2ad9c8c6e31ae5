"""The routes behind /rank, /write and the chat's thumbs, straight to the app: what they store and refuse."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dodam import cli
from dodam.data.conversation import CHAT_TEMPLATE
from dodam.errors import DataError, StorageError
from dodam.feedback.store import Store, open_store
from dodam.flags import parse
from dodam.generate.engine import Engine
from dodam.serve.app import Serve, make_app, stored
from dodam.serve.auth import Keys
from dodam.serve.feedback import open_feedback, read_material
from dodam.serve.limits import Limits, Rate
from dodam.serve.metrics import Metrics
from dodam.serve.rank import Edit, RankingBody, UndoBody, store_ranking, undo_ranking
from dodam.serve.routes import Served, Service
from dodam.serve.worker import Worker
from talking_models import Babbler, Reciter, make_decoder, make_tokenizer, write_model

TUNED = make_tokenizer(CHAT_TEMPLATE)
PARAMS = {"max_tokens": 8, "temperature": 1.0}
KEY = "kimchi-0123456789-abcdefghijklmn"
SECRET = "메일은 kim@example.com 입니다"
MASKED = "메일은 [EMAIL] 입니다"


def make_served(model: Any, weights: str) -> Served:
    engine = Engine(model, stop_ids=[TUNED.eos, TUNED.end], max_rows=4)
    return Served(TUNED, Worker(engine, max_waiting=40), {"weights": weights})


@contextmanager
def open_service(folder: Path, *, keys: tuple[str, ...] = (), models: str = "two", **asked: Any) -> Iterator[Service]:
    """Two models that babble, or one that always says the same, over a new store."""
    from dodam.generate.sequence import SamplingParams

    letters = [TUNED.encode(letter)[0] for letter in "abcdefghijklmnop"]
    lively = {name: Babbler(letters, TUNED.size, context=96) for name in ("a", "b")}
    same = {"same": Reciter(TUNED.encode("늘 같은 말"), TUNED.end, TUNED.size, context=200)}
    served = {name: make_served(model, name * 3) for name, model in (lively if models == "two" else same).items()}
    wanted: dict[str, Any] = {"answers": 4, "guideline": "", "choose": "random", "annotators": (), "collect": False}
    wanted |= {"prompts": (), "rank_chats": True} | asked
    material = read_material(*(wanted.pop(name) for name in ("prompts", "guideline", "annotators")))
    feedback = open_feedback(str(folder / "feedback.sqlite"), material, **wanted)
    yield Service(
        models=served,
        limits=Limits(max_tokens=64, max_seconds=60.0, max_body=100_000, rate=0),
        defaults=SamplingParams(**PARAMS),
        keys=Keys(keys),
        rate=Rate(0),
        metrics=Metrics({name: one.worker for name, one in served.items()}),
        feedback=feedback,
    )
    feedback.store.close()


class Caller:
    """Posts to the app as one person."""

    def __init__(self, client: httpx2.AsyncClient, store: Store) -> None:
        self.client, self.store = client, store

    async def post(self, path: str, body: Any, *, name: str = "kim", **headers: str) -> httpx2.Response:
        sent = {"Dodam-Annotator": quote(name), **headers} if name else headers
        return await self.client.post(path, json=body, headers=sent)

    async def ask(self, route: str, body: Any = None, *, name: str = "kim", **headers: str) -> Any:
        """What a route of ours answers, which must be well."""
        response = await self.post(f"/api/feedback/{route}", {} if body is None else body, name=name, **headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def refused(self, route: str, body: Any, **more: Any) -> tuple[int, str]:
        response = await self.post(f"/api/feedback/{route}", body, **more)
        return response.status_code, response.json()["error"]["message"]


def play(service: Service, story: Callable[[Caller], Awaitable[None]]) -> None:
    async def run() -> None:
        app = make_app(service, "127.0.0.1")
        async with app.router.lifespan_context(app):
            transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
                await story(Caller(client, service.feedback.store))

    asyncio.run(run())


def write_rows(path: Path, *rows: Any) -> str:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def candidates(tmp_path: Path) -> str:
    """Three prompts that come with their answers, in the three forms of rows."""
    return write_rows(
        tmp_path / "candidates.jsonl",
        {"prompt": "하나?", "answers": ["가", "나", "다", "가"]},
        {"prompt": [{"role": "user", "content": "둘?"}], "answers": ["라", "마"]},
        {"prompt": "셋?", "answers": ["바", "사"]},
    )


def ranking(task: dict, ranks: list[int], **more: Any) -> dict:
    shown = [answer["id"] for answer in task["answers"]]
    return {"id": "ranking-1", "prompt": task["prompt"], "shown": shown, "ranks": ranks, "seconds": 2.5} | more


def test_live_answers_come_from_all_models_and_do_not_say_from_which(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\ufeff하늘은 왜 파란가요?\n\n  Why?  \n", encoding="utf-8")

    async def story(c: Caller) -> None:
        first = await c.ask("next")
        task = first["task"]
        assert first["progress"] == {"mine": 0, "left": 2} and first["skipped"] == []
        assert set(task) == {"prompt", "messages", "answers"}
        assert [set(answer) for answer in task["answers"]] == [{"id", "text"}] * 4
        assert await c.ask("next") == first, "asked again, the same is open, in the same order"
        sampled = c.store.prompt(task["prompt"]).answers
        assert {answer.id for answer in sampled} == {answer["id"] for answer in task["answers"]}
        assert sorted(answer.origin["model"] for answer in sampled) == ["a", "a", "b", "b"]
        assert {answer.origin["weights"] for answer in sampled} == {"aaa", "bbb"}
        assert all(answer.origin["sampling"].items() >= PARAMS.items() for answer in sampled)
        others = await c.ask("next", name="이")
        assert {task["messages"][0]["content"], others["task"]["messages"][0]["content"]} == {
            "하늘은 왜 파란가요?",
            "Why?",
        }
        assert (await c.ask("next", name="박"))["task"] is None, "others have all that there is open"
        saved = await c.ask("rankings", ranking(task, [1, 2, 2, 3]))
        assert saved == {"id": "ranking-1", "new": True, "supersedes": None}
        (row,) = c.store.rankings()
        assert row["answers"] == [answer["text"] for answer in task["answers"]]
        assert (row["ranks"], row["shown"], row["seconds"]) == ([1, 2, 2, 3], [0, 1, 2, 3], 2.5)
        told = await c.client.get("/api/feedback/guideline", headers={"Dodam-Annotator": "kim"})
        assert row["guideline"] and told.json() == {"version": row["guideline"], "text": "정확하게"}

    with open_service(tmp_path, prompts=(str(prompts),), guideline="정확하게") as service:
        play(service, story)


def test_only_line_ends_part_the_prompts_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("하나\u2028하나 더?\r\n\r\n둘\x0b\x85?\n".encode())
    material = read_material((str(path),), "", ())
    found = [(where.rpartition(":")[2], prompt) for where, (prompt, _, _) in material.prompts]
    assert found == [("1", "하나\u2028하나 더?"), ("3", "둘\x0b\x85?")]


def test_the_order_is_shuffled_anew_for_each_annotator(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "one.jsonl", {"prompt": "?", "answers": list("abcdefgh")})

    async def story(c: Caller) -> None:
        orders = []
        for name in ("kim", "lee", "박", "choi"):
            task = (await c.ask("next", name=name))["task"]
            await c.ask("skip", {"prompt": task["prompt"]}, name=name)
            orders.append([answer["text"] for answer in task["answers"]])
        assert all(sorted(order) == list("abcdefgh") for order in orders)
        assert len({tuple(order) for order in orders}) > 2

    with open_service(tmp_path, prompts=(path,), answers=8) as service:
        play(service, story)


def test_answers_of_a_file_are_ranked_as_they_are(tmp_path: Path, candidates: str) -> None:
    async def story(c: Caller) -> None:
        for number in range(3):
            task = (await c.ask("next"))["task"]
            texts = {answer["text"] for answer in task["answers"]}
            assert texts in ({"가", "나", "다"}, {"라", "마"}, {"바", "사"})
            await c.ask("rankings", ranking(task, [1] * len(texts), id=f"ranking-{number}"))
        assert await c.ask("next") == {"task": None, "progress": {"mine": 3, "left": 0}, "skipped": []}
        assert c.store.counts()["candidates"] == 7, "nothing was sampled"

    with open_service(tmp_path, prompts=(candidates,)) as service:
        play(service, story)


def test_sent_again_is_not_said_again(tmp_path: Path, candidates: str) -> None:
    async def story(c: Caller) -> None:
        task = (await c.ask("next"))["task"]
        edit = {"id": task["answers"][0]["id"], "text": "더 나은 답"}
        ranks = [1, *[2] * (len(task["answers"]) - 1)]
        body = ranking(task, ranks, edits=[edit])
        assert [(await c.ask("rankings", body))["new"] for _ in range(3)] == [True, False, False]
        other = ranking(task, [2, *[1] * (len(ranks) - 1)])
        response = await c.post("/api/feedback/rankings", other)
        assert (response.status_code, response.json()["error"]["code"]) == (409, "id_taken")
        assert [row["ranks"] for row in c.store.rankings()] == [ranks]
        later = await c.ask("rankings", other | {"id": "ranking-2"})
        assert later["supersedes"] == "ranking-1"
        assert [row["id"] for row in c.store.rankings()] == ["ranking-2"]
        (edited,) = c.store.demonstrations(("edited",))
        assert edited["messages"][-1]["content"] == "더 나은 답"
        assert edited["original"] == task["answers"][0]["text"]

    with open_service(tmp_path, prompts=(candidates,)) as service:
        play(service, story)


def test_an_edit_sent_from_two_tabs_counts_once(tmp_path: Path) -> None:
    """The second tab sends the draft of the first with other ranks; the id is taken, so it sends it under another."""
    with open_store(tmp_path / "f.sqlite", create=True) as store:
        prompt = store.add_prompt("?")
        answers = store.add_candidates(prompt, ["가", "나"], [{"model": "m"}] * 2)

        def send(id: str, text: str, ranks: list[int]) -> None:
            edits = [Edit(id=answers[0], text=text)]
            body = RankingBody(id=id, prompt=prompt, shown=answers, ranks=ranks, edits=edits, seconds=1)
            store_ranking(store, body, "kim", "")

        def edited() -> list[str]:
            return [row["messages"][-1]["content"] for row in store.demonstrations(("edited",))]

        send("first-tab", "고침", [1, 2])
        with pytest.raises(DataError, match="that of another"):
            send("first-tab", "더 고침", [2, 1])
        send("second-tab", "더 고침", [2, 1])
        assert [row["id"] for row in store.rankings()] == ["second-tab"]
        assert edited() == ["더 고침"]
        undo_ranking(store, UndoBody(id="second-tab", edits=[answers[0]]), "kim")
        assert [row["id"] for row in store.rankings()] == ["first-tab"]
        assert edited() == ["고침"], "what it had superseded counts again"


def test_the_bodies_in_the_docs_are_what_the_server_takes(tmp_path: Path) -> None:
    prompts = write_rows(tmp_path / "two.jsonl", {"prompt": "?", "answers": ["가", "나"]})
    docs = (Path(__file__).parent.parent / "docs" / "studio.md").read_text(encoding="utf-8")
    bodies = re.findall(r"api/feedback/(\w+) \\\n  -d '(.*)'", docs)
    assert [route for route, _ in bodies] == ["rankings", "demonstrations"]

    async def story(c: Caller) -> None:
        task = (await c.ask("next"))["task"]
        names = {"PROMPT": task["prompt"], "A": task["answers"][0]["id"], "B": task["answers"][1]["id"]}
        for route, text in bodies:
            for name, id in names.items():
                text = text.replace(f'"{name}"', f'"{id}"')
            assert (await c.ask(route, json.loads(text)))["new"]
        broken = await c.client.post("/api/feedback/rankings", content="{", headers={"Dodam-Annotator": "kim"})
        assert (broken.status_code, broken.json()["error"]["param"]) == (400, None)
        wrong = await c.client.get("/api/feedback/next", headers={"Dodam-Annotator": "kim"})
        assert wrong.status_code == 405 and "this path takes POST" in wrong.json()["error"]["message"]

    with open_service(tmp_path, prompts=(prompts,)) as service:
        play(service, story)


def test_undo_and_skip_and_back(tmp_path: Path, candidates: str) -> None:
    async def story(c: Caller) -> None:
        task = (await c.ask("next"))["task"]
        answer = task["answers"][1]["id"]
        body = ranking(task, [1] * len(task["answers"]), all_bad=True, edits=[{"id": answer, "text": "고침"}])
        await c.ask("rankings", body)
        for _ in range(2):
            assert await c.ask("undo", {"id": "ranking-1", "edits": [answer]}) == {"id": "ranking-1", "was": "ranking"}
        assert list(c.store.rankings()) == list(c.store.demonstrations()) == []
        assert (await c.ask("next"))["task"] == task, "it is open again"
        assert (await c.refused("undo", {"id": "ranking-1"}, name="lee"))[0] == 400, "another's cannot be undone"
        await c.ask("skip", {"prompt": task["prompt"]})
        following = await c.ask("next")
        assert following["task"]["prompt"] != task["prompt"] and following["progress"] == {"mine": 0, "left": 2}
        await c.ask("unskip", {"prompt": task["prompt"]})
        assert (await c.ask("next"))["progress"] == {"mine": 0, "left": 3}

    with open_service(tmp_path, prompts=(candidates,)) as service:
        play(service, story)


def test_what_cannot_be_meant_is_refused_and_nothing_stored(tmp_path: Path, candidates: str) -> None:
    async def story(c: Caller) -> None:
        task = (await c.ask("next"))["task"]
        right = ranking(task, [1] * len(task["answers"]))
        first = right["shown"][0]
        wrong = [
            {"shown": [first, "0" * 32], "ranks": [1, 2]},
            {"shown": [first, first], "ranks": [1, 2]},
            {"shown": [first], "ranks": [1]},
            {"ranks": [1]},
            {"ranks": [0] * len(right["shown"])},
            {"ranks": ["best"] * len(right["shown"])},
            {"prompt": "none"},
            {"id": "x"},
            {"id": "a b c d e f g h"},
            {"seconds": -1},
            {"edits": [{"id": first, "text": " "}]},
            {"edits": [{"id": first, "text": "good"}, {"id": "none", "text": "bad"}]},
            {"edits": [{"id": "none", "text": "a"}]},
        ]
        for change in wrong:
            status, message = await c.refused("rankings", right | change)
            assert status == 400 and message, change
        assert (await c.refused("rankings", right, name=""))[0] == 400
        assert (await c.refused("rankings", right, name="a" * 500))[0] == 400
        assert (await c.refused("skip", {"prompt": "none"}))[0] == 400
        assert (await c.post("/api/feedback/rankings", right | {"x": "y" * 200_000})).status_code == 413
        assert (await c.post("/api/feedback/next", {}, Host="evil.example")).status_code == 400
        assert list(c.store.rankings()) == list(c.store.demonstrations()) == []

    with open_service(tmp_path, prompts=(candidates,)) as service:
        play(service, story)


def test_prompts_that_cannot_be_ranked_are_left_out_and_named(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "prompts.jsonl",
        {"prompt": "너무 긴 " * 200},
        {"messages": [{"role": "user", "content": "짧은 것"}, {"role": "assistant", "content": "답"}]},
    )

    async def story(c: Caller) -> None:
        found = await c.ask("next")
        assert found["task"] is None and found["progress"] == {"mine": 0, "left": 0}
        told = " ".join(found["skipped"])
        assert "tokens" in told and "“너무 긴 너무 긴" in told
        assert "no two different answers to “짧은 것”" in told
        assert await c.ask("next") == found | {"skipped": []}, "nor is the model asked again"
        assert (await c.ask("next", name="lee"))["skipped"] == []
        assert c.store.progress("kim").skipped == 0, "nobody has said so"

    async def later(c: Caller) -> None:
        found = await c.ask("next")
        assert found["task"]["messages"][0]["content"] == "짧은 것", "of other models it is asked"

    with open_service(tmp_path, prompts=(path,), models="same") as service:
        play(service, story)
    with open_service(tmp_path, prompts=(path,)) as service:
        play(service, later)


def test_a_new_checkpoint_is_judged_again_in_the_same_store(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "prompts.jsonl", {"prompt": "?"})

    async def story(c: Caller) -> None:
        task = (await c.ask("next"))["task"]
        await c.ask("rankings", ranking(task, [1] * len(task["answers"]), id=f"of-{len(list(c.store.rankings()))}-old"))
        assert (await c.ask("next"))["task"] is None
        assert len(list(c.store.rankings())) == len(service.models["a"].origin["weights"]) // 3

    with open_service(tmp_path, prompts=(path,)) as service:
        play(service, story)
    with open_service(tmp_path, prompts=(path,)) as service:
        service.models["a"] = replace(service.models["a"], origin={"weights": "a" * 6})
        play(service, story)


def test_a_server_too_narrow_for_so_many_answers_skips_no_prompt(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "prompts.jsonl", {"prompt": "?"})

    async def story(c: Caller) -> None:
        status, message = await c.refused("next", {})
        assert status == 400 and "At most 2 answers" in message
        assert c.store.progress("kim").skipped == 0

    with open_service(tmp_path, prompts=(path,), models="same") as service:
        service.models["same"].worker.most_open = 2
        play(service, story)


def test_writing(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "prompts.jsonl", {"prompt": "무엇?"})

    async def story(c: Caller) -> None:
        given = await c.ask("write")
        assert given["messages"] == [{"role": "user", "content": "무엇?"}]
        sampled = await c.ask("sample", {"prompt": given["prompt"]})
        said = {"id": "written-1", "prompt": given["prompt"], "text": "고친 답", "edited": sampled["id"], "seconds": 3}
        assert [(await c.ask("demonstrations", said))["new"] for _ in range(2)] == [True, False]
        assert (await c.ask("write"))["prompt"] is None
        own = {"messages": [{"role": "user", "content": "내 질문"}]}
        drawn = await c.ask("sample", own)
        assert drawn["text"].strip()
        await c.ask("demonstrations", {"id": "written-2", "text": "내 답", "seconds": 1, **own})
        kinds = {row["kind"]: row["messages"][-1]["content"] for row in c.store.demonstrations()}
        assert kinds == {"edited": "고친 답", "written": "내 답"}
        for wrong in ({"text": "a"}, own | {"prompt": given["prompt"]}, own | {"edited": sampled["id"]}, {"text": " "}):
            status, _ = await c.refused("demonstrations", {"id": "written-3", "text": "a", "seconds": 1} | wrong)
            assert status == 400
        assert (await c.refused("sample", {"messages": [{"role": "user", "content": "긴 " * 999}]}))[0] == 400

    with open_service(tmp_path, models="same", prompts=(path,)) as service:
        play(service, story)


def chatted(**more: Any) -> dict:
    messages = [{"role": "user", "content": SECRET}]
    return {"conversation": KEY, "messages": messages, "model": "a", "sampling": {"temperature": 0.5}} | more


def test_thumbs_and_regenerated_answers_can_be_deleted(tmp_path: Path) -> None:
    async def story(c: Caller) -> None:
        both = await c.ask("candidates", chatted(answers=["첫째", "둘째"]), name="")
        for number, up in enumerate([True, True, False]):
            await c.ask("thumbs", chatted(id=f"thumb-no-{number}", answer="둘째", up=up), name="")
        (thumb,) = c.store.thumbs()
        assert (thumb["up"], thumb["answer"], thumb["annotator"]) == (False, "둘째", "")
        assert thumb["prompt"] == [{"role": "user", "content": MASKED}]
        assert thumb["origin"]["sampling"]["temperature"] == 0.5
        regenerated = c.store.prompt(both["prompt"])
        assert [answer.text for answer in regenerated.answers] == ["첫째", "둘째"], (
            "a thumb is about the same candidate"
        )
        for wrong in (
            {"model": "none"},
            {"sampling": {"temperature": 9}},
            {"sampling": {"x": 1}},
            {"conversation": "a"},
        ):
            status, _ = await c.refused("thumbs", chatted(id="thumb-wrong", answer="a", up=True) | wrong)
            assert status in (400, 404)
        task = (await c.ask("next"))["task"]
        assert {answer["text"] for answer in task["answers"]} >= {"첫째", "둘째"}, "they are candidates for a ranking"
        await c.ask("rankings", ranking(task, list(range(1, len(task["answers"]) + 1))))
        assert (await c.refused("delete", {"key": "x" * 32}))[0] == 400
        gone = await c.ask("delete", {"key": KEY}, name="")
        assert (gone["prompts"], gone["rankings"]) == (1, 1)
        assert c.store.counts() == dict.fromkeys(c.store.counts(), 0) | {"annotators": c.store.counts()["annotators"]}

    with open_service(tmp_path) as service:
        play(service, story)


@pytest.mark.parametrize("stream", [False, True])
def test_collecting(tmp_path: Path, stream: bool) -> None:
    body = {"model": "a", "messages": [{"role": "user", "content": SECRET}], "n": 2, "seed": 1, "stream": stream}

    async def story(c: Caller) -> None:
        response = await c.post("/v1/chat/completions", body, **{"Dodam-Conversation": KEY})
        assert (response.status_code, response.headers["Dodam-Deletion-Key"]) == (200, KEY)
        again = await c.post("/v1/chat/completions", body)
        key = again.headers["Dodam-Deletion-Key"]
        assert key != KEY and len(key) >= 16
        assert c.store.counts()["conversations"] == 2
        texts = {answer.text for answer in c.store.prompt((await c.ask("next"))["task"]["prompt"]).answers}
        if not stream:
            assert texts >= {choice["message"]["content"].strip() for choice in response.json()["choices"]}
        assert MASKED in str((await c.ask("next"))["task"]["messages"])
        for one in (KEY, key):
            assert (await c.ask("delete", {"key": one}))["prompts"] == 1
        assert c.store.counts()["prompts"] == 0
        for easy in ("short", "k" * 32, "20261122113000000"):
            assert (await c.post("/v1/chat/completions", body, **{"Dodam-Conversation": easy})).status_code == 400

    with open_service(tmp_path, collect=True) as service:
        play(service, story)


def test_chats_are_shown_to_annotators_only_when_asked(tmp_path: Path, candidates: str) -> None:
    """What is collected, judged with a thumb or regenerated is stored, and neither ranked nor written to."""

    async def story(c: Caller) -> None:
        assert (await c.client.get("/api/feedback")).json()["rank_chats"] is False
        body = {"model": "a", "messages": [{"role": "user", "content": SECRET}]}
        assert (await c.post("/v1/chat/completions", body)).status_code == 200
        await c.ask("candidates", chatted(answers=["첫째", "둘째"]), name="")
        assert c.store.counts()["conversations"] == 2 and c.store.counts()["prompts"] == 5
        for route in ("next", "write"):
            for number in range(4):
                found = await c.ask(route, name=f"{route} {number}")
                assert MASKED not in str(found)
                prompt = found["prompt"] if route == "write" else found["task"] and found["task"]["prompt"]
                assert (prompt is None) == (number == 3), "the prompts of the file are all"
            for one in c.store.prompts():
                for number in range(3):
                    c.store.release(one.id, f"{route} {number}")
        assert (await c.ask("next", name="lee"))["progress"] == {"mine": 0, "left": 3}

    with open_service(tmp_path, prompts=(candidates,), collect=True, rank_chats=False) as service:
        play(service, story)


def test_nothing_is_collected_unless_asked(tmp_path: Path) -> None:
    async def story(c: Caller) -> None:
        body = {"model": "a", "messages": [{"role": "user", "content": SECRET}]}
        response = await c.post("/v1/chat/completions", body, **{"Dodam-Conversation": KEY})
        assert response.status_code == 200 and "Dodam-Deletion-Key" not in response.headers
        assert set(c.store.counts().values()) == {0}

    with open_service(tmp_path) as service:
        play(service, story)


def test_a_store_that_fails_is_told_and_spoils_no_chat(
    tmp_path: Path, candidates: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("the disk is full", where="feedback.sqlite")

    async def story(c: Caller) -> None:
        task = (await c.ask("next"))["task"]
        monkeypatch.setattr(type(c.store.database), "write", full)
        body = {"model": "a", "messages": [{"role": "user", "content": "?"}]}
        assert (await c.post("/v1/chat/completions", body)).json()["choices"]
        assert "the disk is full" in caplog.text
        status, message = await c.refused("rankings", ranking(task, [1] * len(task["answers"])))
        assert status == 503 and "the disk is full" in message

    with open_service(tmp_path, prompts=(candidates,), collect=True) as service:
        play(service, story)


def test_annotators_by_key(tmp_path: Path, candidates: str) -> None:
    async def story(c: Caller) -> None:
        assert (await c.client.get("/api/feedback")).json() == {
            "feedback": True,
            "collect": False,
            "rank_chats": True,
            "keys": True,
        }
        kim = {"Authorization": "Bearer secret-of-kim"}
        assert (await c.ask("next", **kim))["task"]
        for name, headers in (("kim", {}), ("lee", kim), ("somebody", kim), ("kim", {"Authorization": "Bearer api"})):
            status, _ = await c.refused("next", {}, name=name, **headers)
            assert status == 401, (name, headers)
        assert (await c.ask("next", name="lee", Authorization="Bearer secret=of=lee"))["task"]
        models = await c.client.get("/v1/models", headers=kim)
        assert models.status_code == 401, "an annotator's key opens no model"
        sent = chatted(id="thumb-of-a-chat", answer="답", up=True)
        assert (await c.refused("thumbs", sent, **kim))[0] == 401
        assert (await c.ask("thumbs", sent, Authorization="Bearer api"))["new"]
        (thumb,) = c.store.thumbs()
        assert thumb["annotator"] == "", "a name is only believed with its key"

    async def later(c: Caller) -> None:
        assert (await c.refused("next", {}))[0] == 401, "a key stays that of its name without the flag"
        assert (await c.ask("next", Authorization="Bearer secret-of-kim"))["progress"]
        assert (await c.ask("next", name="somebody"))["progress"]

    async def later_with_an_api_key(c: Caller) -> None:
        assert (await c.ask("next", Authorization="Bearer secret-of-kim"))["progress"], "one header cannot carry both"
        assert (await c.refused("next", {}, Authorization="Bearer api"))[0] == 401, "nor is the API's key kim's"
        assert (await c.ask("next", name="somebody", Authorization="Bearer api"))["progress"]
        assert (await c.refused("next", {}, name="somebody", Authorization="Bearer secret-of-kim"))[0] == 401

    given = ("kim=secret-of-kim", "lee=secret=of=lee")
    with open_service(tmp_path, prompts=(candidates,), annotators=given, keys=("api",)) as service:
        play(service, story)
    with open_service(tmp_path, keys=("api",)) as service:
        play(service, later_with_an_api_key)
    with open_service(tmp_path) as service:
        play(service, later)


def test_another_name_is_not_another_client(tmp_path: Path, candidates: str) -> None:
    """A name that no key proves costs nothing: requests are counted by the API's key, or by the address."""

    async def codes(c: Caller, names: list[str], **headers: str) -> list[int]:
        return [
            (await c.post("/api/feedback/skip", {"prompt": "none"}, name=name, **headers)).status_code for name in names
        ]

    async def without_keys(c: Caller) -> None:
        assert await codes(c, [f"name {number}" for number in range(7)]) == [400] * 5 + [429] * 2

    async def by_key(c: Caller) -> None:
        one, two, kim = ({"Authorization": f"Bearer {key}"} for key in ("one", "two", "secret"))
        assert await codes(c, ["a", "b", "c", "d", "e", "f"], **one) == [400] * 5 + [429]
        assert await codes(c, ["a"], **two) == [400], "another key is another client"
        assert await codes(c, ["kim"] * 6, **kim) == [400] * 5 + [429]

    with open_service(tmp_path) as service:
        play(replace(service, rate=Rate(5)), without_keys)
    with open_service(tmp_path, keys=("one", "two")) as service:
        service.feedback.store.set_key("kim", "secret")
        play(replace(service, rate=Rate(5)), by_key)


def test_without_a_store_there_is_nothing_to_say(tmp_path: Path) -> None:
    async def story() -> None:
        with open_service(tmp_path) as service:
            app = make_app(replace(service, feedback=None), "127.0.0.1")
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
                assert (await client.get("/api/feedback")).json() == {
                    "feedback": False,
                    "collect": False,
                    "rank_chats": False,
                    "keys": False,
                }
                assert (await client.post("/api/feedback/next", json={})).status_code == 404

    asyncio.run(story())


def test_no_body_breaks_the_routes(tmp_path: Path, candidates: str) -> None:
    """Bodies made from the server's own schema, and others: never a 5xx."""
    posted: list[tuple[str, Any]] = []
    texts = st.text(st.characters(codec=None), max_size=40)
    plain = st.none() | st.booleans() | st.integers() | st.floats() | texts
    junk = st.dictionaries(texts | st.sampled_from(["id", "prompt", "shown", "ranks", "key"]), plain, max_size=5)

    async def story(c: Caller) -> None:
        described = (await c.client.get("/openapi.json")).json()
        schema = schemathesis.openapi.from_dict(described)
        paths = [path for path in described["paths"] if path.startswith("/api/feedback/") and "guideline" not in path]
        assert len(paths) == 11

        def collect(path: str) -> None:
            @settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(schema[path]["POST"].as_strategy(), junk)
            def take(case: Any, other: dict) -> None:
                posted.extend([(path, case.body if isinstance(case.body, dict) else {}), (path, other)])

            take()

        for path in paths:
            await asyncio.to_thread(collect, path)
        for path, body in posted:
            content = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", "Dodam-Annotator": "%EA%B9%80"}
            response = await c.client.post(path, content=content, headers=headers)
            assert response.status_code < 500, (path, body, response.text)
            assert response.status_code == 200 or response.json()["error"]["message"], (path, body)

    with open_service(tmp_path, prompts=(candidates,)) as service:
        play(service, story)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, template in (("tuned", CHAT_TEMPLATE), ("base", None)):
        write_model(folder / name, make_decoder(TUNED.size), make_tokenizer(), template)
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--collect"], "--collect: has no effect without --feedback"),
        (["--prompts", "a.txt"], "--prompts: has no effect without --feedback"),
        (["--rank-chats"], "--rank-chats: has no effect without --feedback"),
        (["--answers", "3"], "--answers: has no effect without --feedback"),
        (["--feedback", "--answers", "10"], "--answers"),
        (["--feedback", "STORE", "--annotator", "kim"], "'kim' is not NAME=KEY"),
        (["--feedback", "STORE", "--guideline", "none.md"], "there is no such file"),
        (["--feedback", "STORE", "--prompts", "none.txt"], "none.txt: cannot be read"),
        (["--feedback", "STORE", "--prompts", "rows.jsonl"], "rows.jsonl:2: `answers` must be a list of texts"),
        (["--feedback", "STORE", "--prompts", "empty.jsonl"], "empty.jsonl:1"),
        (["--feedback", "STORE", "--prompts", "hollow.jsonl"], "hollow.jsonl:1: an answer is empty"),
        (["--feedback", "rows.jsonl"], "rows.jsonl: is no feedback store"),
        (["--feedback", "STORE"], "--feedback: base models answer no prompts"),
    ],
)
def test_wrong_use(
    words: list[str], said: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", {"prompt": "a", "answers": ["b"]}, {"prompt": "c", "answers": "d"})
    write_rows(tmp_path / "empty.jsonl", {"prompt": " "})
    write_rows(tmp_path / "hollow.jsonl", {"prompt": "a", "answers": ["b", " "]})
    given_words = [word.replace("STORE", "store.sqlite") for word in words]
    model = models / ("base" if "base models" in said else "tuned")
    assert cli.main(["serve", str(model), "--port", "0", *given_words]) in (1, 2)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "store.sqlite").exists(), "a start that fails leaves no store behind"


def test_what_the_store_has_is_said(tmp_path: Path, candidates: str) -> None:
    with open_service(tmp_path, choose="uncertain") as service:
        assert "nothing to rank yet" in stored(service.feedback)
    with open_service(tmp_path, choose="uncertain", prompts=(candidates,)) as service:
        assert "prompts: 3; none with an uncertainty" in stored(service.feedback)
        store = service.feedback.store
        unsure = {store.next_prompt(name).id: number for number, name in enumerate(("a", "b", "c"))}
        store.set_uncertainty(unsure)
        assert stored(service.feedback).endswith("prompts: 3")
        most = max(unsure, key=unsure.get)
        for name in ("a", "b", "c"):
            for prompt in unsure:
                store.release(prompt, name)

        async def story(c: Caller) -> None:
            assert (await c.ask("next"))["task"]["prompt"] == most

        play(service, story)


def test_the_bench_of_ranking_finds_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "bench"))
    from rank import Annotator, compare

    kim = Annotator("kim", None, None)
    kim.made = {("p", ("a", "b")): ([1, 2], False), ("q", ("a", "b")): ([1, 1], True)}
    row = {"prompt": [{"content": "p"}], "answers": ["b", "a"], "shown": [1, 0], "ranks": [2, 1], "annotator": "kim"}
    first, second = row | {"all_bad": False}, row | {"prompt": [{"content": "q"}], "ranks": [1, 1], "all_bad": True}
    assert compare([kim], iter([first, second])) == {"stored": 2, "lost": 0, "wrong": 0, "doubled": 0}
    assert compare([kim], iter([first, first])) == {"stored": 2, "lost": 1, "wrong": 0, "doubled": 1}
    swapped = first | {"ranks": [1, 2]}
    assert compare([kim], iter([swapped, second])) == {"stored": 2, "lost": 0, "wrong": 1, "doubled": 0}
    undone = second | {"prompt": [{"content": "r"}]}
    assert compare([kim], iter([first, second, undone]))["doubled"] == 1


def test_feedback_may_stand_alone() -> None:
    def given_by(*words: str) -> Any:
        return parse("serve", Serve, ["model", *words]).values.get("feedback")

    assert given_by() is None
    assert given_by("--feedback") == given_by("--feedback", "--port", "0") == "feedback.sqlite"
    assert given_by("--feedback", "mine.sqlite", "--port", "0") == given_by("--feedback=mine.sqlite") == "mine.sqlite"


def test_prompts_and_guideline_twice_are_stored_once(tmp_path: Path, candidates: str) -> None:
    for _ in range(2):
        with open_service(tmp_path, prompts=(candidates,), guideline=str(tmp_path / "candidates.jsonl")):
            pass
    with open_store(str(tmp_path / "feedback.sqlite")) as store:
        assert (store.counts()["prompts"], store.counts()["candidates"]) == (3, 7)
