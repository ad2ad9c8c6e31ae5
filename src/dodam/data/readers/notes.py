"""What readers have to say that is no error: encodings that were found out, what a format holds and is not read.

Readers count it here by reason; who has read everything tells it once and empties the list.
"""

import sys
from collections import Counter

NOTED: Counter[str] = Counter()
"""How often what was noted in this process since it was last told. Add up those of several processes."""


def note(what: str, count: int = 1) -> None:
    """`what` begins with a noun in the plural: `files read as cp949`."""
    if count:
        NOTED[what] += count


def taken() -> dict[str, int]:
    """What was noted, which is then forgotten here: to be told elsewhere."""
    found = dict(NOTED)
    NOTED.clear()
    return found


def tell(who: str) -> None:
    """One line to standard error for each kind, and forget them."""
    for what, count in sorted(NOTED.items()):
        print(f"{who}: {what}: {count:,}.", file=sys.stderr)
    NOTED.clear()
