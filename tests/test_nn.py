"""The parts that parity with whole models does not show alone: windows, watched weights, the balance of experts."""

import pytest
import torch

from dodam.models.build import build_decoder, decoder_config
from dodam.models.decoder import DecoderConfig
from dodam.nn.attention import added_once, attend, attend_explicitly, attention_weights, shared_heads_fused, watched
from dodam.nn.experts import Experts, balance_loss
from dodam.nn.mask import CAUSAL, EVERYTHING, Mask, document_mask, padding_mask


def heads(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, allowed: torch.Tensor, scale: float, cap: float | None):
    """One score, one weight, one sum at a time."""
    B, H, T, _ = q.shape
    out = torch.zeros_like(q)
    for b in range(B):
        for h in range(H):
            key, value = k[b, h * k.shape[1] // H], v[b, h * v.shape[1] // H]
            for t in range(T):
                seen = [s for s in range(key.shape[0]) if allowed[b, t, s]]
                scores = torch.stack([(q[b, h, t] * key[s]).sum() * scale for s in seen])
                scores = scores if cap is None else cap * torch.tanh(scores / cap)
                weights = scores.exp() / scores.exp().sum()
                out[b, h, t] = sum(w * value[s] for w, s in zip(weights, seen, strict=True))
    return out


@pytest.mark.parametrize(
    ("device", "dtype", "masked", "fused"),
    [
        ("cuda", torch.bfloat16, False, True),
        ("cuda", torch.bfloat16, True, False),
        ("cuda", torch.float32, False, False),
        ("cpu", torch.float32, True, True),
    ],
)
def test_heads_are_repeated_where_no_fused_kernel_shares_them(device, dtype, masked, fused, monkeypatch) -> None:
    assert shared_heads_fused(device, dtype, masked=masked) == fused
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 9, 8, generator=generator) for heads in (4, 2, 2))
    mask = Mask(causal=True, allowed=torch.ones(9, 9, dtype=torch.bool).tril()[None, None] if masked else None)
    expected = attend(q, k, v, mask)
    monkeypatch.setattr("dodam.nn.attention.shared_heads_fused", lambda *_, **__: fused)
    torch.testing.assert_close(attend(q, k, v, mask), expected)


@pytest.mark.parametrize(("dtype", "T", "once"), [(torch.float32, 9, True), (torch.bfloat16, 9, False)])
def test_a_mask_becomes_what_is_added_once_for_all_layers(dtype: torch.dtype, T: int, once: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, T, 8, generator=generator).to(dtype) for heads in (4, 2, 2))
    documents_BT = (torch.arange(T) > T // 2).long().expand(2, T)
    mask, x_BTD = document_mask(documents_BT), torch.zeros(2, T, 32, dtype=dtype)
    made = added_once(mask, x_BTD)
    assert (made.bias is not None and made.allowed is None) == once
    assert made.bias is None or (made.bias.dtype == dtype and made.bias.shape == (2, 1, T, T))
    torch.testing.assert_close(attend(q, k, v, made), attend(q, k, v, mask))
    with torch.no_grad():
        assert added_once(mask, x_BTD) is mask, "nothing is kept where nothing learns"
    assert added_once(CAUSAL, x_BTD) is CAUSAL


@pytest.mark.parametrize("kernel", [attend, attend_explicitly])
@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 3])
def test_attention_is_the_naive_sum(kernel, cap: float | None, window: int | None) -> None:
    q, k, v = heads(0, 2, 4, 9, 6), heads(1, 2, 2, 9, 6), heads(2, 2, 2, 9, 6)
    mask = CAUSAL if window is None else CAUSAL.within(window, torch.arange(9), 9)
    places = torch.arange(9)
    distance = places[:, None] - places
    allowed = ((distance >= 0) & (distance < (window or 9))).expand(2, 9, 9)
    expected = naive(q, k, v, allowed, 0.3, cap)
    torch.testing.assert_close(kernel(q, k, v, mask, scale=0.3, softcap=cap), expected)


def test_a_window_both_ways_and_documents_and_padding_go_together() -> None:
    documents = torch.tensor([[1, 1, 1, 1, 2, 2]])
    near = document_mask(documents, causal=False).within(2, torch.arange(6), 6, both_ways=True)
    assert near.allowed is not None
    expected = torch.tensor(
        [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1],
         [0, 0, 0, 0, 1, 1]]
    ).bool()  # fmt: skip
    assert torch.equal(near.allowed[0, 0], expected)
    assert padding_mask(torch.ones(2, 3, dtype=torch.bool)) is EVERYTHING
    assert CAUSAL.within(6, torch.arange(6), 6) is CAUSAL


def test_a_bias_is_added_to_the_scores_in_every_kernel() -> None:
    q, k, v, bias = heads(0, 2, 4, 5, 6), heads(1, 2, 4, 7, 6), heads(2, 2, 4, 7, 6), heads(3, 1, 4, 5, 7)
    real = torch.arange(7) < torch.tensor([[7], [4]])
    mask = Mask(causal=False, allowed=real[:, None, None], bias=bias)
    scores = (q @ k.transpose(-1, -2) * 6**-0.5 + bias).masked_fill(~real[:, None, None], float("-inf"))
    expected = scores.softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v, mask), expected)
    torch.testing.assert_close(attend_explicitly(q, k, v, mask), expected)
    torch.testing.assert_close(attention_weights(q, k, mask).double(), scores.softmax(-1), atol=1e-5, rtol=1e-4)


def test_weights_can_be_watched_and_nothing_changes() -> None:
    model = build_decoder(decoder_config(vocabulary=512, context=32, depth=2, width=64), 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5 if parameter.ndim == 1 else 0.0, 0.2)
    ids = torch.randint(0, 512, (2, 11))
    alone = model(ids)
    with watched(model) as seen:
        assert torch.equal(model(ids), alone)
    assert torch.equal(model(ids), alone)
    assert list(seen) == ["blocks.0.attention", "blocks.1.attention"]
    for (weights,) in seen.values():
        assert weights.shape == (2, 1, 11, 11)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1, 11))
        assert not weights.triu(1).any()
    assert len(seen["blocks.0.attention"]) == 1, "what came after was noted too"


def test_the_balance_of_experts_is_that_of_transformers_and_1_a_choice_where_it_is_even() -> None:
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    shares = logits.softmax(-1)
    expected = load_balancing_loss_func((logits,), num_experts=6, top_k=2)
    torch.testing.assert_close(balance_loss(shares, shares.topk(2).indices), expected)
    even = torch.full((6, 6), 1 / 6)
    torch.testing.assert_close(balance_loss(even, torch.arange(6).view(6, 1)), torch.tensor(1.0))


def test_routing_to_one_expert_costs_more_and_the_objective_says_so() -> None:
    from dodam.data.batch import TokenBatch
    from dodam.models.decoder import Decoder
    from dodam.train.objective import BALANCE, TokenCrossEntropy, balance

    sizes = {"vocabulary": 64, "depth": 2, "width": 16, "heads": 2, "kv_heads": 1, "head_dim": 8}
    config = DecoderConfig(**sizes, feedforward_size=24, context=32, experts=4, experts_chosen=2, family="qwen3_moe")
    torch.manual_seed(0)
    model = Decoder(config).train()
    ids = torch.randint(0, 64, (3, 12))
    batch, objective = TokenBatch(ids, ids.roll(-1, 1)), TokenCrossEntropy()
    trained = objective(model, batch)
    cost = BALANCE * 36 * balance(model)
    torch.testing.assert_close(trained - cost, objective(model.eval(), batch))
    cost.backward()
    routers = [module.router.weight.grad for module in model.modules() if isinstance(module, Experts)]
    assert len(routers) == 2 and all(grad is not None and grad.abs().sum() > 0 for grad in routers)
