"""Command `feedback delete`: a collected conversation, by its key, with all that others said about it."""

import sys
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class FeedbackDelete:
    """Delete a collected conversation for good, and what was said about its answers."""

    positional: ClassVar[tuple[str, ...]] = ("store",)

    store: str
    """The feedback store: an SQLite file or the URL of a PostgreSQL database."""
    key: str
    """The key that was shown to the person who chatted."""


def run(config: FeedbackDelete) -> dict[str, Any]:
    """Delete, and return how much went."""
    from dodam.feedback.store import open_store

    with open_store(config.store) as store:
        deleted = store.delete_by_key(config.key)
    print(
        f"feedback delete: {deleted.prompts} prompts and {deleted.answers} answers are gone from {store.where}; "
        f"with them {len(deleted.rankings)} rankings, {deleted.demonstrations} demonstrations "
        f"and {deleted.thumbs} thumbs.",
        file=sys.stderr,
    )
    return {"store": store.where, **asdict(deleted)}
