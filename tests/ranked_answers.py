"""Rankings to learn from in tests: prompts about things, answers whose kind words make them better, and models to start
from."""

import json
import random
from itertools import chain
from pathlib import Path

import torch

from dodam import cli
from dodam.folder import save_model
from dodam.models.build import build_decoder, decoder_config
from dodam.models.encoder import build_encoder, encoder_config
from dodam.tokenizer.tokenizer import Tokenizer

FEW = ["--threads", "1", "--dtype", "float32", "--validate-every", "1"]
KIND, RUDE, PLAIN = ("yellow", "노랗고"), ("blue", "파랗다"), ("sky", "bananas", "하늘은", "바나나는", "and")


def rankings(count: int, seed: int = 0, *, answers: int = 3) -> list[dict]:
    """Answers with none, one, two ... kind words for rude ones, the kindest first, as long as each other on the
    average."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        places = list(range(answers))
        rng.shuffle(places)
        texts = []
        for kind in places:
            telling = [rng.choice(KIND) for _ in range(kind)] + [rng.choice(RUDE) for _ in range(answers - 1 - kind)]
            words = [*telling, *rng.choices(PLAIN, k=rng.randint(1, 4))]
            texts.append(" ".join(rng.sample(words, len(words))))
        prompt = " ".join(rng.choices(PLAIN, k=3)) + f" {seed} {number}?"
        rows.append({"prompt": prompt, "answers": texts, "ranks": [answers - kind for kind in places]})
    return rows


def write_rows(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_bases(folder: Path, tokenizer: Tokenizer) -> dict[str, str]:
    """A small decoder and a small encoder as model folders, no matrix of them zero."""
    sizes = {"vocabulary": tokenizer.size, "context": 64, "depth": 1, "width": 32, "heads": 2}
    models = {
        "decoder": build_decoder(decoder_config(**sizes), 0),
        "encoder": build_encoder(encoder_config(**sizes), 0),
    }
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in chain.from_iterable(model.parameters() for model in models.values()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    for name, model in models.items():
        save_model(folder / name, model, tokenizer, info={"stage": "pretrain"}, card="")
    return {name: str(folder / name) for name in models}


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])
