"""dev.py, the helper of a checkout: it installs once, chooses the right torch, and says what failed in one message."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """dev.py on a copy of the project's lock, with pip replaced by a list of what it was asked for (`dev.asked`)."""
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    module.ROOT, module.VENV, module.asked, module.refused = tmp_path, tmp_path / ".venv", [], ()

    def pip(folder: Path, *arguments: str) -> str:
        module.asked.append(arguments)
        return "no" if any(word in module.refused for word in arguments) else ""

    monkeypatch.setattr(module, "pip", pip)
    monkeypatch.setattr(module, "make_venv", lambda folder: folder.mkdir(exist_ok=True))
    monkeypatch.setattr(module, "imports", lambda folder, name: False)
    return module


def test_second_run_installs_nothing(dev: ModuleType) -> None:
    dev.install(["test"])
    first = len(dev.asked)
    dev.install(["test"])
    dev.install([])  # the package itself came with the tests
    assert first >= 2
    assert len(dev.asked) == first


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_lock_installs_again(dev: ModuleType, name: str) -> None:
    dev.install([])
    first = len(dev.asked)
    (dev.ROOT / name).write_text((dev.ROOT / name).read_text() + "\n# changed\n")
    dev.install([])
    assert len(dev.asked) > first


def test_another_group_is_installed_when_it_is_needed(dev: ModuleType) -> None:
    dev.install([])
    dev.install(["lint"])
    assert any(word.startswith("ruff") for word in dev.asked[-1])


def test_torch_that_is_there_is_kept(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "imports", lambda folder, name: name == "torch")
    dev.install([])
    assert not [arguments for arguments in dev.asked if dev.TORCH in arguments]


@pytest.mark.parametrize(
    ("platform", "gpu", "refused", "last"),
    [
        ("linux", False, (), ("torch==2.13.0+cpu",)),
        ("linux", False, ("torch==2.13.0+cpu",), ("torch==2.13.0", "--index-url")),
        ("linux", False, ("torch==2.13.0+cpu", "--index-url"), ("torch==2.13.0",)),
        ("linux", True, (), ("torch==2.13.0",)),
        ("darwin", False, (), ("torch==2.13.0",)),
    ],
)
def test_choice_of_torch(dev, monkeypatch, platform: str, gpu: bool, refused: tuple, last: tuple) -> None:
    """The CPU build where there is no GPU, by each way in turn; else PyPI's."""
    monkeypatch.setattr(dev.sys, "platform", platform)
    monkeypatch.setattr(dev.shutil, "which", lambda name: "/usr/bin/nvidia-smi" if gpu else None)
    dev.refused = refused
    dev.install_torch(dev.VENV)
    assert dev.asked[-1][1 : 1 + len(last)] == last
    assert ("--index-url" in dev.asked[-1]) == ("--index-url" in last)


def test_failed_installation_is_one_message_and_is_tried_again(dev: ModuleType, monkeypatch, capsys) -> None:
    dev.refused = (dev.TORCH,)
    monkeypatch.setattr(dev.sys, "platform", "darwin")
    monkeypatch.chdir(dev.ROOT)
    assert dev.main("types") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "dodam: no"
    dev.refused = ()
    dev.install([])
    assert (dev.VENV / "installed-dodam").is_file()


def test_unknown_verb_is_wrong_usage() -> None:
    result = subprocess.run([sys.executable, str(ROOT / "dev.py"), "tset"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "test" in result.stderr
