"""Flags and `--help` from a config dataclass. In: the dataclass and the words typed. Out: the values that were given.

Every flag is read as text and checked later in `config.build`, so flags, files and Python calls are checked alike.
A field's docstring is its help text; a nested dataclass becomes `--optim.lr`, a dictionary `--columns key=value`.
"""

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from dodam.errors import UsageError

DASH = "\0"
"""Stands for the word `-` where cyclopts would take it for a flag; no word of a command line can hold it."""

METAVARS = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT", bool: ""}


class Flag(NamedTuple):
    """One field of a config, nested ones included, as the command line sees it."""

    path: tuple[str, ...]
    """The names that lead to the field: `("optim", "lr")`."""
    kind: str
    """`one` value, `many` (one each time it is given), `pairs` (`key=value` each time), or a `switch` without any."""
    metavar: str
    choices: tuple[str, ...]
    default: Any
    """The default; `dataclasses.MISSING` where the flag is required."""
    help: str

    @property
    def name(self) -> str:
        return "--" + ".".join(self.path).replace("_", "-")


class Parsed(NamedTuple):
    """What was typed."""

    values: dict[str, Any]
    """The given fields, text as typed, nested like the config."""
    config: Path | None
    json: bool


def flags(cls: type, prefix: tuple[str, ...] = ()) -> list[Flag]:
    """All fields of a config dataclass as flags: positional ones first, the others in the order they are written."""
    found = []
    hints, helps = get_type_hints(cls), field_docs(cls)
    for field in dataclasses.fields(cls):
        path, annotation = (*prefix, field.name), _without_none(hints[field.name])
        if dataclasses.is_dataclass(annotation):
            found.extend(flags(annotation, path))
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        kinds = {tuple: "many", dict: "pairs"}
        kind = "switch" if annotation is bool else kinds.get(get_origin(annotation), "one")
        element = _without_none(get_args(annotation)[0]) if kind == "many" else annotation
        choices = tuple(str(choice) for choice in get_args(element)) if get_origin(element) is Literal else ()
        metavar = "KEY=VALUE" if kind == "pairs" else METAVARS.get(element, "TEXT")
        if field.name in getattr(cls, "alone", {}):
            metavar = f"[{metavar}]"
        found.append(Flag(path, kind, "|".join(choices) or metavar, choices, default, helps.get(field.name, "")))
    positional = getattr(cls, "positional", ())
    return sorted(found, key=lambda flag: positional.index(flag.path[-1]) if flag.path[-1] in positional else 99)


def field_docs(cls: type) -> dict[str, str]:
    """The docstring written under each field, inherited fields included."""
    docs: dict[str, str] = {}
    for owner in reversed([base for base in cls.__mro__ if dataclasses.is_dataclass(base)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
        for statement, following in itertools.pairwise(body):
            match statement, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = inspect.cleandoc(text)
    return docs


def documentation(cls: type) -> str:
    """The docstring of the command as a Python function."""
    lines = [f"    {flag.path[0]}: {' '.join(flag.help.split())}" for flag in flags(cls) if len(flag.path) == 1]
    return "\n".join([inspect.getdoc(cls) or "", "", "Arguments:", *lines])


def signature(cls: type) -> inspect.Signature:
    """The command as a Python function: positional arguments first, everything else by name."""
    hints = get_type_hints(cls, include_extras=True)
    positional = getattr(cls, "positional", ())
    fields = {field.name: field for field in dataclasses.fields(cls)}
    parameters = []
    for name in (*positional, *(name for name in fields if name not in positional)):
        field = fields[name]
        default = inspect.Parameter.empty
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if name in positional else inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=hints[name]))
    return inspect.Signature(parameters, return_annotation=dict)


def parse(command: str, cls: type, words: list[str]) -> Parsed | None:
    """Read the words after the command's name; `None` if they asked for help, which is then printed."""
    from cyclopts import App
    from cyclopts.exceptions import CycloptsError, UnusedCliTokensError

    found = flags(cls)
    positional = getattr(cls, "positional", ())
    usage = " ".join(_usage(flag) for name in positional for flag in found if flag.path == (name,))
    usage = " ".join(f"Usage: dodam {command} {usage} [FLAGS]".split())
    app = App(name=f"dodam {command}", usage=usage, help=inspect.getdoc(cls), help_flags=(), version_flags=())
    app.default(_typed_function(found, positional))
    words = _with_alone(words, getattr(cls, "alone", {}))
    options = words[: words.index("--")] if "--" in words else words
    if "--help" in options or "-h" in options:
        app.help_print([])
        return None
    try:
        taken = [DASH if word == "-" else word for word in words]
        _, bound, _ = app.parse_args(taken, print_error=False, exit_on_error=False)
    except UnusedCliTokensError as error:
        word = (error.unused_tokens or [""])[0].replace(DASH, "-")
        named = [flag for flag in found if flag.path[0] not in positional]
        required = next((flag.name for flag in named if flag.default is dataclasses.MISSING), "")
        mend = f"Did you mean `{required} {word}`?" if required else f"`dodam {command} --help` lists the flags."
        raise UsageError(f"`{word}` belongs to no flag", mend=mend) from None
    except CycloptsError as error:
        raise UsageError(str(error).replace(DASH, "-")) from None
    values: dict[str, Any] = {}
    for flag in found:
        given = _with_dashes(bound.arguments.get("__".join(flag.path)))
        if given is not None:
            level = values
            for name in flag.path[:-1]:
                level = level.setdefault(name, {})
            level[flag.path[-1]] = _pairs(flag, given) if flag.kind == "pairs" else given
    file = _with_dashes(bound.arguments.get("config_file"))
    return Parsed(values, Path(file) if file else None, bool(bound.arguments.get("print_json")))


def _with_alone(words: list[str], alone: dict[str, str]) -> list[str]:
    """The words, with its value behind each flag that may stand alone and does; `alone` names fields and values."""
    flags_alone = {"--" + name.replace("_", "-"): value for name, value in alone.items()}
    found = []
    for word, following in itertools.zip_longest(words, words[1:], fillvalue="--"):
        found.append(word)
        if word in flags_alone and following.startswith("-"):
            found.append(flags_alone[word])
    return found


def _typed_function(found: list[Flag], positional: tuple[str, ...]) -> Any:
    """A function whose parameters are the flags: that is what cyclopts reads."""
    from cyclopts import Group, Parameter

    def parameter(name: str, annotation: Any, about: Parameter, by_position: bool = False) -> inspect.Parameter:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if by_position else inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, kind, default=None, annotation=Annotated[annotation | None, about])

    parameters = []
    # `--data a b` takes both, but not where that could swallow a positional argument: `run --set a.b=1 RECIPE`.
    greedy = all(flag.kind == "many" for flag in found if flag.path[0] in positional)
    for flag in found:
        annotation = {"one": str, "switch": bool}.get(flag.kind, tuple[str, ...])
        several = greedy and flag.kind in ("many", "pairs") and flag.path[0] not in positional
        metavar = f"{flag.metavar}..." if several else flag.metavar
        about = Parameter(
            name=flag.name,
            metavar=metavar or None,
            help=_help(flag),
            negative_iterable=(),
            consume_multiple=several,
        )
        parameters.append(parameter("__".join(flag.path), annotation, about, flag.path[0] in positional))
    everywhere = Group("Everywhere", sort_key=1)
    from_file = "Read values from a TOML or JSON file; flags win over it."
    as_json = "Print the result as one JSON object in the last line."
    parameters += [
        parameter("config_file", str, Parameter(name="--config", metavar="FILE", help=from_file, group=everywhere)),
        parameter("print_json", bool, Parameter(name="--json", negative="", help=as_json, group=everywhere)),
    ]

    def command(**values: Any) -> None: ...

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _usage(flag: Flag) -> str:
    name = flag.path[0].upper() + ("..." if flag.kind == "many" else "")
    return name if flag.default is dataclasses.MISSING else f"[{name}]"


def shown_default(flag: Flag) -> str:
    """The default as help texts show it; empty where there is nothing to say."""
    if flag.default is dataclasses.MISSING or flag.default is False or flag.default in (None, "", (), {}):
        return ""
    return " ".join(map(str, flag.default)) if isinstance(flag.default, tuple) else str(flag.default)


def _help(flag: Flag) -> str:
    default = shown_default(flag)
    note = "required" if flag.default is dataclasses.MISSING else f"default: {default}" if default else ""
    return f"{flag.help} [{note}]" if note else flag.help


def _with_dashes(given: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(map(_with_dashes, given))
    return "-" if given == DASH else given


def _pairs(flag: Flag, given: tuple[str, ...]) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise UsageError(f"`{flag.name}` takes KEY=VALUE, not {pair!r}")
    return dict(pair.split("=", 1) for pair in given)


def _without_none(annotation: Any) -> Any:
    """`int` for `int | None` and for `Annotated[int, Gt(0)]`; `str` for `str | Source`."""
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not types.NoneType]
        plain = [part for part in parts if not dataclasses.is_dataclass(part)]
        return _without_none((plain or parts)[0])
    return annotation
