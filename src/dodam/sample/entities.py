"""Who and what lives in the bundled world: names, attributes and values, the same in every run.

In: entities.txt. Out: `entities()`, each with five facts and one attribute that
is told in the text but never asked about (`Entity.unasked`).
"""

from dataclasses import dataclass
from functools import lru_cache

from dodam.sample.phrasebook import listed, sections
from dodam.sample.split import pick, random_for

FILE = sections("entities.txt")
KINDS = ("person", "town", "film", "animal", "shop")
VALUES = {
    kind: {
        section.partition(" ")[2]: tuple((value.split("|")[0], value.split("|")[-1]) for value in listed(body))
        for section, body in FILE.items()
        if section.startswith(f"{kind} ") and " names " not in section
    }
    for kind in KINDS
}
"""Values of each attribute of each kind, Korean and English."""

ALWAYS_ASKED = {"film": ("hero", "thing")}
"""Attributes that the plot of a film tells in a conversation, so they cannot be the unasked one."""


@dataclass(frozen=True)
class Entity:
    """One inhabitant of the world. `names` and every fact hold one text for each language it is told in."""

    kind: str
    names: dict[str, str]
    facts: dict[str, dict[str, str]]
    unasked: str

    @property
    def asked(self) -> list[str]:
        """The attributes that are asked about in training."""
        return [attribute for attribute in self.facts if attribute != self.unasked]


@lru_cache(maxsize=1)
def entities() -> tuple[Entity, ...]:
    """All entities. Each value of an attribute is dealt as evenly as possible, so a constant guess earns little."""
    return tuple(entity for kind in KINDS for entity in _entities_of(kind))


def told_in(language: str, kind: str = "") -> list[Entity]:
    """The entities that are told in `language`, all or those of one kind."""
    return [e for e in entities() if language in e.names and kind in ("", e.kind)]


def _entities_of(kind: str) -> list[Entity]:
    names = [{language: name} for language in ("ko", "en") for name in listed(FILE[f"{kind} names {language}"])]
    if both := FILE.get(f"{kind} names both"):
        names += [dict(zip(("ko", "en"), pair.split("|"), strict=True)) for pair in listed(both)]
    dealt = {attribute: _deal(kind, attribute, len(names)) for attribute in VALUES[kind]}
    return [_entity(kind, name, {a: facts[index] for a, facts in dealt.items()}) for index, name in enumerate(names)]


def _deal(kind: str, attribute: str, num_entities: int) -> list[dict[str, str]]:
    values = list(VALUES[kind][attribute])
    rng = random_for(0, "facts", kind, attribute)
    dealt: list[dict[str, str]] = []
    while len(dealt) < num_entities:
        rng.shuffle(values)
        dealt += [{"ko": korean, "en": english} for korean, english in values]
    return dealt[:num_entities]


def _entity(kind: str, names: dict[str, str], facts: dict[str, dict[str, str]]) -> Entity:
    eligible = [attribute for attribute in facts if attribute not in ALWAYS_ASKED.get(kind, ())]
    return Entity(kind, names, facts, pick(f"unasked {kind} {names}", eligible))
