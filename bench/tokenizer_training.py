"""Time and memory of `dodam tokenizer train` beside the `tokenizers` library called directly for the same text.

    python bench/tokenizer_training.py DATA [--vocabulary 32768] [--pairs 3] [--split qwen2] [--folder DIR]

DATA is a folder of `dodam prepare`. Both sides are a process of their own, from its start to its end, in turns: ours
writes a tokenizer's folder; the other reads the texts from the same Parquet, calls `train_from_iterator` with the same
patterns and the same vocabulary, and saves `tokenizer.json`. Prints a JSON line for each pair, which says whether both
learned the same merges, and one with the medians.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from prepare import peaks

from dodam.tokenizer.patterns import SPLITS

DIRECT = """
import json, sys
import pyarrow.parquet as pq
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

out, vocabulary, special, patterns, *paths = sys.argv[1:]

def texts():
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
            yield from batch.column(0).to_pylist()

raw = Tokenizer(models.BPE())
raw.normalizer = normalizers.NFC()
cuts = [pre_tokenizers.Split(Regex(one), behavior="isolated") for one in json.loads(patterns)]
raw.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=int(vocabulary), special_tokens=json.loads(special), initial_alphabet=alphabet,
                              show_progress=False)
raw.train_from_iterator(texts(), trainer)
raw.save(out)
"""


def timed(command: Sequence[str]) -> dict[str, Any]:
    started, used = time.perf_counter(), cpu_seconds()
    memory = peaks(command)
    return {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - used, **memory}


def cpu_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def merges_of(path: Path) -> list[Any]:
    return json.loads(path.read_text(encoding="utf-8"))["model"]["merges"]


def measure(asked: argparse.Namespace, folder: Path) -> None:
    from dodam.tokenizer.tokenizer import SPECIAL_TOKENS

    paths = sorted(str(path) for path in Path(asked.data).glob("documents/train-*.parquet"))
    patterns, special = json.dumps(SPLITS[asked.split].patterns), json.dumps(SPECIAL_TOKENS)
    pairs = []
    for number in range(asked.pairs):
        ours, theirs = folder / f"ours-{number}", folder / f"theirs-{number}.json"
        words = ["--data", asked.data, "--vocabulary", str(asked.vocabulary), "--split", asked.split]
        train = timed([sys.executable, "-m", "dodam", "tokenizer", "train", *words, "--out", str(ours)])
        direct = timed([sys.executable, "-c", DIRECT, str(theirs), str(asked.vocabulary), special, patterns, *paths])
        pair = {"pair": number, "train": train, "direct": direct, "ratio": train["seconds"] / direct["seconds"]}
        pair["same_merges"] = merges_of(ours / "tokenizer.json") == merges_of(theirs)
        print(json.dumps(pair), flush=True)
        pairs.append(pair)
    medians: dict[str, Any] = {"ratio": statistics.median(one["ratio"] for one in pairs)}
    for name in ("train", "direct"):
        medians[name] = {key: statistics.median(one[name][key] for one in pairs) for key in pairs[0][name]}
    print(json.dumps({"median": medians}))


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument(
        "--split", choices=[name for name, one in SPLITS.items() if not one.whole_characters], default="qwen2"
    )
    parser.add_argument("--folder")
    asked = parser.parse_args(words)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        measure(asked, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
