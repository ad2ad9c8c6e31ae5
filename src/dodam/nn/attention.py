"""Attention: `attend` chooses the kernel; `SelfAttention` projects, normalises, rotates and caches; `CrossAttention`
looks at another sequence.

B batch, T query positions, S key positions, D width, H query heads, K key/value heads, G = H / K, E head width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam.nn.cache import LayerCache
from dodam.nn.linear import project
from dodam.nn.mask import Mask, added
from dodam.nn.norm import NormKind, make_norm
from dodam.nn.position import rotate

# On CPUs the fused bf16 kernel loses to plain matrix products up to here (docs/benchmarks.md).
EXPLICIT_UP_TO = 512
QUERY_BLOCK = 64


def attend(
    q_BHTE: Tensor,
    k_BKSE: Tensor,
    v_BKSE: Tensor,
    mask: Mask,
    *,
    scale: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """softmax(q k^T * scale) v under `mask` -> [B, H, T, E] (Vaswani et al. 2017, eq. 1).

    Query heads share key/value heads in consecutive groups (Ainslie et al. 2023). `scale` is 1 / sqrt(E) unless given;
    with `softcap` c, scores become c tanh(score / c) (Gemma 2)."""
    if own := mask.branches or mask.section:
        return own.attend(partial(attend, scale=scale, softcap=softcap), q_BHTE, k_BKSE, v_BKSE)
    if softcap is not None or written_out(q_BHTE.device.type, q_BHTE.dtype, q_BHTE.shape[2]):
        return attend_explicitly(q_BHTE, k_BKSE, v_BKSE, mask, scale=scale, softcap=softcap)
    allowed = mask.allowed
    if mask.bias is not None:
        allowed = biased(mask, q_BHTE, k_BKSE)
    triangle = mask.causal and allowed is None
    if not shared_heads_fused(q_BHTE.device.type, q_BHTE.dtype, masked=allowed is not None):
        groups = q_BHTE.shape[1] // k_BKSE.shape[1]
        k_BKSE, v_BKSE = (part.repeat_interleave(groups, dim=1) for part in (k_BKSE, v_BKSE))
    return F.scaled_dot_product_attention(
        q_BHTE, k_BKSE, v_BKSE, attn_mask=allowed, is_causal=triangle, scale=scale, enable_gqa=True
    )


def written_out(device: str, dtype: torch.dtype, num_queries: int) -> bool:
    """Whether plain matrix products are quicker than one of torch's kernels."""
    half = dtype == torch.bfloat16
    return device == "cpu" and (num_queries == 1 or (half and num_queries <= EXPLICIT_UP_TO))


def added_once(mask: Mask, x_BTD: Tensor) -> Mask:
    """A mask for all layers of a model that learns from x. Where one of torch's kernels will add it to scores, it
    becomes what is added: else each layer would make that of it, and keep its own for the way back."""
    if mask.allowed is None or mask.bias is not None or mask.allowed.shape[2] == 1 or not torch.is_grad_enabled():
        return mask
    device = x_BTD.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_BTD.dtype
    if written_out(device, dtype, x_BTD.shape[1]):
        return mask
    return Mask(causal=False, bias=added(mask.allowed, dtype))


def shared_heads_fused(device: str, dtype: torch.dtype, *, masked: bool) -> bool:
    """Whether one of torch's kernels that keep no scores takes keys and values which several query heads share. On
    CUDA that is flash alone: half precision, no mask. Else torch takes, without a word, one that writes all scores
    into memory."""
    return device != "cuda" or (dtype in (torch.float16, torch.bfloat16) and not masked)


def biased(mask: Mask, q_BHTE: Tensor, k_BKSE: Tensor) -> Tensor:
    """The mask's bias, minus infinity where nothing may be seen."""
    assert mask.bias is not None
    bias = mask.bias.to(q_BHTE.dtype)
    allowed = mask.allowed
    if allowed is None and mask.causal:
        allowed = torch.ones(q_BHTE.shape[2], k_BKSE.shape[2], dtype=torch.bool, device=bias.device).tril()
    return bias if allowed is None else bias.masked_fill(~allowed, float("-inf"))


def attend_explicitly(
    q_BHTE: Tensor,
    k_BKSE: Tensor,
    v_BKSE: Tensor,
    mask: Mask,
    *,
    scale: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """The same, written out. The heads of a group are stacked, so keys and values are never repeated.

    Under a causal mask queries go in blocks, each of which skips the keys after its end; without one only long ones
    do, to bound what the scores need."""
    B, H, T, E = q_BHTE.shape
    K, S = k_BKSE.shape[1:3]
    G = H // K
    q_BKGTE = (q_BHTE * (E**-0.5 if scale is None else scale)).view(B, K, G, T, E)
    outs = []
    block = QUERY_BLOCK if mask.causal or T > EXPLICIT_UP_TO else T
    for first in range(0, T, block):
        last = min(T, first + block)
        seen = last if mask.causal else S
        q_BKME = q_BKGTE[:, :, :, first:last].reshape(B, K, -1, E)
        scores_BKGTS = (q_BKME @ k_BKSE[:, :, :seen].transpose(-1, -2)).view(B, K, G, last - first, seen)
        if softcap is not None:
            scores_BKGTS = softcap * torch.tanh(scores_BKGTS / softcap)
        if mask.bias is not None:
            bias_BHTS = mask.bias[..., first:last, :seen].expand(-1, H, -1, -1)
            scores_BKGTS = scores_BKGTS + bias_BHTS.unflatten(1, (K, G)).to(scores_BKGTS.dtype)
        allowed = mask.allowed
        if allowed is not None:
            # A mask for all queries at once (padding) has one row.
            allowed = (allowed if allowed.shape[2] == 1 else allowed[:, :, first:last])[:, :, None, :, :seen]
        elif mask.causal:
            allowed = torch.ones(T, S, dtype=torch.bool, device=q_BHTE.device).tril()[first:last, :seen]
        if allowed is not None:
            scores_BKGTS = scores_BKGTS.masked_fill(~allowed, float("-inf"))
        weights_BKMS = scores_BKGTS.softmax(-1).to(v_BKSE.dtype).view(B, K, -1, seen)
        outs.append((weights_BKMS @ v_BKSE[:, :, :seen]).view(B, K, G, last - first, E))
    return torch.cat(outs, dim=3).view(B, H, T, E)


def attention_weights(
    q_BHTE: Tensor, k_BKSE: Tensor, mask: Mask, *, scale: float | None = None, softcap: float | None = None
) -> Tensor:
    """What `attend` weighs the values with, [B, H, T, S], fp32: to be looked at."""
    k_BHSE = k_BKSE.float().repeat_interleave(q_BHTE.shape[1] // k_BKSE.shape[1], dim=1)
    scores_BHTS = q_BHTE.float() @ k_BHSE.transpose(-1, -2) * (q_BHTE.shape[-1] ** -0.5 if scale is None else scale)
    if softcap is not None:
        scores_BHTS = softcap * torch.tanh(scores_BHTS / softcap)
    if mask.bias is not None:
        scores_BHTS = scores_BHTS + mask.bias
    allowed = mask.allowed if mask.branches is None else mask.branches.allowed
    if allowed is None and mask.causal:
        allowed = torch.ones(scores_BHTS.shape[-2:], dtype=torch.bool, device=scores_BHTS.device).tril()
    if allowed is not None:
        scores_BHTS = scores_BHTS.masked_fill(~allowed, float("-inf"))
    return scores_BHTS.softmax(-1)


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Within, every attention layer notes what it weighs values with, under its name: one [B, H, T, S] a call.

    Nothing else changes: the weights are computed a second time, beside the result."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, SelfAttention | CrossAttention)}
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    for name, layer in layers.items():
        layer.seen = seen[name]
    try:
        yield seen
    finally:
        for layer in layers.values():
            layer.seen = None


class SelfAttention(nn.Module):
    """Grouped-query self-attention; with `qk_norm` queries and keys are normalised (Henry et al. 2020), with a
    `rotation` they are turned by their positions."""

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        *,
        qk_norm: NormKind | None = None,
        eps: float = 1e-6,
        bias: bool = False,
        output_bias: bool = False,
        scale: float | None = None,
        softcap: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.scale, self.softcap = scale, softcap
        self.query = nn.Linear(width, heads * head_dim, bias=bias)
        self.key = nn.Linear(width, kv_heads * head_dim, bias=bias)
        self.value = nn.Linear(width, kv_heads * head_dim, bias=bias)
        self.output = nn.Linear(heads * head_dim, width, bias=output_bias)
        self.query_norm = make_norm(qk_norm, head_dim, eps) if qk_norm else nn.Identity()
        self.key_norm = make_norm(qk_norm, head_dim, eps) if qk_norm else nn.Identity()
        self.seen: list[Tensor] | None = None

    def forward(
        self,
        x_BTD: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        mask: Mask,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """[B, T, D] -> [B, T, D]. With a cache the new keys and values join it and all of it is looked at."""
        B, T, _ = x_BTD.shape
        q_BTM, k_BTM, v_BTM = project(x_BTD, (self.query, self.key, self.value))
        q_BHTE = self.query_norm(q_BTM.view(B, T, self.heads, self.head_dim)).transpose(1, 2)
        k_BKTE = self.key_norm(k_BTM.view(B, T, self.kv_heads, self.head_dim)).transpose(1, 2)
        v_BKTE = v_BTM.view(B, T, self.kv_heads, self.head_dim).transpose(1, 2)
        if rotation is not None:
            q_BHTE = rotate(q_BHTE, *rotation).to(v_BKTE.dtype)
            k_BKTE = rotate(k_BKTE, *rotation).to(v_BKTE.dtype)
        if cache is not None:
            k_BKTE, v_BKTE = cache.append(k_BKTE, v_BKTE)
        if self.seen is not None:
            self.seen.append(attention_weights(q_BHTE, k_BKTE, mask, scale=self.scale, softcap=self.softcap))
        out_BHTE = attend(q_BHTE, k_BKTE, v_BKTE, mask, scale=self.scale, softcap=self.softcap)
        return self.output(out_BHTE.transpose(1, 2).reshape(B, T, self.heads * self.head_dim))


class CrossAttention(nn.Module):
    """Queries from one sequence, keys and values from another, the memory [B, S, D] (Vaswani et al. 2017, 3.2.3)."""

    def __init__(self, width: int, heads: int, head_dim: int, *, bias: bool = True, scale: float | None = None) -> None:
        super().__init__()
        self.heads, self.head_dim, self.scale = heads, head_dim, scale
        self.query = nn.Linear(width, heads * head_dim, bias=bias)
        self.key = nn.Linear(width, heads * head_dim, bias=bias)
        self.value = nn.Linear(width, heads * head_dim, bias=bias)
        self.output = nn.Linear(heads * head_dim, width, bias=bias)
        self.seen: list[Tensor] | None = None

    def remember(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """The memory's keys and values, each [B, H, S, E]; the same for every step of a generation."""
        B, S, _ = memory_BSD.shape
        return tuple(  # type: ignore[return-value]
            part.view(B, S, self.heads, self.head_dim).transpose(1, 2)
            for part in project(memory_BSD, (self.key, self.value))
        )

    def forward(self, x_BTD: Tensor, memory: tuple[Tensor, Tensor], mask: Mask) -> Tensor:
        """[B, T, D] -> [B, T, D]; `memory` are the keys and values that `remember` gave."""
        B, T, _ = x_BTD.shape
        q_BHTE = self.query(x_BTD).view(B, T, self.heads, self.head_dim).transpose(1, 2)
        if self.seen is not None:
            self.seen.append(attention_weights(q_BHTE, memory[0], mask, scale=self.scale))
        out_BHTE = attend(q_BHTE, *memory, mask, scale=self.scale)
        return self.output(out_BHTE.transpose(1, 2).reshape(B, T, self.heads * self.head_dim))
