"""The decoder (GPT): embedding, blocks under a causal mask, final norm, language head.

With its defaults it is shaped like Qwen3; the other choices make it a GPT-2, Llama, Mistral, Qwen2, Gemma, EXAONE or
Mixtral (`exchange/decoders.py` says which choice is whose). B batch, T positions, D width, V vocabulary. What comes in
are token ids, what goes out are hidden states [B, T, D]; `head` turns those into logits [.., V].
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.nn.attention import SelfAttention, added_once
from dodam.nn.block import Block, NormPlace
from dodam.nn.cache import Cache, LayerCache
from dodam.nn.experts import Experts
from dodam.nn.feedforward import Activation, make_feedforward
from dodam.nn.mask import CAUSAL, Mask, cached_mask
from dodam.nn.norm import NormKind, make_norm
from dodam.nn.position import RotaryScaling, rotary_table


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The sizes of a decoder, and what sets its family apart."""

    vocabulary: int
    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    feedforward_size: int
    context: int
    tied: bool = False
    eps: float = 1e-6
    theta: float = 10_000.0

    family: str = "qwen3"
    """The `model_type` its folder has."""
    norm: NormKind = "rms"
    norm_place: NormPlace = "before"
    qk_norm: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    feedforward_bias: bool = False
    gated: bool = True
    activation: Activation = "silu"
    learned_positions: bool = False
    """A table of positions added to the embedding, in place of rotary ones."""
    rotary_scaling: RotaryScaling | None = None
    window: int | None = None
    """How many positions the layers of `windowed` see, their own counted."""
    windowed: tuple[bool, ...] = ()
    """For each layer whether it looks through the window; empty: none does."""
    window_theta: float | None = None
    """The rotary base of windowed layers, where it is another one; scaling is then for the others only."""
    unrotated: tuple[bool, ...] = ()
    """For each layer whether it goes without rotary positions; empty: none does."""
    embedding_scale: float = 1.0
    attention_scale: float | None = None
    """What scores are multiplied by; 1 / sqrt(head_dim) unless given."""
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    experts: int = 0
    """Experts in each block in place of its feed-forward (whose size is then one expert's); 0: none."""
    experts_chosen: int = 0
    experts_normalized: bool = True

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(
                f"the width of a head ({self.head_dim}; {self.heads} heads in a width of {self.width}) "
                "must be even and at least 2"
            )
        if isinstance(self.rotary_scaling, dict):  # from JSON
            object.__setattr__(self, "rotary_scaling", RotaryScaling(**self.rotary_scaling))
        for name in ("windowed", "unrotated"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) not in (0, self.depth):
                raise ValueError(f"{name} tells of {len(getattr(self, name))} layers, there are {self.depth}")
        if any(self.windowed) and not self.window:
            raise ValueError("windowed layers need a window")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_block(config: DecoderConfig) -> Block:
    """One block of a decoder."""
    attention = SelfAttention(
        config.width,
        config.heads,
        config.kv_heads,
        config.head_dim,
        qk_norm=config.norm if config.qk_norm else None,
        eps=config.eps,
        bias=config.qkv_bias,
        output_bias=config.output_bias,
        scale=config.attention_scale,
        softcap=config.attention_softcap,
    )
    size, activation = config.feedforward_size, config.activation
    if config.experts:
        chosen, normalize = config.experts_chosen, config.experts_normalized
        feedforward: nn.Module = Experts(config.width, size, config.experts, chosen, activation, normalize=normalize)
    else:
        bias = config.feedforward_bias
        feedforward = make_feedforward(config.width, size, activation, gated=config.gated, bias=bias)
    count = 4 if config.norm_place == "around" else 2
    norms = [make_norm(config.norm, config.width, config.eps) for _ in range(count)]
    return Block(attention, feedforward, norms, config.norm_place)


class Decoder(nn.Module):
    """See the file's head. `normalize_embedding` divides each embedding by its root mean square: it speeds up learning,
    and is folded into the table when the model is saved (`fold_embedding_norm`), so no other program needs to know."""

    def __init__(self, config: DecoderConfig, *, normalize_embedding: bool = False) -> None:
        super().__init__()
        self.config = config
        self.normalize_embedding = normalize_embedding
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.context, config.width) if config.learned_positions else None
        self.blocks = nn.ModuleList(make_block(config) for _ in range(config.depth))
        self.norm = make_norm(config.norm, config.width, config.eps)
        self.output = nn.Linear(config.width, config.vocabulary, bias=False)
        self.complete()
        self.run_block: Callable[..., Tensor] = Block.__call__

    def complete(self) -> None:
        """Tie the head, and compute the tables of angles (always fp32, never saved); again after `to_empty`."""
        config = self.config
        if config.tied:
            self.output.weight = self.embedding.weight
        tables = {} if config.learned_positions else {"": (config.theta, config.rotary_scaling)}
        if tables and config.window_theta is not None:
            tables["window_"] = (config.window_theta, None)
        for prefix, (theta, scaling) in tables.items():
            cos, sin = rotary_table(config.head_dim, config.context, theta, scaling)
            self.register_buffer(f"{prefix}cos", cos, persistent=False)
            self.register_buffer(f"{prefix}sin", sin, persistent=False)

    def forward(
        self,
        ids_BT: Tensor,
        *,
        positions_BT: Tensor | None = None,
        mask: Mask = CAUSAL,
        cache: Cache | None = None,
        starts_B: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [B, T, D].

        positions_BT: where each token stands, default 0..T-1. With `cache`, row b's tokens stand at starts_B[b]..
        and see everything the cache holds before them; `mask` and `positions_BT` follow from that."""
        config, T = self.config, ids_BT.shape[1]
        layer_caches: list[LayerCache | None] = [None] * config.depth
        places, num_keys = torch.arange(T, device=ids_BT.device), T
        if cache is not None:
            assert starts_B is not None, "a cache needs starts_B"
            num_keys = int(starts_B.max()) + T
            positions_BT = places = starts_B[:, None] + places
            mask = cached_mask(starts_B, T, num_keys)
            layer_caches = [cache.layer(layer, positions_BT, num_keys) for layer in range(config.depth)]
        x_BTD = self.embedding(ids_BT)
        if self.normalize_embedding:
            x_BTD = F.rms_norm(x_BTD, (config.width,), eps=config.eps)
        if config.embedding_scale != 1.0:
            x_BTD = x_BTD * torch.tensor(config.embedding_scale, dtype=x_BTD.dtype)
        if self.positions is not None:
            x_BTD = x_BTD + self.positions(places if positions_BT is None else positions_BT)
        views = self.views(mask, positions_BT, places, num_keys)
        views = {kind: (rotation, added_once(seen, x_BTD)) for kind, (rotation, seen) in views.items()}
        for index, (block, layer_cache) in enumerate(zip(self.blocks, layer_caches, strict=True)):
            rotation, seen = views[bool(config.windowed) and config.windowed[index]]
            if config.unrotated and config.unrotated[index]:
                rotation = None
            x_BTD = self.run_block(block, x_BTD, rotation, seen, layer_cache)
        return self.norm(x_BTD)

    def views(
        self, mask: Mask, positions_BT: Tensor | None, places: Tensor, num_keys: int
    ) -> dict[bool, tuple[tuple[Tensor, Tensor] | None, Mask]]:
        """Angles and mask of the layers that see everything (False) and of those with a window (True)."""
        config, T = self.config, places.shape[-1]
        views = {False: (self.rotation("", positions_BT, T), mask)}
        if config.window is not None and any(config.windowed):
            prefix = "" if config.window_theta is None else "window_"
            views[True] = (self.rotation(prefix, positions_BT, T), mask.within(config.window, places, num_keys))
        return views

    def rotation(self, prefix: str, positions_BT: Tensor | None, T: int) -> tuple[Tensor, Tensor] | None:
        """The angles at which T positions stand, of the table called `prefix`; None where positions are learned."""
        if self.config.learned_positions:
            return None
        cos, sin = self.get_buffer(f"{prefix}cos"), self.get_buffer(f"{prefix}sin")
        if positions_BT is None:
            return cos[:T], sin[:T]
        return cos[positions_BT][:, None], sin[positions_BT][:, None]

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., D] -> logits [.., V]."""
        logits = self.output(hidden)
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @torch.no_grad()
    def fold_embedding_norm(self) -> None:
        """Write the normalised embeddings into the table and stop normalising: the same function, without the norm."""
        if self.normalize_embedding:
            assert not self.config.tied, "a tied table cannot take the embedding's norm"
            self.embedding.weight.copy_(self.folded(self.embedding.weight))
            self.normalize_embedding = False

    def folded(self, table: Tensor) -> Tensor:
        """The embedding's table as `fold_embedding_norm` leaves it."""
        return F.rms_norm(table, (self.config.width,), eps=self.config.eps) if self.normalize_embedding else table
