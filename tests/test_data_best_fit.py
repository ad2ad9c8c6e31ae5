"""Rows of whole documents: nothing cropped or told twice, borders kept, padding without effect, a run's story."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam import cli
from dodam.data.batch import IGNORED, TokenBatch
from dodam.data.best_fit import BestFitLoader
from dodam.data.corrupt import Units
from dodam.data.loader import RowLoader, token_batch
from dodam.data.packing import best_fit
from dodam.errors import DataError
from dodam.models.build import build_decoder, decoder_config
from dodam.models.decoder import Decoder
from dodam.models.encoder import Encoder, build_encoder, encoder_config
from dodam.stages import validation
from dodam.stages.masked import Masking
from dodam.train.objective import MaskedCrossEntropy, TokenCrossEntropy

PAD, BOS, EOS, SIZE = 0, 1, 2, 64
SPECIAL = np.arange(SIZE) < 5


@dataclass
class Tokens:
    name: str
    tokens: np.ndarray
    ends: np.ndarray
    weight: float = 1.0
    epochs: float = 0.0


def numbered(lengths: list[int], first: int = 10, **limits: float) -> Tokens:
    """Documents of these lengths, in which no token is there twice."""
    return Tokens(str(first), np.arange(first, first + sum(lengths)), np.cumsum(lengths), **limits)


def written(lengths: list[int], seed: int = 0) -> Tokens:
    """Documents as shards have them: <bos> ids <eos>."""
    generator = np.random.default_rng(seed)
    texts = [[BOS, *generator.integers(5, SIZE, length - 2), EOS] for length in lengths]
    return Tokens("a", np.concatenate(texts), np.cumsum(lengths))


def one_at_a_time(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing as it is defined."""
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    for item in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        room = next((room for room in range(lengths[item], capacity + 1) if by_room[room]), None)
        if room is None:
            room, row = capacity, len(rows)
            rows.append([])
        else:
            row = by_room[room].pop()
        rows[row].append(item)
        by_room[room - lengths[item]].append(row)
    return rows


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 24).flatmap(lambda c: st.tuples(st.lists(st.integers(1, c), max_size=150), st.just(c))))
def test_items_of_a_length_placed_together_lie_where_one_at_a_time_puts_them(drawn: tuple[list[int], int]) -> None:
    assert best_fit(*drawn) == one_at_a_time(*drawn)


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=3), st.integers(4, 20), st.integers(0, 1), st.integers(0, 2))
def test_a_pass_tells_every_token_once_and_cuts_no_document_that_fits(
    drawn: list[list[int]], context: int, ahead: int, epoch: int
) -> None:
    sources = [numbered(lengths, 10_000 * (number + 1)) for number, lengths in enumerate(drawn)]
    loader = BestFitLoader(sources, context, PAD, seed=2, ahead=ahead)
    first, count = epoch * loader.rows_per_epoch, loader.rows_per_epoch
    rows, documents = loader.rows(first, count), loader.documents(first, count)
    assert rows.shape == documents.shape == (count, context + 1)
    text = documents > 0
    assert (np.sort(text, axis=1)[:, ::-1] == text).all() and (rows[~text] == PAD).all()  # padding is behind the text
    assert not text[:, context + ahead :].any()

    read = Counter(rows[:, :-1][text[:, :-1]].tolist())
    assert sum(read.values()) == loader.tokens_per_epoch
    assert loader.padded == pytest.approx(1 - text[:, :-1].mean())
    if ahead:
        labels = token_batch(rows, documents=documents).labels_BT.numpy()
        begins = {int(source.tokens[end - length]) for source, lengths in zip(sources, drawn, strict=True)
                  for end, length in zip(source.ends, lengths, strict=True)}  # fmt: skip
        told = labels[labels != IGNORED].tolist()
        assert sorted([*told, *begins]) == sorted(token for source in sources for token in source.tokens.tolist())
        assert max(read.values()) == 1
    else:
        assert read == Counter(token for source in sources for token in source.tokens.tolist())

    pieces = [row[numbers == number] for row, numbers in zip(rows, documents, strict=True)
              for number in range(1, numbers.max() + 1)]  # fmt: skip
    by_first = {int(piece[0]): piece for piece in pieces}
    assert len(by_first) == len(pieces)
    for source, lengths in zip(sources, drawn, strict=True):
        for end, length in zip(source.ends.tolist(), lengths, strict=True):
            start = end - length
            while end - start > context + ahead:  # full rows, and only the rest is put together with others
                assert by_first[int(source.tokens[start])].tolist() == source.tokens[start:][: context + ahead].tolist()
                start += context
            assert by_first[int(source.tokens[start])].tolist() == source.tokens[start:end].tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(LENGTHS, st.sampled_from([0.25, 1.0, 2.0, 3.0]), st.sampled_from([0.0, 1.0, 4.0])),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 3),
)
def test_weights_limits_and_ranks(drawn: list[tuple[list[int], float, float]], ranks: int) -> None:
    """Sources are read as often as they shall, and what a rank reads is its share of the one order."""
    drawn = [*drawn, ([80] * 10, 1.0, 0.0)]  # one without a limit, too long to be joined
    sources = [
        numbered([*lengths, 30], 10_000 * (number + 1), weight=weight, epochs=epochs)
        for number, (lengths, weight, epochs) in enumerate(drawn)
    ]
    loader = BestFitLoader(sources, 16, PAD, seed=1)
    whole_epochs = int(loader.starts[-1] + loader.borders[-1, -1])
    owners = [loader.locate(number)[0] for number in range(whole_epochs)]
    for place, source in enumerate(sources):
        rows, wanted = loader.num_rows[place], source.weight * loader.num_rows[place]
        assert abs(owners[: loader.rows_per_epoch].count(place) - wanted) <= max(0.5, 1 - wanted) or source.epochs
        if source.epochs:
            assert owners.count(place) == round(source.epochs * rows)
        seen = [loader.locate(number)[1] for number, owner in enumerate(owners) if owner == place]
        counts = np.bincount(seen, minlength=rows)
        assert counts.max() - counts.min() <= 1  # no row is read again before all others were
    whole = loader.rows(3, 6 * ranks)
    for rank in range(ranks):
        own = BestFitLoader(sources, 16, PAD, seed=1)  # a worker of its own, which knows a number and no more
        for step in range(2):
            here = step * 3 * ranks + rank * 3
            assert (own.rows(3 + here, 3) == whole[here : here + 3]).all()


def test_sources_shorter_than_a_row_share_rows() -> None:
    sources = [numbered([4, 3], 100), numbered([40], 200), numbered([5], 300), numbered([2], 400, weight=0.0)]
    loader = BestFitLoader(sources, 16, PAD, seed=0)
    rows = loader.rows(0, loader.rows_per_epoch).tolist()
    assert [*range(300, 305), *range(100, 107), *[PAD] * 5] in rows
    assert loader.num_documents == 4 and loader.num_cut == 1
    with pytest.raises(DataError, match="no text to read"):
        BestFitLoader([numbered([2], weight=0.0)], 16, PAD, seed=0)


def test_a_corpus_by_hand() -> None:
    """Rows of 8 tokens and one to tell: 12 = 9 and, with a token shared, 4."""
    loader = BestFitLoader([numbered([3, 12, 5, 2, 6])], 8, PAD, seed=0)
    whole, rest, three, five, two, six = (
        list(range(*ends)) for ends in ((13, 22), (21, 25), (10, 13), (25, 30), (30, 32), (32, 38))
    )
    rows = {tuple(row) for row in loader.rows(0, 4).tolist()}
    assert rows == {tuple(row) for row in (whole, [*six, *three], [*five, *rest], [*two, *[PAD] * 7])}
    assert loader.num_rows == [4]
    assert loader.told == f"{6 / 32:.2%} of the positions padded, 1 of 5 documents longer than a row"


def test_rows_of_running_text_are_in_the_order_they_always_were() -> None:
    """Of runs that have begun and of those that are to be repeated."""
    sizes = [(0, 1000, 1.0, 0.0), (5000, 5333, 2.5, 3.0), (9000, 9010, 0.5, 0.0), (9100, 9112, 0.5, 0.0)]
    sources = [numbered([end - start], start, weight=weight, epochs=epochs) for start, end, weight, epochs in sizes]
    loader = RowLoader(sources, 16, 3)
    rows = loader.rows(0, 3 * loader.rows_per_epoch)
    assert (loader.rows_per_epoch, rows[:4, 0].tolist()) == (116, [624, 5272, 912, 480])
    assert hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16] == "4f9b72eda1cabfa5"
    assert loader.tokens_per_epoch == 1856 and loader.padded == 0.0


def test_borders_come_from_the_documents_and_not_from_a_token() -> None:
    rows, documents = np.array([[7, 8, BOS, 5, 6, 9, PAD, PAD]]), np.array([[1, 1, 2, 2, 3, 3, 0, 0]])
    batch = token_batch(rows, document_mask=True, bos=BOS, documents=documents)
    assert batch.labels_BT.tolist() == [[8, IGNORED, 5, IGNORED, 9, IGNORED, IGNORED]]
    assert batch.documents_BT is not None and batch.positions_BT is not None
    assert batch.documents_BT.tolist() == [[1, 1, 2, 2, 3, 3, 4]]
    assert batch.positions_BT.tolist() == [[0, 1, 0, 1, 0, 1, 0]]
    plain = token_batch(rows, documents=documents)
    assert plain.documents_BT is None and torch.equal(plain.labels_BT, batch.labels_BT)


def decoder() -> Decoder:
    model = build_decoder(decoder_config(vocabulary=SIZE, context=24, depth=2, width=64), 0)
    for block in model.blocks:
        torch.nn.init.normal_(block.attention.output.weight, std=0.3)
    torch.nn.init.normal_(model.output.weight, std=0.3)
    return model


def encoder() -> Encoder:
    model = build_encoder(encoder_config(vocabulary=SIZE, context=24, depth=2, width=64, family="modernbert"), 0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.2)
    return model


def other_padding(batch: TokenBatch, documents: np.ndarray) -> TokenBatch:
    """The same with other tokens where there is padding."""
    padding = torch.from_numpy(documents[:, :-1] == 0)
    return replace(batch, ids_BT=batch.ids_BT.where(~padding, torch.arange(5, 5 + batch.ids_BT.shape[1])))


@pytest.mark.parametrize("document_mask", [False, True])
def test_a_decoder_learns_from_packed_documents_as_from_each_alone_and_not_from_padding(document_mask: bool) -> None:
    source, model, compute = written([9, 30, 4, 17, 12, 55, 3]), decoder(), TokenCrossEntropy()
    loader = BestFitLoader([source], 20, PAD, seed=0)
    rows, documents = loader.rows(0, loader.rows_per_epoch), loader.documents(0, loader.rows_per_epoch)
    batch = token_batch(rows, document_mask=document_mask, bos=BOS, documents=documents)
    loss = compute(model, batch)
    torch.testing.assert_close(compute(model, other_padding(batch, documents)), loss)
    alone = torch.zeros(())
    for row, numbers in zip(rows, documents, strict=True):
        if document_mask:
            parts = [row[numbers == number] for number in range(1, numbers.max() + 1)]
            batches = [token_batch(part[None]) for part in parts if len(part) > 1]
        else:  # the row without its padding
            real = numbers > 0
            batches = [token_batch(row[real][None], documents=numbers[real][None])]
        alone += sum(compute(model, one) for one in batches)
    torch.testing.assert_close(loss, alone, atol=1e-3, rtol=1e-5)
    assert compute.weight(batch) == len(source.tokens) - 7


@pytest.mark.parametrize("document_mask", [False, True])
def test_an_encoder_sees_no_padding(document_mask: bool) -> None:
    model, compute = encoder(), MaskedCrossEntropy()
    units = Units(np.ones(SIZE, bool), np.ones(SIZE, bool), SPECIAL)
    masking = Masking(units=units, mask=3, bos=BOS, share=0.4, seed=0, document_mask=document_mask)
    loader = BestFitLoader([written([9, 30, 4, 17, 12, 55, 3])], 20, PAD, seed=0, ahead=0)
    count = loader.rows_per_epoch
    documents, batch = loader.documents(0, count), masking.taken(loader, 0, count)
    padding = documents[:, :-1] == 0
    assert padding.any() and bool((batch.labels_BT[torch.from_numpy(padding)] == IGNORED).all())
    loss = compute(model, batch)
    torch.testing.assert_close(compute(model, other_padding(batch, documents)), loss)
    alone = torch.zeros(())
    for index, numbers in enumerate(documents[:, :-1]):
        for number in range(1, numbers.max() + 1) if document_mask else [numbers[numbers > 0]]:
            here = torch.from_numpy(numbers == number if document_mask else numbers > 0)
            alone += compute(model, TokenBatch(batch.ids_BT[index, here][None], batch.labels_BT[index, here][None]))
    torch.testing.assert_close(loss, alone, atol=1e-3, rtol=1e-5)


def test_held_back_text_is_measured_without_padding_and_shown_within_a_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, loader = decoder(), BestFitLoader([written([9, 30, 4, 17, 12, 55, 3])], 20, PAD, seed=0)
    lengths = np.where(np.arange(200) < 5, 0, np.arange(200))  # many ids, so that the label -100 would be one of them
    tokenizer: Any = SimpleNamespace(bos=BOS, eos=EOS, byte_lengths=lambda: lengths, decode=lambda ids: "")
    taken, documents = loader.rows(0, loader.rows_per_epoch), loader.documents(0, loader.rows_per_epoch)
    batch = token_batch(taken, document_mask=True, documents=documents)
    told = batch.labels_BT[batch.labels_BT != IGNORED].numpy()
    bits = float(TokenCrossEntropy()(model, batch).detach()) / np.log(2) / lengths[told].sum()
    measured = validation.bits_per_byte(model, tokenizer, loader, torch.float32, document_mask=True)
    assert measured == pytest.approx(bits, rel=1e-5)

    prompts: list[list[int]] = []

    def generate(model: Decoder, given: list[list[int]], *_: Any, **__: Any) -> list[Any]:
        prompts.extend(given)
        return [SimpleNamespace(ids=[]) for _ in given]

    monkeypatch.setattr(validation, "generate", generate)
    validation.continuations(model, tokenizer, loader, count=10)
    for row, numbers, prompt in zip(taken, documents, prompts, strict=True):
        first = row[numbers == 1].tolist()
        assert prompt == first[: len(first) // 2][:16] and prompt


SENTENCES = [f"{number}번째 나무에는 새가 {number + 3}마리 앉아 있다. " * (1 + number % 9) for number in range(160)]
RUN = [
    "--steps", "4", "--batch", "4", "--depth", "1", "--width", "64", "--context", "64", "--threads", "1",
    "--compile", "no",
]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("text")
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in SENTENCES)
    (folder / "trees.jsonl").write_text("\n".join(lines), encoding="utf-8")
    names = {name: str(folder / name) for name in ("data", "tokenizer")}
    prepare = ["prepare", "--data", str(folder / "trees.jsonl"), "--out", names["data"], "--validation", "0.1"]
    train = ["tokenizer", "train", "--data", names["data"], "--out", names["tokenizer"], "--vocabulary", "448"]
    assert cli.main(prepare) == 0 and cli.main(train) == 0
    return names


@pytest.mark.parametrize(("architecture", "document_mask"), [("decoder", ["--document-mask"]), ("encoder", [])])
def test_the_story_of_a_run(
    architecture: str, document_mask: list[str], prepared: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "run"
    words = ["pretrain", "--data", prepared["data"], "--tokenizer", prepared["tokenizer"], *RUN, *document_mask]
    words += ["--architecture", architecture, "--out", str(out), "--json"]
    assert cli.main([*words, "--packing", "best-fit"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out.splitlines()[-1])
    assert f"{result['padded']:.2%} of the positions padded" in told.err and "documents longer than a row" in told.err
    assert result["steps"] == 4 and result["tokens"] == 4 * 4 * 64 and 0 < result["padded"] < 0.5
    assert result["validation"] > 0
    assert f'"positions padded": {result["padded"]}' in (out / "model" / "README.md").read_text(encoding="utf-8")
    assert cli.main([*words, "--packing", "concatenate"]) == 2
    assert "begun with other settings (packing)" in capsys.readouterr().err


def test_an_encoder_decoder_has_no_padding_to_drop_spans_from(
    prepared: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    words = ["pretrain", "--data", prepared["data"], "--tokenizer", prepared["tokenizer"], "--packing", "best-fit"]
    assert cli.main([*words, *RUN, "--architecture", "encoder-decoder", "--out", str(tmp_path / "run")]) == 2
    assert "only a model with --architecture decoder or encoder has it" in capsys.readouterr().err


def test_concatenation_is_what_runs_do_without_the_flag(prepared: dict[str, str], tmp_path: Path) -> None:
    models = []
    for name, packing in (("plain", []), ("said", ["--packing", "concatenate"])):
        words = ["pretrain", "--data", prepared["data"], "--tokenizer", prepared["tokenizer"], *RUN, *packing]
        assert cli.main([*words, "--out", str(tmp_path / name)]) == 0
        models.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
        assert "padded" not in json.loads((tmp_path / name / "result.json").read_text(encoding="utf-8"))
    assert models[0] == models[1]
