"""One block: attention and feed-forward, each added to the stream, with norms where the architecture has them.

B batch, T positions, D width.
"""

from typing import Literal

from torch import Tensor, nn

from dodam.nn.cache import LayerCache
from dodam.nn.dropout import Dropout
from dodam.nn.mask import Mask

NormPlace = Literal["before", "after", "around", "outside"]
"""Of the norms of a part f: `before` x + f(norm(x)), the pre-norm of most decoders; `after` x + norm(f(x)), as in
EXAONE 4; `around` x + norm(f(norm(x))), as in Gemma 2; `outside` norm(x + f(x)), the original Transformer's."""


class Block(nn.Module):
    """A self-attention and a feed-forward with their norms. `norms` are made by the caller: two, or four for `around`
    (attention's, what follows it, feed-forward's, what follows it). `dropout` acts, while training, on what each part
    adds to the stream."""

    def __init__(
        self,
        attention: nn.Module,
        feedforward: nn.Module,
        norms: list[nn.Module],
        place: NormPlace,
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.place = place
        self.dropout = Dropout(dropout)
        self.attention, self.feedforward = attention, feedforward
        if place == "around":
            self.attention_norm, self.attention_end_norm, self.feedforward_norm, self.feedforward_end_norm = norms
        else:
            self.attention_norm, self.feedforward_norm = norms

    def forward(
        self,
        x_BTD: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        mask: Mask,
        cache: LayerCache | None = None,
    ) -> Tensor:
        drop = self.dropout
        if self.place == "before":
            x_BTD = x_BTD + drop(self.attention(self.attention_norm(x_BTD), rotation, mask, cache))
            return x_BTD + drop(self.feedforward(self.feedforward_norm(x_BTD)))
        if self.place == "after":
            x_BTD = x_BTD + drop(self.attention_norm(self.attention(x_BTD, rotation, mask, cache)))
            return x_BTD + drop(self.feedforward_norm(self.feedforward(x_BTD)))
        if self.place == "around":
            said_BTD = self.attention(self.attention_norm(x_BTD), rotation, mask, cache)
            x_BTD = x_BTD + drop(self.attention_end_norm(said_BTD))
            return x_BTD + drop(self.feedforward_end_norm(self.feedforward(self.feedforward_norm(x_BTD))))
        x_BTD = self.attention_norm(x_BTD + drop(self.attention(x_BTD, rotation, mask, cache)))
        return self.feedforward_norm(x_BTD + drop(self.feedforward(x_BTD)))
