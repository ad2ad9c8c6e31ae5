"""R-Drop: every input is read twice, with different things dropped, and both readings shall say the same (Wu et al.
2021, eq. 4).

In come hidden states of both readings, or their logits; out comes the loss: the mean of both cross-entropies and, times
half of alpha, the mean of the two divergences between them. Twice the work a step, for data that is read many times.

N positions, of which 2n and 2n + 1 are the same one read twice; D width, V vocabulary, B texts, L labels.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from dodam.data.batch import IGNORED
from dodam.data.pairs import PairBatch
from dodam.models.encoder_decoder import EncoderDecoder
from dodam.nn.mask import padding_mask
from dodam.train.label_smoothing import grads_of, logits_of, smoothed_loss
from dodam.train.objective import Chunk, compiled, summed_cross_entropy


def divergence(logs_NV: Tensor) -> Tensor:
    """(KL(p|q) + KL(q|p)) / 2 of the log-probabilities of both readings, summed over positions."""
    own, other = logs_NV[0::2], logs_NV[1::2]
    return 0.5 * ((own.exp() - other.exp()) * (own - other)).sum()


def divergence_grad(logs_NV: Tensor) -> Tensor:
    """Its gradient by the logits [N, V] that the log-probabilities are of."""
    apart = logs_NV - (other := logs_NV.unflatten(0, (-1, 2)).flip(1).flatten(0, 1))
    probs = logs_NV.exp()
    return 0.5 * (probs * (apart - (probs * apart).sum(-1, keepdim=True)) + probs - other.exp())


def r_drop_chunk_loss(
    hidden_ND: Tensor,
    head_VD: Tensor,
    labels_N: Tensor,
    bias_V: Tensor | None = None,
    *,
    smoothing: float,
    alpha: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Of one chunk, as `smoothed_chunk_loss`: the cross-entropies of all rows and alpha times the divergence of each
    two, summed; with the gradients by hidden states, head and bias."""
    logits_NV = logits_of(hidden_ND, head_VD, bias_V)
    loss, grad_logits_NV = smoothed_loss(logits_NV, labels_N, smoothing)
    logs_NV = logits_NV.log_softmax(-1)
    grad_logits_NV.add_(divergence_grad(logs_NV), alpha=alpha)
    return loss + alpha * divergence(logs_NV), *grads_of(grad_logits_NV, hidden_ND, head_VD, bias_V)


@cache
def r_drop_chunk(smoothing: float, alpha: float, *, compile_it: bool) -> Chunk:
    """`r_drop_chunk_loss` with these two."""
    chunk = partial(r_drop_chunk_loss, smoothing=smoothing, alpha=alpha)
    return compiled(chunk) if compile_it else chunk


def twice(batch: Any) -> Any:
    """A batch of tensors with each of its rows twice, one beneath the other."""
    rows = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **{name: value.repeat_interleave(2, 0) for name, value in rows.items()})


@dataclass(frozen=True)
class RDropCrossEntropy:
    """`SmoothedCrossEntropy` of pairs that are read twice."""

    alpha: float
    smoothing: float = 0.1
    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def weight(self, batch: PairBatch) -> float:
        return float((batch.labels_BT != IGNORED).sum())

    def __call__(self, model: EncoderDecoder, batch: PairBatch) -> Tensor:
        both = twice(batch)
        with torch.autocast(batch.source_BS.device.type, self.dtype, enabled=self.dtype != torch.float32):
            hidden_BTD = model(both.source_BS, both.target_BT, padding_mask(both.real_BS))
        # From readings beneath each other to positions beneath each other.
        hidden_NTD = hidden_BTD.unflatten(0, (-1, 2)).transpose(1, 2)
        labels_NT = both.labels_BT.unflatten(0, (-1, 2)).transpose(1, 2)
        bias_V = None if model.logits_bias is None else model.logits_bias[0]
        chunk = r_drop_chunk(self.smoothing, self.alpha, compile_it=self.compiled)
        loss = summed_cross_entropy(hidden_NTD, model.output.weight, labels_NT, self.dtype, chunk, bias=bias_V)
        return loss / 2
