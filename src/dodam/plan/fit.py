"""The largest model that fits into a memory, or can be trained in a time: a search over the depth of fresh models."""

from collections.abc import Callable

from dodam.errors import UsageError
from dodam.models.build import Sizes

DEEPEST = 384  # of our shape: 1.4 trillion parameters


def deepest(shape: Callable[[int], Sizes], fits: Callable[[Sizes], bool], where: str) -> Sizes:
    """The sizes of the largest depth that fits, where every smaller one does too. UsageError when not even one block
    does, or even `DEEPEST` do. Depths whose sizes do not go together are left out."""

    def holds(depth: int) -> bool:
        return fits(nearest_shape(shape, depth))

    if not holds(1):
        mend = "Give it more, or a smaller --vocabulary, --context or --tokens."
        raise UsageError("not even a model of one block fits", where=where, mend=mend)
    low, high = 1, 2
    while holds(high):
        if high == DEEPEST:
            what = f"even a model of {DEEPEST} blocks is not too large, and larger ones are not looked at"
            raise UsageError(what, where=where, mend="Give it less.")
        low, high = high, min(DEEPEST, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return nearest_shape(shape, low)


def nearest_shape(shape: Callable[[int], Sizes], depth: int) -> Sizes:
    """The sizes of this depth, or of the next smaller one whose sizes go together."""
    for smaller in range(depth, 0, -1):
        try:
            return shape(smaller)
        except UsageError:
            if smaller == 1:
                raise
    raise AssertionError("a depth is at least 1")
