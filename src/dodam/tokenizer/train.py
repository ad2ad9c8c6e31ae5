"""Stage `tokenizer train`: text -> a byte-level BPE vocabulary, as a tokenizer folder.

What it reads: a data folder (its training split) or any text source. Counting pairs happens in memory, so from large
corpora an even sample of `--sample-bytes` is taken.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Gt, MinLen

from dodam.config import fingerprint, to_json
from dodam.errors import DataError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer

# Qwen2's pattern: English contractions, words with one leading mark or space, single digits, punctuation, white space.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SMALLEST = 448  # special tokens and all bytes, as a multiple of 64
BY_BYTES = ((20e6, 4096), (100e6, 8192), (1e9, 16_384), (float("inf"), 32_768))


@dataclass(frozen=True, kw_only=True)
class TokenizerTrain:
    """Learn a vocabulary from text."""

    data: Annotated[tuple[str, ...], MinLen(1)]
    """A data folder, or text files, folders and globs."""
    out: Path
    """The tokenizer folder to write."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    vocabulary: Annotated[int, Gt(0)] | None = None
    """Number of ids, a multiple of 64. Default: by size of the text, 4096 below 20 MB, 8192 below 100 MB, 16384 below
    1 GB, else 32768."""
    sample_bytes: Annotated[int, Gt(0)] = 1_000_000_000
    """Learn from about so many bytes; of more text an even sample is taken."""
    seed: int = 0
    """Seed of the sample."""


def run(config: TokenizerTrain) -> dict[str, Any]:
    """Learn and write; returns size, fingerprint and bytes per token."""
    from dodam import files
    from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

    texts, num_bytes, source_mark = open_texts(config)
    mark = fingerprint({**to_json(config), "text": source_mark})
    result_file = config.out / "result.json"
    if result_file.is_file() and (config.out / "tokenizer.json").is_file():
        result = files.read_json(result_file)
        if result.get("mark") == mark:
            print(f"tokenizer: {config.out} is already done.", file=sys.stderr)
            return result
    elif config.out.exists() and (config.out.is_file() or any(config.out.iterdir())):
        raise UsageError("is there and is no tokenizer folder", where=str(config.out), mend="Choose another --out.")
    vocabulary = config.vocabulary or next(size for limit, size in BY_BYTES if num_bytes < limit)
    if vocabulary % 64 or vocabulary < SMALLEST:
        raise UsageError(
            f"a vocabulary of {vocabulary} cannot be: it is a multiple of 64 and at least {SMALLEST}",
            where="--vocabulary",
        )
    counter = Counter()
    raw = learn(counter.count(sample(texts, num_bytes, config)), vocabulary, SPECIAL_TOKENS)
    if not counter.bytes:
        raise DataError("holds no text", where=", ".join(config.data), mend="Name files with text in them.")
    fill_up(raw, vocabulary)
    tokenizer = Tokenizer(raw.to_str(pretty=True))
    first = counter.first[:200]
    num_tokens = sum(len(ids) for ids in tokenizer.encode_batch(first))
    result = {
        "format": 1,
        "tokenizer": str(config.out),
        "vocabulary": tokenizer.size,
        "fingerprint": tokenizer.fingerprint,
        "bytes_learned_from": counter.bytes,
        "bytes_per_token": round(sum(len(text.encode()) for text in first) / max(1, num_tokens), 3),
        "mark": mark,
    }
    with files.new_dir(config.out) as folder:
        tokenizer.save(folder)
        files.write_json(folder / "result.json", result)
    print(
        f"tokenizer: {tokenizer.size:,} ids, {result['bytes_per_token']} bytes per token, in {config.out}.",
        file=sys.stderr,
    )
    return result


def open_texts(config: TokenizerTrain) -> tuple[Iterator[str], int, Any]:
    """All texts, how many bytes they have, and what tells this text from another."""
    from dodam import __version__
    from dodam.data.documents import read_documents, read_manifest
    from dodam.data.sources import SAMPLE, Skipped, checksum, documents, inputs_of

    folder = Path(config.data[0])
    if len(config.data) == 1 and (folder / "manifest.json").is_file():
        manifest = read_manifest(folder)
        texts = (row["text"] for row in read_documents(folder, "train"))
        return texts, manifest["splits"]["train"]["bytes"], manifest["files"]
    inputs = inputs_of(config.data)

    def texts_of_files() -> Iterator[str]:
        found = documents(inputs, columns={}, encoding=config.encoding, skipped=Skipped(False))
        return (document.text for document in found)

    num_bytes = sum(len(text.encode(errors="replace")) for text in texts_of_files())
    marks = {one.path: __version__ if one.path.startswith(SAMPLE) else checksum(one.path) for one in inputs}
    return texts_of_files(), num_bytes, marks


def sample(texts: Iterator[str], num_bytes: int, config: TokenizerTrain) -> Iterator[str]:
    """All texts, or an even share of them when there are more than `sample_bytes`."""
    import random

    share = config.sample_bytes / max(1, num_bytes)
    rng = random.Random(config.seed)
    return (text for text in texts if share >= 1 or rng.random() < share)


class Counter:
    """Counts the bytes that pass through and keeps the first texts."""

    def __init__(self) -> None:
        self.bytes = 0
        self.first: list[str] = []

    def count(self, texts: Iterable[str]) -> Iterator[str]:
        from dodam.tokenizer.tokenizer import encodable

        for text in map(encodable, texts):
            self.bytes += len(text.encode())
            if len(self.first) < 1000:
                self.first.append(text)
            yield text


def learn(texts: Iterable[str], vocabulary: int, special_tokens: tuple[str, ...]) -> "HFTokenizer":
    """Byte-level BPE (Sennrich et al. 2016; bytes as in Radford et al. 2019) by the `tokenizers` library."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return raw


def fill_up(raw: "HFTokenizer", vocabulary: int) -> None:
    """Little text gives fewer merges than asked for: unused special tokens make the size what was asked for."""
    from tokenizers import AddedToken

    missing = vocabulary - raw.get_vocab_size(with_added_tokens=True)
    if missing > 0:
        raw.add_special_tokens([AddedToken(f"<|unused_{index}|>", special=True) for index in range(missing)])
