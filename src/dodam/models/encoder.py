"""The encoder (BERT): embedding, blocks in which every position sees every other, a head that fills masks in.

With its defaults it is shaped like BERT; the other choices make it a RoBERTa or a ModernBERT (`exchange/encoders.py`
says which choice is whose). B batch, T positions, D width, V vocabulary. What comes in are token ids, what goes out are
hidden states [B, T, D]; `head` turns those into logits [.., V].
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dodam.nn.attention import SelfAttention, added_once
from dodam.nn.block import Block, NormPlace
from dodam.nn.dropout import Dropout
from dodam.nn.feedforward import ACTIVATIONS, Activation, make_feedforward
from dodam.nn.mask import EVERYTHING, Mask
from dodam.nn.norm import NormKind, make_norm
from dodam.nn.position import rotary_table


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The sizes of an encoder, and what sets its family apart."""

    vocabulary: int
    depth: int
    width: int
    heads: int
    feedforward_size: int
    context: int
    eps: float = 1e-12

    family: str = "bert"
    """The `model_type` its folder has."""
    norm: NormKind = "layer"
    norm_place: NormPlace = "outside"
    norm_bias: bool = True
    first_attention_norm: bool = True
    """Whether the first block normalises what its attention reads; the embedding's norm has just done so."""
    attention_bias: bool = True
    feedforward_bias: bool = True
    gated: bool = False
    activation: Activation = "gelu"
    learned_positions: bool = True
    """A table of positions added to the embedding, in place of rotary ones."""
    position_offset: int = 0
    """The row of that table at which the first token stands; the table has as many rows more than the context."""
    segments: int = 0
    """Kinds of segment (a pair's first and second text) with an embedding each; 0: none."""
    theta: float = 10_000.0
    window: int | None = None
    """How far the layers of `windowed` see to either side, their own position counted."""
    windowed: tuple[bool, ...] = ()
    """For each layer whether it looks through the window; empty: none does."""
    window_theta: float | None = None
    """The rotary base of windowed layers, where it is another one."""
    head_activation: Activation = "gelu"
    head_bias: bool = True
    """Of the dense layer of the head that fills masks in."""
    output_bias: bool = True
    """Of the logits; their matrix is always the embedding's."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"the width ({self.width}) must be a multiple of the heads ({self.heads})")
        if not self.learned_positions and self.head_dim % 2:
            raise ValueError(f"the width of a head ({self.head_dim}) must be even for rotary positions")
        object.__setattr__(self, "windowed", tuple(self.windowed))  # from JSON
        if len(self.windowed) not in (0, self.depth):
            raise ValueError(f"windowed tells of {len(self.windowed)} layers, there are {self.depth}")
        if any(self.windowed) and not self.window:
            raise ValueError("windowed layers need a window")
        if self.norm_bias and self.norm != "layer":
            raise ValueError("only layer norms have a bias")
        if self.position_offset and not self.learned_positions:
            raise ValueError("only a table of positions has an offset")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


EncoderFamily = Literal["bert", "modernbert"]
"""What a fresh encoder can be."""

# Warner et al. 2024, section 2.1, with every layer looking at everything and so one rotary base: texts here are hardly
# longer than their window.
MODERNBERT: dict[str, Any] = {
    "family": "modernbert",
    "norm_place": "before",
    "norm_bias": False,
    "first_attention_norm": False,
    "attention_bias": False,
    "feedforward_bias": False,
    "gated": True,
    "learned_positions": False,
    "eps": 1e-5,
    "window": 65,
    "window_theta": 10_000.0,
    "head_bias": False,
}


def make_block(config: EncoderConfig, layer: int) -> Block:
    """Block number `layer` of an encoder."""
    attention = SelfAttention(
        config.width,
        config.heads,
        config.heads,
        config.head_dim,
        eps=config.eps,
        bias=config.attention_bias,
        output_bias=config.attention_bias,
    )
    feedforward = make_feedforward(
        config.width, config.feedforward_size, config.activation, gated=config.gated, bias=config.feedforward_bias
    )
    norms = [norm_of(config) for _ in range(4 if config.norm_place == "around" else 2)]
    if layer == 0 and not config.first_attention_norm:
        norms[0] = nn.Identity()
    return Block(attention, feedforward, norms, config.norm_place)


def norm_of(config: EncoderConfig) -> nn.Module:
    return make_norm(config.norm, config.width, config.eps, bias=config.norm_bias)


class Encoder(nn.Module):
    """See the file's head. `run_block` may be replaced by a compiled one. Nothing is dropped unless a stage sets the
    share of its `Dropout`s, which act on embeddings and on what each part of a block adds."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        rows = config.context + config.position_offset
        self.positions = nn.Embedding(rows, config.width) if config.learned_positions else None
        self.segments = nn.Embedding(config.segments, config.width) if config.segments else None
        self.input_norm = norm_of(config)
        self.dropout = Dropout(0.0)
        self.blocks = nn.ModuleList(make_block(config, layer) for layer in range(config.depth))
        # Blocks that end in a norm need no other.
        self.norm = nn.Identity() if config.norm_place == "outside" else norm_of(config)
        self.dense = nn.Linear(config.width, config.width, bias=config.head_bias)
        self.activation = ACTIVATIONS[config.head_activation]
        self.head_norm = norm_of(config)
        self.output = nn.Linear(config.width, config.vocabulary, bias=config.output_bias)
        self.complete()
        self.run_block: Callable[..., Tensor] = Block.__call__

    def complete(self) -> None:
        """Tie the head, and compute the tables of angles (always fp32, never saved); again after `to_empty`."""
        config = self.config
        self.output.weight = self.embedding.weight
        tables = {} if config.learned_positions else {"": config.theta}
        if tables and config.window_theta is not None:
            tables["window_"] = config.window_theta
        for prefix, theta in tables.items():
            cos, sin = rotary_table(config.head_dim, config.context, theta)
            self.register_buffer(f"{prefix}cos", cos, persistent=False)
            self.register_buffer(f"{prefix}sin", sin, persistent=False)

    def forward(
        self,
        ids_BT: Tensor,
        *,
        segments_BT: Tensor | None = None,
        positions_BT: Tensor | None = None,
        mask: Mask = EVERYTHING,
    ) -> Tensor:
        """Hidden states [B, T, D].

        segments_BT: which text of a pair each token is of, default 0. positions_BT: where each token stands, default
        0..T-1. `mask` keeps padding out (`padding_mask`) or documents apart (`document_mask`, not causal)."""
        config, T = self.config, ids_BT.shape[1]
        places = torch.arange(T, device=ids_BT.device)
        x_BTD = self.embedding(ids_BT)
        if self.positions is not None:
            x_BTD = x_BTD + self.positions((places if positions_BT is None else positions_BT) + config.position_offset)
        if self.segments is not None:
            x_BTD = x_BTD + self.segments(torch.zeros_like(ids_BT) if segments_BT is None else segments_BT)
        else:
            assert segments_BT is None, "this encoder knows no segments"
        x_BTD = self.dropout(self.input_norm(x_BTD))
        views = {False: (self.rotation("", positions_BT, T), mask)}
        if config.window is not None and any(config.windowed):
            prefix = "" if config.window_theta is None else "window_"
            near = mask.within(config.window, places, T, both_ways=True)
            views[True] = (self.rotation(prefix, positions_BT, T), near)
        views = {kind: (rotation, added_once(seen, x_BTD)) for kind, (rotation, seen) in views.items()}
        for index, block in enumerate(self.blocks):
            rotation, seen = views[bool(config.windowed) and config.windowed[index]]
            x_BTD = self.run_block(block, x_BTD, rotation, seen)
        return self.norm(x_BTD)

    def rotation(self, prefix: str, positions_BT: Tensor | None, T: int) -> tuple[Tensor, Tensor] | None:
        """The angles at which T positions stand, of the table called `prefix`; None where positions are learned."""
        if self.config.learned_positions:
            return None
        cos, sin = self.get_buffer(f"{prefix}cos"), self.get_buffer(f"{prefix}sin")
        if positions_BT is None:
            return cos[:T], sin[:T]
        return cos[positions_BT][:, None], sin[positions_BT][:, None]

    def transform(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., D] -> what the logits' matrix is multiplied with [.., D]."""
        return self.head_norm(self.activation(self.dense(hidden)))

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., D] -> logits [.., V] of the token that stood there (Devlin et al. 2019, section 3.1)."""
        return self.output(self.transform(hidden))


def encoder_config(
    *,
    vocabulary: int,
    context: int,
    depth: int,
    width: int | None = None,
    heads: int | None = None,
    feedforward_size: int | None = None,
    family: EncoderFamily = "modernbert",
) -> EncoderConfig:
    """An encoder of `depth` layers, each of the other sizes taken as given where it is given.

    64 of width for each layer, as in BERT base, a head for each 64 of width (fewer where that does not divide it). The
    feed-forward has 8 widths squared of weights: four widths in a BERT, 8/3 in a ModernBERT, whose is gated, as a
    multiple of 64."""
    width = width or 64 * depth
    if heads is None:
        heads = max(1, width // 64)
        while width % heads:
            heads -= 1
    size = 4 * width if family == "bert" else 64 * max(1, round(width * 8 / 3 / 64))
    sizes = EncoderConfig(
        vocabulary=vocabulary,
        context=context,
        depth=depth,
        width=width,
        heads=heads,
        feedforward_size=feedforward_size or size,
        segments=2 if family == "bert" else 0,
    )
    return sizes if family == "bert" else replace(sizes, **MODERNBERT)


def build_encoder(config: EncoderConfig, seed: int) -> Encoder:
    """An encoder with fresh weights: matrices uniform with a variance of 1 / fan-in, tables normal, biases zero.

    Output projections are zero, so that every block starts as the identity (Zhang et al. 2019, Fixup): post-norm blocks
    too then learn from the first step on."""
    model = Encoder(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 0.02, generator=generator)
            if not isinstance(module, nn.Linear):
                continue
            if module.bias is not None:
                module.bias.zero_()
            if name.endswith(("attention.output", "feedforward.down")):
                module.weight.zero_()
            elif module is not model.output:  # that is the embedding's
                bound = math.sqrt(3 / module.in_features)
                module.weight.uniform_(-bound, bound, generator=generator)
    return model
