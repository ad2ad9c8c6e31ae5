"""The chat page in Chromium: what it sends, what it shows, and what it tells the feedback store.

A test says what the model answers; the browser's requests to /v1 are answered by it, and all else by the server.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from test_studio_pages import HOSTILE, PATIENCE, Studio, chromium, expect, pytestmark, studio

__all__ = ["pytestmark"]  # the same reason to skip

DROPPED, EMPTY = "가장 오래된 문답을 뺐습니다", "빈 답입니다"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def one(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with studio(browser, tmp_path_factory.mktemp("studio"), []) as running:
        yield running


def said(text: str, total: int = 9, reason: str = "stop") -> dict:
    return {"text": text, "total": total, "reason": reason}


class Talk:
    """The chat page before a model with a context of 100 that gives these answers, one after the other."""

    def __init__(self, one: Studio, answers: list[dict], *, chat: bool = True, model: str = "m", **person: Any) -> None:
        self.posted: list[dict] = []
        self.keys: set[str] = set()
        self.answers = iter(answers)
        self.page = one.person(**person)
        listed = {"data": [{"id": model, "chat": chat, "context": 100}]}
        self.page.route("**/v1/models", lambda route: route.fulfill(json=listed))
        self.page.route("**/v1/*completions", self.answer)
        self.page.route("**/v1/chat/completions", self.answer)
        self.page.goto("")
        self.input = self.page.locator("form.ask textarea")
        expect(self.page.locator("select")).to_have_value(model)

    def answer(self, route: Any) -> None:
        self.posted.append(route.request.post_data_json)
        self.keys.add(route.request.headers["dodam-conversation"])
        answer = next(self.answers)
        if "code" in answer:
            error = {"error": {"message": "refused", "code": answer["code"]}}
            return route.fulfill(status=400, json=error)
        choice = {"text": answer["text"], "delta": {"content": answer["text"]}, "finish_reason": answer["reason"]}
        chunks = [{"choices": [choice]}, {"choices": [], "usage": {"total_tokens": answer["total"]}}]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]
        route.fulfill(body="".join(lines), content_type="text/event-stream")

    def ask(self, *questions: str) -> "Talk":
        for question in questions:
            self.input.fill(question)
            self.input.press("Enter")
            expect(self.page.locator("form.ask button")).to_have_attribute("type", "submit")
        return self

    def contents(self) -> list[list[str]]:
        return [[message["content"] for message in body["messages"]] for body in self.posted]

    def notes(self) -> list[str]:
        return self.page.locator(".note").all_inner_texts()


def test_the_servers_defaults_hold_until_something_is_set(one: Studio) -> None:
    talk = Talk(one, [said("a"), said("b")])
    assert talk.page.locator("input").evaluate_all("all => all.filter((one) => one.value).map((one) => one.name)") == [
        "deletion-key"
    ]
    talk.ask("q")
    talk.page.get_by_text("설정").click()
    talk.page.locator("[name=temperature]").fill("0.3")
    talk.page.locator("[name=system]").fill("짧게")
    talk.page.locator("[name=system]").press("Tab")
    talk.page.reload()
    talk.ask("r")
    plain, changed = talk.posted
    assert set(plain) == {"model", "stream", "stream_options", "messages"}
    assert changed["temperature"] == 0.3 and "top_p" not in changed
    assert changed["messages"] == [{"role": "system", "content": "짧게"}, {"role": "user", "content": "r"}]


def test_the_oldest_turn_leaves_room_for_an_answer(one: Studio) -> None:
    talk = Talk(one, [said("a1", 30), said("a2", 76), said("a3", 75), said("a4", 75)]).ask("q1", "q2", "q3", "q4")
    assert talk.contents() == [["q1"], ["q1", "a1", "q2"], ["q2", "a2", "q3"], ["q2", "a2", "q3", "a3", "q4"]]
    (note,) = talk.notes()
    assert DROPPED in note


def test_a_full_context_drops_the_oldest_turn(one: Studio) -> None:
    talk = Talk(one, [said("a1", 30), {"code": "context_length_exceeded"}, said("a2", 30)]).ask("q1", "q2")
    assert talk.contents() == [["q1"], ["q1", "a1", "q2"], ["q2"]]
    (note,) = talk.notes()
    assert DROPPED in note


def test_a_base_model_has_no_turns_to_drop(one: Studio) -> None:
    talk = Talk(one, [said("a1", 99), {"code": "context_length_exceeded"}], chat=False)
    assert "글을 이어서 씁니다" in talk.page.locator(".empty").inner_text()
    talk.ask("q1", "q2")
    assert [body["prompt"] for body in talk.posted] == ["q1", "q2"]
    assert talk.notes() == ["refused"]
    assert talk.page.get_by_label("좋아요").count() == 0


def test_an_empty_answer_is_told(one: Studio) -> None:
    talk = Talk(one, [said("", 99), said("a2", reason="length")]).ask("q1", "q2")
    first, second = talk.notes()
    assert EMPTY in first and "길이 한도" in second
    assert talk.contents()[1] == ["q2"]


def test_enter_while_hangul_is_composed(one: Studio) -> None:
    talk = Talk(one, [said("a")])
    talk.input.fill("하느")
    press = "(box, more) => box.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', cancelable: true, ...more}))"
    for more in ({"isComposing": True}, {"keyCode": 229}, {"shiftKey": True}):
        assert talk.input.evaluate(press, {**more, "bubbles": True}), "the key is left to the input method"
    assert talk.input.input_value() == "하느" and talk.posted == []
    assert not talk.input.evaluate(press, {"keyCode": 13, "bubbles": True})
    expect(talk.page.locator(".assistant")).to_have_text("a")


def test_hostile_answers_stay_text(one: Studio) -> None:
    talk = Talk(one, [said(HOSTILE)]).ask(HOSTILE)
    assert talk.page.locator(".message").all_inner_texts() == [HOSTILE, HOSTILE]
    assert talk.page.locator(".message *").count() == 0
    assert talk.page.title() == "도담 Dodam"


def test_regenerated_answers_and_thumbs_reach_the_store(one: Studio) -> None:
    talk = Talk(one, [said("첫째"), said("둘째"), said("셋째")], model="a", locale="en-US")
    page = talk.ask("내 메일은 kim@example.com").page
    page.get_by_label("Regenerate").click()
    expect(page.locator(".about")).to_contain_text("2/2")
    page.get_by_label("Good answer").click()
    expect(page.get_by_label("Good answer")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Previous answer").click()
    expect(page.locator(".assistant")).to_have_text("첫째")
    expect(page.get_by_label("Good answer")).to_have_attribute("aria-pressed", "false")
    talk.ask("그래서?")
    assert talk.contents() == [
        ["내 메일은 kim@example.com"],
        ["내 메일은 kim@example.com"],
        ["내 메일은 kim@example.com", "첫째", "그래서?"],
    ], "the model is told the answer that was shown last"
    (thumb,) = one.store.thumbs()
    assert (thumb["up"], thumb["answer"], thumb["prompt"][0]["content"]) == (True, "둘째", "내 메일은 [EMAIL]")
    rank = one.ranker("kim")
    assert {"첫째", "둘째"} <= set(rank.locator(".card .text").all_inner_texts())
    page.locator(".collects summary").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".collects output")).to_contain_text("Answers deleted")
    assert list(one.store.thumbs()) == [] and one.store.counts()["prompts"] == 0
    assert page.locator(".message").count() == 0


def test_who_chats_is_told_that_chats_are_collected(browser: Any, tmp_path: Path) -> None:
    with studio(browser, tmp_path, [], collect=True) as one:
        page = one.person()
        page.goto("")
        expect(page.locator(".collects summary")).to_contain_text("이 서버는 대화를 모읍니다")
        key = page.locator("[name=deletion-key]").input_value()
        page.locator("form.ask textarea").fill("안녕")
        page.keyboard.press("Enter")
        page.locator(".about").wait_for()
        assert one.store.counts()["conversations"] == 1
        page.get_by_role("button", name="새 대화").click()
        assert page.locator("[name=deletion-key]").input_value() != key
        page.locator("[name=deletion-key]").fill(key)
        page.get_by_role("button", name="지우기").click()
        expect(page.locator(".collects output")).to_contain_text("지운 답: 1")
        assert one.store.counts()["conversations"] == 0


def test_the_language_is_chosen_and_kept(one: Studio) -> None:
    talk = Talk(one, [], locale="de-DE")
    assert talk.page.locator("nav a").all_inner_texts() == ["Chat", "Rank", "Write"]
    talk.page.get_by_role("button", name="한국어").click()
    talk.page.reload()
    assert talk.page.locator("nav a").all_inner_texts() == ["대화", "순위", "쓰기"]
    assert talk.page.evaluate("document.documentElement.lang") == "ko"
    talk.page.get_by_role("link", name="순위").click()
    talk.page.get_by_text("누가 평가하나요?").wait_for()
    assert talk.page.url.endswith("/rank")
    talk.page.go_back()
    talk.input.wait_for(timeout=PATIENCE)


def test_pages_of_feedback_say_how_to_start_it(browser: Any, tmp_path: Path) -> None:
    with studio(browser, tmp_path, []) as one:
        page = one.person()
        nothing = {"feedback": False, "collect": False, "rank_chats": False, "keys": False}
        page.route("**/api/feedback", lambda route: route.fulfill(json=nothing))
        page.goto("rank")
        page.get_by_text("dodam serve 모델 --feedback").wait_for()
        page.goto("")
        page.locator("form.ask textarea").wait_for()
        assert page.locator("nav, .collects").count() == 0
