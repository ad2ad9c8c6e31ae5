"""Sampling against plain definitions: which tokens the filters keep, how often each is drawn, and the noise itself."""

import math

import pytest
import torch
from torch import Tensor

from dodam.generate.sampling import Controls, draw, filter_floor, sample, signed, uniform
from dodam.generate.sequence import SamplingParams

CPU = torch.device("cpu")


def controls(params: list[SamplingParams], vocabulary: int) -> Controls:
    return Controls.of(params, list(range(len(params))), vocabulary, CPU)


def kept_by_definition(logits: Tensor, params: SamplingParams) -> set[int]:
    """The filters one after another on one row, by sorting."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i].item())
    if params.top_k:
        order = order[: params.top_k]
    probabilities = (logits[order].double() / params.temperature).softmax(0)
    num_kept, mass = 0, 0.0
    while num_kept < len(order) and mass < params.top_p:
        mass += probabilities[num_kept].item()
        num_kept += 1
    order = order if params.top_p == 1 else order[:num_kept]
    best = logits.max().item()
    return {i for i in order if logits[i].item() >= best + params.temperature * math.log(params.min_p or 1e-300)}


@pytest.mark.parametrize("vocabulary", [20, 700])
def test_filters_keep_what_their_definitions_keep(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    grid = [
        SamplingParams(temperature=t, top_k=k, top_p=p, min_p=m)
        for t in (0.7, 1.6)
        for k in (0, 1, 7, 100, 5000)
        for p in (0.05, 0.5, 0.93, 1.0)
        for m in (0.0, 0.1)
    ]
    logits = torch.randn(len(grid), vocabulary, generator=generator)
    made = controls(grid, vocabulary)
    scaled = (logits - logits.amax(-1, keepdim=True)) / made.temperature_B1
    kept = scaled >= filter_floor(scaled, scaled.exp(), made)
    for row, (params, row_kept) in enumerate(zip(grid, kept, strict=True)):
        assert set(row_kept.nonzero().flatten().tolist()) == kept_by_definition(logits[row], params), params


def test_what_is_off_leaves_everything_in() -> None:
    scaled = torch.tensor([[0.0, -50.0, -float("inf")]])
    assert filter_floor(scaled, scaled.exp(), controls([SamplingParams()], 3)) is None


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5])
    params = SamplingParams(temperature=0.9, seed=5)
    num = 20_000
    made = Controls.of([params] * num, [5] * num, 5, CPU)
    drawn = sample(logits.expand(num, 5), made, torch.arange(num))
    found = torch.bincount(drawn, minlength=5) / num
    assert torch.allclose(found, (logits / 0.9).softmax(0), atol=0.012)


def test_rows_are_sampled_by_their_own_parameters() -> None:
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(1))
    params = [
        SamplingParams(temperature=0),
        SamplingParams(temperature=1.2),
        SamplingParams(temperature=1.0, top_k=3),
        SamplingParams(temperature=1.0, top_p=0.4),
        SamplingParams(temperature=2.0, min_p=0.3),
        SamplingParams(temperature=0, repetition_penalty=1.5),
    ]
    seen = torch.zeros(6, 50, dtype=torch.bool)
    seen[:, ::2] = True
    positions = torch.arange(6)
    together = sample(logits, controls(params, 50), positions, seen)
    for row in range(6):
        made = Controls.of([params[row]], [row], 50, CPU)
        alone = sample(logits[row : row + 1], made, positions[row : row + 1], seen[row : row + 1])
        assert alone.item() == together[row].item()
    assert together[0] == logits[0].argmax()


def test_a_temperature_near_0_is_greedy() -> None:
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(2))
    made = controls([SamplingParams(temperature=1e-50), SamplingParams(temperature=1.0)], 50)
    assert sample(logits, made, torch.arange(2))[0] == logits[0].argmax()


def test_a_token_without_weight_is_never_drawn() -> None:
    weights = torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0]]).expand(4, 5)
    drawn = draw(weights, torch.tensor([0.0, 1 / 3 - 1e-6, 1 / 3 + 1e-6, 1 - 2**-23]))
    assert drawn.tolist() == [1, 1, 3, 3]
    tiny = torch.full((1, 1000), 1e-3)
    assert draw(tiny, torch.tensor([1 - 2**-23])).item() == 999


def splitmix64(state: int) -> int:
    """The finaliser in plain integers."""
    mask = (1 << 64) - 1
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
    return state ^ state >> 31


def test_noise_is_splitmix64() -> None:
    seeds, positions = [0, 1, -1, 2**63, 2**64 - 1, 12345], [0, 1, 7, 1000, 99999, 3]
    found = uniform(torch.tensor([signed(s) for s in seeds]), torch.tensor(positions))
    mask = (1 << 64) - 1
    for seed, position, number in zip(seeds, positions, found.tolist(), strict=True):
        state = splitmix64(splitmix64(seed & mask) + position * 0x9E3779B97F4A7C15 & mask)
        assert number == (state >> 41) / 2**23
    assert found.min() >= 0 and found.max() < 1


def test_a_broken_model_does_not_break_sampling() -> None:
    """Not-a-number logits give some id in range, never an error or a wild index."""
    logits = torch.full((2, 9), float("nan"))
    params = [SamplingParams(temperature=0), SamplingParams(temperature=1, top_p=0.5)]
    drawn = sample(logits, controls(params, 9), torch.arange(2))
    assert all(0 <= id < 9 for id in drawn.tolist())
