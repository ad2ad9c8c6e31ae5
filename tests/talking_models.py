"""Models to talk to in tests: a tiny real decoder, one that recites whatever it is asked, and their tokenizer."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as RawTokenizer
from torch import Tensor, nn

from dodam.models.build import build_decoder, decoder_config
from dodam.models.decoder import Decoder, DecoderConfig
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

TEXTS = ["바나나는 노랗고 하늘은 파랗다. ", "The sky is blue and bananas are yellow. "] * 20


def make_tokenizer(chat_template: str | None = None) -> Tokenizer:
    """Byte-level BPE with a few merges; emoji and rare syllables fall into bytes."""
    raw = RawTokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [AddedToken(token, special=True) for token in SPECIAL_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=448, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(TEXTS, trainer)
    return Tokenizer(raw.to_str(), chat_template)


def make_decoder(vocabulary: int = 448, *, context: int = 96, seed: int = 0) -> Decoder:
    """Two layers with random weights, lively enough that its answers differ from prompt to prompt."""
    model = build_decoder(decoder_config(vocabulary=vocabulary, context=context, depth=2, width=32, heads=4), seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    model.fold_embedding_norm()
    return model.eval()


class Reciter(nn.Module):
    """Says the same ids after any prompt, then `end` for ever."""

    def __init__(self, ids: list[int], end: int, vocabulary: int, context: int = 4096) -> None:
        super().__init__()
        sizes = {"depth": 1, "width": 2, "heads": 1, "kv_heads": 1, "head_dim": 2, "feedforward_size": 2}
        self.config = DecoderConfig(vocabulary=vocabulary, context=context, **sizes)
        self.embedding = nn.Embedding(1, 1)
        self.script = [*ids, end]

    def forward(self, ids_BT: Tensor, *, cache, starts_B: Tensor) -> Tensor:
        """One-hot rows [B, T, V] of what to say next. A row keeps its place in the script in its cache, as a real model
        keeps what it needs; a prompt puts it back to the beginning."""
        B, T = ids_BT.shape
        places = cache.keys[0]
        out = torch.zeros(B, T, self.config.vocabulary)
        for b in range(B):
            for t in range(T):
                position = int(starts_B[b]) + t
                place = int(places[b, 0, position - 1, 0]) + 1 if T == 1 and position else 0
                places[b, 0, position, 0] = place
                out[b, t, self.script[min(place, len(self.script) - 1)]] = 30.0
        return out

    def head(self, hidden: Tensor) -> Tensor:
        return hidden


class Babbler(Reciter):
    """Says letters by chance: never nothing, hardly ever the same twice, until it is cut short."""

    def __init__(self, letters: list[int], vocabulary: int, context: int = 4096) -> None:
        super().__init__([], letters[0], vocabulary, context)
        self.letters = letters

    def forward(self, ids_BT: Tensor, *, cache, starts_B: Tensor) -> Tensor:
        """Logits [B, T, V], alike for all letters."""
        out = torch.full((*ids_BT.shape, self.config.vocabulary), -30.0)
        out[..., self.letters] = 0.0
        return out


def write_model(folder: Path, model: Decoder, tokenizer: Tokenizer, chat_template: str | None) -> Path:
    """A model folder, as a training stage would leave it."""
    from dodam.folder import save_model

    return save_model(folder, model, tokenizer, chat_template=chat_template, info={"stage": "test"}, card="a test")


def events(body: str) -> list[dict]:
    """The JSON of server-sent events, the closing [DONE] left out."""
    datas = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    return [json.loads(data) for data in datas if data != "[DONE]"]
