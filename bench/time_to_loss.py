"""Time to a loss: nanoGPT's README command for CPUs, and ours until it tells the same held-back text as well.

    python bench/time_to_loss.py TEXT [--pairs 3] [--vocabulary 512] [-- flags of dodam pretrain]

TEXT is a plain text, of which the last tenth is held back. The other side is a plain GPT with that command's settings
(0.8M parameters: 4 blocks of width 128, 4 heads, rows of 64 characters, 12 a step, 2,000 steps; AdamW, a cosine from
1e-3 to 1e-4, looks at both parts of the text every 250 steps, the best kept on the disk), written here as its
repository describes it, fp32 and eager as it runs on CPUs. Both sides begin with their text encoded, are processes of
their own, and are timed from before the process starts until it has ended. What is compared is measured afterwards, on
the whole held-back part, in nats a character: rows that follow one another, each read without what stands before it.
Prints a JSON line a run, and the ratio of the medians of the times.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

CONTEXT, ROWS, STEPS, WIDTH, HEADS, DEPTH = 64, 12, 2000, 128, 4, 4
PIECE = 10_000  # characters
TOP, LAST, WARMUP, LOOK_EVERY, LOOKS = 1e-3, 1e-4, 100, 250, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=512, help="of our tokenizer")
    parser.add_argument("--only", choices=["ours", "theirs"])
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    mine = sys.argv[1:]
    flags = mine[mine.index("--") + 1 :] if "--" in mine else []
    asked = parser.parse_args(mine[: len(mine) - len(flags) - 1] if "--" in mine else mine)
    if asked.plain:
        train_plain(asked.plain)
        return
    text = asked.text.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    with tempfile.TemporaryDirectory() as folder:
        compare(asked, flags, Path(folder), text[:cut], text[cut:])


def compare(asked: argparse.Namespace, flags: list[str], folder: Path, text: str, held_back: str) -> None:
    sides = [side for side in ("theirs", "ours") if asked.only in (None, side)]
    if "theirs" in sides:
        encode_plain(folder, text, held_back)
    if "ours" in sides:
        encode_ours(folder, text, asked.vocabulary)
    found: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(asked.pairs):
        for side in sides:
            out = folder / f"{side}-{turn}"
            words = [sys.executable, __file__, str(asked.text), "--plain", str(folder)]
            if side == "ours":
                words = [sys.executable, "-m", "dodam", "pretrain", "--data", str(folder / "data"), *flags]
                words += ["--tokenizer", str(folder / "tok"), "--seed", str(turn), "--out", str(out)]
            start = time.perf_counter()
            subprocess.run(words, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - start
            nats, parameters = measure_ours(out, held_back) if side == "ours" else measure_plain(folder)
            found[side].append(seconds)
            row = {"side": side, "seconds": round(seconds, 2), "nats_a_character": round(nats, 4)}
            print(json.dumps({**row, "parameters": parameters}), flush=True)
    if len(sides) == 2:
        theirs, ours = (statistics.median(found[side]) for side in sides)
        print(json.dumps({"times_as_fast": round(theirs / ours, 2)}), flush=True)


def encode_ours(folder: Path, text: str, vocabulary: int) -> None:
    """A data folder and a tokenizer. The text is cut into pieces, as `prepare` holds one of them back at least."""
    pieces = [text[first : first + PIECE] for first in range(0, len(text), PIECE)]
    lines = "".join(json.dumps({"text": piece}) + "\n" for piece in pieces)
    (folder / "text.jsonl").write_text(lines, encoding="utf-8")
    prepare = ("prepare", "--data", folder / "text.jsonl", "--out", folder / "data")
    dodam(*prepare)
    dodam("tokenizer", "train", "--data", folder / "data", "--vocabulary", vocabulary, "--out", folder / "tok")
    dodam(*prepare, "--tokenizer", folder / "tok")


def dodam(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "dodam", *map(str, words)], capture_output=True, check=True)


@torch.no_grad()
def measure_ours(out: Path, held_back: str) -> tuple[float, int]:
    """Nats a character of the held-back text, and how many parameters it took."""
    from dodam.folder import load_model

    loaded = load_model(out)
    model, context = loaded.model.eval(), loaded.model.config.context
    ids = torch.tensor(loaded.tokenizer.encode(held_back))
    nats = 0.0
    for first in range(0, len(ids) - 1, 64 * context):
        part = ids[first : first + 64 * context + 1]
        for inputs_BT, labels_BT in rows_of(part, context):
            logits = model.head(model(inputs_BT)).flatten(0, 1)
            nats += float(F.cross_entropy(logits, labels_BT.flatten(), reduction="sum"))
    return nats / len(held_back), sum(one.numel() for one in model.parameters())


def rows_of(ids: Tensor, context: int) -> list[tuple[Tensor, Tensor]]:
    """Rows of a context that follow one another, and the rest as a shorter one."""
    full = (len(ids) - 1) // context * context
    rows = [(ids[:full].view(-1, context), ids[1 : full + 1].view(-1, context))] if full else []
    rest = (ids[full:-1][None], ids[full + 1 :][None])
    return [*rows, rest] if rest[0].numel() else rows


def encode_plain(folder: Path, text: str, held_back: str) -> None:
    characters = {character: number for number, character in enumerate(sorted(set(text + held_back)))}
    for name, part in (("train", text), ("held-back", held_back)):
        np.array([characters[one] for one in part], dtype=np.uint16).tofile(folder / f"{name}.bin")
    (folder / "characters.json").write_text(json.dumps(len(characters)))


class PlainBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.qkv, self.output = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        q, k, v = (part.view(B, T, HEADS, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        said = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(said.transpose(1, 2).reshape(B, T, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Plain(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(PlainBlock() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                ends = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(weight, 0.0, 0.02 / math.sqrt(2 * DEPTH) if ends else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.embedding.weight)  # tied


def train_plain(folder: Path) -> None:
    torch.manual_seed(1337)
    parts = {name: np.memmap(folder / f"{name}.bin", dtype=np.uint16, mode="r") for name in ("train", "held-back")}
    model = Plain(json.loads((folder / "characters.json").read_text()))
    matrices = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=TOP, betas=(0.9, 0.99))
    best = math.inf

    def batch(name: str) -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(parts[name]) - CONTEXT, (ROWS,)).tolist()
        rows = [torch.from_numpy(parts[name][one : one + CONTEXT + 1].astype(np.int64)) for one in starts]
        both = torch.stack(rows)
        return both[:, :-1], both[:, 1:]

    def loss_of(name: str) -> Tensor:
        inputs, labels = batch(name)
        return F.cross_entropy(model(inputs).flatten(0, 1), labels.flatten())

    for step in range(STEPS + 1):
        share = min(1.0, (step - WARMUP) / (STEPS - WARMUP))
        falling = LAST + 0.5 * (1 + math.cos(math.pi * share)) * (TOP - LAST)
        for group in optimizer.param_groups:
            group["lr"] = TOP * (step + 1) / (WARMUP + 1) if step < WARMUP else falling
        if step % LOOK_EVERY == 0:
            with torch.no_grad():
                seen = {name: statistics.mean(float(loss_of(name)) for _ in range(LOOKS)) for name in parts}
            print(step, seen, flush=True)
            if seen["held-back"] < best:
                best = seen["held-back"]
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "plain.pt")
        loss = loss_of("train")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        print(step, float(loss), flush=True)


@torch.no_grad()
def measure_plain(folder: Path) -> tuple[float, int]:
    model = Plain(json.loads((folder / "characters.json").read_text()))
    model.load_state_dict(torch.load(folder / "plain.pt")["model"])
    ids = torch.from_numpy(np.fromfile(folder / "held-back.bin", dtype=np.uint16).astype(np.int64))
    nats = sum(
        float(F.cross_entropy(model(inputs).flatten(0, 1), labels.flatten(), reduction="sum"))
        for inputs, labels in rows_of(ids, CONTEXT)
    )
    return nats / len(ids), sum(one.numel() for one in model.parameters())


if __name__ == "__main__":
    main()
