"""A mixture of experts in place of a feed-forward (Shazeer et al. 2017; Fedus et al. 2022, Switch Transformer).

A router gives every token to its `chosen` best of N experts and adds up what they say, weighted. N experts, M tokens,
D width, F an expert's width.
"""

import torch
from torch import Tensor, nn

from dodam.nn.feedforward import Activation, GatedFeedForward


class Experts(nn.Module):
    """[.., D] -> [.., D]. With `normalize` a token's weights are divided by their sum, as Mixtral does always.

    While training, `balance` holds what the last call costs for uneven routing."""

    def __init__(
        self, width: int, hidden_size: int, experts: int, chosen: int, activation: Activation, *, normalize: bool
    ) -> None:
        super().__init__()
        self.chosen, self.normalize = chosen, normalize
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(GatedFeedForward(width, hidden_size, activation) for _ in range(experts))
        self.balance: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x_MD = x.reshape(-1, x.shape[-1])
        shares_MN = self.router(x_MD).float().softmax(-1)
        weights_MC, chosen_MC = shares_MN.topk(self.chosen, dim=-1)
        if self.normalize:
            weights_MC = weights_MC / weights_MC.sum(-1, keepdim=True)
        if self.training and torch.is_grad_enabled():
            self.balance = balance_loss(shares_MN, chosen_MC)
        out_MD = torch.zeros_like(x_MD)
        for number, expert in enumerate(self.experts):
            token_A, place_A = (chosen_MC == number).nonzero(as_tuple=True)
            if len(token_A):
                said_AD = expert(x_MD[token_A]) * weights_MC[token_A, place_A, None].to(x.dtype)
                out_MD = out_MD.index_add(0, token_A, said_AD.to(out_MD.dtype))
        return out_MD.view_as(x)


def balance_loss(shares_MN: Tensor, chosen_MC: Tensor) -> Tensor:
    """N times the sum over experts of (share of tokens given to it) x (mean share of the router): C where all is even
    (Fedus et al. 2022, eq. 4, for more than one choice as in Hugging Face's Mixtral)."""
    num_experts = shares_MN.shape[1]
    given_N = torch.zeros(num_experts, device=shares_MN.device).index_add_(
        0, chosen_MC.reshape(-1), torch.ones(chosen_MC.numel(), device=shares_MN.device)
    )
    return num_experts * (given_N / len(shares_MN) * shares_MN.mean(0)).sum()
