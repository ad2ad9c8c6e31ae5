"""Conversations into rows of one length: best fit, nothing cropped, attention kept within each conversation.

In come encoded conversations (ids and which of them are trained), out go batches. The only state is one integer:
how many rows were taken.
"""

from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
import xxhash

from dodam.data.batch import IGNORED, TokenBatch


class Encoded(Protocol):
    """One conversation: token ids, and True where a token is learned."""

    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def trained(self) -> Sequence[bool]: ...


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Which items share a row: longest first, each into the fullest row that still holds it (best-fit decreasing)."""
    items, ends = pack(np.asarray(lengths, dtype=np.int64), capacity)
    return [part.tolist() for part in np.split(items, ends)[:-1]]


def pack(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """The same for millions of items: their numbers row by row [N], and where each row's end [R].

    Items of one length are placed together. A row that takes one of them is the fullest that holds the next, so it
    takes as many as it holds: what comes out is what one item at a time gives, in time N log N."""
    assert lengths.min(initial=capacity) > 0 and lengths.max(initial=0) <= capacity, (
        "an item is empty or longer than a row"
    )
    order = np.argsort(-lengths, kind="stable")
    row_of = np.empty(len(order), dtype=np.int64)
    by_room = [array("q") for _ in range(capacity + 1)]  # rows with so much room, the last one is taken first
    rooms: list[int] = []  # those of which there are rows, ascending
    num_rows = placed = 0
    for length, count in reversed(list(enumerate(np.bincount(lengths, minlength=1).tolist()))):
        end = placed + count
        while placed < end:
            at = bisect_left(rooms, length)
            room = rooms[at] if at < len(rooms) else capacity
            each = room // length
            wanted = -(-(end - placed) // each)
            if at < len(rooms):
                taken = np.array(by_room[room][: -wanted - 1 : -1])
                del by_room[room][-wanted:]
                if not by_room[room]:
                    del rooms[at]
            else:
                taken = np.arange(num_rows, num_rows + wanted)
                num_rows += wanted
            here = min(end - placed, each * len(taken))
            row_of[placed : placed + here] = np.repeat(taken, each)[:here]
            placed += here
            full, rest = divmod(here, each)
            for rows, left in ((taken[:full], room - each * length), (taken[full:], room - rest * length)):
                if left and len(rows):
                    if not by_room[left]:
                        insort(rooms, left)
                    by_room[left].extend(rows.tolist())
    return order[np.argsort(row_of, kind="stable")], np.cumsum(np.bincount(row_of, minlength=num_rows))


class PackedLoader:
    """Rows of packed conversations in an order computed from (seed, epoch)."""

    def __init__(self, conversations: Sequence[Encoded], context: int, pad: int, seed: int) -> None:
        self.context, self.pad, self.seed = context, pad, seed
        self.conversations = conversations
        # One position more than the context: the last token of a row is only ever a label.
        self.packed = best_fit([len(one.ids) for one in conversations], context + 1)
        self.order = lru_cache(maxsize=2)(self._order)

    @property
    def rows_per_epoch(self) -> int:
        return len(self.packed)

    @property
    def fingerprint(self) -> str:
        """Changes with every token and with which of them are learned."""
        hasher = xxhash.xxh3_64()
        for one in self.conversations:
            hasher.update(np.asarray(one.ids, dtype=np.int64).tobytes())
            hasher.update(np.asarray(one.trained, dtype=np.int8).tobytes())
        return hasher.hexdigest()

    @property
    def wasted(self) -> float:
        """Share of positions that hold padding."""
        used = sum(len(one.ids) for one in self.conversations)
        return 1.0 - used / (len(self.packed) * (self.context + 1))

    def batch(self, first: int, count: int) -> TokenBatch:
        """Rows number first..first+count-1 of the endless order."""
        ids = np.full((count, self.context + 1), self.pad, dtype=np.int64)
        labels = np.full((count, self.context + 1), IGNORED, dtype=np.int64)
        documents = np.zeros((count, self.context + 1), dtype=np.int64)
        positions = np.zeros((count, self.context + 1), dtype=np.int64)
        for index in range(count):
            epoch, place = divmod(first + index, self.rows_per_epoch)
            start = 0
            for number, item in enumerate(self.packed[self.order(epoch)[place]], start=1):
                one = self.conversations[item]
                end = start + len(one.ids)
                ids[index, start:end] = one.ids
                labels[index, start:end] = np.where(one.trained, one.ids, IGNORED)
                labels[index, start] = IGNORED  # nothing before it may predict a conversation's first token
                documents[index, start:end] = number
                positions[index, start:end] = np.arange(end - start)
                start = end
        return TokenBatch(
            ids_BT=torch.from_numpy(ids[:, :-1].copy()),
            labels_BT=torch.from_numpy(labels[:, 1:].copy()),
            documents_BT=torch.from_numpy(documents[:, :-1].copy()),
            positions_BT=torch.from_numpy(positions[:, :-1].copy()),
        )

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.packed))
