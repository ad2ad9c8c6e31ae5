"""bench/tokenizer_training.py: one pair on next to nothing, whose two sides learn the same merges."""

import importlib.util
import json
from pathlib import Path

from dodam.data.prepare import Prepare
from dodam.data.prepare import run as prepare

SCRIPT = Path(__file__).resolve().parent.parent / "bench" / "tokenizer_training.py"


def test_a_pair(tmp_path: Path, capsys) -> None:
    spec = importlib.util.spec_from_file_location("bench_tokenizer_training", SCRIPT)
    assert spec and spec.loader
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    texts = [f"{number}번째 글은 나무와 새 이야기다. A tree and {number} birds." for number in range(30)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    prepare(Prepare(data=(str(tmp_path / "a.jsonl"),), out=tmp_path / "data"))
    words = [str(tmp_path / "data"), "--vocabulary", "512", "--pairs", "1", "--folder", str(tmp_path)]
    assert bench.main(words) == 0
    pair, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert pair["same_merges"] and pair["ratio"] == pair["train"]["seconds"] / pair["direct"]["seconds"]
    assert last["median"]["ratio"] == pair["ratio"] and pair["train"]["cpu_seconds"] > 0
