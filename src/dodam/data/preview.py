"""Command `preview`: what rows are read as by the commands that train on them; all of them checked, and converted.

In: files of rows in any known form. Out: a table of what they can be read as, the first rows as they are understood,
the first that cannot be used, by line; with `--out` all that can, in Dodam's own form, which every command reads.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from annotated_types import Ge, MinLen

from dodam import files
from dodam.data.skipped import Skipped
from dodam.data.sources import documents, inputs_of, read_rows
from dodam.errors import DataError, UsageError

PROBLEMS = 5  # that are shown
COLUMNS = "Name the columns, by name or by place: --columns prompt=q target=a, --columns source=2 target=1."
LONGEST = 160  # characters shown of a text

KindName = Literal["rankings", "questions", "entities", "conversations", "pairs", "triplets", "labels", "texts"]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Show what rows are read as, check all of them, and convert them."""

    positional: ClassVar[tuple[str, ...]] = ("data",)

    data: Annotated[tuple[str, ...], MinLen(1)]
    """Files, folders or globs of rows in any known form."""
    kind: KindName | None = None
    """What to read them as. Default: whatever reads most of them."""
    task: Literal["single", "multilabel", "pair", "regression"] | None = None
    """What `classify` is to do with labels. Default: pair where rows have two texts, else single."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which columns hold what, when they cannot be found out: prompt=q target=a."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; auto finds it out."""
    shown: Annotated[int, Ge(0)] = 3
    """Rows to show."""
    out: Path | None = None
    """Write all rows that can be used to this JSONL file, in the form that every command reads."""


class Problems(Skipped):
    """All rows that cannot be used are counted, and the preview tells of the first."""

    def tell(self) -> None:
        """Not here."""


class Item(NamedTuple):
    """A row as it is understood: where it stands, and in the form it is written in."""

    where: str
    row: Row


class Kind(NamedTuple):
    """Something rows can be read as."""

    commands: str
    read: Callable[[Preview, Skipped], Iterable[Item]]


class Read(NamedTuple):
    """What came of reading rows as one kind."""

    items: list[Item]
    problems: Problems
    refused: str
    """Why nothing could be read at all."""


def run(config: Preview) -> dict[str, Any]:
    """Read the rows as each kind, or as the one named. DataError where they cannot be read as any."""
    names = [config.kind] if config.kind else list(KINDS)
    read = {name: _read(config, name) for name in names}
    best = max(names, key=lambda name: len(read[name].items))  # of equal ones the first, which asks for most
    if not read[best].items:
        raise _why(config, read)
    print(_table(read, best))
    items, problems = read[best].items, read[best].problems
    if config.shown:
        print(f"\nThe first as {best}:")
        for item in items[: config.shown]:
            print("\n".join(_shown(item)))
    if problems.count:
        print(f"\n{problems.count:,} cannot be used as {best}:")
        print("\n".join(f"  {one}" for one in problems.named[:PROBLEMS]))
        if problems.count > PROBLEMS:
            print(f"  and {problems.count - PROBLEMS:,} more")
    if config.out is not None:
        write(config.out, items)
        print(f"\n{len(items):,} rows in {config.out}, for {KINDS[best].commands}.")
    return {
        "kind": best,
        "rows": len(items),
        "unusable": problems.count,
        "problems": problems.named[:PROBLEMS],
        "kinds": {name: len(one.items) for name, one in read.items() if one.items},
        "out": config.out and str(config.out),
    }


def _read(config: Preview, name: KindName) -> Read:
    """The rows as one kind. Only where this kind was asked for is an error of the flags an error."""
    problems = Problems(allowed=True)
    try:
        return Read(list(KINDS[name].read(config, problems)), problems, "")
    except (DataError, UsageError) as error:
        if config.kind and not (isinstance(error, DataError) and problems.count):
            raise
        return Read([], problems, str(error))


def _why(config: Preview, read: dict[KindName, Read]) -> DataError:
    """Why rows cannot be read: as the one kind says it; of all kinds what the first row is, or that there is none."""
    where = ", ".join(config.data)
    if config.kind:
        one = read[config.kind]
        return DataError(f"no row can be read; {one.problems.first or one.refused}", where=where, mend=COLUMNS)
    skipped = Skipped(True)
    choices: dict[str, Any] = {"columns": {}, "encoding": config.encoding, "skipped": skipped}
    first = next(chain.from_iterable(read_rows(path, **choices) for path in config.data), None)
    if first is None:
        return DataError(f"holds no rows. {skipped.first}".strip(), where=where)
    names = ", ".join(f"`{name}`" for name in first[1])
    missing = [name for name in config.columns.values() if name not in first[1]]
    if missing:
        return DataError(f"there is no column `{missing[0]}`", where=first[0], mend=f"There are {names}.")
    kinds = f"Or see what is wrong with the rows as one kind: --kind NAME ({', '.join(KINDS)})."
    return DataError(f"no row can be read; the first has the columns {names}", where=where, mend=f"{COLUMNS} {kinds}")


def _table(read: dict[KindName, Read], best: KindName) -> str:
    lines = ["| Read as | Rows | Not usable | For |", "| --- | ---: | ---: | --- |"]
    for name, one in sorted(read.items(), key=lambda entry: (entry[0] != best, -len(entry[1].items))):
        if one.items:
            lines.append(f"| {name} | {len(one.items):,} | {one.problems.count:,} | {KINDS[name].commands} |")
    return "\n".join(lines)


def _shown(item: Item) -> Iterator[str]:
    yield f"  {item.where}"
    for name, value in item.row.items():
        if name in ("messages", "prompt") and isinstance(value, list):
            for message in value:
                yield f"    {message['role']}: {_cut(message['content'])}"
        elif name == "answers" and "ranks" in item.row:
            texts = [answer["text"] if isinstance(answer, dict) else answer for answer in value]
            for rank, text in sorted(zip(item.row["ranks"], texts, strict=True)):
                yield f"    {rank}. {_cut(text)}"
        elif name != "ranks":
            yield f"    {name}: {_cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}"


def _cut(text: str) -> str:
    text = text.replace("\n", "⏎")
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def write(path: Path, items: Iterable[Item]) -> None:
    """The rows as JSONL; the file is whole or not there."""
    if path.suffix != ".jsonl":
        raise UsageError("rows are written as JSONL", where=str(path), mend="Name a file that ends in .jsonl.")
    with files.new_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(item.row, ensure_ascii=False) + "\n")


def _conversations(config: Preview, skipped: Skipped) -> Iterator[Item]:
    from dodam.data.conversation import read_conversations

    for one in read_conversations(config.data, columns=config.columns, encoding=config.encoding, skipped=skipped):
        yield Item(one.where, {"messages": one.messages} | ({"task": one.task} if one.task else {}))


def _pairs(config: Preview, skipped: Skipped) -> Iterator[Item]:
    from dodam.data.pairs import read_pairs

    for one in read_pairs(config.data, columns=config.columns, encoding=config.encoding, skipped=skipped):
        yield Item(one.where, {"source": one.source, "target": one.target})


def _rankings(config: Preview, skipped: Skipped) -> Iterator[Item]:
    from dodam.data.preferences import read_rankings

    for one in read_rankings(config.data, columns=config.columns, encoding=config.encoding, skipped=skipped):
        row: Row = {"prompt": one.prompt, "ranks": list(one.ranks)}
        if one.scores is None:
            row["answers"] = list(one.answers)
        else:
            scored = zip(one.answers, one.scores, strict=True)
            row["answers"] = [{"text": text, "score": score} for text, score in scored]
        row |= {name: value for name in ("id", "task", "annotator") if (value := getattr(one, name))}
        yield Item(one.where, row)


def _labels(config: Preview, skipped: Skipped) -> Iterator[Item]:
    from dodam.data.labels import read_examples

    choices = {"columns": config.columns, "encoding": config.encoding, "skipped": skipped}
    try:
        found = read_examples(config.data, config.task or "pair", **choices)
    except UsageError:
        if config.task:
            raise
        found = read_examples(config.data, "single", **choices)
    for one in found:
        label = list(one.label) if isinstance(one.label, tuple) else one.label
        second = {} if one.text2 is None else {"text2": one.text2}
        yield Item(one.where, {"text": one.text, **second, "score" if config.task == "regression" else "label": label})


def _entities(config: Preview, skipped: Skipped) -> Iterator[Item]:
    from dodam.data.entities import read_tagged

    for one in read_tagged(config.data, columns=config.columns, encoding=config.encoding, skipped=skipped):
        yield Item(one.where, {"text": one.text, "entities": [entity._asdict() for entity in one.entities]})


def _questions(config: Preview, skipped: Skipped) -> Iterator[Item]:
    from dodam.data.questions import read_questions

    for one in read_questions(config.data, columns=config.columns, encoding=config.encoding, skipped=skipped):
        answers = [{"text": answer.text, "answer_start": answer.start} for answer in one.answers]
        row = {"context": one.context, "question": one.question, "answers": answers}
        yield Item(one.where, row if one.article == one.context else {**row, "title": one.article})


def _triplets(config: Preview, skipped: Skipped) -> Iterator[Item]:
    from dodam.data.triplets import read_triplets

    for one in read_triplets(config.data, columns=config.columns, encoding=config.encoding, skipped=skipped):
        if one.alone:
            continue  # texts alone can be read out of anything
        negative = {} if one.negative is None else {"negative": one.negative}
        yield Item(one.where, {"anchor": one.anchor, "positive": one.positive, **negative})


def _texts(config: Preview, skipped: Skipped) -> Iterator[Item]:
    found = documents(
        inputs_of(config.data, skipped), columns=config.columns, encoding=config.encoding, skipped=skipped, told=False
    )
    for one in found:
        if one.text:
            yield Item(one.id, {"text": one.text} | ({"license": one.license} if one.license else {}))


KINDS: dict[KindName, Kind] = {
    "rankings": Kind("dodam reward, dodam dpo, dodam feedback import", _rankings),
    "questions": Kind("dodam classify --task span", _questions),
    "entities": Kind("dodam classify --task tokens", _entities),
    "conversations": Kind("dodam sft", _conversations),
    "pairs": Kind("dodam seq2seq", _pairs),
    "triplets": Kind("dodam embed", _triplets),
    "labels": Kind("dodam classify (--task pair for two texts)", _labels),
    "texts": Kind("dodam prepare, dodam tokenizer train", _texts),
}
"""In this order: of two that read the same rows, the one that asks for more comes first."""
