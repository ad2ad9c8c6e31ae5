"""The head that classifies: from one vector of a text's hidden states, or from each of them, a logit for each label.

It is put onto a finished encoder or decoder under the name `classifier`, so that everything else keeps its name and
with it its learning rate, its adapter and its place in a folder. B batch, T positions, D width, L labels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.models.decoder import Decoder
from dodam.nn.feedforward import ACTIVATIONS, Activation
from dodam.nn.mask import CAUSAL, padding_mask

Pooling = Literal["cls", "mean", "last", "each"]
"""Which hidden state speaks for the text: the first token's, the mean of all tokens', the last token's; or each for
itself."""

HEAD_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {**ACTIVATIONS, "tanh": torch.tanh}
LANGUAGE_HEAD = ("dense.", "head_norm.", "output.")
"""What encoders and decoders have for tokens, and a classifier does not use."""


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The shape of a head: how it pools, whether a dense layer (and a norm) follows, and how many logits it gives."""

    labels: int
    pooling: Pooling
    activation: Activation | Literal["tanh", ""] = ""
    """Of the dense layer; empty: there is none."""
    dense_bias: bool = True
    norm_eps: float | None = None
    """Of a layer norm after it; None: there is none."""
    norm_bias: bool = True
    output_bias: bool = True
    dropout: float = 0.0
    """Share of the vector's numbers that are dropped while training."""


class ClassifierHead(nn.Module):
    """Hidden states [B, T, D] -> logits [B, L], or [B, T, L] where each token has its own."""

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.dense = nn.Linear(width, width, bias=config.dense_bias) if config.activation else nn.Identity()
        self.activation = HEAD_ACTIVATIONS[config.activation] if config.activation else nn.Identity()
        normalized = config.norm_eps is not None
        self.norm = nn.LayerNorm(width, config.norm_eps or 0.0, bias=config.norm_bias) if normalized else nn.Identity()
        self.output = nn.Linear(width, config.labels, bias=config.output_bias)

    def forward(self, hidden_BTD: Tensor, real_BT: Tensor) -> Tensor:
        pooled = self.norm(self.activation(self.dense(pool(hidden_BTD, real_BT, self.config.pooling))))
        return self.output(F.dropout(pooled, self.config.dropout, self.training))


def pool(hidden_BTD: Tensor, real_BT: Tensor, pooling: Pooling) -> Tensor:
    """One vector [B, D] for each text, or all of them as they are; `real_BT` is True where there is a token and padding
    is on the right."""
    if pooling == "each":
        return hidden_BTD
    if pooling == "cls":
        return hidden_BTD[:, 0]
    if pooling == "last":
        return hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), real_BT.sum(1) - 1]
    real_BT1 = real_BT[..., None].to(hidden_BTD.dtype)
    return (hidden_BTD * real_BT1).sum(1) / real_BT1.sum(1)


def add_head(model: Any, config: HeadConfig, seed: int) -> None:
    """Give a model a fresh head: matrices uniform with a variance of 1 / fan-in, logits small, biases zero. A head with
    a norm begins with the dense layer and the norm that the model has for filling masks in."""
    head = ClassifierHead(model.config.width, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if isinstance(head.dense, nn.Linear):
            bound = math.sqrt(3 / head.dense.in_features)
            head.dense.weight.uniform_(-bound, bound, generator=generator)
        head.output.weight.normal_(0.0, 0.02, generator=generator)
        for part in (head.dense, head.output):
            if isinstance(part, nn.Linear) and part.bias is not None:
                part.bias.zero_()
    if config.norm_eps is not None:
        head.dense.load_state_dict(model.dense.state_dict())
        head.norm.load_state_dict(model.head_norm.state_dict())
    model.classifier = head.to(model.embedding.weight.device)


def freeze_language_head(model: Any) -> None:
    """Train nothing of what only fills masks in or goes on with a text; a table shared with the embedding stays."""
    for name, parameter in model.named_parameters():
        if name.startswith(LANGUAGE_HEAD):
            parameter.requires_grad_(False)


def without_language_head(model: Any) -> None:
    """Take away what a folder of a classifier does not hold."""
    for name in ("dense", "head_norm", "output"):
        if hasattr(model, name):
            setattr(model, name, nn.Identity())


def classify(model: Any, ids_BT: Tensor, real_BT: Tensor, segments_BT: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Logits [B, L] of texts, or [B, T, L] of their tokens, padded on the right where `real_BT` is False; the blocks
    compute in `dtype`, the head in fp32. Padding changes nothing: encoders do not look at it, decoders do not look back
    from it."""
    with torch.autocast(ids_BT.device.type, dtype, enabled=dtype != torch.float32):
        if isinstance(model, Decoder):
            hidden_BTD = model(ids_BT, mask=CAUSAL)
        else:
            segments_BT = segments_BT if model.config.segments > 1 else None
            hidden_BTD = model(ids_BT, segments_BT=segments_BT, mask=padding_mask(real_BT))
    return model.classifier(hidden_BTD.float(), real_BT)
