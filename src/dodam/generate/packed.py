"""A decoder laid out for drawing many answers: the same function in about half as many operations a step.

In comes a decoder of the common kind (pre-norm, RMSNorm, rotary, gated, no biases), out comes what a `Runner` can use
in its place: projections of one input side by side, weights of norms multiplied into the matrices behind them, all
copied once in the dtype that they multiply in. It knows nothing of later changes to the weights. B rows, T positions,
D width, H query heads, K key/value heads, G = H / K, E head width, S keys, N = B K.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.models.decoder import Decoder
from dodam.nn.attention import SelfAttention, attend
from dodam.nn.block import Block
from dodam.nn.cache import Cache
from dodam.nn.dropout import Dropout
from dodam.nn.feedforward import ACTIVATIONS, GatedFeedForward
from dodam.nn.mask import Mask, cached_mask
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


class Step(NamedTuple):
    """What all layers need to know of the tokens of one call: R = rows * tokens of them."""

    rows: int
    tokens: int
    num_keys: int
    cos: Tensor
    sin: Tensor
    places: Tensor
    """Where keys and values go in a cache that is seen as [B K S, E], in the order of [R, K]."""
    mask: Mask
    bias_N1S: Tensor | None
    """The mask as what is added to scores, of one token each."""


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

    def laid(self, norm: Any, *linears: Any) -> Tensor:
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
        step = self.step(starts_B, T, cache.capacity)
        x_RD = self.embedding(ids_BT.flatten())
        if self.normalize_embedding:
            x_RD = F.rms_norm(x_RD, x_RD.shape[-1:], eps=self.eps)
        for layer, keys, values in zip(self.layers, cache.keys, cache.values, strict=True):
            x_RD = x_RD + self.attend(layer, self.normal(x_RD), step, keys, values) @ layer.out
            gate_RF, up_RF = (self.normal(x_RD).to(self.dtype) @ layer.gate_up).chunk(2, dim=-1)
            x_RD = x_RD + (self.activation(gate_RF) * up_RF) @ layer.down
        return self.normal(x_RD).view(B, T, -1)

    def step(self, starts_B: Tensor, T: int, capacity: int) -> Step:
        """What all layers need to know of T tokens behind each start."""
        kv_heads, device, num_keys = self.config.kv_heads, starts_B.device, int(starts_B.max()) + T
        positions_R = (starts_B[:, None] + torch.arange(T, device=device)).flatten()
        first_BK = torch.arange(len(starts_B) * kv_heads, device=device).view(-1, kv_heads) * capacity
        places_RK = positions_R[:, None] + first_BK.repeat_interleave(T, 0)
        mask = cached_mask(starts_B, T, num_keys)
        bias_N1S = None
        if T == 1 and mask.allowed is not None:
            zeros_B1S = torch.zeros(len(starts_B), 1, num_keys, dtype=self.dtype, device=device)
            bias_N1S = zeros_B1S.masked_fill_(~mask.allowed[:, 0], -math.inf).repeat_interleave(kv_heads, 0)
        cos, sin = self.cos[positions_R, None], self.sin[positions_R, None]
        return Step(len(starts_B), T, num_keys, cos, sin, places_RK.flatten(), mask, bias_N1S)

    def attend(self, layer: Layer, x_RD: Tensor, step: Step, keys_BKSE: Tensor, values_BKSE: Tensor) -> Tensor:
        """What the heads saw, [R, H E]. The new keys and values join the cache."""
        B, T = step.rows, step.tokens
        H, K, E = self.config.heads, self.config.kv_heads, self.config.head_dim
        qkv_RHE = (x_RD.to(self.dtype) @ layer.qkv).view(B * T, H + 2 * K, E)
        qk_RHE = qkv_RHE[:, : H + K].float()
        if layer.qk_weight is not None:
            qk_RHE = self.normal(qk_RHE) * layer.qk_weight
        qk_RHE = torch.addcmul(qk_RHE * step.cos, qk_RHE.roll(E // 2, -1), step.sin).to(self.dtype)
        keys_BKSE.view(-1, E).index_copy_(0, step.places, qk_RHE[:, H:].reshape(-1, E))
        values_BKSE.view(-1, E).index_copy_(0, step.places, qkv_RHE[:, H + K :].reshape(-1, E))
        k_BKSE, v_BKSE = keys_BKSE[:, :, : step.num_keys], values_BKSE[:, :, : step.num_keys]
        if step.bias_N1S is None:
            q_BHTE = qk_RHE[:, :H].view(B, T, H, E).transpose(1, 2)
            return attend(q_BHTE, k_BKSE, v_BKSE, step.mask).transpose(1, 2).reshape(B * T, H * E)
        q_NGE, k_NSE, v_NSE = qk_RHE[:, :H].reshape(B * K, -1, E), k_BKSE.flatten(0, 1), v_BKSE.flatten(0, 1)
        if self.dtype == torch.bfloat16:  # a CPU is slow at bf16 products whose second factor is transposed
            scores_NGS = torch.add(step.bias_N1S, (k_NSE @ q_NGE.transpose(1, 2)).transpose(1, 2), alpha=E**-0.5)
        else:
            scores_NGS = torch.baddbmm(step.bias_N1S, q_NGE, k_NSE.transpose(1, 2), alpha=E**-0.5)
        return (scores_NGS.softmax(-1) @ v_NSE).view(B, H * E)

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., D] -> logits [.., V]."""
        return hidden.to(self.dtype) @ self.output
