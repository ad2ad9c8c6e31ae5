"""Texts with labels: read from tables, JSONL and lines, their columns found out, their labels checked.

In come files; out come `Example`s, each with FILE:LINE, and `Labels`, the names by their numbers. What is missing in a
row is a DataError that names it.
"""

import csv
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import xxhash

from dodam.data.readers import ROW_READERS, lines, suffix
from dodam.data.skipped import OR_SKIP, Skipped
from dodam.data.sources import TABLES, files_of, read_rows
from dodam.data.text import clean
from dodam.errors import DataError, UsageError

Task = Literal["single", "multilabel", "pair", "regression"]
Row = dict[str, Any]
Item = TypeVar("Item")

ROLES = ("text", "text2", "label")
USUAL: dict[str, tuple[str, ...]] = {
    "text": (
        "text", "text1", "document", "sentence", "title", "question", "review", "comment", "comments", "content",
        "utterance", "message", "sentence1", "question1", "premise",
    ),
    "text2": ("text2", "sentence2", "question2", "hypothesis"),
    "label": ("label", "labels", "class", "topic_idx", "gold_label", "is_duplicate", "category"),
    "score": ("score", "label", "similarity", "rating"),
}  # fmt: skip
"""What columns are called, the likeliest first; `score` is the label of a regression."""
STDIN = "-"
LOOKED_AT = 1000  # rows that tell which column is which where nothing is named


@dataclass(frozen=True)
class Example:
    """A text, or two, and what is said of it: a label's name, several, or a number; None where nothing is told."""

    text: str
    text2: str | None
    label: str | tuple[str, ...] | float | None
    where: str

    @property
    def key(self) -> str:
        """Its texts as one; equal for equal texts."""
        return self.text if self.text2 is None else f"{self.text}\x1f{self.text2}"


@dataclass(frozen=True)
class Labels:
    """Names by their numbers. `values`: what stands in the data for a name, where that is not the name itself."""

    names: tuple[str, ...]
    values: Mapping[str, str]

    def name(self, value: str, where: str) -> str:
        """The name a value in the data stands for. DataError when it is none of the set."""
        if value in self.values:
            return self.values[value]
        if value not in self.names:
            shown = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
            raise DataError(f"the label {value!r} is not among the labels", where=where, mend=f"They are {shown}.")
        return value

    def number(self, name: str) -> int:
        return self.names.index(name)


def read_examples(
    data: Sequence[str],
    task: Task,
    *,
    columns: Mapping[str, str] | None = None,
    labels: Labels | None = None,
    encoding: str = "auto",
    skip_bad: bool = False,
    labelled: bool = True,
    pairs: bool | None = None,
    skipped: Skipped | None = None,
) -> list[Example]:
    """All examples of files, folders and globs. `labels`: the set they must be of, where it is given.

    `labelled`: False reads texts alone. `pairs`: whether there is a second text; by default a pair needs one and a
    regression takes it where there is one. A row that cannot be used is a DataError, or with `skip_bad` left out."""
    columns = dict(columns or {})
    check_columns(columns, task, pairs)
    skipped = skipped or Skipped(skip_bad, OR_SKIP if labelled else "")
    found = []
    for path in chain.from_iterable([one] if one == STDIN else files_of(one) for one in data):
        rows = read_table(path, columns, encoding, skipped, labelled=labelled)
        roles = roles_of(path, rows, columns, task, labelled=labelled, pairs=pairs)
        for where, row in rows:
            try:
                found.append(example_of(row, roles, task, labels, where))
            except DataError as error:
                skipped.add(error)
    skipped.tell()
    if not found:
        raise DataError("holds no texts", where=", ".join(data), mend="Name files with rows in them.")
    return found


def check_columns(columns: Mapping[str, str], task: Task, pairs: bool | None) -> None:
    """UsageError for a role that is none, or that the task does not read."""
    if unknown := sorted(columns.keys() - set(ROLES)):
        raise UsageError(f"{unknown[0]} is nothing a row has", where="--columns", mend=f"Known: {', '.join(ROLES)}.")
    if "text2" in columns and pairs is None and task not in ("pair", "regression"):
        raise UsageError(f"a second text is not read for {task}", where="--columns", mend="Give --task pair.")
    if "text2" in columns and pairs is False:
        raise UsageError("this model reads one text", where="--columns", mend="Leave text2 out.")
    if "0" in columns.values():
        raise UsageError("columns are counted from 1", where="--columns")


def read_table(
    path: str, columns: Mapping[str, str], encoding: str, skipped: Skipped, *, labelled: bool
) -> list[tuple[str, Row]]:
    """The rows of a file with FILE:LINE. A table whose first line names no columns, and lines of text, have columns
    called by their numbers, from 1."""
    if suffix(path) not in ROW_READERS:
        return text_rows(path, encoding, labelled=labelled)
    known = {*chain.from_iterable(USUAL.values()), *(name.lower() for name in columns.values())}
    return list(read_rows(path, columns={}, encoding=encoding, skipped=skipped, known=known))


def text_rows(path: str, encoding: str, *, labelled: bool) -> list[tuple[str, Row]]:
    """Lines of text as rows, cut at tabs. Of those with labels empty ones are left out, and where no line has a tab
    they are cut after the first word."""
    found = list(sys.stdin if path == STDIN else lines(path, encoding))
    cells = [line.rstrip("\r\n").split("\t") for line in found]
    if labelled and not any("\t" in line for line in found):
        cells = [line.rstrip("\r\n").split(" ", 1) for line in found]
    rows = [(f"{path}:{number}", row) for number, row in enumerate(cells, start=1) if not labelled or any(row)]
    return [(where, {str(place): cell for place, cell in enumerate(row, start=1)}) for where, row in rows]


def roles_of(
    path: str,
    rows: Sequence[tuple[str, Row]],
    columns: Mapping[str, str],
    task: Task,
    *,
    labelled: bool = True,
    pairs: bool | None = None,
) -> dict[str, str]:
    """Role -> column of a file. UsageError for one that must be there and cannot be found."""
    if not rows:
        return {}
    first = rows[0][1]
    wants = {"text": True, "label": labelled, "text2": task == "pair" if pairs is None else pairs}
    roles: dict[str, str] = {}
    for role, named in columns.items():
        column = column_of(first, named, numbered=suffix(path) in TABLES or suffix(path) not in ROW_READERS)
        if column is None:
            there = ", ".join(f"`{name}`" for name in first)
            raise UsageError(f"there is no column `{named}`", where=path, mend=f"There are {there}.")
        if column in roles.values():
            raise UsageError(f"column `{column}` is named twice, also for `{role}`", where="--columns")
        if role != "label" or labelled:
            roles[role] = column
    lower = {name.lower(): name for name in reversed(first)}
    for role, wanted in wants.items():
        usual = USUAL["score" if role == "label" and task == "regression" else role]
        optional = role == "text2" and pairs is None and task == "regression"
        if role not in roles and (wanted or optional):
            free = [lower[name] for name in usual if name in lower and lower[name] not in roles.values()]
            roles |= {role: free[0]} if free else {}
    if labelled and set(first) == {"1", "2"} and not wants["text2"] and len(roles) < 2:
        roles = guessed(path, rows, roles)
    if not labelled and not roles and list(first) in (["1"], ["1", "2"][: 1 + wants["text2"]]):
        roles = dict(zip(("text", "text2"), first, strict=False))
    told = {"text": "texts", "text2": "second texts", "label": "labels"}
    for role, wanted in wants.items():
        if wanted and role not in roles:
            there = ", ".join(f"`{name}`" for name in first)
            mend = f"Name it: --columns {role}=NAME. There are {there}."
            raise UsageError(f"there is no column of {told[role]}", where=path, mend=mend)
    return roles


def column_of(row: Row, named: str, *, numbered: bool) -> str | None:
    """The column of that name, or where columns stand in an order the one in that place, from 1."""
    if named in row:
        return named
    names = list(row)
    if numbered and re.fullmatch(r"[1-9][0-9]{0,3}", named) and int(named) <= len(names):
        return names[int(named) - 1]
    return None


def guessed(path: str, rows: Sequence[tuple[str, Row]], roles: Mapping[str, str]) -> dict[str, str]:
    """Which of two columns without names is the label: the one that was not said to be the text, or the one with fewer
    different values, which must be few. Said on standard error."""
    kinds = {name: len({row.get(name) for _, row in rows[:LOOKED_AT]}) for name in ("1", "2")}
    label = min(kinds, key=lambda name: kinds[name])
    if "text" in roles:
        label = "2" if roles["text"] == "1" else "1"
    label = roles.get("label", label)
    text = "2" if label == "1" else "1"
    if not roles and kinds[label] > max(2, len(rows[:LOOKED_AT]) // 2):
        mend = "Name the columns: --columns label=1 --columns text=2."
        raise UsageError("no column looks like labels: nearly every row has another value", where=path, mend=mend)
    print(
        f"{path}: columns have no names; column {label} is taken for the label, {text} for the text.", file=sys.stderr
    )
    return {"text": text, "label": label}


def example_of(row: Row, roles: Mapping[str, str], task: Task, labels: Labels | None, where: str) -> Example:
    """A row as an example. DataError for an empty text, a pair without a second one, a label that cannot be used."""
    text = text_of(row.get(roles["text"]), "the text", where)
    if not text:
        raise DataError("the text is empty", where=where)
    text2 = None
    if "text2" in roles:
        text2 = text_of(row.get(roles["text2"]), "the second text", where)
        if not text2:
            raise DataError("a pair needs a second text", where=where)
    label = label_of(row.get(roles["label"]), task, labels, where) if "label" in roles else None
    return Example(text, text2, label, where)


def text_of(value: Any, name: str, where: str) -> str:
    if value is not None and not isinstance(value, str):
        raise DataError(f"{name} is no text but {type(value).__name__}", where=where)
    return clean(value or "")


def label_of(value: Any, task: Task, labels: Labels | None, where: str) -> str | tuple[str, ...] | float:
    """What a row says of its text."""
    if task == "regression":
        return number_of(value, where)
    if task == "multilabel":
        return tuple(labels.name(name, where) if labels else name for name in several(value, where))
    if isinstance(value, list | dict) or value is None or not str(value).strip():
        what = "there is no label" if not isinstance(value, list | dict) else "the label is a list"
        raise DataError(
            what, where=where, mend="Several labels a text are --task multilabel." * isinstance(value, list)
        )
    name = clean(str(value))
    return labels.name(name, where) if labels else name


def number_of(value: Any, where: str) -> float:
    """A finite number. DataError for anything else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"a regression needs a number, not {value!r}", where=where)
    return number


def several(value: Any, where: str) -> tuple[str, ...]:
    """The labels of a text: a list, or in one string set apart by | or commas. Each once, in the order they stand."""
    if value is None:
        value = []
    parts = re.split(r"\|" if "|" in value else ",", value) if isinstance(value, str) else value
    if not isinstance(parts, list) or any(isinstance(part, list | dict) or part is None for part in parts):
        raise DataError(f"labels are a list of names, not {value!r}", where=where)
    names = [clean(str(part)) for part in parts]
    return tuple(dict.fromkeys(name for name in names if name))


def read_labels(path: Path, encoding: str = "auto") -> Labels:
    """A file of labels: a name a line, whose values in the data may also be their places from 0; or names and values,
    set apart by a comma or a tab, of which the values are whole numbers. DataError when it is neither."""
    where = str(path)
    texts = [line.strip() for line in lines(where, encoding) if line.strip()]
    separator = "\t" if any("\t" in line for line in texts) else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(texts, delimiter=separator)]
    if rows and len(rows[0]) == 2 and not any(is_number(cell) for cell in rows[0]):
        rows = rows[1:]  # it names the columns
    if not rows or {len(row) for row in rows} not in ({1}, {2}):
        raise DataError("is no list of labels", where=where, mend="One name a line, or a name and a number.")
    if len(rows[0]) == 1:
        names = [row[0] for row in rows]
        values = {} if any(map(is_number, names)) else {str(place): name for place, name in enumerate(names)}
    else:
        column = 0 if all(is_number(row[0]) for row in rows) else 1
        if not all(is_number(row[column]) for row in rows):
            raise DataError("holds two columns, and neither is all whole numbers", where=where)
        pairs = sorted((int(row[column]), row[1 - column]) for row in rows)
        names = [name for _, name in pairs]
        values = {str(number): name for number, name in pairs}
    if len(set(names)) < len(names) or (values and len(values) < len(names)):
        raise DataError("names a label twice", where=where)
    return Labels(tuple(names), values)


def is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+", text) is not None


def labels_of(examples: Iterable[Example]) -> Labels:
    """The labels that stand in the data, whole numbers by their size, others by the alphabet."""
    names = {name for example in examples for name in names_of(example)}
    by_size = all(is_number(name) for name in names)
    return Labels(tuple(sorted(names, key=lambda name: (int(name), name) if by_size else (0, name))), {})


def names_of(example: Example) -> tuple[str, ...]:
    """The labels of an example; none for a number."""
    if isinstance(example.label, str):
        return (example.label,)
    return example.label if isinstance(example.label, tuple) else ()


def check_labels(examples: Sequence[Example], labels: Labels, task: Task) -> None:
    """DataError where there is nothing to learn: one label only, or fewer rows than labels."""
    if task == "regression":
        if len({example.label for example in examples}) == 1:
            raise DataError(
                f"all rows have the number {examples[0].label}", mend="There is nothing to learn from them."
            )
        return
    counts = Counter(name for example in examples for name in names_of(example))
    if task != "multilabel" and len(counts) == 1:
        mend = "A classifier needs texts of two labels at least."
        raise DataError(f"all rows have the label {next(iter(counts))!r}", mend=mend)
    if not labels.names or not counts:
        raise DataError("no row has a label", mend="A classifier needs texts with labels.")
    if len(examples) < len(labels.names):
        what = f"there are {len(examples)} rows for {len(labels.names)} labels"
        raise DataError(what, mend="Is it the right column? See --columns.")


def split(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """What is learned and what is held back, by the hash of each text: equal texts are on one side."""
    return split_by(examples, share, lambda example: example.key)


def split_by(items: Iterable[Item], share: float, key: Callable[[Item], str]) -> tuple[list[Item], list[Item]]:
    """What is learned and what is held back, by the hash of a key: items of equal keys are on one side."""
    learned: list[Item] = []
    held_back: list[Item] = []
    for item in items:
        digest = xxhash.xxh3_64_intdigest(key(item).encode("utf-8", "surrogatepass"))
        (held_back if digest / 2**64 < share else learned).append(item)
    return learned, held_back


def fingerprint(examples: Iterable[Example]) -> str:
    """Changes with every text and every label."""
    hasher = xxhash.xxh3_64()
    for example in examples:
        hasher.update(f"{example.key}\x1e{example.label!r}\x1e".encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()
