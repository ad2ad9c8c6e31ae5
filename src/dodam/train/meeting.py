"""How the ranks of one start find one another in a store that earlier starts have used.

In comes what torchrun says of where the store is; out comes the part of it that these ranks alone speak in.
"""

import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

import torch.distributed as dist

LOOK = 0.02  # seconds between two looks at the store
PATIENCE = 3.0  # seconds beyond torch's own limit


def meet(seconds: float) -> tuple[dist.Store, int, int]:
    """The store of the ranks of this start, which of them this is, and how many they are. RuntimeError or ValueError
    where they are not all there within so many seconds."""
    with given_up_after(seconds + PATIENCE):
        shared, rank, world = next(dist.rendezvous("env://", timeout=timedelta(seconds=seconds)))
    return dist.PrefixStore(agree(shared, rank, world, seconds), shared), rank, world


@contextmanager
def given_up_after(seconds: float) -> Iterator[None]:
    """Within, the process ends when that takes too long: another program that listens at the port and says nothing is
    waited for in a way that neither a signal nor torch's own timeout ends."""

    def give_up() -> NoReturn:
        print("error: torchrun: the ranks cannot meet: no answer. Another --master-port may be free.", file=sys.stderr)
        os._exit(2)

    late = threading.Timer(seconds, give_up)
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


def agree(store: dist.Store, rank: int, world: int, seconds: float) -> str:
    """A name that the ranks of this start have and no earlier ones had: where torchrun starts ranks again, it keeps its
    store (torch 2.13), and with it all that was said in it.

    Each rank leaves a word of its own, new at every start; rank 0 answers whatever words it finds, those of ranks that
    are gone too, until as many have heard it as there are."""
    deadline = time.monotonic() + seconds
    own = secrets.token_hex(8)
    if rank == 0:
        others = [f"here/{other}" for other in range(1, world)]
        while store.add(f"heard/{own}", 0) < len(others):
            for key in others:
                if store.check([key]):
                    store.set(f"answer/{store.get(key).decode()}", own)
            _wait(deadline)
        return own
    store.set(f"here/{rank}", own)
    while not store.check([f"answer/{own}"]):
        _wait(deadline)
    name = store.get(f"answer/{own}").decode()
    store.add(f"heard/{name}", 1)
    return name


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError("timed out waiting for the other ranks")
    time.sleep(LOOK)
