"""The command line: help without heavy imports, every mistake one message and the right exit code, results as JSON;
and the same commands as Python functions."""

import dataclasses
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt

import dodam
from dodam import cli, neighbours
from dodam.errors import DataError, Interrupted, UsageError
from dodam.flags import flags, shown_default

DOCS = Path(__file__).parents[1] / "docs" / "cli.md"
MARK = "<!-- What follows is written by `python tests/test_cli.py`, and checked by the tests. -->"
HEAVY = ("torch", "numpy", "pyarrow", "tokenizers", "transformers", "fastapi", "matplotlib")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Nested settings."""

    lr: Annotated[float, Gt(0)] = 0.02
    """The rate of learning."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Do a job.

    With a second paragraph.
    """

    positional: ClassVar[tuple[str, ...]] = ("model", "prompt")

    model: Path
    """The model."""
    prompt: str = ""
    """What to ask."""
    data: tuple[str | Optim, ...] = ()
    """Where from."""
    steps: Annotated[int, Ge(1)] = 5
    """How many steps."""
    kind: Literal["fast", "slow"] = "fast"
    """Which kind."""
    columns: dict[str, str] | None = None
    """Which columns."""
    dry: bool = False
    """Only look."""
    optim: Optim = Optim()


@dataclass(frozen=True, kw_only=True)
class Many:
    """Take many texts."""

    positional: ClassVar[tuple[str, ...]] = ("text",)

    text: tuple[str, ...]
    chat: tuple[str, ...] = ()


def run(config):
    """Whatever `prompt` asks for."""
    match getattr(config, "prompt", ""):
        case "bad data":
            raise DataError("is broken", where="a.jsonl:3", mend="Mend it.")
        case "stop":
            raise Interrupted("saved", mend="Go on with: dodam job")
        case "ctrl-c":
            raise KeyboardInterrupt
        case "sigterm":
            signal.raise_signal(signal.SIGTERM)
        case "bug":
            raise ZeroDivisionError("by us")
        case "no file":
            Path("/no/such/file").read_text()
        case "memory":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        case "print":
            print("한글")
    return {"config": repr(config), "name": "도담"}


@dataclass(frozen=True, kw_only=True)
class Write(Job):
    """A job that writes a folder."""

    out: Path
    """The folder."""


@pytest.fixture(autouse=True)
def jobs(monkeypatch):
    """Some commands more."""
    monkeypatch.delenv("DODAM_DEBUG", raising=False)
    for name in ("Job", "Many", "Write"):
        monkeypatch.setitem(cli.COMMANDS, name.lower(), cli.Command(__name__, name, f"A {name}."))


@pytest.fixture
def job(capsys):
    """Run a command line; returns exit code, standard output, standard error."""

    def go(*words: str) -> tuple[int, str, str]:
        code = cli.main(list(words))
        return code, *capsys.readouterr()

    return go


def config_of(result: tuple[int, str, str]) -> str:
    assert result[0] == 0, result[2]
    return json.loads(result[1].splitlines()[-1])["config"]


def test_flags_of_every_kind_reach_the_config(job):
    words = "job m hello --data a --data=b --steps 7 --kind slow --columns text=body --columns label=2 --dry"
    given = config_of(job(*words.split(), "--optim.lr", "1e-3", "--json"))
    assert given == repr(
        Job(
            model=Path("m"),
            prompt="hello",
            data=("a", "b"),
            steps=7,
            kind="slow",
            columns={"text": "body", "label": "2"},
            dry=True,
            optim=Optim(lr=1e-3),
        )
    )


def test_a_list_flag_takes_several_words_where_nothing_else_could_want_them(job):
    expected = Many(text=("t1", "t2"), chat=("a", "b", "c"))
    assert config_of(job("many", "t1", "t2", "--chat", "a", "b", "--chat", "c", "--json")) == repr(expected)
    expected = Job(model=Path("m"), prompt="p", data=("a",))
    assert config_of(job("job", "--data", "a", "m", "p", "--json")) == repr(expected)


def test_text_after_two_dashes_may_begin_with_a_dash(job):
    assert "prompt='--steps'" in config_of(job("job", "--json", "m", "--", "--steps"))


def test_a_dash_is_a_word_like_others(job):
    assert config_of(job("job", "m", "-", "--data", "-", "--json")) == repr(
        Job(model=Path("m"), prompt="-", data=("-",))
    )
    assert config_of(job("many", "-", "a", "--json", "--chat", "b", "-")) == repr(
        Many(text=("-", "a"), chat=("b", "-"))
    )
    assert "cannot be read" in job("job", "m", "--config", "-")[2]


def test_a_config_file_lies_under_the_flags_at_every_depth(job, tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('model = "m"\nsteps = 3\nkind = "slow"\ndry = true\n[optim]\nlr = 0.5\n')
    expected = Job(model=Path("m"), steps=4, kind="slow", optim=Optim(lr=0.5))
    assert config_of(job("job", "--config", str(path), "--steps", "4", "--no-dry", "--json")) == repr(expected)


def test_a_mistake_in_the_config_file_names_the_file(job, tmp_path):
    path = tmp_path / "job.toml"
    path.write_text("stpes = 3\n")
    code, _, err = job("job", "m", "--config", str(path))
    assert (code, err) == (2, f"error: {path}: `stpes` is not known. Did you mean `steps`?\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["jbo"], 2, "`jbo` is not a command. Did you mean `job`?"),
        (["tokenizer", "trian"], 2, "`tokenizer trian` is not a command. Did you mean `tokenizer train`?"),
        (["--vershion"], 2, "`--vershion` is not a flag. Did you mean `--version`?"),
        (["job", "m", "--stpes", "3"], 2, "Unknown option: --stpes. Did you mean --steps?"),
        (["job", "m", "--step", "3"], 2, "Did you mean --steps?"),
        (["prepare", "notes"], 2, "`notes` belongs to no flag. Did you mean `--data notes`?"),
        (["job", "m", "memory"], 1, "there is not enough memory. A training stage needs less with --microbatch 1"),
        (["job", "m", "--steps"], 2, "--steps requires an argument"),
        (["job", "m", "--steps", "0"], 2, "`--steps` must be greater than or equal to 1"),
        (["job", "m", "--columns", "body"], 2, "`--columns` takes KEY=VALUE, not 'body'"),
        (["job", "m", "p", "q"], 2, "`q` belongs to no flag. `dodam job --help` lists the flags."),
        (["job"], 2, "`MODEL` is required"),
        (["job", "m", "bad data"], 1, "error: a.jsonl:3: is broken. Mend it."),
        (["job", "m", "no file"], 1, "error: /no/such/file: No such file or directory"),
        (["job", "m", "stop"], 1, "saved. Go on with: dodam job"),
        (["job", "m", "ctrl-c"], 1, "interrupted"),
    ],
)
def test_every_mistake_is_one_message_and_an_exit_code(job, words, code, message):
    found, out, err = job(*words)
    assert found == code and message in err and out == ""
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1


def test_how_to_go_on_with_a_stage_of_a_recipe_is_said_by_the_runner_alone(job, capsys):
    assert cli.main(["job", "m", "stop"], in_recipe=True) == 1
    assert capsys.readouterr().err == "saved\n"


@pytest.mark.parametrize("prompt", ["ctrl-c", "sigterm"])
def test_what_is_interrupted_says_how_to_go_on(job, prompt, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert job("write", "m", prompt, "--out", "my run") == (
        1, "", f"\ninterrupted; go on with: dodam write m {prompt} --out 'my run'\n"
    )  # fmt: skip
    assert job("job", "m", prompt) == (1, "", "\ninterrupted\n")
    assert cli.main(["write", "m", prompt, "--out", "x"], in_recipe=True) == 1
    assert capsys.readouterr().err == "\ninterrupted\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_our_own_mistake_says_so_and_keeps_the_traceback(job, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, _, err = job("job", "m", "bug")
    (report,) = tmp_path.iterdir()
    assert code == 1 and "a mistake in dodam, not yours: ZeroDivisionError: by us" in err and str(report) in err
    assert "Traceback" not in err and "Traceback" in report.read_text()
    monkeypatch.setenv("DODAM_DEBUG", "1")
    assert "Traceback" in job("job", "m", "bug")[2]


def test_json_is_the_last_line_and_nothing_without_it(job):
    code, out, err = job("job", "m", "print", "--json")
    assert (
        code == 0 and out.splitlines()[0] == "한글" and json.loads(out.splitlines()[-1])["name"] == "도담" and err == ""
    )
    assert job("job", "m", "print")[1] == "한글\n"


def test_help_of_a_command_shows_every_field(job):
    for words in (["job", "--help"], ["job", "-h"], ["job", "m", "--steps", "x", "--help"]):
        code, out, _ = job(*words)
        text = " ".join(out.replace("│", " ").split())
        assert code == 0 and text.startswith("Usage: dodam job MODEL [PROMPT] [FLAGS] Do a job.")
        for flag in flags(Job):
            assert flag.name in text and flag.help in text
        for part in (
            "[required]",
            "[default: 5]",
            "fast|slow",
            "--optim.lr NUMBER",
            "KEY=VALUE",
            "--json",
            "--config FILE",
        ):
            assert part in text


def test_help_lists_every_command_and_a_group_its_own(job):
    _, out, _ = job("--help")
    assert all(name in out and command.summary in out for name, command in cli.COMMANDS.items())
    _, out, _ = job("tokenizer", "--help")
    assert "tokenizer train" in out and "pretrain" not in out
    assert job()[0] == job("tokenizer")[0] == 2
    assert job("--version")[1] == f"dodam {dodam.__version__}\n"


def python(code: str) -> str:
    source = str(Path(dodam.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    ).stdout


def test_the_table_of_commands_needs_only_the_standard_library():
    code = "import sys; from dodam.cli import main; main(['--help']); print('MODULES', *sys.modules)"
    loaded = python(code).rpartition("MODULES")[2].split()
    assert not {"pydantic", "cyclopts", "rich", *HEAVY} & set(loaded)


def test_help_of_every_command_imports_nothing_heavy():
    code = (
        "import sys; from dodam import cli\nfor name in cli.COMMANDS: assert cli.main([*name.split(), '--help']) == 0\n"
    )
    loaded = python(code + "print('MODULES', *sys.modules)").rpartition("MODULES")[2].split()
    assert not set(HEAVY) & set(loaded)


def test_every_field_of_every_command_has_a_help_text_and_a_summary():
    for name in cli.COMMANDS:
        config, _ = cli.load(name)
        if config.__module__ != __name__:
            assert [flag.name for flag in flags(config) if not flag.help] == [], name
            assert "(*," not in (inspect.getdoc(config) or ""), f"{name} has no docstring"


def test_a_reader_that_goes_away_is_no_error():
    code = (
        "import sys; from dodam import cli\n"
        "cli._print_commands = lambda group: [print('x' * 999) for _ in range(999)]\n"
        "sys.exit(cli.main(['--help']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    with process:
        assert process.stderr.read() == ""


# The list of all flags in docs/cli.md


def reference() -> str:
    """Every command with its flags, as Markdown."""
    lines = []
    for name in [name for name, command in cli.COMMANDS.items() if command.module != __name__]:
        config, _ = cli.load(name)
        positional = getattr(config, "positional", ())
        lines += [f"## dodam {name}", "", inspect.getdoc(config), "", "| flag | default | |", "|---|---|---|"]
        for flag in flags(config):
            word = f"`{flag.path[0].upper()}` or " if flag.path[0] in positional else ""
            typed = f"{word}`{flag.name} {flag.metavar}".strip().replace("|", "\\|")
            default = "required" if flag.default is dataclasses.MISSING else shown_default(flag)
            lines.append(f"| {typed}` | {default} | {' '.join(flag.help.split())} |")
        lines.append("")
    return "\n".join(lines)


def test_the_list_of_flags_in_the_docs_is_right():
    text = DOCS.read_text(encoding="utf-8")
    assert text.partition(MARK)[2] == f"\n\n{reference()}", "run `python tests/test_cli.py` and look at the difference"


def test_sample_writes_the_bundled_corpus_as_files(job, tmp_path):
    result = json.loads(job("sample", "--out", str(tmp_path), "--scale", "0.001", "--json")[1])
    for name in ("text", "chat", "tests", "preferences"):
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        assert len(rows) == result[name]["lines"] > 0
    assert "messages" in json.loads((tmp_path / "chat.jsonl").read_text(encoding="utf-8").splitlines()[0])


# The same commands as functions


@pytest.mark.parametrize(
    ("running", "given", "kept"), [("3", None, "1000"), ("1", None, None), ("3", "7", "7"), ("?", None, None)]
)
def test_threads_sleep_soon_where_others_compute(job, running, given, kept, tmp_path, monkeypatch):
    (tmp_path / "loadavg").write_text(f"0.10 0.20 0.30 {running}/80 17909\n")
    monkeypatch.setattr(neighbours, "LOADS", tmp_path / "loadavg")
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that what was there comes back
    monkeypatch.delenv("GOMP_SPINCOUNT")
    if given:
        monkeypatch.setenv("GOMP_SPINCOUNT", given)
    assert job(*["job", "m", "hello", "--data", "a"])[0] == 0
    assert os.environ.get("GOMP_SPINCOUNT") == kept


def test_a_process_that_looks_for_itself_is_not_told_to_give_way(job, tmp_path, monkeypatch):
    (tmp_path / "loadavg").write_text("0.10 0.20 0.30 3/80 17909\n")
    monkeypatch.setattr(neighbours, "LOADS", tmp_path / "loadavg")
    monkeypatch.setattr(neighbours, "_gives_way", False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert neighbours.own_environment()["GOMP_SPINCOUNT"] == "7", "what the user says holds for all"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert job(*["job", "m", "hello", "--data", "a"])[0] == 0 and not neighbours.gives_way(), "ranks run side by side"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert job(*["job", "m", "hello", "--data", "a"])[0] == 0 and neighbours.gives_way()
    assert os.environ["GOMP_SPINCOUNT"] == "1000" and "GOMP_SPINCOUNT" not in neighbours.own_environment()


def test_import_dodam_is_light():
    loaded = python("import sys, dodam; print(*sys.modules)").split()
    assert not {"pydantic", "cyclopts", *HEAVY} & set(loaded)


def test_a_function_has_the_names_of_the_flags_and_the_same_checks():
    assert dodam.job("m", "hello", steps=3, data=["a"]) == {
        "config": repr(Job(model=Path("m"), prompt="hello", steps=3, data=("a",))),
        "name": "도담",
    }
    with pytest.raises(UsageError, match=r"dodam.job\(\): `stpes` is not known. Did you mean `steps`\?"):
        dodam.job("m", stpes=3)
    assert str(inspect.signature(dodam.job)).startswith("(model: pathlib.Path, prompt: str = '', *, data: tuple[")
    assert "steps: How many steps." in dodam.job.__doc__ and dodam.job.__name__ == "job"


def test_a_budget_counts_from_the_call(monkeypatch):
    from dodam import machine

    monkeypatch.setattr(machine, "_begun", None)
    machine.begin(time.monotonic() - 1e6)
    assert 1e6 <= machine.seconds_since_start() < 1e6 + 10
    with pytest.raises(UsageError):
        dodam.job("m", stpes=3)
    assert machine.seconds_since_start() >= 1e6
    with pytest.raises(UsageError):
        dodam.pretrain(dpeth=3)
    assert machine.seconds_since_start() < 10


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_is_a_function(command):
    name = {"import": "import_"}.get(command, command.replace(" ", "_"))
    config, _ = cli.load(command)
    assert name in dodam.__all__ and name in dir(dodam)
    assert set(inspect.signature(getattr(dodam, name)).parameters) == {flag.path[0] for flag in flags(config)}


def test_a_package_of_the_same_name_is_the_function_whichever_came_first():
    for first in ("import dodam.generate.sampling", "from dodam import generate", "import dodam"):
        code = f"{first}; import dodam; assert callable(dodam.generate)\ntry: dodam.generate(mdoel='x')\n"
        assert "Did you mean `model`" in python(code + "except dodam.cli.DodamError as error: print(error)")
    assert importlib.import_module("dodam.generate").__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'pretran'"):
        dodam.pretran  # noqa: B018


if __name__ == "__main__":
    DOCS.write_text(DOCS.read_text(encoding="utf-8").partition(MARK)[0] + f"{MARK}\n\n{reference()}", encoding="utf-8")
