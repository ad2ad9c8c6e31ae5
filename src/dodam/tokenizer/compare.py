"""Command `tokenizer compare`: how well tokenizers cut a text, side by side.

In come a text and tokenizers, ours or any tokenizer.json, SentencePiece .model or .tiktoken file; out comes a table:
bytes per token, tokens per Korean word, syllables that are cut, speed, and with `--train` bits per byte of small models
trained with equal compute.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt, MinLen

from dodam.errors import UsageError
from dodam.tokenizer.patterns import SplitName

if TYPE_CHECKING:
    from dodam.tokenizer.tokenizer import Tokenizer

EOJEOL = re.compile(r"\S*[가-힣]\S*")
BEFORE = "가"  # stands before a word that is measured, so that the word is in the middle of a text
ROUNDS = 3  # of which the fastest counts
COLUMNS = {
    "tokenizer": "tokenizer",
    "vocabulary": "vocabulary",
    "bytes_per_token": "bytes per token",
    "tokens_per_eojeol": "tokens per eojeol",
    "syllables_cut": "syllables cut",
    "tokens_per_second": "tokens per second",
    "megabytes_per_second": "MB per second",
    "bits_per_byte": "bits per byte",
    "steps": "steps",
    "parameters": "parameters",
}
"""What --json calls a figure, and what the table does."""


@dataclass(frozen=True, kw_only=True)
class TokenizerCompare:
    """Compare how tokenizers cut a text, and what models learn from it."""

    positional: ClassVar[tuple[str, ...]] = ("tokenizers",)

    tokenizers: Annotated[tuple[Path, ...], MinLen(1)]
    """Tokenizer, model or run folders, tokenizer.json, SentencePiece .model or .tiktoken files."""
    data: Annotated[tuple[str, ...], MinLen(1)]
    """What they cut: a data folder, of which the part held back is read, or text files, folders and globs."""
    out: Path | None = None
    """A Markdown file to write the table to, too."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    pattern: SplitName | None = None
    """What texts of .tiktoken files are cut by: gpt4 for cl100k, gpt4o for o200k, gpt2, llama3, qwen2."""
    sample_bytes: Annotated[int, Gt(0)] = 10_000_000
    """Cut about so many bytes; of more text an even sample is taken."""
    train: str | None = None
    """Also train a small model with each: so many steps of the first tokenizer's, and of the others as many as cost the
    same (300), or so much time with each (5m)."""
    depth: Annotated[int, Gt(0)] = 4
    """Blocks of these models."""
    seed: int = 0
    """Seed of the sample and of the models."""


def run(config: TokenizerCompare) -> dict[str, Any]:
    """Measure, print the table, write it; returns its rows."""
    from dodam import files
    from dodam.tokenizer.foreign import open_tokenizer

    if config.out is not None and config.out.is_dir():
        raise UsageError("is a folder", where=f"--out {config.out}", mend="Name a file.")
    tokenizers: dict[str, Tokenizer] = {}
    for path in config.tokenizers:
        name = path.name if path.name and path.name not in tokenizers else str(path)
        tokenizers[name] = open_tokenizer(path, pattern=config.pattern if path.suffix == ".tiktoken" else None)
    if config.train is not None:
        from dodam.tokenizer.trial import check_length

        check_length(config.train)
    texts = texts_of(config)
    eojeols = Counter(word for text in texts for word in EOJEOL.findall(text))
    num_bytes = sum(len(text.encode()) for text in texts)
    rows = []
    for name, tokenizer in tokenizers.items():
        num_tokens, seconds = encoded(tokenizer, texts)
        per_eojeol, cut = korean(tokenizer, eojeols)
        rows.append(
            {
                "tokenizer": name,
                "vocabulary": tokenizer.size,
                "bytes_per_token": num_bytes / num_tokens,
                "tokens_per_eojeol": per_eojeol,
                "syllables_cut": cut,
                "tokens_per_second": num_tokens / seconds,
                "megabytes_per_second": num_bytes / seconds / 1e6,
            }
        )
        print(f"tokenizer: {name} measured.", file=sys.stderr)
    if config.train is not None:
        from dodam.tokenizer.trial import trials

        measured = trials(tokenizers, config.data, config.train, config.encoding, config.depth, config.seed)
        rows = [{**row, **trial} for row, trial in zip(rows, measured, strict=True)]
    report = table(rows)
    print(report, end="")
    if config.out is not None:
        data = ", ".join(f"`{one}`" for one in config.data)
        files.write_atomic(config.out, f"# Tokenizers\n\nOn {num_bytes:,} bytes of {data}.\n\n{report}")
    return {"bytes": num_bytes, "eojeols": eojeols.total(), "rows": rows}


def texts_of(config: TokenizerCompare) -> list[str]:
    """The texts to cut, at most about `sample_bytes`. DataError where there are none."""
    from dodam.data.documents import read_documents, read_manifest
    from dodam.tokenizer.tokenizer import encodable
    from dodam.tokenizer.train import TokenizerTrain, no_text, open_texts, sample

    sampled = TokenizerTrain(
        data=config.data, out=Path(), encoding=config.encoding, sample_bytes=config.sample_bytes, seed=config.seed
    )
    found: Iterator[str]
    if len(config.data) == 1 and (Path(config.data[0]) / "manifest.json").is_file():
        num_bytes = read_manifest(config.data[0])["splits"]["validation"]["bytes"]
        found = (row["text"] for row in read_documents(config.data[0], "validation"))
    else:
        found, num_bytes, _ = open_texts(sampled)
    texts = [encodable(text) for text in sample(found, num_bytes, sampled) if text]
    if not texts:
        raise no_text(sampled, num_bytes)
    return texts


def encoded(tokenizer: "Tokenizer", texts: Sequence[str]) -> tuple[int, float]:
    """How many tokens the texts are, and the seconds it took to encode them all, at the fastest."""
    seconds, num_tokens = float("inf"), 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        num_tokens = len(tokenizer.encode_flat(texts)[0])
        seconds = min(seconds, time.perf_counter() - started)
    return max(1, num_tokens), max(seconds, 1e-9)


def korean(tokenizer: "Tokenizer", eojeols: Counter[str]) -> tuple[float | None, float | None]:
    """Tokens per Korean word, and the share of Hangul syllables that lie in more than one token; None without such
    words. The second is None for a tokenizer whose tokens' bytes are not those of the text."""
    import unicodedata

    words = [unicodedata.normalize("NFC", word) for word in eojeols]
    if not words:
        return None, None
    ids, offsets = tokenizer.encode_flat([f"{BEFORE} {word}" for word in words])
    lengths = tokenizer.byte_lengths()[ids].tolist()
    before = len(tokenizer.encode(BEFORE))
    num_tokens = syllables = cut = 0
    for index, (word, count) in enumerate(zip(words, eojeols.values(), strict=True)):
        first, last = int(offsets[index]), int(offsets[index + 1])
        num_tokens += count * (last - first - before)
        found = cut_syllables(word, lengths[first:last])
        if found is not None:
            syllables += count * found[1]
            cut += count * found[0]
    return num_tokens / eojeols.total(), cut / syllables if syllables else None


def cut_syllables(word: str, lengths: Sequence[int]) -> tuple[int, int] | None:
    """How many of a word's Hangul syllables lie in more than one token, and how many there are. `lengths`: bytes of the
    tokens of a text that ends with the word, counted from whose end. A word with an unknown token is cut all over; None
    where bytes are missing otherwise."""
    sizes = [len(character.encode()) for character in word]
    hangul = ["가" <= character <= "힣" for character in word]
    if sum(lengths) < sum(sizes) + len(BEFORE.encode()) + 1:
        return (sum(hangul), sum(hangul)) if 0 in lengths else None
    borders = set(accumulate(reversed(lengths)))
    ends = accumulate(reversed(sizes))
    inside = [bool(borders & set(range(end - size + 1, end))) for size, end in zip(reversed(sizes), ends, strict=True)]
    return sum(one and is_hangul for one, is_hangul in zip(inside, reversed(hangul), strict=True)), sum(hangul)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    columns = [key for key in COLUMNS if key in rows[0]]
    head = [" | ".join(COLUMNS[key] for key in columns), " | ".join(["---", *["---:"] * (len(columns) - 1)])]
    lines = [" | ".join(shown(key, row[key]) for key in columns) for row in rows]
    return "".join(f"| {line} |\n" for line in [*head, *lines])


def shown(key: str, value: Any) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    if key == "syllables_cut":
        return f"{value:.2%}"
    if isinstance(value, float):
        return f"{value:,.0f}" if key == "tokens_per_second" else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
