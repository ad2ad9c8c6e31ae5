"""Text to token ids and back: byte-level BPE, kept in the Hugging Face layout.

In comes a tokenizer folder (`tokenizer.json`, `tokenizer_config.json`), out go ids and text. The `tokenizers` library
is the truth; batches go through `fastokens`, which is tens of times faster, after both agreed on a sample. What looks
like a special token inside a text is encoded as the text it is; special ids are only ever put in by us.
"""

import hashlib
import sys
from collections.abc import Sequence
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


class Tokenizer:
    """Ids <-> text. `raw` is the object of the `tokenizers` library, `json` its file as text."""

    def __init__(self, json: str, chat_template: str | None = None) -> None:
        self.json = json
        self.chat_template = chat_template
        self.raw = tokenizers.Tokenizer.from_str(json)
        self.raw.encode_special_tokens = True  # "<|end|>" in a text is text
        self.size: int = self.raw.get_vocab_size()
        self.fingerprint = hashlib.sha256(json.encode()).hexdigest()[:16]
        self.pad, self.bos, self.eos = self.token_id("<pad>"), self.token_id("<bos>"), self.token_id("<eos>")
        self.end = self.token_id("<|end|>")

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
            return cls((folder / FILE).read_text(encoding="utf-8"), template)
        except Exception as error:  # the library raises bare Exception for every fault
            mend = "The file is torn or was not made by `dodam tokenizer train`."
            raise FolderError(f"cannot be used ({error})", where=str(folder / FILE), mend=mend) from None

    def save(self, folder: str | Path, chat_template: str | None = None, context: int | None = None) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`; `context` is the longest text in tokens, where known."""
        folder = Path(folder)
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

    def token_id(self, token: str) -> int:
        """The id of a token by its name. ValueError when there is none."""
        found = self.raw.token_to_id(token)
        if found is None:
            raise ValueError(f"there is no token {token}")
        return found

    def byte_lengths(self) -> np.ndarray:
        """How many bytes of text each id stands for, int64 [size]; 0 for special tokens."""
        names = [self.raw.id_to_token(token) for token in range(self.size)]
        return np.array([0 if name in self._special else len(name or "") for name in names], dtype=np.int64)

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


def encodable(text: str) -> str:
    """Half surrogates, which no UTF-8 can hold, become U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    return text
