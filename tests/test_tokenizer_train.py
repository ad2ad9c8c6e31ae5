"""Stage `tokenizer train` and command `tokenizer show`: what they write and print, and what they refuse."""

import json
import unicodedata
from pathlib import Path

import pytest

from dodam.data.prepare import Prepare
from dodam.data.prepare import run as prepare
from dodam.errors import DataError, UsageError
from dodam.tokenizer import train
from dodam.tokenizer.show import TokenizerShow
from dodam.tokenizer.show import run as show
from dodam.tokenizer.tokenizer import Tokenizer
from dodam.tokenizer.train import TokenizerTrain, run

LINES = [f"{n}번 상자에는 사과가 {n + 2}개 있다. Box {n} holds {n + 2} apples, and that's all." for n in range(60)]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "boxes.jsonl"
    rows = (json.dumps({"text": line}, ensure_ascii=False) for line in LINES)
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def learn(data: Path, out: Path, **values) -> dict:
    return run(TokenizerTrain(data=(str(data),), out=out, **{"vocabulary": 512, **values}))


def test_it_learns_the_size_asked_for_and_shortens_the_text(text: Path, tmp_path: Path) -> None:
    result = learn(text, tmp_path / "tokenizer")
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    assert result["vocabulary"] == tokenizer.size == 512
    assert result["fingerprint"] == tokenizer.fingerprint
    assert result["bytes_learned_from"] == sum(len(line.encode()) for line in LINES)
    assert result["bytes_per_token"] > 2.5
    assert all(tokenizer.decode(tokenizer.encode(line)) == line for line in LINES)


def test_no_token_spans_words_digits_or_a_word_and_the_mark_after_it(text: Path, tmp_path: Path) -> None:
    """What Qwen2's pattern keeps apart is never merged."""
    learn(text, tmp_path / "tokenizer", vocabulary=768)
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    pieces = [tokenizer.piece(token) for token in range(110, tokenizer.size)]
    words = [piece for piece in pieces if not piece.startswith("<|unused_")]
    assert " apples" in words and "사과가" in "".join(words)
    assert not [word for word in words if " " in word[1:] or (len(word) > 1 and any(map(str.isdigit, word)))]


def test_same_text_same_tokenizer_and_a_second_run_does_nothing(text: Path, tmp_path: Path, capsys) -> None:
    first = learn(text, tmp_path / "one")
    assert learn(text, tmp_path / "two")["fingerprint"] == first["fingerprint"]
    written = (tmp_path / "one" / "tokenizer.json").stat().st_mtime_ns
    capsys.readouterr()
    assert learn(text, tmp_path / "one") == first
    assert "already done" in capsys.readouterr().err
    assert (tmp_path / "one" / "tokenizer.json").stat().st_mtime_ns == written


def test_other_text_or_settings_are_learned_anew(text: Path, tmp_path: Path) -> None:
    first = learn(text, tmp_path / "tokenizer")
    assert learn(text, tmp_path / "tokenizer", vocabulary=448)["vocabulary"] == 448
    text.write_text(text.read_text(encoding="utf-8").replace("사과", "딸기"), encoding="utf-8")
    assert learn(text, tmp_path / "tokenizer")["fingerprint"] != first["fingerprint"]


def test_of_a_data_folder_only_the_training_split_is_read(text: Path, tmp_path: Path) -> None:
    prepare(Prepare(data=(str(text),), out=tmp_path / "data", validation=0.2))
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text(encoding="utf-8"))
    result = learn(tmp_path / "data", tmp_path / "tokenizer")
    assert result["bytes_learned_from"] == manifest["splits"]["train"]["bytes"] < manifest["bytes"]


def test_several_data_folders_are_read_and_files_not_beside_them(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(text.read_text(encoding="utf-8").replace("사과", "배"), encoding="utf-8")
    sizes = 0
    for name, path in (("one", text), ("two", other)):
        prepare(Prepare(data=(str(path),), out=tmp_path / name, validation=0.2))
        manifest = json.loads((tmp_path / name / "manifest.json").read_text(encoding="utf-8"))
        sizes += manifest["splits"]["train"]["bytes"]
    both = (str(tmp_path / "one"), str(tmp_path / "two"))
    result = run(TokenizerTrain(data=both, out=tmp_path / "tokenizer", vocabulary=512))
    assert result["bytes_learned_from"] == sizes
    with pytest.raises(UsageError, match="data folders and files cannot be read together"):
        run(TokenizerTrain(data=(both[0], str(text)), out=tmp_path / "mixed"))


def test_of_much_text_an_even_sample_is_read(text: Path, tmp_path: Path) -> None:
    whole = sum(len(line.encode()) for line in LINES)
    result = learn(text, tmp_path / "tokenizer", sample_bytes=whole // 2)
    assert 0.25 * whole < result["bytes_learned_from"] < 0.75 * whole


def test_a_budget_of_memory_is_a_sample(text: Path, tmp_path: Path) -> None:
    whole = sum(len(line.encode()) for line in LINES)
    result = learn(text, tmp_path / "tokenizer", memory=whole * train.MEMORY_PER_BYTE // 2)
    assert 0.25 * whole < result["bytes_learned_from"] < 0.75 * whole
    smaller = learn(text, tmp_path / "other", memory=10**12, sample_bytes=whole // 2)
    assert smaller["bytes_learned_from"] == result["bytes_learned_from"]


@pytest.mark.parametrize(("num_bytes", "vocabulary"), [(1e6, 4096), (20e6, 8192), (100e6, 16_384), (5e9, 32_768)])
def test_the_size_follows_the_text(text: Path, tmp_path: Path, monkeypatch, num_bytes: float, vocabulary: int) -> None:
    monkeypatch.setattr(train, "open_texts", lambda config: (iter(LINES), int(num_bytes), "mark"))
    assert learn(text, tmp_path / "tokenizer", vocabulary=None, sample_bytes=10**12)["vocabulary"] == vocabulary


def test_decomposed_hangul_and_half_surrogates_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": unicodedata.normalize("NFD", line)}) for line in LINES] + ['{"text": "a\\ud800b"}']
    path.write_text("\n".join(rows), encoding="utf-8")
    learn(path, tmp_path / "tokenizer")
    tokenizer = Tokenizer.load(tmp_path / "tokenizer")
    assert tokenizer.encode(unicodedata.normalize("NFD", LINES[0])) == tokenizer.encode(LINES[0])
    assert "상자에는" in "".join(map(tokenizer.piece, tokenizer.encode(LINES[0])))


@pytest.mark.parametrize("vocabulary", [500, 384])
def test_a_vocabulary_that_cannot_be_is_refused(text: Path, tmp_path: Path, vocabulary: int) -> None:
    with pytest.raises(UsageError, match="multiple of 64 and at least 448"):
        learn(text, tmp_path / "tokenizer", vocabulary=vocabulary)


def test_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    for name in ("empty.txt", "missing.txt"):
        with pytest.raises(DataError, match=name):
            learn(tmp_path / name, tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer").exists()


def test_a_folder_of_something_else_is_not_replaced(text: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "poem.txt").write_text("봄")
    with pytest.raises(UsageError, match="no tokenizer folder"):
        learn(text, tmp_path / "mine")
    assert (tmp_path / "mine" / "poem.txt").read_text() == "봄"


def test_show(text: Path, tmp_path: Path, capsys) -> None:
    learn(text, tmp_path / "tokenizer", vocabulary=768)
    found = show(TokenizerShow(tokenizer=tmp_path / "tokenizer", text="Box 12\n 사과가"))
    assert "".join(found["pieces"]) == "Box 12\n 사과가"
    assert found["bytes"] == 17 and found["bytes_per_token"] == 17 / len(found["ids"])
    printed = capsys.readouterr().out.splitlines()
    assert "1·2·⏎" in printed[0]
    assert printed[1] == " ".join(map(str, found["ids"]))
    assert "vocabulary 768" in printed[2]
