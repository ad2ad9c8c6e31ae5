"""From sizes to a model: default shapes by depth, initial weights, parameter and FLOP counts.

One number, `depth`, sets every other size unless it is given.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from dodam.models.decoder import Decoder, DecoderConfig


def decoder_config(
    *,
    vocabulary: int,
    context: int,
    depth: int,
    width: int | None = None,
    heads: int | None = None,
    kv_heads: int | None = None,
    feedforward_size: int | None = None,
    tied: bool = False,
) -> DecoderConfig:
    """A whole set of sizes from `depth`, each of the others taken as given where it is given.

    Width defaults to 48 per layer as a multiple of 64, heads to one per 64 of width (wide heads are fast on
    CPUs), key/value heads to half as many where that divides, the gated feed-forward to 8/3 of the width as a
    multiple of 64."""
    width = width or max(64, 64 * round(depth * 48 / 64))
    if heads is None:
        heads = max(1, width // 64)
        while width % heads:
            heads -= 1
    head_dim = 2 * (width // heads // 2)
    return DecoderConfig(
        vocabulary=vocabulary,
        context=context,
        depth=depth,
        width=width,
        heads=heads,
        kv_heads=kv_heads or max(1, math.gcd(heads, max(1, heads // 2))),
        head_dim=head_dim,
        feedforward_size=feedforward_size or 64 * math.ceil(width * 8 / 3 / 64),
        tied=tied,
    )


def initialize(model: Decoder, seed: int) -> None:
    """Fresh weights: matrices uniform with a variance of 1 / fan-in, embeddings normal, the head small.

    Output projections are zero, so that every block starts as the identity (Zhang et al. 2019, Fixup)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and module is not model.output:
                if name.endswith(("attention.output", "feedforward.down")):
                    module.weight.zero_()
                else:
                    bound = math.sqrt(3 / module.in_features)
                    module.weight.uniform_(-bound, bound, generator=generator)
        model.embedding.weight.normal_(0.0, 0.02 if model.config.tied else 1.0, generator=generator)
        if not model.config.tied:
            model.output.weight.normal_(0.0, 0.001, generator=generator)


def build_decoder(config: DecoderConfig, seed: int) -> Decoder:
    """A decoder with fresh weights, its embeddings normalised while it trains unless they are tied to the head."""
    model = Decoder(config, normalize_embedding=not config.tied)
    initialize(model, seed)
    return model


@cache
def num_parameters(config: DecoderConfig) -> int:
    """Weights of a decoder, embedding and head counted (once when tied)."""
    return sum(parameter.numel() for parameter in outline(Decoder, config).parameters())


@cache
def flops_per_token(config: DecoderConfig, context: int) -> float:
    """Floating point operations to train on one token: 6 per weight of every matrix product, and attention's own
    (Kaplan et al. 2020, section 2.1; causal attention counted at half, windows not at all). Of experts those count
    that are chosen."""
    matrices = 0.0
    for name, module in outline(Decoder, config).named_modules():
        if isinstance(module, nn.Linear):
            used = config.experts_chosen / config.experts if ".experts." in name else 1.0
            matrices += used * module.weight.numel()
    scores = config.depth * config.heads * config.head_dim * context
    return 6.0 * (matrices + scores)


def outline(model: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    """A model with sizes and without memory."""
    with torch.device("meta"):
        return model(config)
