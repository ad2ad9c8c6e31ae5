"""Text to token ids and back: byte-level BPE, kept in the Hugging Face layout.

In comes a tokenizer folder (`tokenizer.json`, `tokenizer_config.json`), out go ids and text. The `tokenizers` library
is the truth; batches go through `fastokens`, which is tens of times faster, after both agreed on a sample. What looks
like a special token inside a text is encoded as the text it is; special ids are only ever put in by us.
"""

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import tokenizers

from dodam import files
from dodam.errors import FolderError

FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
FORMAT = 1

NAMED = ("<pad>", "<bos>", "<eos>", "<mask>", "<cls>", "<sep>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
NUM_SPARES = 100
SPECIAL_TOKENS = (*NAMED, *(f"<|spare_{number}|>" for number in range(NUM_SPARES)))
"""Their ids are 0, 1, 2 ... in this order, in every tokenizer."""

CHECKED_TEXTS, CHECKED_CHARACTERS = 64, 2_000
"""Of every bulk job so many texts, their beginnings up to so many characters, are encoded by both libraries."""


@dataclass(frozen=True)
class Names:
    """What the tokens are called that begin a text, end it, fill up rows and end an answer; and, empty where there is
    none, those that hide a token, stand for a whole text and stand between two."""

    bos: str = "<bos>"
    eos: str = "<eos>"
    pad: str = "<pad>"
    end: str = "<|end|>"
    mask: str = "<mask>"
    cls: str = "<cls>"
    sep: str = "<sep>"


class Tokenizer:
    """Ids <-> text. `raw` is the object of the `tokenizers` library, `json` its file as text.

    `foreign` is the `tokenizer_config.json` of a tokenizer that was not made here; it is kept as it is."""

    def __init__(self, json: str, chat_template: str | None = None, foreign: dict[str, Any] | None = None) -> None:
        self.json = json
        self.chat_template = chat_template
        self.foreign = foreign
        self.raw = tokenizers.Tokenizer.from_str(json)
        self.raw.encode_special_tokens = True  # "<|end|>" in a text is text
        self.size: int = self.raw.get_vocab_size()
        self.fingerprint = hashlib.sha256(json.encode()).hexdigest()[:16]
        self.pad_is_borrowed = False
        self.names = Names() if foreign is None else self._foreign_names(foreign)
        self.bos, self.eos = self.token_id(self.names.bos), self.token_id(self.names.eos)
        self.pad, self.end = self.token_id(self.names.pad), self.token_id(self.names.end)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open a tokenizer folder or a model folder. FolderError names what is missing, torn or not ours."""
        folder = next((place for place in (Path(path), Path(path) / "model") if (place / FILE).is_file()), None)
        if folder is None:
            mend = "Name a tokenizer folder (`dodam tokenizer train` writes one) or a model folder."
            raise FolderError(f"holds no {FILE}", where=str(path), mend=mend)
        settings = files.read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
        files.check_format(settings.get("dodam_format", FORMAT), FORMAT, folder / CONFIG_FILE)
        template_file = folder / "chat_template.jinja"  # where transformers 5 puts it when it saves
        template = settings.get("chat_template")
        if template_file.is_file():
            template = template_file.read_text(encoding="utf-8")
        try:
            ours = "dodam_format" in settings or not settings
            return cls((folder / FILE).read_text(encoding="utf-8"), template, None if ours else settings)
        except Exception as error:  # the library raises bare Exception for every fault
            mend = "The file is torn or was not made by `dodam tokenizer train`."
            raise FolderError(f"cannot be used ({error})", where=str(folder / FILE), mend=mend) from None

    def save(self, folder: str | Path, chat_template: str | None = None, context: int | None = None) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`; `context` is the longest text in tokens, where known."""
        folder = Path(folder)
        if self.foreign is not None:
            template = {} if chat_template is None else {"chat_template": chat_template}
            files.write_atomic(folder / FILE, self.json)
            files.write_json(folder / CONFIG_FILE, {**self.foreign, **template})
            return
        settings: dict[str, Any] = {
            "dodam_format": FORMAT,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<bos>",
            "eos_token": "<|end|>" if chat_template else "<eos>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
            "cls_token": "<cls>",
            "sep_token": "<sep>",
            "clean_up_tokenization_spaces": False,
        }
        if context is not None:
            settings["model_max_length"] = context
        if chat_template is not None:
            settings["chat_template"] = chat_template
        files.write_atomic(folder / FILE, self.json)
        files.write_json(folder / CONFIG_FILE, settings)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, nothing added; what looks like a special token is text."""
        return self.raw.encode(encodable(text), add_special_tokens=False).ids

    def encode_template(self, text: str) -> list[int]:
        """The ids of a text of ours, in which `<bos>`, `<|user|>` and so on are special tokens."""
        return self._template.encode(text, add_special_tokens=False).ids

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of many texts in one uint32 array, and where each text begins and ends in it (int64 [texts + 1]).

        Done by fastokens where it is installed and gives the same ids as `tokenizers` on the beginnings of some of the
        texts; else by `tokenizers`, and said so."""
        texts = [encodable(text) for text in texts]
        if self._fast is not None:
            sample = [text[:CHECKED_CHARACTERS] for text in texts[:: max(1, len(texts) // CHECKED_TEXTS)]]
            ids, offsets = self._fast_flat(sample)
            found = [ids[offsets[index] : offsets[index + 1]].tolist() for index in range(len(sample))]
            if found == [self.encode(text) for text in sample]:
                return self._fast_flat(texts)
            print("tokenizer: fastokens gives other ids than `tokenizers`; using `tokenizers`.", file=sys.stderr)
        encoded = [one.ids for one in self.raw.encode_batch_fast(texts, add_special_tokens=False)]
        offsets = np.cumsum([0, *(len(one) for one in encoded)], dtype=np.int64)
        return np.array([token for one in encoded for token in one], dtype=np.uint32), offsets

    def _fast_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        ids, offsets = self._fast.encode_batch_flat(texts, split_special_tokens=True)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).astype(np.int64)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, as `encode` gives them."""
        ids, offsets = self.encode_flat(texts)
        return [ids[offsets[index] : offsets[index + 1]].tolist() for index in range(len(texts))]

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of ids: special tokens have none (with `special` their names), bytes that are no UTF-8 become
        U+FFFD."""
        return self.raw.decode(list(ids), skip_special_tokens=not special)

    def piece(self, token: int) -> str:
        """One token to look at: its text, a special token's name; part of a character is U+FFFD."""
        name = self.raw.id_to_token(token)
        if name is None or name in self._special:
            return name or f"<id {token}>"
        return self.raw.decode([token], skip_special_tokens=False)

    def frame_ids(self) -> dict[str, int]:
        """What config.json says of the tokens that stand for a text and between two, where there are such."""
        named = {"cls_token_id": self.names.cls, "sep_token_id": self.names.sep}
        return {key: self.token_id(name) for key, name in named.items() if name}

    def token_id(self, token: str) -> int:
        """The id of a token by its name. ValueError when there is none."""
        found = self.raw.token_to_id(token)
        if found is None:
            raise ValueError(f"there is no token {token}")
        return found

    def byte_lengths(self) -> np.ndarray:
        """How many bytes of text each id stands for, int64 [size]; 0 for special tokens."""
        names = [self.raw.id_to_token(token) or "" for token in range(self.size)]
        by_bytes = '"type":"ByteLevel"' in self.json.replace(" ", "")  # one character of a name for each byte
        lengths = [len(name) if by_bytes else num_bytes(name) for name in names]
        return np.array([0 if name in self._special else n for name, n in zip(names, lengths, strict=True)], np.int64)

    def _foreign_names(self, settings: dict[str, Any]) -> Names:
        """What another tokenizer calls these tokens. One without a beginning begins with its end; rows are filled up
        with a token of its own, or where that is also the end with any other, as nobody looks at it."""

        def name(key: str) -> str | None:
            value = settings.get(key)
            value = value.get("content") if isinstance(value, dict) else value
            return value if isinstance(value, str) and self.raw.token_to_id(value) is not None else None

        end = name("eos_token") or name("sep_token")
        if end is None:
            raise ValueError(f"{CONFIG_FILE} names no eos_token or sep_token that {FILE} holds")
        eos = "<|endoftext|>" if self.raw.token_to_id("<|endoftext|>") is not None else end
        pad = name("pad_token")
        if pad in (None, end, eos):
            self.pad_is_borrowed = True
            pad = next(
                one for token in range(self.size) if (one := self.raw.id_to_token(token)) not in (None, end, eos)
            )
        others = {key: name(f"{key}_token") or "" for key in ("mask", "cls", "sep")}
        return Names(bos=name("bos_token") or others["cls"] or eos, eos=eos, pad=pad or end, end=end, **others)

    @cached_property
    def _special(self) -> set[str]:
        return {token.content for token in self.raw.get_added_tokens_decoder().values() if token.special}

    @cached_property
    def _template(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self.json)

    @cached_property
    def _fast(self) -> Any:
        """The same tokenizer in fastokens, or None where that cannot be had."""
        try:
            import fastokens

            return fastokens.Tokenizer.from_json_str(self.json)
        except (ImportError, ValueError, RuntimeError) as error:
            print(f"tokenizer: encoding with `tokenizers`, which is slower ({error}).", file=sys.stderr)
            return None


def num_bytes(name: str) -> int:
    """Bytes of text that a token of a SentencePiece vocabulary stands for: `▁` is a space, `<0xEA>` one byte."""
    return (
        1 if re.fullmatch(r"<0x[0-9A-F]{2}>", name) else len(name.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode())
    )


def encodable(text: str) -> str:
    """Half surrogates, which no UTF-8 can hold, become U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    return text
