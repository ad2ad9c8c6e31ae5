"""One block of a decoder: attention and feed-forward, each behind a norm and added to the stream (pre-norm).

B batch, T positions, D width.
"""

from torch import Tensor, nn

from dodam.nn.attention import SelfAttention
from dodam.nn.cache import LayerCache
from dodam.nn.feedforward import GatedFeedForward
from dodam.nn.mask import Mask
from dodam.nn.norm import RMSNorm


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x))."""

    def __init__(self, width: int, heads: int, kv_heads: int, head_dim: int, feedforward_size: int, eps: float) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width, eps)
        self.attention = SelfAttention(width, heads, kv_heads, head_dim, eps)
        self.feedforward_norm = RMSNorm(width, eps)
        self.feedforward = GatedFeedForward(width, feedforward_size)

    def forward(
        self,
        x_BTD: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Mask,
        cache: LayerCache | None = None,
    ) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rotation, mask, cache)
        return x_BTD + self.feedforward(self.feedforward_norm(x_BTD))
