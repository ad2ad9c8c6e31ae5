"""The chat page's own script, run by Node.js on a page of stand-ins and a server that says what a test wants."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from dodam.serve.page import PAGE

HTML = PAGE.read_text(encoding="utf-8")
NOTE_DROPPED, NOTE_EMPTY = "The oldest turn was dropped.", "The answer was empty."
STAND_INS = """
const elements = {};
const element = () => ({
  value: "", children: [], style: {}, listeners: {}, classList: { remove() {} },
  append(child) { this.children.push(child); }, replaceChildren() {}, scrollIntoView() {}, focus() {}, remove() {},
  addEventListener(name, act) { this.listeners[name] = act; }, requestSubmit() { submitted += 1; },
});
let submitted = 0;
globalThis.document = { getElementById: (id) => elements[id] ??= element(), createElement: element };
globalThis.localStorage = globalThis.sessionStorage = { getItem: () => null, setItem() {} };
globalThis.Option = function () {};
const posted = [];
const answers = ANSWERS;
globalThis.fetch = async (path, options) => {
  if (path === "v1/models") return Response.json({ data: [MODEL] });
  posted.push(JSON.parse(options.body));
  const answer = answers.shift();
  if (answer.code) return Response.json({ error: { message: "refused", code: answer.code } }, { status: 400 });
  const said = { choices: [{ text: answer.text, delta: { content: answer.text } }] };
  const lines = [said, { choices: [], usage: { total_tokens: answer.total } }].map((event) => JSON.stringify(event));
  return new Response([...lines, "[DONE]"].map((line) => `data: ${line}\\n\\n`).join(""));
};
"""
STORY = """
(async () => {
  await new Promise((done) => setTimeout(done));
  at("model").value = "m";
  for (const question of QUESTIONS) await ask(question);
  const key = { key: "Enter", isComposing: false, preventDefault() {} };
  at("input").listeners.keydown({ ...key, keyCode: 229 });
  at("input").listeners.keydown({ ...key, keyCode: 13 });
  const shown = at("messages").children.filter((child) => child.className.startsWith("note"));
  console.log(JSON.stringify({ posted, submitted, notes: shown.map((child) => child.textContent) }));
})();
"""


def said(text: str, total: int) -> dict:
    return {"text": text, "total": total}


def converse(questions: list[str], answers: list[dict], *, chat: bool = True) -> dict[str, Any]:
    """What the page posts and which notes it shows, of a model with a context of 100."""
    if (node := shutil.which("node")) is None:
        pytest.skip("needs Node.js")
    (script,) = re.findall(r"<script>(.*?)</script>", HTML, re.DOTALL)
    values = {"ANSWERS": answers, "MODEL": {"id": "m", "chat": chat, "context": 100}, "QUESTIONS": questions}
    code = STAND_INS + script + STORY
    for name, value in values.items():
        code = re.sub(rf"\b{name}\b", lambda _, value=value: json.dumps(value), code)
    done = subprocess.run([node, "-"], input=code, capture_output=True, encoding="utf-8", timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def contents(body: dict) -> list[str]:
    return [message["content"] for message in body["messages"]]


def test_the_servers_defaults_hold() -> None:
    assert not re.findall(r"<input[^>]* value=", HTML)
    (body,) = converse(["q"], [said("a", 9)])["posted"]
    assert set(body) == {"model", "stream", "stream_options", "messages"}


def test_the_oldest_turn_leaves_room_for_an_answer() -> None:
    found = converse(["q1", "q2", "q3", "q4"], [said("a1", 30), said("a2", 76), said("a3", 75), said("a4", 75)])
    assert [contents(body) for body in found["posted"]] == [
        ["q1"],
        ["q1", "a1", "q2"],
        ["q2", "a2", "q3"],
        ["q2", "a2", "q3", "a3", "q4"],
    ]
    (note,) = found["notes"]
    assert NOTE_DROPPED in note


def test_a_full_context_drops_the_oldest_turn() -> None:
    found = converse(["q1", "q2"], [said("a1", 30), {"code": "context_length_exceeded"}, said("a2", 30)])
    assert [contents(body) for body in found["posted"]] == [["q1"], ["q1", "a1", "q2"], ["q2"]]
    (note,) = found["notes"]
    assert NOTE_DROPPED in note


def test_a_base_model_has_no_turns_to_drop() -> None:
    found = converse(["q1", "q2"], [said("a1", 99), {"code": "context_length_exceeded"}], chat=False)
    assert [body["prompt"] for body in found["posted"]] == ["q1", "q2"]
    assert found["notes"] == ["refused"]


def test_an_empty_answer_is_told() -> None:
    found = converse(["q1", "q2"], [said("", 99), said("a2", 9)])
    (note,) = found["notes"]
    assert NOTE_EMPTY in note
    assert contents(found["posted"][1]) == ["q2"]


def test_enter_while_safari_composes_hangul() -> None:
    assert converse([], [])["submitted"] == 1
