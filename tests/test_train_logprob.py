"""Log-probabilities against fp64 and against the model's own head, across chunks, with gradients."""

import pytest
import torch
from torch import Tensor

from dodam.data.batch import IGNORED, TokenBatch
from dodam.train import logprob
from dodam.train.logprob import label_logprobs, token_logprobs
from dodam.train.objective import TokenCrossEntropy
from talking_models import make_decoder


def naive(hidden: Tensor, head: Tensor, ids: Tensor, temperature: float, cap: float | None) -> tuple[Tensor, Tensor]:
    logits = hidden @ head.T
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    all_logprobs = (logits / temperature).log_softmax(-1)
    return all_logprobs.gather(1, ids[:, None]).squeeze(1), -(all_logprobs.exp() * all_logprobs).sum(-1)


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("kept", [0, 300])
def test_equal_to_fp64_with_gradients_over_several_chunks(
    kept: int, temperature: float, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprob, "CHUNK", 4)
    monkeypatch.setattr(logprob, "KEPT", kept)
    torch.manual_seed(0)
    hidden, head = torch.randn(10, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True)
    ids, slopes = torch.randint(0, 30, (10,)), torch.randn(10)
    found, entropies = token_logprobs(hidden, head, ids, torch.float32, temperature, cap)
    (found * slopes).sum().backward()
    hidden64, head64 = (one.detach().double().requires_grad_() for one in (hidden, head))
    expected, expected_entropies = naive(hidden64, head64, ids, temperature, cap)
    (expected * slopes).sum().backward()
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropies.double(), expected_entropies, atol=1e-5, rtol=1e-4)
    assert hidden64.grad is not None
    assert head64.grad is not None
    torch.testing.assert_close(hidden.grad, hidden64.grad.float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(head.grad, head64.grad.float(), atol=1e-5, rtol=1e-4)
    assert not entropies.requires_grad
    without, none = token_logprobs(hidden, head, ids, torch.float32, temperature, cap, entropy=False)
    assert torch.equal(without, found)
    assert not none.any()


def test_a_frozen_head_gets_no_gradient_and_changes_none() -> None:
    torch.manual_seed(0)
    hidden, head, ids = torch.randn(5, 8, requires_grad=True), torch.randn(30, 8), torch.randint(0, 30, (5,))
    token_logprobs(hidden, head, ids, torch.float32)[0].sum().backward()
    alone = hidden.grad
    hidden.grad = None
    token_logprobs(hidden, head.requires_grad_(), ids, torch.float32)[0].sum().backward()
    assert alone is not None
    assert torch.equal(alone, hidden.grad)


def test_an_answers_logprobs_are_minus_its_cross_entropy_and_have_its_gradient() -> None:
    model = make_decoder().train()
    ids = torch.randint(0, 448, (3, 12), generator=torch.Generator().manual_seed(0))
    labels = ids[:, 1:].clone()
    labels[0, :4] = labels[1, 9:] = IGNORED
    batch = TokenBatch(ids[:, :-1], labels)
    loss = TokenCrossEntropy()(model, batch)
    loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    found, _ = label_logprobs(model, model(batch.ids_BT), labels, torch.float32)
    assert torch.equal(found == 0, labels == IGNORED)
    torch.testing.assert_close(-found.sum(), loss)
    (-found.sum()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


def test_labels_of_none_are_zeros() -> None:
    model = make_decoder()
    labels = torch.full((2, 3), IGNORED)
    logprobs, entropies = label_logprobs(model, torch.randn(2, 3, 32), labels, torch.float32)
    assert not logprobs.any()
    assert not entropies.any()
