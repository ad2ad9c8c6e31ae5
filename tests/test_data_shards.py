"""Token shards say what the documents say: ids, ends, bytes, splits, weights. Torn ones are refused, old redone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam import files
from dodam.data.batch import IGNORED
from dodam.data.documents import read_documents
from dodam.data.loader import RowLoader
from dodam.data.packing import PackedLoader
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


def test_only_files_that_were_touched_are_read_through(data: Path, tokenizer: Tokenizer, monkeypatch) -> None:
    path = ensure_shards(data, tokenizer).path
    read: list[str] = []
    hashed = files.xxh3
    monkeypatch.setattr(files, "xxh3", lambda file: read.append(Path(file).name) or hashed(file))
    ensure_shards(data, tokenizer)
    assert read == []
    touched = next(path.glob("train-*.bin"))
    touched.write_bytes(touched.read_bytes())
    ensure_shards(data, tokenizer)
    assert read == [touched.name]
    ensure_shards(data, tokenizer)
    assert read == [touched.name]
    ensure_shards(data, tokenizer, full=True)
    assert len(read) == 1 + len([*path.glob("*.bin"), *path.glob("*.npy")])


def test_damage_without_a_trace_is_found_by_a_full_reading(data: Path, tokenizer: Tokenizer) -> None:
    """As a disk that forgets a bit: size, time and inode are what they were."""
    file = next(ensure_shards(data, tokenizer).path.glob("train-*.bin"))
    before = file.stat()
    with file.open("r+b") as handle:
        first = handle.read(1)
        handle.seek(0)
        handle.write(bytes([first[0] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    ensure_shards(data, tokenizer)
    with pytest.raises(FolderError, match="torn or was changed"):
        ensure_shards(data, tokenizer, full=True)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(40, 300), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_the_same_rows_for_any_number_of_ranks_and_workers(
    lengths: list[int], steps: int, ranks: int, workers: int, first: int
) -> None:
    """A step's rows are numbered; ranks take their share of the numbers, workers take steps in turn, and a run that
    begins again at `first` needs that number alone."""
    sources = [SimpleNamespace(name=str(n), tokens=np.arange(n * 1000, n * 1000 + size), weight=1.0 + n, epochs=0.0)
               for n, size in enumerate(lengths)]  # fmt: skip
    batch = 2 * ranks
    whole = RowLoader(sources, 16, seed=3).rows(first, steps * batch)
    loaders = [RowLoader(sources, 16, seed=3) for _ in range(ranks * workers)]
    for step in range(steps):
        shares = [
            loaders[rank * workers + step % workers].rows(first + step * batch + 2 * rank, 2) for rank in range(ranks)
        ]
        assert (np.concatenate(shares) == whole[step * batch : (step + 1) * batch]).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(40, 400), st.floats(0.1, 4.0)), min_size=1, max_size=4), st.integers(0, 3))
def test_every_epoch_holds_each_source_as_often_as_its_weight_says(drawn: list[tuple[int, float]], epoch: int) -> None:
    sources = [SimpleNamespace(name=str(n), tokens=np.full(size, n), weight=weight, epochs=0.0)
               for n, (size, weight) in enumerate(drawn)]  # fmt: skip
    loader = RowLoader(sources, 8, seed=1)
    rows = loader.rows(epoch * loader.rows_per_epoch, loader.rows_per_epoch)
    for number, (size, weight) in enumerate(drawn):
        wanted = weight * -(-(size - 1) // 8)
        assert abs(int((rows[:, 0] == number).sum()) - wanted) <= max(0.5, 1 - wanted)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 21), min_size=1, max_size=40), st.integers(0, 3), st.integers(1, 7))
def test_packing_crops_nothing_and_keeps_borders(lengths: list[int], epoch: int, size: int) -> None:
    """An epoch of packed rows, taken `size` at a time, holds every text whole and once, each numbered for itself."""
    numbers = iter(range(1, 10_000))
    texts = [[next(numbers) for _ in range(length)] for length in lengths]
    loader = PackedLoader([SimpleNamespace(ids=ids, trained=[True] * len(ids)) for ids in texts], 20, pad=0, seed=5)
    first, found = epoch * loader.rows_per_epoch, []
    for start in range(0, loader.rows_per_epoch, size):
        batch = loader.batch(first + start, min(size, loader.rows_per_epoch - start))
        assert batch.documents_BT is not None and batch.positions_BT is not None
        for ids, labels, documents, positions in zip(
            batch.ids_BT, batch.labels_BT, batch.documents_BT, batch.positions_BT, strict=True
        ):
            for document in range(1, int(documents.max()) + 1):
                here = documents == document
                text = ids[here].tolist()
                assert positions[here].tolist() == list(range(len(text)))
                last = int(labels[here][-1])  # the last token of a full row is only ever a label
                assert last == IGNORED or last == text[-1] + 1
                found.append(text + ([last] if last != IGNORED else []))
    assert sorted(found) == sorted(texts)
