"""Command `tokenizer import`: a vocabulary of others -> a tokenizer folder.

What it reads: a tokenizer.json, a SentencePiece .model or a .tiktoken file. What it writes: `tokenizer.json` and
`tokenizer_config.json` with the roles of the special tokens, checked against the original's own library where that is
installed.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dodam.errors import UsageError
from dodam.tokenizer.patterns import SplitName


@dataclass(frozen=True, kw_only=True)
class TokenizerImport:
    """Take in a vocabulary of others: a tokenizer.json, a SentencePiece .model or a .tiktoken file."""

    positional: ClassVar[tuple[str, ...]] = ("file",)

    file: Path
    """The file, or a folder that holds a tokenizer.json."""
    out: Path
    """The tokenizer folder to write."""
    pattern: SplitName | None = None
    """What a .tiktoken file's texts are cut by: gpt4 for cl100k, gpt4o for o200k, gpt2, llama3, qwen2."""
    special: dict[str, int] = field(default_factory=dict)
    """Special tokens of a .tiktoken file, with their ids. Default: <|endoftext|> behind the last rank."""
    roles: dict[str, str] = field(default_factory=dict)
    """Which tokens are bos, eos, unk, pad, cls, sep and mask, where the file does not say: eos=</s>."""


def run(config: TokenizerImport) -> dict[str, Any]:
    """Read, check and write; returns size, fingerprint and what it was checked with."""
    from dodam import files
    from dodam.tokenizer.foreign import check, open_tokenizer

    out, source = config.out, config.file if config.file.is_dir() else config.file.parent
    if out.exists() and (out.resolve() == source.resolve() or out.is_file()):
        raise UsageError("is the folder to read, or a file", where="--out", mend="Choose another one.")
    if out.exists() and not (out / "tokenizer.json").is_file() and any(out.iterdir()):
        raise UsageError("is there and is no tokenizer folder", where=str(out), mend="Choose another --out.")
    tokenizer = open_tokenizer(config.file, pattern=config.pattern, special=config.special, roles=config.roles)
    checked = check(config.file, tokenizer)
    names = tokenizer.names
    roles = {"bos": names.bos, "eos": names.eos, "pad": names.pad, "mask": names.mask}
    result = {
        "format": 1,
        "tokenizer": str(out),
        "vocabulary": tokenizer.size,
        "fingerprint": tokenizer.fingerprint,
        "source": str(config.file),
        "checked_with": checked,
        "roles": roles,
    }
    with files.new_dir(out) as folder:
        tokenizer.save(folder, tokenizer.chat_template)
        files.write_json(folder / "result.json", result)
    told = ", ".join(f"{role} {name}" for role, name in roles.items() if name)
    print(f"tokenizer: {tokenizer.size:,} ids, {told}, in {out}.", file=sys.stderr)
    if not checked:
        library = "tiktoken" if config.file.suffix == ".tiktoken" else "sentencepiece"
        print(f"tokenizer: not compared with the original, as {library} is not installed.", file=sys.stderr)
    return result
