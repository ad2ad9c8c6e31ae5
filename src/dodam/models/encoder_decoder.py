"""The encoder-decoder: one stack of blocks reads the source, another writes the target and looks at what was read.

With its defaults it is the original Transformer (Vaswani et al. 2017) in Marian's layout: post-norm, sinusoids, one
table of embeddings for source, target and head. The other choices make it a BART or a T5
(`exchange/encoder_decoders.py` says which choice is whose). In come token ids of both sides, out go hidden states
[B, T, D] of the target; `head` turns those into logits [.., V].

B batch, S source positions, T target positions, D width, H heads, E head width, V vocabulary. R rows of a target
batch: as many as there are sources, or the same number n for each of them, one source's rows next to each other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dodam.nn.attention import CrossAttention, SelfAttention
from dodam.nn.block import Block
from dodam.nn.cache import Cache, LayerCache
from dodam.nn.dropout import Dropout
from dodam.nn.feedforward import Activation, make_feedforward
from dodam.nn.mask import CAUSAL, EVERYTHING, Mask, cached_mask
from dodam.nn.norm import NormKind, make_norm
from dodam.nn.position import distance_buckets, sinusoids

LEARNED_OFFSET = 2  # BART's table of positions begins with two that stand for nothing

Memory = tuple[Tensor, Tensor]
"""What one decoder block sees of the sources: keys and values, each [B, H, S, E]."""


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """The sizes of an encoder-decoder, and what sets its family apart."""

    vocabulary: int
    encoder_depth: int
    decoder_depth: int
    width: int
    heads: int
    head_dim: int
    feedforward_size: int
    context: int
    """Most positions of a source, and of a target."""
    start_id: int
    """The token every target begins with; it is read and never written."""
    tied: bool = True
    """Whether the head is the table of embeddings."""
    eps: float = 1e-5

    family: str = "marian"
    """The `model_type` its folder has."""
    norm: NormKind = "layer"
    norm_place: Literal["before", "outside"] = "outside"
    """See `NormPlace`; with `before` each stack ends with one more norm."""
    bias: bool = True
    """Biases in all matrix products but the head."""
    gated: bool = False
    activation: Activation = "relu"
    positions: Literal["sinusoidal", "learned", "relative"] = "sinusoidal"
    """`relative`: T5's buckets of distances, added to the scores of every layer's self-attention."""
    buckets: int = 32
    furthest: int = 128
    """From this distance on there is only the last bucket."""
    scaled_embedding: bool = True
    """Embeddings are multiplied by sqrt(width)."""
    embedding_norm: bool = False
    """A norm over embedding and position."""
    scaled_hidden: bool = False
    """Hidden states are divided by sqrt(width) before the head."""
    attention_scale: float | None = None
    """What scores are multiplied by; 1 / sqrt(head_dim) unless given."""
    logits_bias: bool = True
    """A stored vector added to the logits. It is zero in a new model and is not trained."""

    def __post_init__(self) -> None:
        if self.norm_place not in ("before", "outside"):
            raise ValueError(f"norm_place must be before or outside, not {self.norm_place!r}")
        if not 0 <= self.start_id < self.vocabulary:
            raise ValueError(f"start_id ({self.start_id}) is not in a vocabulary of {self.vocabulary}")

    @property
    def depth(self) -> int:
        """Layers that a cache is kept for."""
        return self.decoder_depth

    @property
    def kv_heads(self) -> int:
        return self.heads

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class DecoderBlock(nn.Module):
    """Self-attention, attention to the sources and feed-forward, each with its norm `before` or `outside` it."""

    def __init__(
        self,
        attention: SelfAttention,
        cross: CrossAttention,
        feedforward: nn.Module,
        norms: Sequence[nn.Module],
        place: Literal["before", "outside"],
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention, self.cross, self.feedforward = attention, cross, feedforward
        self.attention_norm, self.cross_norm, self.feedforward_norm = norms
        self.place = place
        self.dropout = Dropout(dropout)

    def forward(
        self, x_RTD: Tensor, mask: Mask, memory: Memory, memory_mask: Mask, cache: LayerCache | None = None
    ) -> Tensor:
        if self.place == "before":
            x_RTD = x_RTD + self.dropout(self.attention(self.attention_norm(x_RTD), None, mask, cache))
            x_RTD = x_RTD + self.dropout(self.look(self.cross_norm(x_RTD), memory, memory_mask))
            return x_RTD + self.dropout(self.feedforward(self.feedforward_norm(x_RTD)))
        x_RTD = self.attention_norm(x_RTD + self.dropout(self.attention(x_RTD, None, mask, cache)))
        x_RTD = self.cross_norm(x_RTD + self.dropout(self.look(x_RTD, memory, memory_mask)))
        return self.feedforward_norm(x_RTD + self.dropout(self.feedforward(x_RTD)))

    def look(self, x_RTD: Tensor, memory: Memory, memory_mask: Mask) -> Tensor:
        """Attend to the sources. Queries do not see each other, so the rows of one source go as one row of queries and
        its memory is never repeated."""
        queries = x_RTD.reshape(memory[0].shape[0], -1, x_RTD.shape[-1])
        return self.cross(queries, memory, memory_mask).view_as(x_RTD)


class Stack(nn.Module):
    """The blocks of one side, and what stands around them: positions, and a norm before and behind where there is
    one."""

    sinusoids: Tensor

    def __init__(self, config: EncoderDecoderConfig, blocks: Sequence[nn.Module], dropout: float) -> None:
        super().__init__()
        self.config = config
        kind, width = config.positions, config.width
        self.positions = nn.Embedding(config.context + LEARNED_OFFSET, width) if kind == "learned" else None
        self.distances = nn.Embedding(config.buckets, config.heads) if kind == "relative" else None
        self.embedding_norm = norm_of(config) if config.embedding_norm else nn.Identity()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm_of(config) if config.norm_place == "before" else nn.Identity()
        self.dropout = Dropout(dropout)
        self.fill_tables()

    def fill_tables(self) -> None:
        """Compute the sinusoids, always fp32; they are no weights and are never saved."""
        if self.config.positions == "sinusoidal":
            table = sinusoids(self.config.context, self.config.width)
            self.register_buffer("sinusoids", table, persistent=False)

    def enter(self, x: Tensor, places: Tensor) -> Tensor:
        """Embeddings [.., D] that stand at `places` [..] -> what the first block reads."""
        if self.config.scaled_embedding:
            x = x * math.sqrt(self.config.width)
        if self.config.positions == "sinusoidal":
            x = x + self.sinusoids[places].to(x.dtype)
        elif self.positions is not None:
            x = x + self.positions(places + LEARNED_OFFSET)
        return self.dropout(self.embedding_norm(x))

    def bias(self, buckets: Tensor) -> Tensor:
        """What distances of these buckets [.., T, S] add to the scores, [.., H, T, S]."""
        assert self.distances is not None, "only relative positions have buckets"
        return self.distances(buckets.to(self.distances.weight.device)).movedim(-1, -3)


def norm_of(config: EncoderDecoderConfig) -> nn.Module:
    return make_norm(config.norm, config.width, config.eps)


def parts(config: EncoderDecoderConfig, num_norms: int) -> tuple[SelfAttention, nn.Module, list[nn.Module]]:
    """Self-attention, feed-forward and norms of one block of either side."""
    heads, bias = config.heads, config.bias
    attention = SelfAttention(
        config.width, heads, heads, config.head_dim, bias=bias, output_bias=bias, scale=config.attention_scale
    )
    feedforward = make_feedforward(
        config.width, config.feedforward_size, config.activation, gated=config.gated, bias=bias
    )
    return attention, feedforward, [norm_of(config) for _ in range(num_norms)]


def encoder_block(config: EncoderDecoderConfig, dropout: float) -> Block:
    return Block(*parts(config, 2), config.norm_place, dropout=dropout)


def decoder_block(config: EncoderDecoderConfig, dropout: float) -> DecoderBlock:
    attention, feedforward, norms = parts(config, 3)
    cross = CrossAttention(config.width, config.heads, config.head_dim, bias=config.bias, scale=config.attention_scale)
    return DecoderBlock(attention, cross, feedforward, norms, config.norm_place, dropout)


class EncoderDecoder(nn.Module):
    """See the file's head. `dropout` acts while training, on embeddings and on what each part adds to the stream
    (Vaswani et al. 2017, section 5.4). `run_block` and `run_decoder_block` may be replaced by compiled ones."""

    logits_bias: Tensor | None

    def __init__(self, config: EncoderDecoderConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.encoder = Stack(config, [encoder_block(config, dropout) for _ in range(config.encoder_depth)], dropout)
        self.decoder = Stack(config, [decoder_block(config, dropout) for _ in range(config.decoder_depth)], dropout)
        self.output = nn.Linear(config.width, config.vocabulary, bias=False)
        self.complete()
        self.register_buffer("logits_bias", torch.zeros(1, config.vocabulary) if config.logits_bias else None)
        self.run_block: Callable[..., Tensor] = Block.__call__
        self.run_decoder_block: Callable[..., Tensor] = DecoderBlock.__call__

    def complete(self) -> None:
        """Bring into place what is never saved: a tied head, the sinusoids; again after `to_empty`."""
        if self.config.tied:
            self.output.weight = self.embedding.weight
        self.encoder.fill_tables()
        self.decoder.fill_tables()

    def forward(self, source_BS: Tensor, target_RT: Tensor, source_mask: Mask = EVERYTHING) -> Tensor:
        """Hidden states [R, T, D] of every target position, each having seen the target up to itself and its source.

        `source_mask` says which source positions are no padding (`padding_mask`); a target padded on the right needs
        none."""
        return self.decode(target_RT, self.remember(self.encode(source_BS, source_mask)), source_mask)

    def encode(self, source_BS: Tensor, mask: Mask = EVERYTHING) -> Tensor:
        """What the decoder looks at, [B, S, D]."""
        places_S = torch.arange(source_BS.shape[1], device=source_BS.device)
        x_BSD = self.encoder.enter(self.embedding(source_BS), places_S)
        if self.encoder.distances is not None:
            mask = replace(mask, bias=self.source_bias(len(places_S)))
        for block in self.encoder.blocks:
            x_BSD = self.run_block(block, x_BSD, None, mask, None)
        return self.encoder.norm(x_BSD)

    def remember(self, memory_BSD: Tensor) -> list[Memory]:
        """The sources as each decoder block looks at them; the same for every step of a generation."""
        return [block.cross.remember(memory_BSD) for block in self.decoder.blocks]  # type: ignore[union-attr]

    def decode(
        self,
        target_RT: Tensor,
        memory: Sequence[Memory],
        memory_mask: Mask = EVERYTHING,
        *,
        cache: Cache | None = None,
        starts_R: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [R, T, D], ready for the head. `memory` is what `remember` gave.

        With `cache`, row r's tokens stand at starts_R[r].. and see everything the cache holds before them."""
        T = target_RT.shape[1]
        places, num_keys, mask = torch.arange(T, device=target_RT.device), T, CAUSAL
        layer_caches: list[LayerCache | None] = [None] * self.config.decoder_depth
        if cache is not None:
            assert starts_R is not None, "a cache needs starts_R"
            num_keys = int(starts_R.max()) + T
            places = starts_R[:, None] + places
            mask = cached_mask(starts_R, T, num_keys)
            layer_caches = [cache.layer(layer, places, num_keys) for layer in range(self.config.decoder_depth)]
        x_RTD = self.decoder.enter(self.embedding(target_RT), places)
        if self.decoder.distances is not None:
            mask = replace(mask, bias=self.target_bias(places, num_keys))
        for block, remembered, layer_cache in zip(self.decoder.blocks, memory, layer_caches, strict=True):
            x_RTD = self.run_decoder_block(block, x_RTD, mask, remembered, memory_mask, layer_cache)
        x_RTD = self.decoder.norm(x_RTD)
        return x_RTD * self.config.width**-0.5 if self.config.scaled_hidden else x_RTD

    def source_bias(self, num_positions: int) -> Tensor:
        """What distances add to the encoder's scores, [1, H, S, S]."""
        sizes = {"buckets": self.config.buckets, "furthest": self.config.furthest}
        return self.encoder.bias(distance_buckets(num_positions, num_positions, both_ways=True, **sizes))[None]

    def target_bias(self, places: Tensor, num_keys: int) -> Tensor:
        """What distances add to the decoder's scores, [R or 1, H, T, S], for queries at `places` [R, T] or [T]."""
        sizes = {"buckets": self.config.buckets, "furthest": self.config.furthest}
        by_distance_S = distance_buckets(1, num_keys, both_ways=False, **sizes)[0].flip(0).to(places.device)
        behind_RTS = places.view(-1, places.shape[-1], 1) - torch.arange(num_keys, device=places.device)
        # What lies ahead is masked; any bucket will do for it.
        return self.decoder.bias(by_distance_S[behind_RTS.clamp(min=0)])

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., D] -> logits [.., V]."""
        logits = self.output(hidden)
        return logits if self.logits_bias is None else logits + self.logits_bias[0]


def encoder_decoder_config(
    *,
    vocabulary: int,
    context: int,
    depth: int,
    start_id: int,
    decoder_depth: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    feedforward_size: int | None = None,
) -> EncoderDecoderConfig:
    """A Marian's sizes from `depth`, each of the others taken as given where it is given.

    Both sides are `depth` layers deep. Width defaults to 85 per layer (512 for the six of Vaswani et al. 2017) as a
    multiple of 64, heads to one per 64 of width, the feed-forward to four times the width. ValueError when the heads
    do not divide the width."""
    width = width or max(64, 64 * round(depth * 85 / 64))
    if heads is None:
        heads = max(1, width // 64)
        while width % heads:
            heads -= 1
    if width % heads:
        raise ValueError(f"width ({width}) must be a multiple of heads ({heads})")
    return EncoderDecoderConfig(
        vocabulary=vocabulary,
        encoder_depth=depth,
        decoder_depth=decoder_depth or depth,
        width=width,
        heads=heads,
        head_dim=width // heads,
        feedforward_size=feedforward_size or 4 * width,
        context=context,
        start_id=start_id,
    )


def initialize(model: EncoderDecoder, seed: int) -> None:
    """Fresh weights: matrices uniform with a variance of 1 / fan-in, biases zero, embeddings of size 1 after their
    scaling unless the head shares an unscaled table, which then must be small.

    Output projections are zero, so that every part starts as the identity (Zhang et al. 2019, Fixup)."""
    generator, config = torch.Generator().manual_seed(seed), model.config
    size = config.width**-0.5 if config.scaled_embedding else 1.0
    if config.tied and not config.scaled_embedding and not config.scaled_hidden:
        size = 0.02
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and module is not model.output:
                if module.bias is not None:
                    module.bias.zero_()
                if name.endswith(("attention.output", "cross.output", "feedforward.down")):
                    module.weight.zero_()
                else:
                    bound = math.sqrt(3 / module.in_features)
                    module.weight.uniform_(-bound, bound, generator=generator)
        for stack in (model.encoder, model.decoder):
            if stack.positions is not None:
                stack.positions.weight.normal_(0.0, 0.02, generator=generator)
            if stack.distances is not None:
                stack.distances.weight.zero_()
        model.embedding.weight.normal_(0.0, size, generator=generator)
        if not config.tied:
            model.output.weight.normal_(0.0, 0.001, generator=generator)


def build_encoder_decoder(config: EncoderDecoderConfig, seed: int, *, dropout: float = 0.0) -> EncoderDecoder:
    """An encoder-decoder with fresh weights."""
    model = EncoderDecoder(config, dropout=dropout)
    initialize(model, seed)
    return model
