"""Command `feedback export`: what counts in a store -> a JSONL file, in our form, TRL's or OpenAI's,
conversations or thumbs."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from dodam import files
from dodam.errors import DataError


@dataclass(frozen=True, kw_only=True)
class FeedbackExport:
    """Write what people said as JSONL."""

    positional: ClassVar[tuple[str, ...]] = ("store",)

    store: str
    """The feedback store: an SQLite file or the URL of a PostgreSQL database."""
    out: Path
    """The file to write."""
    form: Literal["rankings", "trl", "openai", "conversations", "thumbs"] = "rankings"
    """rankings: everything about each, one a line; trl and openai: pairs; conversations: demonstrations, edited answers
    and answers ranked first, as `sft` reads them; thumbs: those given in the chat."""


def run(config: FeedbackExport) -> dict[str, Any]:
    """Write the file, whole or not at all; returns how many rows it has."""
    from dodam.feedback.store import open_store

    with open_store(config.store) as store, files.new_file(config.out) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows(store, config.form))
            count = sum(bool(file.write(line)) for line in lines)
        if not count:
            raise DataError("there is nothing to export", where=store.where)
    print(f"feedback export: {count} rows in {config.out}.", file=sys.stderr)
    return {"out": str(config.out), "form": config.form, "rows": count}


def rows(store: Any, form: str) -> Iterator[dict[str, Any]]:
    """The rows of a store in a form."""
    from dodam.feedback import forms

    if form in ("conversations", "thumbs"):
        yield from store.demonstrations() if form == "conversations" else store.thumbs()
        return
    for row in store.rankings():
        if form == "rankings":
            yield row
        else:
            yield from forms.as_trl(row) if form == "trl" else forms.as_openai(row)
