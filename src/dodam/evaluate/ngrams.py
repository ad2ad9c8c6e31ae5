"""How alike texts are by their characters alone: the cosine of TF-IDF vectors of character n-grams.

It knows nothing but the spelling: what a model of meaning stands beside. Q queries, C candidates.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

SIZES = (1, 2, 3)  # characters of a gram

Weights = dict[str, float]


class CharacterNgrams:
    """Texts' grams weighed by count x (ln((1 + n) / (1 + texts with the gram)) + 1), scaled to a length of 1 (Salton
    and Buckley 1988). `texts`: those in which grams are counted."""

    def __init__(self, texts: Sequence[str]) -> None:
        distinct = set(texts)
        held = Counter(gram for text in distinct for gram in set(grams_of(text)))
        self.idf = {gram: math.log((1 + len(distinct)) / (1 + count)) + 1 for gram, count in held.items()}

    def weights(self, text: str) -> Weights:
        """Of a text's grams; those that stand in none of the texts count nothing."""
        counts = Counter(grams_of(text))
        found = {gram: count * self.idf[gram] for gram, count in counts.items() if gram in self.idf}
        length = math.sqrt(sum(weight**2 for weight in found.values()))
        return {gram: weight / length for gram, weight in found.items()}

    def cosines(self, one: Sequence[str], two: Sequence[str]) -> np.ndarray:
        """Of each text with the one in the same place, [N]."""
        pairs = ((self.weights(first), self.weights(second)) for first, second in zip(one, two, strict=True))
        return np.array([sum(w * second.get(gram, 0.0) for gram, w in first.items()) for first, second in pairs])

    def table(self, queries: Sequence[str], candidates: Sequence[str]) -> np.ndarray:
        """Of each query with each candidate, [Q, C]."""
        postings: dict[str, tuple[list[int], list[float]]] = {}
        for place, text in enumerate(candidates):
            for gram, weight in self.weights(text).items():
                places, weights = postings.setdefault(gram, ([], []))
                places.append(place)
                weights.append(weight)
        arrays = {gram: (np.array(places), np.array(weights)) for gram, (places, weights) in postings.items()}
        found = np.zeros((len(queries), len(candidates)))
        for row, text in zip(found, queries, strict=True):
            for gram, weight in self.weights(text).items():
                if gram in arrays:
                    places, weights = arrays[gram]
                    row[places] += weight * weights
        return found


def grams_of(text: str) -> Iterator[str]:
    """All runs of so many characters; white space counts as one blank."""
    plain = " ".join(text.split())
    return (plain[at : at + size] for size in SIZES for at in range(len(plain) - size + 1))
