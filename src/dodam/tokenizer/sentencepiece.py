"""A SentencePiece model file as a tokenizer.json: BPE and unigram, byte fallback, its normalisation.

In comes the file, a protocol buffer, of which the few fields that matter are read here; out go the text of a
tokenizer.json and the special tokens' roles. Words and characters as models, and white space behind words, are refused.

BPE merges the neighbours that together are the piece with the best score; in a list of merges that is every way to put
a piece together, in the order of scores. Unigram takes the pieces whose scores add up to most (Kudo 2018).
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dodam.errors import DataError

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
MODEL_TYPES = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}
ROLES = {"unk": (40, 0), "bos": (41, 1), "eos": (42, 2), "pad": (43, -1)}
"""Where a model says which ids have a role, and what they are where it does not."""


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    kind: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is read of a model file."""

    pieces: tuple[Piece, ...]
    model_type: str
    byte_fallback: bool
    roles: dict[str, int]
    """The ids of unk, bos, eos and pad; those a model does not have are left out."""
    charsmap: bytes
    """How characters are normalised, in SentencePiece's own compiled form; empty: not at all."""
    space_before: bool
    """A space is put before every text."""
    spaces_removed: bool
    """White space around a text and repeated spaces are removed."""


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of the fields of a protocol buffer's message: integers, or bytes as they stand. ValueError where
    it is torn."""
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        wire = key & 7
        value: int | bytes
        if wire == 0:
            value, place = varint(data, place)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if wire == 2:
                size, place = varint(data, place)
            if size is None or place + size > len(data):
                raise ValueError("a field is cut off or of an unknown kind")
            value, place = data[place : place + size], place + size
        yield key >> 3, value


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and where it ends; as a 64-bit one with a sign."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return value - (1 << 64) if value >= 1 << 63 else value, place
    raise ValueError("a number is cut off")


def read_model(path: Path) -> Model:
    """DataError for a file that is no SentencePiece model, is torn, or is of a kind that is not taken."""
    try:
        found: list[tuple[int, Any]] = list(fields(path.read_bytes()))
        pieces = tuple(read_piece(value) for number, value in found if number == 1)
        trainer, normalizer = (dict(fields(b"".join(v for n, v in found if n == number))) for number in (2, 3))
        if not pieces or not trainer:
            raise ValueError("it holds no pieces or does not say of what kind they are")
        model_type = MODEL_TYPES.get(int(trainer.get(3, 1)), "unknown")
        ids = {role: int(trainer.get(number, default)) for role, (number, default) in ROLES.items()}
        charsmap = normalizer.get(2, b"")
        if not isinstance(charsmap, bytes):
            raise ValueError("its normalisation is a number")
    except (ValueError, TypeError, AttributeError, struct.error) as error:
        what = f"cannot be read as a SentencePiece model ({error})"
        raise DataError(what, where=str(path), mend="It is torn, or something else.") from None
    if model_type not in ("unigram", "BPE") or trainer.get(24, 0) or not normalizer.get(5, 1):
        what = f"is a SentencePiece model of {model_type}"
        if model_type in ("unigram", "BPE"):
            what += " with white space behind words, or not marked"
        raise DataError(what, where=str(path), mend="BPE and unigram are taken, white space before words.")
    roles = {role: number for role, number in ids.items() if 0 <= number < len(pieces)}
    return Model(
        pieces=pieces,
        model_type=model_type,
        byte_fallback=bool(trainer.get(35, 0)),
        roles={role: number for role, number in roles.items() if pieces[number].kind in (UNKNOWN, CONTROL)},
        charsmap=charsmap,
        space_before=bool(normalizer.get(3, 1)),
        spaces_removed=bool(normalizer.get(4, 1)),
    )


def read_piece(message: bytes) -> Piece:
    values: dict[int, Any] = dict(fields(message))
    (score,) = struct.unpack("<f", values.get(2, bytes(4)))
    return Piece(values.get(1, b"").decode(), score, values.get(3, NORMAL))


def from_sentencepiece(path: Path) -> tuple[str, dict[str, str]]:
    """The file as the text of a tokenizer.json, and the roles of its special tokens: {"eos": "</s>"}.

    Symbols of a model's own are found in the normalised text, so spaces are marked after that. A text that begins with
    such a symbol has no space before it then, and one that begins with a space no second one."""
    from tokenizers import AddedToken, Tokenizer

    model = read_model(path)
    raw = Tokenizer(bpe(model) if model.model_type == "BPE" else unigram(model))
    own = [piece.text for piece in model.pieces if piece.kind == USER_DEFINED]
    raw.normalizer = normalizer(model, marked=not own)
    if cuts := pre_tokenizer(model, marked=not own):
        raw.pre_tokenizer = cuts
    raw.decoder = decoder(model)
    special = [piece for piece in model.pieces if piece.kind in (UNKNOWN, CONTROL)]
    raw.add_special_tokens([AddedToken(piece.text, special=True, normalized=False) for piece in special])
    raw.add_tokens([AddedToken(text, special=False, normalized=True) for text in own])
    return raw.to_str(pretty=True), {role: model.pieces[number].text for role, number in model.roles.items()}


def bpe(model: Model) -> Any:
    """The pieces as a BPE of characters: what is not in a text by itself is no merge's result."""
    from tokenizers import models

    ids = {piece.text: number for number, piece in enumerate(model.pieces)}
    made = [piece for piece in model.pieces if piece.kind == NORMAL]
    made.sort(key=lambda piece: -piece.score)  # of equal ones the first
    known = {piece.text for piece in made}
    merges = [
        (piece.text[:place], piece.text[place:])
        for piece in made
        for place in range(len(piece.text) - 1, 0, -1)
        if piece.text[:place] in known and piece.text[place:] in known
    ]
    unknown = model.pieces[model.roles["unk"]].text if "unk" in model.roles else None
    return models.BPE(ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=model.byte_fallback)


def unigram(model: Model) -> Any:
    """The pieces with their scores."""
    from tokenizers import models

    scored = [(piece.text, piece.score) for piece in model.pieces]
    return models.Unigram(scored, model.roles.get("unk"), model.byte_fallback)


def pre_tokenizer(model: Model, *, marked: bool) -> Any:
    """What cuts texts, None where nothing does. `tokenizers` finds every piece of a unigram model in a text, also those
    that SentencePiece does not look for, so what looks like one of these (`<s>`, `<0xEA>`) is cut behind its first
    character. Spaces that are not `marked` yet are marked here."""
    from tokenizers import Regex, pre_tokenizers

    stages: list[Any] = []
    if not marked:
        before = "first" if model.space_before else "never"
        stages.append(pre_tokenizers.Metaspace(prepend_scheme=before, split=False))
    hidden = [piece.text for piece in model.pieces if piece.kind not in (NORMAL, USER_DEFINED) and len(piece.text) > 1]
    if model.model_type == "unigram" and hidden:
        behind = "|".join(f"(?<={re.escape(text[0])})(?={re.escape(text[1:])})" for text in hidden)
        stages.append(pre_tokenizers.Split(Regex(behind), "isolated"))
    return pre_tokenizers.Sequence(stages) if stages else None


def normalizer(model: Model, *, marked: bool) -> Any:
    """Characters as the model has them, then white space; `marked`: then a space before the text, and a visible sign
    for all of them."""
    from tokenizers import Regex, normalizers

    stages: list[Any] = []
    if model.charsmap:
        try:
            stages.append(normalizers.Precompiled(model.charsmap))
        except Exception as error:  # the library raises bare Exception for every fault
            raise ValueError(f"its normalisation cannot be used: {error}") from None
    if model.spaces_removed:
        stages += [normalizers.Replace(Regex(pattern), to) for pattern, to in ((r"\A +| +\z", ""), (" {2,}", " "))]
    if marked and model.space_before:
        stages.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence([*stages, normalizers.Replace(" ", SPACE)] if marked else stages)


def decoder(model: Model) -> Any:
    """The way back: spaces, bytes, and no space before the text."""
    from tokenizers import decoders

    stages: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*stages, decoders.Strip(" ", 1, 0)] if model.space_before else stages)


def reference(path: Path) -> Any:
    """SentencePiece's own reader of the same file, by which ids can be compared. ImportError where it is not there."""
    return import_module("sentencepiece").SentencePieceProcessor(model_file=str(path))
