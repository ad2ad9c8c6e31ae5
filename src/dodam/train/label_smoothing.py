"""Cross-entropy with smoothed labels for encoder-decoders: what a sequence-to-sequence model minimises.

In come hidden states of every target position, the head with its bias, and labels; out comes the summed loss. Logits
exist for one chunk of positions at a time (`objective.py`).

N positions, D width, V vocabulary.
"""

from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from dodam.data.batch import IGNORED
from dodam.data.pairs import PairBatch
from dodam.models.encoder_decoder import EncoderDecoder
from dodam.nn.mask import padding_mask
from dodam.train.objective import Chunk, compiled, summed_cross_entropy


def smoothed_chunk_loss(
    hidden_ND: Tensor, head_VD: Tensor, labels_N: Tensor, bias_V: Tensor | None = None, *, smoothing: float
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Summed cross-entropy of one chunk against (1 - smoothing) of the label and `smoothing` spread evenly over the
    vocabulary (Szegedy et al. 2016, section 7), and its gradients by hidden states, head and bias.

    Products run in the dtype given, softmax in fp32."""
    loss, grad_logits_NV = smoothed_loss(logits_of(hidden_ND, head_VD, bias_V), labels_N, smoothing)
    return loss, *grads_of(grad_logits_NV, hidden_ND, head_VD, bias_V)


@cache
def smoothed_chunk(smoothing: float, *, compile_it: bool) -> Chunk:
    """`smoothed_chunk_loss` with so much smoothing."""
    chunk = partial(smoothed_chunk_loss, smoothing=smoothing)
    return compiled(chunk) if compile_it else chunk


def logits_of(hidden_ND: Tensor, head_VD: Tensor, bias_V: Tensor | None) -> Tensor:
    """fp32 logits [N, V]."""
    logits_NV = (hidden_ND @ head_VD.T).float()
    return logits_NV if bias_V is None else logits_NV + bias_V


def smoothed_loss(logits_NV: Tensor, labels_N: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy of logits, and its gradient by them."""
    normalizers_N1 = logits_NV.logsumexp(-1, keepdim=True)
    of_label_N1 = logits_NV.gather(1, labels_N[:, None])
    mean_N1 = logits_NV.mean(-1, keepdim=True)
    loss = (normalizers_N1 - (1 - smoothing) * of_label_N1 - smoothing * mean_N1).sum()
    grad_logits_NV = (logits_NV - normalizers_N1).exp() - smoothing / logits_NV.shape[1]
    grad_logits_NV.scatter_add_(1, labels_N[:, None], torch.full_like(of_label_N1, smoothing - 1))
    return loss, grad_logits_NV


def grads_of(
    grad_logits_NV: Tensor, hidden_ND: Tensor, head_VD: Tensor, bias_V: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """From the gradient by the logits those by hidden states, head and bias."""
    grad_bias_V = None if bias_V is None else grad_logits_NV.sum(0)
    grad_logits_NV = grad_logits_NV.to(hidden_ND.dtype)
    return grad_logits_NV @ head_VD, (grad_logits_NV.T @ hidden_ND).float(), grad_bias_V


@dataclass(frozen=True)
class SmoothedCrossEntropy:
    """Cross-entropy of every target token, given its source and the true tokens before it. `dtype` is what matrices
    multiply in, `compiled` pays off where the blocks are compiled too; without smoothing it is what validation
    measures."""

    smoothing: float = 0.1
    dtype: torch.dtype = torch.float32
    compiled: bool = False

    def weight(self, batch: PairBatch) -> float:
        return float((batch.labels_BT != IGNORED).sum())

    def __call__(self, model: EncoderDecoder, batch: PairBatch) -> Tensor:
        with torch.autocast(batch.source_BS.device.type, self.dtype, enabled=self.dtype != torch.float32):
            hidden_BTD = model(batch.source_BS, batch.target_BT, padding_mask(batch.real_BS))
        bias_V = None if model.logits_bias is None else model.logits_bias[0]
        chunk = smoothed_chunk(self.smoothing, compile_it=self.compiled)
        return summed_cross_entropy(hidden_BTD, model.output.weight, batch.labels_BT, self.dtype, chunk, bias=bias_V)
