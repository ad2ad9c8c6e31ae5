"""Objectives, optimisers, schedule, loader and packing, each against a plain reference or an invariant."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.data.batch import IGNORED, TokenBatch
from dodam.data.loader import RowLoader, token_batch
from dodam.data.packing import PackedLoader, best_fit
from dodam.errors import DataError, UsageError
from dodam.files import read_json
from dodam.models.build import build_decoder, decoder_config
from dodam.models.encoder import build_encoder, encoder_config
from dodam.models.encoder_decoder import build_encoder_decoder, encoder_decoder_config
from dodam.stages import training
from dodam.stages.run_folder import open_run
from dodam.stages.sft import Sft
from dodam.train import objective
from dodam.train.loop import one_step
from dodam.train.objective import TokenCrossEntropy, summed_cross_entropy
from dodam.train.optim import AdamW, Muon, OptimConfig, Optimizers, orthogonalize
from dodam.train.schedule import Schedule


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


COMPILING = pytest.mark.filterwarnings("ignore")  # of torch, as it compiles
CHUNKS = [(3, False), (7, False), (1024, False), pytest.param(7, True, marks=[pytest.mark.slow, COMPILING])]


@pytest.mark.parametrize(("chunk", "compiled"), CHUNKS)
def test_chunked_cross_entropy_equals_a_naive_one_in_fp64(
    chunk: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objective, "CHUNK", chunk)
    chunk_loss = objective.compiled(objective.chunk_loss) if compiled else objective.chunk_loss
    hidden, head = random(4, 5, 8, seed=1).requires_grad_(), random(11, 8, seed=2).requires_grad_()
    labels = torch.randint(0, 11, (4, 5), generator=torch.Generator().manual_seed(3))
    labels[0, :3] = IGNORED
    loss = summed_cross_entropy(hidden, head, labels, torch.float32, chunk_loss)
    (loss * 0.3).backward()
    hidden64, head64 = hidden.detach().double().requires_grad_(), head.detach().double().requires_grad_()
    log_probs = (hidden64 @ head64.T).log_softmax(-1)
    naive = -sum(log_probs[b, t, labels[b, t]] for b in range(4) for t in range(5) if labels[b, t] != IGNORED)
    (naive * 0.3).backward()
    torch.testing.assert_close(loss.double(), naive, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(hidden.grad.double(), hidden64.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head.grad.double(), head64.grad, atol=1e-5, rtol=1e-5)


def test_a_chunk_is_smaller_where_a_vocabulary_is_large_and_always_even() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    sizes = [objective.chunk_size(vocabulary, cpu) for vocabulary in (256, 4096, 12_345, 16_384, 151_936)]
    assert sizes == [1024, 1024, 320, 256, 128]
    assert objective.chunk_size(151_936, cuda) == objective.CHUNK


def test_accumulated_microbatches_equal_one_big_batch() -> None:
    rows = torch.randint(0, 64, (6, 17), generator=torch.Generator().manual_seed(0))
    labels = rows[:, 1:].clone()
    labels[:2, :13] = IGNORED  # parts of very different weight
    config = decoder_config(vocabulary=64, context=16, depth=1, width=64)
    weights = []
    for parts in ([6], [1, 2, 3], [1] * 6):
        model = build_decoder(config, 0)
        optimizers = Optimizers(model, OptimConfig(eps=1e-6))
        batches = [TokenBatch(*part) for part in zip(rows[:, :-1].split(parts), labels.split(parts), strict=True)]
        loss, norm, _ = one_step(model, optimizers, batches, TokenCrossEntropy(), 1.0, 1.0, "cpu")
        weights.append((float(loss), norm, torch.cat([p.detach().flatten() for p in model.parameters()])))
    for loss, norm, values in weights[1:]:
        assert loss == pytest.approx(weights[0][0], rel=1e-5)
        assert norm == pytest.approx(weights[0][1], rel=1e-4)
        # Muon orthogonalises in bf16, so equal gradients up to rounding give updates equal up to its rounding.
        torch.testing.assert_close(values, weights[0][2], atol=2e-3, rtol=0)


def test_adamw_equals_torch() -> None:
    ours, theirs = torch.nn.Parameter(random(5, 3)), torch.nn.Parameter(random(5, 3))
    mine = AdamW([("w", ours, 0.1)], (0.8, 0.95), 1e-8, 0.01)
    other = torch.optim.AdamW([theirs], lr=0.1, betas=(0.8, 0.95), eps=1e-8, weight_decay=0.01)
    for step in range(4):
        ours.grad, theirs.grad = random(5, 3, seed=step), random(5, 3, seed=step)
        mine.step(0.5)
        other.param_groups[0]["lr"] = 0.05
        other.step()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16), (12, 40), (40, 12)])
def test_orthogonalize_goes_towards_the_polar_factor(shape: tuple[int, int]) -> None:
    u, s, v = torch.linalg.svd(random(3, *shape), full_matrices=False)
    matrices = u * torch.logspace(0, -2, s.shape[-1]) @ v  # as gradients are: a few large directions, many small ones
    values = torch.linalg.svdvals(orthogonalize(matrices).float())
    assert values.max() < 2.0
    assert values.median() > 0.5
    cosine = F.cosine_similarity(orthogonalize(matrices).float().flatten(1), (u @ v).flatten(1))
    before = F.cosine_similarity(matrices.flatten(1), (u @ v).flatten(1))
    assert (cosine > before + 0.15).all()
    assert cosine.min() > 0.85


def test_muon_is_nesterov_momentum_orthogonalised() -> None:
    weight = torch.nn.Parameter(random(8, 4))
    before, momentum = weight.detach().clone(), torch.zeros(8, 4)
    muon = Muon([("w", weight)], lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(3):
        gradient = random(8, 4, seed=step)
        weight.grad = gradient.clone()
        muon.step(0.5)
        momentum = 0.9 * momentum + 0.1 * gradient
        update = orthogonalize((0.1 * gradient + 0.9 * momentum)[None])[0].float()
        before = before * (1 - 0.05 * 0.1) - 0.05 * 2**0.5 * update
    torch.testing.assert_close(weight.detach(), before, atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", ["decoder", "encoder", "encoder-decoder"])
def test_muon_has_the_matrices_of_the_blocks_whatever_the_architecture(kind: str) -> None:
    model = {
        "decoder": lambda: build_decoder(decoder_config(vocabulary=64, context=16, depth=1, width=64), 0),
        "encoder": lambda: build_encoder(encoder_config(vocabulary=64, context=16, depth=1, width=64), 0),
        "encoder-decoder": lambda: build_encoder_decoder(
            encoder_decoder_config(vocabulary=64, context=16, depth=1, width=64, start_id=1), 0
        ),
    }[kind]()
    muon, adamw = Optimizers(model, OptimConfig()).parts
    assert isinstance(muon, Muon)
    named = {name for group in muon.groups.values() for name, _ in group}
    blocks = {f"{name}.{inner}" for name, block in model.named_modules() if name.endswith("blocks.0")
              for inner, parameter in block.named_parameters() if parameter.ndim == 2}  # fmt: skip
    assert named == blocks
    assert len(named) == {"decoder": 7, "encoder": 7, "encoder-decoder": 6 + 10}[kind]
    assert isinstance(adamw, AdamW)
    assert named.isdisjoint(name for name, _, _ in adamw.named)


def test_schedule() -> None:
    schedule = Schedule(warmup=0.1, decay=0.5, floor=0.1)
    assert [round(schedule(p), 3) for p in (0.05, 0.1, 0.3, 0.5, 0.75, 1.0)] == [0.5, 1.0, 1.0, 1.0, 0.55, 0.1]


@dataclass
class Tokens:
    name: str
    tokens: np.ndarray
    weight: float = 1.0
    epochs: float = 0.0


def test_an_epoch_reads_every_token_once_and_nothing_is_cropped_or_padded() -> None:
    loader = RowLoader([Tokens("a", np.arange(1000)), Tokens("b", np.arange(5000, 5333))], context=16, seed=3)
    rows = loader.rows(0, loader.rows_per_epoch)
    assert {int(x) for x in rows[:, :-1].flatten()} == {*range(999), *range(5000, 5332)}
    assert loader.wasted < 0.02
    assert all((row[1:] - row[:-1] == 1).all() for row in rows)
    again = RowLoader([Tokens("a", np.arange(1000)), Tokens("b", np.arange(5000, 5333))], context=16, seed=3)
    assert (again.rows(37, 5) == loader.rows(37, 5)).all()
    second = loader.rows(loader.rows_per_epoch, loader.rows_per_epoch)
    assert {tuple(row) for row in second} == {tuple(row) for row in rows}
    assert not (second == rows).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(40, 400), st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0])), min_size=1, max_size=4))
def test_mixing_weights_are_kept_over_epochs(sources: list[tuple[int, float]]) -> None:
    loader = RowLoader([Tokens(str(i), np.full(n, i), w) for i, (n, w) in enumerate(sources)], context=8, seed=1)
    epochs = 4
    owners = [loader.locate(number)[0] for number in range(epochs * loader.rows_per_epoch)]
    for index, share in enumerate(loader.shares):
        assert owners.count(index) == epochs * share
        seen = [loader.locate(n)[1] for n in range(epochs * loader.rows_per_epoch) if owners[n] == index]
        counts = np.bincount(seen, minlength=loader.num_rows[index])
        assert counts.max() - counts.min() <= 1  # no row is read again before all others were


def test_a_corpus_smaller_than_a_row_is_refused() -> None:
    with pytest.raises(DataError, match="smaller than one row"):
        RowLoader([Tokens("a", np.arange(10))], context=16, seed=0)


def test_short_sources_are_joined_and_nothing_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    short = [Tokens(f"s{start}", np.arange(start, start + 10)) for start in (1000, 2000, 3000)]
    loader = RowLoader([short[0], Tokens("long", np.arange(100)), *short[1:]], context=16, seed=0)
    read = {int(token) for token in loader.rows(0, loader.rows_per_epoch).flatten()}
    assert read == {*range(100), *range(1000, 1010), *range(2000, 2010), *range(3000, 3010)}
    assert not capsys.readouterr().err

    alone = RowLoader([Tokens("long", np.arange(161)), Tokens("tiny", np.arange(10), 2.0)], context=16, seed=0)
    assert "tiny" in capsys.readouterr().err
    assert alone.wasted == pytest.approx(10 / 170)


def test_document_batches_number_documents_and_restart_positions() -> None:
    batch = token_batch(np.array([[7, 8, 1, 5, 6, 1, 9]]), document_mask=True, bos=1)
    assert batch.documents_BT.tolist() == [[0, 0, 1, 1, 1, 2]]
    assert batch.positions_BT.tolist() == [[0, 1, 0, 1, 2, 0]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 32), min_size=1, max_size=60))
def test_best_fit_places_every_item_once_and_overfills_no_row(lengths: list[int]) -> None:
    rows = best_fit(lengths, 32)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in row) <= 32 for row in rows)
    filled = sorted(sum(lengths[item] for item in row) for row in rows)
    assert len(filled) == 1 or filled[0] + filled[1] > 32  # no two rows could have been one


@dataclass
class One:
    ids: list[int]
    trained: list[bool]


def test_packed_conversations_learn_what_unpacked_ones_learn() -> None:
    generator = np.random.default_rng(0)
    conversations = []
    for _ in range(12):
        length = int(generator.integers(4, 14))
        conversations.append(One(generator.integers(2, 64, length).tolist(), (generator.random(length) < 0.5).tolist()))
    loader = PackedLoader(conversations, 20, pad=0, seed=0)
    model = build_decoder(decoder_config(vocabulary=64, context=20, depth=2, width=64), 0)
    torch.nn.init.normal_(model.blocks[0].attention.output.weight, std=0.2)
    compute = TokenCrossEntropy()
    packed = loader.batch(0, loader.rows_per_epoch)
    alone = torch.zeros(())
    for one in conversations:
        labels = [t if k else IGNORED for t, k in zip(one.ids, one.trained, strict=True)]
        alone += compute(model, TokenBatch(torch.tensor([one.ids[:-1]]), torch.tensor([labels[1:]])))
    torch.testing.assert_close(compute(model, packed), alone, atol=1e-3, rtol=1e-5)
    assert compute.weight(packed) == sum(sum(one.trained[1:]) for one in conversations)


@pytest.mark.parametrize("learned", ["checkpoint/step-00000003", "model", "metrics.jsonl"])
def test_a_first_start_that_failed_may_be_corrected_until_something_is_learned(tmp_path: Path, learned: str) -> None:
    """Also one that failed in its very first step, as --batch was too much for the memory: nothing is learned then."""
    config = Sft(data=("conversatoins",), model=tmp_path / "base", out=tmp_path / "run")
    open_run(config, "sft")
    corrected = replace(config, data=("conversations",))
    assert open_run(corrected, "sft") is None
    assert read_json(config.out / "config.json")["data"] == ["conversations"]
    drawn = config.out / "checkpoint" / "step-00000000"
    drawn.mkdir(parents=True)
    assert open_run(replace(corrected, microbatch=1, recompute=1.0), "sft") is None
    assert drawn.is_dir(), "these change nothing of what was drawn"
    assert open_run(replace(corrected, batch=1), "sft") is None
    assert not drawn.exists()
    assert open_run(corrected, "sft") is None
    (config.out / learned).mkdir(parents=True)
    assert open_run(replace(corrected, microbatch=1, recompute=1.0), "sft") is None
    with pytest.raises(UsageError, match=r"other settings \(data\)"):
        open_run(config, "sft")


def test_a_run_goes_on_in_another_place_and_with_the_threads_it_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("dodam.machine.use", lambda machine: None)
    config = Sft(data=("conversations",), model=tmp_path / "base", out=tmp_path / "run")
    open_run(config, "sft")
    (config.out / "checkpoint" / "step-00000003").mkdir(parents=True)
    config.out.rename(tmp_path / "moved")
    moved = replace(config, out=tmp_path / "moved", threads=1, checkpoint_seconds=7.0)
    assert open_run(moved, "sft") is None
    choices = {"machine": training.machine_for(config, {}).to_dict() | {"threads": 2}}
    assert training.machine_for(config, choices).threads == 2
    assert training.machine_for(moved, choices).threads == 1


@pytest.mark.parametrize(("stop_after", "refused"), [("1s", True), ("25h", False)])
def test_a_time_that_leaves_no_step_is_refused(stop_after: str, refused: bool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("dodam.machine.seconds_since_start", lambda: 3.0)
    config = Sft(data=("conversations",), model=tmp_path, out=tmp_path, stop_after=stop_after)
    if refused:
        with pytest.raises(UsageError, match="1s is too short"):
            training.until(config)
    else:
        assert (training.until(config) or 0) > time.time()


def test_a_run_begun_before_there_was_a_flag_goes_on(tmp_path: Path) -> None:
    config = Sft(data=("conversations",), model=tmp_path / "base", out=tmp_path / "run")
    open_run(config, "sft")
    (config.out / "checkpoint" / "step-00000003").mkdir(parents=True)
    written, came_later = config.out / "config.json", ("best", "keep", "recompute", "warmup", "float8")
    written.write_text(json.dumps({key: value for key, value in read_json(written).items() if key not in came_later}))
    assert open_run(config, "sft") is None
    assert open_run(replace(config, keep=5, stop_after="2h"), "sft") is None
    with pytest.raises(UsageError, match=r"other settings \(best\)"):
        open_run(replace(config, best=True), "sft")
