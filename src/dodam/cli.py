"""The command line: the table of commands, `--help`, `--json`, exit codes, and one message for every error.

In: the words typed after `dodam`. Out: an exit code (0 done, 1 failed, 2 wrongly used); results on standard output,
everything else on standard error. A command's module is imported when the command runs, never before.
"""

import contextlib
import importlib
import io
import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from dodam import neighbours, ranks
from dodam.errors import DodamError, Interrupted, UsageError


class Command(NamedTuple):
    """Where a command lives. Its module holds the config dataclass and `run(config) -> dict`."""

    module: str
    config: str
    summary: str
    group: str = ""
    """Set on the first command of a group in `dodam --help`."""


COMMANDS = {
    "grow": Command("dodam.grow", "Grow", "One command from your own text to a model you can talk to.", "Start here"),
    "run": Command("dodam.runner", "Run", "Run a recipe: all its stages, or only what changed since the last run."),
    "doctor": Command("dodam.doctor", "Doctor", "Say what this machine can do, and how to mend what is wrong with it."),
    "plan": Command(
        "dodam.plan.plan", "Plan", "Say what a training will take: memory, time, energy, cost; also on many GPUs."
    ),
    "sample": Command("dodam.sample.write", "Sample", "Write the bundled corpus as files to look at."),
    "prepare": Command("dodam.data.prepare", "Prepare", "Clean text and write a data folder.", "Stages"),
    "preview": Command("dodam.data.preview", "Preview", "Show what rows are read as, check and convert them."),
    "tokenizer train": Command("dodam.tokenizer.train", "TokenizerTrain", "Learn a vocabulary from text."),
    "tokenizer show": Command("dodam.tokenizer.show", "TokenizerShow", "Show how a text is cut into tokens."),
    "tokenizer compare": Command(
        "dodam.tokenizer.compare", "TokenizerCompare", "Compare tokenizers on a text, and by training with each."
    ),
    "tokenizer import": Command(
        "dodam.tokenizer.incoming", "TokenizerImport", "Take in a vocabulary: tokenizer.json, SentencePiece, tiktoken."
    ),
    "pretrain": Command(
        "dodam.stages.pretrain", "Pretrain", "Train a language model, from nothing or from one there is."
    ),
    "sft": Command("dodam.stages.sft", "Sft", "Teach a model to answer, from conversations."),
    "seq2seq": Command("dodam.stages.seq2seq", "Seq2seq", "Learn to translate or summarise, from pairs of texts."),
    "classify": Command("dodam.stages.classify", "Classify", "Teach a model to label texts, and measure it."),
    "embed": Command("dodam.stages.embed", "Embed", "Teach a model vectors of texts, and measure their likeness."),
    "reward": Command("dodam.stages.reward", "Reward", "Teach a model to score answers as people rank them."),
    "ppo": Command("dodam.stages.ppo", "Ppo", "Teach a model by rewards, with a value model (PPO)."),
    "grpo": Command("dodam.stages.grpo", "Grpo", "Teach a model by rewards, comparing its answers (GRPO)."),
    "dpo": Command("dodam.stages.dpo", "Dpo", "Teach a model to prefer the answers that people prefer."),
    "evaluate": Command("dodam.evaluate.tasks", "Evaluate", "Measure models and write a report."),
    "report": Command("dodam.tracking.report", "Report", "Show training runs as one HTML page with curves."),
    "best-of": Command(
        "dodam.rl.best_of", "BestOf", "Answer prompts several times: the best for sft, or all ranked by rule."
    ),
    "generate": Command("dodam.generate.generate", "Generate", "Continue a text or answer one prompt.", "Use a model"),
    "predict": Command("dodam.generate.predict", "Predict", "Label, embed, translate or fill in the texts of a file."),
    "chat": Command("dodam.generate.chat", "Chat", "Talk to a model in the terminal."),
    "serve": Command("dodam.serve.app", "Serve", "Serve models: an OpenAI-compatible API, pages to chat and to rank."),
    "feedback report": Command(
        "dodam.feedback.report", "FeedbackReport", "Tell what people said, and how far to trust it.", "Feedback"
    ),
    "feedback export": Command("dodam.feedback.outgoing", "FeedbackExport", "Write what people said as JSONL."),
    "feedback import": Command("dodam.feedback.incoming", "FeedbackImport", "Bring rankings and prompts into a store."),
    "feedback uncertainty": Command(
        "dodam.feedback.uncertainty", "FeedbackUncertainty", "Tell a store what a reward model knows least."
    ),
    "feedback delete": Command("dodam.feedback.deletion", "FeedbackDelete", "Delete a collected chat by its key."),
    "import": Command(
        "dodam.exchange.incoming", "Import", "Take in open weights, from a folder or the hub.", "Exchange"
    ),
    "export": Command(
        "dodam.exchange.outgoing", "Export", "Write a model for other programs: GGUF, Hugging Face, ONNX."
    ),
}


def main(words: list[str] | None = None, *, in_recipe: bool = False) -> int:
    """Run one command line and return its exit code; every error becomes one message on standard error. How to go on
    with a stage that is `in_recipe` is said by the runner. Of several ranks only the first speaks."""
    words = sys.argv[1:] if words is None else words
    try:
        hushed = ranks.rank() > 0
    except UsageError as error:
        return _failed(f"error: {error}", error)
    if not hushed:
        return _run(words, in_recipe=in_recipe)
    ranks.hush()
    code = _run(words, in_recipe=in_recipe)
    if code:
        ranks.linger()
    return code


def _run(words: list[str], *, in_recipe: bool) -> int:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        with _terminated_as_interrupted():
            code = _dispatch(words)
            sys.stdout.flush()
        return code
    except Interrupted as error:
        return _failed(str(Interrupted(error.what, where=error.where) if in_recipe else error), error)
    except DodamError as error:
        return _failed(f"error: {error}", error)
    except KeyboardInterrupt:
        print(f"\ninterrupted{'' if in_recipe else _go_on(words)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output went away; nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"error: {where}{error.strerror or error}", error)
    except Exception as error:
        if _out_of_memory(error):
            flags = "--microbatch 1, --recompute 1, a shorter --context or a smaller --depth"
            mend = f"A training stage needs less with {flags}."
            return _failed(f"error: there is not enough memory. {mend}", error)
        return _failed(_our_mistake(error), error)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Within, SIGTERM ends the work like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _go_on(words: list[str]) -> str:
    """How to go on with a command that writes a folder; empty for others."""
    name, _ = _command(words)
    if name not in COMMANDS or "out" not in load(name)[0].__dataclass_fields__:  # type: ignore[attr-defined]
        return ""
    return f"; go on with: {shlex.join(['dodam', *words])}"


def call(name: str, values: Mapping[str, Any], where: str, places: Mapping[str, str] | None = None) -> dict:
    """Build the config of a command from values and run it. `where` and `places` as in `config.build`."""
    from dodam.config import build

    if ranks.local_world() == 1:  # else the ranks are busy for one another
        neighbours.make_way()
    config, run = load(name)
    return run(build(config, values, where, places))


def load(name: str) -> tuple[type, Callable[[Any], dict]]:
    """The config dataclass and the `run` function of a command."""
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    return getattr(module, command.config), module.run


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        from dodam import __version__

        print(f"dodam {__version__}")
        return 0
    name, rest = _command(words)
    if name not in COMMANDS:
        _print_commands(name)
        return 0 if rest else 2
    from dodam.config import COMMAND_LINE, from_file
    from dodam.flags import parse

    config, _ = load(name)
    if ranks.world() > 1 and "parallel" not in config.__dataclass_fields__:  # type: ignore[attr-defined]
        raise UsageError("this command is one process", where=name, mend="Start it without torchrun.")
    parsed = parse(name, config, rest)
    if parsed is None:
        return 0
    values = from_file(parsed.config) if parsed.config else {}
    places = {key: str(parsed.config) for key in values if key not in parsed.values}
    result = call(name, _merged(values, parsed.values), COMMAND_LINE, places)
    if parsed.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `over` winning key by key at every depth."""
    merged = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            merged[key] = _merged(under[key], over[key])
    return merged


def _command(words: list[str]) -> tuple[str, list[str]]:
    """The command's name and the words after it; a name with rest `--help` that is no command asks for the table."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS and len(words) >= length:
            return name, words[length:]
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    first, second = [*words, "", ""][:2]
    if first in ("", "--help", "-h"):
        return "", [first] if first else []
    if first in groups and second in ("", "--help", "-h"):
        return first, [second] if second else []
    from dodam.config import nearest

    typed = f"{first} {second}".strip() if first in groups else first
    kind = "flag" if first.startswith("-") else "command"
    known = [*COMMANDS, *(["--help", "--version"] if kind == "flag" else [])]
    raise UsageError(f"`{typed}` is not a {kind}", mend=f"{nearest(typed, known)} `dodam --help` lists them.")


def _print_commands(group: str) -> None:
    print(f"Usage: dodam {f'{group} ' if group else ''}COMMAND [...]   (dodam COMMAND --help says more)")
    for name, command in COMMANDS.items():
        if not name.startswith(group):
            continue
        if command.group and not group:
            print(f"\n{command.group}")
        print(f"  {name:<16}  {command.summary}")
    if not group:
        print("\n  --version         Print the version.\n  --help            Print this list.")


def _failed(message: str, error: BaseException) -> int:
    if meeting := sys.modules.get("dodam.train.distributed"):
        meeting.say(message)
    if os.environ.get("DODAM_DEBUG"):
        traceback.print_exception(error)
    print(message, file=sys.stderr)
    return getattr(error, "exit_code", 1)


def _out_of_memory(error: Exception) -> bool:
    """Whether Python, or torch on any device, asked for more memory than there is."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)


def _our_mistake(error: Exception) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="dodam-", suffix=".txt", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    what = "".join(traceback.format_exception_only(error)).strip()
    return f"error: this is a mistake in dodam, not yours: {what}\nPlease report it with the file {file.name}"
