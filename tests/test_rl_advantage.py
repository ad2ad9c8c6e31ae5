"""Advantages, per-token rewards and the KL controller against naive fp64 computations and published formulas."""

import math

import pytest
import torch

from dodam.rl import advantage
from dodam.rl.penalty import Penalty


def ragged(rows: int = 4, longest: int = 7) -> tuple[torch.Tensor, list[int]]:
    lengths = [longest, 1, 3, 5][:rows]
    return torch.arange(longest) < torch.tensor(lengths)[:, None], lengths


def test_rewards_of_tokens_are_the_penalty_and_the_score_at_the_last_one() -> None:
    real, lengths = ragged()
    torch.manual_seed(0)
    scores, kl = torch.randn(4), torch.randn(4, 7)
    found = advantage.token_rewards(scores, kl, real, 0.3)
    for row, length in enumerate(lengths):
        for place in range(7):
            expected = -0.3 * float(kl[row, place]) if place < length else 0.0
            expected += float(scores[row]) if place == length - 1 else 0.0
            assert float(found[row, place]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("discount", "smoothing"), [(1.0, 0.95), (0.9, 0.7), (1.0, 1.0), (0.99, 0.0)])
def test_gae_is_the_sum_of_the_discounted_errors_of_each_answer(discount: float, smoothing: float) -> None:
    real, lengths = ragged()
    torch.manual_seed(1)
    rewards, values = torch.randn(4, 7), torch.randn(4, 7)  # behind an answer's end stands rubbish
    advantages, returns = advantage.gae(rewards, values, real, discount, smoothing)
    for row, length in enumerate(lengths):
        r, v = rewards[row].double().tolist(), [*values[row].double().tolist()[:length], 0.0]
        errors = [r[t] + discount * v[t + 1] - v[t] for t in range(length)]
        for t in range(7):
            expected = sum((discount * smoothing) ** (k - t) * errors[k] for k in range(t, length))
            assert float(advantages[row, t]) == pytest.approx(expected, abs=1e-5)
            assert float(returns[row, t]) == pytest.approx(expected + v[t] if t < length else 0.0, abs=1e-5)


def test_whitening_looks_at_real_tokens_only() -> None:
    real, _ = ragged()
    torch.manual_seed(2)
    values = torch.where(real, torch.randn(4, 7) * 3 + 5, torch.full((4, 7), 1e6))
    found = advantage.whiten(values, real)
    assert float(found[real].mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(found[real].std(correction=0)) == pytest.approx(1.0, abs=1e-5)
    assert not found[~real].any()
    kept = advantage.whiten(values, real, shift=False)
    assert float(kept[real].mean()) == pytest.approx(float(values[real].mean()), abs=1e-4)


def test_group_advantages_compare_answers_to_one_prompt() -> None:
    scores = torch.tensor([1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 5.0])
    plain = advantage.group_advantages(scores, 4, normalize=False)
    assert plain.tolist() == [0.5, -0.5, -0.5, 0.5, 0, 0, 0, 0]
    spread = math.sqrt(4 * 0.25 / 3)
    normal = advantage.group_advantages(scores, 4, normalize=True)
    assert normal[:4].tolist() == pytest.approx([x * 0.5 / (spread + 1e-4) for x in (1, -1, -1, 1)], abs=1e-6)
    assert not normal[4:].any()


def test_explained_variance() -> None:
    real, _ = ragged()
    returns = torch.randn(4, 7, generator=torch.Generator().manual_seed(3))
    assert advantage.explained_variance(returns, returns, real) == pytest.approx(1.0)
    assert advantage.explained_variance(torch.zeros(4, 7), returns, real) == pytest.approx(0.0, abs=1e-6)
    assert advantage.explained_variance(-returns, returns, real) < 0
    assert advantage.explained_variance(returns, torch.ones(4, 7), real) == 0.0


def test_overlong_answers_are_punished_linearly_up_to_one() -> None:
    assert [advantage.overlong(length, 100, 20) for length in (10, 80, 90, 100)] == [0.0, 0.0, -0.5, -1.0]
    assert advantage.overlong(100, 100, 0) == 0.0


def test_the_adaptive_penalty_moves_towards_its_target_by_a_fifth_at_most() -> None:
    penalty = Penalty(0.1, target=6.0, horizon=1000.0)
    penalty.update(60.0, 500)
    assert penalty.coefficient == pytest.approx(0.1 * (1 + 0.2 * 0.5))
    penalty.update(5.4, 500)
    assert penalty.coefficient == pytest.approx(0.11 * (1 - 0.1 * 0.5))
    fixed = Penalty(0.1)
    fixed.update(60.0, 500)
    assert fixed.coefficient == 0.1
