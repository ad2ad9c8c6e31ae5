"""Stage `prepare`: text of any kind -> a data folder.

In: sources (files, folders, globs, `sample:text`). Out: a folder with cleaned documents in Parquet, split into train
and validation, a manifest and a report. Texts are cleaned (cleaning/steps.py); duplicates are removed, and what a model
is to be tested with. The work is done by pipeline.py in a work folder beside --out, where a killed run goes on; the
finished folder is put in place in one move; asked for again with the same files and settings it is left as it is.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen

from dodam import __version__, files
from dodam import config as configs
from dodam.data import data_report, estimate, parts, pipeline, work
from dodam.data.cleaning.steps import Cleaning
from dodam.data.decision import Decision
from dodam.data.documents import FORMAT, read_manifest
from dodam.data.engine import Engine, EngineName, cores, engine
from dodam.data.engine import run as run_tasks
from dodam.data.outcome import changed_of, removed_of
from dodam.data.parts import Reading, Survey, is_file
from dodam.data.progress import Progress
from dodam.data.readers.encodings import check as check_encoding
from dodam.data.readers.notes import tell
from dodam.data.skipped import OR_SKIP, Skipped
from dodam.data.sources import Input, Source, checksum, inputs_of
from dodam.errors import DataError, DodamError, UsageError


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Clean text and write a data folder."""

    data: Annotated[tuple[str | Source, ...], MinLen(1)]
    """Files of any kind that holds text (docs/data.md lists them), archives, folders, globs, or `sample:text`."""
    out: Path
    """The data folder to write."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which column of rows holds the text, when it is not `text`: text=body."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows and files that cannot be read, and count them, instead of stopping at the first."""
    validation: Annotated[float, Gt(0), Lt(0.5)] = 0.01
    """Share of documents held back for measuring; at least one of every source."""
    clean: Cleaning = field(default_factory=Cleaning)
    deduplicate: bool = True
    """Leave out documents whose text was there before."""
    near_duplicates: Annotated[float, Ge(0.1), Le(1)] | None = None
    """Leave out documents, too, of which this share was there before: 0.7 finds copies that were edited."""
    contamination: tuple[str, ...] = ()
    """Files of rows that a model is to be tested with, FILE or NAME=FILE: passages that stand in them are cut out."""
    min_characters: Annotated[int, Ge(1)] = 1
    """Leave out documents that are shorter when they are clean."""
    license: str = ""
    """The licence of the text, noted with every document whose row tells no `license` of its own."""
    tokenizer: Path | None = None
    """A tokenizer folder: cut the text into its tokens now, and not when training begins."""
    seed: int = 1
    """The seed of the bundled corpus."""
    dry_run: bool = False
    """Look at the first documents of every file and tell what would come of them, and when; write nothing."""
    workers: Annotated[int, Ge(1)] | None = None
    """Processes that read and clean. Default: one for each core, of this machine or of the cluster at --ray-address."""
    engine: EngineName = "local"
    """Where they run: local, on this machine; or ray, on a Ray cluster."""
    ray_address: str = ""
    """The Ray cluster's address, HOST:PORT or `auto`. Default: one of --workers cores is started for the run."""


HOW = ("out", "tokenizer", "dry_run", "workers", "engine", "ray_address")
"""Settings that change nothing about the documents."""


def run(config: Prepare) -> dict[str, Any]:
    """Write the data folder and return what --json prints. See the file's head."""
    if config.near_duplicates is not None and not config.deduplicate:
        mend = "Leave out one of the two."
        raise UsageError("near duplicates go, and equal texts are to stay", where="--near-duplicates", mend=mend)
    tokenizer = None
    if config.tokenizer is not None:
        from dodam.tokenizer.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(config.tokenizer)
    if config.clean.languages:
        from dodam.data.cleaning.languages import check_known

        check_known(config.clean.languages)
    check_encoding(config.encoding)
    unread = Skipped(config.skip_bad, OR_SKIP)
    inputs = outside(inputs_of(config.data, unread), config.out)
    reading = Reading(config.columns, config.encoding, config.license, config.seed, config.skip_bad, otherwise=OR_SKIP)
    if config.dry_run:
        return _dry_run(config, inputs, reading, unread)
    refuse_out(config.out, inputs)
    decisions = _decisions(config)
    with engine(config.engine, config.workers, config.ray_address) as where:
        surveys = look_at(inputs, reading, where)
        checksums = {one.path: found.checksum for one, found in zip(inputs, surveys, strict=True)}
        fingerprint = _fingerprint(config, inputs, checksums, decisions)
        manifest = _finished(config.out, fingerprint)
        if manifest:
            print(f"prepare: {config.out} is already done.", file=sys.stderr)
        else:
            manifest = write(config, inputs, reading, surveys, where, decisions, fingerprint, unread)
            print(data_report.summary(manifest), file=sys.stderr)
    work.remove(work.folder_of(config.out))
    if tokenizer is not None:
        from dodam.data.shards import ensure_shards

        ensure_shards(config.out, tokenizer, full=True)
    result = {key: manifest[key] for key in ("documents", "bytes", "splits", "removed", "changed", "sources")}
    return {"out": str(config.out), **result}


def _dry_run(config: Prepare, inputs: list[Input], reading: Reading, skipped: Skipped) -> dict[str, Any]:
    found = estimate.estimate(inputs, reading, config.clean, config.min_characters, skipped)
    tell("prepare")
    if skipped.count:
        print(f"prepare: {skipped}", file=sys.stderr)
    print(estimate.told(found, config.workers or cores()))
    looks = {"near duplicates": config.near_duplicates, "contamination": config.contamination}
    looks["repeated lines"] = config.clean.repeated_lines
    if not_sought := [name for name, wanted in looks.items() if wanted]:
        print(f"Not looked for in a sample: {', '.join(not_sought)}.")
    return {"out": str(config.out), "dry_run": True, **estimate.to_json(found)}


def outside(inputs: list[Input], out: Path) -> list[Input]:
    """The inputs without those that a run before this one wrote, where --out lies in a folder that is read; all where
    no others are there."""
    place = out.resolve()
    others = [one for one in inputs if not (is_file(one.path) and Path(one.path).resolve().is_relative_to(place))]
    return others or inputs


def refuse_out(out: Path, inputs: Sequence[Input]) -> None:
    """UsageError where a folder must not be replaced."""
    place = out.resolve()
    if any(Path(one.path).resolve().is_relative_to(place) for one in inputs if is_file(one.path)):
        raise UsageError("the folder to write holds the text to read", where=str(out), mend="Choose another --out.")
    if not (out / "manifest.json").is_file() and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise UsageError("is there and is no data folder", where=str(out), mend="Choose another --out.")


def look_at(inputs: Sequence[Input], reading: Reading, where: Engine) -> list[Survey]:
    """A survey of each input: one look at all bytes of all files."""
    paths = [one.path for one in inputs if is_file(one.path)]
    groups = parts.grouped(paths, _size, parts.PART_BYTES)
    tasks = [(group, reading, parts.PART_BYTES) for group in groups]
    found = dict(zip(paths, (one for some in run_tasks(where, parts.survey_all, tasks) for one in some), strict=True))
    return [
        found[one.path] if one.path in found else Survey(parts.UNKNOWN_BYTES, checksum(one.path), ()) for one in inputs
    ]


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # the survey will say so
        return 0


def _decisions(config: Prepare) -> tuple[Decision, ...]:
    """What depends on all documents, in order. DataError for an evaluation set that cannot be read."""
    from dodam.data import contamination, duplicates
    from dodam.data.cleaning import repeated_lines

    found = []
    if share := config.clean.repeated_lines:
        decide = partial(repeated_lines.decide, share=share)
        found.append(Decision("repeated lines", repeated_lines.observe, decide, repeated_lines.apply, {"share": share}))
    if near := config.near_duplicates:
        observe, decide = (partial(function, near=near) for function in (duplicates.observe, duplicates.decide))
        found.append(
            Decision(
                "near duplicates", observe, decide, duplicates.apply, {"near": near}, reads=True, told=duplicates.told
            )
        )
    elif config.deduplicate:
        found.append(Decision("exact duplicates", duplicates.observe, duplicates.decide, duplicates.apply))
    if sets := contamination.sets_of(config.contamination):
        contamination.grams_of_files(sets)
        observe = partial(contamination.observe_files, sets=sets)
        decide = partial(contamination.decide_files, sets=sets)
        checksums = {one.name: one.checksum for one in sets}
        found.append(
            Decision("contamination", observe, decide, contamination.apply, checksums, told=contamination.told)
        )
    return tuple(found)


def _fingerprint(config: Prepare, inputs: list[Input], checksums: dict[str, str], decisions: Sequence[Decision]) -> str:
    settings = {key: value for key, value in configs.to_json(config).items() if key not in HOW}
    named = [[one.path, one.name, checksums[one.path]] for one in inputs]
    sizes = [parts.PART_BYTES, pipeline.FILE_BYTES, pipeline.GROUP_BYTES]
    made_from = {
        "config": settings,
        "decisions": [[one.name, one.settings] for one in decisions],
        "inputs": named,
        "format": FORMAT,
        "version": __version__,
        "sizes": sizes,
    }
    return configs.fingerprint(made_from)


def _finished(out: Path, fingerprint: str) -> dict[str, Any] | None:
    """The manifest of a whole data folder made from the same; None where there is none."""
    if not (out / "manifest.json").is_file():
        return None
    manifest = read_manifest(out)
    if manifest.get("fingerprint") != fingerprint:
        return None
    whole = all(
        (out / name).is_file() and files.xxh3(out / name) == digest for name, digest in manifest["files"].items()
    )
    return manifest if whole else None


def write(
    config: Prepare,
    inputs: list[Input],
    reading: Reading,
    surveys: list[Survey],
    where: Engine,
    decisions: tuple[Decision, ...],
    fingerprint: str,
    unread: Skipped,
) -> dict[str, Any]:
    """Make the data folder in the work folder and put it in place; returns the manifest, which counts what was `unread`
    before. DataError when nothing is left."""
    folder = work.folder_of(config.out)
    job = pipeline.Job(
        folder=folder,
        reading=reading,
        cleaning=config.clean,
        min_characters=config.min_characters,
        decisions=decisions,
        sources=tuple(dict.fromkeys(one.name for one in inputs)),
        validation=config.validation,
        group_bytes=pipeline.GROUP_BYTES,
        fingerprint=fingerprint,
    )
    all_parts = parts.parts_of(inputs, surveys, parts.PART_BYTES)
    try:
        with work.opened(folder):
            found = pipeline.execute(job, all_parts, where, lambda name, *sizes: Progress(f"prepare: {name}", *sizes))
            found["skipped"].join(unread)
            manifest = _manifest(inputs, found["files"], told_skipped(found))
            manifest |= {"changed": changed_of(dict(sorted(found["counts"].items()))), "decided": found["told"]}
            manifest |= {"noted": found["noted"], "unreadable": found["skipped"].named}
            if not any(one["splits"]["train"]["documents"] for one in found["files"]):
                path = ", ".join(dict.fromkeys(one.source.path for one in inputs))
                left_out = ", ".join(f"{count} {reason}" for reason, count in manifest["removed"].items())
                raise DataError(f"there is no text here{left_out and f' ({left_out})'}", where=path)
            checksums = {one.path: survey.checksum for one, survey in zip(inputs, surveys, strict=True)}
            manifest |= {"fingerprint": fingerprint, "inputs": checksums}
            made = folder / "folder"
            files.write_json(made / "manifest.json", manifest)
            files.write_atomic(made / data_report.REPORT, data_report.write(manifest, found["samples"], made))
            files.replace_dir(made, config.out)
    except DodamError:
        if len(all_parts) == 1:  # nothing is lost that would take long
            work.remove(folder)
        raise
    return manifest


def told_skipped(found: dict[str, Any]) -> dict[str, int]:
    """What was left out, by reason; what could not be read is told here."""
    removed = removed_of(found["counts"])
    if not found["skipped"].count:
        return removed
    print(f"prepare: {found['skipped']}", file=sys.stderr)
    return {**removed, "unreadable": found["skipped"].count}


def _manifest(inputs: list[Input], written: list[dict[str, Any]], removed: dict[str, int]) -> dict[str, Any]:
    of_name = {one.name: one.source for one in inputs}
    splits = {name: _split([one["splits"][name] for one in written], list(of_name)) for name in pipeline.SPLITS}
    sources = [
        {
            **vars(source),
            "name": name,
            **{key: sum(split["sources"][name][key] for split in splits.values()) for key in ("documents", "bytes")},
        }
        for name, source in of_name.items()
    ]
    return {
        "format": FORMAT,
        "documents": sum(split["documents"] for split in splits.values()),
        "bytes": sum(split["bytes"] for split in splits.values()),
        "sources": sources,
        "splits": splits,
        "removed": dict(sorted(removed.items())),
        "files": {name: digest for key in pipeline.SPLITS for one in written for name, digest in _files(one, key)},
        "cut": [name for one in written for name in one["cut"]],
    }


def _files(written: dict[str, Any], split: str) -> list[tuple[str, str]]:
    return list(written["splits"][split]["files"].items())


def _split(found: list[dict[str, Any]], sources: list[str]) -> dict[str, Any]:
    """The sums over the files of one split."""

    def of(key: str, name: str) -> int:
        return sum(one[key].get(name, 0) for one in found)

    languages = sorted({name for one in found for name in one["languages"]})
    return {
        "documents": sum(of("documents", name) for name in sources),
        "bytes": sum(of("bytes", name) for name in sources),
        "languages": {name: of("languages", name) for name in languages},
        "sources": {name: {"documents": of("documents", name), "bytes": of("bytes", name)} for name in sources},
        "lengths": [sum(column) for column in zip(*(one["lengths"] for one in found), strict=True)],
        "files": [name for one in found for name in one["files"]],
    }
