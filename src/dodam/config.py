"""The one funnel of configuration: flags, TOML, JSON and Python calls all become a config dataclass here.

In: a frozen, keyword-only standard-library dataclass and a dictionary of values. Out: a checked instance, or one
`UsageError` that names every wrong key in the spelling of the place it came from. Also: a config as JSON, its
fingerprint, and lengths of time such as `1h30m`.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from dodam.errors import UsageError

C = TypeVar("C")

COMMAND_LINE = ""
"""The `where` of values that were typed as flags: their keys are spelt `--learning-rate`."""

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def build(cls: type[C], values: Mapping[str, Any], where: str, places: Mapping[str, str] | None = None) -> C:
    """Check `values` and return an instance of the dataclass `cls`.

    `where` says where the values came from: a file name, a Python call, or `COMMAND_LINE`; `places` names the keys that
    came from somewhere else than the rest (a recipe file under flags). A single value where a tuple is expected is
    taken as a tuple of one. Raises one `UsageError` that tells of every wrong key.
    """
    hints = get_type_hints(cls, include_extras=True)
    values = {key: (value,) if _wants_tuple(hints.get(key), value) else value for key, value in values.items()}
    try:
        return _adapter(cls).validate_python(values)
    except ValidationError as error:
        raise _usage_error(cls, values, error, where, places or {}) from None


def to_json(config: Any) -> dict[str, Any]:
    """The whole config, defaults included, as JSON types; `build` reads it back."""
    return _adapter(type(config)).dump_python(config, mode="json")


def from_file(path: Path) -> dict[str, Any]:
    """The values in a TOML or JSON file. Raises `UsageError` with the line if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise UsageError("is not UTF-8", where=str(path), mend="Save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:  # both decoders say which line
        mend = 'Text needs quotes ("..."), lists brackets ([...]).'
        raise UsageError(f"broken {path.suffix[1:].upper()}: {error}", where=str(path), mend=mend) from None
    if not isinstance(values, dict):
        raise UsageError("must hold one object of keys and values", where=str(path))
    return values


def fingerprint(values: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that change whenever a value changes; the order of keys does not matter."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seconds(duration: str) -> float:
    """`90s`, `10m`, `1h30m` or `2d` as seconds. Raises `ValueError` for anything else."""
    parts = re.fullmatch(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?", duration.strip().lower())
    numbers = parts.groups() if parts else ()
    try:
        total = sum(float(number) * unit for number, unit in zip(numbers, UNITS.values(), strict=False) if number)
    except ValueError:  # 1.2.3h
        total = 0.0
    if total <= 0:
        raise ValueError("must be a length of time such as 90s, 10m, 1h30m or 2d")
    return total


def _checked_duration(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError('must be a length of time in quotes, such as "90s", "10m", "1h30m" or "2d"')
    seconds(value)
    return value


Duration = Annotated[str, BeforeValidator(_checked_duration)]
"""A length of time as text, such as `10m`; `seconds` turns it into a number."""


def nearest(name: str, known: list[str]) -> str:
    """The mend for a misspelt name: those that begin so, the nearest one, or all of them."""
    longer = [one for one in known if len(name) > 2 and one.startswith(name)]
    close = longer or difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {' or '.join(f'`{one}`' for one in close)}?" if close else f"Known: {', '.join(known)}."


def nested_dataclasses(annotation: Any) -> Iterator[type]:
    """Every dataclass inside a type such as `tuple[str | Source, ...]`."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from nested_dataclasses(part)


def is_tuple(annotation: Any) -> bool:
    """Whether a field takes several values."""
    inner = get_args(annotation) if get_origin(annotation) in (Annotated, Union, UnionType) else ()
    return get_origin(annotation) is tuple or any(is_tuple(part) for part in inner)


def _wants_tuple(annotation: Any, value: Any) -> bool:
    single = isinstance(value, str | int | float | Path | Mapping) or dataclasses.is_dataclass(value)
    return single and is_tuple(annotation)


@functools.cache
def _adapter(cls: type) -> TypeAdapter:
    """pydantic's checker for a plain dataclass, told from outside to refuse unknown keys at every level."""
    forbid: list[type] = [cls]
    for known in forbid:
        known.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # type: ignore[attr-defined]
        for annotation in get_type_hints(known, include_extras=True).values():
            forbid.extend(found for found in nested_dataclasses(annotation) if found not in forbid)
    return TypeAdapter(cls)


def _usage_error(
    cls: type, values: Mapping[str, Any], error: ValidationError, where: str, places: Mapping[str, str]
) -> UsageError:
    found: dict[tuple, ErrorDetails] = {}
    for details in error.errors(include_url=False, include_input=False):
        found.setdefault(_path(values, details), details)
    # Every branch of a union complains; what counts is the complaint that got furthest into the value.
    deepest = [path for path in found if not any(other[: len(path)] == path for other in found if other != path)]
    messages: dict[str, list[str]] = {}
    for path in deepest or found:
        place = places.get(path[0], where) if path else where
        messages.setdefault(place, []).append(_message(cls, path, found[path], place))
    if len(messages) == 1:
        ((place, lines),) = messages.items()
        return UsageError("; ".join(lines), where=place)
    return UsageError("; ".join(f"{place or 'command line'}: {'; '.join(lines)}" for place, lines in messages.items()))


def _path(values: Any, details: ErrorDetails) -> tuple:
    """Where in the values the error is, without the names of union branches that pydantic puts in between."""
    path: list[str | int] = []
    for part in details["loc"]:
        if (isinstance(values, Mapping) and part in values) or (
            isinstance(values, list | tuple) and isinstance(part, int)
        ):
            values = values[part]
        elif not (details["type"] in ("missing", "unexpected_keyword_argument") and part == details["loc"][-1]):
            continue
        path.append(part)
    return tuple(path)


def _message(cls: type, path: tuple, details: ErrorDetails, place: str) -> str:
    key = _spelt(cls, path, place)
    match details["type"]:
        case "missing":
            return f"{key} is required"
        case "unexpected_keyword_argument":
            known = [_spelt(cls, (*path[:-1], name), place).strip("`") for name in _fields_at(cls, path[:-1])]
            return f"{key} is not known. {nearest(key.strip('`'), known)}".rstrip(".")
    text = details["msg"].removeprefix("Value error, ").split(", unable to parse")[0].split(" after validation")[0]
    text = re.sub(r"^\w+ should", "must", text)
    return f"{key} {text}".strip()


def _fields_at(cls: type, path: tuple) -> list[str]:
    for part in path:
        annotation = get_type_hints(cls, include_extras=True).get(part)
        cls = next(nested_dataclasses(annotation), cls)
    return [field.name for field in dataclasses.fields(cls)]


def _spelt(cls: type, path: tuple, place: str) -> str:
    """`--optim.lr` for a flag, `DATA` for a positional argument, `data[0].weight` in a file or a Python call."""
    if not path:
        return ""
    if place != COMMAND_LINE:
        return "`" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".") + "`"
    if path[0] in getattr(cls, "positional", ()):
        return f"`{path[0].upper()}`"
    return "`--" + ".".join(part.replace("_", "-") for part in path if isinstance(part, str)) + "`"
