"""R-Drop: loss and gradients against a naive fp64 reference, and through the commands."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dodam import cli
from dodam.data.batch import IGNORED
from dodam.data.pairs import EncodedPair, PairBatch, padded_batch
from dodam.generate.classifier import TextBatch
from dodam.models.encoder_decoder import EncoderDecoder, build_encoder_decoder, encoder_decoder_config
from dodam.nn.dropout import set_dropout
from dodam.nn.mask import padding_mask
from dodam.stages.texts import LabelLoss
from dodam.train.label_smoothing import SmoothedCrossEntropy
from dodam.train.r_drop import RDropCrossEntropy, twice

ALPHA = 5.0


def small_model() -> EncoderDecoder:
    """Fresh models begin with output projections of zero; a little noise makes every part count."""
    sizes = encoder_decoder_config(vocabulary=40, context=16, start_id=1, depth=1, width=32, heads=2)
    model = build_encoder_decoder(sizes, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return model


def pairs(count: int) -> PairBatch:
    generator = torch.Generator().manual_seed(2)

    def side() -> list[int]:
        size = int(torch.randint(2, 9, (), generator=generator))
        return torch.randint(3, 40, (size,), generator=generator).tolist()

    return padded_batch([EncodedPair(np.array(side()), np.array(side())) for _ in range(count)], pad=0, start=1)


COMPILING = pytest.mark.filterwarnings("ignore")  # of torch, as it compiles


def naive(logs: torch.Tensor, other: torch.Tensor, label: int, smoothing: float) -> torch.Tensor:
    """Wu et al. 2021, eq. 4, of one position, over two: the sum over the vocabulary written out."""
    wanted = torch.full_like(logs, smoothing / len(logs))
    wanted[label] += 1 - smoothing
    entropies = -(wanted * logs).sum() - (wanted * other).sum()
    apart = (logs.exp() * (logs - other)).sum() + (other.exp() * (other - logs)).sum()
    return (entropies + ALPHA * apart / 2) / 2


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=[pytest.mark.slow, COMPILING])])
def test_the_loss_and_its_gradients_are_those_of_a_naive_one(compiled: bool, monkeypatch) -> None:
    """What is dropped is drawn once for both sides: the reference gets the hidden states of the same two readings."""
    monkeypatch.setattr("dodam.train.objective.CHUNK", 6)  # several chunks, a position's two rows in one of them
    model, batch = small_model(), pairs(5)
    set_dropout(model, 0.3)
    model.train()
    torch.manual_seed(3)
    loss = RDropCrossEntropy(ALPHA, 0.1, compiled=compiled)(model, batch)
    loss.backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    both = twice(batch)
    hidden = model(both.source_BS, both.target_BT, padding_mask(both.real_BS))
    logs = model.head(hidden).double().log_softmax(-1)
    wanted = torch.zeros((), dtype=torch.float64)
    for row, labels in enumerate(batch.labels_BT.tolist()):
        for place, label in enumerate(labels):
            if label != IGNORED:
                wanted = wanted + naive(logs[2 * row, place], logs[2 * row + 1, place], label, 0.1)
    wanted.backward()
    assert float(loss.detach()) == pytest.approx(wanted.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad, atol=2e-4, rtol=1e-3, msg=name)
    assert not hidden[0].equal(hidden[1])


@torch.no_grad()
def test_without_dropout_it_is_the_usual_loss() -> None:
    model, batch = small_model().eval(), pairs(4)
    usual = SmoothedCrossEntropy(0.1)
    assert float(RDropCrossEntropy(ALPHA, 0.1)(model, batch)) == pytest.approx(float(usual(model, batch)), rel=1e-5)
    assert RDropCrossEntropy(ALPHA).weight(batch) == usual.weight(batch)


def test_of_labels_it_is_the_naive_one_too(monkeypatch) -> None:
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    targets = torch.tensor([1, 3, 0])
    monkeypatch.setattr("dodam.stages.texts.classify", lambda *_: logits)
    batch = TextBatch(torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(3, 2), targets)
    loss = LabelLoss("single_label_classification", torch.float32, None, 0.1, ALPHA)(None, batch)
    logs = logits.log_softmax(-1)
    each = [naive(logs[2 * row], logs[2 * row + 1], int(label), 0.1) for row, label in enumerate(targets)]
    wanted = torch.stack(each).sum()
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (loss, wanted)))
    plain = LabelLoss("single_label_classification", torch.float32)(None, twice(batch))
    torch.testing.assert_close(plain, F.cross_entropy(logits, targets.repeat_interleave(2), reduction="sum"))


@pytest.mark.parametrize("words", [["classify", "--task", "regression"], ["classify"], ["seq2seq"]])
def test_where_there_is_nothing_to_compare_it_is_refused(words: list[str], tmp_path: Path, capsys) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabel\tsource\ttarget\none\t1\tone\teins\ntwo\t2\ttwo\tzwei\n")
    dropout = [] if "--task" in words else ["--dropout", "0"]
    given = [*words, "--data", str(tmp_path / "a.tsv"), "--r-drop", "1", *dropout, "--out", str(tmp_path / "r")]
    assert cli.main(given) == 2
    assert "--r-drop" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
