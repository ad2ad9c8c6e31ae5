"""A tiktoken file as a tokenizer.json: base64 tokens with their ranks, a line each.

In comes the file, the name of the pattern its texts are cut by, and the special tokens, for the file holds neither.
tiktoken merges the neighbours whose bytes together have the lowest rank; in a list of merges that is every way to put a
token together, in the order of ranks.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dodam.errors import DataError, UsageError
from dodam.tokenizer.bpe import spelt
from dodam.tokenizer.patterns import SPLITS, SplitName, pre_tokenizer

END = "<|endoftext|>"
MEND = "A line is a token in base64, a space and its rank."


def read_ranks(path: Path) -> dict[bytes, int]:
    """The ranks of the tokens. DataError names the line that is no token, or what is missing."""
    ranks: dict[bytes, int] = {}
    seen: set[int] = set()
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                token, rank = line.split()
                value, key = int(rank), base64.b64decode(token, validate=True)
            except (ValueError, binascii.Error):
                raise DataError("is no token with its rank", where=f"{path}:{number}", mend=MEND) from None
            if key in ranks or value in seen or value < 0:
                raise DataError("names a token or a rank that was there before", where=f"{path}:{number}", mend=MEND)
            ranks[key] = value
            seen.add(value)
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        what = f"holds no token for {len(missing)} of the 256 bytes"
        raise DataError(what, where=str(path), mend="It is torn, or no tiktoken file.")
    return ranks


def from_tiktoken(path: Path, pattern: SplitName, special: Mapping[str, int]) -> str:
    """The file as the text of a tokenizer.json. Without `special`, `<|endoftext|>` stands behind the last rank."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    ranks = read_ranks(path)
    vocabulary = {spelt(token): rank for token, rank in ranks.items()}
    special = dict(special) or {END: max(ranks.values()) + 1}
    used = set(vocabulary.values())
    if taken := [name for name, number in special.items() if number in used or name in vocabulary]:
        what = f"{taken[0]} has the id or the name of a token of the file"
        raise UsageError(what, where="--special", mend=f"The ranks end at {max(ranks.values())}.")
    if len(set(special.values())) < len(special):
        raise UsageError("gives two tokens the same id", where="--special")
    numbers = used | set(special.values())
    added = special | {f"<|unused_{number}|>": number for number in range(max(numbers)) if number not in numbers}
    raw = Tokenizer(models.BPE(vocabulary | added, list(merges(ranks))))
    raw.model.ignore_merges = not all(
        [one.id for one in raw.model.tokenize(name)] == [number] for name, number in vocabulary.items()
    )
    raw.pre_tokenizer = pre_tokenizer(SPLITS[pattern].patterns)
    raw.decoder = decoders.ByteLevel()
    if words := [name for name in special if [name] == [word for word, _ in raw.pre_tokenizer.pre_tokenize_str(name)]]:
        raise UsageError(f"{words[0]} is a word, and would be read out of texts", where="--special")
    raw.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for _, name in sorted((n, name) for name, n in added.items())]
    )
    return raw.to_str(pretty=True)


def merges(ranks: Mapping[bytes, int]) -> Iterator[tuple[str, str]]:
    """Every way to put a token together from two, in the order of the tokens' ranks; of one token the way with the
    longest left part first."""
    for token in sorted(ranks, key=ranks.__getitem__):
        for place in range(len(token) - 1, 0, -1):
            left, right = token[:place], token[place:]
            if left in ranks and right in ranks:
                yield spelt(left), spelt(right)


def reference(path: Path, tokenizer_json: str) -> Any:
    """tiktoken's own reader of the same file, by which ids can be compared. ImportError where it is not installed."""
    library = import_module("tiktoken")
    stages = json.loads(tokenizer_json)["pre_tokenizer"]["pretokenizers"]
    pattern = stages[0]["pattern"]["Regex"]
    return library.Encoding(path.stem, pat_str=pattern, mergeable_ranks=read_ranks(path), special_tokens={})
