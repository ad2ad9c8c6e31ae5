"""Byte-level byte-pair encoding, written to be read: learn merges from a text, encode and decode with them.

In comes text, out come merges and ids, the same ones as the `tokenizers` library gives, which does it a thousand times
faster and is what Dodam uses. Byte-pair encoding is Sennrich et al. 2016 (algorithm 1); on bytes, Radford et al. 2019.

An example. The text is `aaabdaaabac`, in one word. Of all neighbours `a a` stand side by side most often, four times,
so the first merge is (a, a), from left to right: `aa a b d aa a b a c`. Now `aa a` and `a b` stand there twice each;
among equals the pair of the smaller ids is taken, (a, b): `aa ab d aa ab a c`. Then (aa, ab): `aaab d aaab a c`. Each
merge is a new token. A new text is encoded by making the same merges in the same order.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from dodam.tokenizer.patterns import QWEN2, pre_tokenizer

Merge = tuple[bytes, bytes]

# The ids 0 to 255 are the bytes, first those that have a sign of their own in Latin-1, then the others.
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = [*VISIBLE, *(byte for byte in range(256) if byte not in VISIBLE)]
# In a tokenizer.json a token is spelt with one letter for each byte: its own sign, or one from U+0100 on.
LETTERS = {byte: chr(byte) for byte in VISIBLE} | {byte: chr(256 + n) for n, byte in enumerate(BYTES[len(VISIBLE) :])}
BYTE_OF = {letter: byte for byte, letter in LETTERS.items()}


def spelt(token: bytes) -> str:
    """A token as a tokenizer.json spells it: ` 가` is `Ġê°Ģ`."""
    return "".join(LETTERS[byte] for byte in token)


def unspelt(name: str) -> bytes:
    """The bytes of a token that is spelt so. KeyError for letters that stand for no byte."""
    return bytes(BYTE_OF[letter] for letter in name)


def words_of(text: str, pattern: str = QWEN2) -> list[bytes]:
    """The words a text is cut into, in bytes. No token crosses from one word into the next."""
    return [word.encode() for word, _ in pre_tokenizer((pattern,), by_bytes=False).pre_tokenize_str(text)]


def learn(words: Iterable[bytes], num_merges: int) -> list[Merge]:
    """The merges, in the order they were learned; fewer than `num_merges` where nothing is left to merge.

    Each word is kept once, with how often it occurs, as a list of ids."""
    counted = Counter(words)
    cut = {word: [BYTES.index(byte) for byte in word] for word in counted}
    tokens = [bytes([byte]) for byte in BYTES]
    merges: list[Merge] = []
    while len(merges) < num_merges:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, count in counted.items():
            for pair in pairwise(cut[word]):
                pairs[pair] += count
        if not pairs:
            break
        left, right = best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        token = tokens[left] + tokens[right]
        if token not in tokens:  # two ways can lead to the same token
            tokens.append(token)
        for word, ids in cut.items():
            cut[word] = merged(ids, best, tokens.index(token))
        merges.append((tokens[left], tokens[right]))
    return merges


def merged(ids: Sequence[int], pair: tuple[int, int], new: int) -> list[int]:
    """The ids with `new` in place of the pair wherever it stands, from left to right."""
    found: list[int] = []
    place = 0
    while place < len(ids):
        here = tuple(ids[place : place + 2]) == pair
        found.append(new if here else ids[place])
        place += 2 if here else 1
    return found


class Bpe:
    """Ids <-> text, by merges. The bytes have the first 256 ids, then every merge's token has one."""

    def __init__(self, merges: Sequence[Merge], pattern: str = QWEN2) -> None:
        self.pattern = pattern
        self.tokens = list(dict.fromkeys([*(bytes([byte]) for byte in BYTES), *(a + b for a, b in merges)]))
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        self.ranks = {merge: rank for rank, merge in enumerate(merges)}
        self.cut = lru_cache(maxsize=100_000)(self._cut)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, word by word."""
        return [self.ids[token] for word in words_of(text, self.pattern) for token in self.cut(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8, such as a part of a character, become U+FFFD."""
        return b"".join(self.tokens[number] for number in ids).decode(errors="replace")

    def _cut(self, word: bytes) -> list[bytes]:
        """The tokens of a word: of all merges that are possible the one learned first is made, at its first place,
        until none is possible."""
        parts = [bytes([byte]) for byte in word]
        while len(parts) > 1:
            rank, place = min((self.ranks.get(pair, len(self.ranks)), at) for at, pair in enumerate(pairwise(parts)))
            if rank == len(self.ranks):
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return parts
