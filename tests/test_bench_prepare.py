"""bench/prepare.py: its texts, its memory figures, and a pair on next to nothing."""

import importlib.util
import json
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest

from dodam.tokenizer import train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

SCRIPT = Path(__file__).parent.parent / "bench" / "prepare.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_prepare", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    texts = [f"{number}번째 글은 나무와 새 이야기다. A tree and {number} birds." for number in range(30)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def test_texts_are_repeated_with_changes_and_halved(bench: ModuleType, rows: Path, tmp_path: Path) -> None:
    texts = list(islice(bench.repeated([str(rows)]), 90))
    assert len(set(texts)) == 90 and texts[0] == json.loads(rows.read_text().splitlines()[0])["text"]
    half, whole = bench.write_texts([str(rows)], tmp_path, 20_000)
    written = [[json.loads(line)["text"] for line in file.read_text().splitlines()] for file in (half, whole)]
    sizes = [sum(len(text.encode()) for text in texts) for texts in written]
    assert 20_000 <= sizes[1] < 20_200 and abs(sizes[0] - sizes[1] / 2) < 200
    assert whole.read_text().startswith(half.read_text())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_is_that_of_the_whole_tree(bench: ModuleType) -> None:
    held = "import time; held = bytearray(60_000_000); time.sleep(0.5)"
    both = f"import subprocess, sys; a = subprocess.Popen([sys.executable, '-c', {held!r}]); {held}; a.wait()"
    found = bench.peaks([sys.executable, "-c", both])
    assert 120e6 < found["resident_bytes"] < 250e6 and 120e6 < found["bound_bytes"] < 250e6
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        bench.peaks([sys.executable, "-c", "1 / 0"])


def test_a_pair(bench: ModuleType, rows: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """Really prepared and encoded once; the half, which is another process, is said to take a third of the time."""
    raw = train.learn(["나무와 새 이야기다."] * 9, 384, SPECIAL_TOKENS)
    train.fill_up(raw, 384)
    Tokenizer(raw.to_str()).save(tmp_path / "tokenizer")
    real = bench.run_prepare
    found: list[dict] = []

    def prepared(path: Path, *rest: object) -> dict:
        if path.name == "half.jsonl":
            return {**found[-1], "seconds": found[-1]["seconds"] / 3}
        found.append(real(path, *rest))
        assert (path.parent / "data" / "shards").is_dir()
        return found[-1]

    monkeypatch.setattr(bench, "run_prepare", prepared)
    monkeypatch.setattr(bench, "run_encode", lambda path, asked: {"seconds": bench.encode(path, asked.tokenizer)})
    words = [str(rows), "--tokenizer", str(tmp_path / "tokenizer"), "--megabytes", "0.02", "--pairs", "1"]
    assert bench.main([*words, "--folder", str(tmp_path), "--", "--min-characters", "3"]) == 0
    pair, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert pair["prepare_to_encode"] == pair["prepare"]["seconds"] / pair["encode"]["seconds"]
    assert last["median"]["growth"] == pytest.approx(3.0) and last["flags"] == ["--min-characters", "3"]
    assert last["highest"]["bound_bytes"] > 20e6


def test_what_is_planted(bench: ModuleType, rows: Path, tmp_path: Path) -> None:
    """Copies, near copies, personal data and garbage, as often as is said."""
    _, whole = bench.write_texts([str(rows)], tmp_path, 200_000, planted=True)
    found, torn = [], 0
    for line in filter(None, whole.read_text(encoding="utf-8").split("\n")):
        try:
            found.append(json.loads(line)["text"])
        except ValueError:
            torn += 1
    texts = [text for text in found if "글은" in text]
    assert 0.05 < sum(bench.PERSONAL in text for text in texts) / len(texts) < 0.15
    assert 0.02 < 1 - len(set(texts)) / len(texts) < 0.1  # near copies are equal too: no text here has 40 words
    assert torn == sum("ê¹¨" in text for text in found) == sum(not any(map(str.isalpha, text)) for text in found) > 3
