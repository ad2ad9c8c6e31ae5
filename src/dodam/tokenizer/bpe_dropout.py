"""BPE-dropout: the same text cut into tokens a little differently each time it is read (Provilkov et al. 2020).

In come a tokenizer and a share of merges to drop; out come ids. A model that sees a word in several pieces learns what
the pieces mean, which helps most where there is little text. Only training reads such cuts.
"""

import json
from functools import lru_cache
from itertools import pairwise

import numpy as np

from dodam.tokenizer.tokenizer import Tokenizer, encodable

CUTS = 32  # ways to cut a word that are drawn; each is drawn once and kept


class BpeDropout:
    """Cuts texts with a share of the merges dropped. A cut is a function of (seed, word, number of the cut).

    ValueError for a tokenizer that is no BPE, or whose words are not made of characters it knows."""

    def __init__(self, tokenizer: Tokenizer, share: float, seed: int) -> None:
        model = json.loads(tokenizer.json)["model"]
        if model["type"] != "BPE" or tokenizer.raw.pre_tokenizer is None:
            raise ValueError(f"the tokenizer is no BPE that cuts texts into words first, but {model['type']}")
        self.tokenizer, self.share, self.seed = tokenizer, share, seed
        self.ids: dict[str, int] = model["vocab"]
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        self.ranks = {(left, right): rank for rank, (left, right) in enumerate(pairs)}
        self.cut = lru_cache(maxsize=None)(self._cut)

    def words(self, text: str) -> list[str]:
        """The words of a text in the tokenizer's alphabet; tokens never cross them."""
        raw = self.tokenizer.raw
        text = encodable(text)
        normalized = raw.normalizer.normalize_str(text) if raw.normalizer else text
        words = [word for word, _ in raw.pre_tokenizer.pre_tokenize_str(normalized)]
        unknown = {letter for word in words for letter in word if letter not in self.ids}
        if unknown:
            raise ValueError(f"the tokenizer has no token for {sorted(unknown)[0]!r}")
        return words

    def encode(self, words: list[str], number: int) -> np.ndarray:
        """Ids of the words, cut in the way that has this number (any int); int32."""
        chosen = np.random.default_rng((self.seed, number)).integers(0, CUTS, len(words)).tolist()
        parts = [self.cut(word, cut) for word, cut in zip(words, chosen, strict=True)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int32)

    def _cut(self, word: str, number: int) -> np.ndarray:
        """One way to cut a word: at every step each merge that is possible is dropped with the probability `share`,
        and of the others the one learned first is made; when all are dropped, the cut is done."""
        rng = np.random.default_rng((self.seed, number, *word.encode()))
        tokens = list(word)
        while len(tokens) > 1:
            ranks = [self.ranks.get(pair) for pair in pairwise(tokens)]
            kept = rng.random(len(ranks)) >= self.share
            possible = [(rank, at) for at, rank in enumerate(ranks) if rank is not None and kept[at]]
            if not possible:
                break
            _, at = min(possible)
            tokens[at : at + 2] = [tokens[at] + tokens[at + 1]]
        return np.array([self.ids[token] for token in tokens], np.int32)
