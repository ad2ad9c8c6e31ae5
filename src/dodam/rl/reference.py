"""The frozen reference a policy is held to: the model it began as, kept once; with LoRA the policy without its adapter.

In come a folder, then batches; out come the reference's log-probabilities of its labels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dodam.folder import load_model
from dodam.models.decoder import Decoder
from dodam.nn.lora import lora_layers, replace_layer
from dodam.train.policy import RolloutBatch, told


@dataclass(frozen=True)
class Reference:
    """`model` is the frozen model, or with LoRA the policy itself, whose adapter is then set aside."""

    model: Decoder
    dtype: torch.dtype
    temperature: float

    @torch.no_grad()
    def logprobs(self, batch: RolloutBatch) -> Tensor:
        """[B, T]; 0 where there is no label."""
        with without_lora(self.model):
            return told(self.model, batch, self.dtype, self.temperature, entropy=False)[0]


def load_reference(path: Path, device: str, dtype: torch.dtype) -> Decoder:
    """The model of a folder, frozen, its matrices in the dtype that they multiply in: so it says the same as the policy
    whose weights are float32, and needs half the memory."""
    model = load_model(path, device=device).model.requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.weight is not model.embedding.weight:
            layer.to(dtype)
    return model


@contextmanager
def without_lora(model: Any) -> Iterator[None]:
    """Within, the model is the one its LoRA was put onto. One that has none is left as it is."""
    layers = lora_layers(model)
    for name, layer in layers.items():
        replace_layer(model, name, layer.base)
    try:
        yield
    finally:
        for name, layer in layers.items():
            replace_layer(model, name, layer)
