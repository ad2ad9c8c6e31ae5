"""Optimisers: Muon for the matrices inside the blocks, AdamW for everything else. What is frozen is left alone.

In come named parameters with gradients, out go updated parameters. All state is a flat dict of named tensors, so that a
checkpoint needs no pickle.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from dodam.nn.lora import is_lora
from dodam.train.distributed import own_part
from dodam.train.sharding import as_part_of, on_matrices

# Coefficients of odd quintic steps towards the orthogonal factor, largest error first (Amsel et al. 2025, Polar
# Express, with its safety factor 1.01 applied). The first three of five: more cost time and taught nothing more
# (docs/experiments/quickstart.md, section 7).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Learning rates at the top of the schedule, and what goes with them."""

    matrix: float = 0.02
    embedding: float = 0.02
    head: float = 0.004
    scalar: float = 0.01
    lora: float = 2e-4
    """For a width of 4,096, see `lora_rate`. LoRA's matrices have AdamW: their product is what moves, not each."""
    momentum: float = 0.95
    beta1: float = 0.8
    beta2: float = 0.95
    eps: float = 1e-10
    weight_decay: float = 0.0


def lora_rate(width: int) -> float:
    """LoRA's learning rate for a model of this width: 2e-4 at 4,096 and 1e-4 at 8,192, as LLaMA's were tuned (Dettmers
    et al. 2023, QLoRA, appendix B), and so 4e-3 at 192, where 3e-3 to 1e-2 did equally well (docs/lora.md)."""
    return 0.8 / width


def in_block(name: str) -> bool:
    """Whether a parameter of this name is inside a block, of a model with one stack of them or with two."""
    return name.startswith("blocks.") or ".blocks." in name


@torch.no_grad()
def bearable(model: nn.Module) -> dict[str, float]:
    """What part of our learning rates the weights of a trained model bear, by their root mean squares: 1 for models
    that were trained here, less for imported ones, whose tables and matrices are mostly much smaller."""

    def rms(weight: Tensor) -> float:
        return float(weight.float().square().mean().sqrt())

    inside = [parameter for name, parameter in model.named_parameters() if in_block(name)]
    matrices = [rms(parameter) * parameter.shape[1] ** 0.5 for parameter in inside if parameter.ndim == 2]
    scalars = [rms(parameter) for parameter in inside if parameter.ndim == 1]
    embedding, head = model.get_parameter("embedding.weight"), model.get_parameter("output.weight")
    shares = {
        "matrix": median(matrices),  # ours begin at 1 and grow
        "scalar": median(scalars) / 0.5,  # ours are norms, about 1; others have biases too
        "embedding": rms(embedding),  # ours is 1
        "head": rms(head) / 0.05,  # ours grows to 0.1 and more
    }
    return {key: min(1.0, float(f"{share:.2g}")) for key, share in shares.items()}


def orthogonalize(g_NRC: Tensor) -> Tensor:
    """Towards the nearest semi-orthogonal matrix of each of N stacked matrices [R, C], by Newton-Schulz iterations in
    bf16 (Jordan et al. 2024, Muon). Only as exact as Muon needs: most singular values end within 0.5-1.9, those below a
    hundredth of the largest stay small."""
    x = g_NRC.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.transpose(-1, -2)
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True).to(x.dtype) * 1.01 + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.transpose(-1, -2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(-1, -2) if tall else x


class Muon:
    """Momentum, orthogonalised (Jordan et al. 2024). Matrices of one shape are stacked and done in one go, those with
    a factor on their learning rate apart. Where they are sharded, so is the momentum."""

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        lr: float,
        momentum: float,
        weight_decay: float,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.groups: dict[tuple[float, int, int, torch.Size], list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in named:
            assert parameter.ndim == 2, f"Muon is for matrices, {name} is not one"
            factor = (factors or {}).get(name, 1.0)
            key = (factor, parameter.shape[0], parameter.shape[1], own_part(parameter).shape)
            self.groups.setdefault(key, []).append((name, parameter))
        self.buffers = {
            key: torch.zeros(len(group), *own_part(group[0][1]).shape, device=group[0][1].device)
            for key, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update at `scale` times the learning rate; Nesterov momentum."""
        for (factor, rows, columns, size), group in self.groups.items():
            buffer = self.buffers[factor, rows, columns, size]
            gradients = torch.stack([own_part(gradient(parameter)) for _, parameter in group])
            buffer.lerp_(gradients, 1 - self.momentum)
            nesterov = gradients.lerp_(buffer, self.momentum)
            update = on_matrices(orthogonalize, [parameter for _, parameter in group], nesterov).float()
            lr = self.lr * scale * factor
            parameters: list[Tensor] = [own_part(parameter) for _, parameter in group]
            if self.weight_decay:
                torch._foreach_mul_(parameters, 1 - lr * self.weight_decay)
            torch._foreach_add_(parameters, list(update.unbind(0)), alpha=-lr * max(1.0, rows / columns) ** 0.5)

    def state(self) -> dict[str, Tensor]:
        """Named views of the momentum: loading copies into them."""
        return {
            f"muon.{name}": as_part_of(parameter, self.buffers[key][index])
            for key, group in self.groups.items()
            for index, (name, parameter) in enumerate(group)
        }


def gradient(parameter: nn.Parameter) -> Tensor:
    """Its gradient; a parameter that took no part in the loss is a mistake of ours."""
    assert parameter.grad is not None, "a parameter has no gradient"
    return parameter.grad


class AdamW:
    """torch's fused AdamW (Loshchilov & Hutter 2019) with a learning rate for every parameter and named state."""

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter, float]],
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        self.named = list(named)
        self.rates = [rate for _, _, rate in self.named]
        self.optimizer = torch.optim.AdamW(
            [{"params": [parameter], "lr": rate} for _, parameter, rate in self.named],
            betas=betas, eps=eps, weight_decay=weight_decay, fused=True,
        )  # fmt: skip
        # The state torch would make at the first step: a checkpoint can load into it.
        for _, parameter, _ in self.named:
            self.optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def step(self, scale: float) -> None:
        """One update at `scale` times each learning rate."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * scale
        self.optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Named views of step counts and moments."""
        return {
            f"adamw.{name}.{key}": tensor
            for name, parameter, _ in self.named
            for key, tensor in self.optimizer.state[parameter].items()
        }


class Optimizers:
    """Muon and AdamW as one: `step(scale)`, `zero()`, `state()`. Only parameters that require a gradient take part.

    `factors`: by name, what a learning rate is multiplied by (`nn/lora.py`, `depth_factors`); 1 where none is given."""

    def __init__(self, model: nn.Module, config: OptimConfig, factors: Mapping[str, float] | None = None) -> None:
        matrices, others = [], []
        trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        for name, parameter in trained:
            factor = (factors or {}).get(name, 1.0)
            if is_lora(name):
                others.append((name, parameter, config.lora * factor))
            elif in_block(name) and parameter.ndim == 2:
                matrices.append((name, parameter))
            elif name.startswith("embedding"):
                others.append((name, parameter, config.embedding * factor))
            elif parameter.ndim == 2:
                others.append((name, parameter, config.head * factor))
            else:
                others.append((name, parameter, config.scalar * factor))
        self.parameters = [parameter for _, parameter in trained]
        self.parts: list[Muon | AdamW] = [Muon(matrices, config.matrix, config.momentum, config.weight_decay, factors)]
        if others:  # torch's AdamW wants at least one
            self.parts.append(AdamW(others, (config.beta1, config.beta2), config.eps, 0.0))

    def step(self, scale: float) -> None:
        for part in self.parts:
            part.step(scale)

    def zero(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        return {name: tensor for part in self.parts for name, tensor in part.state().items()}
