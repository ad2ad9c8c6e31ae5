"""The pipeline of `prepare`: parts -> cleaned batches -> decisions over all of them -> the files of a data folder.

Each part is read and cleaned (cleaning/steps.py) by one call, then goes through one pass for each decision
(decision.py), then into a file of each split. Every call is a task for an engine: it reads files, writes files into
the work folder and leaves a note (work.py); what is noted is not done again. Batches stream; what is kept of all
documents is some bytes each.

    WORK/0/00012.parquet  part 12 as it was read; 00012.observed is what the first decision wants to know of it
    WORK/1/00012.parquet  part 12 after the first decision, which came to WORK/1/decided; and so on
    WORK/folder           the data folder as it grows; the notes of its files are in WORK/files
"""

import pickle
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodam import __version__
from dodam import config as configs
from dodam.data import parts, split, work
from dodam.data.cleaning.steps import Cleaning, clean_batch
from dodam.data.decision import Decision, num_bytes, num_characters
from dodam.data.documents import COLUMNS
from dodam.data.engine import Engine, run
from dodam.data.lookup import looked_up
from dodam.data.outcome import Outcome, Sample, dropped, first_samples
from dodam.data.parts import Part, Reading, read_part
from dodam.data.readers.notes import NOTED, taken, tell
from dodam.data.skipped import Skipped
from dodam.data.sources import Document
from dodam.data.split_file import SplitFile, schema

if TYPE_CHECKING:
    import pyarrow as pa

FILE_BYTES = 1 << 28  # of text in one Parquet file of a split, about
GROUP_BYTES = 1 << 22  # of text in one batch and one row group, about
BATCH_ROWS = 1024
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Job:
    """What every task of a run needs to know. It is sent to workers."""

    folder: Path
    """The work folder."""
    reading: Reading
    cleaning: Cleaning
    min_characters: int
    decisions: tuple[Decision, ...]
    sources: tuple[str, ...]
    """The names of the sources."""
    validation: float
    group_bytes: int
    fingerprint: str
    """Of everything the data folder is made from."""

    def observe(self, number: int) -> "Callable[[pa.RecordBatch], Any]":
        """What is to be known of a batch behind pass `number`: what the next decision wants, or the split."""
        if number < len(self.decisions):
            return self.decisions[number].observe
        return partial(split.observe, sources=self.sources)

    def decided(self, number: int) -> Path:
        return self.folder / str(number) / "decided"

    def path(self, number: int, part: int, ending: str = ".json") -> Path:
        return self.folder / str(number) / f"{part:05d}{ending}"


@dataclass(frozen=True)
class FileTask:
    """One file of each split, out of some parts."""

    number: int
    parts: tuple[int, ...]
    size: int


Told = Callable[[int], None]
"""Is told of bytes that are done."""


def execute(
    job: Job, all_parts: Sequence[Part], engine: Engine, told: Callable[[str, int, int], Told]
) -> dict[str, Any]:
    """All passes; the documents then lie in WORK/folder. Returns `skipped`, what readers `noted`, `counts` of what was
    done by reason, the first `samples` of it, what is `told` of decisions by name, and what the `files` hold.

    `told` is asked for what wants to hear of progress, with the name of a pass, its bytes, and how many of them a run
    before this one has done. DataError where a part cannot be read."""
    size = sum(part.size for part in all_parts)
    found = _pass(engine, read, job, [(job, part) for part in all_parts], _part_note, partial(told, "reading", size))
    skipped = Skipped(job.reading.skip_bad)
    counts: Counter[str] = Counter()
    samples: list[Sample] = []
    told_of: dict[str, Any] = {}
    for one in found:
        NOTED.update(one["noted"])
        skipped.count += one["skipped"]
        skipped.name(one["named"])
        skipped.files += one["files"]
    noted = dict(sorted(NOTED.items()))
    tell("prepare")
    _add(counts, samples, found)
    for number, decision in enumerate(job.decisions, start=1):
        decided = _decide(job, number, len(all_parts), decision.decide, decision.reads)
        if decision.told is not None:
            told_of[decision.name] = decision.told(decided)
        tasks = [(job, number, part) for part in all_parts]
        found = _pass(engine, apply, job, tasks, _pass_note, partial(told, decision.name, size))
        _add(counts, samples, found)
    result = {"skipped": skipped, "noted": noted, "counts": counts, "samples": first_samples(samples), "told": told_of}
    kept = sum(one["bytes"] for one in found)
    if not kept:
        return {**result, "files": []}
    chosen = partial(split.decide, share=job.validation, num_sources=len(job.sources))
    _decide(job, len(job.decisions) + 1, len(all_parts), chosen)
    groups = parts.grouped(list(enumerate(found)), lambda entry: entry[1]["bytes"], FILE_BYTES)
    tasks = [(job, _file_task(index, group)) for index, group in enumerate(groups)]
    written = _pass(engine, write, job, tasks, _file_note, partial(told, "writing", kept))
    made = {name for one in written for half in one["splits"].values() for name in half["files"]}
    for file in (job.folder / "folder").rglob("*.*"):  # of a run with other settings
        if file.relative_to(job.folder / "folder").as_posix() not in made:
            file.unlink()
    return {**result, "files": written}


def _add(counts: Counter[str], samples: list[Sample], found: Sequence[dict[str, Any]]) -> None:
    """What a pass did to each part, to what those before it did."""
    for one in found:
        counts.update(one["counts"])
        samples += [Sample(*sample) for sample in one["samples"]]


def _file_task(number: int, group: Sequence[tuple[int, dict[str, Any]]]) -> FileTask:
    return FileTask(number, tuple(part for part, _ in group), sum(found["bytes"] for _, found in group))


def _pass(
    engine: Engine,
    function: Callable[[Any], dict[str, Any]],
    job: Job,
    tasks: Sequence[Any],
    note_of: Callable[[Any], tuple[Path, str, int]],
    told: Callable[[int], Told],
) -> list[dict[str, Any]]:
    """What every task found; those that are noted are not done again."""
    notes = [note_of(task) for task in tasks]
    found = [work.noted(path, fingerprint) for path, fingerprint, _ in notes]
    if function is read and not job.reading.skip_bad:  # what was skipped then is an error now
        found = [None if one is None or one["skipped"] else one for one in found]
    left = [index for index, one in enumerate(found) if one is None]
    arrived = told(sum(size for _, _, size in notes) - sum(notes[index][2] for index in left))
    results = run(engine, function, [tasks[index] for index in left], lambda number: arrived(notes[left[number]][2]))
    for index, result in zip(left, results, strict=True):
        found[index] = result
    return [one for one in found if one is not None]


@dataclass(frozen=True)
class Observed:
    """What a pass observed of all batches, in order, as often as it is asked for."""

    job: Job
    number: int
    num_parts: int

    def __iter__(self) -> Iterator[Any]:
        for part in range(self.num_parts):
            yield from _load(self.job.path(self.number, part, ".observed"))

    def batches(self) -> "Iterator[pa.RecordBatch]":
        """The batches themselves."""
        for part in range(self.num_parts):
            yield from read_batches(self.job.path(self.number, part, ".parquet"))


def _decide(job: Job, number: int, num_parts: int, decide: Callable[..., Any], reads: bool = False) -> Any:
    """Decide on what was observed in the pass before, and leave it where the workers of pass `number` read it."""
    observed = Observed(job, number - 1, num_parts)
    if reads:
        with tempfile.TemporaryFile(dir=job.folder) as texts:
            decided = decide(observed, lambda wanted: looked_up(observed.batches(), wanted, texts))
    else:
        decided = decide(observed)
    with work.new_file(job.decided(number)) as file:
        pickle.dump(decided, file)
    return decided


def _load(path: Path) -> Any:
    """What one of us pickled into the work folder."""
    with path.open("rb") as file:
        return pickle.load(file)


def _part_note(task: tuple[Job, Part]) -> tuple[Path, str, int]:
    """Where the note of a part that is read lies, the fingerprint of what it is made from, its bytes."""
    job, part = task
    reading = {**vars(job.reading), "skip_bad": None, "otherwise": None}
    made_from = {
        "version": __version__,
        "reading": reading,
        "pieces": [list(vars(piece).values()) for piece in part.pieces],
        "cleaning": vars(job.cleaning),
        "min_characters": job.min_characters,
        "group_bytes": job.group_bytes,
        "sources": job.sources,
        "decisions": [[one.name, one.settings] for one in job.decisions],
        "number": part.number,
    }
    return job.path(0, part.number), configs.fingerprint(made_from), part.size


def _pass_note(task: tuple[Job, int, Part]) -> tuple[Path, str, int]:
    job, number, part = task
    return job.path(number, part.number), job.fingerprint, part.size


def _file_note(task: tuple[Job, FileTask]) -> tuple[Path, str, int]:
    job, file = task
    return job.folder / "files" / f"{file.number:05d}.json", job.fingerprint, file.size


def read(task: tuple[Job, Part]) -> dict[str, Any]:
    """Read and clean one part: files -> WORK/0. A pure function of the files and the settings."""
    job, part = task
    skipped = Skipped(job.reading.skip_bad, job.reading.otherwise)
    job.path(0, 0).parent.mkdir(parents=True, exist_ok=True)
    found = read_part(part, job.reading, skipped, job.folder)
    outcomes = (_cleaned(batch, job) for batch in batches(found, part.number, job.group_bytes))
    counts = _write_part(job, 0, part.number, outcomes)
    counts |= {"skipped": skipped.count, "named": skipped.named, "files": skipped.files, "noted": taken()}
    path, fingerprint, _ = _part_note(task)
    return work.note(path, fingerprint, [path.with_suffix(".parquet"), path.with_suffix(".observed")], counts)


def apply(task: tuple[Job, int, Part]) -> dict[str, Any]:
    """One part after a decision: WORK/NUMBER-1 -> WORK/NUMBER."""
    job, number, part = task
    decided = _load(job.decided(number))
    decision = job.decisions[number - 1]
    before = read_batches(job.path(number - 1, part.number, ".parquet"))
    outcomes = (_applied(decision, decided, batch, job.min_characters) for batch in before)
    counts = _write_part(job, number, part.number, outcomes)
    path, fingerprint, _ = _pass_note(task)
    return work.note(path, fingerprint, [path.with_suffix(".parquet"), path.with_suffix(".observed")], counts)


def batches(found: Iterable[Document], part: int, group_bytes: int) -> "Iterator[pa.RecordBatch]":
    """Documents as batches of about `group_bytes`, with their places; at least one batch, perhaps an empty one."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    held = count = 0
    for count, document in enumerate(found, start=1):
        size = len(document.text.encode())
        fields = {name: value for name, value in vars(document).items() if name in COLUMNS}
        rows.append({**fields, "bytes": size, "place": part << 32 | count - 1})
        held += size
        if held >= group_bytes or len(rows) == BATCH_ROWS:
            yield pa.RecordBatch.from_pylist(rows, schema=schema(places=True))
            rows, held = [], 0
    if rows or not count:
        yield pa.RecordBatch.from_pylist(rows, schema=schema(places=True))


def _cleaned(batch: "pa.RecordBatch", job: Job) -> list[Outcome]:
    done = [outcome for _, outcome in clean_batch(batch, job.cleaning)]
    return [*done, long_enough(done[-1].batch, job.min_characters)]


def _applied(decision: Decision, decided: Any, batch: "pa.RecordBatch", least: int) -> list[Outcome]:
    done = decision.apply(batch, decided)
    return [done, long_enough(done.batch, least)]


def long_enough(batch: "pa.RecordBatch", least: int) -> Outcome:
    """The documents of so many characters."""
    import numpy as np

    lengths = num_characters(batch)
    rows = np.flatnonzero(lengths < max(least, 1)).tolist()
    return dropped(batch, {row: "too short" if lengths[row] else "empty" for row in rows})


def _write_part(job: Job, number: int, part: int, outcomes: Iterable[Sequence[Outcome]]) -> dict[str, Any]:
    """What is left of batches after the last of their steps, and what the next decision wants to know of it, into the
    work folder; returns the counts."""
    import pyarrow.parquet as pq

    observe, observed = job.observe(number), []
    counts: Counter[str] = Counter()
    samples: list[Sample] = []
    size = 0
    with (
        work.new_file(job.path(number, part, ".parquet")) as file,
        pq.ParquetWriter(file, schema(places=True), compression="lz4", use_dictionary=False) as writer,
    ):
        for steps in outcomes:
            for outcome in steps:
                counts.update(outcome.counts)
                samples += outcome.samples
            samples = first_samples(samples)
            left = steps[-1].batch
            size += num_bytes(left)
            observed.append(observe(left))
            if left.num_rows:
                writer.write_batch(left)
    with work.new_file(job.path(number, part, ".observed")) as file:
        pickle.dump(observed, file)
    return {"counts": dict(counts), "samples": [astuple(one) for one in samples], "bytes": size}


def read_batches(path: Path) -> "Iterator[pa.RecordBatch]":
    """The batches of a part as they were written; an empty one where nothing is left of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, use_threads=False).combine_chunks().to_batches()
        if not file.num_row_groups:
            yield pa.RecordBatch.from_pylist([], schema=schema(places=True))


def write(task: tuple[Job, FileTask]) -> dict[str, Any]:
    """One file of each split out of some parts: WORK/LAST -> WORK/folder/documents. Returns what is in them."""
    job, file = task
    last = len(job.decisions)
    decided = _load(job.decided(last + 1))
    folder = job.folder / "folder" / "documents"
    cut: list[str] = []
    with ExitStack() as opened:
        writers = {
            name: SplitFile(
                folder / f"{name}-{file.number:05d}.parquet", job.group_bytes, opened, needed=file.number == 0
            )
            for name in SPLITS
        }
        for batch in chain.from_iterable(read_batches(job.path(last, part, ".parquet")) for part in file.parts):
            *halves, sources = split.divide(batch, decided)
            cut += sources
            for name, half in zip(SPLITS, halves, strict=True):
                writers[name].add(half)
        for writer in writers.values():
            writer.flush()
    path, fingerprint, _ = _file_note(task)
    found = {"cut": cut, "splits": {name: writer.found() for name, writer in writers.items()}}
    return work.note(path, fingerprint, [writer.path for writer in writers.values() if writer.writer], found)
