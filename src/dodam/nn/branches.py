"""Rows in which several answers stand behind one prompt, and their attention: each answer looks at the prompt and at
itself, and is computed so, instead of the whole row's square being computed and most of it thrown away.

B rows, T positions, H query heads, K key/value heads, E head width; A answers of all rows, L positions of the longest,
P of the longest prompt, S = P + L.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dodam.nn.mask import CAUSAL, Mask


@dataclass(frozen=True)
class Branches:
    """Where answers and what they look at stand, as places in the B T positions of all rows."""

    numbers_BT: Tensor
    """As they are given to `of`."""
    prompt: int
    """P: the first so many positions of every row are looked at as prompt."""
    queries_AL: Tensor
    """An answer's last place stands for all behind it."""
    keys_AS: Tensor
    real_AL: Tensor
    """True where there is a token of an answer."""
    allowed_ALS: Tensor

    @classmethod
    def of(cls, branches_BT: Tensor) -> "Branches":
        """`branches_BT` is 0 in the prompt and in the padding at the end, between them the number of the answer, each
        of which is in one piece."""
        B, T = branches_BT.shape
        device = branches_BT.device
        places_T = torch.arange(T, device=device)
        prompts_B = torch.where(branches_BT > 0, places_T, T).amin(1)
        before_BT = torch.cat([torch.zeros(B, 1, dtype=branches_BT.dtype, device=device), branches_BT[:, :-1]], dim=1)
        after_BT = torch.cat([branches_BT[:, 1:], torch.zeros(B, 1, dtype=branches_BT.dtype, device=device)], dim=1)
        answered_BT = branches_BT > 0
        rows_A, firsts_A = ((branches_BT != before_BT) & answered_BT).nonzero(as_tuple=True)
        lasts_A = ((branches_BT != after_BT) & answered_BT).nonzero(as_tuple=True)[1]
        P, L = int(prompts_B.max().clamp(max=T)), int((lasts_A - firsts_A).max()) + 1
        places_P, places_L = torch.arange(P, device=device), torch.arange(L, device=device)
        queries_AL = torch.minimum(firsts_A[:, None] + places_L, lasts_A[:, None]) + rows_A[:, None] * T
        prompt_AP = (places_P + rows_A[:, None] * T).expand(-1, P)
        seen_AP = places_P < prompts_B[rows_A, None]
        earlier_LL = places_L <= places_L[:, None]
        A = len(rows_A)
        return cls(
            numbers_BT=branches_BT,
            prompt=P,
            queries_AL=queries_AL,
            keys_AS=torch.cat([prompt_AP, queries_AL], dim=1),
            real_AL=places_L <= (lasts_A - firsts_A)[:, None],
            allowed_ALS=torch.cat([seen_AP[:, None].expand(A, L, P), earlier_LL.expand(A, L, L)], dim=2),
        )

    @property
    def allowed(self) -> Tensor:
        """The same as a mask of whole rows, [B, 1, T, T]."""
        keys_B1S = self.numbers_BT[:, None, :]
        allowed_BTS = (keys_B1S == self.numbers_BT[:, :, None]) | (keys_B1S == 0)
        return allowed_BTS.tril()[:, None]

    def attend(
        self,
        kernel: Callable[[Tensor, Tensor, Tensor, Mask], Tensor],
        q_BHTE: Tensor,
        k_BKTE: Tensor,
        v_BKTE: Tensor,
    ) -> Tensor:
        """[B, H, T, E] by a kernel for queries, keys and values of one length each; zeros in the padding."""
        B, H, T, E = q_BHTE.shape

        def at(part: Tensor, places_AN: Tensor) -> Tensor:
            """[B, heads, T, E] at some places -> [A, heads, N, E]."""
            tokens = part.transpose(1, 2).reshape(B * T, -1).index_select(0, places_AN.flatten())
            return tokens.view(*places_AN.shape, -1, E).transpose(1, 2)

        mask = Mask(causal=False, allowed=self.allowed_ALS[:, None])
        said_AHLE = kernel(at(q_BHTE, self.queries_AL), at(k_BKTE, self.keys_AS), at(v_BKTE, self.keys_AS), mask)
        out_BTM = q_BHTE.new_zeros(B, T, H * E)
        if P := self.prompt:
            prompt_BHPE = kernel(q_BHTE[:, :, :P], k_BKTE[:, :, :P], v_BKTE[:, :, :P], CAUSAL)
            out_BTM[:, :P] = prompt_BHPE.transpose(1, 2).reshape(B, P, H * E)
        real = self.real_AL.flatten().nonzero().squeeze(1)
        said = said_AHLE.transpose(1, 2).reshape(-1, H * E).index_select(0, real)
        out = out_BTM.view(B * T, H * E).index_copy(0, self.queries_AL.flatten()[real], said)
        return out.view(B, T, H, E).transpose(1, 2)
