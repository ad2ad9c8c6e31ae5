"""The wheel: it holds the whole package and nothing else, needs what the code imports, and works in an empty venv.

`hatchling` builds it without a network. The test in an empty venv downloads the dependencies: it is marked `interop`.
"""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import dodam

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "dodam"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("dodam-*.whl"))


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {f"dodam/{file.relative_to(PACKAGE).as_posix()}" for file in PACKAGE.rglob("*") if file.is_file()}
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == {name for name in files if "__pycache__" not in name}
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_version_is_said_once() -> None:
    assert dodam.__version__ == PROJECT["version"]


def test_dependencies_are_those_the_code_imports() -> None:
    """Every declared dependency is imported somewhere in the package, and every import is declared."""
    imported = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    imported -= set(sys.stdlib_module_names) | {"dodam", "pydantic_core", "starlette"}  # parts of pydantic and fastapi
    owners = importlib.metadata.packages_distributions()
    imported -= {"tiktoken", "sentencepiece"}  # asked beside our own reading, where somebody has them
    needed = {owner.lower().replace("_", "-") for name in imported for owner in owners.get(name, [name])}
    needed.add("lxml-html-clean")  # trafilatura imports it
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    assert needed == {re.match(r"[\w-]+", line).group() for line in [*PROJECT["dependencies"], *extras]}


def test_lock_fits_every_build_of_torch() -> None:
    """The lock pins every dependency but torch and what only some builds of torch bring along."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if not line.startswith("#")}
    assert not [name for name in pinned if re.match("torch|triton|nvidia|cuda", name)]
    assert {re.match(r"[\w-]+", line).group() for line in PROJECT["dependencies"]} - {"torch"} <= pinned


@pytest.mark.interop
@pytest.mark.timeout(1200)
def test_wheel_grows_a_model_in_an_empty_venv(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user does who has no checkout: a venv, the wheel, `grow` on two files, one answer."""
    monkeypatch.syspath_prepend(ROOT)
    import dev

    venv = tmp_path / "venv"
    dev.make_venv(venv)
    dev.install_torch(venv)
    assert dev.pip(venv, "-c", str(ROOT / "constraints.txt"), str(wheel)) == ""

    text = "".join(f"{n}번 상자에는 사과가 {n + 2}개 있다. Box {n} holds {n + 2} apples.\n\n" for n in range(2000))
    (tmp_path / "boxes.txt").write_text(text, encoding="utf-8")
    rows = [{"question": f"{n}번 상자에 사과가 몇 개 있나요?", "answer": f"{n + 2}개 있어요."} for n in range(200)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def command(*words: str) -> str:
        run = [dev.program(venv, "dodam"), *words]
        return subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True, encoding="utf-8").stdout

    command("grow", "boxes.txt", "--chat", "questions.jsonl", "--budget", "1m", "--out", "grown")
    answer = command("generate", "grown", "7번 상자에 사과가 몇 개 있나요?", "--json").splitlines()[-1]
    assert json.loads(answer)
