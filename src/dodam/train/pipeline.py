"""A pipeline: neighbouring ranks have some of the blocks each, and hidden states go from one to the next (GPipe, Huang
et al. 2019).

In comes a model, out goes one of the same modules in which the blocks of other ranks are empty. All ranks of a pipeline
read the same rows. What stands before and behind the blocks every rank has; the last one alone learns from labels, and
gradients of what all have are added up. Learning, each part of a step is under way at another rank; looking (at a
validation, at samples), what comes out at the end is told to all, so that all go on alike.

B rows, T positions, D width.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dodam import ranks
from dodam.data.batch import IGNORED, TokenBatch
from dodam.train import distributed

FORWARD, BACKWARD = 1, 2  # tags, so that what goes one way is not taken for what goes the other


class Elsewhere(nn.Module):
    """A block that another rank has."""


@dataclass
class Line:
    """Where this rank stands in its pipeline, and what it has sent and not yet got rid of."""

    first: int
    last: int
    places: dict[int, int]
    """The number of each block, by its id."""
    compute: Callable[..., Tensor]
    all_of_it: Any
    """The group of the ranks of this pipeline."""
    depth: int
    under_way: list[tuple[Any, Tensor]] = field(default_factory=list)

    def run_block(self, block: nn.Module, x_BTD: Tensor, *more: Any) -> Tensor:
        """In place of calling a block: others' blocks pass on what comes in."""
        place = self.places[id(block)]
        learns = torch.is_grad_enabled()
        if place == self.first and self.first > 0:
            anchor = torch.zeros((), requires_grad=learns, device=x_BTD.device)
            x_BTD = Received.apply(x_BTD, anchor, self)
        if self.first <= place <= self.last:
            x_BTD = self.compute(block, x_BTD, *more)
            if place == self.last and self.last < self.depth - 1:
                x_BTD = Sent.apply(x_BTD, self)
        if place == self.depth - 1 and not learns:
            x_BTD = x_BTD.contiguous()
            dist.broadcast(x_BTD, end_of_line(), group=self.all_of_it)
        return x_BTD

    def send(self, tensor: Tensor, to: int, tag: int) -> None:
        """Without waiting, but for what was sent before."""
        for work, _ in self.under_way:
            work.wait()
        tensor = tensor.contiguous()
        self.under_way = [(dist.isend(tensor, to, tag=tag), tensor)]


class Received(torch.autograd.Function):
    """Hidden states of the rank before, in place of what came in; backward, their gradient goes to that rank."""

    @staticmethod
    def forward(ctx: Any, like_BTD: Tensor, anchor: Tensor, line: Line) -> Tensor:
        del anchor  # it has autograd come here though nothing before needs a gradient
        ctx.line = line
        x_BTD = torch.empty_like(like_BTD, memory_format=torch.contiguous_format)
        dist.recv(x_BTD, ranks.rank() - 1, tag=FORWARD)
        return x_BTD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        ctx.line.send(grads[0], ranks.rank() - 1, BACKWARD)
        return None, grads[0].new_zeros(()), None


class Sent(torch.autograd.Function):
    """Hidden states go to the next rank, and zeros go on here; backward, the gradient comes from that rank."""

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, line: Line) -> Tensor:
        line.send(x_BTD, ranks.rank() + 1, FORWARD)
        return torch.zeros_like(x_BTD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad_BTD = torch.empty_like(grads[0], memory_format=torch.contiguous_format)
        dist.recv(grad_BTD, ranks.rank() + 1, tag=BACKWARD)
        return grad_BTD, None


def end_of_line() -> int:
    """The last rank of this rank's pipeline."""
    return (ranks.replica() + 1) * ranks.pipeline() - 1


def divide(model: Any) -> Any:
    """The model as this rank has it; of the blocks of others `model` holds nothing from then on."""
    number, depth = ranks.pipeline(), len(model.blocks)
    place = ranks.rank() % number
    first, after = depth * place // number, depth * (place + 1) // number
    # Groups are made by all ranks, in one order.
    lines = [distributed.group_of([one * number + step for step in range(number)]) for one in range(ranks.replicas())]
    stages = [distributed.group_of([one * number + step for one in range(ranks.replicas())]) for step in range(number)]
    spread = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    for index in range(depth):
        if first <= index < after:
            for parameter in spread.blocks[index].parameters():
                parameter.stage = stages[place]
        else:
            spread.blocks[index] = Elsewhere()
            for parameter in model.blocks[index].parameters():
                parameter.data = parameter.data.new_empty(0)
    places = {id(block): index for index, block in enumerate(spread.blocks)}
    line = Line(first, after - 1, places, spread.run_block, lines[ranks.replica()], depth)
    spread.run_block = line.run_block
    return spread


def to_learn(batch: Any) -> Any:
    """A batch as this rank learns from it: only the last of a pipeline sees labels."""
    if ranks.pipeline() == 1 or ranks.rank() == end_of_line():
        return batch
    assert isinstance(batch, TokenBatch), "a pipeline reads rows of tokens"
    return replace(batch, labels_BT=torch.full_like(batch.labels_BT, IGNORED))


@torch.no_grad()
def gather(weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Put what the ranks have learned, by name, back into the model that was divided; on rank 0 only."""
    kept = distributed.gathered(dict(weights))
    if not ranks.rank():
        for name, parameter in model.named_parameters():
            parameter.data = kept[name]
