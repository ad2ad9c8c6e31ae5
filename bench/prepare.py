"""Time and memory of `dodam prepare` beside encoding the same text with `tokenizers` alone, and how they grow.

    python bench/prepare.py FILES... --tokenizer DIR [--megabytes 100] [--pairs 5] [--workers 2] [--folder DIR]
                            [--planted] [--alone] [-- FLAGS OF PREPARE]

The texts of FILES are repeated, a few words of each changed every time, up to so many megabytes; a second file has the
first half of them. Each measurement is a process of its own, and what is compared is measured in turns, so that the
machine's moods meet both alike:

- `prepare`: cleaning, duplicates, split, Parquet and token shards of the whole file, from the start of the command to
  its end, against `encode`: `encode_batch` of `tokenizers` for the same texts on all cores, the calls alone;
- `growth`: `prepare` of the whole file against `prepare` of the half.

With `--planted` one text in 20 comes a second time and one in 20 again with a word in 40 changed, one in ten holds
personal data, and one in 100 is followed by garbage: signs without words, UTF-8 read as Latin-1, half a row (give
`--skip-bad`). `--alone` leaves out `encode`, for more text than anybody would wait for.

Prints a JSON line for each pair and one with the medians. Memory (Linux alone) is that of the whole tree of processes:
`resident_bytes` the highest sum at one time, looked at every 20 ms, `bound_bytes` the sum of each one's peak (VmHWM).
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam.data.skipped import Skipped
from dodam.data.sources import documents, inputs_of
from dodam.errors import DodamError

SOURCE = Path(__file__).resolve().parent.parent / "src"
EVERY = 0.02  # seconds between two looks at the memory
CHANGED = 17  # one word of so many is changed in a repetition
BATCH = 1000  # texts encoded in one call
PERSONAL = "연락처 010-2345-6789, hong.gildong@example.com, 카드 4111 1111 1111 1111, 주민등록번호 900101-1234568"


def write_texts(paths: Sequence[str], folder: Path, num_bytes: int, *, planted: bool = False) -> tuple[Path, Path]:
    """(half, whole): rows of the texts of these files, repeated with changes up to so many bytes of text."""
    half, whole = folder / "half.jsonl", folder / "whole.jsonl"
    written = 0
    with half.open("w", encoding="utf-8") as first, whole.open("w", encoding="utf-8") as second:
        rng = random.Random(1)
        for text in repeated(paths):
            row = "".join(rows_of(text, rng)) if planted else row_of(text)
            second.write(row)
            if 2 * written < num_bytes:
                first.write(row)
            written += len(text.encode())
            if written >= num_bytes:
                break
    return half, whole


def row_of(text: str) -> str:
    return json.dumps({"text": text}, ensure_ascii=False) + "\n"


def rows_of(text: str, rng: random.Random) -> Iterator[str]:
    """The row of a text and what is planted beside it."""
    yield row_of(f"{text}\n{PERSONAL}" if rng.random() < 0.1 else text)
    if rng.random() < 0.05:
        yield row_of(text)
    if rng.random() < 0.05:
        words = text.split(" ")
        yield row_of(" ".join(word if place % 40 else "바뀐" for place, word in enumerate(words, start=1)))
    if rng.random() < 0.01:
        garbage = "".join(rng.choices("#@!%^&*()_+=-~|<>?/", k=500))
        broken = "깨진 글자로 읽힌 문장입니다. " * 20
        yield row_of(garbage)
        yield row_of(broken.encode().decode("latin-1"))
        yield row_of(text)[:20] + "\n"


def repeated(paths: Sequence[str]) -> Iterator[str]:
    """The texts of files, again and again, with other words changed each time; the first time as they are."""
    turn = 0
    while True:
        found = documents(inputs_of(paths), columns={}, encoding="utf-8", skipped=Skipped(True))
        for number, one in enumerate(found):
            words = one.text.split(" ")
            for place in range(number % min(CHANGED, len(words)), len(words) if turn else 0, CHANGED):
                words[place] = f"{words[place]}{turn}"
            yield " ".join(words)
        turn += 1


def encode(path: str, tokenizer: str) -> float:
    """Seconds that `tokenizers` takes to encode all texts of a file of rows."""
    import tokenizers

    fast = tokenizers.Tokenizer.from_file(str(Path(tokenizer) / "tokenizer.json"))
    seconds, batch = 0.0, []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            batch.append(json.loads(line)["text"])
            if len(batch) == BATCH:
                seconds, batch = seconds + time_of(fast, batch), []
    return seconds + time_of(fast, batch)


def time_of(fast: Any, texts: list[str]) -> float:
    started = time.perf_counter()
    fast.encode_batch(texts, add_special_tokens=False)
    return time.perf_counter() - started


def run_prepare(path: Path, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of one `dodam prepare` that begins with nothing."""
    out = folder / "data"
    shutil.rmtree(out, ignore_errors=True)
    words = ["--data", str(path), "--out", str(out), "--tokenizer", asked.tokenizer, "--workers", str(asked.workers)]
    started = time.perf_counter()
    memory = peaks([sys.executable, "-m", "dodam", "prepare", *words, *asked.flags])
    return {"seconds": time.perf_counter() - started, **memory}


def peaks(command: Sequence[str]) -> dict[str, int]:
    """The memory of a command's whole tree of processes while it runs to its end. RuntimeError when it fails."""
    paths = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        resident, bound = 0, dict[int, int]()
        while process.poll() is None:
            found = [(pid, status) for pid in tree(process.pid) if "VmHWM" in (status := status_of(pid))]
            resident = max(resident, sum(status["VmRSS"] for _, status in found))
            bound |= {pid: status["VmHWM"] for pid, status in found}
            time.sleep(EVERY)
        told = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {told}")
    return {"resident_bytes": resident, "bound_bytes": sum(bound.values())}


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        try:
            children = Path(f"/proc/{one}/task/{one}/children").read_text(encoding="ascii").split()
        except OSError:  # it has just ended
            children = []
        found += map(int, children)
    return found


def status_of(pid: int) -> dict[str, int]:
    """The memory figures of a process in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    figures = (line.split(":", 1) for line in lines if line.startswith("Vm"))
    return {name: int(value.split()[0]) * 1024 for name, value in figures}


def run_encode(path: Path, asked: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "encode", str(path), asked.tokenizer]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(asked.workers)}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return {"seconds": float(result.stdout)}


def measure(asked: argparse.Namespace, folder: Path) -> None:
    half, whole = write_texts(asked.files, folder, int(asked.megabytes * 1e6), planted=asked.planted)
    size = whole.stat().st_size
    pairs = []
    for number in range(asked.pairs):
        pair = {"pair": number, "bytes": size, "prepare": run_prepare(whole, folder, asked)}
        seconds = pair["prepare"]["seconds"]
        if not asked.alone:
            pair["encode"] = run_encode(whole, asked)
            pair["prepare_to_encode"] = seconds / pair["encode"]["seconds"]
        pair["half"] = run_prepare(half, folder, asked)
        pair["growth"] = seconds / pair["half"]["seconds"]
        print(json.dumps(pair), flush=True)
        pairs.append(pair)
    ratios = [key for key in ("prepare_to_encode", "growth") if key in pairs[0]]
    medians = {key: statistics.median(pair[key] for pair in pairs) for key in ratios}
    memory = {key: max(pair["prepare"][key] for pair in pairs) for key in ("resident_bytes", "bound_bytes")}
    rate = size / statistics.median(pair["prepare"]["seconds"] for pair in pairs) / 1e6
    print(json.dumps({"median": medians, "megabytes_per_second": rate, "highest": memory, "flags": asked.flags}))


def main(words: Sequence[str]) -> int:
    if words[:1] == ["encode"]:
        print(encode(*words[1:]))
        return 0
    end = list(words).index("--") if "--" in words else len(words)
    own, flags = words[:end], list(words[end + 1 :])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder")
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--alone", action="store_true")
    asked = parser.parse_args(own)
    asked.flags = flags
    try:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            measure(asked, Path(folder))
    except (DodamError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
