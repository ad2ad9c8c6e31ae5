"""Sentence embeddings at work: a folder loaded, texts in, one vector for each out.

Texts are computed side by side, longest first; neither that nor the padding changes the vector of one. N texts, D
width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dodam.exchange.embedders import has_layout, read_layout
from dodam.folder import LoadedModel, load, model_path
from dodam.generate.classifier import AT_ONCE, Encoded, collate, encode_texts, frame_of, with_template
from dodam.models.decoder import Decoder
from dodam.models.embedding import embed
from dodam.models.heads import Pooling
from dodam.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Embedder:
    """A folder of sentence embeddings in memory. `context`: tokens that are read of a text."""

    model: Any
    tokenizer: Tokenizer
    pooling: Pooling
    normalized: bool
    context: int
    path: Path

    def embed(self, texts: Sequence[str], *, batch: int = AT_ONCE) -> tuple[np.ndarray, int]:
        """[N, D] in fp32, and how many texts were longer than the context and were cut."""
        encoded = encode_texts(self.tokenizer, [(text, None) for text in texts], self.context)
        vectors_ND = vectors_of(self.model, encoded, self.tokenizer.pad, self.pooling, batch=batch)
        return unit(vectors_ND) if self.normalized else vectors_ND, sum(one.cut for one in encoded)


def vectors_of(model: Any, texts: Sequence[Encoded], pad: int, pooling: Pooling, *, batch: int = AT_ONCE) -> np.ndarray:
    """[N, D] of encoded texts, in their order, not normalised."""
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index].ids))
    found = np.zeros((len(texts), model.config.width), dtype=np.float32)
    device = model.embedding.weight.device
    with torch.no_grad():
        for first in range(0, len(order), batch):
            picked = order[first : first + batch]
            part = collate([texts[index] for index in picked], pad).to(device)
            found[picked] = embed(model, part.ids_BT, part.real_BT, pooling, torch.float32).cpu().numpy()
    return found


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    """The same directions with a length of 1; a vector of zeros stays one."""
    return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)


def holds_embedder(path: str | Path) -> bool:
    """Whether a model folder says how its vectors are made."""
    return has_layout(model_path(path))


def load_embedder(path: str | Path, *, device: str = "cpu") -> Embedder:
    """Read a folder of sentence embeddings, ours or one of sentence-transformers'. FolderError names what is wrong."""
    layout = read_layout(model_path(path))
    loaded = load(path, ("encoder", "decoder"), device=device)
    context = min(layout.context or loaded.model.config.context, loaded.model.config.context)
    return Embedder(loaded.model, loaded.tokenizer, layout.pooling, layout.normalized, context, loaded.path)


def start_embedder(path: str | Path, *, device: str = "cpu") -> Embedder:
    """What can be made a model of sentence embeddings, before any training: as its folder says, or with the mean of an
    encoder's or a decoder's tokens."""
    if holds_embedder(path):
        return load_embedder(path, device=device)
    loaded = load(path, ("encoder", "decoder"), device=device)
    return Embedder(loaded.model, framed_tokenizer(loaded), "mean", True, loaded.model.config.context, loaded.path)


def framed_tokenizer(loaded: LoadedModel[Any]) -> Tokenizer:
    """The tokenizer with what stands around a text: an encoder's own way where it has one, else <bos> text <eos>, as
    our encoders and all decoders are pretrained."""
    tokenizer = loaded.tokenizer
    if not isinstance(loaded.model, Decoder) and frame_of(tokenizer).before:
        return tokenizer
    framed = with_template(tokenizer, "decoder")
    if framed.foreign is None:
        return framed
    # Other programs would make the template anew for the class that the settings name, give segments to a GPT-2, which
    # takes them for tokens, and cannot do without padding.
    kept = {key: value for key, value in framed.foreign.items() if key not in ("add_bos_token", "add_eos_token")}
    inputs = ["input_ids", "attention_mask"]
    settings = {**kept, "tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}
    if framed.pad_is_borrowed:
        settings["pad_token"] = framed.names.eos
    return Tokenizer(framed.json, framed.chat_template, settings)
