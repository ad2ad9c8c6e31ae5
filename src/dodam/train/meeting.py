"""How the ranks of one start find one another in a store that earlier starts have used.

In comes the store that torchrun holds; out comes a name for what these ranks say in it, the same on all of them.
"""

import secrets
import time

import torch.distributed as dist

LOOK = 0.02  # seconds between two looks at the store


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
