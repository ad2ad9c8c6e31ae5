"""The Studio as people use it: Chromium, driven by Playwright, before the real server with a real store.

Where a test says what a model answers, the browser's requests to /v1 are answered by the test; all else is real.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from dodam.data.conversation import CHAT_TEMPLATE
from dodam.feedback.store import Store, open_store
from dodam.serve.app import make_app
from talking_models import make_decoder, make_tokenizer, write_model
from test_studio_feedback import open_service, write_rows

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip) and Chromium")
expect = playwright.expect
CHROME = os.environ.get("CHROME") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(CHROME is None, reason="needs Chromium (apt-get install chromium), or its path in CHROME"),
]
PATIENCE = 60_000  # milliseconds
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]

HOSTILE = '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>&lt;b&gt;'
ROWS = [
    {"prompt": "하늘은 왜 파란가요?", "answers": ["빛이 흩어져서요.", "모르겠어요.", HOSTILE]},
    {"prompt": "Why is the sky blue?", "answers": ["It scatters light.", "No idea.", "Because."]},
    {"prompt": "셋?", "answers": ["하나", "둘", "삼"]},
]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window. It is one with a patient test: other tests may have the machine."""
    expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROME, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


class Studio:
    """A server in a thread of its own, and people before it."""

    def __init__(self, browser: Any, url: str, store: Store) -> None:
        self.browser, self.url, self.store = browser, url, store
        self.contexts: list[Any] = []
        self.said: list[str] = []

    def person(self, name: str = "", *, locale: str = "ko-KR", width: int = 900) -> Any:
        """A page of somebody who has a browser of their own, at /."""
        context = self.browser.new_context(locale=locale, viewport={"width": width, "height": 900}, base_url=self.url)
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        if name:
            context.add_init_script(f"localStorage.setItem('name', {json.dumps(json.dumps(name))})")
        page = context.new_page()
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("console", lambda said: self.said.append(said.text) if said.type == "error" else None)
        return page

    def ranker(self, name: str = "kim", **more: Any) -> Any:
        page = self.person(name, **more)
        page.goto("rank")
        page.wait_for_selector(".card:focus")
        return page

    def close(self) -> None:
        for context in self.contexts:
            context.close()


@contextmanager
def studio(browser: Any, folder: Path, rows: list[dict] = ROWS, **asked: Any) -> Iterator[Studio]:
    """Nothing may appear among the errors of the browser: refused scripts and styles would."""
    prompts = (write_rows(folder / "prompts.jsonl", *rows),) if rows else ()
    with open_service(folder, prompts=prompts, **asked) as service, socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(make_app(service, "127.0.0.1"), log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        one = Studio(browser, f"http://127.0.0.1:{listening.getsockname()[1]}/", service.feedback.store)
        try:
            yield one
            assert [text for text in one.said if "Failed to load resource" not in text] == []
        finally:
            one.close()
            server.should_exit = True
            thread.join()


def texts(page: Any) -> list[str]:
    return page.locator(".card .text").all_inner_texts()


def letter_of(page: Any, answer: str) -> int:
    return texts(page).index(answer)


def drag(page: Any, index: int, place: int) -> None:
    """By the mouse, from an answer's letter to a place."""
    handle = page.locator(f'[data-answer="{index}"] .handle').bounding_box()
    target = page.locator(f'[data-place="{place}"]').bounding_box()
    page.mouse.move(handle["x"] + 9, handle["y"] + 9)
    page.mouse.down()
    page.mouse.move(target["x"] + target["width"] / 2, target["y"] + 20, steps=4)
    page.mouse.up()


def saved(page: Any, number: int) -> None:
    """Wait until the page says that so many are done."""
    expect(page.locator(".progress")).to_have_text(re.compile(rf"\D{number} ·"))


def prompt_of(page: Any) -> str:
    return page.locator(".message").last.inner_text()


def test_ranking_by_keys_alone(browser: Any, tmp_path: Path) -> None:
    with studio(browser, tmp_path) as one:
        page = one.ranker("김 아무개")
        assert page.evaluate("document.documentElement.lang") == "ko"
        assert "답 A" in page.locator(":focus").get_attribute("aria-label")
        assert page.locator(":focus").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        shown, prompt = texts(page), prompt_of(page)
        for key in ("2", "1", "2"):
            page.keyboard.press(key)
        assert page.locator(".card").nth(1).get_attribute("aria-label") == "답 B, 자리 1"
        page.keyboard.press("Control+Enter")
        saved(page, 1)
        (row,) = one.store.rankings()
        assert (row["answers"], row["ranks"], row["all_bad"]) == (shown, [2, 1, 2], False)
        assert (row["annotator"], row["prompt"][0]["content"]) == ("김 아무개", prompt)
        assert 0 < row["seconds"] < 60

        page.wait_for_selector(".card:focus")
        skipped = prompt_of(page)
        page.keyboard.press("s")
        expect(page.locator(".message")).not_to_have_text(skipped)
        page.wait_for_selector(".card:focus")
        ranked = prompt_of(page)
        page.keyboard.press("b")
        page.keyboard.press("Control+Enter")
        page.get_by_text("남은 질문이 없습니다").wait_for()
        assert [(row["ranks"], row["all_bad"]) for row in one.store.rankings()][1:] == [([1, 1, 1], True)]

        page.keyboard.press("u")
        expect(page.locator(".message")).to_have_text(ranked)
        assert len(list(one.store.rankings())) == 1
        expect(page.locator(".card:focus")).to_have_count(1)
        page.get_by_role("button", name="되돌리기").click()
        expect(page.locator(".message")).to_have_text(skipped)
        expect(page.locator(".card:focus")).to_have_attribute("data-answer", "0")
        page.keyboard.press("ArrowDown")
        assert "답 B" in page.locator(":focus").get_attribute("aria-label")
        page.keyboard.press("3")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("0")
        assert "아직 자리 없음" in page.locator(":focus").get_attribute("aria-label")


def test_dragging_ties_edits_and_hostile_answers(browser: Any, tmp_path: Path) -> None:
    with studio(browser, tmp_path, ROWS[:1]) as one:
        page = one.ranker(locale="en-US")
        best, worst, tied = (letter_of(page, answer) for answer in ("빛이 흩어져서요.", "모르겠어요.", HOSTILE))
        assert page.locator(".card .text *").count() == 0, "an answer is text, whatever it says"
        for index, place in ((best, 3), (best, 1), (worst, 2), (tied, 2)):
            drag(page, index, place)
        assert page.locator('[data-place="2"] .handle').count() == 2
        chip = page.locator('[data-place="2"] .handle').first.bounding_box()
        tray = page.locator('[data-place="0"]').bounding_box()
        page.mouse.move(chip["x"] + 9, chip["y"] + 9)
        page.mouse.down()
        page.mouse.move(tray["x"] + 20, tray["y"] + 30, steps=4)
        page.mouse.up()
        assert page.get_by_role("button", name="Save").is_disabled(), "one has no place"
        for index in (worst, tied):
            drag(page, index, 2)
        page.locator(f'[data-answer="{worst}"]').focus()
        page.keyboard.press("e")
        page.locator("textarea.edit").fill("햇빛이 공기에 흩어지기 때문입니다.")
        page.keyboard.press("Escape")
        page.get_by_text("edited", exact=True).wait_for()
        page.reload()
        page.wait_for_selector(".placed")
        assert page.locator(f'[data-answer="{worst}"] .text').inner_text() == "햇빛이 공기에 흩어지기 때문입니다."
        page.get_by_role("button", name="Save").click()
        page.get_by_text("No prompt is left").wait_for()
        (row,) = one.store.rankings()
        assert dict(zip(row["answers"], row["ranks"], strict=True)) == {
            "빛이 흩어져서요.": 1,
            "모르겠어요.": 2,
            HOSTILE: 2,
        }
        (edited,) = one.store.demonstrations(("edited",))
        assert (edited["original"], edited["messages"][-1]["content"][:3]) == ("모르겠어요.", "햇빛이")
        assert page.title() == "Rank · 도담 Dodam"
        page.get_by_role("button", name="Undo").click()
        page.wait_for_selector(".placed")
        assert list(one.store.rankings()) == list(one.store.demonstrations()) == []


def test_two_people_and_two_windows(browser: Any, tmp_path: Path) -> None:
    with studio(browser, tmp_path) as one:
        kim, lee = one.ranker("kim"), one.ranker("lee", locale="en-US")
        assert prompt_of(kim) != prompt_of(lee), "what one has open the other is not asked"
        again = kim.context.new_page()
        again.goto("rank")
        again.wait_for_selector(".card:focus")
        assert prompt_of(again) == prompt_of(kim)
        for page, order in ((kim, "123"), (lee, "111"), (again, "321")):
            for key in order:
                page.keyboard.press(key)
            page.keyboard.press("Control+Enter")
            page.get_by_text(re.compile("저장했습니다|Saved")).wait_for()
        ranks = [(row["annotator"], row["ranks"]) for row in one.store.rankings()]
        assert ranks == [("lee", [1, 1, 1]), ("kim", [3, 2, 1])], "the later word of the same person counts"


def test_a_lost_answer_of_the_server_is_asked_for_again(browser: Any, tmp_path: Path) -> None:
    """The server has stored it, and the connection breaks before the page hears so; then the page is closed."""
    with studio(browser, tmp_path) as one:
        page = one.ranker()
        lost = []

        def lose(route: Any) -> None:
            if len(lost) < 2:
                route.fetch()
                lost.append(route.request.post_data_json["id"])
                route.abort()
            else:
                route.continue_()

        page.context.route("**/api/feedback/rankings", lose)
        for key in "132":
            page.keyboard.press(key)
        page.keyboard.press("Control+Enter")
        page.get_by_text("서버가 답하지 않습니다").wait_for()
        page.reload()
        saved(page, 1)
        assert len(lost) == 2 and len(set(lost)) == 1
        assert [(row["id"], row["ranks"]) for row in one.store.rankings()] == [(lost[0], [1, 3, 2])]


def test_names_and_keys(browser: Any, tmp_path: Path) -> None:
    with studio(browser, tmp_path, annotators=("kim=secret",), guideline="<b>정확한</b> 답") as one:
        page = one.person(width=360)
        page.goto("rank")
        for key in ("wrong", "secret"):
            if key == "wrong":
                page.locator("[name=who]").fill("kim")
                page.locator("[name=who-key]").fill(key)
                page.get_by_role("button", name="시작").click()
                page.get_by_text("The key is not that of kim").wait_for()
            else:
                page.locator(".person summary").click()
                page.locator(".person [name=key]").fill(key)
                page.locator(".person [name=key]").press("Enter")
        page.wait_for_selector(".card:focus")
        assert "<b>정확한</b> 답" in page.locator(".guideline").inner_text()
        for path in ("rank", "write", ""):
            page.goto(path)
            page.wait_for_selector("main")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, f"/{path} is wider than a telephone"


def test_a_name_is_whole_before_it_counts_and_a_prompt_may_be_gone(browser: Any, tmp_path: Path) -> None:
    with studio(browser, tmp_path, []) as one:
        for answer in ("답", "다른 답"):
            one.store.collect("kimchi-0123456789", "지워질 질문", answer, {})
        page = one.ranker("kim")
        one.store.delete_by_key("kimchi-0123456789")
        for key in "12":
            page.keyboard.press(key)
        page.keyboard.press("Control+Enter")
        page.get_by_text("there is no prompt").wait_for()
        page.keyboard.press("s")
        page.get_by_text("남은 질문이 없습니다").wait_for()
        page.locator(".person summary").click()
        page.locator(".person [name=name]").press("Control+a")
        page.locator(".person [name=name]").press_sequentially("이순신")
        page.locator(".person [name=name]").press("Enter")
        page.get_by_text("남은 질문이 없습니다").wait_for()
        expect(page.locator(".person summary")).to_contain_text("이순신")
        assert one.store.annotators() == ["kim", "이순신"]


def test_writing(browser: Any, tmp_path: Path) -> None:
    with studio(browser, tmp_path, ROWS[1:2]) as one:
        page = one.person("kim", locale="en-US")
        page.goto("write")
        page.get_by_role("button", name="Take a prompt").click()
        page.get_by_text("Why is the sky blue?").wait_for()
        page.get_by_role("button", name="Fetch the model's answer").click()
        answer = page.get_by_label("Answer", exact=True)
        expect(answer).not_to_have_value("")
        answer.fill("It scatters blue light most.")
        page.reload()
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Saved.").wait_for()
        page.get_by_label("Prompt", exact=True).fill("1+1?")
        page.get_by_label("Answer", exact=True).fill("2")
        page.keyboard.press("Control+Enter")
        expect(answer).to_have_value("")
        found = {row["kind"]: [message["content"] for message in row["messages"]] for row in one.store.demonstrations()}
        assert found == {"edited": ["Why is the sky blue?", "It scatters blue light most."], "written": ["1+1?", "2"]}


def test_what_is_written_is_not_lost_while_it_is_saved(browser: Any, tmp_path: Path) -> None:
    """Nobody answers at first, and then the id is taken by another window's text."""
    with studio(browser, tmp_path, []) as one:
        page = one.person("kim", locale="en-US")
        page.goto("write")
        tries: list[str] = []

        def answer(route: Any) -> None:
            tries.append(route.request.post_data_json["id"])
            if len(tries) == 1:
                route.abort()
            elif len(tries) == 2:
                taken = {"error": {"message": "the id is that of another", "code": "id_taken"}}
                route.fulfill(status=409, json=taken)
            else:
                route.continue_()

        page.context.route("**/api/feedback/demonstrations", answer)
        page.get_by_label("Prompt", exact=True).fill("1+1?")
        page.get_by_label("Answer", exact=True).fill("2")
        with page.expect_request_finished(lambda request: "demonstrations" in request.url and len(tries) > 2):
            page.get_by_role("button", name="Save").click()
            expect(page.get_by_label("Answer", exact=True)).not_to_be_editable()
        page.get_by_text("Saved.").wait_for()
        assert tries[0] == tries[1] != tries[2]
        expect(page.get_by_label("Answer", exact=True)).to_be_editable()
        (row,) = one.store.demonstrations()
        assert row["messages"][-1]["content"] == "2" and row["id"] == tries[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def test_kill_9_in_between(browser: Any, tmp_path: Path) -> None:
    """`dodam serve` in a process of its own: two people rank, it is killed, they go on, it comes back."""
    tokenizer = make_tokenizer()
    write_model(tmp_path / "tuned", make_decoder(tokenizer.size, context=300), tokenizer, CHAT_TEMPLATE)
    prompts = write_rows(tmp_path / "prompts.jsonl", *ROWS)
    port, store = free_port(), tmp_path / "store.sqlite"
    words = ["serve", str(tmp_path / "tuned"), "--port", str(port), "--feedback", str(store), "--prompts", prompts]
    environment = {name: value for name, value in os.environ.items() if name != "DODAM_API_KEY"}

    def start() -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "dodam", *words], stderr=subprocess.PIPE, env=environment, encoding="utf-8"
        )
        assert process.stderr is not None
        assert any("/rank" in line for line in iter(process.stderr.readline, "")), "it does not start"
        return process

    def stop(process: subprocess.Popen, number: int) -> None:
        process.send_signal(number)
        process.communicate(timeout=60)

    process = start()
    one = Studio(browser, f"http://127.0.0.1:{port}/", None)
    try:
        people = [one.ranker("kim"), one.ranker("lee")]
        for page in people:
            for key in "123":
                page.keyboard.press(key)
        people[0].keyboard.press("Control+Enter")
        saved(people[0], 1)
        stop(process, signal.SIGKILL)
        people[1].keyboard.press("Control+Enter")
        people[1].get_by_text("서버가 답하지 않습니다").wait_for()
        for key in "111":
            people[0].keyboard.press(key)
        people[0].keyboard.press("Control+Enter")
        process = start()
        saved(people[1], 1)
        saved(people[0], 2)
    finally:
        one.close()
        stop(process, signal.SIGTERM)
    with open_store(str(store)) as opened:
        found = sorted((row["annotator"], row["ranks"]) for row in opened.rankings())
        assert found == [("kim", [1, 1, 1]), ("kim", [1, 2, 3]), ("lee", [1, 2, 3])]
