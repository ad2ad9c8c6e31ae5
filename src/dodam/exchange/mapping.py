"""From the names of one ecosystem to ours and back, by a table.

In come a family's table and tensors under its names; out come tensors under ours, or the other way round. Every tensor
the table names must be there with the right shape, and none may be left over.
"""

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dodam.errors import FolderError
from dodam.tensors import Made, ModelTensors

Kind = Literal["decoder", "encoder", "encoder-decoder"]


@dataclass(frozen=True)
class Weight:
    """One tensor, or one for each layer `{i}` and expert `{e}`.

    `theirs` may hold several of `ours`, one below the other (GPT-2's query, key and value in one); `transposed` says
    that theirs is [in, out] where ours is [out, in]."""

    theirs: str
    ours: str | tuple[str, ...]
    transposed: bool = False
    absent: str = ""
    """Where the tensor is not stored, this one of theirs stands for it (a head that may be tied or not)."""

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.ours,) if isinstance(self.ours, str) else self.ours

    def source(self, stored: Container[str]) -> str:
        """The name it is read from where those `stored` are there."""
        return self.absent if self.absent and self.theirs not in stored else self.theirs


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the models of one `model_type` are called elsewhere."""

    model_type: str
    architecture: str
    """The class `transformers` builds."""
    kind: Kind
    model: Callable[[Any], nn.Module]
    """The class we build, from a config of ours."""
    weights: Callable[[Any], Sequence[Weight]]
    """From a config of ours: the tensors stored, in the order they are."""
    from_theirs: Callable[[Mapping[str, Any]], Any]
    """Their config.json -> ours. KeyError names a missing entry, ValueError a setting we do not have."""
    to_theirs: Callable[[Any], dict[str, Any]]
    """Our config -> their config.json, without `model_type` and `architectures`."""
    ignored: str = r"$^"
    """Stored tensors (a regular expression) that are no weights."""


def table_of(family: Family, config: Any) -> list[Weight]:
    """The tensors that models of a config store, with layers and experts counted out."""
    return expanded(family.weights(config), config.depth, getattr(config, "experts", 0))


def expanded(weights: Sequence[Weight], depth: int, experts: int = 0) -> list[Weight]:
    """A table with its layers and experts counted out."""
    found = []
    for weight in weights:
        layers = range(depth) if "{i}" in weight.theirs else (0,)
        numbers = range(experts) if "{e}" in weight.theirs else (0,)
        for i, e in product(layers, numbers):
            ours = tuple(name.format(i=i, e=e) for name in weight.parts)
            found.append(replace(weight, theirs=weight.theirs.format(i=i, e=e), ours=ours))
    return found


def to_theirs(model: nn.Module, table: Sequence[Weight]) -> dict[str, Tensor]:
    """A model's weights under their names, contiguous; each in the dtype it has."""
    ours = model.state_dict()
    return {weight.theirs: of_theirs(weight, ours).to("cpu") for weight in table}


def of_theirs(weight: Weight, ours: Mapping[str, Tensor]) -> Tensor:
    """One of their tensors, contiguous, of ours by name."""
    tensor = torch.cat([ours[name] for name in weight.parts]) if len(weight.parts) > 1 else ours[weight.parts[0]]
    return (tensor.detach().T if weight.transposed else tensor.detach()).contiguous()


def made_theirs(ours: Callable[[str], Tensor], model: nn.Module, table: Sequence[Weight]) -> Made:
    """Their tensors, each made when it is asked for of what `ours` gives by our names; `model` needs no memory."""
    weights, named = {weight.theirs: weight for weight in table}, model.state_dict()
    sizes = {name: sum(named[part].nbytes for part in weight.parts) for name, weight in weights.items()}
    return Made(sizes, lambda name: of_theirs(weights[name], {part: ours(part) for part in weights[name].parts}))


def check_tensors(
    model: nn.Module, shapes: Mapping[str, torch.Size], table: Sequence[Weight], *, where: Path, ignored: str = r"$^"
) -> None:
    """FolderError for a tensor that is missing, left over or misshapen; `shapes` are those of theirs."""
    names = {weight.theirs for weight in table}
    missing = [weight.theirs for weight in table if weight.source(shapes) not in shapes]
    extra = sorted(name for name in set(shapes) - names if not re.search(ignored, name))
    if missing or extra:
        what = f"tensors missing: {missing[:3]}" if missing else f"tensors nobody asked for: {extra[:3]}"
        raise FolderError(what, where=str(where), mend="The file does not belong to this config.json.")
    ours = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for weight in table:
        first, *more = (ours[name] for name in weight.parts)
        whole = torch.Size((first[0] + sum(shape[0] for shape in more), *first[1:]))
        wanted = torch.Size(reversed(whole)) if weight.transposed else whole
        if (found := shapes[weight.source(shapes)]) != wanted:
            what = f"{weight.theirs} is {tuple(found)}, config.json says {tuple(wanted)}"
            raise FolderError(what, where=str(where), mend="The file does not belong to this config.json.")


def load_theirs(
    model: nn.Module, weights: Mapping[str, Tensor], table: Sequence[Weight], *, where: Path, ignored: str = r"$^"
) -> None:
    """Fill a model with weights under their names, one tensor at a time. FolderError as in `check_tensors`."""
    stored = isinstance(weights, ModelTensors)
    shapes = weights.shapes() if stored else {name: tensor.shape for name, tensor in weights.items()}
    check_tensors(model, shapes, table, where=where, ignored=ignored)
    targets = model.state_dict()
    filled: set[str] = set()
    for weight in table:
        tensor = weights[weight.source(shapes)]
        tensor = tensor.T if weight.transposed else tensor
        sizes = [targets[name].shape[0] for name in weight.parts]
        for name, part in zip(weight.parts, tensor.split(sizes), strict=True):
            targets[name].copy_(part)
        filled |= set(weight.parts)
    shared = {targets[name].data_ptr() for name in filled}
    empty = [name for name, tensor in targets.items() if name not in filled and tensor.data_ptr() not in shared]
    assert not empty, f"the table leaves weights of the model empty: {empty[:3]}"
