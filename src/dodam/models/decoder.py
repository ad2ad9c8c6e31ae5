"""The decoder (GPT): embedding, blocks under a causal mask, final norm, language head. Shaped like Qwen3.

B batch, T positions, D width, V vocabulary. What comes in are token ids, what goes out are hidden states [B, T, D];
`head` turns those into logits [.., V]. Weights are saved under Qwen3's names (`QWEN3_NAMES`), so that `transformers`,
vLLM and llama.cpp load them without any code of ours.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.nn.block import Block
from dodam.nn.cache import Cache, LayerCache
from dodam.nn.mask import CAUSAL, Mask, cached_mask
from dodam.nn.norm import RMSNorm
from dodam.nn.position import rotary_table


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The sizes of a decoder."""

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

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(
                f"the width of a head ({self.head_dim}; {self.heads} heads in a width of {self.width}) "
                "must be even and at least 2"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Decoder(nn.Module):
    """See the file's head. `normalize_embedding` divides each embedding by its root mean square: it speeds up learning,
    and is folded into the table when the model is saved (`fold_embedding_norm`), so no other program needs to know."""

    def __init__(self, config: DecoderConfig, *, normalize_embedding: bool = False) -> None:
        super().__init__()
        self.config = config
        self.normalize_embedding = normalize_embedding
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.kv_heads, config.head_dim, config.feedforward_size, config.eps)
            for _ in range(config.depth)
        )
        self.norm = RMSNorm(config.width, config.eps)
        self.output = nn.Linear(config.width, config.vocabulary, bias=False)
        if config.tied:
            self.output.weight = self.embedding.weight
        cos, sin = rotary_table(config.head_dim, config.context, config.theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.run_block: Callable[..., Tensor] = Block.__call__

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
        T = ids_BT.shape[1]
        layer_caches: list[LayerCache | None] = [None] * self.config.depth
        if cache is not None:
            assert starts_B is not None, "a cache needs starts_B"
            length = int(starts_B.max()) + T
            positions_BT = starts_B[:, None] + torch.arange(T, device=ids_BT.device)
            mask = cached_mask(starts_B, T, length)
            layer_caches = [cache.layer(layer, positions_BT, length) for layer in range(self.config.depth)]
        if positions_BT is None:
            rotation = (self.cos[:T], self.sin[:T])
        else:
            rotation = (self.cos[positions_BT][:, None], self.sin[positions_BT][:, None])
        x_BTD = self.embedding(ids_BT)
        if self.normalize_embedding:
            x_BTD = F.rms_norm(x_BTD, (self.config.width,), eps=self.config.eps)
        for block, layer_cache in zip(self.blocks, layer_caches, strict=True):
            x_BTD = self.run_block(block, x_BTD, rotation, mask, layer_cache)
        return self.norm(x_BTD)

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., D] -> logits [.., V]."""
        return self.output(hidden)

    @torch.no_grad()
    def fold_embedding_norm(self) -> None:
        """Write the normalised embeddings into the table and stop normalising: the same function, without the norm."""
        if self.normalize_embedding:
            assert not self.config.tied, "a tied table cannot take the embedding's norm"
            table = self.embedding.weight
            table.copy_(F.rms_norm(table, (self.config.width,), eps=self.config.eps))
            self.normalize_embedding = False


# Their name, our name; {i} is the layer. Applied both ways by dodam.folder.
QWEN3_NAMES = [
    ("model.embed_tokens.weight", "embedding.weight"),
    ("model.layers.{i}.input_layernorm.weight", "blocks.{i}.attention_norm.weight"),
    ("model.layers.{i}.self_attn.q_proj.weight", "blocks.{i}.attention.query.weight"),
    ("model.layers.{i}.self_attn.k_proj.weight", "blocks.{i}.attention.key.weight"),
    ("model.layers.{i}.self_attn.v_proj.weight", "blocks.{i}.attention.value.weight"),
    ("model.layers.{i}.self_attn.o_proj.weight", "blocks.{i}.attention.output.weight"),
    ("model.layers.{i}.self_attn.q_norm.weight", "blocks.{i}.attention.query_norm.weight"),
    ("model.layers.{i}.self_attn.k_norm.weight", "blocks.{i}.attention.key_norm.weight"),
    ("model.layers.{i}.post_attention_layernorm.weight", "blocks.{i}.feedforward_norm.weight"),
    ("model.layers.{i}.mlp.gate_proj.weight", "blocks.{i}.feedforward.gate.weight"),
    ("model.layers.{i}.mlp.up_proj.weight", "blocks.{i}.feedforward.up.weight"),
    ("model.layers.{i}.mlp.down_proj.weight", "blocks.{i}.feedforward.down.weight"),
    ("model.norm.weight", "norm.weight"),
    ("lm_head.weight", "output.weight"),
]


def to_qwen3_config(config: DecoderConfig) -> dict[str, Any]:
    """The `config.json` of a Hugging Face folder."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": config.vocabulary,
        "num_hidden_layers": config.depth,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.feedforward_size,
        "max_position_embeddings": config.context,
        "tie_word_embeddings": config.tied,
        "rms_norm_eps": config.eps,
        "rope_theta": config.theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "torch_dtype": "float32",
    }


def from_qwen3_config(values: dict[str, Any]) -> DecoderConfig:
    """The sizes out of a `config.json`. KeyError names a missing entry; ValueError a setting we do not have."""
    rope = values.get("rope_parameters") or {}
    refused = {
        "attention_bias": values.get("attention_bias", False),
        "use_sliding_window": values.get("use_sliding_window", False),
        "rope scaling": values.get("rope_scaling") or rope.get("rope_type", "default") != "default",
        "hidden_act other than silu": values.get("hidden_act", "silu") != "silu",
    }
    for name, present in refused.items():
        if present:
            raise ValueError(f"{name} is not supported")
    return DecoderConfig(
        vocabulary=values["vocab_size"],
        depth=values["num_hidden_layers"],
        width=values["hidden_size"],
        heads=values["num_attention_heads"],
        kv_heads=values["num_key_value_heads"],
        head_dim=values["head_dim"],
        feedforward_size=values["intermediate_size"],
        context=values["max_position_embeddings"],
        tied=values.get("tie_word_embeddings", False),
        eps=values["rms_norm_eps"],
        theta=float(values.get("rope_theta") or rope["rope_theta"]),
    )
