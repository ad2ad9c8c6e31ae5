"""Attention: `attend` chooses the kernel, `SelfAttention` projects, normalises, rotates and caches.

B batch, T query positions, S key positions, D width, H query heads, K key/value heads, G = H / K, E head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.nn.cache import LayerCache
from dodam.nn.linear import project
from dodam.nn.mask import Mask
from dodam.nn.norm import RMSNorm
from dodam.nn.position import rotate

# On CPUs the fused bf16 kernel loses to plain matrix products up to here (docs/benchmarks.md).
EXPLICIT_UP_TO = 512
QUERY_BLOCK = 64


def attend(q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, mask: Mask) -> Tensor:
    """softmax(q k^T / sqrt(E)) v under `mask` -> [B, H, T, E] (Vaswani et al. 2017, eq. 1).

    Query heads share key/value heads in consecutive groups (Ainslie et al. 2023)."""
    short_on_cpu = q_BHTE.device.type == "cpu" and q_BHTE.dtype == torch.bfloat16 and q_BHTE.shape[2] <= EXPLICIT_UP_TO
    if short_on_cpu or (q_BHTE.device.type == "cpu" and q_BHTE.shape[2] == 1):
        return attend_explicitly(q_BHTE, k_BKSE, v_BKSE, mask)
    triangle = mask.causal and mask.allowed is None
    return F.scaled_dot_product_attention(
        q_BHTE, k_BKSE, v_BKSE, attn_mask=mask.allowed, is_causal=triangle, enable_gqa=True
    )


def attend_explicitly(q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, mask: Mask) -> Tensor:
    """The same, written out. The heads of a group are stacked, so keys and values are never repeated.

    Queries go in blocks; under a causal mask each block skips the keys after its end."""
    B, H, T, E = q_BHTE.shape
    K, S = k_BKSE.shape[1:3]
    G = H // K
    q_BKGTE = (q_BHTE * E**-0.5).view(B, K, G, T, E)
    outs = []
    for first in range(0, T, QUERY_BLOCK):
        last = min(T, first + QUERY_BLOCK)
        seen = last if mask.causal else S
        q_BKME = q_BKGTE[:, :, :, first:last].reshape(B, K, -1, E)
        scores_BKGTS = (q_BKME @ k_BKSE[:, :, :seen].transpose(-1, -2)).view(B, K, G, last - first, seen)
        allowed = mask.allowed
        if allowed is not None:
            allowed = allowed[:, :, None, first:last, :seen]
        elif mask.causal:
            allowed = torch.ones(T, S, dtype=torch.bool, device=q_BHTE.device).tril()[first:last, :seen]
        if allowed is not None:
            scores_BKGTS = scores_BKGTS.masked_fill(~allowed, float("-inf"))
        weights_BKMS = scores_BKGTS.softmax(-1).to(v_BKSE.dtype).view(B, K, -1, seen)
        outs.append((weights_BKMS @ v_BKSE[:, :, :seen]).view(B, K, G, last - first, E))
    return torch.cat(outs, dim=3).view(B, H, T, E)


class SelfAttention(nn.Module):
    """Grouped-query self-attention with normalised queries and keys (Henry et al. 2020) and rotary positions."""

    def __init__(self, width: int, heads: int, kv_heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.query = nn.Linear(width, heads * head_dim, bias=False)
        self.key = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.value = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.output = nn.Linear(heads * head_dim, width, bias=False)
        self.query_norm = RMSNorm(head_dim, eps)
        self.key_norm = RMSNorm(head_dim, eps)

    def forward(
        self,
        x_BTD: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Mask,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """[B, T, D] -> [B, T, D]. With a cache the new keys and values join it and all of it is looked at."""
        B, T, _ = x_BTD.shape
        q_BTM, k_BTM, v_BTM = project(x_BTD, (self.query, self.key, self.value))
        q_BHTE = self.query_norm(q_BTM.view(B, T, self.heads, self.head_dim)).transpose(1, 2)
        k_BKTE = self.key_norm(k_BTM.view(B, T, self.kv_heads, self.head_dim)).transpose(1, 2)
        v_BKTE = v_BTM.view(B, T, self.kv_heads, self.head_dim).transpose(1, 2)
        q_BHTE = rotate(q_BHTE, *rotation).to(v_BKTE.dtype)
        k_BKTE = rotate(k_BKTE, *rotation).to(v_BKTE.dtype)
        if cache is not None:
            k_BKTE, v_BKTE = cache.append(k_BKTE, v_BKTE)
        out_BHTE = attend(q_BHTE, k_BKTE, v_BKTE, mask)
        return self.output(out_BHTE.transpose(1, 2).reshape(B, T, self.heads * self.head_dim))
