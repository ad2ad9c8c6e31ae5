"""Training on many ranks: what the processes that torchrun started say to one another.

In one process every function here does nothing, or what it says for a world of one, so the rest of the code need not
know how many there are. Small things (decisions, settings, errors) go through the store that torchrun holds and have
all the time they need; numbers of a step go through collectives, which fail when a rank does not come.
"""

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dodam import errors, ranks
from dodam.errors import DodamError, UsageError
from dodam.train.meeting import LOOK, meet

GRACE = 3.0  # seconds for a rank that ended to have said why

T = TypeVar("T")

_store: dist.Store | None = None
_patience = math.inf  # seconds that a rank may keep the others waiting in a step
_calls = 0  # of `first`, `in_turn` and `same`: the same on all ranks, and so a name for what is said in one


def start(device: str, seconds: float) -> None:
    """Meet the other ranks, once. A rank that keeps the others waiting for `seconds` in a step is given up.

    UsageError where they cannot be met."""
    global _store, _patience
    if ranks.world() == 1 or _store is not None:
        return
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "cpu:gloo"
    if device == "cuda":
        if ranks.local_world() > torch.cuda.device_count():
            what = f"{ranks.local_world()} ranks on a machine with {torch.cuda.device_count()} GPUs"
            raise UsageError(what, where="--nproc-per-node", mend="Start one for each GPU.")
        torch.cuda.set_device(ranks.local_rank())
    wait, _patience = timedelta(seconds=seconds), seconds
    try:
        _store, rank, world = meet(seconds)
        dist.init_process_group(backend, store=_store, rank=rank, world_size=world, timeout=wait)
    except (RuntimeError, ValueError) as error:
        what = f"the ranks cannot meet: {str(error).splitlines()[0]}"
        joined = "joined" in str(error)
        mend = "See what the others say, or start them." if joined else "Another --master-port may be free."
        raise UsageError(what, where="torchrun", mend=mend) from None


def group_of(members: list[int]) -> Any:
    """Some of the ranks, who wait for one another as long as all do. All ranks make all groups, in one order."""
    return dist.new_group(members, timeout=timedelta(seconds=_patience) if math.isfinite(_patience) else None)


def first(work: Callable[[], T]) -> T:
    """What rank 0 makes of `work`, which must be of JSON, on all ranks; the others wait, however long that takes. A
    DodamError is raised on all of them."""
    if ranks.world() == 1:
        return work()
    if ranks.rank():
        return _heard(_name())
    return _said(_name(), work, tell=True)


def wait_for_first() -> None:
    """Have all ranks wait until rank 0 comes here too, however long that takes."""
    first(lambda: None)


def in_turn(work: Callable[[], T]) -> T:
    """`work` on rank 0, and then on all others, which find on the disk what it has written."""
    if ranks.world() == 1:
        return work()
    if ranks.rank():
        _heard(_name())
        return work()
    return _said(_name(), work, tell=False)


def shares(work: Callable[[], list[T]]) -> list[T]:
    """The lists that the ranks make of their shares by `work`, which must be of JSON, one behind the other on all of
    them. Each waits for the others, however long they take. A DodamError of any is raised on all."""
    if ranks.world() == 1:
        return work()
    try:
        told: dict[str, Any] = {"value": work()}
    except BaseException as error:
        told = {"error": _told(error)}
        if not isinstance(error, DodamError):
            _everywhere(json.dumps(told))
            raise
    found = [json.loads(one) for one in _everywhere(json.dumps(told))]
    for one in found:
        _check(one)
    return [value for one in found for value in one["value"]]


def _everywhere(text: str) -> list[str]:
    """What every rank holds, in their order, however long it is: the store tells only the lengths."""
    mine = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    lengths = [int(length) for length in _gathered(_name(), str(len(mine)))]
    flat, begin = torch.zeros(sum(lengths), dtype=torch.uint8), sum(lengths[: ranks.rank()])
    flat[begin : begin + len(mine)] = mine
    dist.all_reduce(flat)
    return [bytes(one.tolist()).decode() for one in flat.split(lengths)]


def same(value: str, told: Callable[[list[str]], str]) -> None:
    """UsageError on all ranks where they hold different values; `told` makes the message of rank 0's and the first
    other one."""
    if ranks.world() == 1:
        return
    values = _gathered(_name(), value)
    for rank, other in enumerate(values):
        if other != values[0]:
            mend = "Start all ranks with the same command and the same data."
            raise UsageError(told([values[0], other]), where=f"rank {rank}", mend=mend)


def sums(*numbers: float) -> tuple[float, ...]:
    """The sums over all ranks of some numbers."""
    if ranks.world() == 1:
        return numbers
    both = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(both)
    return tuple(both.tolist())


def tick(seconds: float, stop: bool) -> tuple[float, bool]:
    """What rank 0's clock says, and whether any rank was told to stop."""
    told, stopped = sums(0.0 if ranks.rank() else seconds, float(stop))
    return told, stopped > 0


def over_replicas(*numbers: float) -> tuple[float, ...]:
    """The sums over the replicas: ranks that read the same rows count once."""
    return tuple(number / ranks.together() for number in sums(*numbers))


def summed(tensor: Tensor) -> Tensor:
    """The sum over the replicas, element by element."""
    if ranks.world() > 1:
        dist.all_reduce(tensor)
        tensor /= ranks.together()
    return tensor


@torch.no_grad()
def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Give every rank the sum of the gradients of all. One that no rank has stays away; sharded ones were summed when
    they were computed, but for those that each rank of a product computed for its heads alone (`partial_over`)."""
    if ranks.world() == 1:
        return
    if is_sharded(parameters[0]):
        for parameter in parameters:
            group = getattr(parameter, "partial_over", None)
            if group is not None and parameter.grad is not None:
                dist.all_reduce(parameter.grad.to_local(), group=group)  # type: ignore[attr-defined]
        return
    if ranks.pipeline() > 1:
        of_stage = [parameter for parameter in parameters if hasattr(parameter, "stage")]
        if ranks.replicas() > 1 and of_stage:
            _sum_gradients(of_stage, of_stage[0].stage)  # type: ignore[attr-defined]
        parameters = [parameter for parameter in parameters if not hasattr(parameter, "stage")]
    _sum_gradients(parameters, None)


def _sum_gradients(parameters: Sequence[Tensor], group: dist.ProcessGroup | None) -> None:
    here = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=parameters[0].device)
    grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    flat = torch.cat([here, *(grad.float().reshape(-1) for grad in grads)])
    dist.all_reduce(flat, group=group)
    counts, *parts = flat.split([len(here), *(grad.numel() for grad in grads)])
    for parameter, count, part in zip(parameters, counts.tolist(), parts, strict=True):
        parameter.grad = part.view_as(parameter) if count else None


@torch.no_grad()
def clip(parameters: Sequence[Tensor], most: float) -> Tensor:
    """Scale gradients down where their norm, of all ranks' parts together, is larger than `most`; the norm."""
    if ranks.together() == 1:
        return whole(torch.nn.utils.clip_grad_norm_(parameters, most).detach())
    squares = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    grads: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is not None:
            grads.append(own_part(parameter.grad))
            squares += grads[-1].double().square().sum() / _holders(parameter)
    dist.all_reduce(squares)
    norm = squares.sqrt()
    torch._foreach_mul_(grads, float((most / (norm + 1e-6)).clamp(max=1.0)))
    return norm


def own_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank has: of one that is not sharded, all of it."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def _holders(parameter: Any) -> float:
    """How many ranks hold each number of a parameter."""
    if is_sharded(parameter):
        mesh, placements = parameter.device_mesh, parameter.placements
        parts = math.prod(mesh.size(place) for place, one in enumerate(placements) if one.is_shard())
        return ranks.world() / parts
    return ranks.replicas() if hasattr(parameter, "stage") else ranks.world()


def share(rows: int) -> tuple[int, int]:
    """Which of the rows of a step this rank reads: the first, and how many. UsageError where the ranks do not divide
    them."""
    count = ranks.replicas()
    if rows % count:
        below, above = rows // count * count, -(-rows // count) * count
        near = f"{below} or {above}" if below else str(above)
        who = "ranks" if ranks.tensor() == 1 else "groups of ranks"
        raise UsageError(f"{count} {who} do not divide {rows} rows", where="--batch", mend=f"Give {near}.")
    return ranks.replica() * (rows // count), rows // count


def part(count: int) -> range:
    """Of so many things, which the ranks need not divide, the numbers of those that this one does."""
    return range(count * ranks.replica() // ranks.replicas(), count * (ranks.replica() + 1) // ranks.replicas())


def divisible(rows: int) -> int:
    """So many rows, or a few more, that the ranks divide."""
    return -(-rows // ranks.started()) * ranks.started()


def is_sharded(tensor: Tensor) -> bool:
    """Whether this rank holds a part of it only."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which every rank holds a part, put together on each."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def gathered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors in main memory on rank 0, where they are parts; elsewhere none. All ranks call it."""
    if ranks.pipeline() > 1:
        return _collected(tensors)
    if not any(is_sharded(tensor) for tensor in tensors.values()):
        return tensors
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if not ranks.rank():
            kept[name] = full.cpu()
    return kept


def _tables(tensors: dict[str, Tensor]) -> list[dict[str, tuple[list[int], str]]]:
    """Names, shapes and dtypes of the tensors that each rank of the first pipeline has."""
    mine = {name: (list(one.shape), str(one.dtype).removeprefix("torch.")) for name, one in tensors.items()}
    told = [json.loads(text) for text in _gathered(_name(), json.dumps(mine))]
    return told[: ranks.pipeline()]


def shapes(tensors: dict[str, Tensor]) -> dict[str, list[int]]:
    """Shapes by name of the tensors that all ranks have together."""
    if ranks.pipeline() == 1:
        return {name: list(one.shape) for name, one in tensors.items()}
    return {name: shape for table in _tables(tensors) for name, (shape, _) in table.items()}


@torch.no_grad()
def _collected(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On rank 0 what the ranks of the first pipeline have, each name once; elsewhere nothing."""
    tables = _tables(tensors)
    kept = {} if ranks.rank() else {name: one.detach() for name, one in tensors.items()}
    for rank in range(1, len(tables)):
        for name, (shape, dtype) in tables[rank].items():
            if name in tables[0]:
                continue
            if ranks.rank() == rank:
                dist.send(tensors[name].detach().contiguous(), 0)
            elif not ranks.rank():
                device = next(iter(tensors.values())).device
                kept[name] = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
                dist.recv(kept[name], rank)
    return kept


@contextmanager
def reaching_others() -> Iterator[None]:
    """Within, a rank that is gone is a DodamError, with what it said before it went."""
    try:
        yield
    except RuntimeError as error:
        if ranks.world() == 1 or not is_loss(error):
            raise
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun stops all ranks now; this one ends, and tells why
        gone = _last_words()
        what = "; ".join(gone) or "another rank is gone or does not answer"
        mend = "Start all ranks again with the same --out: the run goes on from its last checkpoint."
        raise DodamError(what, mend=mend) from None


def is_loss(error: RuntimeError) -> bool:
    """Whether an error of torch's says that another rank did not come."""
    signs = ("gloo", "NCCL", "onnection", "imed out", "imeout", "store")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)


def say(message: str) -> None:
    """Leave word for rank 0 of what ends this one."""
    if _store is not None and ranks.rank():
        try:
            _store.set(f"gone/{ranks.rank()}", message)
        except RuntimeError:
            return  # the store is gone too, and nobody is left to tell


def _last_words() -> list[str]:
    """What ranks said that are gone; waits a little for it."""
    assert _store is not None
    others = [rank for rank in range(ranks.world()) if rank != ranks.rank()]
    deadline = time.monotonic() + GRACE
    try:
        while time.monotonic() < deadline:
            if gone := [rank for rank in others if _store.check([f"gone/{rank}"])]:
                return [f"rank {rank} stopped: {_store.get(f'gone/{rank}').decode()}" for rank in gone]
            time.sleep(LOOK)
    except RuntimeError:
        pass  # the store is gone too
    return []


def _name() -> str:
    global _calls
    _calls += 1
    return f"call/{_calls}"


def _said(name: str, work: Callable[[], T], *, tell: bool) -> T:
    """Do something alone and put what came of it into the store: the value if it is to be told, and any error."""
    assert _store is not None
    try:
        with ranks.alone():
            value = work()
    except BaseException as error:
        _store.set(name, json.dumps({"error": _told(error)}))
        raise
    _store.set(name, json.dumps({"value": value if tell else None}))
    return value


def _heard(name: str) -> Any:
    """What rank 0 put into the store under a name, or its error."""
    assert _store is not None
    while not _store.check([name]):  # in place of wait(), in which no signal is heard
        time.sleep(LOOK)
    message = json.loads(_store.get(name))
    _check(message)
    return message["value"]


def _told(error: BaseException) -> dict[str, str]:
    """An error as others are told of it."""
    if isinstance(error, DodamError):
        return {"kind": type(error).__name__, "what": error.what, "where": error.where, "mend": error.mend}
    return {"kind": "DodamError", "what": f"rank {ranks.rank()} failed: {error}", "where": "", "mend": ""}


def _check(message: dict[str, Any]) -> None:
    """Raise the error that a rank told of, if it is one."""
    if "error" in message:
        told = message["error"]
        raise getattr(errors, told["kind"])(told["what"], where=told["where"], mend=told["mend"])


def _gathered(name: str, value: str) -> list[str]:
    """What every rank holds, in their order."""
    return _telling(name)(value)


def teller() -> Callable[[str], list[str]]:
    """How a thread on every rank tells the others a word, once, and hears theirs, in the order of ranks, for whom it
    waits as long as for a step. All ask for it at the same place."""
    return _telling(_name(), _patience)


def _telling(name: str, seconds: float = math.inf) -> Callable[[str], list[str]]:
    assert _store is not None
    store, keys = _store, [f"{name}/{rank}" for rank in range(ranks.world())]
    own = keys[ranks.rank()]

    def tell(word: str) -> list[str]:
        store.set(own, word)
        deadline = time.monotonic() + seconds
        while not store.check(keys):
            if time.monotonic() > deadline:
                raise RuntimeError("timed out: a rank did not tell that it has written its part")
            time.sleep(LOOK)
        return [store.get(key).decode() for key in keys]

    return tell
