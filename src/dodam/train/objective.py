"""What is minimised. An objective says how much a batch weighs and returns summed losses, so that the loop can
divide by
the weight of the whole step: accumulation never changes the result.

N positions, D width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dodam.data.batch import IGNORED, TokenBatch
from dodam.models.decoder import Decoder
from dodam.nn.mask import CAUSAL, document_mask

CHUNK = 1024  # positions whose logits exist at one time


class Objective(Protocol):
    """`weight`: what the loss is averaged over (tokens, pairs). Calling it gives the summed loss of one microbatch."""

    def weight(self, batch: TokenBatch) -> float: ...

    def __call__(self, model: Any, batch: TokenBatch) -> Tensor: ...


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of hidden [N, D] against labels [N] through a head [V, D].

    Logits exist for `CHUNK` positions at a time, and their gradient is taken at once, while they are in the
    cache: memory is that of one chunk, and nothing is computed twice. Products run in the dtype of `hidden_ND`,
    softmax in fp32."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head_VD: Tensor, labels_N: Tensor) -> Tensor:
        dtype = hidden_ND.dtype
        head = head_VD.to(dtype)
        grad_hidden = torch.empty_like(hidden_ND)
        grad_head = torch.zeros_like(head_VD, dtype=torch.float32)
        loss = hidden_ND.new_zeros((), dtype=torch.float32)
        for start in range(0, hidden_ND.shape[0], CHUNK):
            hidden = hidden_ND[start : start + CHUNK]
            labels = labels_N[start : start + CHUNK, None]
            log_probs = F.log_softmax((hidden @ head.T).float(), dim=-1)
            loss -= log_probs.gather(1, labels).sum()
            grad_logits = log_probs.exp_()
            grad_logits.scatter_add_(1, labels, grad_logits.new_full((), -1.0).expand_as(labels))
            grad_logits = grad_logits.to(dtype)
            grad_hidden[start : start + CHUNK] = grad_logits @ head
            grad_head += grad_logits.T @ hidden
        ctx.save_for_backward(grad_hidden, grad_head)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        return grad_hidden * grad_outputs[0].to(grad_hidden.dtype), grad_head * grad_outputs[0], None


def summed_cross_entropy(hidden: Tensor, head: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
    """Cross-entropy summed over all positions whose label is not `IGNORED`; the others cost nothing."""
    hidden_ND, labels_N = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    kept = labels_N != IGNORED
    if not bool(kept.all()):
        hidden_ND, labels_N = hidden_ND[kept], labels_N[kept]
    return ChunkedCrossEntropy.apply(hidden_ND.to(dtype), head, labels_N)


@dataclass(frozen=True)
class TokenCrossEntropy:
    """Next-token cross-entropy over the labels of a batch (see `data/batch.py`). `dtype` is what matrices
    multiply in."""

    dtype: torch.dtype = torch.float32

    def weight(self, batch: TokenBatch) -> float:
        return float((batch.labels_BT != IGNORED).sum())

    def __call__(self, model: Decoder, batch: TokenBatch) -> Tensor:
        mask = CAUSAL if batch.documents_BT is None else document_mask(batch.documents_BT)
        device = batch.ids_BT.device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32):
            hidden_BTD = model(batch.ids_BT, positions_BT=batch.positions_BT, mask=mask)
        return summed_cross_entropy(hidden_BTD, model.output.weight, batch.labels_BT, self.dtype)
