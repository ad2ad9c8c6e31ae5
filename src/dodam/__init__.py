"""Dodam: from your own text to a language model you own.

Every command is also a function with its flags as arguments: `dodam.pretrain(data="data", out="runs/mine", depth=4)`,
`dodam.tokenizer_train(...)`, `dodam.import_(...)`. They return what `--json` prints. Nothing heavy is loaded before the
first call.
"""

import inspect
import keyword
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from dodam.cli import COMMANDS, call, load


def python_name(command: str) -> str:
    """What a command is called in Python: `tokenizer_train`, `import_`."""
    name = command.replace(" ", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


__version__ = "0.1.0"
__all__ = ["__version__", *map(python_name, COMMANDS)]


class CallableModule(ModuleType):
    """A module that is also a command.

    `dodam.generate` is both the package of the engine and the command `generate`; so are `grow`, `evaluate`, `sample`
    and `serve`. Such a module sets its own class to this one, so `dodam.generate(...)` works whichever was met first.
    """

    def __call__(self, *args: Any, **values: Any) -> dict:
        return function(self.__name__.removeprefix("dodam."))(*args, **values)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(function(self.__name__.removeprefix("dodam.")))


def function(command: str) -> Callable[..., dict]:
    """The command as a Python function: same names, same checks, same result."""
    from dodam.flags import documentation, signature

    config, _ = load(command)
    name = python_name(command)

    def run(*args: Any, **values: Any) -> dict:
        _begin(config, time.monotonic())
        bound = signature(config).bind_partial(*args)
        return call(command, {**bound.arguments, **values}, f"dodam.{name}()")

    run.__name__ = run.__qualname__ = name
    run.__doc__ = documentation(config)
    run.__signature__ = signature(config)  # type: ignore[attr-defined]
    return run


def _begin(config: type, started: float) -> None:
    """A budget counts from the call, not from the start of the Python process."""
    from dodam.stages.training import Training

    if issubclass(config, Training):
        from dodam import machine

        machine.begin(started)


def __getattr__(name: str) -> Any:
    for command in COMMANDS:
        if python_name(command) == name:
            module = find_spec(f"dodam.{name}")  # a module of the same name is a CallableModule
            return import_module(f"dodam.{name}") if module else function(command)
    raise AttributeError(f"module 'dodam' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
