"""The whole way of open weights, in three layouts: what `import`, continued `pretrain`, LoRA `sft` and `export` do.

    python bench/open_weights.py DATA OUT [STEPS [LAYOUT...]]

DATA is a folder with en_text, ko_text and chatbot_data. For each LAYOUT (default: gpt2, llama, qwen2) a small model
is trained on English by `transformers` alone and saved; then it is taken in, given Korean tokens, continued on statutes
with English read along or without, tuned with LoRA on Korean conversations, exported, and read again by `transformers`.
Printed, as Markdown: bits per byte of held-back statutes and of held-back English at every station (what was learned,
what was forgotten), with 95% intervals, and the largest difference of logits between ours and the exported folder.
"""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
WIDTH, DEPTH, CONTEXT, BATCH = 192, 4, 256, 16
ENGLISH, STATUTES, CHATS = 6_000_000, 6_000_000, 4_000  # bytes, bytes, conversations
VOCABULARY, ADDED = 4096, 1024
END = "<|endoftext|>"
LAYOUTS = ("gpt2", "llama", "qwen2")


def dodam(*words: object) -> dict:
    """One command; its result."""
    done = subprocess.run(
        [sys.executable, "-m", "dodam", *map(str, words), "--json"], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"dodam {words[0]} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def sample(path: Path, num_bytes: int) -> list[dict]:
    """Documents of a packed JSONL, shuffled by a fixed seed, until there are so many bytes."""
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    random.Random(0).shuffle(rows)
    taken, read = [], 0
    for row in rows:
        taken.append({"text": row["text"]})
        read += len(row["text"].encode())
        if read >= num_bytes:
            break
    return taken


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def english_tokenizer(texts: list[str]) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's, learned by `tokenizers`."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    raw.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=END, eos_token=END)


def their_model(layout: str) -> torch.nn.Module:
    """A small model of `transformers` with fresh weights."""
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": VOCABULARY}
    if layout == "gpt2":
        config = transformers.GPT2Config(n_embd=WIDTH, n_layer=DEPTH, n_head=3, n_positions=CONTEXT, **ends)
        return transformers.GPT2LMHeadModel(config)
    sizes = {
        "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 3, "num_key_value_heads": 3,
        "intermediate_size": 512, "max_position_embeddings": CONTEXT, **ends,
    }  # fmt: skip
    if layout == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes, tie_word_embeddings=True))


def train_theirs(layout: str, tokenizer, texts: list[str], steps: int, folder: Path) -> Path:
    """Teach it English in a plain loop of torch, and save it as `transformers` does."""
    ids = np.concatenate([[0, *encoded] for encoded in tokenizer(texts, verbose=False)["input_ids"]])
    model = their_model(layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        starts = rng.integers(0, len(ids) - CONTEXT, BATCH)
        rows = torch.from_numpy(np.stack([ids[start : start + CONTEXT] for start in starts]))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(rows, labels=rows).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    print(f"{layout}: {steps} steps of English in transformers, loss {loss.item():.3f}", file=sys.stderr)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def figures(model: Path, data: dict[str, Path], out: Path) -> str:
    """Bits per byte of each text, as cells of a table."""
    cells = []
    for name in ("law", "english"):
        report = out / name
        dodam("evaluate", model, "--data", data[name], "--out", report, "--limit", 40)
        rows = json.loads((report / "report.json").read_text())["rows"]
        row = next(row for row in rows if row["task"] == "bits-per-byte")
        cells.append(f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})")
    return " | ".join(cells)


def same_logits(run: Path, folder: Path) -> float:
    """The largest difference between the logits of a run of ours and of its export in `transformers`."""
    from dodam.folder import load

    ours = load(run, ("decoder",))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([ours.tokenizer.encode("제1조 (목적) 이 법은 the purpose of this Act is")])
    with torch.inference_mode():
        return float((ours.model.head(ours.model(ids)).float() - theirs(ids).logits).abs().max())


def story(layout: str, theirs: Path, data: dict[str, Path], chats: Path, home: Path, steps: int) -> None:
    """From a folder of theirs to one of theirs: the table of one layout."""
    stations = {"imported": home / "in", f"{ADDED:,} Korean tokens added": home / "more"}
    dodam("import", theirs, "--out", home / "in")
    dodam("import", theirs, "--out", home / "more", "--extend-vocabulary", ADDED, "--data", data["law"])
    common = ("--batch", BATCH, "--context", CONTEXT)
    for station, start, text in (
        ("continued on statutes", "in", "law"),
        ("the same, with Korean tokens", "more", "law"),
        ("the same, English read along", "more", "both"),
    ):
        stations[station] = home / f"{start}-{text}"
        words = ("--model", home / start, "--data", data[text], "--out", stations[station])
        dodam("pretrain", *words, "--steps", steps, *common)
    stations["tuned on conversations by LoRA"] = chat = home / "chat"
    words = ("--model", home / "more-both", "--data", chats, "--out", chat)
    dodam("sft", *words, "--lora.rank", 8, "--steps", max(4, steps // 4), *common)
    print(f"\n**{layout}**\n\n| | bits per byte of statutes | of English |\n|---|---|---|")
    for name, run in stations.items():
        print(f"| {name} | {figures(run, data, home / 'report' / run.name)} |", flush=True)
    dodam("export", chat, "--to", "hf", "--out", home / "out")
    difference = same_logits(chat, home / "out")
    print(f"\nExported and read by transformers: largest difference of logits {difference:.1e}.", flush=True)


def main(data: str, out: str, steps: str = "300", *layouts: str) -> None:
    """One table for each layout."""
    if unknown := set(layouts) - set(LAYOUTS):
        raise SystemExit(f"no layout {unknown.pop()}: there are {', '.join(LAYOUTS)}")
    source, root = Path(data), Path(out)
    law = write(root / "law.jsonl", sample(source / "ko_text" / "law.train.jsonl.gz", STATUTES))
    english = write(root / "english.jsonl", sample(source / "en_text" / "books.train.jsonl.gz", ENGLISH))
    parts = {"law": (law,), "english": (english,), "both": (law, english)}
    for name, files in parts.items():
        dodam("prepare", "--data", *files, "--out", root / "data" / name, "--validation", "0.1")
    from dodam.data.documents import read_documents

    texts = [document["text"] for document in read_documents(root / "data" / "english", "train")]
    tokenizer = english_tokenizer(texts)
    for layout in layouts or LAYOUTS:
        theirs = train_theirs(layout, tokenizer, texts, int(steps), root / layout / "theirs")
        data_folders = {name: root / "data" / name for name in parts}
        chats = source / "chatbot_data" / "ChatbotData.train.csv"
        story(layout, theirs, data_folders, chats, root / layout, int(steps))


if __name__ == "__main__":
    main(*sys.argv[1:])
