"""What TRL's trainers make of given log-probabilities and scores, as numbers that our losses are tested against.

    python bench/golden_trl.py [--out tests/golden/trl_preferences.json]

Needs trl, datasets and accelerate, which the project itself does not. The methods that compute the losses (of
DPOTrainer, CPOTrainer, ORPOTrainer and RewardTrainer) are called on a stand-in for a trainer that holds the settings
they read, and with a stand-in for a model that gives the log-probabilities drawn here; nothing is trained. Pairs are
computed one by one, so that each has its own loss.
"""

import argparse
import json
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from trl import DPOTrainer, RewardTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

PAIRS = 6
SFT = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/golden/trl_preferences.json"))
    path = parser.parse_args().out
    torch.manual_seed(0)
    tokens = [tuple(-3 * torch.rand(int(n)).double() for n in torch.randint(2, 12, (2,))) for _ in range(PAIRS)]
    references = [tuple(float(side.sum() + torch.randn(())) for side in pair) for pair in tokens]
    sides = list(zip(*tokens, strict=True))
    logprobs = {
        "chosen": [float(one.sum()) for one in sides[0]],
        "rejected": [float(one.sum()) for one in sides[1]],
        "chosen_lengths": [len(one) for one in sides[0]],
        "rejected_lengths": [len(one) for one in sides[1]],
        "reference_chosen": [one for one, _ in references],
        "reference_rejected": [one for _, one in references],
    }
    pairs = list(zip(tokens, references, strict=True))
    cases = [
        case("dpo", "dpo", {"beta": 0.1}, [dpo(*pair, 0.1, ["sigmoid"]) for pair in pairs]),
        case("dpo, larger beta", "dpo", {"beta": 0.5}, [dpo(*pair, 0.5, ["sigmoid"]) for pair in pairs]),
        case("rpo", "dpo", {"beta": 0.1, "sft_weight": SFT}, [dpo(*pair, 0.1, ["sigmoid", "sft"]) for pair in pairs]),
        case("ipo", "ipo", {"beta": 0.3}, [dpo(*pair, 0.3, ["ipo"]) for pair in pairs]),
        case("cdpo", "dpo", {"beta": 0.2, "smoothing": 0.1}, [cpo(*pair, "sigmoid", 0.2, 0.1, 0.0) for pair in pairs]),
        case("simpo", "simpo", {"beta": 2.0, "gamma": 1.0}, [cpo(*pair, "simpo", 2.0, 0.0, 1.0) for pair in pairs]),
        case(
            "simpo, smoothed", "simpo", {"beta": 2.5, "gamma": 0.5, "smoothing": 0.2},
            [cpo(*pair, "simpo", 2.5, 0.2, 0.5) for pair in pairs],
        ),
        case("orpo", "orpo", {"beta": 0.1}, [orpo(*pair, 0.1) for pair in pairs]),
    ]  # fmt: skip
    versions = {name: version(name) for name in ("trl", "transformers", "torch")}
    found = {"versions": versions, "logprobs": logprobs, "preferences": cases, "reward": reward()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {len(cases)} losses of {PAIRS} pairs, by trl {versions['trl']}")


def case(name: str, loss: str, options: dict[str, float], losses: list[float]) -> dict[str, Any]:
    return {"name": name, "loss": loss, "options": options, "losses": losses}


def stand_in(**settings: Any) -> SimpleNamespace:
    """What the methods read of a trainer."""
    same = lambda value: value  # noqa: E731
    accelerator = SimpleNamespace(device=torch.device("cpu"), gather=same, gather_for_metrics=same)
    model = SimpleNamespace(training=False)
    metrics: dict[str, Any] = {"eval": defaultdict(list), "train": defaultdict(list)}
    return SimpleNamespace(accelerator=accelerator, model=model, _metrics=metrics, _total_train_tokens=0, **settings)


def dpo(tokens: tuple, reference: tuple[float, float], beta: float, losses: list[str]) -> float:
    """DPOTrainer's loss of one pair, the answers behind a prompt of one token."""
    width = max(map(len, tokens)) + 1
    mask = torch.tensor([[0] + [int(n < len(side)) for n in range(width - 1)] for side in tokens])
    logprobs = torch.zeros(2, width - 1, dtype=torch.float64)
    for row, side in enumerate(tokens):
        logprobs[row, : len(side)] = side
    trainer = stand_in(
        aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=beta,
        loss_types=losses, loss_weights=[1.0, SFT][: len(losses)], label_smoothing=0.0, use_weighting=False, args=None,
    )  # fmt: skip
    zeros = torch.zeros(2, width - 1)
    outputs = SimpleNamespace(log_probs=logprobs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
    inputs = {
        "input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask,
        "ref_chosen_logps": torch.tensor([reference[0]], dtype=torch.float64),
        "ref_rejected_logps": torch.tensor([reference[1]], dtype=torch.float64),
    }  # fmt: skip
    return float(DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False))


def cpo(tokens: tuple, reference: tuple[float, float], loss: str, beta: float, smoothing: float, gamma: float) -> float:
    """CPOTrainer's loss of one pair: simpo, of means; or the smoothed sigmoid, here of log-ratios."""
    trainer = stand_in(alpha=0.0, loss_type=loss, beta=beta, label_smoothing=smoothing, simpo_gamma=gamma)
    if loss == "simpo":
        given = [side.mean()[None] for side in tokens]
    else:
        given = [(side.sum() - its)[None] for side, its in zip(tokens, reference, strict=True)]
    return float(CPOTrainer.cpo_loss(trainer, *given)[0])


def orpo(tokens: tuple, reference: tuple[float, float], beta: float) -> float:
    """The cross-entropy of the preferred answer less ORPOTrainer's weighted log-sigmoid of the log odds ratio."""
    chosen, rejected = (side.mean()[None] for side in tokens)
    ratio = ORPOTrainer.odds_ratio_loss(stand_in(beta=beta), chosen, rejected)[0]
    return float(-chosen - ratio)


def reward() -> dict[str, Any]:
    """RewardTrainer's mean loss of some pairs of scores, without and with margins."""
    chosen, rejected, margin = torch.randn(PAIRS), torch.randn(PAIRS), 2 * torch.rand(PAIRS)
    trainer = stand_in(args=SimpleNamespace(center_rewards_coefficient=None))
    trainer.maybe_activation_offload_context = MagicMock()
    model = lambda **_: SimpleNamespace(logits=torch.cat([chosen, rejected])[:, None])  # noqa: E731
    inputs = {"attention_mask": torch.ones(2 * PAIRS, 1)}
    plain = RewardTrainer.compute_loss(trainer, model, dict(inputs))
    with_margin = RewardTrainer.compute_loss(trainer, model, {**inputs, "margin": margin})
    values = {"chosen": chosen.tolist(), "rejected": rejected.tolist(), "margin": margin.tolist()}
    return {**values, "loss": float(plain), "loss_with_margin": float(with_margin)}


if __name__ == "__main__":
    main()
