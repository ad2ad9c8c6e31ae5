"""Vocabularies of others give the ids of the originals: by plain readings of tiktoken's and SentencePiece's rules, and
by their own libraries where these are installed."""

import base64
import json
import random
import sys
import types
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils import sentencepiece_model_pb2_new as pb

from dodam import cli
from dodam.errors import DataError, FolderError, UsageError
from dodam.exchange.gguf_tokenizer import pre_tokenizer as name_in_llama_cpp
from dodam.tokenizer.bpe import learn, words_of
from dodam.tokenizer.foreign import CHECKED, check, open_tokenizer, without_repeats
from dodam.tokenizer.patterns import LLAMA3, SPLITS
from dodam.tokenizer.sentencepiece import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, USER_DEFINED, read_model
from dodam.tokenizer.tokenizer import Tokenizer

TEXT = (
    "도토리 마을에는 다람쥐와 토끼가 살았습니다. 다람쥐는 도토리를 모으고, 토끼는 당근을 키웠습니다. "
    "The squirrel gathered acorns, and the rabbit grew carrots; the rabbit asked how many acorns there were.\n"
) * 2
WORDS = [
    "도토리",
    "마을에는",
    "다람쥐",
    "습니다",
    " ",
    "  ",
    "the",
    "rabbit",
    "acorns",
    "aaa",
    "\n",
    "🙂",
    "<s>",
    "</s>",
    "뷁",
    "1",
]
SAMPLES = st.lists(st.sampled_from([*WORDS, *"aorstk토끼가 ▁"]), max_size=14).map("".join)


# tiktoken


@cache
def ranks() -> dict[bytes, int]:
    """Bytes in an order of their own, then what is merged; a token that no merge leads to; a gap in the ranks."""
    order = list(range(256))
    random.Random(1).shuffle(order)
    tokens = [bytes([byte]) for byte in order] + [a + b for a, b in learn(words_of(TEXT, LLAMA3), 120)]
    found = {token: rank for rank, token in enumerate(dict.fromkeys(tokens))}
    return {**found, b" zqzq": len(found) + 3}


def write_tiktoken(path: Path, values: dict[bytes, int]) -> Path:
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in values.items()))
    return path


def plain_tiktoken(values: dict[bytes, int], pattern: str, text: str) -> list[int]:
    """A word that is a token is taken; else of all neighbours those are merged that together have the lowest rank."""
    ids = []
    for word in words_of(text, pattern):
        parts = [word] if word in values else [bytes([byte]) for byte in word]
        while True:
            found = [(values[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in values]
            if not found:
                break
            _, at = min(found)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [values[part] for part in parts]
    return ids


@pytest.fixture(scope="module")
def tiktoken_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiktoken(tmp_path_factory.mktemp("tiktoken") / "acorns.tiktoken", ranks())


@pytest.mark.parametrize("pattern", ["gpt4", "gpt2", "gpt4o"])
def test_a_tiktoken_file_gives_the_ids_of_tiktokens_rule(tiktoken_file: Path, pattern) -> None:
    tokenizer = open_tokenizer(tiktoken_file, pattern=pattern)

    @settings(max_examples=60, deadline=None)
    @given(SAMPLES)
    def same(text: str) -> None:
        assert tokenizer.encode(text) == plain_tiktoken(ranks(), SPLITS[pattern].patterns[0], text)
        assert tokenizer.decode(tokenizer.encode(text)) == text

    same()
    assert tokenizer.encode_batch([*CHECKED, TEXT]) == [tokenizer.encode(text) for text in [*CHECKED, TEXT]]
    for text in [*CHECKED, TEXT, "a zqzq"]:
        assert tokenizer.encode(text) == plain_tiktoken(ranks(), SPLITS[pattern].patterns[0], text)


def test_a_tiktoken_files_special_tokens_have_the_ids_they_are_given(tiktoken_file: Path) -> None:
    last = max(ranks().values())
    tokenizer = open_tokenizer(tiktoken_file, pattern="gpt4")
    assert (tokenizer.eos, tokenizer.names.eos, tokenizer.size) == (last + 1, "<|endoftext|>", last + 2)
    special = {"<|endoftext|>": last + 5, "<|im_end|>": last + 2}
    tokenizer = open_tokenizer(tiktoken_file, pattern="gpt4", special=special, roles={"eos": "<|im_end|>"})
    assert {name: tokenizer.token_id(name) for name in special} == special
    assert tokenizer.names.end == "<|im_end|>" and tokenizer.size == last + 6
    assert not set(tokenizer.encode("<|im_end|><|endoftext|>")) & set(special.values())
    again = Tokenizer(tokenizer.json, None, tokenizer.foreign)
    assert again.encode(TEXT) == tokenizer.encode(TEXT) and again.token_id("<|endoftext|>") == last + 5


def test_words_are_looked_up_whole_only_where_merges_do_not_lead_to_them(tiktoken_file: Path, tmp_path: Path) -> None:
    assert json.loads(open_tokenizer(tiktoken_file, pattern="llama3").json)["model"]["ignore_merges"]
    reached = {token: rank for token, rank in ranks().items() if token != b" zqzq"}
    settings_ = json.loads(open_tokenizer(write_tiktoken(tmp_path / "a.tiktoken", reached), pattern="gpt4").json)
    assert not settings_["model"]["ignore_merges"]
    assert name_in_llama_cpp(settings_) == "dbrx"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("IQ==\n", r":1: is no token"),
        ("IQ== 0\nIg== one\n", r":2: is no token"),
        ("I!== 0\n", r":1: is no token"),
        ("IQ== 0\nIg== 0\n", r":2: names a token or a rank that was there before"),
        ("IQ== 0\nIQ== 1\n", r":2: names a token or a rank"),
        ("IQ== 0\n", "holds no token for 255 of the 256 bytes"),
        ("", "holds no token for 256"),
    ],
)
def test_a_torn_tiktoken_file_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "torn.tiktoken"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        open_tokenizer(path, pattern="gpt4")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "does not say what its texts are cut by"),
        ({"pattern": "gpt4", "special": {"<|x|>": 5}}, r"<\|x\|> has the id or the name of a token"),
        ({"pattern": "gpt4", "special": {"<|x|>": 900, "<|y|>": 900}}, "the same id"),
        ({"pattern": "gpt4", "special": {"stop": 900}}, "stop is a word"),
        ({"pattern": "gpt4", "roles": {"eos": "<|no|>"}}, r"holds no token <\|no\|> for the role eos"),
        ({"pattern": "gpt4", "roles": {"end": "<|no|>"}}, "there is no role end"),
    ],
)
def test_what_a_tiktoken_file_cannot_be_told_is_refused(tiktoken_file: Path, values: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_tokenizer(tiktoken_file, **values)


# SentencePiece


@cache
def scored() -> dict[str, float]:
    """Pieces out of the text's words with scores, all characters of it among them but k and 쥐."""
    text = SPACE + TEXT.strip().replace("\n", " ").replace(" ", SPACE)
    words = [SPACE + word for word in text.split(SPACE) if word]
    found: dict[str, float] = {}
    for word in words:
        for first in range(len(word)):
            for last in range(first + 2, min(first + 5, len(word)) + 1):
                found.setdefault(word[first:last], -6.0 - 0.0137 * len(found) + 0.9 * (last - first))
    for character in sorted(set(text) - {"k", "쥐"}):
        found[character] = -11.0 - 0.0071 * len(found)
    return found


def write_model(path: Path, kind: str, *, byte_fallback: bool = False, own: Sequence[str] = (), **normal: bool) -> Path:
    model = pb.ModelProto()
    model.trainer_spec.model_type = {"unigram": 1, "bpe": 2, "word": 3}[kind]
    model.trainer_spec.byte_fallback = byte_fallback
    model.trainer_spec.pad_id = 3
    model.normalizer_spec.name = "identity"
    for name, value in normal.items():
        setattr(model.normalizer_spec, name, value)
    pieces = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<pad>", 0.0, CONTROL)]
    pieces += [(text, 0.0, USER_DEFINED) for text in own]
    if byte_fallback:
        pieces += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    values = scored()
    if kind == "bpe":  # scores are ranks, longer pieces never before their parts
        known = [text for text in values if not set(text) & {"k", "쥐"}]  # a character that is no piece is in none
        values = {text: -float(rank) for rank, text in enumerate(sorted(known, key=lambda one: (len(one), one)))}
    pieces += [(text, score, NORMAL) for text, score in values.items()]
    for text, score, number in pieces:
        model.pieces.add(piece=text, score=score, type=number)
    path.write_bytes(model.SerializeToString())
    return path


def plain_sentencepiece(path: Path, text: str) -> list[int]:
    """SentencePiece's rules on the library's own reading of the file."""
    model = pb.ModelProto.FromString(path.read_bytes())
    spec = model.normalizer_spec
    if spec.remove_extra_whitespaces:
        text = " ".join(part for part in text.split(" ") if part)
    if not text:
        return []
    text = (SPACE if spec.add_dummy_prefix else "") + text.replace(" ", SPACE)
    pieces = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    ids = {piece.piece: number for number, piece in enumerate(model.pieces)}
    parts = (viterbi if model.trainer_spec.model_type == 1 else best_pairs)(pieces, text)
    found: list[int] = []
    for part in parts:
        if part in pieces:
            found.append(ids[part])
        elif model.trainer_spec.byte_fallback:
            found += [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
        elif not found or found[-1] != 0:  # unknown ones side by side are one
            found.append(0)
    return found


def viterbi(pieces: dict[str, float], text: str) -> list[str]:
    unknown = min(pieces.values()) - 10
    best: list[tuple[float, list[str]]] = [(0.0, [])]
    for end in range(1, len(text) + 1):
        ways = []
        for start in range(max(0, end - 8), end):
            part = text[start:end]
            if part in pieces or len(part) == 1:
                ways.append((best[start][0] + pieces.get(part, unknown), [*best[start][1], part]))
        best.append(max(ways, key=lambda way: way[0]))
    return best[-1][1]


def best_pairs(pieces: dict[str, float], text: str) -> list[str]:
    parts = list(text)
    while True:
        found = [(-pieces[a + b], at) for at, (a, b) in enumerate(pairwise(parts)) if a + b in pieces]
        if not found:
            return parts
        _, at = min(found)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def charsmap(replacements: dict[str, str]) -> bytes:
    """Replacements of characters in SentencePiece's compiled form: the size of a double array, the array, the texts.
    The characters begin with different bytes, so each is a chain, and every node has 256 places for itself."""
    units, texts, base = {0: 256 << 10}, b"", 512
    for key, text in replacements.items():
        place, data = 256, key.encode()
        for number, byte in enumerate(data):
            place ^= byte
            is_last = number == len(data) - 1
            units[place] = byte | is_last << 8 | (place ^ base) << 10
            place, base = base, base + 256
        units[place] = len(texts)
        texts += text.encode() + b"\0"
    array = np.zeros(base, np.uint32)
    for place, unit in units.items():
        array[place] = unit
    return np.uint32(array.nbytes).tobytes() + array.tobytes() + texts


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_characters_are_normalised_as_the_model_says(kind: str, tmp_path: Path) -> None:
    replaced = {"①": "the", "\t": " ", "ﾄ": "토끼"}
    path = write_model(tmp_path / "a.model", kind, byte_fallback=True, remove_extra_whitespaces=True)
    plain = open_tokenizer(path)
    model = pb.ModelProto.FromString(path.read_bytes())
    model.normalizer_spec.precompiled_charsmap = charsmap(replaced)
    path.write_bytes(model.SerializeToString())
    tokenizer = open_tokenizer(path)
    for text in ("다람쥐와\tﾄ는", "\t① acorns \t①\t", "① rabbit", "도토리"):
        expected = text
        for key, value in replaced.items():
            expected = expected.replace(key, value)
        assert tokenizer.encode(text) == plain.encode(expected) == plain_sentencepiece(path, expected)


NORMALS = [
    {"add_dummy_prefix": True, "remove_extra_whitespaces": True},
    {"add_dummy_prefix": True, "remove_extra_whitespaces": False},
    {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
]


@pytest.mark.parametrize("normal", NORMALS)
@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_sentencepiece_model_gives_the_ids_of_its_rules(kind, byte_fallback, normal, tmp_path: Path) -> None:
    path = write_model(tmp_path / "acorns.model", kind, byte_fallback=byte_fallback, **normal)
    tokenizer = open_tokenizer(path)

    @settings(max_examples=40, deadline=None)
    @given(SAMPLES)
    def same(text: str) -> None:
        found = tokenizer.encode(text)
        if kind == "unigram" and ("<s>" in text or "</s>" in text):  # cut there, so that < and s> are two unknown ones
            found = without_repeats(found, 0)
        assert found == plain_sentencepiece(path, text)

    same()
    assert tokenizer.encode_batch([*CHECKED, TEXT]) == [tokenizer.encode(text) for text in [*CHECKED, TEXT]]
    for text in [*CHECKED[:-2], TEXT, ""]:
        assert tokenizer.encode(text) == plain_sentencepiece(path, text)
    if byte_fallback and not normal["remove_extra_whitespaces"]:
        assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in CHECKED if SPACE not in text)
    assert tokenizer.names.eos == "</s>" and tokenizer.names.bos == "<s>" and tokenizer.names.pad == "<pad>"
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (1, 2, 3)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_what_looks_like_a_control_piece_is_text(kind: str, tmp_path: Path) -> None:
    tokenizer = open_tokenizer(write_model(tmp_path / "a.model", kind, byte_fallback=True))
    for text in ("<s>", "a</s>", "<pad><unk>", "<0x41>"):
        ids = tokenizer.encode(text)
        assert not set(ids) & {0, 1, 2, 3} and tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_symbols_of_a_models_own_are_never_cut(kind: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.model", kind, own=["<토끼>"], remove_extra_whitespaces=True)
    plain = write_model(tmp_path / "b.model", kind, remove_extra_whitespaces=True)
    tokenizer, without = open_tokenizer(path), open_tokenizer(plain)
    assert tokenizer.token_id("<토끼>") == 4
    ids = tokenizer.encode("다람쥐 <토끼>  도토리")
    before, behind = without.encode("다람쥐"), without.encode("도토리")
    moved = [[token + 1 if token > 3 else token for token in part] for part in (before, behind)]
    space = without.token_id(SPACE) + 1
    assert ids == [*moved[0], space, 4, *moved[1]]


def test_roles_that_a_model_does_not_have_are_left_out(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.model", "unigram")
    model = pb.ModelProto.FromString(path.read_bytes())
    model.trainer_spec.bos_id = model.trainer_spec.pad_id = -1
    path.write_bytes(model.SerializeToString())
    assert read_model(path).roles == {"unk": 0, "eos": 2}
    tokenizer = open_tokenizer(path)
    assert tokenizer.names.bos == "</s>" and tokenizer.pad_is_borrowed


def test_other_and_torn_models_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.model", "word")
    with pytest.raises(DataError, match="is a SentencePiece model of word"):
        open_tokenizer(path)
    whole = write_model(tmp_path / "b.model", "unigram").read_bytes()
    model = pb.ModelProto.FromString(whole)
    model.trainer_spec.treat_whitespace_as_suffix = True
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="white space behind words"):
        open_tokenizer(path)
    model = pb.ModelProto.FromString(whole)
    model.normalizer_spec.precompiled_charsmap = b"torn"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="cannot be used"):
        open_tokenizer(path)
    for torn in (whole[:50], whole[:-3], b"\xff" * 40, b"", b"not a model at all"):
        path.write_bytes(torn)
        with pytest.raises(DataError, match="cannot be read as a SentencePiece model"):
            open_tokenizer(path)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_model_or_named(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.model"
    path.write_bytes(data)
    with pytest.raises((DataError, FolderError)):
        open_tokenizer(path)


# Everything that is a tokenizer


def test_kinds_are_told_apart_and_others_named(tmp_path: Path, tiktoken_file: Path) -> None:
    tokenizer = open_tokenizer(tiktoken_file, pattern="gpt4")
    tokenizer.save(tmp_path / "folder")
    assert open_tokenizer(tmp_path / "folder").fingerprint == tokenizer.fingerprint
    assert open_tokenizer(tmp_path / "folder" / "tokenizer.json").names == tokenizer.names
    (tmp_path / "alone.json").write_text(tokenizer.json)
    assert open_tokenizer(tmp_path / "alone.json").names.eos == "<|endoftext|>"
    renamed = tokenizer.json.replace("<|endoftext|>", "<|fin|>")
    (tmp_path / "alone.json").write_text(renamed)
    with pytest.raises(FolderError, match=r"does not say which token ends a text.*--roles eos=TOKEN"):
        open_tokenizer(tmp_path / "alone.json")
    assert open_tokenizer(tmp_path / "alone.json", roles={"eos": "<|fin|>"}).names.end == "<|fin|>"
    (tmp_path / "words.txt").touch()
    with pytest.raises(UsageError, match=r"is no vocabulary that is known.*SentencePiece"):
        open_tokenizer(tmp_path / "words.txt")
    with pytest.raises(UsageError, match=r"are for \.tiktoken files"):
        open_tokenizer(tmp_path / "alone.json", pattern="gpt4")
    for name in ("missing.tiktoken", "missing"):
        with pytest.raises(DataError, match="there is no such file or folder"):
            open_tokenizer(tmp_path / name, pattern="gpt4" if "." in name else None)
    (tmp_path / "alone.json").write_text('{"version": "1.0"}')
    with pytest.raises(FolderError, match="cannot be used"):
        open_tokenizer(tmp_path / "alone.json")


def test_import_writes_a_folder_that_every_stage_reads(tiktoken_file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "mine"
    words = ["tokenizer", "import", str(tiktoken_file), "--pattern", "gpt4", "--out", str(out)]
    assert cli.main(words) == 0
    assert "bos <|endoftext|>" in (told := capsys.readouterr().err)
    if "tiktoken" not in sys.modules:
        assert "not compared with the original, as tiktoken is not installed" in told
    tokenizer = Tokenizer.load(out)
    assert tokenizer.encode_batch([TEXT]) == [plain_tiktoken(ranks(), LLAMA3, TEXT)]
    path = write_model(tmp_path / "a.model", "unigram", byte_fallback=True)
    assert cli.main(["tokenizer", "import", str(path), "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["roles"] == {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "mask": ""}
    assert Tokenizer.load(out).encode(TEXT) == plain_sentencepiece(path, TEXT)
    assert cli.main(["tokenizer", "import", str(out), "--out", str(tmp_path / "copy")]) == 0
    assert Tokenizer.load(tmp_path / "copy").fingerprint == result["fingerprint"]
    assert cli.main(["tokenizer", "import", str(out), "--out", str(out)]) == 2
    assert "is the folder to read" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "poem.txt").write_text("봄")
    assert cli.main(["tokenizer", "import", str(path), "--out", str(tmp_path / "other")]) == 2
    assert (tmp_path / "other" / "poem.txt").read_text() == "봄"


@pytest.mark.parametrize("wrong", [False, True])
def test_where_the_originals_library_is_there_it_is_asked(wrong: bool, tmp_path: Path, monkeypatch) -> None:
    """A stand-in for the library, which has the same interface; what it gives is a plain reading."""
    path = write_model(tmp_path / "a.model", "unigram", byte_fallback=True)

    class Processor:
        def __init__(self, model_file: str) -> None:
            self.path = Path(model_file)

        def encode(self, text: str) -> list[int]:
            ids = plain_sentencepiece(self.path, text)
            return ids[:-1] if wrong and "뷁" in text else ids

    monkeypatch.setitem(sys.modules, "sentencepiece", types.SimpleNamespace(SentencePieceProcessor=Processor))
    if not wrong:
        assert check(path, open_tokenizer(path)) == "sentencepiece"
        return
    assert cli.main(["tokenizer", "import", str(path), "--out", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=r"sentencepiece cuts it otherwise.*뷁"):
        check(path, open_tokenizer(path))


def test_the_libraries_themselves_agree(tiktoken_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("tiktoken")
    pytest.importorskip("sentencepiece")
    assert check(tiktoken_file, open_tokenizer(tiktoken_file, pattern="gpt4")) == "tiktoken"
    for kind in ("unigram", "bpe"):
        path = write_model(tmp_path / f"{kind}.model", kind, byte_fallback=True)
        assert check(path, open_tokenizer(path)) == "sentencepiece"
