"""Everything of the engine that is a tensor: builds the inputs, calls the model with its cache, samples.

Sequences with their rows come in, a `Choice` per sequence goes out. B rows, T prompt positions, D width, V vocabulary.
"""

from collections.abc import Sequence as List
from typing import NamedTuple

import torch
from torch import Tensor

from dodam.generate.packed import Packed
from dodam.generate.sampling import Controls, logprobs, sample
from dodam.generate.sequence import Logprob, Sequence
from dodam.models.decoder import Decoder
from dodam.nn.cache import Cache


class Choice(NamedTuple):
    """The token that a sequence goes on with."""

    id: int
    logprob: Logprob | None


class Latest(NamedTuple):
    """What the last step of some requests leaves for their next: it need not be gathered again."""

    requests: list[int]
    controls: Controls
    ids_B: Tensor
    lengths_B: Tensor


class Runner:
    """Owns the key/value cache of `rows` sequences of up to `context` positions."""

    def __init__(self, model: Decoder | Packed, *, rows: int, context: int, pad_id: int) -> None:
        weight = model.embedding.weight
        self.model, self.pad_id, self.device = model, pad_id, weight.device
        dtype = model.dtype if isinstance(model, Packed) else weight.dtype
        self.cache = Cache.empty(model.config, rows, context, dtype, weight.device)
        self.seen_BV: Tensor | None = None
        self.latest: Latest | None = None

    @torch.inference_mode()
    def prefill(self, group: List[Sequence]) -> list[Choice]:
        """Read the prompts of a group on consecutive rows, padded on the right, and choose each one's first token. U
        prompts differ from each other.

        The padding is harmless: what it writes to the cache lies behind every query and is overwritten later."""
        first, last = group[0].row, group[-1].row + 1
        assert last - first == len(group), "a group stands on consecutive rows"
        own: dict[tuple[int, ...], int] = {}  # a prompt that several ask is read once
        places = [own.setdefault(tuple(s.prompt), len(own)) for s in group]
        longest = max(map(len, own))
        ids_UT = torch.tensor([[*ids, *[self.pad_id] * (longest - len(ids))] for ids in own], device=self.device)
        starts_U = torch.zeros(len(own), dtype=torch.long, device=self.device)
        hidden_UTD = self.model(ids_UT, cache=self.cache.rows(first, first + len(own)), starts_B=starts_U)
        ends_U = torch.tensor([len(ids) - 1 for ids in own], device=self.device)
        places_B = torch.tensor(places, device=self.device)
        if len(own) < len(group):
            self.cache.rows(first, last).reorder(places_B, longest)
        hidden_BD = hidden_UTD[torch.arange(len(own), device=self.device), ends_U][places_B]
        self.remember_prompts(group)
        logits_BV = self.model.head(hidden_BD).float()
        ids_B = self.draw(logits_BV, group, ends_U[places_B] + 1, self.controls_of(group))
        return self.choices(logits_BV, group, ids_B)

    @torch.inference_mode()
    def decode(self, running: List[Sequence]) -> list[Choice]:
        """Feed every running sequence (rows 0..n-1) its last token and choose the next."""
        requests = [s.request for s in running]
        if self.latest is None or self.latest.requests != requests:
            last_B = torch.tensor([s.generated[-1] for s in running], device=self.device)
            lengths_B = torch.tensor([s.length for s in running], device=self.device)
            self.latest = Latest(requests, self.controls_of(running), last_B, lengths_B)
        _, controls, last_B, lengths_B = self.latest
        hidden_BTD = self.model(last_B[:, None], cache=self.cache.rows(0, len(running)), starts_B=lengths_B - 1)
        logits_BV = self.model.head(hidden_BTD[:, 0]).float()
        ids_B = self.draw(logits_BV, running, lengths_B, controls)
        self.latest = Latest(requests, controls, ids_B, lengths_B + 1)
        return self.choices(logits_BV, running, ids_B)

    def draw(self, logits_BV: Tensor, sequences: List[Sequence], positions_B: Tensor, controls: Controls) -> Tensor:
        """The next id of each [B]."""
        first, last = sequences[0].row, sequences[-1].row + 1
        seen_BV = None if self.seen_BV is None else self.seen_BV[first:last]
        ids_B = sample(logits_BV, controls, positions_B, seen_BV)
        if seen_BV is not None:
            seen_BV.scatter_(1, ids_B[:, None], True)
        return ids_B

    def choices(self, logits_BV: Tensor, sequences: List[Sequence], ids_B: Tensor) -> list[Choice]:
        """The same with log-probabilities, where they are asked for."""
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
