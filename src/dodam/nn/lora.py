"""Training less than the whole model: LoRA, frozen parameters, learning rates that fall with depth.

In comes a finished model; `add_lora` puts small trained matrices beside its frozen layers, `merge_lora` adds them into
the weights and leaves the model as it was built. `quantize_layers` first holds what is frozen in 4 bits (QLoRA). LoRA
is Hu et al. 2021; rsLoRA (Kalajdzievski 2023) is another scale, DoRA (Liu et al. 2024) a magnitude for every output.
R rank, I inputs, O outputs of a layer.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.nn.attention import CrossAttention, SelfAttention
from dodam.nn.feedforward import FeedForward, GatedFeedForward
from dodam.nn.nf4 import Nf4Linear

PARTS: dict[str, tuple[type[nn.Module], ...]] = {
    "attention": (SelfAttention, CrossAttention),
    "all": (SelfAttention, CrossAttention, FeedForward, GatedFeedForward),
}
"""The parts whose layers can have LoRA, by the names one can choose. Embeddings, heads and routers are none of them."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """How large the update of a layer may be, and which layers have one. ValueError names a setting that cannot be."""

    rank: int = 8
    alpha: float = 16.0
    """The update is multiplied by alpha / rank."""
    rank_stabilized: bool = False
    """Multiply by alpha / sqrt(rank) instead, so that a large rank learns as fast as a small one (rsLoRA)."""
    dora: bool = False
    """Give every output of a layer a trained magnitude, and let LoRA turn only the direction."""
    dropout: float = 0.0
    """Share of the inputs of the update that are dropped while training."""
    targets: Literal["attention", "all"] | tuple[str, ...] = "all"
    """A name of `PARTS`, or endings of our layers' names: `("query", "value")`, `("blocks.0.feedforward.up",)`."""

    def __post_init__(self) -> None:
        if isinstance(self.targets, str) and self.targets not in PARTS:
            raise ValueError(f"targets are {', '.join(PARTS)} or a list of layers, not {self.targets!r}")
        if not isinstance(self.targets, str):
            object.__setattr__(self, "targets", tuple(self.targets))  # from JSON
        if self.rank < 1:
            raise ValueError(f"the rank must be at least 1, it is {self.rank}")
        if self.alpha <= 0:
            raise ValueError(f"alpha must be above 0, it is {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, it is {self.dropout}")

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rank_stabilized else self.rank)


class LoraLinear(nn.Module):
    """[.., I] -> [.., O]: W x + scale B A x + bias, W frozen (Hu et al. 2021, eq. 3). With DoRA the first two are
    multiplied by magnitude / ||W + scale B A||, row by row (Liu et al. 2024, eq. 5).

    A and B are fp32 whatever W is. B starts at zero and the magnitude at ||W||, so at first nothing is changed."""

    def __init__(self, base: nn.Linear | Nf4Linear, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.config = base, config
        inputs, outputs, device = base.in_features, base.out_features, base.weight.device
        # Uniform with the bound of the published code: a third of the variance that would keep the input's size.
        a_RI = torch.empty(config.rank, inputs).uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
        self.lora_a = nn.Parameter(a_RI.to(device))
        self.lora_b = nn.Parameter(torch.zeros(outputs, config.rank, device=device))
        magnitude_O = nn.Parameter(row_norms(base.weight.detach().float())) if config.dora else None
        self.register_parameter("lora_magnitude", magnitude_O)
        self.train(base.training)

    def forward(self, x: Tensor) -> Tensor:
        # Autocast brings x and A together itself; without it they meet in A's dtype.
        wide = x if torch.is_autocast_enabled(x.device.type) else x.to(self.lora_a.dtype)
        low_R = F.linear(F.dropout(wide, self.config.dropout, self.training), self.lora_a)
        update = F.linear(low_R * self.config.scale, self.lora_b)
        if self.lora_magnitude is None:
            said = self.base(x)
            return (said + update).to(said.dtype)
        said = self.base.product(x) if isinstance(self.base, Nf4Linear) else F.linear(x, self.base.weight)
        out = (said + update) * self.gain()
        return (out if self.base.bias is None else out + self.base.bias).to(said.dtype)

    def direction(self) -> Tensor:
        """W + scale B A, [O, I], at least fp32, under autocast too."""
        with torch.autocast(self.lora_a.device.type, enabled=False):
            return self.base.weight + self.config.scale * (self.lora_b @ self.lora_a)

    def gain(self) -> Tensor:
        """What DoRA multiplies each output by, [O]. The norm counts as a constant (Liu et al. 2024, section 4.3)."""
        assert self.lora_magnitude is not None
        with torch.no_grad():
            norms_O = row_norms(self.direction())
        return self.lora_magnitude / norms_O

    def merged(self) -> Tensor:
        """The one weight [O, I] that does the same."""
        direction_OI = self.direction()
        return direction_OI if self.lora_magnitude is None else self.gain()[:, None] * direction_OI


def row_norms(weight_OI: Tensor) -> Tensor:
    """The length of each row, [O]."""
    return torch.linalg.vector_norm(weight_OI, dim=1)


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The layers that have LoRA, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLinear)}


def possible_layers(model: nn.Module, parts: str = "all") -> list[str]:
    """The names of the layers in some `PARTS` that have LoRA or can have it, in the model's order."""
    return [
        f"{name}.{child}" if name else child
        for name, part in model.named_modules()
        if isinstance(part, PARTS[parts])
        for child, layer in part.named_children()
        if isinstance(layer, nn.Linear | Nf4Linear | LoraLinear)
    ]


def ends_with(name: str, ending: str) -> bool:
    """Whether the last words of a dotted name are these."""
    return name == ending or name.endswith(f".{ending}")


def chosen_layers(model: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """The layers that `targets` mean, in the model's order. ValueError names an ending that no layer has."""
    if isinstance(targets, str):
        return possible_layers(model, targets)
    names = possible_layers(model)
    for target in targets:
        if not any(ends_with(name, target) for name in names):
            known = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in names))
            raise ValueError(f"no layer is called {target}; there are {known}")
    return [name for name in names if any(ends_with(name, target) for target in targets)]


def add_lora(model: nn.Module, config: LoraConfig, seed: int) -> None:
    """Freeze a model and give the layers `config` chooses an update to be trained. Nothing is computed differently yet.

    ValueError when the model has LoRA already, a target fits no layer, or DoRA meets a weight that has no direction."""
    if lora_layers(model):
        raise ValueError("the model has LoRA already; merge it first")
    names = chosen_layers(model, config.targets)
    if not names:
        raise ValueError(f"the model has no layers for LoRA under {config.targets!r}")
    layers = {name: linear_layer(model, name) for name in names}
    if config.dora:
        for name, layer in layers.items():
            if bool((row_norms(layer.weight.detach()) == 0).any()):
                raise ValueError(f"{name} has rows of zeros, as before any training; DoRA needs a direction in each")
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for name, layer in layers.items():
        replace_layer(model, name, LoraLinear(layer, config, generator))


def linear_layer(model: nn.Module, name: str) -> nn.Linear | Nf4Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear | Nf4Linear), f"{name} is no linear layer"
    return layer


def replace_layer(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


@torch.no_grad()
def quantize_layers(model: nn.Module) -> None:
    """Hold the matrices of all layers that can have LoRA in 4 bits (QLoRA), whether they will have it or not. To be
    done before `add_lora`, so that the adapter begins from what the layers then compute."""
    for name in possible_layers(model):
        layer = linear_layer(model, name)
        assert isinstance(layer, nn.Linear), f"{name} is in 4 bits already"
        replace_layer(model, name, Nf4Linear(layer))


def quantized_layers(model: nn.Module) -> dict[str, Nf4Linear]:
    """The layers that are held in 4 bits, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Nf4Linear)}


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Add every update into its weight and take the wrappers away: the same function, the names it was built with.

    The sum is taken in fp32 and rounded once to the weight's dtype. What was held in 4 bits becomes fp32, with or
    without an update. What was frozen stays frozen."""
    for name, layer in lora_layers(model).items():
        base = layer.base.unpacked() if isinstance(layer.base, Nf4Linear) else layer.base
        base.weight.copy_(layer.merged())
        replace_layer(model, name, base)
    for name, layer in quantized_layers(model).items():
        replace_layer(model, name, layer.unpacked())


def is_lora(name: str) -> bool:
    """Whether a parameter of this name is LoRA's."""
    return ".lora_" in name or name.startswith("lora_")


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapter alone: `blocks.0.attention.query.lora_a`, ..., as views of the parameters."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if is_lora(name)}


@torch.no_grad()
def load_lora_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill the adapter of a model. ValueError names a tensor that is missing, left over or misshapen; then nothing
    is changed."""
    ours = lora_state(model)
    if missing := [name for name in ours if name not in state]:
        raise ValueError(f"tensors missing: {missing[:3]}")
    if extra := sorted(set(state) - set(ours)):
        raise ValueError(f"tensors nobody asked for: {extra[:3]}")
    for name, tensor in ours.items():
        if state[name].shape != tensor.shape:
            raise ValueError(f"{name} is {tuple(state[name].shape)}, the model's is {tuple(tensor.shape)}")
    for name, tensor in ours.items():
        tensor.copy_(state[name])


def num_trained(model: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Train no parameter whose name fits a pattern of shell wildcards (`embedding*`, `blocks.[0-3].*`).

    ValueError names a pattern that fits none, and says when nothing is left to train."""
    named = list(model.named_parameters())
    frozen = {}
    for pattern in patterns:
        fitting = {name: parameter for name, parameter in named if fnmatchcase(name, pattern)}
        if not fitting:
            raise ValueError(f"no parameter is called {pattern}; there are {named[0][0]} ... {named[-1][0]}")
        frozen |= fitting
    if not any(parameter.requires_grad for name, parameter in named if name not in frozen):
        raise ValueError("nothing is left to train")
    for parameter in frozen.values():
        parameter.requires_grad_(False)


def depth_factors(names: Sequence[str], decay: float) -> dict[str, float]:
    """For each parameter what its learning rate is multiplied by: `decay` once more for every layer further down
    (Howard & Ruder 2018, section 3.1, whose decay is 1 / 2.6).

    `names` stand in the model's order. What comes after the blocks (norm, head) has 1, the last block `decay`, what
    comes before the blocks (embeddings) the least. Each stack (`encoder.blocks`, `decoder.blocks`) counts its own."""
    if not 0 < decay <= 1:
        raise ValueError(f"decay must be above 0 and at most 1, it is {decay}")
    places = {name: re.match(r"(|.*?\.)blocks\.(\d+)\.", name) for name in names}
    depths: dict[str, int] = {}
    for place in places.values():
        if place:
            depths[place[1]] = max(depths.get(place[1], 0), int(place[2]) + 1)
    factors: dict[str, float] = {}
    begun: set[str] = set()  # stacks whose blocks have come by
    for name, place in places.items():
        if place:
            begun.add(place[1])
            factors[name] = decay ** (depths[place[1]] - int(place[2]))
            continue
        # Of a stack's own parameters the stack decides, of the others whether any has begun.
        own = max((stack for stack in depths if name.startswith(stack)), key=len, default=None)
        above = bool(begun) if own is None else own in begun
        factors[name] = 1.0 if above or not depths else decay ** (max(depths.values()) + 1)
    return factors
