"""A byte-level BPE that keeps characters whole: merges are learned on characters, and then spelt out in bytes.

In come texts and patterns, out comes an ordinary byte-level BPE. The merges that put a character together from its
bytes stand before all others, and no merge goes from a part of one character into another. So a token holds whole
characters, or a part of a single one: of rare characters, which stay bytes. In the plain order a token can end in the
middle of a syllable, and the same syllable is cut differently from place to place.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from tokenizers import Tokenizer, models, normalizers, trainers

from dodam.tokenizer.bpe import LETTERS, spelt
from dodam.tokenizer.patterns import pre_tokenizer

COVERED = 0.999
"""So much of the characters that are longer than a byte get a token of their own, the most frequent ones first,"""
MOST = 0.25
"""as long as these are at most this share of the vocabulary."""


def learn_characters(texts: Iterable[str], patterns: Sequence[str], special: Sequence[str], size: int) -> models.BPE:
    """A byte-level BPE of at most `size` tokens: first the special ones, then the bytes, then what is merged. Texts are
    put into NFC first."""
    counts: Counter[str] = Counter()
    normalizer = normalizers.NFC()

    def counted() -> Iterator[str]:
        for text in texts:
            text = normalizer.normalize_str(text)
            counts.update(text)
            yield text

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizer(patterns, by_bytes=False)
    most = max(1, int(MOST * size))
    # More than there is room for: characters of one byte cost nothing, and merges of rare characters fall out.
    trainer = trainers.BpeTrainer(vocab_size=size + most + 128, limit_alphabet=most + 128, show_progress=False)
    raw.train_from_iterator(counted(), trainer)
    learned = json.loads(raw.to_str())["model"]
    kept = frequent(counts, most)
    ids = {name: number for number, name in enumerate([*special, *sorted(LETTERS.values())])}
    merges = []
    for left, right in chain(within(kept), between(learned["merges"], kept)):
        if len(ids) == size:
            break
        merges.append((left, right))
        ids.setdefault(left + right, len(ids))
    return models.BPE(ids, merges)


def frequent(counts: Counter[str], most: int) -> list[str]:
    """The characters of several bytes that get tokens of their own, the most frequent one first."""
    long = [(character, count) for character, count in counts.items() if len(character.encode()) > 1]
    long.sort(key=lambda one: (-one[1], one[0]))
    wanted, total, kept = COVERED * sum(count for _, count in long), 0, []
    for character, count in long[:most]:
        if total >= wanted or count < 2:
            break
        kept.append(character)
        total += count
    return kept


def within(characters: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The merges that put characters together from their bytes, each once."""
    done = set()
    for character in characters:
        name = spelt(character.encode())
        for end in range(1, len(name)):
            if name[: end + 1] not in done:
                done.add(name[: end + 1])
                yield name[:end], name[end]


def between(merges: Iterable[Sequence[str]], characters: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Merges of characters as merges of bytes, without those that hold a character that has no token."""
    kept = {*characters, *map(chr, range(128))}
    for left, right in merges:
        if kept.issuperset(left) and kept.issuperset(right):
            yield spelt(left.encode()), spelt(right.encode())
