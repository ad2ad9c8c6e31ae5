"""What is held out for the tests, and the three shapes that every part of the corpus hands over.

In: keys that name a question-fact pair, a number tuple or a slot combination; questions and answers.
Out: a yes or no that depends on the key alone (never on a seed, a run or Python's hash), chat rows, test items and
the plain question form of the pretraining text.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def fraction(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48


def held_out(key: str, share: float) -> bool:
    """Whether `key` belongs to the held-out `share` of all keys."""
    return fraction(key) < share


def pick(key: str, items: Sequence[T]) -> T:
    """The item that `key` always gets."""
    return items[int(fraction(key) * len(items))]


def random_for(seed: int, *names: str) -> random.Random:
    """A generator of its own for each named purpose, so that one part's count never moves another part's draws."""
    return random.Random(":".join((str(seed), *names)))


def plain_question(language: str, question: str, answer: str) -> str:
    """The plain form of a question and its answer in the pretraining text ("ko": 질문/답, "en": Question/Answer)."""
    if language == "ko":
        return f"질문: {question}\n답: {answer}"
    return f"Question: {question}\nAnswer: {answer}"


def chat_row(task: str, language: str, *contents: str) -> dict:
    """A conversation; `contents` are the user's and the assistant's words in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    return {"task": task, "language": language, "messages": messages}


def task_item(
    task: str, language: str, key: str, answer: str, metric: str, *, question: str = "", prompt: str = ""
) -> dict:
    """A test item: a `question` is asked through the chat template, a `prompt` is completed as it stands."""
    asked = {"messages": [{"role": "user", "content": question}]} if question else {"prompt": prompt}
    return {"id": f"{task}:{key}", "task": task, "language": language, **asked, "answer": answer, "metric": metric}
