"""Stage `tokenizer train`: text -> a byte-level BPE vocabulary, as a tokenizer folder.

What it reads: a data folder (its training split) or any text source. Counting pairs happens in memory, so from large
corpora an even sample of `--sample-bytes` is taken. What a text is cut by is in `patterns.py`.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Gt, MinLen

from dodam.config import fingerprint, to_json
from dodam.errors import DataError, DodamError, UsageError
from dodam.tokenizer.patterns import SPLITS, Digits, SplitName, pre_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer

SMALLEST = 448  # special tokens and all bytes, as a multiple of 64
MEMORY_PER_BYTE = 25
"""Counting needs at most so many bytes of memory for each byte of natural text: 23 were measured with 10 MB of Korean
and English, 17 with 20 MB, and the more text, the fewer, as words come again."""
FIRST_BYTES = 200_000  # of the text, from its beginning, on which bytes per token are told
BY_BYTES = ((20e6, 4096), (100e6, 8192), (1e9, 16_384), (float("inf"), 32_768))


@dataclass(frozen=True, kw_only=True)
class TokenizerTrain:
    """Learn a vocabulary from text."""

    data: Annotated[tuple[str, ...], MinLen(1)]
    """Data folders, or text files, folders and globs."""
    out: Path
    """The tokenizer folder to write."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which column of rows holds the text, when it is not `text`: text=body."""
    encoding: str = "auto"
    """The encoding of text files that are not UTF-8, such as cp949; `auto` finds it out."""
    skip_bad: bool = False
    """Leave out rows and files that cannot be read, and count them, instead of stopping at the first."""
    vocabulary: Annotated[int, Gt(0)] | None = None
    """Number of ids, a multiple of 64. Default: by size of the text, 4096 below 20 MB, 8192 below 100 MB, 16384 below
    1 GB, else 32768."""
    split: SplitName = "qwen2"
    """What words are, which no token crosses: as in one of these families of models, or korean (words without their
    particles, characters whole), or morphemes (learned on morphemes, needs the extra `ko`; it then cuts as qwen2)."""
    digits: Digits | None = None
    """Digits one by one, or up to three together. Default: as the split has them, which is single, but grouped in gpt4,
    gpt4o and llama3, and in gpt2 as many as there are."""
    sample_bytes: Annotated[int, Gt(0)] = 1_000_000_000
    """Learn from about so many bytes; of more text an even sample is taken."""
    memory: Annotated[int, Gt(0)] | None = None
    """Keep learning within about so many bytes of memory, such as 4000000000: of text a sample of a 25th of that is
    taken, if it is less than --sample-bytes."""
    seed: int = 0
    """Seed of the sample."""


def run(config: TokenizerTrain) -> dict[str, Any]:
    """Learn and write; returns size, fingerprint and bytes per token."""
    import math

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
            mend=f"The next one is {max(SMALLEST, 64 * math.ceil(vocabulary / 64))}.",
        )
    counter = Counter()
    chosen = counter.count(sample(texts, num_bytes, config))
    raw = learn(chosen, vocabulary, SPECIAL_TOKENS, split=config.split, digits=config.digits)
    if not counter.bytes:
        raise no_text(config, num_bytes)
    fill_up(raw, vocabulary)
    tokenizer = Tokenizer(raw.to_str(pretty=True))
    num_tokens = sum(len(ids) for ids in tokenizer.encode_batch(counter.first))
    result = {
        "format": 1,
        "tokenizer": str(config.out),
        "vocabulary": tokenizer.size,
        "split": config.split,
        "digits": config.digits,
        "fingerprint": tokenizer.fingerprint,
        "bytes_learned_from": counter.bytes,
        "bytes_per_token": round(sum(len(text.encode()) for text in counter.first) / max(1, num_tokens), 3),
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
    from dodam.data.readers.notes import tell
    from dodam.data.skipped import OR_SKIP, Skipped
    from dodam.data.sources import SAMPLE, checksum, documents, inputs_of

    folders = [one for one in config.data if (Path(one) / "manifest.json").is_file()]
    if folders and len(folders) < len(config.data):
        raise UsageError("data folders and files cannot be read together", mend="Name the one or the other.")
    if folders:
        manifests = [read_manifest(folder) for folder in folders]
        texts = (row["text"] for folder in folders for row in read_documents(folder, "train"))
        num_bytes = sum(manifest["splits"]["train"]["bytes"] for manifest in manifests)
        return texts, num_bytes, [manifest["files"] for manifest in manifests]
    skipped = Skipped(config.skip_bad, OR_SKIP)
    inputs = inputs_of(config.data, skipped)

    def texts_of_files() -> Iterator[str]:
        found = documents(inputs, columns=config.columns, encoding=config.encoding, skipped=skipped, told=False)
        return (document.text for document in found)

    num_bytes = sum(len(text.encode(errors="replace")) for text in texts_of_files())
    tell("tokenizer")
    skipped.tell()
    marks = {one.path: __version__ if one.path.startswith(SAMPLE) else checksum(one.path) for one in inputs}
    return texts_of_files(), num_bytes, marks


def sample(texts: Iterator[str], num_bytes: int, config: TokenizerTrain) -> Iterator[str]:
    """All texts, or an even share of them when there are more than `sample_bytes` or than fit into `memory`."""
    import random

    most = config.sample_bytes
    if config.memory is not None:
        most = min(most, config.memory / MEMORY_PER_BYTE)
    share = most / max(1, num_bytes)
    rng = random.Random(config.seed)
    return (text for text in texts if share >= 1 or rng.random() < share)


def no_text(config: TokenizerTrain, num_bytes: int) -> DodamError:
    """The error where nothing was sampled of so many bytes of text."""
    if not num_bytes:
        return DataError("holds no text", where=", ".join(config.data), mend="Name files with text in them.")
    by_memory = config.memory is not None and config.memory / MEMORY_PER_BYTE < config.sample_bytes
    flag, most = ("--memory", MEMORY_PER_BYTE * num_bytes) if by_memory else ("--sample-bytes", num_bytes)
    return UsageError(
        f"a sample of {num_bytes:,} bytes of text is empty", where=flag, mend=f"All of it: {flag} {most}."
    )


class Counter:
    """Counts the bytes that pass through and keeps the first texts."""

    def __init__(self) -> None:
        self.bytes = 0
        self.first: list[str] = []

    def count(self, texts: Iterable[str]) -> Iterator[str]:
        from dodam.tokenizer.tokenizer import encodable

        for text in map(encodable, texts):
            if self.bytes < FIRST_BYTES:
                self.first.append(text)
            self.bytes += len(text.encode())
            yield text


def learn(
    texts: Iterable[str],
    vocabulary: int,
    special_tokens: tuple[str, ...],
    *,
    split: SplitName = "qwen2",
    digits: Digits | None = None,
) -> "HFTokenizer":
    """Byte-level BPE (Sennrich et al. 2016; bytes as in Radford et al. 2019) by the `tokenizers` library.

    UsageError for morphemes without their analyser."""
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers

    from dodam.tokenizer.characters import learn_characters

    chosen = SPLITS[split]
    patterns = chosen.cuts(digits)
    if chosen.whole_characters:
        raw = Tokenizer(learn_characters(texts, patterns, special_tokens, vocabulary))
        raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens])
    else:
        raw = learn_bytes(texts, patterns, special_tokens, vocabulary, at_morphemes=split == "morphemes")
        raw.model.ignore_merges = chosen.whole_words and patterns == chosen.patterns
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizer(patterns)
    raw.decoder = decoders.ByteLevel()
    return raw


def learn_bytes(
    texts: Iterable[str],
    patterns: tuple[str, ...],
    special_tokens: tuple[str, ...],
    vocabulary: int,
    *,
    at_morphemes: bool,
) -> "HFTokenizer":
    """Merges learned on bytes; `at_morphemes` keeps those apart that a word is made of."""
    import unicodedata

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from dodam.tokenizer.morphemes import BORDER, with_borders

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizer(patterns)
    # Here and not by a normalizer: text in NFC, as nearly all is, costs Python a glance and the library a copy.
    texts = (unicodedata.normalize("NFC", text) for text in texts)
    if at_morphemes:
        texts = with_borders(texts)
        borders = pre_tokenizers.Split(BORDER, behavior="removed")
        raw.pre_tokenizer = pre_tokenizers.Sequence([borders, raw.pre_tokenizer])
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
