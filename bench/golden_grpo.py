"""What TRL's GRPOTrainer makes of given logits and scores, as numbers that our objective is tested against.

    python bench/golden_grpo.py [--out tests/golden/trl_grpo.json]

Needs trl, datasets and accelerate, which the project itself does not. `GRPOTrainer._compute_loss` is called on a
stand-in for a trainer that holds the settings it reads and takes log-probabilities from logits drawn here; nothing is
trained. The loss is told with its gradient by those logits.
"""

import argparse
import json
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import nanstd

LENGTHS, VOCABULARY, GROUP, MOST = (6, 2, 4, 5), 12, 2, 8
CASES: tuple[dict[str, Any], ...] = (
    {"loss": "grpo", "low": 0.2, "high": 0.2, "kl": 0.0},
    {"loss": "grpo", "low": 0.2, "high": 0.2, "kl": 0.04},
    {"loss": "grpo", "low": 0.2, "high": 0.2, "kl": 0.04, "on policy": True},
    {"loss": "dapo", "low": 0.2, "high": 0.28, "kl": 0.0},
    {"loss": "dr-grpo", "low": 0.1, "high": 0.3, "kl": 0.1},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/golden/trl_grpo.json"))
    path = parser.parse_args().out
    torch.manual_seed(0)
    rows, longest = len(LENGTHS), max(LENGTHS)
    given = {
        "logits": torch.randn(rows, longest, VOCABULARY).mul(100).round().div(100),
        "old": (torch.randn(rows, longest) * 0.3 - 2.5).mul(100).round().div(100),
        "reference": (torch.randn(rows, longest) * 0.3 - 2.5).mul(100).round().div(100),
        "scores": torch.tensor([1.0, 0.0, 0.25, 0.75]),
    }
    ids = torch.randint(0, VOCABULARY, (rows, longest))
    cases = [{**one, **loss_of(one, ids, **given)} for one in CASES]
    versions = {name: version(name) for name in ("trl", "transformers", "torch")}
    settings = {"lengths": LENGTHS, "group": GROUP, "most": MOST, "ids": ids.tolist()}
    values = {name: tensor.tolist() for name, tensor in given.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"versions": versions, **settings, **values, "cases": cases}) + "\n", encoding="utf-8")
    print(f"{path}: {len(cases)} losses of {rows} answers, by trl {versions['trl']}")


def loss_of(
    one: dict[str, Any], ids: torch.Tensor, logits: torch.Tensor, old: torch.Tensor, reference: torch.Tensor,
    scores: torch.Tensor,
) -> dict[str, Any]:  # fmt: skip
    """The advantages as the trainer computes them, its loss, and how that moves with the logits."""
    grouped = scores.view(-1, GROUP)
    advantages = (grouped - grouped.mean(1, keepdim=True)).flatten()
    if one["loss"] != "dr-grpo":
        advantages = advantages / (nanstd(grouped, dim=1).repeat_interleave(GROUP) + 1e-4)
    mask = (torch.arange(ids.shape[1]) < torch.tensor(LENGTHS)[:, None]).int()
    drawn = logits.clone().requires_grad_()

    def logprobs(*_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
        every = drawn.log_softmax(-1)
        return every.gather(2, ids[..., None]).squeeze(-1), -(every.exp() * every).sum(-1).detach(), None

    same = lambda value, **_: value  # noqa: E731
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(num_processes=1, gather=same, reduce=same),
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        _metrics={"eval": defaultdict(list)}, _get_per_token_logps_and_entropies=logprobs, aux_loss_enabled=False,
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level="token", use_vllm=False,
        _entropy_bonus_enabled=False, beta=one["kl"], loss_type=one["loss"].replace("-", "_"), epsilon_low=one["low"],
        epsilon_high=one["high"], max_completion_length=MOST,
    )  # fmt: skip
    inputs = {
        "prompt_ids": torch.ones(len(ids), 1, dtype=torch.long), "prompt_mask": torch.ones(len(ids), 1),
        "completion_ids": ids, "completion_mask": mask, "advantages": advantages, "ref_per_token_logps": reference,
        "old_per_token_logps": None if one.get("on policy") else old, "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    assert drawn.grad is not None
    (clipped,) = trainer._metrics["eval"]["clip_ratio/region_mean"]
    found = {"advantages": advantages.tolist(), "value": float(loss.detach()), "clipped": clipped}
    return {**found, "gradient": [round(number, 8) for number in drawn.grad.flatten().tolist()]}


if __name__ == "__main__":
    main()
