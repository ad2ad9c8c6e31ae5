"""Who runs in the next step: a queue of waiting sequences and the rows of the running ones.

Holds no tensors. Running sequences occupy rows 0..n-1; when one leaves, the last one takes its row, and the caller is
told so that it can move what it keeps for that row.
"""

from collections import deque

from dodam.generate.sequence import Sequence

# Prompts share a prefill when the shortest has at least this share of the longest: the rest is padding.
LEAST_FILL = 0.7
# Prompt tokens in one prefill, padding included: bounds its memory and how long the others wait for it.
PREFILL_TOKENS = 8192


def group_by_length(sequences: list[Sequence]) -> list[list[Sequence]]:
    """Longest first, cut into groups that waste little on padding and stay within PREFILL_TOKENS."""
    groups: list[list[Sequence]] = []
    for sequence in sorted(sequences, key=lambda s: s.length, reverse=True):
        longest = groups[-1][0].length if groups else 0
        similar = sequence.length >= LEAST_FILL * longest - 8
        if groups and similar and longest * (len(groups[-1]) + 1) <= PREFILL_TOKENS:
            groups[-1].append(sequence)
        else:
            groups.append([sequence])
    return groups


class Scheduler:
    """First come, first served, up to `max_rows` at a time."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def admit(self) -> list[list[Sequence]]:
        """Give waiting sequences the free rows; return them in groups to prefill, each on consecutive rows.

        While more wait than there is room for, an eighth of the rows is let come free first: a prefill costs as much as
        a step of everyone, so it should serve several."""
        free = self.max_rows - len(self.running)
        num_admitted = min(free, len(self.waiting))
        if not num_admitted or (num_admitted < len(self.waiting) and free < self.max_rows // 8):
            return []
        groups = group_by_length([self.waiting.popleft() for _ in range(num_admitted)])
        for group in groups:
            for sequence in group:
                sequence.row = len(self.running)
                self.running.append(sequence)
        return groups

    def leave(self, sequence: Sequence) -> tuple[int, int] | None:
        """Take a sequence out. When another one was moved into its row: (old row, new row)."""
        if sequence.row < 0:
            self.waiting.remove(sequence)
            return None
        last = self.running.pop()
        if last is sequence:
            return None
        move = (last.row, sequence.row)
        self.running[sequence.row] = last
        last.row = sequence.row
        return move
