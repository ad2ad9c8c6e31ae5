"""`tokenizer compare`: figures worked out by hand, a table, and small models trained with equal compute."""

import json
from collections import Counter
from pathlib import Path

import pytest

from dodam import cli
from dodam.data.prepare import Prepare
from dodam.data.prepare import run as prepare
from dodam.tokenizer import trial
from dodam.tokenizer.characters import learn_characters
from dodam.tokenizer.compare import TokenizerCompare, cut_syllables, korean, run, shown
from dodam.tokenizer.patterns import SPLITS
from dodam.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer
from dodam.tokenizer.train import fill_up, learn

LINES = [
    f"{n}번 상자에는 사과가 {n + 2}개 있다. 도서관에서 {n}권을 빌렸다. Box {n} holds {n + 2} apples."
    for n in range(150)
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "boxes.jsonl"
    path.write_text("\n".join(json.dumps({"text": line}, ensure_ascii=False) for line in LINES), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folders(text: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = tmp_path_factory.mktemp("tokenizers")
    for name, num_learned, vocabulary in (("small", 384, 384), ("large", 448, 1024)):
        raw = learn(LINES, num_learned, SPECIAL_TOKENS)
        fill_up(raw, vocabulary)
        Tokenizer(raw.to_str()).save(made / name)
    return [made / "small", made / "large"]


def bytes_only() -> Tokenizer:
    """No merges at all: every byte is a token."""
    raw = learn([], 366, SPECIAL_TOKENS)
    return Tokenizer(raw.to_str())


def test_figures_of_a_tokenizer_of_bytes_are_those_of_the_text(text: Path, tmp_path: Path, capsys) -> None:
    bytes_only().save(tmp_path / "bytes")
    result = run(TokenizerCompare(tokenizers=(tmp_path / "bytes",), data=(str(text),)))
    (row,) = result["rows"]
    assert result["bytes"] == sum(len(line.encode()) for line in LINES)
    assert row["bytes_per_token"] == 1.0 and row["syllables_cut"] == 1.0 and row["vocabulary"] == 366
    eojeols = [word for line in LINES for word in line.split() if any("가" <= sign <= "힣" for sign in word)]
    assert result["eojeols"] == len(eojeols) == 8 * len(LINES)
    per_eojeol = sum(len(word.encode()) + 1 for word in eojeols) / len(eojeols)  # with the space before it
    assert row["tokens_per_eojeol"] == pytest.approx(per_eojeol)
    assert "| bytes | 366 | 1.000 |" in capsys.readouterr().out


def test_syllables_are_cut_where_a_token_ends_inside_them() -> None:
    before = [3, 1]  # what stands before the word: a syllable and a space
    assert cut_syllables("나무", [*before, 3, 3]) == (0, 2)
    assert cut_syllables("나무", [3, 7]) == (0, 2)
    assert cut_syllables("나무", [*before, 1, 2, 3]) == (1, 2)
    assert cut_syllables("나무", [3, 3, 4]) == (1, 2)  # the space together with two bytes of the first syllable
    assert cut_syllables("나무", [*before, 2, 2, 2]) == (2, 2)
    assert cut_syllables("a나é!", [*before, 1, 3, 1, 1, 1]) == (0, 1)  # é is cut and no syllable
    assert cut_syllables("나무", [1, *before, 3, 3]) == (0, 2)  # a space before the text, as SentencePiece has it
    assert cut_syllables("나무", [*before, 3, 0]) == (2, 2)  # an unknown token
    assert cut_syllables("①나", [*before, 1, 3]) is None  # ① has become 1


def test_korean_words_are_measured_inside_a_text() -> None:
    tokenizer = bytes_only()
    assert korean(tokenizer, Counter({"나무": 3, "집": 1})) == (pytest.approx((3 * 7 + 4) / 4), 1.0)
    assert korean(tokenizer, Counter()) == (None, None)
    whole = Tokenizer(learn(["나무 집 나무 집"] * 9, 400, SPECIAL_TOKENS).to_str())
    assert korean(whole, Counter({"나무": 3, "집": 1})) == (1.0, 0.0)


def test_two_are_compared_in_a_table_and_a_file(folders: list[Path], text: Path, tmp_path: Path, capsys) -> None:
    words = ["tokenizer", "compare", *map(str, folders), "--data", str(text), "--out", str(tmp_path / "report.md")]
    assert cli.main([*words, "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    small, large = json.loads(out[-1])["rows"]
    assert (small["tokenizer"], large["tokenizer"]) == ("small", "large")
    assert large["bytes_per_token"] > small["bytes_per_token"] > 1
    assert large["tokens_per_eojeol"] < small["tokens_per_eojeol"] < 10
    assert small["tokens_per_second"] > 0
    table = [line for line in out if line.startswith("|")]
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "\n".join(table) in report and f"{sum(len(line.encode()) for line in LINES):,} bytes" in report


def test_kinds_of_files_stand_side_by_side(folders: list[Path], text: Path, tmp_path: Path, capsys) -> None:
    import base64

    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}" for byte in range(256)]
    (tmp_path / "bytes.tiktoken").write_text("\n".join(lines))
    words = ["tokenizer", "compare", str(folders[0]), str(tmp_path / "bytes.tiktoken"), "--data", str(text)]
    assert cli.main(words) == 2
    assert "--pattern" in capsys.readouterr().err
    assert cli.main([*words, "--pattern", "gpt2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert rows[1]["bytes_per_token"] == 1.0


def test_models_are_trained_with_equal_compute_and_the_data_folder_stays_as_it_is(
    folders: list[Path], text: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    from dodam import machine
    from dodam.stages.pretrain import Pretrain

    monkeypatch.setattr(machine, "num_cores", lambda: 1)
    monkeypatch.setattr(trial, "CONTEXT", 32)
    monkeypatch.setattr(trial, "BATCH", 2)
    prepare(Prepare(data=(str(text),), out=tmp_path / "data", validation=0.2))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    words = ["tokenizer", "compare", *map(str, folders), "--data", str(tmp_path / "data")]
    assert cli.main([*words, "--train", "6", "--depth", "1", "--json"]) == 0
    small, large = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert small["steps"] == 6 and small["parameters"] < large["parameters"]
    pretrain = Pretrain(data=tmp_path, out=tmp_path, depth=1)
    costs = [trial.step_flops(pretrain, Tokenizer.load(folder)) for folder in folders]
    assert large["steps"] == round(6 * costs[0] / costs[1]) < 6
    for row in (small, large):
        assert 0 < row["bits_per_byte"] < 10
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("train", ["0", "soon", "-5", "1.5"])
def test_a_length_of_training_that_cannot_be_is_refused_at_once(
    train: str, folders: list[Path], text: Path, capsys
) -> None:
    assert cli.main(["tokenizer", "compare", str(folders[0]), "--data", str(text), f"--train={train}"]) == 2
    assert "--train" in capsys.readouterr().err


def test_figures_are_shown_as_people_read_them() -> None:
    assert shown("vocabulary", 32_768) == "32,768" and shown("syllables_cut", 0.0123) == "1.23%"
    assert shown("syllables_cut", None) == "-" and shown("tokens_per_second", 1234567.8) == "1,234,568"
    assert shown("tokenizer", "a|b") == "a\\|b"


def test_characters_stay_whole_only_where_they_are_frequent() -> None:
    texts = ["나무와 집, 나무와 물"] * 50 + ["뷁쀍쮸"]
    names = learn_characters(texts, SPLITS["korean"].patterns, SPECIAL_TOKENS, 448)
    raw = learn(texts, 448, SPECIAL_TOKENS, split="korean")
    fill_up(raw, 448)
    tokenizer = Tokenizer(raw.to_str())
    assert names.token_to_id("<bos>") == 1
    assert [tokenizer.piece(token) for token in tokenizer.encode("나무와")] == ["나무", "와"]
    assert len(tokenizer.encode("뷁")) == 3


def test_a_folder_to_write_to_is_refused_before_anything_is_measured(
    folders, text: Path, tmp_path: Path, capsys
) -> None:
    words = ["tokenizer", "compare", str(folders[0]), "--data", str(text), "--out", str(tmp_path)]
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert f"--out {tmp_path}: is a folder" in shown.err and "measured" not in shown.err and not shown.out


def test_a_sample_of_nothing_names_its_flag(folders, text: Path, tmp_path: Path, capsys) -> None:
    assert cli.main(["tokenizer", "compare", str(folders[0]), "--data", str(text), "--sample-bytes", "1"]) == 2
    size = sum(len(line.encode()) for line in LINES)
    told = capsys.readouterr().err
    assert "--sample-bytes: a sample of" in told and f"All of it: --sample-bytes {size}." in told
    assert cli.main(["tokenizer", "train", "--data", str(text), "--memory", "9", "--out", str(tmp_path / "t")]) == 2
    assert f"All of it: --memory {25 * size}." in capsys.readouterr().err and not (tmp_path / "t").exists()
