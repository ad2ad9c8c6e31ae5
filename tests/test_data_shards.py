"""Token shards say what the documents say: ids, ends, bytes, splits, weights. Torn ones are refused, old redone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dodam.data.documents import read_documents
from dodam.data.prepare import Prepare
from dodam.data.prepare import run as prepare
from dodam.data.shards import ensure_shards, tokenizers_of
from dodam.data.sources import Source
from dodam.errors import DodamError, FolderError
from dodam.tokenizer import train
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

KOREAN = [f"{n}번째 나무에는 새가 {n + 3}마리 앉아 있다. <|end|>은 글이다." for n in range(40)]
ENGLISH = [f"Tree {n} has {n + 3} birds.\n\nIt's old." for n in range(30)]


def write_rows(path: Path, texts: list[str]) -> None:
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    path.write_text("\n".join(lines), encoding="utf-8")


def make_tokenizer(vocabulary: int = 512) -> Tokenizer:
    raw = train.learn(KOREAN + ENGLISH, vocabulary, SPECIAL_TOKENS)
    train.fill_up(raw, vocabulary)
    return Tokenizer(raw.to_str(pretty=True))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_rows(tmp_path / "korean.jsonl", KOREAN)
    write_rows(tmp_path / "english.jsonl", ENGLISH)
    sources = (Source(str(tmp_path / "korean.jsonl"), weight=2.0), str(tmp_path / "english.jsonl"))
    prepare(Prepare(data=sources, out=tmp_path / "data", validation=0.2))
    return tmp_path / "data"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_document_is_bos_ids_eos(data: Path, tokenizer: Tokenizer, split: str) -> None:
    found = {file.name: file for file in ensure_shards(data, tokenizer).split(split)}
    assert found.keys() == {"korean", "english"}
    for name, file in found.items():
        texts = [row["text"] for row in read_documents(data, split) if row["source"] == name]
        starts = [0, *file.ends[:-1]]
        documents = [file.tokens[start:end].tolist() for start, end in zip(starts, file.ends, strict=True)]
        assert documents == [[tokenizer.bos, *tokenizer.encode(text), tokenizer.eos] for text in texts]
        assert file.bytes.tolist() == [len(text.encode()) for text in texts]
        assert file.ends[-1] == len(file.tokens)


def test_bytes_of_the_tokens_are_the_bytes_of_the_text(data: Path, tokenizer: Tokenizer) -> None:
    """So bits per byte can be counted from the ids alone."""
    for file in ensure_shards(data, tokenizer).split("train"):
        assert tokenizer.byte_lengths()[file.tokens].sum() == file.bytes.sum()


def test_weights_and_memory_maps(data: Path, tokenizer: Tokenizer) -> None:
    files = ensure_shards(data, tokenizer).split("train")
    assert {file.name: file.weight for file in files} == {"korean": 2.0, "english": 1.0}
    assert all(isinstance(file.tokens, np.memmap) and file.tokens.dtype == np.dtype("<u2") for file in files)


def test_a_large_vocabulary_takes_four_bytes(data: Path) -> None:
    large = make_tokenizer(65_536)
    (korean, _) = ensure_shards(data, large).split("validation")
    assert korean.tokens.dtype == np.dtype("<u4")
    assert large.decode(korean.tokens[: korean.ends[0]].tolist()) in KOREAN


def test_each_tokenizer_has_its_own_set_and_is_kept_with_it(data: Path, tokenizer: Tokenizer) -> None:
    other = make_tokenizer(448)
    assert ensure_shards(data, tokenizer).path != ensure_shards(data, other).path
    kept = [Tokenizer.load(folder).fingerprint for folder in tokenizers_of(data)]
    assert sorted(kept) == sorted([tokenizer.fingerprint, other.fingerprint])


def test_opening_again_writes_nothing(data: Path, tokenizer: Tokenizer) -> None:
    manifest = ensure_shards(data, tokenizer).path / "manifest.json"
    before = manifest.stat().st_mtime_ns
    ensure_shards(data, tokenizer)
    assert manifest.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["one byte", "shorter", "missing"])
def test_a_torn_file_is_named(data: Path, tokenizer: Tokenizer, damage: str) -> None:
    path = next(ensure_shards(data, tokenizer).path.glob("train-*.bin"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content if damage == "one byte" else content[:-2])
    with pytest.raises(FolderError, match="Delete") as caught:
        ensure_shards(data, tokenizer)
    assert caught.value.where == str(path)


def test_torn_and_newer_manifests_are_named(data: Path, tokenizer: Tokenizer) -> None:
    path = ensure_shards(data, tokenizer).path / "manifest.json"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[: len(whole) // 2], encoding="utf-8")
    with pytest.raises(FolderError, match=r"manifest\.json"):
        ensure_shards(data, tokenizer)
    path.write_text(json.dumps({**json.loads(whole), "format": 99}), encoding="utf-8")
    with pytest.raises(FolderError, match="format 99"):
        ensure_shards(data, tokenizer)


def test_other_text_makes_new_shards(data: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    before = sum(len(file.tokens) for file in ensure_shards(data, tokenizer).split("train"))
    write_rows(tmp_path / "english.jsonl", [*ENGLISH, *(f"A new line, number {n}." for n in range(20))])
    sources = (str(tmp_path / "korean.jsonl"), str(tmp_path / "english.jsonl"))
    prepare(Prepare(data=sources, out=data, validation=0.2))
    assert sum(len(file.tokens) for file in ensure_shards(data, tokenizer).split("train")) > before


def test_killed_while_writing_nothing_is_there_and_the_next_run_makes_it(data: Path, tokenizer: Tokenizer) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom dodam.data import shards\n"
        "from dodam.tokenizer.tokenizer import Tokenizer\n"
        "shards.Writer.close = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
        "shards.ensure_shards(Path(sys.argv[1]), Tokenizer(Path(sys.argv[2]).read_text(encoding='utf-8')))\n"
    )
    (data.parent / "t.json").write_text(tokenizer.json, encoding="utf-8")
    command = [sys.executable, "-c", code, str(data), str(data.parent / "t.json")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    assert tokenizers_of(data) == []
    assert len(ensure_shards(data, tokenizer).split("train")) == 2
    assert os.listdir(data / "shards") == [tokenizer.fingerprint]


def test_a_folder_that_is_no_data_folder(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(DodamError, match="data folder"):
        ensure_shards(tmp_path, tokenizer)
