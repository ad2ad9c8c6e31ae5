"""Stage `evaluate`: models and tasks -> a report with intervals, a picture and samples.

What it reads: model folders, and tasks: those of the bundled world, `bits-per-byte` on any text, or files of
one's own items (JSONL: `task`, `messages` or `prompt`, `answer`, `metric`). What it writes: report.json,
report.md, report.png, samples.md. What is measured once is kept in partial.json, so a run that was stopped goes
on.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Gt, MinLen

from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    from dodam.folder import LoadedModel

BITS = "bits-per-byte"
SAMPLE_TASKS = (
    "facts", "unasked", "translation", "sentiment", "table", "summary",
    "words-direct", "words-steps", "words-direct-new-phrasing", "words-steps-new-phrasing",
)  # fmt: skip
MEASURED = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json",
)  # fmt: skip
SHOWN = 5  # right and wrong answers of each task in samples.md


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure models and write a report."""

    positional: ClassVar[tuple[str, ...]] = ("model",)

    model: Annotated[tuple[str, ...], MinLen(1)]
    """Model or run folders; `label=FOLDER` gives one a name in the report."""
    task: tuple[str, ...] = ()
    """Tasks of the bundled world by name (`sample` for all of them, `sample:problems-tests` for harder word problems),
    files of items, or bits-per-byte. Default: bits-per-byte where --data is given, else all tasks of the bundled
    world."""
    data: tuple[str, ...] = ()
    """Text for bits-per-byte: what `prepare` reads, or a data folder (its held-back part); or `sample:tests` for all
    tasks of the bundled world."""
    out: Path = Path("report")
    """The folder to write."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which column of the data holds the text: text=body."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    limit: Annotated[int, Ge(0)] = 0
    """Only the first so many items of each task, and texts of each source; 0 takes all."""
    batch: Annotated[int, Gt(0)] = 96
    """Answers written side by side."""
    seed: int = 0
    """Seed of the intervals."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    threads: Annotated[int, Gt(0)] | None = None
    """CPU threads. Default: all cores this process may use."""


def run(config: Evaluate) -> dict[str, Any]:
    """Measure every model on every task and write the report. See the file's head."""
    from dodam import files
    from dodam import machine as machines
    from dodam.evaluate import report
    from dodam.evaluate.answer import LONG, SHORT
    from dodam.folder import load_model

    machine = machines.look(config.device, config.threads)
    machines.use(machine)
    models = labelled(config.model)
    tasks, texts = read_items(config), read_texts(config)
    if not tasks and not texts:
        raise UsageError("nothing to measure", where="--task", mend="Name tasks, or text with --data.")
    kept_file = config.out / "partial.json"
    kept = files.read_json(kept_file) if kept_file.is_file() else {}
    rows, samples = [], {}
    for label, path in models.items():
        loaded = load_model(path, device=machine.device)
        mark = model_mark(loaded.path)
        jobs: list[tuple[str, list[Any]]] = [*tasks.items(), *([(BITS, texts)] if texts else [])]
        for name, content in jobs:
            key = files_key(mark, name, content, config)
            if key not in kept:
                print(f"evaluate: {label}, {name} ({len(content)})", file=sys.stderr, flush=True)
                measure = measure_texts if name == BITS else measure_items
                kept[key] = measure(loaded, name, content, config)
                files.write_json(kept_file, kept)
            rows += [{"model": label, **row} for row in kept[key]["rows"]]
            samples[label, name] = kept[key]["samples"]
    decoding = {"temperature": 0.0, "max_tokens": {"short": SHORT, "long": LONG}, "batch": config.batch}
    return report.write(config.out, rows, samples, decoding=decoding, seed=config.seed, models=models)


def labelled(models: tuple[str, ...]) -> dict[str, Path]:
    """Label -> folder; without a label the folder's name. UsageError when two have the same."""
    found: dict[str, Path] = {}
    for entry in models:
        label, equals, path = entry.partition("=")
        if not equals:
            path = entry
            name = Path(entry).absolute()
            label = name.parent.name if name.name == "model" else name.name
        if label in found:
            raise UsageError(f"two models are called {label!r}", where="MODEL", mend="Name them: label=FOLDER.")
        found[label] = Path(path)
    return found


def read_items(config: Evaluate) -> dict[str, list[dict[str, Any]]]:
    """Items of every task asked for, in the order of the report. Errors name file and line."""
    from dodam.data.sources import SAMPLE

    wanted = list(config.task)
    if not wanted and (not config.data or "sample:tests" in config.data):
        wanted = ["sample"]
    if "sample" in wanted:
        wanted = [task for name in wanted for task in (SAMPLE_TASKS if name == "sample" else [name])]
    found: dict[str, list[dict[str, Any]]] = {}
    bundled = [task for task in wanted if task in SAMPLE_TASKS]
    if bundled:
        for where, item in item_rows("sample:tests"):
            if item["task"] in bundled:
                add(found, checked(item, where), where)
        found = {task: found[task] for task in bundled}
    for name in wanted:
        if name not in SAMPLE_TASKS and name != BITS:
            if not Path(name).is_file() and not name.startswith(SAMPLE):
                mend = f"Tasks are {', '.join(SAMPLE_TASKS)}, {BITS}, sample, or a JSONL file of items."
                raise UsageError(f"there is no task {name!r}", where="--task", mend=mend)
            for where, item in item_rows(name, config.encoding):
                add(found, checked(item, where), where)
    return {task: items[: config.limit] if config.limit else items for task, items in found.items()}


def item_rows(path: str, encoding: str = "auto") -> Iterator[tuple[str, dict[str, Any]]]:
    from dodam.data.skipped import Skipped
    from dodam.data.sources import read_rows

    yield from read_rows(path, columns={}, encoding=encoding, skipped=Skipped(False))


def add(found: dict[str, list[dict[str, Any]]], item: dict[str, Any], where: str) -> None:
    """Put an item to the others of its task. DataError when they have another metric."""
    items = found.setdefault(item["task"], [])
    if items and items[0]["metric"] != item["metric"]:
        what = f"the task {item['task']!r} has items of two metrics, {items[0]['metric']} and {item['metric']}"
        raise DataError(what, where=where, mend="Give one of them another `task`.")
    items.append(item)


def checked(item: dict[str, Any], where: str) -> dict[str, Any]:
    """The item with its defaults and its answer as text. DataError when something is missing or cannot be used."""
    from dodam.evaluate.score import METRICS

    given = {key: value for key, value in item.items() if value is not None and value != ""}
    item = {"task": Path(where.rsplit(":", 1)[0]).stem, "metric": "exact", **given}
    if "answer" not in item or not (("messages" in item) ^ ("prompt" in item)):
        raise DataError("an item needs `answer` and one of `messages` and `prompt`", where=where)
    if str(item["metric"]) not in METRICS:
        raise DataError(
            f"there is no metric {item['metric']!r}", where=where, mend=f"Metrics are {', '.join(METRICS)}."
        )
    if not isinstance(item["task"], str) or item["task"].partition(":")[0] == BITS:
        raise DataError(f"a task of items cannot be called {item['task']!r}", where=where, mend="Name it with `task`.")
    if not isinstance(item.get("prompt", ""), str):
        raise DataError(f"`prompt` is no text but {type(item['prompt']).__name__}", where=where)
    if "messages" in item:
        item["messages"] = checked_messages(item["messages"], where)
    return {**item, "answer": checked_answer(item["answer"], item["metric"], where)}


def checked_messages(messages: Any, where: str) -> list[dict[str, str]]:
    """What the model is told, to the end of the user's last turn."""
    from dodam.data.conversation import message_of

    if not isinstance(messages, list):
        raise DataError(f"`messages` is no list but {type(messages).__name__}", where=where)
    found = [message_of(turn, where) for turn in messages]
    if not found or found[-1]["role"] != "user" or not all(message["content"] for message in found):
        raise DataError("`messages` must end with the user's turn, and none may be empty", where=where)
    return found


def checked_answer(answer: Any, metric: str, where: str) -> str:
    """The right answer as text; for the metric `number` one that is a number."""
    from dodam.data.conversation import text_of
    from dodam.evaluate.score import NUMBER, normal

    answer = text_of(answer, where)
    if not normal(answer):
        raise DataError("the answer is empty", where=where)
    if metric == "number" and not NUMBER.fullmatch(normal(answer)):
        raise DataError(f"the metric `number` needs a number as the answer, not {answer!r}", where=where)
    return answer


def read_texts(config: Evaluate) -> list[tuple[str, str]]:
    """(source, text) for bits per byte: of a data folder its held-back part, else everything."""
    from dodam.data.documents import read_documents
    from dodam.data.skipped import Skipped
    from dodam.data.sources import documents, inputs_of

    plain = [path for path in config.data if path != "sample:tests"]
    if config.task and BITS not in config.task:
        if plain:
            raise UsageError(f"--data is read for {BITS} only", mend=f"Add --task {BITS}.")
        return []
    found: list[tuple[str, str]] = []
    for path in [path for path in plain if (Path(path) / "manifest.json").is_file()]:
        found += [(row["source"], row["text"]) for row in read_documents(path, "validation")]
    loose = [path for path in plain if not (Path(path) / "manifest.json").is_file()]
    if loose:
        read = documents(inputs_of(loose), columns=config.columns, encoding=config.encoding, skipped=Skipped(False))
        found += [(document.source, document.text) for document in read]
    if BITS in config.task and not found:
        raise UsageError(f"{BITS} needs text", where="--data", mend="Name text or a data folder.")
    if config.limit:
        seen: dict[str, int] = {}
        for source, _ in found:
            seen[source] = seen.get(source, 0) + 1
        counts = dict.fromkeys(seen, 0)
        kept = []
        for source, text in found:
            counts[source] += 1
            if counts[source] <= config.limit:
                kept.append((source, text))
        found = kept
    return found


def model_mark(folder: Path) -> str:
    """Changes when what is measured does: the files of the model folder, or dodam itself."""
    from dodam import __version__, files
    from dodam.config import fingerprint

    weights = sorted(path.name for path in folder.glob("model*.safetensors"))  # of a large model there are several
    found = {name: files.xxh3(folder / name) for name in (*MEASURED, *weights) if (folder / name).is_file()}
    return fingerprint({"dodam": __version__, **found})


def files_key(mark: str, name: str, content: Any, config: Evaluate) -> str:
    """What a kept measurement depends on: model and dodam, task, items, seed."""
    import xxhash

    digest = xxhash.xxh3_64(repr(content).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{mark}-{name}-{digest}-{config.seed}"


def measure_items(loaded: "LoadedModel", name: str, items: list[dict[str, Any]], config: Evaluate) -> dict[str, Any]:
    """One task's row, and some right and wrong answers."""
    from dodam.evaluate import score
    from dodam.evaluate.answer import answer

    start = time.perf_counter()
    answered = answer(loaded, items, config.batch)
    metric, _, largest = score.METRICS[items[0]["metric"]]
    value, low, high = score.interval([one.score for one in answered], largest, config.seed)
    seconds = round(time.perf_counter() - start, 2)
    row = {
        "task": name,
        "metric": metric,
        "value": value,
        "low": low,
        "high": high,
        "n": len(items),
        "seconds": seconds,
    }
    good = 1.0 if largest == 1.0 else 70.0
    shown = [one for one in answered if one.score >= good][:SHOWN] + [one for one in answered if one.score < good][
        :SHOWN
    ]
    samples = [
        {
            "asked": one.item.get("prompt") or one.item["messages"][-1]["content"],
            "answer": str(one.item["answer"]),
            "given": one.text,
            "score": one.score,
        }
        for one in shown
    ]
    return {"rows": [row], "samples": samples}


def measure_texts(loaded: "LoadedModel", name: str, texts: list[tuple[str, str]], config: Evaluate) -> dict[str, Any]:
    """Bits per byte of all texts together and, where there are several sources, of each."""
    import numpy as np

    from dodam.evaluate import score
    from dodam.evaluate.perplexity import bits

    start = time.perf_counter()
    all_bits = np.array(bits(loaded, [text for _, text in texts]))
    all_bytes = np.array([len(text.encode()) for _, text in texts], dtype=float)
    seconds = round(time.perf_counter() - start, 2)
    sources = np.array([source for source, _ in texts])
    parts = {name: np.ones(len(texts), dtype=bool)}
    if len(set(sources)) > 1:
        parts |= {f"{name}:{source}": sources == source for source in sorted(set(sources))}
    rows = []
    for task, picked in parts.items():
        low, high = score.bootstrap(all_bits[picked], all_bytes[picked], config.seed)
        value = float(all_bits[picked].sum() / all_bytes[picked].sum())
        row = {"task": task, "metric": name, "value": value, "low": low, "high": high}
        rows.append({**row, "n": int(picked.sum()), "seconds": seconds})
    return {"rows": rows, "samples": []}
