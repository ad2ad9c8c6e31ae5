"""The vector of a text: a model's hidden states, pooled. B texts, T positions, D width."""

from typing import Any

import torch
from torch import Tensor

from dodam.models.decoder import Decoder
from dodam.models.heads import Pooling, pool
from dodam.nn.mask import CAUSAL, padding_mask


def embed(model: Any, ids_BT: Tensor, real_BT: Tensor, pooling: Pooling, dtype: torch.dtype) -> Tensor:
    """Vectors [B, D] in fp32 of texts, padded on the right where `real_BT` is False; the blocks compute in `dtype`.
    Padding changes nothing: encoders do not look at it, decoders do not look back from it."""
    with torch.autocast(ids_BT.device.type, dtype, enabled=dtype != torch.float32):
        mask = CAUSAL if isinstance(model, Decoder) else padding_mask(real_BT)
        hidden_BTD = model(ids_BT, mask=mask)
    return pool(hidden_BTD.float(), real_BT, pooling)
