"""Tasks out of statutes and petitions: write a title, tell the type or the topic; and ROUGE beside the lead sentence.

    python bench/headings.py write --law law.jsonl.gz --petitions petitions.jsonl.gz --out DIR [--longest 600]
    python bench/headings.py score DIR/heading.dev.jsonl [--model MODEL | --answers GIVEN.jsonl] [--most 500]

`write` makes DIR/TASK.train.jsonl and TASK.dev.jsonl of four tasks: heading and title (rows for `dodam sft`, held back
as items for `dodam evaluate`), type and topic (rows for `dodam classify`); and of law and petitions the same texts
whole, for `dodam prepare`. What is held back is cut by a hash: a statute by its name, so that an act and its decree are
on one side; a petition by its text. `score` prints a JSON line for each writer, unit and measure, with its 95%
interval: MODEL, the lead sentence, and its first words.
"""

import argparse
import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import files
from dodam.data.sources import rows
from dodam.data.text import clean
from dodam.errors import DataError, DodamError, UsageError
from dodam.evaluate import score

ARTICLE = re.compile(r"제\d+조(?:의\d+)?\s*(?:\((?P<heading>.+)\))?\s*")  # a line of its own
DIVISION = re.compile(r"\s*제\d+(?:편|장|절|관)(?:의\d+)?(?:\s.*)?")
SUPPLEMENT = re.compile(r"^\s*부칙.*$", re.MULTILINE)
SENTENCE = re.compile(r".+?(?:(?<!\d)[.!?…]+(?=\s|$)|\n|$)", re.DOTALL)
MARK = re.compile(r"^(?:[①-⑳]|\d+\.|[가-하]\.)\s*")  # of a paragraph or a point
TYPES = ("법률", "시행령", "시행규칙", "대통령령", "대법원규칙", "헌법재판소규칙")
ASKED = {"heading": "다음 조문에 제목을 붙여 주세요.", "title": "다음 청원에 제목을 붙여 주세요."}
WHOLE = ("law", "petitions")
FEWEST = 10  # characters of an article's text; what is shorter says nothing
TYPE_LENGTH = 2_000  # characters of a statute that its type is told from


class Row(NamedTuple):
    """A text, what is wanted for it, and the key that decides on which side it is."""

    text: str
    wanted: str
    key: str


def main_part(text: str) -> str:
    """A statute without its name, its first line, and without its supplementary provisions."""
    body = text.partition("\n")[2]
    found = SUPPLEMENT.search(body)
    return body[: found.start()] if found else body


def articles(text: str) -> Iterator[tuple[str, str]]:
    """(heading, text) of every article of a statute that has both. An article begins with a line `제2조의3 (heading)`
    and ends where the next one, a chapter or the supplement begins."""
    heading, lines = "", []
    for line in [*main_part(text).splitlines(), "제0조"]:
        begins = ARTICLE.fullmatch(line)
        if not begins and not DIVISION.fullmatch(line):
            lines.append(line)
            continue
        body = clean("\n".join(lines))
        if heading and len(body) >= FEWEST and not body.startswith("삭제"):
            yield heading, body
        heading, lines = clean(begins["heading"] or "") if begins else "", []


def statute_type(identity: str) -> str:
    """What kind of law `형법/법률` is, by what stands behind its name; ministries' ordinances are one kind."""
    kind = re.sub(r"\(.*\)$", "", identity.rpartition("/")[2])
    if kind in TYPES:
        return kind
    return "부령" if kind.endswith("부령") else "기타"


def of_law(path: str, longest: int) -> dict[str, list[Row]]:
    """Rows of the tasks heading and type."""
    found: dict[str, list[Row]] = {"heading": [], "type": [], "law": []}
    for where, row in rows(path):
        identity, text = column(row, "id", where), column(row, "text", where)
        name = identity.partition("/")[0]
        found["heading"] += [Row(cut(body, longest), heading, name) for heading, body in articles(text)]
        found["law"].append(Row(text, "", name))
        if body := clean(main_part(text)):
            found["type"].append(Row(cut(body, TYPE_LENGTH), statute_type(identity), name))
    return found


def of_petitions(path: str, longest: int) -> dict[str, list[Row]]:
    """Rows of the tasks title and topic."""
    found: dict[str, list[Row]] = {"title": [], "topic": [], "petitions": []}
    for where, row in rows(path):
        text, title, category = (clean(column(row, name, where)) for name in ("text", "title", "category"))
        if text and title:
            found["title"].append(Row(cut(text, longest), title, text))
            found["topic"].append(Row(cut(f"{title}\n\n{text}", longest), category, text))
            found["petitions"].append(Row(f"{title}\n\n{text}", "", text))
    return found


def column(row: dict[str, Any], name: str, where: str) -> str:
    if not isinstance(row.get(name), str):
        raise DataError(f"there is no `{name}`", where=where)
    return row[name]


def cut(text: str, longest: int) -> str:
    """The beginning of a text, up to the last space within `longest` characters."""
    return text if len(text) <= longest else text[:longest].rpartition(" ")[0] or text[:longest]


def place(key: str) -> float:
    """Where in 0..1 a hash puts a key."""
    return xxhash.xxh3_64_intdigest(f"held back\x1e{key}".encode("utf-8", "surrogatepass")) / 2**64


def write_task(out: Path, task: str, found: Sequence[Row], validation: float) -> dict[str, Any]:
    """Write a task's two files, the held-back part in an order drawn by hash; returns their sizes."""
    learned = [row for row in found if place(row.key) >= validation]
    held_back = sorted((row for row in found if place(row.key) < validation), key=lambda row: place(f"{row}"))
    if not learned or not held_back:
        raise DataError(f"{len(found)} rows of {task} leave one side empty", where=str(out))
    for name, part in (("train", learned), ("dev", held_back)):
        lines = [json.dumps(shaped(task, row, name == "train"), ensure_ascii=False) + "\n" for row in part]
        files.write_atomic(out / f"{task}.{name}.jsonl", "".join(lines))
    told: dict[str, Any] = {"task": task, "train": len(learned), "dev": len(held_back)}
    if task in ASKED:
        known = {row.wanted for row in learned}
        return {**told, "new": sum(row.wanted not in known for row in held_back)}
    return told if task in WHOLE else {**told, "labels": Counter(row.wanted for row in found)}


def shaped(task: str, row: Row, learned: bool) -> dict[str, Any]:
    """A row as the command wants it that is to read it."""
    if task in WHOLE:
        return {"text": row.text}
    if task not in ASKED:
        return {"text": row.text, "label": row.wanted}
    question = {"role": "user", "content": f"{ASKED[task]}\n\n{row.text}"}
    if learned:
        return {"task": task, "messages": [question, {"role": "assistant", "content": row.wanted}]}
    about = {"task": task, "language": "ko", "messages": [question]}
    return {**about, "answer": row.wanted, "metric": "rouge", "text": row.text}


def lead(text: str) -> str:
    """The first sentence of a text, without the mark of its paragraph."""
    found = SENTENCE.match(MARK.sub("", text.lstrip()))
    return found.group().strip() if found else ""


MEASURES: dict[str, Callable[[str, str, score.Cut], float]] = {
    "rouge-1": lambda given, answer, unit: score.rouge_n(given, answer, 1, unit),
    "rouge-2": lambda given, answer, unit: score.rouge_n(given, answer, 2, unit),
    "rouge-l": score.rouge_l,
}
UNITS: dict[str, score.Cut] = {"syllables": score.units, "eojeols": score.eojeols}


def scores(writer: str, given: Sequence[str], items: Sequence[dict[str, Any]], part: str) -> Iterator[dict[str, Any]]:
    """A row for every unit and measure of what one writer wrote."""
    for unit, cut_up in UNITS.items():
        for name, measure in MEASURES.items():
            each = [measure(text, item["answer"], cut_up) for text, item in zip(given, items, strict=True)]
            value, low, high = (round(number, 2) for number in score.interval(each, 100.0, 0))
            about = {"writer": writer, "rows": part, "metric": name, "unit": unit}
            yield {**about, "value": value, "low": low, "high": high, "n": len(items)}


def written(
    options: argparse.Namespace, items: Sequence[dict[str, Any]], titles: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """Each writer and what it wrote for the items. `titles` are those of the training rows."""
    leads, average = [lead(item["text"]) for item in items], round(statistics.mean(len(one.split()) for one in titles))
    yield "lead", leads
    yield "lead words", [" ".join(text.split()[:average]) for text in leads]
    if options.answers:
        answers = [row["text"] for _, row in rows(str(options.answers))][: len(items)]
        if len(answers) < len(items):
            raise DataError(f"holds {len(answers)} answers for {len(items)} items", where=str(options.answers))
        yield str(options.answers), answers
    if options.model:
        from dodam import machine as machines
        from dodam.evaluate.answer import answer
        from dodam.folder import load_model

        machine = machines.look("auto")
        machines.use(machine)
        loaded = load_model(options.model, device=machine.device)
        yield str(options.model), [one.text for one in answer(loaded, items)]


def score_items(options: argparse.Namespace) -> None:
    """Print what each writer scores, on all items and on those whose title no training row has."""
    items = [row for _, row in rows(str(options.items))][: options.most]
    train = options.items.with_name(options.items.name.replace(".dev.", ".train."))
    titles = [row["messages"][-1]["content"] for _, row in rows(str(train))]
    known = set(titles)
    new = [number for number, item in enumerate(items) if item["answer"] not in known]
    for writer, given in written(options, items, titles):
        for part, picks in (("all", range(len(items))), ("new", new)):
            if picks:
                picked = [given[number] for number in picks], [items[number] for number in picks]
                for row in scores(writer, *picked, part):
                    print(json.dumps(row, ensure_ascii=False), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("write")
    write.add_argument("--law")
    write.add_argument("--petitions")
    write.add_argument("--out", type=Path, required=True)
    write.add_argument("--validation", type=float, default=0.1)
    write.add_argument("--longest", type=int, default=600, help="characters of an article or a petition")
    scoring = verbs.add_parser("score")
    scoring.add_argument("items", type=Path)
    scoring.add_argument("--model", type=Path)
    scoring.add_argument("--answers", type=Path, help='JSONL of {"text"} in the order of the items')
    scoring.add_argument("--most", type=int, default=None, help="only the first so many items")
    options = parser.parse_args(arguments)
    if options.verb == "score":
        score_items(options)
        return
    if not options.law and not options.petitions:
        raise UsageError("nothing to make tasks of", mend="Name --law, --petitions or both.")
    found = of_law(options.law, options.longest) if options.law else {}
    found |= of_petitions(options.petitions, options.longest) if options.petitions else {}
    for task, part in found.items():
        print(json.dumps(write_task(options.out, task, part, options.validation), ensure_ascii=False))


if __name__ == "__main__":
    try:
        main()
    except DodamError as error:
        sys.exit(f"headings: {error}")
