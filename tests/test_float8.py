"""Products in 8 bits: those of the rounded matrices, near those of the matrices, and what a model learns by them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dodam import cli
from dodam.data.batch import TokenBatch
from dodam.models.build import build_decoder, decoder_config
from dodam.nn import float8
from dodam.nn.linear import project
from dodam.stages import parts
from dodam.stages.compiling import compile_blocks
from dodam.stages.pretrain import Pretrain
from dodam.train.objective import TokenCrossEntropy
from dodam.train.recompute import recompute_blocks


def off(found: Tensor, wanted: Tensor) -> float:
    """How far two tensors are apart, as a share of their size."""
    found, wanted = found.detach().float(), wanted.detach().float()
    return float((found - wanted).norm() / wanted.norm())


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    bits, scale = float8.scaled(x, dtype)
    return bits.float() * scale


def learned(rows: int, size: float) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """What comes out of a product and its two gradients: found, of the rounded matrices, and exact."""
    generator = torch.Generator().manual_seed(0)
    x, w, grad = (torch.randn(sizes, generator=generator) for sizes in ((rows, 48), (32, 48), (rows, 32)))
    x = (x * size).requires_grad_()
    w = (w * 0.02).requires_grad_()
    out = float8.linear(x, w, None)
    out.backward(grad.to(out.dtype))
    with torch.no_grad():
        x8, w8 = rounded(x, float8.VALUES), rounded(w, float8.VALUES)
        g, g8 = grad.to(torch.bfloat16).float(), rounded(grad.to(torch.bfloat16), float8.GRADIENTS)
        assert x.grad is not None and w.grad is not None
        return {
            "out": (out, x8 @ w8.T, x @ w.T),
            "of x": (x.grad, g8 @ w8, g @ w),
            "of w": (w.grad, g8.T @ x8, g.T @ x),
        }


@pytest.mark.parametrize(("rows", "size"), [(64, 1.0), (37, 1.0), (1, 3.0), (64, 1e5), (64, 1e-6)])
def test_products_are_those_of_the_rounded_matrices(rows: int, size: float) -> None:
    for name, (found, reference, exact) in learned(rows, size).items():
        assert off(found, reference) < 4e-3, f"{name}: no more than bfloat16 rounds"
        assert off(found, exact) < 0.09, f"{name}: 3 and 2 bits of a fraction"


def test_nothing_becomes_no_number() -> None:
    for x in (torch.zeros(16, 16), torch.full((16, 16), 3e38), torch.full((16, 16), 1e-38)):
        for dtype in (float8.VALUES, float8.GRADIENTS):
            bits, scale = float8.scaled(x, dtype)
            assert torch.isfinite(bits.float()).all() and torch.isfinite(scale)


def test_layers_of_one_input_are_one_product() -> None:
    torch.manual_seed(0)
    layers: list[Any] = [nn.Linear(32, size, bias=True) for size in (32, 16)]
    x = torch.randn(3, 5, 32)
    plain = project(x, layers)
    for layer in layers:
        layer.__class__ = float8.Float8Linear
    together = project(x, layers)
    assert [one.shape for one in together] == [one.shape for one in plain]
    assert all(off(one, other) < 0.06 for one, other in zip(together, plain, strict=True))
    with torch.no_grad():
        exact = project(x, layers)
    assert all(torch.equal(one, other) for one, other in zip(exact, plain, strict=True)), "looking is not rounded"


def model_of(width: int = 32) -> Any:
    model = build_decoder(decoder_config(vocabulary=64, context=32, depth=2, width=width, heads=2, kv_heads=1), 0)
    with torch.no_grad():  # fresh output projections are zero
        for one in model.parameters():
            one.add_(0.05 * torch.randn(one.shape, generator=torch.Generator().manual_seed(1)))
    return model


def gradients(model: Any) -> dict[str, Tensor]:
    ids_BT = torch.randint(1, 64, (4, 32), generator=torch.Generator().manual_seed(2))
    TokenCrossEntropy(torch.bfloat16)(model, TokenBatch(ids_BT=ids_BT, labels_BT=ids_BT)).backward()
    return {name: one.grad for name, one in model.named_parameters()}


def test_only_what_stands_in_blocks_is_rounded_and_gradients_point_the_same_way() -> None:
    plain, eight = model_of(), model_of()
    changed = float8.use_float8(eight)
    names = {name for name, one in eight.named_modules() if isinstance(one, float8.Float8Linear)}
    assert len(names) == changed == 2 * 7 and all(name.startswith("blocks.") for name in names)
    assert plain.state_dict().keys() == eight.state_dict().keys()
    wanted, found = gradients(plain), gradients(eight)
    for name, one in wanted.items():
        if one.ndim == 2:
            assert F.cosine_similarity(one.flatten(), found[name].flatten(), dim=0) > 0.98, name


@pytest.mark.filterwarnings("ignore")  # of torch, as it compiles
def test_what_is_computed_again_is_the_same_and_what_is_compiled_as_near() -> None:
    plain, *models = [model_of(), model_of(), model_of(), model_of()]
    for model in models:
        float8.use_float8(model)
    recompute_blocks(models[1], 1.0)
    compile_blocks(models[2])
    wanted, once, again, compiled = map(gradients, (plain, *models))
    assert all(torch.equal(one, again[name]) for name, one in once.items())
    for name, one in wanted.items():
        if one.ndim == 2:
            assert off(compiled[name], one) < 1.2 * off(once[name], one), name


def test_a_run_learns_as_much_as_in_bfloat16(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lines = [
        f"the sky is {one} and the sea is {other}" for one in ("blue", "red") for other in ("warm", "cold", "grey")
    ]
    rows = [{"text": f"{number}: {lines[number % len(lines)]}"} for number in range(600)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data, tokenizer = str(tmp_path / "data"), str(tmp_path / "tokenizer")
    assert cli.main(["prepare", "--data", str(tmp_path / "text.jsonl"), "--out", data, "--validation", "0.1"]) == 0
    assert cli.main(["tokenizer", "train", "--data", data, "--out", tokenizer, "--vocabulary", "448"]) == 0
    words = ["pretrain", "--data", data, "--tokenizer", tokenizer, "--depth", "1", "--context", "32", "--batch", "8"]
    words += ["--steps", "30", "--dtype", "bfloat16", "--compile", "no", "--json"]
    told = []
    for name, more in (("plain", []), ("eight", ["--float8"])):
        capsys.readouterr()
        assert cli.main([*words, *more, "--out", str(tmp_path / name)]) == 0
        told.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert told[0]["loss"] != told[1]["loss"]
    assert abs(told[1]["validation"] / told[0]["validation"] - 1) < 0.03
    assert cli.main(["generate", str(tmp_path / "eight"), "the sky", "--max-tokens", "4"]) == 0


@pytest.mark.parametrize(
    ("flags", "machine", "told"),
    [
        ([], {"dtype": "float32"}, "--float8: all else would be computed in float32. Add --dtype bfloat16, or leave"),
        ([], {"device": "mps"}, "--float8: this device does not multiply in 8 bits. Leave the flag out."),
        (["--lora.rank", "2"], {}, "--float8: adapters are not computed in 8 bits. Leave the flag out."),
        (["--parallel.tensor", "2"], {}, "--float8: a product that several ranks compute is not computed in 8 bits."),
        (["--width", "24"], {}, "--float8: no matrix of the blocks has sizes that 16 divides. Leave the flag out."),
    ],
)
def test_where_it_cannot_be_is_said(flags: list[str], machine: dict[str, str], told: str, tmp_path: Path) -> None:
    from dodam.config import COMMAND_LINE, build
    from dodam.errors import UsageError
    from dodam.flags import parse

    parsed = parse("pretrain", Pretrain, ["--data", str(tmp_path), "--out", str(tmp_path), "--float8", *flags])
    assert parsed is not None
    config = build(Pretrain, parsed.values, COMMAND_LINE)
    model = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(config.width or 32, 32)])})
    with pytest.raises(UsageError) as refused:
        parts.use_float8(config, model, {"device": "cpu", "dtype": "bfloat16"} | machine)
    assert told in str(refused.value)
