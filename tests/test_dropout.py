"""Dropout: as torch's in its mean, its share and its gradient, and the same for the same seed."""

import math

import pytest
import torch

from dodam.nn.dropout import Dropout, kept


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_is_left_out_and_the_rest_makes_up_for_it(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    numbers = kept(torch.empty(601, 333, dtype=dtype), share)
    left_out = float((numbers == 0).float().mean())
    assert abs(left_out - share) < 4 * math.sqrt(share * (1 - share) / numbers.numel())
    assert set(numbers.unique().tolist()) == {0.0, torch.tensor(1 / (1 - share), dtype=dtype).item()}


def test_neighbours_are_decided_for_apart() -> None:
    """Four numbers share 64 drawn bits: none of them tells of another."""
    torch.manual_seed(0)
    dropped = (kept(torch.empty(100_000, 4), 0.5) == 0).float()
    correlations = torch.corrcoef(dropped.T)
    assert (correlations - torch.eye(4)).abs().max() < 0.02


def test_the_gradient_goes_where_numbers_went() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y, x * x.grad)


def test_the_same_seed_draws_the_same() -> None:
    x = torch.randn(9, 5)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(Dropout(0.4)(x))
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], Dropout(0.4)(x))


def test_nothing_happens_without_a_share_or_without_training() -> None:
    x = torch.randn(9, 5)
    state = torch.get_rng_state()
    assert Dropout(0.0)(x) is x
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(torch.get_rng_state(), state)
