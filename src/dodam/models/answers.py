"""What a model makes of answers to prompts that stand in rows together: hidden states, and one score for each answer.

A row may hold a prompt and several answers to it; each is computed as if it stood behind the prompt alone. B rows, T
positions, D width, A answers.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from dodam.models.decoder import Decoder
from dodam.models.heads import classify
from dodam.nn.branches import Branches
from dodam.nn.mask import CAUSAL, Mask


class Rows(Protocol):
    """Rows of answers as `data/answers.py` makes them."""

    @property
    def ids_BT(self) -> Tensor: ...
    @property
    def real_BT(self) -> Tensor: ...
    @property
    def ends_A(self) -> Tensor: ...
    @property
    def positions_BT(self) -> Tensor | None: ...
    @property
    def branches_BT(self) -> Tensor | None: ...
    @property
    def types_BT(self) -> Tensor | None: ...


def branch_mask(branches_BT: Tensor) -> Mask:
    """Who looks at whom: at what stands before it in the prompt (branch 0) or in its own answer."""
    return Mask(causal=True, branches=Branches.of(branches_BT))


def may_share(model: Any) -> bool:
    """Whether answers may share their prompt's tokens: of models that only look back, and not through a window, which
    is counted in places of the row."""
    return isinstance(model, Decoder) and not (model.config.window is not None and any(model.config.windowed))


def hidden_states(model: Decoder, rows: Rows, dtype: torch.dtype) -> Tensor:
    """[B, T, D] of a decoder, its blocks computed in `dtype`."""
    mask = CAUSAL if rows.branches_BT is None else branch_mask(rows.branches_BT)
    with torch.autocast(rows.ids_BT.device.type, dtype, enabled=dtype != torch.float32):
        return model(rows.ids_BT, positions_BT=rows.positions_BT, mask=mask)


def score(model: Any, rows: Rows, dtype: torch.dtype) -> Tensor:
    """Scores [A] by a head with one output: a decoder's at the end of each answer, an encoder's of each whole row. The
    head computes in fp32."""
    if not isinstance(model, Decoder):
        return classify(model, rows.ids_BT, rows.real_BT, rows.types_BT, dtype)[:, 0]
    ends_AD = hidden_states(model, rows, dtype).flatten(0, 1)[rows.ends_A].float()
    head: Any = model.classifier
    return head(ends_AD[:, None], torch.ones_like(rows.ends_A, dtype=torch.bool)[:, None])[:, 0]
