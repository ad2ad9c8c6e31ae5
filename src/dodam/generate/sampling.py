"""From logits to token ids: pure functions on tensors, all rows at once, each row by its own parameters.

B rows, V vocabulary, K candidates. What a row samples depends on its own logits, parameters, seed and position only,
never on its neighbours: the noise is a hash of (seed, position), not the state of a generator.
"""

import math
from collections.abc import Sequence as List
from dataclasses import dataclass

import torch
from torch import Tensor

from dodam.generate.sequence import SamplingParams

# top-p looks at this many likeliest tokens first; rows that need more get GROWTH times as many, up to all.
CANDIDATES = 32
GROWTH = 8
# Below it the likeliest token is taken: it would be drawn anyway, and float32 cannot divide by a much smaller number.
LOWEST_TEMPERATURE = 1e-5


@dataclass(frozen=True)
class Controls:
    """The parameters of the rows as columns [B, 1]; None where no row asks for it, so that it can be left out."""

    greedy_B: Tensor
    all_greedy: bool
    any_greedy: bool
    temperature_B1: Tensor | None
    top_k_B1: Tensor | None
    top_p_B1: Tensor | None
    min_p_B1: Tensor | None
    penalty_B1: Tensor | None
    seeds_B: Tensor
    num_candidates: int

    @classmethod
    def of(cls, params: List[SamplingParams], seeds: List[int], vocabulary: int, device: torch.device) -> "Controls":
        """One row per request. top-k and top-p come together, as both need the tokens in order."""
        top_k = [min(p.top_k, vocabulary) or vocabulary for p in params]
        ranked = any(k < vocabulary for k in top_k) or any(p.top_p < 1 for p in params)
        greedy = [p.temperature < LOWEST_TEMPERATURE for p in params]
        temperatures = [1.0 if g else p.temperature for g, p in zip(greedy, params, strict=True)]

        def column(values: List[float], wanted: bool) -> Tensor | None:
            return torch.tensor(values, device=device)[:, None] if wanted else None

        return cls(
            greedy_B=torch.tensor(greedy, device=device),
            all_greedy=all(greedy),
            any_greedy=any(greedy),
            temperature_B1=column(temperatures, any(temperature != 1 for temperature in temperatures)),
            top_k_B1=column(top_k, ranked),
            top_p_B1=column([p.top_p for p in params], ranked),
            min_p_B1=column([p.min_p for p in params], any(p.min_p > 0 for p in params)),
            penalty_B1=column([p.repetition_penalty for p in params], any(p.repetition_penalty != 1 for p in params)),
            seeds_B=torch.tensor([signed(seed) for seed in seeds], device=device),
            num_candidates=min(vocabulary, max([CANDIDATES, *(k for k in top_k if k < vocabulary)])),
        )


def sample(logits_BV: Tensor, controls: Controls, positions_B: Tensor, seen_BV: Tensor | None = None) -> Tensor:
    """The next id of every row. `positions_B` is where it will stand; `seen_BV` is True for ids already in the row."""
    if controls.penalty_B1 is not None:
        assert seen_BV is not None, "a repetition penalty needs to know what was seen"
        logits_BV = penalize(logits_BV, seen_BV, controls.penalty_B1)
    if controls.all_greedy:
        return logits_BV.argmax(-1)
    scaled_BV = logits_BV - logits_BV.amax(-1, keepdim=True)
    if controls.temperature_B1 is not None:
        scaled_BV.div_(controls.temperature_B1)
    filtered = controls.top_k_B1 is not None or controls.min_p_B1 is not None
    weights_BV = scaled_BV.exp() if filtered else scaled_BV.exp_()
    if (floor_B1 := filter_floor(scaled_BV, weights_BV, controls)) is not None:
        weights_BV *= scaled_BV >= floor_B1
    drawn_B = draw(weights_BV, uniform(controls.seeds_B, positions_B))
    return torch.where(controls.greedy_B, logits_BV.argmax(-1), drawn_B) if controls.any_greedy else drawn_B


def penalize(logits_BV: Tensor, seen_BV: Tensor, penalty_B1: Tensor) -> Tensor:
    """Divide positive and multiply negative logits of seen tokens by the penalty (Keskar et al. 2019, section 4.1)."""
    factors_BV = torch.where(logits_BV > 0, 1 / penalty_B1, penalty_B1)
    return torch.where(seen_BV, logits_BV * factors_BV, logits_BV)


def filter_floor(scaled_BV: Tensor, weights_BV: Tensor, controls: Controls) -> Tensor | None:
    """The lowest logit [B, 1] that top-k, then top-p, then min-p leave in; None when nobody filters.

    All three keep the likeliest tokens, so one threshold says it all. `scaled_BV` has maximum 0 and `weights_BV` is its
    exponential. Tokens that tie with the last one kept are kept."""
    floors = []
    if controls.top_k_B1 is not None and controls.top_p_B1 is not None:
        total_B1 = weights_BV.sum(-1, keepdim=True)
        floors.append(rank_floor(scaled_BV, total_B1, controls.top_k_B1, controls.top_p_B1, controls.num_candidates))
    if controls.min_p_B1 is not None:
        floors.append(controls.min_p_B1.log())
    return None if not floors else torch.stack(floors).amax(0)


def rank_floor(scaled_BV: Tensor, total_B1: Tensor, top_k_B1: Tensor, top_p_B1: Tensor, num_candidates: int) -> Tensor:
    """The logit of the last token that top-k and top-p keep, -inf for a row that uses neither.

    The `num_candidates` likeliest tokens hold every row's k. A row whose nucleus is larger is done again with more."""
    V = scaled_BV.shape[1]
    sorted_BK = scaled_BV.topk(num_candidates, dim=-1).values
    sums_BK = sorted_BK.exp().cumsum(-1)
    within_B1 = sums_BK.gather(1, top_k_B1.clamp(max=num_candidates) - 1)
    target_B1 = top_p_B1 * torch.where(top_k_B1 < V, within_B1, total_B1)
    nucleus_B1 = ((sums_BK < target_B1).sum(-1, keepdim=True) + 1).masked_fill(top_p_B1 >= 1, V)
    num_kept_B1 = torch.minimum(top_k_B1, nucleus_B1)
    last_B1 = sorted_BK.gather(1, num_kept_B1.clamp(max=num_candidates) - 1)
    floor_B1 = last_B1.masked_fill(num_kept_B1 > num_candidates, -math.inf)
    rows = ((num_kept_B1 > num_candidates) & (top_p_B1 < 1)).squeeze(1).nonzero().squeeze(1)
    if num_candidates < V and len(rows):
        more = min(V, num_candidates * GROWTH)
        floor_B1[rows] = rank_floor(scaled_BV[rows], total_B1[rows], top_k_B1[rows], top_p_B1[rows], more)
    return floor_B1


def draw(weights_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """An id per row with probability proportional to its weight: the inverse of the cumulative sum at `uniform_B`."""
    sums_BV = weights_BV.cumsum(-1)
    targets_B1 = uniform_B[:, None] * sums_BV[:, -1:]
    return torch.searchsorted(sums_BV, targets_B1, right=True).squeeze(1).clamp_(max=weights_BV.shape[1] - 1)


def uniform(seeds_B: Tensor, positions_B: Tensor) -> Tensor:
    """A number in [0, 1) per row from (seed, position): the hash SplitMix64 (Steele et al. 2014), 23 bits kept, so that
    the product with a float32 sum stays below that sum."""
    state_B = mix(mix(seeds_B) + positions_B * signed(0x9E3779B97F4A7C15))
    return (shift_right(state_B, 41)).float() * 2.0**-23


def mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser; int64 arithmetic wraps, which is what is wanted."""
    x = (x ^ shift_right(x, 30)) * signed(0xBF58476D1CE4E5B9)
    x = (x ^ shift_right(x, 27)) * signed(0x94D049BB133111EB)
    return x ^ shift_right(x, 31)


def shift_right(x: Tensor, bits: int) -> Tensor:
    """A logical shift: torch's own fills with the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def signed(value: int) -> int:
    """Any integer as the int64 with the same low 64 bits."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def logprobs(logits_BV: Tensor, ids_B: Tensor, num_top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of the chosen ids [B], and of the `num_top` likeliest with their ids [B, N]."""
    logprobs_BV = logits_BV.log_softmax(-1)
    top = logprobs_BV.topk(min(num_top, logits_BV.shape[1]), dim=-1)
    return logprobs_BV.gather(1, ids_B[:, None]).squeeze(1), top.values, top.indices
