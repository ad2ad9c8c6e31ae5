"""Command `tokenizer show`: how a text is cut into tokens.

In come a tokenizer and a text (or standard input), out come its pieces, ids and bytes per token.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class TokenizerShow:
    """Show how a text is cut into tokens."""

    positional: ClassVar[tuple[str, ...]] = ("tokenizer", "text")

    tokenizer: Path
    """A tokenizer, model or run folder."""
    text: str = "-"
    """The text; - reads standard input."""


def run(config: TokenizerShow) -> dict[str, Any]:
    """Print pieces and figures; the same as a dictionary."""
    from dodam.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(config.tokenizer)
    text = sys.stdin.read() if config.text == "-" else config.text
    ids = tokenizer.encode(text)
    pieces = [tokenizer.piece(token) for token in ids]
    num_bytes = len(text.encode())
    print("·".join(piece.replace("\n", "⏎") for piece in pieces))
    print(" ".join(map(str, ids)))
    per_token = num_bytes / max(1, len(ids))
    print(f"{len(ids)} tokens, {num_bytes} bytes, {per_token:.2f} bytes per token; vocabulary {tokenizer.size}")
    return {"ids": ids, "pieces": pieces, "bytes": num_bytes, "bytes_per_token": per_token}
