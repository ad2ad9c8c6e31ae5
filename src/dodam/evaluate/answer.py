"""Asking a model the items of a task: prompts in the form the model knows, greedy answers, scores.

In come a loaded model and items; out come for each item what was written and its score. `messages` go through the chat
template; a base model, which has none, gets the plain form of the pretraining text (`질문: …` and `답:`) and its
answer ends where the next question would begin. `prompt` is completed as it stands.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dodam.data.conversation import encode
from dodam.evaluate import score
from dodam.folder import LoadedModel
from dodam.generate.engine import generate
from dodam.generate.sampling import SamplingParams

PLAIN = {
    "ko": ("질문: {}\n답:", "질문: {}\n풀이:\n"),
    "en": ("Question: {}\nAnswer:", "Question: {}\nSolution:\n"),
}
PLAIN_END = re.compile(r"\n\s*\n|\n(?=질문:|Question:)")
SHORT, LONG = 48, 192  # tokens an answer may have
MAX_ROWS = 96


@dataclass(frozen=True)
class Answered:
    """One item, what the model wrote, and its score."""

    item: dict[str, Any]
    text: str
    score: float


def answer(loaded: LoadedModel, items: Sequence[dict[str, Any]], max_rows: int = MAX_ROWS) -> list[Answered]:
    """Greedy answers to all items, in their order."""
    prompts = [encoded_prompt(loaded, item) for item in items]
    params = [SamplingParams(max_tokens=max_tokens(item), temperature=0.0) for item in items]
    outputs = generate(loaded.model, prompts, params, stop_ids=loaded.stop_ids, max_rows=max_rows)
    found = []
    for item, output in zip(items, outputs, strict=True):
        text = loaded.tokenizer.decode(output.ids)
        if "messages" in item and loaded.tokenizer.chat_template is None:
            text = PLAIN_END.split(text, maxsplit=1)[0]
        _, scoring, _ = score.METRICS[item["metric"]]
        if "prompt" in item and item["metric"] == "exact":
            scoring = score.begins
        found.append(Answered(item, text, scoring(text, str(item["answer"]))))
    return found


def encoded_prompt(loaded: LoadedModel, item: dict[str, Any]) -> list[int]:
    """The ids a model is given for an item."""
    tokenizer = loaded.tokenizer
    if "prompt" in item:
        return [tokenizer.bos, *tokenizer.encode(item["prompt"])]
    if tokenizer.chat_template is not None:
        return encode(tokenizer, item["messages"], generation_prompt=True).ids
    direct, steps = PLAIN["ko" if item.get("language") == "ko" else "en"]
    form = steps if is_worked(item) else direct
    return [tokenizer.bos, *tokenizer.encode(form.format(item["messages"][-1]["content"]))]


def max_tokens(item: dict[str, Any]) -> int:
    """Room for an answer: much for what has several lines, little for the rest."""
    long = is_worked(item) or "\n" in str(item["answer"]) or item["metric"] in ("rouge", "chrf")
    return LONG if long else SHORT


def is_worked(item: dict[str, Any]) -> bool:
    """Whether steps are to be written before the answer: a task says so by its name, and where a number is looked for
    at an answer's end they may, unless the name has `direct` in it."""
    return "steps" in item["task"] or (item["metric"] == "number" and "direct" not in item["task"])
