"""What the documentation shows is true: commands and flags exist, the marked blocks run, the file tree is the real one.

In come *.md and docs/. Commands are the `$ ` lines of ```console blocks and all lines of ```bash blocks.
A block after the line `<!-- tested -->` is really run, in a folder with a little text of its own and a few steps.
"""

import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

from dodam import cli
from dodam.config import build

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- tested -->\n)?^```(console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FEWER = {  # in place of a budget
    "pretrain": ["--steps", "2", "--depth", "1", "--context", "64", "--threads", "1"],
    "sft": ["--steps", "2", "--threads", "1"],
}


class Block(NamedTuple):
    """A fenced block: the page it is on, its commands as words, whether it is to be run."""

    page: str
    commands: list[list[str]]
    tested: bool


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        for tested, kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            lines = text.replace("\\\n", " ").splitlines()
            if kind == "console":
                lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            commands = [words for line in lines if (words := shlex.split(line, comments=True))]
            found.append(Block(str(page.relative_to(ROOT)), commands, bool(tested)))
    return found


def dodam_commands() -> list[tuple[str, list[str]]]:
    """(page, words after `dodam`) of every command shown, also of what torchrun is to start; what follows a pipe or a
    redirection is left out."""
    found = []
    for block in blocks():
        for words in block.commands:
            ends = [place for place, word in enumerate(words) if word in ("|", "<", ">", "2>", "&", "&&", ";")]
            words = words[: min(ends, default=len(words))]
            if words and words[0] == "torchrun":
                words = words[words.index("-m") + 1 :]
            if words and Path(words[0]).name == "dodam":
                found.append((block.page, words[1:]))
    return found


SHOWN = dodam_commands()


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=[f"{page}: {' '.join(words)}" for page, words in SHOWN])
def test_documented_commands_exist(page: str, words: list[str], monkeypatch, capsys) -> None:
    """Every command parses and its values are accepted; nothing is run."""

    def check(name, values, where, places=None):
        build(cli.load(name)[0], values, where, places)
        return {}

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli, "call", check)
    assert cli.main(words) == 0, f"{page}: dodam {shlex.join(words)}\n{capsys.readouterr().err}"


def test_make_verbs_exist() -> None:
    known = re.search(r"^VERBS = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split()
    shown = {words[1] for block in blocks() for words in block.commands if words[0] == "make"}
    assert {"quickstart", "test"} <= shown <= set(known)


def write_own_files(folder: Path) -> None:
    """The files that the documentation's examples speak of."""
    (folder / "notes").mkdir()
    for number in range(40):
        text = f"{number}번 상자에는 사과가 {number + 2}개 있다. Box {number} holds {number + 2} apples.\n" * 30
        (folder / "notes" / f"{number}.txt").write_text(text, encoding="utf-8")
    rows = [{"question": f"{n}번 상자에 사과가 몇 개 있나요?", "answer": f"{n + 2}개 있어요."} for n in range(40)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")


TESTED = [block for block in blocks() if block.tested]


@pytest.mark.parametrize("block", TESTED, ids=[block.page for block in TESTED])
def test_marked_blocks_run(block: Block, tmp_path: Path, monkeypatch, capsys) -> None:
    """Each command as it is shown, only with a few steps in place of the budget."""
    write_own_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    for _, *words in block.commands:
        if "--budget" in words:
            place = words.index("--budget")
            words[place : place + 2] = FEWER[words[0]]
        assert cli.main(words) == 0, f"{block.page}: dodam {shlex.join(words)}\n{capsys.readouterr().err}"


def test_some_blocks_are_run() -> None:
    assert TESTED


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_file_tree_is_the_real_one(readme: str) -> None:
    """Every line of the tree in the README is a file (or a pattern of files), and every file has its line."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    lines = re.search(r"^```\nsrc/dodam/\n(.*?)^```$", text, re.MULTILINE | re.DOTALL).group(1).splitlines()
    shown, folder = [], ""
    for line in lines:
        name, *about = line.split(maxsplit=1)
        if name.endswith("/"):
            folder = name
            continue
        assert about, f"say what {name} is"
        shown.append(folder + name if line.startswith("    ") else name)
    package = ROOT / "src" / "dodam"
    files = [file.relative_to(package).as_posix() for file in package.rglob("*") if file.is_file()]
    files = [name for name in files if "__pycache__" not in name and not name.endswith("/__init__.py")]
    assert [name for name in files if not any(fnmatch(name, pattern) for pattern in shown)] == []
    assert [pattern for pattern in shown if not any(fnmatch(name, pattern) for name in files)] == []


def test_how_to_names_real_files() -> None:
    paths = re.findall(r"`(\w+/\w+\.py|\w+\.py)`", (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8"))
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / "src" / "dodam" / path).is_file()] == []
