"""Blocks that are computed again on the way back: the same gradients as without, in every architecture."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from dodam.data.batch import IGNORED, TokenBatch
from dodam.data.pairs import PairBatch
from dodam.models.build import MODELS, decoder_config
from dodam.models.decoder import DecoderConfig
from dodam.models.encoder import EncoderConfig, encoder_config
from dodam.models.encoder_decoder import encoder_decoder_config
from dodam.nn.dropout import set_dropout
from dodam.stages.compiling import compile_blocks
from dodam.train.label_smoothing import SmoothedCrossEntropy
from dodam.train.objective import MaskedCrossEntropy, TokenCrossEntropy
from dodam.train.recompute import recompute_blocks, spread

COMMON = {"vocabulary": 96, "context": 32, "depth": 3, "width": 32}
SIZES = {
    "decoder": decoder_config(**COMMON, heads=2, kv_heads=1),
    "encoder": encoder_config(**COMMON, heads=2),
    "encoder-decoder": encoder_decoder_config(**COMMON, heads=2, start_id=0),
}


def example(sizes: Any) -> tuple[Any, Any]:
    """A batch and what is minimised on it."""
    ids_BT = torch.randint(1, 96, (2, 32), generator=torch.Generator().manual_seed(1))
    if isinstance(sizes, DecoderConfig):
        return TokenBatch(ids_BT=ids_BT, labels_BT=ids_BT), TokenCrossEntropy(torch.float32)
    if isinstance(sizes, EncoderConfig):
        labels_BT = ids_BT.clone()
        labels_BT[:, 5:] = IGNORED
        return TokenBatch(ids_BT=ids_BT, labels_BT=labels_BT), MaskedCrossEntropy(torch.float32)
    pairs = PairBatch(source_BS=ids_BT, real_BS=ids_BT > 0, target_BT=ids_BT[:, :9], labels_BT=ids_BT[:, :9])
    return pairs, SmoothedCrossEntropy(dtype=torch.float32)


def learned(name: str, share: float, *, compiled: bool = False) -> tuple[dict[str, torch.Tensor], int]:
    """The gradients of a step with dropout, and how many times a block was called."""
    torch.manual_seed(0)
    model = MODELS[type(SIZES[name])](SIZES[name])
    batch, objective = example(SIZES[name])
    set_dropout(model, 0.0 if compiled else 0.2)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    if compiled:
        compile_blocks(model)
    else:
        for path, module in model.named_modules():
            if path.split(".")[-2:-1] == ["blocks"]:
                module.register_forward_pre_hook(count)
    if share:
        recompute_blocks(model, share)
    torch.manual_seed(7)
    objective(model, batch).backward()
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}, calls


@pytest.mark.parametrize("name", SIZES)
def test_gradients_are_the_same_bits(name: str) -> None:
    (plain, once), (half, some), (all_of_it, twice) = (learned(name, share) for share in (0.0, 0.5, 1.0))
    assert twice == 2 * once and once < some < twice
    assert plain.keys() == half.keys() == all_of_it.keys() and len(plain) > 10
    for path, gradient in plain.items():
        assert torch.equal(gradient, half[path]) and torch.equal(gradient, all_of_it[path]), path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch, as it compiles
def test_compiled_blocks_too() -> None:
    (plain, _), (again, _) = (learned("decoder", share, compiled=True) for share in (0.0, 1.0))
    assert all(torch.equal(gradient, again[path]) for path, gradient in plain.items())


def test_nothing_is_computed_again_where_nothing_is_learned() -> None:
    model = MODELS[DecoderConfig](SIZES["decoder"])
    recompute_blocks(model, 1.0)
    with torch.no_grad():
        assert not model(torch.zeros(1, 4, dtype=torch.long)).requires_grad


@pytest.mark.parametrize(
    ("count", "share", "number"), [(4, 0.0, 0), (4, 1.0, 4), (7, 0.5, 4), (3, 0.1, 1), (10, 0.3, 3)]
)
def test_the_share_is_spread_over_the_stack(count: int, share: float, number: int) -> None:
    chosen = spread(count, share)
    assert len(chosen) == count and sum(chosen) == number
    assert share != 0.5 or not any(one and other for one, other in pairwise(chosen))
