"""What is minimised to make vectors of texts that mean the same point the same way: InfoNCE, with the other texts of
the batch as negatives (van den Oord et al. 2018; Gao et al. 2021, SimCSE, eq. 5).

In comes a batch of triplets; out comes its summed loss, whose gradient is that of the whole batch however few texts are
computed at a time, or however many ranks compute a share of them. B anchors, C candidates, N = B + C texts, T
positions, D width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dodam.data.triplets import TripletBatch
from dodam.models.embedding import embed
from dodam.models.heads import Pooling
from dodam.train import distributed

AT_ONCE = 64  # texts of like length that are computed side by side, so that little is padded


@dataclass(frozen=True, kw_only=True)
class InfoNCE:
    """Cross-entropy of the right candidate among all, by cosine / temperature.

    `dimensions`: the first so many numbers of the vectors are trained too, each as much as the whole (Kusupati et al.
    2022, eq. 1). `microbatch`: texts whose activations are kept at one time; None keeps those of all. `at_once`: how
    many are computed side by side, where that is not `AT_ONCE`."""

    temperature: float
    pooling: Pooling
    dtype: torch.dtype = torch.float32
    dimensions: tuple[int, ...] = ()
    microbatch: int | None = None
    at_once: int | None = None

    def weight(self, batch: TripletBatch) -> float:
        return len(batch.blocked_BC) / batch.share[1]

    def __call__(self, model: Any, batch: TripletBatch) -> Tensor:
        vectors_ND = self.vectors(model, batch)
        sizes = (vectors_ND.shape[1], *self.dimensions)
        losses = [info_nce(vectors_ND[:, :size], batch.blocked_BC, self.temperature) for size in sizes]
        loss = torch.stack(losses).mean()
        # Each rank has all of the loss: it tells its share, and learns from all of it through the vectors it computed.
        return loss - (1 - 1 / batch.share[1]) * loss.detach() if batch.share[1] > 1 else loss

    def vectors(self, model: Any, batch: TripletBatch) -> Tensor:
        """[N, D] of all texts, in parts of like length; those that other ranks compute have no gradient here.

        With a microbatch a part keeps its vectors only, and is computed again, with the same dropout, when its gradient
        is taken: gradient caching (Gao, Zhang et al. 2021, GradCache, section 3.2)."""
        lengths_N, order_N = batch.real_NT.sum(1), batch.computed
        found = []
        for picked in order_N.split(self.microbatch or self.at_once or AT_ONCE):
            longest = int(lengths_N[picked].max())
            ids_BT, real_BT = batch.ids_NT[picked, :longest], batch.real_NT[picked, :longest]
            inputs = (model, ids_BT, real_BT, self.pooling, self.dtype)
            found.append(checkpoint(embed, *inputs, use_reentrant=False) if self.microbatch else embed(*inputs))
        vectors = torch.cat(found)
        if batch.share[1] == 1:
            return vectors[order_N.argsort()]
        mine_ND = vectors.new_zeros(len(lengths_N), vectors.shape[1]).index_copy(0, order_N, vectors)
        all_ND = distributed.summed(mine_ND.detach().clone())
        return all_ND + (mine_ND - mine_ND.detach())


def info_nce(vectors_ND: Tensor, blocked_BC: Tensor, temperature: float) -> Tensor:
    """Summed over anchors: -log of the share that an anchor's own positive has among all candidates that are not
    blocked. The first B vectors are the anchors', the others the candidates', the positives first."""
    num_anchors = len(blocked_BC)
    unit_ND = F.normalize(vectors_ND, dim=-1)
    scores_BC = unit_ND[:num_anchors] @ unit_ND[num_anchors:].T / temperature
    scores_BC = scores_BC.masked_fill(blocked_BC, float("-inf"))
    return F.cross_entropy(scores_BC, torch.arange(num_anchors, device=scores_BC.device), reduction="sum")
