"""From sizes to a model: default shapes by depth, initial weights, parameter and FLOP counts.

One number, `depth`, sets every other size unless it is given.
"""

import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from dodam.models.decoder import Decoder, DecoderConfig
from dodam.models.encoder import Encoder, EncoderConfig
from dodam.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from dodam.nn.norm import RMSNorm

Sizes = DecoderConfig | EncoderConfig | EncoderDecoderConfig

MODELS: dict[type, Callable[[Any], nn.Module]] = {
    DecoderConfig: Decoder,
    EncoderConfig: Encoder,
    EncoderDecoderConfig: EncoderDecoder,
}
MASK_SHARE = 0.15  # of an encoder's tokens are told (Devlin et al. 2019)
SOURCE_SHARE, TARGET_SHARE = 0.9, 0.2  # of a row with spans dropped: 15% in spans of 3 (Raffel et al. 2020)


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


Put = Callable[[Tensor, Callable[[Tensor], object]], None]
"""Gives a weight what draws it."""


def in_place(weight: Tensor, draw: Callable[[Tensor], object]) -> None:
    draw(weight)


@torch.no_grad()
def initialize(model: Decoder, seed: int, put: Put = in_place) -> None:
    """Fresh weights: matrices uniform with a variance of 1 / fan-in, embeddings normal, the head small, norms one.

    Output projections are zero, so that every block starts as the identity (Zhang et al. 2019, Fixup). Weights are
    `put` one after another, always in the same order, as they are drawn from one generator."""
    generator = torch.Generator().manual_seed(seed)

    def ones(weight: Tensor) -> None:
        weight.fill_(1.0)

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not model.output:
            bound = math.sqrt(3 / module.in_features)
            if name.endswith(("attention.output", "feedforward.down")):
                put(module.weight, Tensor.zero_)
            else:
                put(module.weight, lambda weight, bound=bound: weight.uniform_(-bound, bound, generator=generator))
        elif isinstance(module, RMSNorm):
            put(module.weight, Tensor.zero_ if module.offset else ones)
    deviation = 0.02 if model.config.tied else 1.0
    put(model.embedding.weight, lambda weight: weight.normal_(0.0, deviation, generator=generator))
    if not model.config.tied:
        put(model.output.weight, lambda weight: weight.normal_(0.0, 0.001, generator=generator))


def build_decoder(config: DecoderConfig, seed: int) -> Decoder:
    """A decoder with fresh weights, its embeddings normalised while it trains unless they are tied to the head."""
    model = Decoder(config, normalize_embedding=not config.tied)
    initialize(model, seed)
    return model


def outline_decoder(config: Any) -> Any:
    """What `build_decoder` builds, with sizes and without memory; `initialize` fills it once it has some."""
    return outline(lambda sizes: Decoder(sizes, normalize_embedding=not sizes.tied), config)


@cache
def num_parameters(sizes: Sizes) -> int:
    """Weights of a model of these sizes; a table that is tied to the head counts once."""
    return sum(parameter.numel() for parameter in outline(MODELS[type(sizes)], sizes).parameters())


@cache
def num_block_parameters(sizes: Sizes) -> int:
    """Weights inside the blocks: without the tables of embedding and head."""
    model = outline(MODELS[type(sizes)], sizes)
    return sum(parameter.numel() for name, parameter in model.named_parameters() if "blocks." in name)


@cache
def flops_per_token(sizes: Sizes, context: int) -> float:
    """Floating point operations to train on one token of a row of `context`: 6 per weight of every matrix product, and
    attention's own (Kaplan et al. 2020, section 2.1; causal attention counted at half, windows not at all).

    Of experts those count that are chosen. An encoder's head is computed for `MASK_SHARE` of the tokens; an
    encoder-decoder reads `SOURCE_SHARE` of them and writes `TARGET_SHARE`."""
    if isinstance(sizes, EncoderDecoderConfig):
        return pair_flops(sizes, SOURCE_SHARE * context, TARGET_SHARE * context) / context
    if isinstance(sizes, EncoderConfig):
        inside, scores = matrices(sizes, "blocks.*"), 2 * sizes.depth * sizes.width * context
        return 6.0 * (inside + MASK_SHARE * (matrices(sizes) - inside) + scores)
    idle = 1 - sizes.experts_chosen / sizes.experts if sizes.experts else 0.0
    used, scores = matrices(sizes) - idle * matrices(sizes, "*.experts.*"), sizes.heads * sizes.head_dim * context
    return 6.0 * (used + sizes.depth * scores)


def pair_flops(sizes: EncoderDecoderConfig, source: float, target: float) -> float:
    """Floating point operations to train an encoder-decoder on one pair of so many tokens. Keys and values of the
    memory are computed of the source."""
    read = sum(matrices(sizes, names) for names in ("encoder.*", "*.cross.key", "*.cross.value"))
    written = matrices(sizes) - read
    scores = 2 * sizes.encoder_depth * source**2 + sizes.decoder_depth * (target**2 + 2 * target * source)
    return 6.0 * (read * source + written * target + sizes.heads * sizes.head_dim * scores)


def matrices(sizes: Sizes, names: str = "*") -> int:
    """Weights of the linear layers that are called so."""
    modules = outline(MODELS[type(sizes)], sizes).named_modules()
    return sum(
        module.weight.numel() for name, module in modules if isinstance(module, nn.Linear) and fnmatchcase(name, names)
    )


def outline(model: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    """A model with sizes and without memory."""
    with torch.device("meta"):
        return model(config)
