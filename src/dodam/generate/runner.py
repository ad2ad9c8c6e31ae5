"""Everything of the engine that is a tensor: builds the inputs, calls the model with its cache, samples.

Sequences with their rows come in, a `Choice` per sequence goes out. B rows, T prompt positions, D width, V vocabulary.
"""

from collections.abc import Sequence as List
from typing import NamedTuple

import torch
from torch import Tensor

from dodam.generate.sampling import Controls, logprobs, sample
from dodam.generate.sequence import Logprob, Sequence
from dodam.models.decoder import Decoder
from dodam.nn.cache import Cache


class Choice(NamedTuple):
    """The token that a sequence goes on with."""

    id: int
    logprob: Logprob | None


class Runner:
    """Owns the key/value cache of `rows` sequences of up to `context` positions."""

    def __init__(self, model: Decoder, *, rows: int, context: int, pad_id: int) -> None:
        weight = model.embedding.weight
        self.model, self.pad_id, self.device = model, pad_id, weight.device
        self.cache = Cache.empty(model.config, rows, context, weight.dtype, weight.device)
        self.seen_BV: Tensor | None = None
        self.controls: tuple[list[int], Controls] | None = None

    @torch.inference_mode()
    def prefill(self, group: List[Sequence]) -> list[Choice]:
        """Read the prompts of a group on consecutive rows, padded on the right, and choose each one's first token.

        The padding is harmless: what it writes to the cache lies behind every query and is overwritten later."""
        first, last = group[0].row, group[-1].row + 1
        assert last - first == len(group), "a group stands on consecutive rows"
        longest = max(s.length for s in group)
        padded = [s.prompt + [self.pad_id] * (longest - s.length) for s in group]
        ids_BT = torch.tensor(padded, device=self.device)
        starts_B = torch.zeros(len(group), dtype=torch.long, device=self.device)
        hidden_BTD = self.model(ids_BT, cache=self.cache.rows(first, last), starts_B=starts_B)
        ends_B = torch.tensor([s.length - 1 for s in group], device=self.device)
        hidden_BD = hidden_BTD[torch.arange(len(group), device=self.device), ends_B]
        self.remember_prompts(group)
        return self.choose(hidden_BD, group, ends_B + 1, self.controls_of(group))

    @torch.inference_mode()
    def decode(self, running: List[Sequence]) -> list[Choice]:
        """Feed every running sequence (rows 0..n-1) its last token and choose the next."""
        ids_BT = torch.tensor([[s.generated[-1]] for s in running], device=self.device)
        starts_B = torch.tensor([s.length - 1 for s in running], device=self.device)
        hidden_BTD = self.model(ids_BT, cache=self.cache.rows(0, len(running)), starts_B=starts_B)
        requests = [s.request for s in running]
        if self.controls is None or self.controls[0] != requests:
            self.controls = (requests, self.controls_of(running))
        return self.choose(hidden_BTD[:, 0], running, starts_B + 1, self.controls[1])

    def choose(
        self, hidden_BD: Tensor, sequences: List[Sequence], positions_B: Tensor, controls: Controls
    ) -> list[Choice]:
        logits_BV = self.model.head(hidden_BD).float()
        first, last = sequences[0].row, sequences[-1].row + 1
        seen_BV = None if self.seen_BV is None else self.seen_BV[first:last]
        ids_B = sample(logits_BV, controls, positions_B, seen_BV)
        if seen_BV is not None:
            seen_BV.scatter_(1, ids_B[:, None], True)
        num_top = max((-1 if s.params.logprobs is None else s.params.logprobs) for s in sequences)
        if num_top < 0:
            return [Choice(id, None) for id in ids_B.tolist()]
        columns = (column.tolist() for column in logprobs(logits_BV, ids_B, num_top))
        return [
            Choice(id, logprob_of(sequence, chosen, values, ids))
            for id, sequence, chosen, values, ids in zip(ids_B.tolist(), sequences, *columns, strict=True)
        ]

    def controls_of(self, sequences: List[Sequence]) -> Controls:
        return Controls.of(
            [s.params for s in sequences], [s.seed for s in sequences], self.model.config.vocabulary, self.device
        )

    def remember_prompts(self, group: List[Sequence]) -> None:
        """Note the prompts' ids for the repetition penalty. The table is made when someone first asks for a penalty."""
        if self.seen_BV is None:
            if all(s.params.repetition_penalty == 1 for s in group):
                return
            shape = (self.cache.num_rows, self.model.config.vocabulary)
            self.seen_BV = torch.zeros(shape, dtype=torch.bool, device=self.device)
        for sequence in group:
            self.seen_BV[sequence.row] = False
            self.seen_BV[sequence.row, torch.tensor(sequence.prompt, device=self.device)] = True

    @torch.inference_mode()
    def move(self, source: int, target: int) -> None:
        """What is kept for row `source` is kept for row `target` from now on."""
        self.cache.move(source, target)
        if self.seen_BV is not None:
            self.seen_BV[target] = self.seen_BV[source]


def logprob_of(sequence: Sequence, chosen: float, values: list[float], ids: list[int]) -> Logprob | None:
    if sequence.params.logprobs is None:
        return None
    return Logprob(chosen, list(zip(ids, values, strict=True))[: sequence.params.logprobs])
