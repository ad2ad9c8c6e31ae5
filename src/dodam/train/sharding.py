"""Sharded training: every rank keeps a part of the weights, gradients and optimiser state (torch's FSDP2), and where
several compute each product together, a part of the heads and of the feed-forward (tensor parallel).

In comes a model, out goes one of the same modules whose parameters are spread over the ranks by rows; a block's are put
together while it computes, and dropped again. `gather` brings what was learned back into the model it came from.

Of ranks that compute together each has its heads' queries, keys, values and the rows of gate and up (columns of their
products), and the columns of attention's output and of down, whose products are added up (Shoeybi et al. 2019, 3).

N matrices of one shape, R rows, r those of them that this rank has, C columns.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dodam import ranks
from dodam.train import distributed


def shard(model: Any, device: str = "cpu") -> Any:
    """The same model with its parameters spread over the ranks; `model` holds none of them from then on. Where it has
    no memory to begin with, every rank gets some on `device` for its parts, with nothing in them yet."""
    from torch.distributed.fsdp import FSDPModule, fully_shard

    empty = next(model.parameters()).is_meta
    both = mesh_of(device if empty else next(model.parameters()).device.type)
    mesh = both["replicas"]
    spread = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    for name, module in spread.named_modules():
        if name == "blocks" or name.endswith(".blocks"):
            for block in module.children():
                if ranks.tensor() > 1:
                    divide(block, both["tensor"])
                fully_shard(block, mesh=mesh, shard_placement_fn=other_side)
    fully_shard(spread, mesh=mesh)
    if ranks.tensor() > 1:
        own_heads(spread, both["tensor"].get_group())
    for module in spread.modules():
        if isinstance(module, FSDPModule):
            # Sums: losses are divided by the weight of the whole step already.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    if empty:
        spread.to_empty(device=device)
        spread.complete()
        for table in spread.buffers():  # angles of positions, which are computed on the CPU
            table.data = table.data.to(device)
        return spread
    for parameter in model.parameters():
        parameter.data = parameter.data.new_empty(0)
    return spread


def mesh_of(device: str) -> Any:
    """The ranks as a table: a row for each group that computes together, a column for each place in such a group."""
    from torch.distributed.device_mesh import DeviceMesh

    table = torch.arange(ranks.world()).view(-1, ranks.tensor())
    columns = [distributed.group_of(one.tolist()) for one in table.T]
    rows = [distributed.group_of(one.tolist()) for one in table]
    place, row = ranks.rank() % ranks.tensor(), ranks.rank() // ranks.tensor()
    names = ("replicas", "tensor")
    return DeviceMesh.from_group([columns[place], rows[row]], device, mesh=table, mesh_dim_names=names)


def divide(block: nn.Module, mesh: Any) -> None:
    """Spread the matrices of a block over the ranks that compute it together."""
    from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

    styles: dict[str, ParallelStyle] = {}
    for name, module in block.named_modules():
        part = name.rpartition(".")[2]
        if isinstance(module, nn.Linear):
            styles[name] = RowwiseParallel() if part in ("output", "down") else ColwiseParallel()
    parallelize_module(block, mesh, styles)
    attention: Any = block.get_submodule("attention")
    attention.heads //= ranks.tensor()
    attention.kv_heads //= ranks.tensor()


def other_side(parameter: nn.Parameter) -> Any:
    """By which side FSDP spreads a parameter: by rows, or by columns where its rows are those of a product's ranks."""
    from torch.distributed.tensor import Shard

    placements = getattr(parameter, "placements", ())
    return Shard(1) if parameter.ndim == 2 and any(one.is_shard(0) for one in placements) else None


def own_heads(spread: Any, group: dist.ProcessGroup) -> None:
    """Have the model keep keys and values of this rank's heads only, and mark what is learned from these alone."""
    number = ranks.tensor()
    config = spread.config
    told = {"heads": config.heads // number, "kv_heads": getattr(config, "kv_heads", config.heads) // number}
    spread.config = dataclasses.replace(config, **{key: told[key] for key in told if hasattr(config, key)})
    for name, parameter in spread.named_parameters():
        if name.split(".")[-2] in ("query_norm", "key_norm"):
            parameter.partial_over = group


@torch.no_grad()
def gather(spread: Mapping[str, Tensor], model: nn.Module) -> None:
    """Put a sharded model's parameters, by name, back into the model that it was made from; on rank 0 only."""
    for name, parameter in model.named_parameters():
        full = distributed.whole(spread[name].detach())
        if not ranks.rank():
            parameter.data = full


def as_part_of(whole: Tensor, part: Tensor) -> Tensor:
    """A part as that of a tensor which is spread like `whole`; of one that is not sharded, the part itself."""
    if not distributed.is_sharded(whole):
        return part
    from torch.distributed.tensor import DTensor

    like: Any = whole
    return DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def rows_of(rows: int, rank: int) -> int:
    """How many of a matrix's rows a rank has: as many as `torch.chunk` gives it."""
    size = -(-rows // ranks.world())
    return max(0, min(size, rows - rank * size))


def on_matrices(function: Callable[[Tensor], Tensor], like: list[nn.Parameter], parts_NrC: Tensor) -> Tensor:
    """`function` of whole matrices, of which this rank has the parts that it has of `like`: its parts of the result."""
    if not distributed.is_sharded(like[0]):
        return function(parts_NrC)
    if ranks.tensor() == 1:
        return on_whole(function, parts_NrC, like[0].shape[0])
    from torch.distributed.tensor import DTensor, Replicate

    whole_NRC = torch.stack(
        [distributed.whole(as_part_of(one, part)) for one, part in zip(like, parts_NrC, strict=True)]
    )

    def part(done: Tensor, one: Any) -> Tensor:
        everywhere = [Replicate()] * one.device_mesh.ndim
        spread = DTensor.from_local(done, one.device_mesh, everywhere, run_check=False)
        return spread.redistribute(placements=one.placements).to_local()

    return torch.stack([part(done, one) for done, one in zip(function(whole_NRC), like, strict=True)])


def on_whole(function: Callable[[Tensor], Tensor], parts_NrC: Tensor, rows: int) -> Tensor:
    """`function` of whole matrices [n, R, C], of whose rows every rank has a part: this rank's part of the result.

    Each matrix is sent to one rank, which computes it, and its rows are sent back. They travel in bf16, in which
    Newton-Schulz computes anyway."""
    world, rank = ranks.world(), ranks.rank()
    N, r, C = parts_NrC.shape
    owned = [N * (one + 1) // world - N * one // world for one in range(world)]  # matrices that each rank computes
    split = [rows_of(rows, one) for one in range(world)]
    mine, sent = owned[rank], [count * r * C for count in owned]
    come = [mine * count * C for count in split]
    whole_flat = parts_NrC.new_empty(sum(come), dtype=torch.bfloat16)
    dist.all_to_all_single(whole_flat, parts_NrC.bfloat16().flatten(), come, sent)
    pieces = [piece.view(mine, count, C) for piece, count in zip(whole_flat.split(come), split, strict=True)]
    whole_NRC = torch.cat(pieces, dim=1)
    done_NRC = function(whole_NRC).bfloat16() if mine else whole_NRC
    back = torch.cat([piece.flatten() for piece in done_NRC.split(split, dim=1)])
    part_flat = parts_NrC.new_empty(N * r * C, dtype=torch.bfloat16)
    dist.all_to_all_single(part_flat, back, sent, come)
    return part_flat.view(N, r, C)
