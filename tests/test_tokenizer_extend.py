"""More tokens for a tokenizer that is there: learned as a recount after every merge learns them, applied as a plain
reading of the merge list applies them, and everything old stays where it is."""

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from dodam.data.prepare import Prepare
from dodam.data.prepare import run as prepare
from dodam.errors import DataError, FolderError, UsageError
from dodam.sample.split import held_out
from dodam.tokenizer import extend as module
from dodam.tokenizer.extend import HELD_BACK, Extension, extend, learn_merges
from dodam.tokenizer.patterns import QWEN2
from dodam.tokenizer.tokenizer import Tokenizer

ENGLISH = [f"Box {n} holds {n + 2} apples, and there are more of them in the other box." for n in range(80)]
PLACES = ["상자", "바구니", "창고", "가방", "서랍"]
FRUITS = ["사과", "복숭아", "포도", "자두", "감귤", "참외", "수박"]
KOREAN = [
    f"{PLACES[n % 5]}에는 {FRUITS[n % 7]}가 {n}개 있었고, 우리는 {FRUITS[n % 3]}를 먹었습니다." for n in range(200)
]
NUM_BYTE_LEVEL = 280
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def by_bytes(words: str) -> tokenizers.Tokenizer:
    """A byte-level BPE of English; `words` says how a text is cut: by GPT-2's pattern or Qwen2's."""
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if words == "qwen2":
        split = pre_tokenizers.Split(tokenizers.Regex(QWEN2), "isolated")
        raw.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_BYTE_LEVEL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator(ENGLISH, trainer)
    return raw


def as_qwen2() -> str:
    """Special tokens that only `added_tokens` holds, and NFC."""
    raw = by_bytes("qwen2")
    raw.normalizer = normalizers.NFC()
    raw.add_special_tokens(SPECIAL)
    return raw.to_str()


def as_llama3() -> str:
    """A whole word that is a token is taken without merging; one such word no merge leads to."""
    values = json.loads(as_qwen2())
    values["model"]["ignore_merges"] = True
    values["model"]["vocab"][byte_level(" 사과가")] = NUM_BYTE_LEVEL
    for token in values["added_tokens"]:
        token["id"] += 1
    return json.dumps(values)


def as_gpt2() -> str:
    """The special token is in the vocabulary, and merges are written in one string, as older files have them."""
    values = json.loads(by_bytes("gpt2").to_str())
    values["model"]["vocab"][SPECIAL[0]] = NUM_BYTE_LEVEL
    values["model"]["merges"] = [" ".join(merge) for merge in values["model"]["merges"]]
    raw = tokenizers.Tokenizer.from_str(json.dumps(values))
    raw.add_special_tokens(SPECIAL[:1])
    values["added_tokens"] = json.loads(raw.to_str())["added_tokens"]
    return json.dumps(values)


def byte_level(text: str) -> str:
    ((word, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return word


KINDS: dict[str, Callable[[], str]] = {"gpt2": as_gpt2, "qwen2": as_qwen2, "llama3": as_llama3}


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    return Tokenizer(KINDS[kind](), None, {"eos_token": "<|endoftext|>"})


@pytest.fixture(scope="module")
def korean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("korean") / "korean.txt"
    path.write_text("\n".join(KOREAN), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def extensions(korean: Path) -> dict[str, Extension]:
    return {kind: extend(tokenizer_of(kind), (str(korean),), 90) for kind in KINDS}


def naive_merges(words: list[list[int]], counts: list[int], names: dict[int, str], wanted: int) -> list:
    """Everything counted anew for every merge."""
    words, names, merges = [list(word) for word in words], dict(names), []
    while len(merges) < wanted:
        totals: Counter = Counter()
        for word, count in zip(words, counts, strict=True):
            for pair in pairwise(word):
                totals[pair] += count
        allowed = [p for p in totals if totals[p] > 1 and names[p[0]] + names[p[1]] not in names.values()]
        if not allowed:
            break
        left, right = min(allowed, key=lambda pair: (-totals[pair], pair))
        new = max(names) + 1
        for word in words:
            place = 0
            while place + 1 < len(word):
                if word[place : place + 2] == [left, right]:
                    word[place : place + 2] = [new]
                place += 1
        merges.append((names[left], names[right]))
        names[new] = names[left] + names[right]
    return merges


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.tuples(st.lists(st.integers(0, 3), max_size=9), st.integers(1, 4)), max_size=8),
    wanted=st.integers(0, 12),
)
def test_merges_are_those_of_a_recount_after_every_merge(words: list, wanted: int) -> None:
    names = {0: "a", 1: "b", 2: "ab", 3: "c"}  # nothing may make another "ab"
    cut, counts = [word for word, _ in words], [count for _, count in words]
    assert learn_merges(cut, counts, names, wanted) == naive_merges(cut, counts, names, wanted)


@cache
def opened(file: str) -> tuple[tokenizers.Tokenizer, dict, dict]:
    """What cuts into words, the model's part of the file, and the rank of each merge."""
    model = json.loads(file)["model"]
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    return tokenizers.Tokenizer.from_str(file), model, {pair: rank for rank, pair in enumerate(pairs)}


def naive_encode(file: str, text: str) -> list[int]:
    """A tokenizer.json read as it is meant: the first merge of the list that applies, at its first place, until none
    applies."""
    raw, model, ranks = opened(file)
    ids: list[int] = []
    for word, _ in raw.pre_tokenizer.pre_tokenize_str(raw.normalizer.normalize_str(text) if raw.normalizer else text):
        parts = [word] if model.get("ignore_merges") and word in model["vocab"] else list(word)
        while found := [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]:
            _, place = min(found)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        ids += [model["vocab"][part] for part in parts]
    return ids


WORDS = [*PLACES, *FRUITS, "에는", "습니다", "먹었", " box", "apples", "\n", "  ", "7", "🙂", "<|im_end|>", "é"]
TEXT = st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map("".join), st.text(max_size=30))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(text=TEXT)
def test_a_text_is_cut_as_before_and_then_merged_further(
    extensions: dict[str, Extension], kind: str, text: str
) -> None:
    old, extension = tokenizer_of(kind), extensions[kind]
    ids = extension.tokenizer.encode(text)
    assert ids == naive_encode(extension.tokenizer.json, text)
    assert extension.tokenizer.decode(ids) == old.decode(old.encode(text))
    pieces = [extension.pieces[token - extension.first] if token >= extension.first else [token] for token in ids]
    assert [piece for several in pieces for piece in several] == old.encode(text)


@pytest.mark.parametrize("kind", KINDS)
def test_old_tokens_keep_their_ids_and_new_ones_stand_behind_them(extensions: dict[str, Extension], kind: str) -> None:
    old, extension = tokenizer_of(kind), extensions[kind]
    before, after = (one.raw.get_vocab(with_added_tokens=True) for one in (old, extension.tokenizer))
    assert before.items() <= after.items()
    new = sorted(after.keys() - before.keys(), key=after.__getitem__)
    first = NUM_BYTE_LEVEL + {"gpt2": 1, "qwen2": 3, "llama3": 4}[kind]
    assert [after[name] for name in new] == list(range(first, first + 90)) and extension.first == first
    values = json.loads(extension.tokenizer.json)
    merges = json.loads(old.json)["model"]["merges"]
    assert values["model"]["merges"][: len(merges)] == merges
    assert [type(merge) for merge in values["model"]["merges"]] == [type(merges[0])] * (len(merges) + 90)
    assert {**values, "model": None} == {**json.loads(old.json), "model": None}
    template = "".join(SPECIAL[:1] if kind == "gpt2" else SPECIAL)
    assert extension.tokenizer.encode_template(template) == old.encode_template(template)
    words = {word for word, _ in old.raw.pre_tokenizer.pre_tokenize_str("\n".join(KOREAN))}
    assert all(any(name in word for word in words) for name in new), "a token reaches across words"


@pytest.mark.parametrize("kind", KINDS)
def test_bulk_encoding_is_the_same_and_by_the_fast_library(extensions: dict[str, Extension], kind: str, capsys) -> None:
    tokenizer, texts = extensions[kind].tokenizer, [*KOREAN, *ENGLISH, "<|im_end|>도담"]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
    assert capsys.readouterr().err == ""


def test_the_figures_are_those_of_lines_that_were_not_learned_from(tmp_path: Path) -> None:
    def learned_from(lines: list[str]) -> Extension:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
        return extend(old, (str(tmp_path / "rows.jsonl"),), 90)

    old = tokenizer_of("qwen2")
    held = [line for line in KOREAN if held_out(line, HELD_BACK)]
    assert 2 <= len(held) <= 30
    extension = learned_from(KOREAN)
    num_bytes = sum(len(line.encode()) for line in held)
    for when, tokenizer in (("before", old), ("after", extension.tokenizer)):
        ids = [token for line in held for token in tokenizer.encode(line)]
        assert extension.bytes_per_token[when] == pytest.approx(num_bytes / len(ids))
    counts = Counter(token for token in ids if token >= extension.first)
    most = sorted(counts, key=lambda token: (-counts[token], token))[:10]
    assert extension.most_used == [(extension.tokenizer.piece(token), counts[token]) for token in most]
    assert len(most) == 10
    without = learned_from([*(line for line in KOREAN if line not in held), held[0]])
    assert without.tokenizer.json == extension.tokenizer.json


def test_a_data_folder_is_text_too(korean: Path, tmp_path: Path) -> None:
    prepare(Prepare(data=(str(korean),), out=tmp_path / "data"))
    extension = extend(tokenizer_of("qwen2"), (str(tmp_path / "data"),), 50)
    assert extension.bytes_per_token["after"] > 1.5 * extension.bytes_per_token["before"]


def test_of_more_text_a_sample_is_taken(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in KOREAN))
    counted: list[int] = []
    count = module.count_words

    def watched(tokenizer: Tokenizer, texts) -> Counter[str]:
        texts = list(texts)
        counted.append(sum(len(text.encode()) for text in texts))
        return count(tokenizer, texts)

    monkeypatch.setattr(module, "count_words", watched)
    whole = sum(len(line.encode()) for line in KOREAN)
    extend(tokenizer_of("qwen2"), (str(tmp_path / "rows.jsonl"),), 20)
    monkeypatch.setattr(module, "SAMPLE_BYTES", whole // 2)
    extend(tokenizer_of("qwen2"), (str(tmp_path / "rows.jsonl"),), 20)
    assert 0.9 * whole < counted[0] < whole and 0.35 * whole < counted[1] < 0.65 * whole


def test_what_is_no_word_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("\n".join([*KOREAN, "zq" * 2000, "zq" * 2000]), encoding="utf-8")
    extension = extend(tokenizer_of("qwen2"), (str(tmp_path / "long.txt"),), 90)
    assert "zq" not in extension.tokenizer.raw.get_vocab()


def with_special_word() -> str:
    values = json.loads(as_llama3())
    values["added_tokens"].append({**values["added_tokens"][0], "id": NUM_BYTE_LEVEL + 4, "content": "stop"})
    return json.dumps(values)


def unigram() -> str:
    return tokenizers.Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0)).to_str()


def word_piece() -> str:
    return tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")).to_str()


def sentence_piece_bpe() -> str:
    return tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1}, [], byte_fallback=True)).to_str()


def characters() -> str:
    return tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1}, [])).to_str()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (unigram, r"is SentencePiece \(Unigram\), and only a byte-level BPE"),
        (word_piece, "is WordPiece, and only"),
        (sentence_piece_bpe, r"is SentencePiece \(BPE\), and only"),
        (characters, "is a BPE of characters, and only"),
        (with_special_word, "its special token stop is also a word"),
    ],
)
def test_other_tokenizers_are_refused_by_name(made: Callable[[], str], message: str, korean: Path) -> None:
    text = made()
    names = list(tokenizers.Tokenizer.from_str(text).get_vocab())
    with pytest.raises(FolderError, match=message):
        extend(Tokenizer(text, None, {"eos_token": names[0]}), (str(korean),), 10)


def test_what_the_text_cannot_give_is_said(korean: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of("qwen2")
    with pytest.raises(UsageError, match=r"100,000 tokens cannot be learned: the text has only \d+ pairs to merge"):
        extend(tokenizer, (str(korean),), 100_000)
    (tmp_path / "one.txt").write_text("사과", encoding="utf-8")
    with pytest.raises(DataError, match=r"one\.txt: has too few lines"):
        extend(tokenizer, (str(tmp_path / "one.txt"),), 5)
    with pytest.raises(DataError, match="no such file"):
        extend(tokenizer, ("nowhere.txt",), 5)
    (tmp_path / "old.txt").write_bytes("\n".join(KOREAN).encode("cp949"))
    with pytest.raises(DataError, match="--encoding cp949"):
        extend(tokenizer, (str(tmp_path / "old.txt"),), 5, "utf-8")
    assert extend(tokenizer, (str(tmp_path / "old.txt"),), 5).pieces
