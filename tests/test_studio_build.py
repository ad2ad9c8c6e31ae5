"""What is committed of the Studio: the built files are those of the sources, small, and of nobody else's address."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dodam.serve.page import PAGES, STATIC, TYPES

UI = Path(__file__).parent.parent / "ui"
SOURCES = [file for file in (UI / "src").rglob("*") if file.is_file()]
NODE = shutil.which("node")
VITE = UI / "node_modules" / "vite" / "bin" / "vite.js"
MOST_BYTES = 80_000


def test_the_lock_names_no_registry() -> None:
    text = (UI / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text and "registry" not in text
    packages = json.loads(text)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
    wanted = json.loads((UI / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert "omit-lockfile-registry-resolved=true" in (UI / ".npmrc").read_text(encoding="utf-8")


def test_what_models_say_becomes_no_html() -> None:
    for file in SOURCES:
        assert not re.search(r"\{@html|innerHTML|insertAdjacentHTML|eval\(", file.read_text(encoding="utf-8")), file


def test_the_studio_is_small_and_whole() -> None:
    files = [file for file in STATIC.rglob("*") if file.is_file()]
    assert {file.relative_to(STATIC).as_posix() for file in files} == {
        "index.html",
        "icon.svg",
        "assets/studio.js",
        "assets/studio.css",
    }
    assert {file.suffix for file in files} <= TYPES.keys()
    assert sum(len(gzip.compress(file.read_bytes())) for file in files) < MOST_BYTES


def test_pages_of_the_frame_are_served() -> None:
    paths = re.findall(r'\{ path: "(\w*)"', (UI / "src" / "App.svelte").read_text(encoding="utf-8"))
    assert {f"/{path}" for path in paths} == set(PAGES)


@pytest.mark.skipif(NODE is None or not VITE.is_file(), reason="needs Node.js and `npm ci` in ui/")
def test_the_built_files_are_those_of_the_sources(tmp_path: Path) -> None:
    build = [str(NODE), str(VITE), "build", "--outDir", str(tmp_path), "--emptyOutDir", "--logLevel", "error"]
    subprocess.run(build, cwd=UI, check=True, capture_output=True)
    built = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    committed = {file.relative_to(STATIC): file.read_bytes() for file in STATIC.rglob("*") if file.is_file()}
    assert built.keys() == committed.keys()
    stale = [str(name) for name in built if built[name] != committed[name]]
    assert stale == [], "`npm run build` in ui/, and commit what it writes"
