"""What is minimised: cross-entropy over the labels of a batch, of next tokens or of masked ones.

An objective says how much a batch weighs and returns summed losses, so that the loop can divide by the weight of the
whole step: accumulation never changes the result.

N positions, D width, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from dodam.data.batch import IGNORED, TokenBatch
from dodam.models.decoder import Decoder
from dodam.models.encoder import Encoder
from dodam.nn.experts import Experts
from dodam.nn.mask import CAUSAL, EVERYTHING, Mask, document_mask
from dodam.train.context import SectionBatch

CHUNK = 1024  # positions whose logits exist at one time, on a CPU fewer where a vocabulary is large
CACHED_LOGITS = (
    2**22
)  # of one chunk: with more of them each pass over them is one over memory (docs/experiments/tasks.md)
BALANCE = 0.01  # what uneven routing to experts costs (Fedus et al. 2022, section 2.2)


class Objective(Protocol):
    """`weight`: what the loss is averaged over (tokens, pairs). Calling it gives the summed loss of one microbatch."""

    def weight(self, batch: Any) -> float: ...

    def __call__(self, model: Any, batch: Any) -> Tensor: ...


Chunk = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor, Tensor | None]]


def chunk_loss(
    hidden_ND: Tensor, head_VD: Tensor, labels_N: Tensor, bias_V: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Summed cross-entropy of one chunk, and its gradients by hidden states, head and bias. Products run in the dtype
    given, softmax in fp32."""
    logits_NV = (hidden_ND @ head_VD.T).float()
    if bias_V is not None:
        logits_NV = logits_NV + bias_V
    normalizers_N1 = logits_NV.logsumexp(-1, keepdim=True)
    loss = (normalizers_N1 - logits_NV.gather(1, labels_N[:, None])).sum()
    is_label_NV = torch.arange(head_VD.shape[0], device=labels_N.device) == labels_N[:, None]
    grad_logits_NV = (logits_NV - normalizers_N1).exp() - is_label_NV.float()
    grad_bias_V = None if bias_V is None else grad_logits_NV.sum(0)
    grad_logits_NV = grad_logits_NV.to(hidden_ND.dtype)
    return loss, grad_logits_NV @ head_VD, (grad_logits_NV.T @ hidden_ND).float(), grad_bias_V


@cache
def compiled(chunk: Chunk) -> Chunk:
    """A chunk's loss compiled: its passes over the logits become few. Any number of positions, one graph."""
    return torch.compile(chunk, dynamic=True)


def chunk_size(vocabulary: int, device: torch.device) -> int:
    """Positions whose logits exist at one time, an even number."""
    if device.type != "cpu":
        return CHUNK
    return min(CHUNK, max(128, CACHED_LOGITS // vocabulary // 64 * 64))


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of hidden [N, D] against labels [N] through a head [V, D] and, unless that is None, its
    bias [V].

    Logits exist for one chunk of positions at a time, and their gradient is taken at once, while they are in the
    cache: memory is that of one chunk, and nothing is computed twice."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head_VD: Tensor, labels_N: Tensor, bias_V: Tensor | None, chunk: Chunk
    ) -> Tensor:
        head = head_VD.to(hidden_ND.dtype)
        grad_hidden = torch.empty_like(hidden_ND)
        grad_head = torch.zeros_like(head_VD, dtype=torch.float32)
        grad_bias = None if bias_V is None else torch.zeros_like(bias_V, dtype=torch.float32)
        loss = hidden_ND.new_zeros((), dtype=torch.float32)
        size = chunk_size(head_VD.shape[0], hidden_ND.device)
        for start in range(0, hidden_ND.shape[0], size):
            here = slice(start, start + size)
            chunk_sum, grad_hidden[here], grad_chunk, grad_chunk_bias = chunk(
                hidden_ND[here], head, labels_N[here], bias_V
            )
            loss += chunk_sum
            grad_head += grad_chunk
            if grad_bias is not None and grad_chunk_bias is not None:
                grad_bias += grad_chunk_bias
        ctx.save_for_backward(grad_hidden, grad_head, grad_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, Tensor | None, None]:
        grad_hidden, grad_head, grad_bias = ctx.saved_tensors
        scale = grad_outputs[0]
        scaled_bias = None if grad_bias is None else grad_bias * scale
        return grad_hidden * scale.to(grad_hidden.dtype), grad_head * scale, None, scaled_bias, None


def summed_cross_entropy(
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    dtype: torch.dtype,
    chunk: Chunk = chunk_loss,
    *,
    bias: Tensor | None = None,
) -> Tensor:
    """Cross-entropy summed over all positions whose label is not `IGNORED`; the others cost nothing."""
    hidden_ND, labels_N = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    kept = labels_N != IGNORED
    if not bool(kept.all()):
        hidden_ND, labels_N = hidden_ND[kept], labels_N[kept]
    return ChunkedCrossEntropy.apply(hidden_ND.to(dtype), head, labels_N, bias, chunk)


def mask_of(batch: TokenBatch, *, causal: bool = True) -> Mask:
    """Causal unless told otherwise, and within each document where the batch numbers them; a section of rows has its
    own."""
    if isinstance(batch, SectionBatch) and batch.mask is not None:
        return batch.mask
    if batch.documents_BT is not None:
        return document_mask(batch.documents_BT, causal=causal)
    return CAUSAL if causal else EVERYTHING


@dataclass(frozen=True)
class TokenCrossEntropy:
    """Next-token cross-entropy over the labels of a batch (see `data/batch.py`). `dtype` is what matrices
    multiply in; `compiled` pays off where the blocks are compiled too."""

    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def weight(self, batch: TokenBatch) -> float:
        return float((batch.labels_BT != IGNORED).sum())

    def __call__(self, model: Decoder, batch: TokenBatch) -> Tensor:
        device = batch.ids_BT.device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32):
            hidden_BTD = model(batch.ids_BT, positions_BT=batch.positions_BT, mask=mask_of(batch))
        chunk = compiled(chunk_loss) if self.compiled else chunk_loss
        loss = summed_cross_entropy(hidden_BTD, model.output.weight, batch.labels_BT, self.dtype, chunk)
        return loss + BALANCE * self.weight(batch) * balance(model) if model.training and model.config.experts else loss


def balance(model: Decoder) -> Tensor:
    """How unevenly the last batch went to the experts, the mean over blocks; the number chosen where it was even."""
    losses = [module.balance for module in model.modules() if isinstance(module, Experts)]
    return torch.stack([loss for loss in losses if loss is not None]).mean()


@dataclass(frozen=True)
class MaskedCrossEntropy:
    """Cross-entropy of the tokens that an encoder is to fill in: those with a label. The head, its transform included,
    is computed for them alone. `dtype` and `compiled` as in `TokenCrossEntropy`."""

    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def weight(self, batch: TokenBatch) -> float:
        return float((batch.labels_BT != IGNORED).sum())

    def __call__(self, model: Encoder, batch: TokenBatch) -> Tensor:
        with torch.autocast(batch.ids_BT.device.type, self.dtype, enabled=self.dtype != torch.float32):
            transformed_ND, labels_N = masked_positions(model, batch)
        chunk = compiled(chunk_loss) if self.compiled else chunk_loss
        output = model.output
        return summed_cross_entropy(transformed_ND, output.weight, labels_N, self.dtype, chunk, bias=output.bias)


def masked_positions(model: Encoder, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """What the logits' matrix is multiplied with at the N positions that have a label, [N, D], and those labels [N]."""
    hidden_BTD = model(batch.ids_BT, positions_BT=batch.positions_BT, mask=mask_of(batch, causal=False))
    chosen_BT = batch.labels_BT != IGNORED
    return model.transform(hidden_BTD[chosen_BT]), batch.labels_BT[chosen_BT]
