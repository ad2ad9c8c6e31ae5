"""4-bit NormalFloat: the values against the paper, every error against its bound, gradients against a plain layer of
what is stood for, memory by arithmetic; and QLoRA through the real command."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam import cli
from dodam.exchange.adapter import TENSORS, load_adapter
from dodam.exchange.families import FAMILIES
from dodam.exchange.mapping import table_of
from dodam.folder import load_model
from dodam.models.build import build_decoder, decoder_config
from dodam.models.decoder import Decoder
from dodam.nn.lora import (
    LoraConfig,
    add_lora,
    lora_layers,
    lora_state,
    merge_lora,
    quantize_layers,
    quantized_layers,
)
from dodam.nn.nf4 import BLOCK, GROUP, VALUES, Nf4Linear, block_scales, dequantize, quantize
from dodam.tensors import read_tensors

PUBLISHED = [  # Dettmers et al. 2023, appendix E
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
WIDEST = 1 - 0.6961928009986877
IDS = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(5))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shaken(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(7)
    for tensor in lora_state(model).values():
        tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))


def small_decoder() -> Decoder:
    model = build_decoder(decoder_config(vocabulary=96, context=64, depth=2, width=64), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


# --- the number type --------------------------------------------------------------------------------------------------


def test_the_values_are_the_published_ones() -> None:
    torch.testing.assert_close(VALUES, torch.tensor(PUBLISHED), atol=1e-6, rtol=0)
    assert VALUES[7] == 0 and VALUES[0] == -1 and VALUES[15] == 1


def test_every_value_is_kept() -> None:
    """With every block alike no scale differs from the mean, and each value under it comes back as it was."""
    block = VALUES.repeat(BLOCK // 16)
    weight = (block * 0.37).repeat(GROUP + 3).view(-1, BLOCK)
    torch.testing.assert_close(dequantize(quantize(weight), tuple(weight.shape)), weight, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("shape", [(64, 96), (7, 13), (300, 80), (1, 1)])
def test_it_is_the_nearest_value_under_the_stored_scale(shape: tuple[int, int]) -> None:
    weight = normal(*shape, seed=1) * torch.linspace(0.01, 3, shape[0])[:, None]
    stored = quantize(weight)
    scales = block_scales(stored).double().repeat_interleave(BLOCK)[: weight.numel()]
    flat = weight.flatten().double()
    nearest = (flat[:, None] - scales[:, None] * VALUES.double()).abs().amin(1)
    got = (dequantize(stored, shape).flatten().double() - flat).abs()
    torch.testing.assert_close(got, nearest, atol=1e-6, rtol=1e-5)


def test_errors_stay_within_their_bounds() -> None:
    weight = normal(512, 512, seed=2) * torch.linspace(0.1, 2, 512)[:, None]
    stored = quantize(weight)
    largest = weight.view(-1, BLOCK).abs().amax(1)
    groups = (largest - largest.mean()).view(-1, GROUP)
    allowed = (groups.abs().amax(1) / 254 * 1.0001).repeat_interleave(GROUP)
    off = (block_scales(stored) - largest).abs()
    assert (off <= allowed).all()
    assert off.max() > 0, "the scales are not in 8 bits"
    error = (dequantize(stored, (512, 512)) - weight).abs().view(-1, BLOCK)
    assert (error <= (WIDEST / 2 * block_scales(stored) + allowed)[:, None] * 1.0001).all()


def test_a_normal_matrix_loses_less_than_in_even_steps() -> None:
    """What quantiles are for: less error than 16 even steps under the same blocks' scales, and about 9%."""
    weight = normal(256, 256, seed=3)
    blocks = weight.view(-1, BLOCK)
    largest = blocks.abs().amax(1, keepdim=True)
    even = (blocks / largest * 7).round() / 7 * largest
    error = (dequantize(quantize(weight), (256, 256)) - weight).norm() / weight.norm()
    assert error < 0.9 * (even - blocks).norm() / blocks.norm()
    assert 0.08 < error < 0.1


@pytest.mark.parametrize("weight", [torch.zeros(64, 64), torch.full((64, 64), -3.0)])
def test_zeros_and_equal_numbers_come_back(weight: Tensor) -> None:
    assert torch.equal(dequantize(quantize(weight), (64, 64)), weight)


def test_zeros_beside_numbers_stay_zeros() -> None:
    weight = normal(64, 64)
    weight[3:9] = 0
    assert (dequantize(quantize(weight), (64, 64))[3:9] == 0).all()


def test_bf16_is_rounded_once() -> None:
    stored = quantize(normal(64, 64))
    assert torch.equal(dequantize(stored, (64, 64), torch.bfloat16), dequantize(stored, (64, 64)).bfloat16())


@pytest.mark.parametrize(("rows", "columns"), [(1024, 1024), (1024, 4096), (100, 7)])
def test_memory_is_what_the_paper_says(rows: int, columns: int) -> None:
    """4 bits, 8 / 64 for the scales and 32 / (64 x 256) for their steps (section 3), and one number a matrix."""
    blocks = math.ceil(rows * columns / 64)
    expected = blocks * 64 // 2 + blocks + 4 * math.ceil(blocks / 256) + 4
    assert quantize(normal(rows, columns)).num_bytes == expected
    if rows * columns >= 2**20:
        assert 8 * expected / (rows * columns) == pytest.approx(4 + 0.125 + 0.002, abs=1e-3)


# --- the layer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_forward_and_backward_are_a_plain_layers(bias: bool, autocast: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(96, 80, bias=bias).requires_grad_(False)
    packed = Nf4Linear(plain)
    plain.weight.copy_(dequantize(quantize(plain.weight), (80, 96)))
    x, wanted = (normal(3, 5, 96).requires_grad_() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        got, expected = packed(x), plain(wanted)
    assert got.dtype == expected.dtype == (torch.bfloat16 if autocast else torch.float32)
    tolerance = {"atol": 0.02, "rtol": 0.02} if autocast else {"atol": 1e-6, "rtol": 1e-5}
    torch.testing.assert_close(got, expected, **tolerance)
    got.float().square().sum().backward()
    expected.float().square().sum().backward()
    assert wanted.grad.abs().max() > 0.1
    torch.testing.assert_close(x.grad, wanted.grad, atol=tolerance["atol"] * 4, rtol=tolerance["rtol"])


def test_backward_keeps_codes_and_no_matrix() -> None:
    packed, kept = Nf4Linear(nn.Linear(256, 256, bias=False)), []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        packed(normal(4, 256).requires_grad_()).sum().backward()
    assert sum(tensor.nbytes for tensor in kept) < 256 * 256  # an eighth of four bytes each, and a little


def test_the_difference_told_is_the_difference() -> None:
    layer = nn.Linear(96, 80)
    packed = Nf4Linear(layer)
    difference = packed.weight - layer.weight.detach()
    assert packed.largest_difference == float(difference.abs().max()) > 0
    relative = float(difference.norm() / layer.weight.detach().norm())
    assert packed.relative_difference == pytest.approx(relative)


# --- LoRA beside it ---------------------------------------------------------------------------------------------------

KINDS = {"lora": {}, "rslora": {"rank_stabilized": True}, "dora": {"dora": True}}


@pytest.mark.parametrize("kind", KINDS)
def test_lora_learns_as_beside_the_dequantised_matrices(kind: str) -> None:
    packed, plain = small_decoder(), small_decoder()
    quantize_layers(packed)
    with torch.no_grad():
        for name, layer in quantized_layers(packed).items():
            plain.get_submodule(name).weight.copy_(layer.weight)
    logits = []
    for model in (packed, plain):
        add_lora(model, LoraConfig(rank=4, targets=("query", "up", "down"), **KINDS[kind]), seed=1)
        shaken(model)
        logits.append(model.head(model(IDS)))
        F.cross_entropy(logits[-1].flatten(0, 1), IDS.roll(-1, 1).flatten()).backward()
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)
    reference = dict(plain.named_parameters())
    trained = {name: parameter for name, parameter in packed.named_parameters() if parameter.requires_grad}
    assert trained.keys() == lora_state(plain).keys()
    for name, parameter in trained.items():
        assert parameter.grad.abs().max() > 1e-6, name
        torch.testing.assert_close(parameter.grad, reference[name].grad, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_at_first_an_adapter_changes_nothing_and_merged_it_is_the_same(kind: str) -> None:
    model = small_decoder()
    names, shapes = list(model.state_dict()), {name: tensor.shape for name, tensor in model.state_dict().items()}
    quantize_layers(model)
    assert len(quantized_layers(model)) == 2 * 7
    before = model(IDS).detach()
    add_lora(model, LoraConfig(rank=4, targets=("query", "down"), **KINDS[kind]), seed=1)
    torch.testing.assert_close(model(IDS), before, atol=1e-5, rtol=1e-5)
    shaken(model)
    trained = model(IDS).detach()
    assert not torch.allclose(trained, before, atol=1e-2)
    merge_lora(model)
    torch.testing.assert_close(model(IDS), trained, atol=1e-4, rtol=1e-4)
    assert not lora_layers(model) and not quantized_layers(model)
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes
    assert list(model.state_dict()) == names
    assert type(model.blocks[0].attention.key) is nn.Linear


# --- through the command ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations, and a small model to tune."""
    folder = tmp_path_factory.mktemp("world")
    texts = [f"{n}번 상자에는 사과가 {n + 2}개 있다. Box {n} holds {n + 2} apples." for n in range(60)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    chats = [{"question": text[:20], "answer": text[20:40]} for text in texts]
    (folder / "chat.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    few = ["--steps", "4", "--batch", "4", "--context", "64", "--compile", "no", "--threads", "1"]
    assert cli.main(["prepare", "--data", str(folder / "text.jsonl"), "--out", str(folder / "data")]) == 0
    words = ["pretrain", "--data", str(folder / "data"), "--depth", "1", "--width", "64", "--out", str(folder / "base")]
    assert cli.main([*words, *few]) == 0
    return folder


def sft(world: Path, out: Path, *words: str) -> int:
    few = ["--steps", "6", "--batch", "4", "--compile", "no", "--threads", "1", "--dtype", "float32"]
    return cli.main([
        "sft", "--data", str(world / "chat.jsonl"), "--model", str(world / "base"), "--out", str(out), *few, *words,
    ])  # fmt: skip


def test_a_tuned_model_is_the_packed_one_with_its_adapter(world: Path, tmp_path: Path, capsys) -> None:
    words = ["--lora.rank", "4", "--lora.quantize", "nf4", "--lora.targets", "query", "up", "--learning-rate", "20"]
    assert sft(world, tmp_path / "tuned", *words) == 0
    told = capsys.readouterr().err
    base = load_model(world / "base")
    matrices = [name for name in base.model.state_dict() if name.startswith("blocks.") and "norm" not in name]
    number = sum(base.model.state_dict()[name].numel() for name in matrices)
    assert f"{number:,} of them are held in 4.1" in told and "bits each" in told

    packed = load_model(world / "base").model
    quantize_layers(packed)
    largest = max(layer.largest_difference for layer in quantized_layers(packed).values())
    assert f"differ from those of {world / 'base' / 'model'} by at most {largest:.3g}," in told
    load_adapter(tmp_path / "tuned" / "adapter", packed, table_of(FAMILIES["qwen3"], packed.config))
    tuned = load_model(tmp_path / "tuned").model
    with torch.no_grad():
        torch.testing.assert_close(tuned(IDS), packed(IDS), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(tuned(IDS), base.model(IDS), atol=1e-2)
    state = read_tensors(tmp_path / "tuned" / "adapter" / TENSORS)
    assert any("q_proj.lora_B" in name and tensor.abs().max() > 0 for name, tensor in state.items())


def test_it_needs_a_rank(world: Path, tmp_path: Path, capsys) -> None:
    assert sft(world, tmp_path / "out", "--lora.quantize", "nf4") == 2
    assert "no adapter without a rank" in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()
