"""Where the curve of a fresh decoder is expected to stand: told before the run, and beside each validation.

In come sizes, what will be read and a sample of the text; out comes the bits per byte at the end, by train/scaling.py.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dodam.data.mixture import Mixture
    from dodam.models.build import Sizes
    from dodam.tokenizer.tokenizer import Tokenizer
    from dodam.train.budget import Corpus

SAMPLED = 1 << 20  # bytes of text that tell how hard it is


def end_of(sizes: "Sizes", tokens: float, corpus: "Corpus", rows: "Mixture", tokenizer: "Tokenizer") -> float:
    """Bits per byte of held-back text at the end of a run that reads so many tokens."""
    from dodam.models.build import num_block_parameters
    from dodam.train import scaling

    read, there = tokens * corpus.bytes_a_token, corpus.tokens * corpus.bytes_a_token
    count = min(rows.rows_per_epoch, max(1, round(SAMPLED / corpus.bytes_a_token / rows.context)))
    text = "".join(tokenizer.decode(row.tolist()) for row in rows.rows(0, count))
    return scaling.bits_per_byte(num_block_parameters(sizes), read, there, scaling.hardness(text.encode()))


def expect(
    choices: dict[str, Any], sizes: "Sizes", corpus: "Corpus", rows: "Mixture", tokenizer: "Tokenizer"
) -> dict[str, float]:
    """What is expected of a run with these choices, which is said, and kept with them."""
    from dodam.train import scaling

    last = end_of(sizes, choices["steps"] * choices["batch"] * rows.context, corpus, rows, tokenizer)
    low, high = scaling.expected(last, 1.0)
    print(f"pretrain: expected at the end: {low:.2f} to {high:.2f} bits per byte (docs/scaling.md).", file=sys.stderr)
    return {"expected": last}
