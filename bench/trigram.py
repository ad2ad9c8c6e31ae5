"""A trigram model over token ids, interpolated Kneser-Ney: the baseline of models that fill masks in.

In come sentences as ids; out come log-probabilities of a token after two others, and the likeliest fillings of a gap.
V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Order:
    """Counts of one order: `keys` are the n-grams as sorted numbers, base V; `before` the running sum of their counts,
    so that what an n-gram's first tokens are followed by, a range of keys, is summed by one difference."""

    keys: np.ndarray
    counts: np.ndarray
    before: np.ndarray
    discount: float

    @classmethod
    def of(cls, keys: np.ndarray, counts: np.ndarray) -> "Order":
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        before = np.concatenate([[0], counts.cumsum()])
        # Without n-grams seen once (every token of a small vocabulary has many neighbours) the formula gives nothing.
        return cls(keys, counts, before, once / (once + 2 * twice) if once and twice else 0.5)

    def smoothed(self, context: np.ndarray, token: np.ndarray, size: int, lower: np.ndarray) -> np.ndarray:
        """The probability of each token after each context, both numbers; `lower` where a shorter context sees it."""
        key = context * size + token
        place = self.keys.searchsorted(key)
        hit = self.keys[np.minimum(place, len(self.keys) - 1)] == key
        count = np.where(hit, self.counts[np.minimum(place, len(self.keys) - 1)], 0)
        first, last = self.keys.searchsorted(context * size), self.keys.searchsorted((context + 1) * size)
        total = self.before[last] - self.before[first]
        kept = np.maximum(count - self.discount, 0.0) + self.discount * (last - first) * lower
        return np.where(total > 0, kept / np.maximum(total, 1), lower)


class Trigram:
    """p(w | u, v) by interpolated Kneser-Ney smoothing (Chen & Goodman 1999, section 2.7, with its single discount
    n1 / (n1 + 2 n2) for each order). Shorter contexts count in how many longer ones a token is seen; the shortest is
    mixed with all tokens alike."""

    def __init__(self, sentences: Sequence[np.ndarray], size: int, bos: int, eos: int) -> None:
        """`size`: V. Each sentence is read as <bos> <bos> ids <eos>."""
        assert size**3 < 2**63, "the vocabulary is too large for keys of 64 bits"
        self.size, self.eos = size, eos
        framed = [np.concatenate([[bos, bos], ids, [eos]]) for ids in sentences]
        ids = np.concatenate(framed).astype(np.int64)
        ends = np.cumsum([len(one) for one in framed])
        told = np.ones(len(ids), dtype=bool)
        told[[0, 1]] = told[ends[:-1]] = told[ends[:-1] + 1] = False
        place = np.flatnonzero(told)
        grams = (ids[place - 2] * size + ids[place - 1]) * size + ids[place]
        self.tri = Order.of(*np.unique(grams, return_counts=True))
        self.bi = Order.of(*np.unique(self.tri.keys % size**2, return_counts=True))
        self.uni = Order.of(*np.unique(self.bi.keys % size, return_counts=True))
        everywhere = np.arange(size)
        self.alone_V = self.uni.smoothed(np.zeros_like(everywhere), everywhere, size, np.full(size, 1 / size))

    def log(self, first: np.ndarray | int, second: np.ndarray | int, token: np.ndarray | int) -> np.ndarray:
        """log p(token | first, second), for each where they are arrays."""
        u, v, w = np.broadcast_arrays(*(np.asarray(one, dtype=np.int64) for one in (first, second, token)))
        after_one = self.bi.smoothed(v, w, self.size, self.alone_V[w])
        return np.log(self.tri.smoothed(u * self.size + v, w, self.size, after_one))

    def fill(
        self, before: Sequence[int], choices: Sequence[np.ndarray], after: Sequence[int], *, both: bool, beams: int
    ) -> list[tuple[list[int], float]]:
        """The likeliest ways to fill a gap, with their log-probabilities, the likeliest first; found from left to right
        by beam search. `choices`: for each of its places the tokens that may stand there; `before`: two tokens at
        least. With `both` the last token is also told by the two tokens `after` (or one, the end): the score is the
        sentence's."""
        found: list[tuple[list[int], float]] = [([], 0.0)]
        for step, tokens in enumerate(choices):
            grown = []
            for filled, score in found:
                u, v = [*before, *filled][-2:]
                scores = score + self.log(u, v, tokens)
                if both and step == len(choices) - 1:
                    scores += self.log(v, tokens, after[0])
                    scores += self.log(tokens, after[0], after[1]) if len(after) > 1 else 0.0
                for place in np.argsort(-scores, kind="stable")[:beams]:
                    grown.append(([*filled, int(tokens[place])], float(scores[place])))
            found = sorted(grown, key=lambda one: -one[1])[:beams]
        return found
