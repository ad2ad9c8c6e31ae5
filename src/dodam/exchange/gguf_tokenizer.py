"""Our tokenizer as GGUF has it: tokens with their types, merges, special ids, the pre-tokeniser's name.

In comes a byte-level BPE in Hugging Face's layout. llama.cpp cuts texts by the pre-tokeniser it knows under a name, so
a pattern it has no name for is refused: it would read every text otherwise. It does not bring text into the composed
form (NFC) either; what calls it should.
"""

import json
import re
from typing import Any

from gguf import GGUFWriter, TokenType

from dodam.errors import FolderError
from dodam.tokenizer.patterns import DIGIT, GPT2, GPT4O, LLAMA3, QWEN2, SPLITS, choice_of
from dodam.tokenizer.tokenizer import Tokenizer

PRE_TOKENIZERS: dict[tuple[tuple[str, ...], bool], str] = {
    ((QWEN2,), False): "qwen2",
    ((GPT2,), False): "gpt-2",
    ((DIGIT, GPT2), False): "smollm",
    ((LLAMA3,), True): "llama-bpe",
    ((LLAMA3,), False): "dbrx",
    ((GPT4O,), False): "gpt-4o",
}
"""(patterns a text is cut by, one after the other; whether a whole word in the vocabulary is taken without merging) ->
llama.cpp's name for it."""

MARK = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")


def add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer, rows: int, *, chat_template: str | None) -> None:
    """Put a tokenizer among a file's metadata, its vocabulary filled up to the model's `rows`.

    FolderError when llama.cpp could not cut texts the same way."""
    settings = json.loads(tokenizer.json)
    tokens, types = vocabulary(settings, rows)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer(settings))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in settings["model"]["merges"]]
    )
    named = [
        (writer.add_bos_token_id, tokenizer.bos),
        (writer.add_eos_token_id, tokenizer.eos),
        (writer.add_pad_token_id, tokenizer.pad),
    ]
    if chat_template:
        named.append((writer.add_eot_token_id, tokenizer.end))
    for add, token in named:
        if types[token] == TokenType.CONTROL:  # rows may be filled up with a word, where there is nothing else
            add(token)
    writer.add_add_bos_token(begins_texts(tokenizer))
    writer.add_add_eos_token(False)
    if chat_template:
        writer.add_chat_template(without_marks(chat_template))


def begins_texts(tokenizer: Tokenizer) -> bool:
    """Whether a text begins with bos: in our models always, in others where their tokenizer puts it there."""
    if tokenizer.foreign is None or tokenizer.foreign.get("add_bos_token"):
        return True
    return tokenizer.raw.encode("a").ids[0] == tokenizer.bos


def vocabulary(settings: dict[str, Any], rows: int) -> tuple[list[str], list[TokenType]]:
    """Every id's token and type. Ids no token has are unused ones."""
    names = {number: token for token, number in settings["model"]["vocab"].items()}
    types = dict.fromkeys(names, TokenType.NORMAL)
    for token in settings["added_tokens"]:
        names[token["id"]] = token["content"]
        types[token["id"]] = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
    if max(names) >= rows:
        what = f"the tokenizer has {max(names) + 1} ids, the model only {rows}"
        raise FolderError(what, mend="They do not belong together.")
    tokens = [names.get(number, f"[PAD{number}]") for number in range(rows)]
    if len(set(tokens)) < rows:
        raise FolderError("two ids have the same token", where="tokenizer.json")
    return tokens, [types.get(number, TokenType.UNUSED) for number in range(rows)]


def pre_tokenizer(settings: dict[str, Any]) -> str:
    """llama.cpp's name for the way a tokenizer.json cuts texts; FolderError when it has none."""
    model = settings["model"]
    if model["type"] != "BPE" or model.get("byte_fallback") or model.get("continuing_subword_prefix"):
        raise unknown("it is not a byte-level BPE")
    normalizer = settings.get("normalizer") or {"type": "none"}
    if normalizer["type"] not in ("none", "NFC"):
        raise unknown(f"its normalizer is {normalizer['type']}")
    patterns = cuts(settings.get("pre_tokenizer") or {"type": "none"})
    name = PRE_TOKENIZERS.get((patterns, bool(model.get("ignore_merges"))))
    if name is None:
        raise unknown(f"it cuts by {choice_of(patterns) or ' then '.join(patterns)}")
    return name


def cuts(stage: dict[str, Any]) -> tuple[str, ...]:
    """The patterns of a pre-tokeniser, one after the other."""
    kind = stage["type"]
    if kind == "Sequence":
        return tuple(pattern for part in stage["pretokenizers"] for pattern in cuts(part))
    if kind == "ByteLevel" and not stage["add_prefix_space"]:
        return (GPT2,) if stage.get("use_regex", True) else ()
    if kind == "Digits" and stage["individual_digits"]:
        return (DIGIT,)
    if kind == "Split" and stage["behavior"] == "Isolated" and not stage["invert"] and "Regex" in stage["pattern"]:
        return (stage["pattern"]["Regex"],)
    raise unknown(f"its pre-tokeniser is {stage}")


def unknown(why: str) -> FolderError:
    known = ", ".join(PRE_TOKENIZERS.values())
    ours = ", ".join(name for name, split in SPLITS.items() if (split.patterns, split.whole_words) in PRE_TOKENIZERS)
    return FolderError(
        f"llama.cpp does not know this tokenizer ({why})",
        where="tokenizer.json",
        mend=f"GGUF takes byte-level BPE, cut like {known}; of `tokenizer train`'s choices, --split {ours}. "
        "Export to hf keeps every tokenizer.",
    )


def without_marks(chat_template: str) -> str:
    """A template without Hugging Face's `generation` marks, which other programs stumble over; white space stays."""
    return MARK.sub(lambda mark: f"{{%{mark[1]} {'endif' if mark[2] else 'if true'} {mark[3]}%}}", chat_template)
