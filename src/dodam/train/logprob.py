"""Log-probabilities of given tokens with their gradients, and the entropies of the distributions they come from.

What preferences and rewards are learned through: in come hidden states, a head and the tokens that follow; logits exist
for `CHUNK` positions at a time, as in `objective.py`. The way back needs the probabilities, where the gradient by each
log-probability is known: they are kept where they are few, else computed again. N positions, D width, V vocabulary,
B rows, T positions of a row.
"""

from typing import Any

import torch
from torch import Tensor

from dodam.data.batch import IGNORED
from dodam.models.decoder import Decoder
from dodam.train.objective import CHUNK

KEPT = 2**26  # probabilities, of four bytes each


def chunk_logits(hidden_ND: Tensor, head_VD: Tensor, cap: float | None, temperature: float) -> Tensor:
    """fp32 logits [N, V] at a temperature; the product runs in the dtype given, a Gemma's cap comes before."""
    logits_NV = (hidden_ND @ head_VD.T).float()
    if cap is not None:
        logits_NV = cap * torch.tanh(logits_NV / cap)
    return logits_NV if temperature == 1.0 else logits_NV.div_(temperature)


class ChunkedLogprobs(torch.autograd.Function):
    """(log-probabilities [N], entropies [N]) of ids [N] after hidden [N, D] through a head [V, D]. Only the first have
    a gradient; the head's is left out where the head is frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        head_VD: Tensor,
        ids_N: Tensor,
        cap: float | None,
        temperature: float,
        entropy: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        head = head_VD.to(hidden_ND.dtype)
        logprobs = hidden_ND.new_empty(len(ids_N), dtype=torch.float32)
        entropies = torch.zeros_like(logprobs)
        kept_NV = logprobs.new_empty(len(ids_N), len(head)) if keep else None
        for start in range(0, len(ids_N), CHUNK):
            here = slice(start, start + CHUNK)
            logits_NV = chunk_logits(hidden_ND[here], head, cap, temperature)
            chosen_N = logits_NV.gather(1, ids_N[here, None]).squeeze(1)
            normalizers_N = logits_NV.logsumexp(-1)
            logprobs[here] = chosen_N - normalizers_N
            if not entropy and kept_NV is None:
                continue
            shares_NV = logits_NV.softmax(
                -1
            )  # as on the way back: kept or not, the gradient is the same to the last bit
            if kept_NV is not None:
                kept_NV[here] = shares_NV
            if entropy:  # H = log Z - E[logit]; a logit of -inf has no share in it.
                entropies[here] = normalizers_N - torch.linalg.vecdot(shares_NV, logits_NV.clamp_(min=-1e30))
        ctx.save_for_backward(hidden_ND, head_VD, ids_N, kept_NV)
        ctx.cap, ctx.temperature = cap, temperature
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, head_VD, ids_N, kept_NV = ctx.saved_tensors
        head, slopes_N = head_VD.to(hidden_ND.dtype), grad_outputs[0] / ctx.temperature
        grad_hidden = torch.empty_like(hidden_ND)
        grad_head = torch.zeros_like(head_VD, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(ids_N), CHUNK):
            here = slice(start, start + CHUNK)
            logits_NV = None
            if kept_NV is None:
                logits_NV = chunk_logits(hidden_ND[here], head, ctx.cap, ctx.temperature)
                grad_NV = logits_NV.softmax(-1).mul_(-slopes_N[here, None])
            else:
                grad_NV = kept_NV[here] * -slopes_N[here, None]
            grad_NV.scatter_add_(1, ids_N[here, None], slopes_N[here, None])
            if ctx.cap is not None and logits_NV is not None:  # the cap's slope, of the logits before the temperature
                grad_NV *= 1 - (logits_NV * (ctx.temperature / ctx.cap)).square_()
            grad_NV = grad_NV.to(hidden_ND.dtype)
            grad_hidden[here] = grad_NV @ head
            if grad_head is not None:
                grad_head += (grad_NV.T @ hidden_ND[here]).float()
        return grad_hidden, grad_head, None, None, None, None, None


def token_logprobs(
    hidden_ND: Tensor,
    head_VD: Tensor,
    ids_N: Tensor,
    dtype: torch.dtype,
    temperature: float = 1.0,
    cap: float | None = None,
    *,
    entropy: bool = True,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities [N] with their gradient and entropies [N] without, both fp32, of the softmax at a temperature.
    `dtype`: what matrices multiply in; `cap`: a model's `logit_softcap`; without `entropy` the entropies are zeros."""
    keep = torch.is_grad_enabled() and cap is None and len(ids_N) * len(head_VD) <= KEPT
    return ChunkedLogprobs.apply(hidden_ND.to(dtype), head_VD, ids_N, cap, temperature, entropy, keep)


def label_logprobs(
    model: Decoder,
    hidden_BTD: Tensor,
    labels_BT: Tensor,
    dtype: torch.dtype,
    temperature: float = 1.0,
    *,
    entropy: bool = True,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies [B, T] of the labels after hidden states; 0 where labels are `IGNORED`, and
    entropies without `entropy`."""
    kept_BT = labels_BT != IGNORED
    found = token_logprobs(
        hidden_BTD[kept_BT], model.output.weight, labels_BT[kept_BT], dtype, temperature, model.config.logit_softcap,
        entropy=entropy,
    )  # fmt: skip
    zeros_BT = torch.zeros(labels_BT.shape, device=labels_BT.device)
    logprobs_BT, entropies_BT = (zeros_BT.masked_scatter(kept_BT, values_N) for values_N in found)
    return logprobs_BT, entropies_BT
