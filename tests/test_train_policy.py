"""The objectives of PPO and GRPO against naive loops in fp64, and what accumulation must not change."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dodam.data.batch import IGNORED, TokenBatch
from dodam.models.value import add_value, take_off_value
from dodam.rl.advantage import group_advantages
from dodam.train.policy import GrpoObjective, PpoObjective, ReplayBatch, RolloutBatch, k3, policy_loss, value_loss
from talking_models import make_decoder

LENGTHS = (6, 2, 4)
FIRST = 3  # tokens of the prompt less one: where answers begin to be predicted


def batch(seed: int = 0) -> RolloutBatch:
    """Three answers of unlike lengths, and rubbish where there is none."""
    generator = torch.Generator().manual_seed(seed)
    T = FIRST + max(LENGTHS)
    ids = torch.randint(0, 448, (3, T + 1), generator=generator)
    labels = torch.full((3, T), IGNORED)
    for row, length in enumerate(LENGTHS):
        labels[row, FIRST : FIRST + length] = ids[row, FIRST + 1 : FIRST + 1 + length]

    def numbers(scale: float, shift: float = 0.0) -> torch.Tensor:
        return torch.randn(3, T, generator=generator) * scale + shift

    return RolloutBatch(
        ids[:, :-1], labels, advantages_BT=numbers(1.0), old_BT=numbers(0.4, -6.0), reference_BT=numbers(0.4, -6.0),
        values_BT=numbers(1.0), returns_BT=numbers(1.0),
    )  # fmt: skip


def logprobs64(model: torch.nn.Module, one: RolloutBatch) -> torch.Tensor:
    """[B, T] by the plain way."""
    with torch.no_grad():
        logits = model.head(model(one.ids_BT)).double()
    return logits.log_softmax(-1).gather(2, one.labels_BT.clamp(min=0)[..., None]).squeeze(-1)


def token_losses(model: torch.nn.Module, one: RolloutBatch, low: float, high: float, kl: float) -> list[list[float]]:
    logprobs, found = logprobs64(model, one), []
    for row, length in enumerate(LENGTHS):
        mine = []
        for t in range(FIRST, FIRST + length):
            logprob, old, reference = (float(x[row, t]) for x in (logprobs, one.old_BT, one.reference_BT))
            ratio, advantage = math.exp(logprob - old), float(one.advantages_BT[row, t])
            clipped = min(max(ratio, 1 - low), 1 + high)
            away = reference - logprob
            mine.append(-min(ratio * advantage, clipped * advantage) + kl * (math.exp(away) - away - 1))
        found.append(mine)
    return found


@pytest.fixture(scope="module")
def model():
    """One whose log-probabilities lie where `batch` has them, about -6."""
    found = make_decoder()
    with torch.no_grad():
        found.output.weight.mul_(0.05)
    return found


@pytest.mark.parametrize("averaged", ["answers", "tokens", "longest"])
def test_grpo_is_its_formula(averaged: str, model) -> None:
    objective = GrpoObjective(low=0.2, high=0.28, kl=0.1, averaged=averaged, most=10)
    losses = token_losses(model, batch(), 0.2, 0.28, 0.1)
    expected = {
        "answers": sum(sum(mine) / len(mine) for mine in losses) / 3,
        "tokens": sum(map(sum, losses)) / sum(LENGTHS),
        "longest": sum(sum(mine) / 10 for mine in losses) / 3,
    }[averaged]
    found = float(objective(model, batch()).detach()) / objective.weight(batch())
    assert found == pytest.approx(expected, abs=1e-5)
    told = objective.sums.tell()
    ratios = (logprobs64(model, batch()) - batch().old_BT).exp()
    outside = [
        (float(ratio) - 1) * float(advantage) > 0 and not 0.8 <= float(ratio) <= 1.28
        for ratio, advantage, here in zip(
            ratios.flatten(), batch().advantages_BT.flatten(), batch().answered_BT.flatten(), strict=True
        )
        if here
    ]
    assert 0 < told["clipped"] < 1
    assert told["clipped"] == pytest.approx(sum(outside) / len(outside))


@pytest.mark.parametrize("averaged", ["answers", "tokens", "longest"])
def test_rows_in_parts_have_the_gradient_of_all_at_once(averaged: str, model) -> None:
    objective = GrpoObjective(low=0.2, high=0.2, kl=0.1, averaged=averaged, most=10)
    whole = batch()
    given = {name: value for name, value in vars(whole).items() if value is not None}
    parts = [RolloutBatch(**{name: value[row : row + 1] for name, value in given.items()}) for row in range(3)]
    gradients = []
    for batches in ([whole], parts):
        model.zero_grad()
        weight = sum(objective.weight(one) for one in batches)
        for one in batches:
            (objective(model, one) / weight).backward()
        gradients.append(model.blocks[0].attention.query.weight.grad.clone())
    assert float(gradients[0].abs().max()) > 0
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_without_old_logprobs_the_gradient_is_the_plain_policy_gradient(model) -> None:
    one = replace(batch(), old_BT=None, reference_BT=None)
    model.zero_grad()
    GrpoObjective(low=0.2, high=0.2, kl=0.0, averaged="tokens", most=10)(model, one).backward()
    found = model.output.weight.grad.clone()
    model.zero_grad()
    logprobs = model.head(model(one.ids_BT)).log_softmax(-1)
    logprobs = logprobs.gather(2, one.labels_BT.clamp(min=0)[..., None]).squeeze(-1)
    (-(logprobs * one.advantages_BT)[one.answered_BT]).sum().backward()
    torch.testing.assert_close(found, model.output.weight.grad, atol=1e-5, rtol=1e-4)


def test_ppo_is_its_formula(model) -> None:
    add_value(model)
    try:
        torch.nn.init.normal_(model.value.output.weight, generator=torch.Generator().manual_seed(1))
        objective = PpoObjective(clip=0.2, value_clip=0.3, value_weight=0.5)
        one = batch()
        losses = token_losses(model, one, 0.2, 0.2, 0.0)
        with torch.no_grad():
            values = model.value(model(one.ids_BT), one.ids_BT, torch.float32).double()
        total, clipped = 0.0, 0
        for row, length in enumerate(LENGTHS):
            for place in range(length):
                t = FIRST + place
                value, old, target = (float(x[row, t]) for x in (values, one.values_BT, one.returns_BT))
                near = min(max(value, old - 0.3), old + 0.3)
                total += losses[row][place] + 0.5 * 0.5 * max((value - target) ** 2, (near - target) ** 2)
                clipped += (near - target) ** 2 > (value - target) ** 2
        assert objective.weight(one) == sum(LENGTHS)
        assert float(objective(model, one).detach()) == pytest.approx(total, abs=1e-4)
        assert objective.sums.tell()["value_clipped"] == pytest.approx(clipped / sum(LENGTHS))
    finally:
        take_off_value(model)
    assert not [name for name, _ in model.named_parameters() if name.startswith("value")]


def test_a_value_trunk_of_its_own_leaves_the_policy_alone_and_has_no_language_head(model) -> None:
    add_value(model, make_decoder(seed=1))
    try:
        one = batch()
        model.zero_grad()
        values = model.value(torch.zeros(3, one.ids_BT.shape[1], 32), one.ids_BT, torch.float32)
        assert not values.any()  # it expects nothing at first
        torch.nn.init.ones_(model.value.output.weight)
        model.value(torch.zeros(0), one.ids_BT, torch.float32).sum().backward()
        named = dict(model.named_parameters())
        assert named["value.trunk.blocks.0.attention.query.weight"].grad is not None
        assert named["blocks.0.attention.query.weight"].grad is None
        assert "value.trunk.output.weight" not in named
    finally:
        take_off_value(model)


def test_text_read_along_weighs_nothing_and_adds_its_scaled_loss(model) -> None:
    add_value(model)
    try:
        objective = PpoObjective(clip=0.2, value_clip=0.2, value_weight=0.1)
        ids = torch.randint(0, 448, (2, 9), generator=torch.Generator().manual_seed(2))
        text = TokenBatch(ids[:, :-1], ids[:, 1:])
        nats = torch.nn.functional.cross_entropy(model.head(model(ids[:, :-1])).flatten(0, 1), ids[:, 1:].flatten())
        assert objective.weight(ReplayBatch(text, 0.5)) == 0
        loss = objective(model, ReplayBatch(text, 0.5)).detach()
        assert float(loss) == pytest.approx(0.5 * 16 * float(nats.detach()), rel=1e-5)
        assert objective.sums.tell()["replay_loss"] == pytest.approx(float(nats.detach()), rel=1e-5)
    finally:
        take_off_value(model)


def test_clips_have_no_gradient_where_they_decide() -> None:
    logprobs = torch.tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
    losses, cut = policy_loss(logprobs, torch.zeros(4), torch.tensor([1.0, -1.0, 1.0, -1.0]), 0.2, 0.2)
    losses.sum().backward()
    assert cut.tolist() == [True, False, False, True]
    assert (logprobs.grad == 0).tolist() == cut.tolist()
    values = torch.tensor([1.0, 1.0], requires_grad=True)
    losses, cut = value_loss(values, torch.zeros(2), torch.tensor([1.0, 5.0]), 0.2)
    losses.sum().backward()
    assert cut.tolist() == [True, True]
    assert values.grad.tolist() == [0.0, 0.0]


def test_k3_is_never_negative_and_unbiased() -> None:
    torch.manual_seed(0)
    policy, reference = torch.randn(50).log_softmax(-1), torch.randn(50).log_softmax(-1)
    estimates = k3(policy, reference)
    assert float(estimates.min()) >= 0
    exact = (policy.exp() * (policy - reference)).sum()
    assert float((policy.exp() * estimates).sum()) == pytest.approx(float(exact), rel=1e-5)


class GivenLogits(torch.nn.Module):
    """A model whose logits are given: its hidden states, behind a head that leaves them as they are."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)
        self.output = torch.nn.Linear(logits.shape[-1], logits.shape[-1], bias=False)
        torch.nn.init.eye_(self.output.weight)
        self.config = type("Config", (), {"logit_softcap": None})

    def forward(self, ids_BT: torch.Tensor, **_: object) -> torch.Tensor:
        return self.logits


GOLDEN = json.loads((Path(__file__).parent / "golden" / "trl_grpo.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['loss']}, kl {case['kl']}")
def test_grpo_is_trls(case: dict) -> None:
    """Numbers by bench/golden_grpo.py: advantages, loss, its gradient, the share that was clipped."""
    averaged = {"grpo": "answers", "dr-grpo": "longest", "dapo": "tokens"}
    ids = torch.tensor(GOLDEN["ids"])
    real = torch.arange(ids.shape[1]) < torch.tensor(GOLDEN["lengths"])[:, None]
    advantages = group_advantages(torch.tensor(GOLDEN["scores"]), GOLDEN["group"], normalize=case["loss"] != "dr-grpo")
    torch.testing.assert_close(advantages, torch.tensor(case["advantages"]))
    one = RolloutBatch(
        ids, torch.where(real, ids, IGNORED), advantages[:, None] * real,
        old_BT=None if case.get("on policy") else torch.tensor(GOLDEN["old"]),
        reference_BT=torch.tensor(GOLDEN["reference"]) if case["kl"] else None,
    )  # fmt: skip
    objective = GrpoObjective(
        low=case["low"], high=case["high"], kl=case["kl"], averaged=averaged[case["loss"]], most=GOLDEN["most"]
    )
    model = GivenLogits(torch.tensor(GOLDEN["logits"]))
    loss = objective(model, one) / objective.weight(one)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(case["value"], abs=1e-6)
    torch.testing.assert_close(model.logits.grad.flatten(), torch.tensor(case["gradient"]), atol=1e-6, rtol=1e-4)
    assert objective.sums.tell()["clipped"] == pytest.approx(case["clipped"])
