"""What people think of answers: rankings, pairs and scores out of files and feedback stores, in every known form.

In come rows: rankings (`answers`, `ranks`), pairs (TRL's `chosen`/`rejected`, Anthropic's and OpenAI's forms) or scored
answers. Out come `Ranking`s, each with FILE:LINE; `data/judged.py` puts those of one prompt together.
"""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodam.data.conversation import ROLES, Messages, message_of, name_in, text_of
from dodam.data.skipped import OR_SKIP, Skipped
from dodam.data.sources import SAMPLE, read_rows
from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    from dodam.feedback.store import Store

PROMPTS = ("prompt", "instruction", "question", "query", "질문")
ANSWERS = ("answers", "responses", "completions", "답변들")
TEXTS = ("text", "answer", "response", "completion", "content", "답변")
SCORES = ("score", "rating", "점수")
"""Column names, the first that a row has is taken; `TEXTS` and `SCORES` are those of an answer in a list."""

COLUMNS = ("prompt", "system", "chosen", "rejected", "answers", "ranks", "task")
INSIDE = ("text", "score")
"""What --columns may name: of a row, and of each answer in a list."""

RANKINGS = "rankings"
"""What a run calls its copy of a store's rankings."""

TURN = re.compile(r"\n\n(Human|Assistant):")
"""What begins a turn in Anthropic's dialogues."""


@dataclass(frozen=True)
class Ranking:
    """Answers to a prompt and the rank of each, 1 the best, equal ranks a tie. `scores`, where there are any, say by
    how much; `annotator` whose judgement it is."""

    prompt: Messages
    answers: tuple[str, ...]
    ranks: tuple[int, ...]
    scores: tuple[float, ...] | None
    where: str
    id: str = ""
    task: str = ""
    annotator: str = ""

    @property
    def key(self) -> str:
        """The same for equal prompts."""
        return key_of(self.prompt)


def read_rankings(
    data: Iterable[str],
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str = "auto",
    skip_bad: bool = False,
    skipped: Skipped | None = None,
    run: Path | None = None,
) -> list[Ranking]:
    """All rankings in files, folders, globs, feedback stores or `sample:preferences`; forms are found out row by row.

    A row that says nothing usable is a DataError with file and line, as is one whose annotator said the opposite
    before; with `skip_bad` such rows are left out and counted. Exact repetitions are left out and counted always.
    What a store tells is kept in the folder of the `run` that asks, which then goes on with it."""
    columns = dict(columns or {})
    if unknown := sorted(columns.keys() - set(COLUMNS) - set(INSIDE)):
        known = ", ".join((*COLUMNS, *INSIDE))
        raise UsageError(f"{unknown[0]} is nothing a ranking has", where="--columns", mend=f"Known: {known}.")
    skipped = skipped or Skipped(skip_bad, OR_SKIP)
    found: list[Ranking] = []
    said = Said()
    for path in data:
        for where, row in rows_of(path, columns, encoding, skipped, run):
            try:
                ranking = ranking_of(row, columns, where)
                if said.before(ranking):
                    continue
            except DataError as error:
                skipped.add(error)
                continue
            found.append(ranking)
    skipped.tell()
    if said.repeated:
        print(f"{said.repeated} rankings are repetitions of others and count once.", file=sys.stderr)
    if not found:
        raise DataError("there is no ranking here", where=", ".join(data))
    return found


def rows_of(
    path: str, columns: Mapping[str, str], encoding: str, skipped: Skipped, run: Path | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a feedback store, or of files. What --columns names inside answers is not looked for in rows."""
    if not path.startswith(SAMPLE):
        from dodam.feedback.snapshot import snapshot_rows
        from dodam.feedback.store import is_store

        if is_store(path):
            yield from snapshot_rows(path, RANKINGS, rankings_in, run)
            return
    outer = {role: name for role, name in columns.items() if role not in INSIDE}
    yield from read_rows(path, columns=outer, encoding=encoding, skipped=skipped)


def kept_rows(data: Iterable[str], run: Path) -> tuple[str, ...]:
    """The data with the copies that a `run` keeps in place of stores."""
    from dodam.feedback.snapshot import snapshot_file
    from dodam.feedback.store import is_store

    return tuple(str(snapshot_file(path, RANKINGS, run)) if is_store(path) else path for path in data)


def rankings_in(store: "Store") -> Iterator[tuple[str, dict[str, Any]]]:
    """The rankings that count in a store, each with where it stands. Where somebody's later ranking says the opposite
    of an earlier one of theirs about the same two answers, the earlier one does not count; how many is told."""
    said, kept, dropped = Said(), [], 0
    for row in reversed(list(store.rankings())):
        where = f"{store.where}, ranking {row['id']}"
        try:
            said.before(ranking_of(row, {}, where))
        except DataError:
            dropped += 1
        else:
            kept.append((where, row))
    if dropped:
        told = f"{dropped} rankings are left out: the same person said the opposite later."
        print(f"{store.where}: {told}", file=sys.stderr)
    yield from reversed(kept)


def ranking_of(row: Mapping[str, Any], columns: Mapping[str, str], where: str) -> Ranking:
    """The ranking in a row of any known form. DataError for what cannot be one."""
    names = {str(name).lower(): name for name in row}

    def column(role: str, known: Sequence[str]) -> Any:
        name = role if role in columns else next((names[one] for one in known if one in names), None)
        return None if name is None else row[name]

    answers = column("answers", ANSWERS)
    prompt = column("prompt", PROMPTS)
    scores: list[float] | None = None
    if answers is not None:
        texts, ranks, scores = answers_of(answers, column("ranks", ("ranks",)), columns, where)
    else:
        prompt, texts, scores = pair_of(row, prompt, column, where)
        ranks = [1, 2]
    # One text of two models is one answer, if both have the same rank.
    kept = list({(text, rank): place for place, (text, rank) in enumerate(zip(texts, ranks, strict=True))}.values())
    ranking = Ranking(
        prompt=prompt_of(prompt, column("system", ("system",)), where),
        answers=tuple(texts[place] for place in kept),
        ranks=tuple(ranks[place] for place in kept),
        scores=None if scores is None else tuple(scores[place] for place in kept),
        where=where,
        id=str(row.get("id") or ""),
        task=str(column("task", ("task",)) or ""),
        annotator=str(row.get("annotator") or ""),
    )
    check(ranking)
    return ranking


def answers_of(
    answers: Any, ranks: Any, columns: Mapping[str, str], where: str
) -> tuple[list[str], list[int], list[float] | None]:
    """Texts, ranks and, where each answer has one, scores of a list of answers."""
    if not isinstance(answers, list) or len(answers) < 2:
        raise DataError("a ranking needs a list of two answers or more", where=where)
    scores: list[float] | None = None
    texts = answers
    if all(isinstance(one, dict) for one in answers):
        texts = [inside(one, columns.get("text"), TEXTS, where) for one in answers]
        if ranks is None or "score" in columns or any(name in answers[0] for name in SCORES):
            given = [inside(one, columns.get("score"), SCORES, where) for one in answers]
            scores = [number_of(value, where) for value in given]
    if ranks is None:
        if scores is None:
            mend = 'Give each answer a rank ("ranks": [1, 2, 2]) or a score ({"text": ..., "score": ...}).'
            raise DataError("nothing says which answer is better", where=where, mend=mend)
        order = sorted(set(scores), reverse=True)
        ranks = [order.index(score) + 1 for score in scores]
    if not isinstance(ranks, list) or any(type(rank) is not int or rank < 1 for rank in ranks):
        raise DataError(f"ranks are whole numbers from 1, the best, on; here they are {ranks}", where=where)
    if len(ranks) != len(texts):
        what = f"{len(texts)} answers have {len(ranks)} ranks"
        unknown = ", so some rank answers that are not there" if len(ranks) > len(texts) else ""
        raise DataError(what + unknown, where=where, mend="Give one rank to each answer.")
    return [text_of(text, where) for text in texts], ranks, scores


def inside(answer: Mapping[str, Any], named: str | None, known: Sequence[str], where: str) -> Any:
    """What an answer in a list has under the name given, or under a usual one."""
    name = named or next((one for one in known if one in answer), None)
    if name is None or name not in answer:
        role = "text" if known is TEXTS else "score"
        mend = f"Name it: --columns {role}=NAME. There are {', '.join(map(str, answer))}."
        raise DataError(f"an answer has no {f'`{name}`' if name else role}", where=where, mend=mend)
    return answer[name]


def number_of(value: Any, where: str) -> float:
    """A score. DataError for what is no finite number."""
    if isinstance(value, bool | int | float) and abs(value) < float("inf"):
        return float(value)
    raise DataError(f"a score is a number, not {value!r}", where=where)


def pair_of(row: Mapping[str, Any], prompt: Any, column: Any, where: str) -> tuple[Any, list[str], list[float] | None]:
    """The prompt, the preferred answer and the other one, of a row with two."""
    chosen = column("chosen", ("chosen", "preferred_output"))
    rejected = column("rejected", ("rejected", "non_preferred_output"))
    if chosen is None or rejected is None:
        mend = "Known are answers with ranks or scores, and chosen with rejected; see docs/reward.md."
        raise DataError(f"no ranking is found in the columns {', '.join(map(str, row))}", where=where, mend=mend)
    if isinstance(row.get("input"), dict):  # OpenAI's
        prompt = row["input"].get("messages")
    sides = [turns_of(side, where) for side in (chosen, rejected)]
    if prompt is None:  # each side is a whole conversation
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(*sides, strict=False))))
        prompt = sides[0][: min(shared, len(sides[0]) - 1, len(sides[1]) - 1)]
        if not prompt:
            raise DataError("the prompt is missing", where=where, mend="Name its column: --columns prompt=NAME.")
        sides = [side[len(prompt) :] for side in sides]
    elif isinstance(prompt, list):
        begun = [message_of(turn, where) for turn in prompt]  # some repeat the prompt in both sides
        sides = [side[len(begun) :] if side[:-1][: len(begun)] == begun else side for side in sides]
    texts = []
    for side in sides:
        if len(side) != 1 or side[0]["role"] != "assistant":
            what = "an answer is one message of the assistant"
            told = " ".join(message["role"] for message in side) or "nothing"
            raise DataError(f"{what}; after what both sides share there is {told}", where=where)
        texts.append(side[0]["content"])
    given = [row.get("score_chosen"), row.get("score_rejected")]
    scores = None if None in given else [number_of(value, where) for value in given]
    return prompt, texts, scores


def turns_of(side: Any, where: str) -> Messages:
    """One side of a pair as messages: a text is an answer, or a dialogue where it begins like one."""
    if isinstance(side, list):
        return [message_of(turn, where) for turn in side]
    text = text_of(side, where) if not isinstance(side, str) else side
    if TURN.match(text):
        return dialogue(text, where)
    return [{"role": "assistant", "content": text_of(text, where)}]


def dialogue(text: str, where: str) -> Messages:
    """The messages of "\\n\\nHuman: ...\\n\\nAssistant: ...". Turns of one speaker that follow each other are one."""
    _, *parts = TURN.split(text)
    messages: Messages = []
    for role, content in zip(parts[::2], parts[1::2], strict=True):
        message = {"role": ROLES[role.lower()], "content": text_of(content.strip(), where)}
        if messages and messages[-1]["role"] == message["role"]:
            joined = f"{messages[-1]['content']}\n\n{message['content']}".strip()
            messages[-1] = {**message, "content": joined}
        else:
            messages.append(message)
    return messages


def prompt_of(prompt: Any, system: Any, where: str) -> Messages:
    """A text or messages as a checked prompt, which ends with a word of the user."""
    if prompt is None or prompt == "" or prompt == []:
        raise DataError("the prompt is missing", where=where, mend="Name its column: --columns prompt=NAME.")
    if isinstance(prompt, str) and TURN.match(prompt):
        messages = dialogue(prompt.removesuffix("\n\nAssistant:"), where)
    elif isinstance(prompt, list):
        messages = [message_of(turn, where) for turn in prompt]
    else:
        messages = [{"role": "user", "content": text_of(prompt, where)}]
    if system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": text_of(system, where)})
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if not turns or turns[-1] != "user":
        raise DataError("a prompt ends with a message of the user", where=where)
    if "system" in turns or any(one == two for one, two in pairwise(turns)):
        raise DataError("user and assistant must speak in turn", where=where)
    if not all(message["content"] for message in messages):
        raise DataError("a message of the prompt is empty", where=where)
    return messages


def check(ranking: Ranking) -> None:
    """DataError for an empty answer, and for one answer with two ranks."""
    if not all(ranking.answers):
        raise DataError("an answer is empty", where=ranking.where)
    twice = [answer for answer, count in Counter(ranking.answers).items() if count > 1]
    if twice:
        what = (
            "the preferred answer and the other one are equal"
            if len(ranking.answers) == 2
            else "an answer has two ranks"
        )
        raise DataError(f"{what}: {twice[0][:60]!r}", where=ranking.where, mend="Keep one of them.")


class Said:
    """What has been said of every pair of answers, and by whom."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, tuple[int, str]] = {}
        self.whole: set[bytes] = set()
        self.repeated = 0

    def before(self, ranking: Ranking) -> bool:
        """Whether the ranking repeats an earlier one; it is remembered. DataError when the same annotator (where none
        is named: any) preferred otherwise before."""
        texts = sorted(zip(ranking.answers, ranking.ranks, strict=True))
        whole = digest(ranking.annotator, ranking.key, *(f"{rank} {text}" for text, rank in texts))
        if whole in self.whole:
            self.repeated += 1
            return True
        found = {}
        for (one, rank), (two, other) in combinations(texts, 2):
            sign = (rank > other) - (rank < other)
            pair = digest(ranking.annotator, ranking.key, one, two)
            known, where = self.pairs.get(pair, (sign, ""))
            if known * sign < 0:
                who = f" by {ranking.annotator}" if ranking.annotator else ""
                what = f"prefers what {where} finds worse{who}, of the same two answers"
                raise DataError(what, where=ranking.where, mend="Decide for one of the two.")
            found[pair] = (sign, ranking.where) if sign else (known, where)  # a tie takes nothing back
        self.pairs |= found
        self.whole.add(whole)
        return False


def digest(*texts: str) -> bytes:
    """A short stand-in for texts, the same for the same ones."""
    return hashlib.blake2b("\x1f".join(texts).encode(errors="surrogatepass"), digest_size=12).digest()


def key_of(prompt: Messages) -> str:
    """The same for equal prompts."""
    return "\x1e".join(f"{message['role']}\x1f{message['content']}" for message in prompt)


def named(ranking: Ranking, name: str | None) -> Ranking:
    """The ranking with the assistant's name put wherever it says {name}, where one is to be."""
    name = name_in(ranking.where, name)
    if name is None:
        return ranking
    texts = [*ranking.answers, *(message["content"] for message in ranking.prompt)]
    if not any("{name}" in text for text in texts):
        return ranking
    prompt = [{**message, "content": message["content"].replace("{name}", name)} for message in ranking.prompt]
    return replace(ranking, prompt=prompt, answers=tuple(one.replace("{name}", name) for one in ranking.answers))
