"""Vocabularies of others: a folder, a tokenizer.json, a SentencePiece .model or a .tiktoken file -> our tokenizer.

In comes a path, out comes a `Tokenizer` that encodes as the original does. Which of its tokens begins a text, ends it
and fills up rows is taken from what lies beside the file, from the file, or from what the user says.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dodam import files
from dodam.errors import DataError, FolderError, UsageError
from dodam.tokenizer.patterns import SplitName
from dodam.tokenizer.sentencepiece import from_sentencepiece
from dodam.tokenizer.sentencepiece import reference as sentencepiece_reference
from dodam.tokenizer.tiktoken import END, from_tiktoken
from dodam.tokenizer.tiktoken import reference as tiktoken_reference
from dodam.tokenizer.tokenizer import CONFIG_FILE, FILE, Tokenizer

ROLES = ("bos", "eos", "unk", "pad", "cls", "sep", "mask")
ENDS = ("<|endoftext|>", "<eos>", "</s>", "<|end_of_text|>", "[SEP]")
"""What an end of texts is called where nothing says so."""
KINDS = "Folders, tokenizer.json, SentencePiece .model and .tiktoken files are read."

CHECKED = (
    "The quick brown fox doesn't jump over 12,345 lazy dogs.",
    "나는 어제 학교에서 친구를 만나 도서관까지 걸어갔습니다.",
    " 앞에 빈칸,  사이에 두 칸, 끝에도 빈칸 ",
    "줄\n\n바꿈\t탭 \u3000전각 공백",
    "한글과 English를 섞어 쓴 text, 2024년 3월 1일 (토)",
    "🙂👍🏽 뷁쀍 café naïve ﬁ ① ㈜ ½ 漢字 かな",
    "if x == 1:\n    return {'a': [1, 2]}  # 주석",
    "<s> </s> <|endoftext|> [SEP] <unk>",
    "",
)
"""What an imported tokenizer and its original are compared on."""


def open_tokenizer(
    path: Path,
    *,
    pattern: SplitName | None = None,
    special: Mapping[str, int] | None = None,
    roles: Mapping[str, str] | None = None,
) -> Tokenizer:
    """Any of the kinds. UsageError for what is none of them or is not told enough, DataError and FolderError for files
    that cannot be read."""
    special, roles = special or {}, roles or {}
    if unknown := sorted(roles.keys() - set(ROLES)):
        raise UsageError(f"there is no role {unknown[0]}", where="--roles", mend=f"Known: {', '.join(ROLES)}.")
    if path.suffix == ".tiktoken":
        if pattern is None:
            mend = "Name it with --pattern, such as gpt4 for cl100k, gpt4o for o200k, gpt2, llama3 or qwen2."
            raise UsageError("does not say what its texts are cut by", where=str(path), mend=mend)
        text = from_tiktoken(existing(path), pattern, special)
        found = {"eos": END} if END in (special or {END: 0}) else {}
    elif pattern or special:
        raise UsageError("are for .tiktoken files", where="--pattern and --special", mend="Leave them out.")
    elif path.suffix == ".model" and not path.is_dir():
        text, found = converted(existing(path))
    elif path.suffix == ".json" and not path.is_dir():
        files.read_json(existing(path))
        beside = path.parent / CONFIG_FILE
        if path.name == FILE and beside.is_file() and not roles:
            return Tokenizer.load(path.parent)
        text, found = path.read_text(encoding="utf-8"), {}
    elif roles:
        raise UsageError("are for files; a folder says itself what its tokens are for", where="--roles")
    elif path.is_dir():
        return Tokenizer.load(path)
    else:
        existing(path)
        raise UsageError("is no vocabulary that is known", where=str(path), mend=KINDS)
    return with_roles(text, {**found, **roles}, str(path))


def existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError("there is no such file or folder", where=str(path), mend="Is the path right?")
    return path


def converted(path: Path) -> tuple[str, dict[str, str]]:
    """A SentencePiece model as a tokenizer.json and its roles."""
    try:
        return from_sentencepiece(path)
    except ValueError as error:
        raise DataError(f"cannot be used ({error})", where=str(path), mend="The file is torn.") from None


def with_roles(text: str, roles: Mapping[str, str], where: str) -> Tokenizer:
    """The tokenizer, its special tokens known by what they are for. FolderError for a torn one and for one whose end of
    texts nobody names; UsageError for a role whose token it does not hold."""
    import tokenizers

    try:
        raw = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception for every fault
        mend = "The file is torn, or no tokenizer.json."
        raise FolderError(f"cannot be used ({error})", where=where, mend=mend) from None
    for role, token in roles.items():
        if raw.token_to_id(token) is None:
            raise UsageError(f"holds no token {token} for the role {role}", where=where)
    if not roles.keys() & {"eos", "sep"}:
        added = {token.content for token in raw.get_added_tokens_decoder().values() if token.special}
        end = next((name for name in ENDS if name in added), None)
        if end is None:
            mend = "Name it: `dodam tokenizer import FILE --roles eos=TOKEN --out DIR`."
            raise FolderError("does not say which token ends a text", where=where, mend=mend)
        roles = {**roles, "eos": end}
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    return Tokenizer(text, None, {**settings, **{f"{role}_token": token for role, token in roles.items()}})


def check(path: Path, tokenizer: Tokenizer, texts: Iterable[str] = CHECKED) -> str:
    """The name of the library that read the original file and gave the same ids for all texts; "" where it is not
    installed. DataError names a text whose ids differ. A tokenizer.json is its own original. Unknown tokens side by
    side count as one: SentencePiece makes one of them, and a cut between them two."""
    unknown = (tokenizer.foreign or {}).get("unk_token")
    unknown_id = tokenizer.token_id(unknown) if unknown else -1
    try:
        if path.suffix == ".tiktoken":
            name, library = "tiktoken", tiktoken_reference(path, tokenizer.json)
        elif path.suffix == ".model":
            name, library = "sentencepiece", sentencepiece_reference(path)
        else:
            return "tokenizers"
    except ImportError:
        return ""
    for text in texts:
        ids = library.encode_ordinary(text) if name == "tiktoken" else library.encode(text)
        if without_repeats(ids, unknown_id) != without_repeats(tokenizer.encode(text), unknown_id):
            what = f"{name} cuts it otherwise than the tokenizer made of it: {json.dumps(text, ensure_ascii=False)}"
            raise DataError(what, where=str(path), mend="Please report it with the file.")
    return name


def without_repeats(ids: Iterable[int], token: int) -> list[int]:
    """The ids with one of this token where several stand side by side."""
    found: list[int] = []
    for one in ids:
        if one != token or found[-1:] != [token]:
            found.append(one)
    return found
