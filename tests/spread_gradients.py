"""Started by torchrun: one step's gradients of a model spread over ranks, beside those of the same model in one piece.

    torchrun --nproc-per-node N tests/spread_gradients.py KIND

KIND is tensor, pipeline, context, context-full or full. Every rank computes the whole model too and prints the largest
difference of a gradient that it has, as a share of the largest gradient of that parameter.
"""

import copy
import sys
from typing import Any

import torch

from dodam import ranks
from dodam.data.batch import IGNORED, TokenBatch
from dodam.models.build import build_decoder, decoder_config
from dodam.train import context, distributed, pipeline, sharding
from dodam.train.objective import TokenCrossEntropy

ROWS, T = 8, 24


def batches() -> list[TokenBatch]:
    """A step's rows in parts of two, with documents, and few labels in some of them."""
    generator = torch.Generator().manual_seed(1)
    ids_BT = torch.randint(3, 64, (ROWS, T + 1), generator=generator)
    labels_BT = ids_BT[:, 1:].clone()
    labels_BT[:3, : T - 2] = IGNORED
    documents_BT = (torch.arange(T) > T // 2).long().expand(ROWS, T).contiguous()
    positions_BT = torch.cat([torch.arange(T // 2 + 1), torch.arange(T - T // 2 - 1)]).expand(ROWS, T).contiguous()
    return TokenBatch(ids_BT[:, :-1].contiguous(), labels_BT, documents_BT, positions_BT).split(2)


def learn(model: Any, parts: list[TokenBatch], weight: float) -> None:
    """Forward and backward of all parts, all losses first."""
    losses = [TokenCrossEntropy()(model, context.section_of(pipeline.to_learn(part))) / weight for part in parts]
    for loss in losses:
        loss.backward()


def main(kind: str) -> None:
    torch.set_num_threads(1)
    distributed.start("cpu", 60.0)
    ranks.set_together(**{way: 2 if kind.startswith(way) else 1 for way in ("tensor", "pipeline", "context")})
    config = decoder_config(vocabulary=64, context=T, depth=3, width=32, heads=4, kv_heads=2)
    whole = build_decoder(config, 0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # fresh models begin with output projections of zero
        for parameter in whole.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    parts = batches()
    weight = sum(TokenCrossEntropy().weight(part) for part in parts)
    model = copy.deepcopy(whole)
    spread: Any = model
    if kind != "context":
        spread = pipeline.divide(model) if kind == "pipeline" else sharding.shard(model)
    mine = len(parts) // ranks.replicas()
    with ranks.alone():
        learn(whole, parts, weight)
    learn(spread, parts[ranks.replica() * mine : (ranks.replica() + 1) * mine], weight)
    distributed.sum_gradients(list(spread.parameters()))
    wanted = dict(whole.named_parameters())
    worst = 0.0
    for name, parameter in spread.named_parameters():
        assert parameter.grad is not None and wanted[name].grad is not None, name
        found, expected = distributed.whole(parameter.grad), wanted[name].grad
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    print(f"RANK {ranks.rank()} {len(list(spread.parameters()))} {worst:.2e}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
