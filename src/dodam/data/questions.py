"""Questions with the text that holds their answer: SQuAD's JSON, rows, and for predicting lines and tables.

In come files; out come questions, their contexts as they are, each answer with the character it begins at. What cannot
be used is a DataError that names it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import xxhash

from dodam.data.labels import STDIN, Row, column_of, read_table
from dodam.data.readers import ROW_READERS, suffix
from dodam.data.skipped import OR_SKIP, Skipped
from dodam.data.sources import TABLES, files_of
from dodam.errors import DataError, UsageError

USUAL = {
    "context": ("context", "passage", "paragraph", "document", "text"),
    "question": ("question", "query"),
    "answers": ("answers", "answer"),
    "title": ("title", "article"),
}
"""What columns are called, the likeliest first."""
NEEDED = {"context": "contexts", "question": "questions", "answers": "answers"}


class Answer(NamedTuple):
    """An answer, and at which character of the context it begins."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class Question:
    """A question, the text it is asked about, as it was given, and all answers that are right; none where the text
    holds none, or where they are not told. `article`: what it is asked about more widely."""

    context: str
    question: str
    answers: tuple[Answer, ...]
    article: str
    where: str


def read_questions(
    data: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str = "auto",
    skip_bad: bool = False,
    answered: bool = True,
    skipped: Skipped | None = None,
) -> list[Question]:
    """All questions of files, folders and globs. `answered`: False reads no answers. One that cannot be used is a
    DataError, or with `skip_bad` left out."""
    columns = dict(columns or {})
    known = [role for role in USUAL if answered or role != "answers"]
    if unknown := sorted(columns.keys() - set(known)):
        mend = f"Known: {', '.join(known)}."
        raise UsageError(f"{unknown[0]} is nothing that is read here", where="--columns", mend=mend)
    skipped = skipped or Skipped(skip_bad, OR_SKIP if answered else "")
    found: list[Question] = []
    for path in chain.from_iterable([one] if one == STDIN else files_of(one) for one in data):
        for where, row in read_table(path, columns, encoding, skipped, labelled=False):
            if isinstance(row.get("paragraphs"), list):
                cells = squad(row, where)
            else:
                cells = iter([named_cells(path, row, columns, where, answered=answered)])
            for one in cells:
                try:
                    found.append(question_of(one, answered=answered))
                except DataError as error:
                    skipped.add(error)
    skipped.tell()
    if not found:
        raise DataError("holds no questions", where=", ".join(data), mend="Name files with questions in them.")
    return found


class Cells(NamedTuple):
    """What a file tells of one question, unchecked."""

    context: Any
    question: Any
    answers: Any
    article: str
    where: str


def squad(article: Row, where: str) -> Iterator[Cells]:
    """The questions of an article in SQuAD's JSON. An answer that is none there has `is_impossible`."""
    name = str(article.get("title") or where)
    for place, paragraph in enumerate(article["paragraphs"], start=1):
        here = f"{where}: paragraph {place}"
        asked = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(asked, list):
            yield Cells("", "", None, name, here)
            continue
        for number, one in enumerate(asked, start=1):
            one = one if isinstance(one, dict) else {}
            answers = [] if one.get("is_impossible") is True else one.get("answers") or None
            yield Cells(paragraph.get("context"), one.get("question"), answers, name, f"{here}: question {number}")


def named_cells(path: str, row: Row, columns: Mapping[str, str], where: str, *, answered: bool) -> Cells:
    """The cells of a row. UsageError for a column that must be there and is not."""
    numbered = suffix(path) in TABLES or suffix(path) not in ROW_READERS
    there = ", ".join(f"`{name}`" for name in row)
    roles: dict[str, str] = {}
    for role, usual in USUAL.items():
        if role in columns:
            column = column_of(row, columns[role], numbered=numbered)
            if column is None:
                raise UsageError(f"there is no column `{columns[role]}`", where=where, mend=f"There are {there}.")
            roles[role] = column
        elif free := [name for name in usual if name in row and name not in roles.values()]:
            roles[role] = free[0]
    if not answered and not roles and list(row) in (["1"], ["1", "2"]):
        roles = {"question": "1", "context": "2"}
    for role, told in NEEDED.items():
        if role not in roles and (answered or role != "answers"):
            mend = f"Name it: --columns {role}=NAME. There are {there}."
            raise UsageError(f"there is no column of {told}", where=where, mend=mend)
    cells = {role: row.get(roles.get(role, "")) for role in USUAL}
    article = str(cells["title"] or cells["context"])
    return Cells(cells["context"], cells["question"], cells["answers"], article, where)


def question_of(cells: Cells, *, answered: bool) -> Question:
    """The cells as a question. DataError for an empty context or question, and for answers that are not there."""
    for name, text in (("context", cells.context), ("question", cells.question)):
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"the {name} is empty", where=cells.where)
    answers = tuple(answers_of(cells.answers, cells.context, cells.where)) if answered else ()
    return Question(cells.context, cells.question.strip(), answers, cells.article, cells.where)


def answers_of(value: Any, context: str, where: str) -> Iterator[Answer]:
    """The answers of a question, each with its place. DataError for one that does not stand in the context there."""
    if value is None:
        mend = "An empty list of answers, or is_impossible, says that there is none."
        raise DataError("there is no answer", where=where, mend=mend)
    if isinstance(value, dict) and isinstance(value.get("text"), list):  # as columns of the hub's datasets hold them
        starts = value.get("answer_start")
        if not isinstance(starts, list) or len(starts) != len(value["text"]):
            raise DataError("there are not as many answer_start as texts", where=where)
        value = [{"text": text, "answer_start": start} for text, start in zip(value["text"], starts, strict=True)]
    for one in value if isinstance(value, list) else [value]:
        text, start = (one.get("text"), one.get("answer_start")) if isinstance(one, dict) else (one, None)
        if not isinstance(text, str) or not text.strip():
            raise DataError("an answer is empty", where=where)
        if start is None:
            count = context.count(text)
            if count != 1:
                mend = "Give its answer_start."
                raise DataError(f"the answer {text!r} stands in the context {count} times", where=where, mend=mend)
            start = context.index(text)
        if not isinstance(start, int) or isinstance(start, bool) or start < 0:
            raise DataError(f"answer_start is no place in a text: {start!r}", where=where)
        if context[start : start + len(text)] != text:
            there = context[start : start + len(text)]
            what = f"the answer {text!r} does not stand at {start}, there is {there!r}"
            raise DataError(what, where=where)
        yield Answer(text.strip(), start + len(text) - len(text.lstrip()))


def fingerprint(questions: Iterable[Question]) -> str:
    """Changes with every context, question and answer."""
    hasher = xxhash.xxh3_64()
    for one in questions:
        told = f"{one.context}\x1e{one.question}\x1e{one.answers!r}\x1e"
        hasher.update(told.encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()
