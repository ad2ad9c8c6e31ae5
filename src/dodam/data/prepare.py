"""Stage `prepare`: text of any kind -> a data folder.

In: sources (files, folders, globs, `sample:text`). Out: a folder with cleaned documents in Parquet, split into train
and validation, a manifest and a report. Texts are put into NFC and freed of control characters; exact duplicates are
removed. The folder is put in place in one move; asked for again with the same files and settings it is left as it is.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Lt, MinLen

from dodam import __version__, files
from dodam import config as configs
from dodam.data.documents import COLUMNS, FORMAT, read_manifest
from dodam.data.sources import OR_SKIP, SAMPLE, Document, Input, Skipped, Source, checksum, documents, inputs_of
from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

FILE_BYTES = 1 << 26  # of text in one Parquet file
GROUP_BYTES = 1 << 22  # of text held in memory for each split
LONG = 4_000  # characters from which a source's only text is cut in two
LARGEST_SHARE = 0.1  # of a source that one whole text may take away from it
HELD_BACK = 2_000  # characters of it that are held back at least, where that is no more than a tenth


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
    deduplicate: bool = True
    """Leave out documents whose text was there before."""
    min_characters: Annotated[int, Ge(1)] = 1
    """Leave out shorter documents."""
    license: str = ""
    """The licence of the text, noted with every document whose row tells no `license` of its own."""
    tokenizer: Path | None = None
    """A tokenizer folder: cut the text into its tokens now, and not when training begins."""
    seed: int = 1
    """The seed of the bundled corpus."""


def run(config: Prepare) -> dict[str, Any]:
    """Write the data folder and return what --json prints. See the file's head."""
    inputs = inputs_of(config.data)
    checksums = {one.path: checksum(one.path) for one in inputs}
    fingerprint = _fingerprint(config, inputs, checksums)
    manifest = _finished(config, inputs, fingerprint)
    if manifest:
        print(f"prepare: {config.out} is already done.", file=sys.stderr)
    else:
        with files.new_dir(config.out) as folder:
            manifest = write(config, inputs, folder)
            manifest |= {"fingerprint": fingerprint, "inputs": checksums}
            files.write_json(folder / "manifest.json", manifest)
            files.write_atomic(folder / "report.md", report(manifest))
        print(_summary(manifest), file=sys.stderr)
    if config.tokenizer is not None:
        from dodam.data.shards import ensure_shards
        from dodam.tokenizer.tokenizer import Tokenizer

        ensure_shards(config.out, Tokenizer.load(config.tokenizer))
    result = {key: manifest[key] for key in ("documents", "bytes", "splits", "removed", "sources")}
    return {"out": str(config.out), **result}


def _fingerprint(config: Prepare, inputs: list[Input], checksums: dict[str, str]) -> str:
    settings = {key: value for key, value in configs.to_json(config).items() if key not in ("out", "tokenizer")}
    named = [[one.path, one.name, checksums[one.path]] for one in inputs]
    return configs.fingerprint({"config": settings, "inputs": named, "format": FORMAT, "version": __version__})


def _finished(config: Prepare, inputs: list[Input], fingerprint: str) -> dict[str, Any] | None:
    """The manifest of a whole data folder made from the same. UsageError where a folder must not be replaced."""
    out = config.out.resolve()
    if any(Path(one.path).resolve().is_relative_to(out) for one in inputs if not one.path.startswith(SAMPLE)):
        raise UsageError(
            "the folder to write holds the text to read", where=str(config.out), mend="Choose another --out."
        )
    if not (config.out / "manifest.json").is_file():
        if config.out.is_file() or (config.out.is_dir() and any(config.out.iterdir())):
            raise UsageError("is there and is no data folder", where=str(config.out), mend="Choose another --out.")
        return None
    manifest = read_manifest(config.out)
    if manifest.get("fingerprint") != fingerprint:
        return None
    whole = all(
        (config.out / name).is_file() and files.xxh3(config.out / name) == digest
        for name, digest in manifest["files"].items()
    )
    return manifest if whole else None


def write(config: Prepare, inputs: list[Input], folder: Path) -> dict[str, Any]:
    """Read, clean and write all documents into `folder`; returns the manifest. DataError when nothing is left."""
    skipped = Skipped(config.skip_bad, OR_SKIP)
    removed: Counter[str] = Counter()
    found = documents(
        inputs,
        columns=config.columns,
        encoding=config.encoding,
        skipped=skipped,
        license=config.license,
        seed=config.seed,
    )
    writers = {split: SplitWriter(folder / "documents", split) for split in ("train", "validation")}
    cut: list[str] = []
    for split, document in split_documents(kept(found, config, removed), config.validation, cut):
        writers[split].add(document)
    for writer in writers.values():
        writer.close()
    if skipped.count:
        print(f"prepare: {skipped}", file=sys.stderr)
        removed["unreadable"] = skipped.count
    if not writers["train"].documents:
        where = ", ".join(dict.fromkeys(one.source.path for one in inputs))
        left_out = ", ".join(f"{count} {reason}" for reason, count in removed.items())
        raise DataError(f"there is no text here{left_out and f' ({left_out})'}", where=where)
    return {**_manifest(inputs, folder, writers, removed), "cut": cut}


def kept(found: Iterator[Document], config: Prepare, removed: Counter[str]) -> Iterator[tuple[int, Document]]:
    """Documents with a 128-bit hash of their text; those left out are counted in `removed` by reason."""
    import xxhash

    seen: set[int] = set()
    for document in found:
        digest = xxhash.xxh3_128_intdigest(document.text.encode())
        if len(document.text) < config.min_characters:
            removed["too short" if document.text else "empty"] += 1
        elif config.deduplicate and digest in seen:
            removed["duplicate"] += 1
        else:
            seen.add(digest)
            yield digest, document


def split_documents(
    found: Iterator[tuple[int, Document]], share: float, cut: list[str]
) -> Iterator[tuple[str, Document]]:
    """Each document with `train` or `validation`, which its text alone decides: equal texts never part.

    A source of two texts or more from which none falls to validation gives the one with the lowest hash; that one is
    held until the end. Of a source's only text, and of one that would be more than a tenth of its source, the end is
    given where it is long, and the source is named in `cut`."""
    lowest: dict[str, tuple[int, list[Document]]] = {}
    held_back: set[str] = set()
    others: set[str] = set()
    characters: Counter[str] = Counter()
    for digest, document in found:
        source = document.source
        characters[source] += len(document.text)
        if digest < share * 2**128:
            held_back.add(source)
            yield "validation", document
        elif source in held_back:
            yield "train", document
        elif source not in lowest or digest < lowest[source][0]:
            if source in lowest:
                others.add(source)
                yield from (("train", earlier) for earlier in lowest[source][1])
            lowest[source] = (digest, [document])
        elif digest == lowest[source][0]:
            lowest[source][1].append(document)
        else:
            others.add(source)
            yield "train", document
    for source, (_, equal) in lowest.items():
        split = "validation" if source in others and source not in held_back else "train"
        size = len(equal[0].text)
        small = source in held_back or (source in others and size <= LARGEST_SHARE * characters[source])
        place = 0 if small else start_of_end(equal[0].text, share * characters[source] / size)
        if not place:
            yield from ((split, document) for document in equal)
            continue
        cut.append(source)
        for document in equal:
            yield "train", replace(document, text=document.text[:place].rstrip())
            yield "validation", replace(document, text=document.text[place:])


def start_of_end(text: str, share: float) -> int:
    """Where the end of a long text begins that is to be held back: a paragraph, else a line, else a word.

    0 when the text is not long, or none of them begins near there."""
    if len(text) < LONG:
        return 0
    size = max(round(len(text) * min(share, 0.25)), min(HELD_BACK, len(text) // 10))
    for border in ("\n\n", "\n", " "):
        place = text.rfind(border, len(text) - 2 * size, len(text) - size)
        if place > 0:
            return place + len(border)
    return 0


class SplitWriter:
    """Appends documents to the numbered Parquet files of one split and counts them."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = folder, split
        self.documents: Counter[str] = Counter()  # by source
        self.bytes: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()  # bytes by language
        self.names: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.held = self.in_file = 0
        self.file: Any = None
        self.writer: Any = None
        folder.mkdir(exist_ok=True)

    def add(self, document: Document) -> None:
        size = len(document.text.encode())
        self.rows.append({**vars(document), "bytes": size})
        self.documents[document.source] += 1
        self.bytes[document.source] += size
        self.languages[document.language] += size
        self.held += size
        if self.held >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held; begin a new file when this one is full."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.writer is None:
            self.names.append(f"{self.split}-{len(self.names):05d}.parquet")
            # A file object of Python's: a full disk is then the OSError that `storage` knows.
            self.file = (self.folder / self.names[-1]).open("wb")
            self.writer = pq.ParquetWriter(self.file, _schema(), compression="zstd")
        self.writer.write_table(pa.Table.from_pylist(self.rows, schema=_schema()))
        self.in_file += self.held
        self.rows, self.held = [], 0
        if self.in_file >= FILE_BYTES:
            self._close_file()

    def close(self) -> None:
        """Finish the last file; a split without documents gets an empty one."""
        if self.rows or not self.names:
            self.flush()
        if self.writer is not None:
            self._close_file()

    def _close_file(self) -> None:
        self.writer.close()
        self.file.close()
        self.file = self.writer = None
        self.in_file = 0


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([(name, pa.int64() if name == "bytes" else pa.string()) for name in COLUMNS])


def _manifest(
    inputs: list[Input], folder: Path, writers: dict[str, SplitWriter], removed: Counter[str]
) -> dict[str, Any]:
    of_name = {one.name: one.source for one in inputs}
    splits = {
        split: {
            "documents": writer.documents.total(),
            "bytes": writer.bytes.total(),
            "languages": dict(sorted(writer.languages.items())),
            "sources": {name: {"documents": writer.documents[name], "bytes": writer.bytes[name]} for name in of_name},
            "files": [f"documents/{name}" for name in writer.names],
        }
        for split, writer in writers.items()
    }
    sources = [
        {
            "name": name,
            "path": source.path,
            "weight": source.weight,
            "epochs": source.epochs,
            "documents": sum(writer.documents[name] for writer in writers.values()),
            "bytes": sum(writer.bytes[name] for writer in writers.values()),
        }
        for name, source in of_name.items()
    ]
    names = [name for split in splits.values() for name in split["files"]]
    return {
        "format": FORMAT,
        "documents": sum(split["documents"] for split in splits.values()),
        "bytes": sum(split["bytes"] for split in splits.values()),
        "sources": sources,
        "splits": splits,
        "removed": dict(sorted(removed.items())),
        "files": {name: files.xxh3(folder / name) for name in names},
    }


def _summary(manifest: dict[str, Any]) -> str:
    """One line for people."""
    splits = manifest["splits"]
    removed = ", ".join(f"{count:,} {reason}" for reason, count in manifest["removed"].items())
    return (
        f"prepare: {manifest['documents']:,} documents, {manifest['bytes'] / 1e6:.1f} MB; "
        f"{splits['validation']['documents']:,} of them held back ({splits['validation']['bytes'] / 1e6:.2g} MB); "
        f"left out: {removed or 'none'}."
    )


def report(manifest: dict[str, Any]) -> str:
    """The data folder in tables, as Markdown."""
    lines = ["# Data folder", "", _summary(manifest).removeprefix("prepare: "), ""]
    lines += ["| Source | Documents | Held back | MB | Weight | Path |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for source in manifest["sources"]:
        held_back = manifest["splits"]["validation"]["sources"][source["name"]]["documents"]
        lines.append(
            f"| {source['name']} | {source['documents']:,} | {held_back:,} | {source['bytes'] / 1e6:.2f} "
            f"| {source['weight']:g} | `{source['path']}` |"
        )
    for name in manifest["cut"]:
        lines += ["", f"{name}: a text was cut in two and its end is held back; all of it would be too much."]
    lines += ["", "| Language | MB |", "| --- | ---: |"]
    languages = Counter[str]()
    for split in manifest["splits"].values():
        languages.update(split["languages"])
    lines += [f"| {name} | {size / 1e6:.2f} |" for name, size in languages.most_common()]
    if manifest["removed"]:
        lines += ["", "| Left out | Documents |", "| --- | ---: |"]
        lines += [f"| {reason} | {count:,} |" for reason, count in manifest["removed"].items()]
    return "\n".join(lines) + "\n"
