"""Rewards: what an answer is worth. Plain functions `reward(prompt, answer, item) -> float`, and mixtures of them.

In come what `--reward` says and answers; out come numbers. `prompt` is the user's last words, `answer` what the model
wrote, `item` the row of the prompt: its messages, its `answer` where it has one, and every other column. A reward that
is no number, or throws, is a DataError that names the prompt.
"""

import importlib.util
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from dodam import files
from dodam.data.text import language
from dodam.errors import DataError, UsageError

Item = dict[str, Any]
Reward = Callable[[str, str, Item], float]
Batched = Callable[[Sequence["Asked"]], Sequence[float]]

WEIGHT = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))\s*\*\s*")
PYTHON = re.compile(r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)")
CODE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)
CODE_SECONDS, CODE_MEMORY = 5.0, 512 << 20


@dataclass(frozen=True)
class Asked:
    """One answer to be rewarded. `messages` end with the user's; `where` is the file and line of the prompt."""

    messages: list[dict[str, str]]
    answer: str
    item: Item
    where: str

    @property
    def prompt(self) -> str:
        return self.messages[-1]["content"]


@dataclass(frozen=True)
class Term:
    """One summand of a mixture: what was typed, its weight, and how it rewards many answers at once."""

    name: str
    weight: float
    rewards: Batched


@dataclass(frozen=True)
class Mixture:
    """The weighted sum of its terms."""

    terms: tuple[Term, ...]

    def __call__(self, answers: Sequence[Asked]) -> list[float]:
        """A reward for each answer. DataError names the term and the prompt of one that is no number."""
        total = [0.0] * len(answers)
        for term in self.terms:
            found = term.rewards(answers)
            for index, (one, reward) in enumerate(zip(answers, found, strict=True)):
                total[index] += term.weight * number(reward, term.name, one)
        return total


def number(reward: Any, name: str, one: Asked) -> float:
    """The reward as a finite float. DataError where it is something else."""
    try:
        value = float(reward)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise refused(f"gives {reward!r}, which is no number", name, one)
    return value


def refused(what: str, name: str, one: Asked) -> DataError:
    """A DataError that names the prompt and shows where the answer began."""
    shown = one.answer if len(one.answer) <= 80 else f"{one.answer[:80]}…"
    mend = "Everything up to here is saved; mend it and start again with the same --out."
    return DataError(f"the reward {name} {what}, for the answer {shown!r}", where=one.where, mend=mend)


# The built-in functions. What follows a name after a colon comes in as `argument`.


def exact(argument: str) -> Reward:
    """1 when the answer is the item's, by the item's metric: `exact`, `number`, `chrf`, `rouge` (`evaluate/score.py`),
    those up to 100 taken as shares. Without a metric a number is looked for where the answer is one."""
    from dodam.evaluate.score import METRICS, NUMBER, normal

    if argument and argument not in METRICS:
        raise ValueError(f"metrics are {', '.join(METRICS)}, not {argument}")

    def reward(prompt: str, answer: str, item: Item) -> float:
        right = item.get("answer")
        if right is None:
            raise ValueError("needs an answer to compare with, and the prompt has none")
        guessed = "number" if NUMBER.fullmatch(normal(str(right))) else "exact"
        metric = argument or str(item.get("metric") or guessed)
        if metric not in METRICS:
            raise ValueError(f"knows the metrics {', '.join(METRICS)}, not {metric} as its prompt has")
        _, scoring, largest = METRICS[metric]
        return scoring(answer, str(right)) / largest

    return reward


def format_of(argument: str) -> Reward:
    """1 when the whole answer fits a regular expression."""
    pattern = compiled(argument)
    return lambda prompt, answer, item: float(pattern.fullmatch(answer) is not None)


def regex(argument: str) -> Reward:
    """1 when a regular expression is found in the answer."""
    pattern = compiled(argument)
    return lambda prompt, answer, item: float(pattern.search(answer) is not None)


def compiled(argument: str) -> re.Pattern[str]:
    if not argument:
        raise ValueError("needs a regular expression after a colon")
    try:
        return re.compile(argument, re.DOTALL | re.MULTILINE)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def length(argument: str) -> Reward:
    """1 for an answer of at most so many characters (`200`), or of between two numbers of them (`50-200`); outside it
    falls in a straight line, to 0 at no character and at twice the most."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)", argument)
    least, most = (int(found[1] or 0), int(found[2])) if found else (0, 0)
    if most < 1 or least > most:
        raise ValueError("needs a number of characters, or two: length:200, length:50-200")

    def reward(prompt: str, answer: str, item: Item) -> float:
        if len(answer) < least:
            return len(answer) / least
        return max(0.0, 1 - max(0, len(answer) - most) / most)

    return reward


def in_language(argument: str) -> Reward:
    """1 when the answer is in a language (`ko`, `en`), or without one in the prompt's."""
    if argument not in ("", "ko", "en", "other"):
        raise ValueError(f"knows ko, en and other, not {argument}")
    return lambda prompt, answer, item: float(language(answer) == (argument or language(prompt)))


def code(argument: str) -> Reward:
    """1 when the item's `tests`, Python, run to their end behind the code in the answer; in a sandbox."""
    if argument:
        raise ValueError("takes nothing after a colon")
    if sys.platform == "win32":
        raise ValueError("runs what a model wrote, and the limits for that are not there on Windows")
    told: list[bool] = []

    def reward(prompt: str, answer: str, item: Item) -> float:
        from dodam.rl.sandbox import run_python

        if not isinstance(item.get("tests"), str):
            raise ValueError("needs a column `tests` with Python that checks the answer")
        blocks = CODE.findall(answer)
        source = "\n".join(blocks) if blocks else answer
        ran = run_python(f"{source}\n\n{item['tests']}\n", seconds=CODE_SECONDS, memory=CODE_MEMORY)
        if not ran.networkless and not told:
            told.append(True)
            print("code: this system does not let the sandbox take the network away from answers.", file=sys.stderr)
        return float(ran.well)

    return reward


BUILT_IN: dict[str, Callable[[str], Reward]] = {
    "exact": exact,
    "format": format_of,
    "regex": regex,
    "length": length,
    "language": in_language,
    "code": code,
}


def mixture(texts: Iterable[str], device: str = "cpu") -> Mixture:
    """The rewards that were typed, as one. UsageError for one that is unknown or cannot be used."""
    return Mixture(tuple(term(text, device) for text in texts))


def check(texts: Iterable[str]) -> None:
    """UsageError for a reward that is unknown or cannot be used, before a model is loaded."""
    for text in texts:
        if not Path(text[found.end() :] if (found := WEIGHT.match(text)) else text).is_dir():
            term(text, "cpu")


def term(text: str, device: str) -> Term:
    """`0.5*length:200`: a weight and what is rewarded: the name of a built-in function, perhaps with an argument, a
    file and a function of one's own, or the folder of a reward model."""
    weighed = WEIGHT.match(text)
    weight, name = (float(weighed[1]), text[weighed.end() :]) if weighed else (1.0, text)
    kind, _, argument = name.partition(":")
    if kind in BUILT_IN:
        try:
            return Term(name, weight, each(BUILT_IN[kind](argument), name))
        except ValueError as error:
            raise UsageError(f"{kind} {error}", where=f"--reward {text}") from None
    if python := PYTHON.fullmatch(name):
        return Term(name, weight, each(function_of(Path(python["file"]), python["function"], text), name))
    if Path(name).is_dir():
        return Term(name, weight, scored(name, device))
    known = ", ".join(BUILT_IN)
    mend = f"Known: {known}, FILE.py:FUNCTION, or the folder of a reward model."
    raise UsageError(f"there is no reward {name}", where=f"--reward {text}", mend=mend)


def fingerprint(texts: Iterable[str]) -> str:
    """Changes with the rewards that were typed, with the files of functions and with the weights of reward models."""
    hasher = xxhash.xxh3_64()
    for text in texts:
        weighed = WEIGHT.match(text)
        name = text[weighed.end() :] if weighed else text
        python = PYTHON.fullmatch(name)
        hasher.update(text.encode())
        for path in [Path(python["file"])] if python else sorted(Path(name).rglob("*.safetensors")):
            hasher.update(files.xxh3(path).encode() if path.is_file() else b"")
    return hasher.hexdigest()


def each(reward: Reward, name: str) -> Batched:
    """A function of one answer, for many. What it throws becomes a DataError that names the prompt."""

    def rewards(answers: Sequence[Asked]) -> list[float]:
        found = []
        for one in answers:
            try:
                found.append(reward(one.prompt, one.answer, one.item))
            except Exception as error:
                what = f"throws {type(error).__name__}: {error}" if name.count(".py:") else str(error)
                raise refused(what, name, one) from error
        return found

    return rewards


def function_of(file: Path, function: str, text: str) -> Reward:
    """A function out of a Python file of the user's."""
    where = f"--reward {text}"
    if not file.is_file():
        raise UsageError(f"there is no file {file}", where=where)
    file = file.resolve()
    spec = importlib.util.spec_from_file_location(f"dodam_reward_{xxhash.xxh3_64_hexdigest(str(file).encode())}", file)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    sys.path.insert(0, str(file.parent))  # so that it finds what lies beside it, as when Python runs it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{file} cannot be read: {type(error).__name__}: {error}", where=where) from error
    finally:
        sys.path.remove(str(file.parent))
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(f"{file} has no function {function}", where=where)
    return found


def scored(folder: str, device: str) -> Batched:
    """The scores of a reward model, of whole conversations."""
    from dodam.generate.scorer import load_scorer

    scorer = load_scorer(folder, device)

    def rewards(answers: Sequence[Asked]) -> Sequence[float]:
        return scorer.scores([[*one.messages, {"role": "assistant", "content": one.answer}] for one in answers])

    return rewards
