"""A decoder laid out for drawing many answers: the same function in about half as many operations a step.

In comes a decoder of the common kind (pre-norm, RMSNorm, rotary, gated, no biases), out comes what a `Runner` can use
in its place: projections of one input side by side, weights of norms multiplied into the matrices behind them, all
copied once in the dtype that they multiply in. It knows nothing of later changes to the weights. B rows, T positions,
D width, H query heads, K key/value heads, G = H / K, E head width, N = B K.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.models.decoder import Decoder
from dodam.nn.attention import SelfAttention
from dodam.nn.block import Block
from dodam.nn.cache import Cache
from dodam.nn.dropout import Dropout
from dodam.nn.feedforward import ACTIVATIONS, GatedFeedForward
from dodam.nn.norm import RMSNorm

COMMON = (Block, SelfAttention, GatedFeedForward, nn.Linear, RMSNorm, nn.Identity, Dropout)


class Layer(NamedTuple):
    """One block. Matrices are [in, out]; those of the first two have their norm's weight in them."""

    qkv: Tensor
    qk_weight: Tensor | None
    """Of the norms of queries and keys, [H + K, E]; None where there are none."""
    out: Tensor
    gate_up: Tensor
    down: Tensor


def may_pack(model: Any) -> bool:
    """Whether `Packed` can compute what this model does: see the file's head. One with an adapter keeps its own way."""
    if not isinstance(model, Decoder):
        return False
    config = model.config
    other = (
        config.norm_place != "before", config.learned_positions, any(config.windowed), any(config.unrotated),
        config.attention_softcap, config.attention_scale, config.logit_softcap, config.embedding_scale != 1.0,
    )  # fmt: skip
    modules = [model.output, model.norm, *(module for block in model.blocks for module in block.modules())]
    offset = any(isinstance(module, RMSNorm) and module.offset for module in modules)
    biased = any(isinstance(module, nn.Linear) and module.bias is not None for module in modules)
    return not any(other) and all(type(module) in COMMON for module in modules) and not offset and not biased


class Packed:
    """Called as the decoder is, with a cache; what it gives is equal but for rounding. Ask `may_pack` first."""

    @torch.no_grad()
    def __init__(self, model: Decoder, dtype: torch.dtype) -> None:
        assert may_pack(model), "this decoder cannot be packed"
        self.config, self.embedding, self.dtype = model.config, model.embedding, dtype
        self.normalize_embedding, self.eps = model.normalize_embedding, model.config.eps
        self.cos, sin = model.get_buffer("cos"), model.get_buffer("sin")
        half = self.config.head_dim // 2
        self.sin = torch.cat([-sin[:, :half], sin[:, half:]], dim=1)  # for `roll` in place of turning signs
        self.activation = ACTIVATIONS[self.config.activation]
        self.layers = [self.packed(block) for block in model.blocks]
        self.output = self.laid(model.norm, model.output)

    def laid(self, norm: nn.Module | None, *linears: Any) -> Tensor:
        """Matrices side by side as [in, out], behind a norm whose weight goes into them."""
        weight = torch.cat([linear.weight for linear in linears])
        if norm is not None:
            weight = weight * norm.weight
        return weight.detach().to(self.dtype, copy=True).contiguous().t()

    def packed(self, block: Any) -> Layer:
        attention, feedforward = block.attention, block.feedforward
        heads, kv_heads = self.config.heads, self.config.kv_heads
        norms = [attention.query_norm] * heads + [attention.key_norm] * kv_heads
        return Layer(
            qkv=self.laid(block.attention_norm, attention.query, attention.key, attention.value),
            qk_weight=torch.stack([norm.weight.detach() for norm in norms]) if self.config.qk_norm else None,
            out=self.laid(None, attention.output),
            gate_up=self.laid(block.feedforward_norm, feedforward.gate, feedforward.up),
            down=self.laid(None, feedforward.down),
        )

    def normal(self, x: Tensor) -> Tensor:
        """x / rms(x), in fp32."""
        return F.rms_norm(x, x.shape[-1:], None, self.eps)

    def __call__(self, ids_BT: Tensor, *, cache: Cache, starts_B: Tensor) -> Tensor:
        """Hidden states [B, T, D], not yet multiplied by the weight of the last norm, which is in the head."""
        B, T = ids_BT.shape
        width = self.config.width
        positions_BT = starts_B[:, None] + torch.arange(T, device=ids_BT.device)
        num_keys = int(starts_B.max()) + T
        x_RD = self.embedding(ids_BT.flatten())
        if self.normalize_embedding:
            x_RD = F.rms_norm(x_RD, (width,), eps=self.config.eps)
        rotation = self.cos[positions_BT.flatten(), None], self.sin[positions_BT.flatten(), None]
        bias = self.bias(positions_BT, num_keys)
        places = self.places(positions_BT, cache.capacity)
        for index, layer in enumerate(self.layers):
            attended_RM = self.attend(
                layer,
                self.normal(x_RD),
                rotation,
                bias,
                places,
                cache.keys[index],
                cache.values[index],
                (B, T, num_keys),
            )
            x_RD = x_RD + attended_RM @ layer.out
            gate_RF, up_RF = (self.normal(x_RD).to(self.dtype) @ layer.gate_up).chunk(2, dim=-1)
            x_RD = x_RD + (self.activation(gate_RF) * up_RF) @ layer.down
        return self.normal(x_RD).view(B, T, width)

    def bias(self, positions_BT: Tensor, num_keys: int) -> Tensor:
        """What is added to scores [N, G T, S]: minus infinity at keys behind the query, the same for all heads."""
        config = self.config
        B, T = positions_BT.shape
        behind_BTS = torch.arange(num_keys, device=positions_BT.device) > positions_BT[:, :, None]
        bias_BTS = torch.zeros(behind_BTS.shape, dtype=self.dtype, device=behind_BTS.device)
        bias_BTS.masked_fill_(behind_BTS, -math.inf)
        groups = config.heads // config.kv_heads if T > 1 else 1  # of one query all heads have the same row
        shape = (B, config.kv_heads, groups, T, num_keys)
        return bias_BTS[:, None, None].expand(shape).reshape(B * config.kv_heads, groups * T, num_keys)

    def places(self, positions_BT: Tensor, capacity: int) -> Tensor:
        """Where keys and values go in a cache [B K S, E], those of one row and place side by side."""
        B, kv_heads = len(positions_BT), self.config.kv_heads
        first_BK = torch.arange(B * kv_heads, device=positions_BT.device).view(B, kv_heads) * capacity
        return (positions_BT[:, :, None] + first_BK[:, None, :]).flatten()

    def attend(
        self,
        layer: Layer,
        x_RD: Tensor,
        rotation: tuple[Tensor, Tensor],
        bias: Tensor,
        places: Tensor,
        keys: Tensor,
        values: Tensor,
        sizes: tuple[int, int, int],
    ) -> Tensor:
        """What the heads saw, [R, H E]; R = B T. The new keys and values join the cache."""
        B, T, num_keys = sizes
        H, K, E = self.config.heads, self.config.kv_heads, self.config.head_dim
        qkv_RHE = (x_RD.to(self.dtype) @ layer.qkv).view(B * T, H + 2 * K, E)
        qk_RHE = qkv_RHE[:, : H + K].float()
        if layer.qk_weight is not None:
            qk_RHE = F.rms_norm(qk_RHE, (E,), None, self.eps) * layer.qk_weight
        cos, sin = rotation
        qk_RHE = torch.addcmul(qk_RHE * cos, qk_RHE.roll(E // 2, -1), sin).to(self.dtype)
        keys.view(-1, E).index_copy_(0, places, qk_RHE[:, H:].reshape(-1, E))
        values.view(-1, E).index_copy_(0, places, qkv_RHE[:, H + K :].reshape(-1, E))
        q_NME = qk_RHE[:, :H].view(B, T, K, H // K, E).permute(0, 2, 3, 1, 4).reshape(B * K, -1, E)
        k_NSE, v_NSE = (part.view(B * K, -1, E)[:, :num_keys] for part in (keys, values))
        scores_NMS = torch.baddbmm(bias, q_NME, k_NSE.transpose(1, 2), alpha=E**-0.5)
        out_NME = scores_NMS.softmax(-1) @ v_NSE
        return out_NME.view(B, K, H // K, T, E).permute(0, 3, 1, 2, 4).reshape(B * T, H * E)

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., D] -> logits [.., V]."""
        return hidden.to(self.dtype) @ self.output
