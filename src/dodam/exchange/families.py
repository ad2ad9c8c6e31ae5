"""All families by their `model_type`."""

from typing import Any

from dodam.errors import FolderError
from dodam.exchange import decoders, encoder_decoders, encoders
from dodam.exchange.mapping import Family

FAMILIES: dict[str, Family] = {
    family.model_type: family for family in (*decoders.FAMILIES, *encoders.FAMILIES, *encoder_decoders.FAMILIES)
}


def family_of(model_type: Any, where: str) -> Family:
    """The family of a `model_type`. FolderError names those there are."""
    if model_type is None:
        raise FolderError("names no model_type", where=where, mend="Is it the config.json of a model?")
    if model_type not in FAMILIES:
        raise FolderError(
            f"model_type {model_type!r} is not known", where=where, mend=f"Known: {', '.join(sorted(FAMILIES))}."
        )
    return FAMILIES[model_type]
