"""LoRA, rsLoRA and DoRA against `peft` both ways, forward and backward; what freezes, what merges, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from dodam.errors import FolderError, UsageError
from dodam.exchange.adapter import CONFIG, TENSORS, load_adapter, save_adapter
from dodam.exchange.decoders import FAMILIES
from dodam.exchange.mapping import Weight, expanded, load_theirs, to_theirs
from dodam.models.build import build_decoder, decoder_config
from dodam.models.decoder import Decoder
from dodam.nn.lora import (
    LoraConfig,
    LoraLinear,
    add_lora,
    chosen_layers,
    depth_factors,
    freeze,
    load_lora_state,
    lora_layers,
    lora_state,
    merge_lora,
    num_trained,
)
from dodam.tensors import read_tensors, write_tensors
from dodam.train.optim import OptimConfig, Optimizers, lora_rate

# peft 0.21 asks transformers 5 for a name of before.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SMALL = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
GPT2 = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS = {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", SMALL),
    "llama with biases": ("llama", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    "gemma2": ("gemma2", {**SMALL, "sliding_window": 7}),
    "gpt2": ("gpt2", GPT2),
    "mixtral": ("mixtral", EXPERTS),
}
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"rank_stabilized": True},
    "dora": {"dora": True},
    "both": {"rank_stabilized": True, "dora": True},
}
IDS = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(5))

Pair = tuple[Any, Decoder, list[Weight]]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[[str], Pair]:
    """Makes a small random model with `transformers`, the same one of ours, and the table between them."""

    def make(name: str) -> Pair:
        model_type, options = MODELS[name]
        torch.manual_seed(0)
        theirs = transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(model_type, **options), attn_implementation="eager"
        )
        theirs = theirs.float().eval()
        folder = tmp_path / "model"
        theirs.save_pretrained(folder)
        family = next(one for one in FAMILIES if one.model_type == model_type)
        config = family.from_theirs(json.loads((folder / "config.json").read_text()))
        model, table = Decoder(config), expanded(family.weights(config), config.depth, config.experts)
        tensors = read_tensors(folder / "model.safetensors")
        load_theirs(model, tensors, table, where=folder, ignored=family.ignored)
        return theirs, model.eval(), table

    return make


def shaken(model: nn.Module) -> None:
    """Give an adapter random values: as at the beginning it would do nothing."""
    generator = torch.Generator().manual_seed(7)
    for tensor in lora_state(model).values():
        tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))


def loss(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), IDS.roll(-1, 1).flatten())


def peft_name(ours: str, table: list[Weight]) -> str:
    """`blocks.0.attention.query.lora_a` -> the parameter's name in a `PeftModel`."""
    layer, _, kind = ours.rpartition(".")
    theirs = next(one.theirs for one in table if one.ours == (f"{layer}.weight",)).removesuffix(".weight")
    kind = {"lora_a": "lora_A", "lora_b": "lora_B", "lora_magnitude": "lora_magnitude_vector"}[kind]
    return f"base_model.model.{theirs}.{kind}.default.weight"


# --- beside peft ------------------------------------------------------------------------------------------------------

OURS_TO_PEFT = [
    *(("qwen3", kind, {}) for kind in KINDS),
    ("qwen3", "lora", {"targets": ("blocks.1.attention.query", "feedforward.down")}),
    ("llama with biases", "dora", {"targets": "all"}),
    ("gemma2", "rslora", {"targets": "attention"}),
    ("gpt2", "lora", {"targets": ("attention.output", "up", "down")}),
    ("gpt2", "dora", {"targets": ("up",)}),
]


@pytest.mark.parametrize(("name", "kind", "more"), OURS_TO_PEFT)
def test_peft_reads_what_we_save_and_learns_the_same(
    name: str, kind: str, more: dict, pair: Callable, tmp_path: Path
) -> None:
    theirs, model, table = pair(name)
    add_lora(model, LoraConfig(rank=4, alpha=6.0, **KINDS[kind], **more), seed=1)
    shaken(model)
    save_adapter(tmp_path / "adapter", model, table)
    wrapped = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter", is_trainable=True)
    got, expected = model.head(model(IDS)), wrapped(IDS).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    loss(got).backward()
    loss(expected).backward()
    gradients = {one: p.grad for one, p in wrapped.named_parameters() if p.requires_grad}
    ours = {peft_name(one, table): p.grad for one, p in model.named_parameters() if p.requires_grad}
    assert ours.keys() == gradients.keys()
    for one, gradient in gradients.items():
        assert gradient.abs().max() > 1e-5, one
        torch.testing.assert_close(ours[one], gradient, atol=1e-6, rtol=1e-4, msg=one)


@pytest.mark.parametrize("kind", KINDS)
def test_we_read_what_peft_saves(kind: str, pair: Callable, tmp_path: Path) -> None:
    theirs, model, table = pair("qwen3")
    wrapped = peft.get_peft_model(
        theirs,
        peft.LoraConfig(
            r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights=False,
            use_rslora=kind in ("rslora", "both"), use_dora=kind in ("dora", "both"), lora_dropout=0.1,
        ),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for one, parameter in wrapped.named_parameters():
            if "magnitude" in one:
                parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
    wrapped.save_pretrained(tmp_path / "theirs")
    config = load_adapter(tmp_path / "theirs", model, table)
    targets = ("query", "up", "value")
    assert config == LoraConfig(rank=3, alpha=5.0, dropout=0.1, targets=targets, **KINDS[kind])
    with torch.no_grad():
        torch.testing.assert_close(model.head(model(IDS)), wrapped(IDS).logits, atol=1e-5, rtol=1e-5)
    save_adapter(tmp_path / "ours", model, table)
    ours, before = read_tensors(tmp_path / "ours" / TENSORS), read_tensors(tmp_path / "theirs" / TENSORS)
    assert ours.keys() == before.keys()
    assert all(torch.equal(ours[one], tensor) for one, tensor in before.items())


@pytest.mark.parametrize("kind", KINDS)
def test_merged_is_unmerged_and_exports_like_peft_merges(kind: str, pair: Callable, tmp_path: Path) -> None:
    theirs, model, table = pair("llama with biases")
    names = list(model.state_dict())
    add_lora(model, LoraConfig(rank=4, **KINDS[kind]), seed=1)
    shaken(model)
    save_adapter(tmp_path / "adapter", model, table)
    with torch.no_grad():
        before = model(IDS)
        merge_lora(model)
        torch.testing.assert_close(model(IDS), before, atol=1e-5, rtol=1e-5)
    assert list(model.state_dict()) == names
    assert not lora_layers(model)
    assert type(model.blocks[0].attention.query) is nn.Linear  # which `project` may fuse again
    merged = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").merge_and_unload().state_dict()
    for one, tensor in to_theirs(model, table).items():
        torch.testing.assert_close(tensor, merged[one], atol=1e-6, rtol=1e-5, msg=one)


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")  # peft's way of fusing experts
def test_experts_go_to_peft_as_plain_lora_only(pair: Callable, tmp_path: Path) -> None:
    theirs, model, table = pair("mixtral")
    add_lora(model, LoraConfig(rank=4), seed=1)
    assert any(".experts.3.gate" in name for name in lora_layers(model))
    assert not any("router" in name for name in lora_layers(model))
    shaken(model)
    save_adapter(tmp_path / "adapter", model, table)
    with torch.no_grad():
        expected = model.head(model(IDS))
        wrapped = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter")
        torch.testing.assert_close(wrapped(IDS).logits, expected, atol=1e-5, rtol=1e-5)
    merge_lora(model)
    for kind, word in (("rslora", "rsLoRA"), ("dora", "DoRA")):
        add_lora(model, LoraConfig(**KINDS[kind]), seed=1)
        with pytest.raises(UsageError, match=f"no {word} for experts such as blocks.0.feedforward.experts.0.gate"):
            save_adapter(tmp_path / kind, model, table)
        assert not (tmp_path / kind).exists()
        merge_lora(model)


def test_what_gpt2_keeps_in_one_matrix_is_refused_by_name(pair: Callable, tmp_path: Path) -> None:
    theirs, model, table = pair("gpt2")
    add_lora(model, LoraConfig(targets="attention"), seed=1)
    with pytest.raises(UsageError, match=r"attention\.query alone.*transformer\.h\.0\.attn\.c_attn\. Merge"):
        save_adapter(tmp_path / "ours", model, table)
    assert not (tmp_path / "ours").exists()
    merge_lora(model)
    config = peft.LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True)
    peft.get_peft_model(theirs, config).save_pretrained(tmp_path / "theirs")
    with pytest.raises(FolderError, match=r"adapts transformer\.h\.0\.attn\.c_attn"):
        load_adapter(tmp_path / "theirs", model, table)


@pytest.mark.parametrize(
    ("targets", "written"),
    [
        (("query", "value"), ["q_proj", "v_proj"]),
        ("attention", ["k_proj", "o_proj", "q_proj", "v_proj"]),
        (("blocks.1.attention.key",), ["1.self_attn.k_proj"]),
    ],
)
def test_targets_are_written_as_short_as_they_can_be(
    targets: Any, written: list[str], pair: Callable, tmp_path: Path
) -> None:
    _, model, table = pair("qwen3")
    add_lora(model, LoraConfig(targets=targets), seed=1)
    save_adapter(tmp_path / "adapter", model, table, base="runs/mine")
    values = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    assert (values["target_modules"], values["base_model_name_or_path"]) == (written, "runs/mine")


def test_a_pattern_and_exclusions_of_peft_are_read(pair: Callable, tmp_path: Path) -> None:
    theirs, model, table = pair("qwen3")
    config = peft.LoraConfig(target_modules=r".*\.(q|k)_proj", exclude_modules=["0.self_attn.k_proj"])
    peft.get_peft_model(theirs, config).save_pretrained(tmp_path / "theirs")
    load_adapter(tmp_path / "theirs", model, table)
    assert list(lora_layers(model)) == [
        f"blocks.{one}" for one in ("0.attention.query", "1.attention.query", "1.attention.key")
    ]


# --- bad adapters -----------------------------------------------------------------------------------------------------

Q, A = "base_model.model.model.layers.0.self_attn.q_proj", "lora_A.weight"
BAD: dict[str, tuple[dict[str, Any], Callable[[dict[str, Tensor]], Any], str]] = {
    "another rank": ({"r": 8}, lambda t: None, rf"{Q}.{A} is \(4, 32\), .* say \(8, 32\)"),
    "no rank": ({"r": 0}, lambda t: None, "rank must be at least 1"),
    "another shape": ({}, lambda t: t.update({f"{Q}.{A}": torch.zeros(4, 30)}), rf"{Q}.{A} is \(4, 30\)"),
    "missing": ({}, lambda t: t.pop(f"{Q}.{A}"), f"missing: .*{Q}.{A}"),
    "left over": ({}, lambda t: t.update({"more": torch.zeros(1)}), "nobody asked for: .*more"),
    "left over layer": ({"target_modules": ["q_proj"]}, lambda t: None, "nobody asked for: .*v_proj"),
    "missing magnitude": ({"use_dora": True}, lambda t: None, "missing: .*q_proj.lora_magnitude_vector"),
    "unknown target": ({"target_modules": ["q_proj", "w_pack"]}, lambda t: None, "w_pack fits no layer"),
    "no target": ({"target_modules": None}, lambda t: None, "names no layer|fits no layer"),
    "bad pattern": ({"target_modules": "(q_proj"}, lambda t: None, "targets cannot be read"),
    "no number": ({"lora_alpha": "much"}, lambda t: None, "cannot be used"),
    "embedding": ({"target_modules": ["embed_tokens"]}, lambda t: None, r"adapts model\.embed_tokens"),
    "another method": ({"peft_type": "IA3"}, lambda t: None, "'IA3' is not LORA"),
    "ranks by pattern": ({"rank_pattern": {"q_proj": 2}}, lambda t: None, "rank_pattern = "),
    "biases": ({"bias": "all"}, lambda t: None, "bias = 'all' is not supported"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, lambda t: None, "modules_to_save"),
    "unheard-of": ({"use_sorcery": True}, lambda t: None, "use_sorcery = True"),
    "rewritten weights": ({"init_lora_weights": "pissa"}, lambda t: None, "'pissa'.*rewritten weights"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_adapter_is_named_and_changes_nothing(case: str, pair: Callable, tmp_path: Path) -> None:
    _, model, table = pair("qwen3")
    add_lora(model, LoraConfig(rank=4, targets=("query", "value")), seed=1)
    save_adapter(tmp_path / "adapter", model, table)
    _, fresh, table = pair("qwen3")
    settings, spoil, message = BAD[case]
    values = json.loads((tmp_path / "adapter" / CONFIG).read_text()) | settings
    (tmp_path / "adapter" / CONFIG).write_text(json.dumps(values))
    tensors = read_tensors(tmp_path / "adapter" / TENSORS)
    spoil(tensors)
    write_tensors(tensors, tmp_path / "adapter" / TENSORS)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(FolderError, match=message):
        load_adapter(tmp_path / "adapter", fresh, table)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())
    assert all(parameter.requires_grad for parameter in fresh.parameters())


def test_a_torn_or_missing_file_is_named(pair: Callable, tmp_path: Path) -> None:
    _, model, table = pair("qwen3")
    with pytest.raises(FolderError, match=CONFIG):
        load_adapter(tmp_path, model, table)
    (tmp_path / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}))
    with pytest.raises(FolderError, match=f"holds no {TENSORS}"):
        load_adapter(tmp_path, model, table)
    (tmp_path / TENSORS).write_bytes(b"torn")
    with pytest.raises(FolderError, match="lora_alpha"):
        load_adapter(tmp_path, model, table)
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (tmp_path / CONFIG).write_text(json.dumps(values))
    with pytest.raises(FolderError, match=f"{TENSORS}.*cannot be read"):
        load_adapter(tmp_path, model, table)


# --- the layer --------------------------------------------------------------------------------------------------------


def small_decoder(seed: int = 0) -> Decoder:
    """A decoder of ours without a weight of zero."""
    model = build_decoder(decoder_config(vocabulary=96, context=64, depth=2, width=64), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def layer_of(config: LoraConfig, *, bias: bool = True, dtype: torch.dtype = torch.float32) -> LoraLinear:
    """A layer 24 -> 16 whose adapter is random."""
    torch.manual_seed(3)
    layer = LoraLinear(nn.Linear(24, 16, bias=bias, dtype=dtype), config, torch.Generator().manual_seed(1))
    layer.base.requires_grad_(False)
    shaken(layer)
    return layer


def naive(layer: LoraLinear, x: Tensor) -> Tensor:
    """The same in fp64, after the papers' formulas."""
    config = layer.config
    scale = config.alpha / config.rank**0.5 if config.rank_stabilized else config.alpha / config.rank
    whole = layer.base.weight.double() + scale * layer.lora_b.double() @ layer.lora_a.double()
    if config.dora:
        whole = layer.lora_magnitude.double()[:, None] * whole / whole.square().sum(1, keepdim=True).sqrt()
    bias = 0.0 if layer.base.bias is None else layer.base.bias.double()
    return x.double() @ whole.T + bias


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_its_formula(kind: str, bias: bool) -> None:
    layer, x = layer_of(LoraConfig(rank=4, alpha=10.0, **KINDS[kind]), bias=bias), torch.randn(5, 7, 24)
    torch.testing.assert_close(layer(x).double(), naive(layer, x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.merged().double() @ torch.eye(24).double(),
                               (naive(layer, torch.eye(24)) - naive(layer, torch.zeros(1, 24))).T,
                               atol=1e-5, rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_half_weights_have_a_full_adapter(kind: str) -> None:
    layer = layer_of(LoraConfig(rank=4, **KINDS[kind]), dtype=torch.bfloat16)
    x = torch.randn(5, 24, dtype=torch.bfloat16)
    out = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), naive(layer, x), atol=0.02, rtol=0.02)
    out.float().square().sum().backward()
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {parameter.grad.dtype for parameter in trained}
    assert {parameter.dtype for parameter in trained} == {torch.float32}


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_under_autocast_it_is_right_and_learns_in_fp32(kind: str) -> None:
    layer, x = layer_of(LoraConfig(rank=4, **KINDS[kind])), torch.randn(64, 24)
    expected = layer(x)
    expected.square().mean().backward()
    wanted = {name: parameter.grad for name, parameter in layer.named_parameters() if parameter.grad is not None}
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, atol=0.03, rtol=0.03)
    out.float().square().mean().backward()
    for name, parameter in layer.named_parameters():
        if name in wanted:
            assert parameter.grad.dtype == torch.float32
            assert F.cosine_similarity(parameter.grad.flatten(), wanted[name].flatten(), dim=0) > 0.999, name


def test_doras_norm_is_taken_in_fp32_under_autocast() -> None:
    layer = LoraLinear(nn.Linear(64, 32), LoraConfig(dora=True), torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.gain(), torch.ones(32))
    shaken(layer)
    expected = layer.gain()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.gain(), expected)


def test_dropout_drops_inputs_of_the_update_only_and_only_in_training() -> None:
    layer, x = layer_of(LoraConfig(rank=4, alpha=8.0, dropout=0.5)), torch.randn(5, 24)
    torch.manual_seed(9)
    kept = F.dropout(torch.ones_like(x), 0.5)
    torch.manual_seed(9)
    expected = layer.base(x) + 2.0 * (x * kept) @ layer.lora_a.T @ layer.lora_b.T
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)
    layer.eval()
    torch.testing.assert_close(layer(x).double(), naive(layer, x), atol=1e-5, rtol=1e-5)


# --- around a model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_adapter_changes_nothing_and_is_all_that_learns(kind: str) -> None:
    model = small_decoder()
    expected = model(IDS).detach()
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    add_lora(model, LoraConfig(rank=4, **KINDS[kind]), seed=1)
    torch.testing.assert_close(model(IDS), expected, atol=1e-5, rtol=1e-5)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == set(lora_state(model))
    shapes = [(layer.base.in_features, layer.base.out_features) for layer in lora_layers(model).values()]
    assert len(shapes) == 2 * 7
    assert num_trained(model) == sum(4 * (i + o) + (o if "dora" in KINDS[kind] else 0) for i, o in shapes)
    first, optimizers = None, Optimizers(model, OptimConfig(lora=1e-2))
    for _ in range(8):
        value = loss(model.head(model(IDS)))
        first = value.item() if first is None else first
        value.backward()
        optimizers.step(1.0)
        optimizers.zero()
    assert value.item() < first - 0.05
    for name, parameter in model.named_parameters():
        if name not in trained:
            assert torch.equal(parameter, weights[name.replace(".base.", ".")]), name


def test_a_seed_gives_the_same_adapter_and_a_is_of_the_published_size() -> None:
    states = []
    for seed in (1, 1, 2):
        model = small_decoder()
        add_lora(model, LoraConfig(rank=64), seed)
        states.append(lora_state(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    a = states[0]["blocks.0.attention.query.lora_a"]
    assert not torch.equal(a, states[2]["blocks.0.attention.query.lora_a"])
    assert a.abs().max() <= 64**-0.5
    assert a.std() == pytest.approx((3 * 64) ** -0.5, rel=0.05)


def test_merging_rounds_once_to_the_dtype_of_the_weight() -> None:
    model = small_decoder().to(torch.bfloat16)
    add_lora(model, LoraConfig(rank=4), seed=1)
    shaken(model)
    layer = lora_layers(model)["blocks.0.attention.query"]
    exact = layer.base.weight.float() + layer.config.scale * layer.lora_b @ layer.lora_a
    merge_lora(model)
    assert torch.equal(model.blocks[0].attention.query.weight, exact.to(torch.bfloat16))


def test_targets_choose_layers() -> None:
    model = small_decoder()
    layers = {one.split(".", 2)[2] for one in chosen_layers(model, "all")}
    attention = {f"attention.{one}" for one in ("query", "key", "value", "output")}
    assert layers == attention | {f"feedforward.{one}" for one in ("gate", "up", "down")}
    assert {one.split(".", 2)[2] for one in chosen_layers(model, "attention")} == attention
    # The head is called `output` too, but losses read its weight and not its result.
    assert chosen_layers(model, ("output",)) == ["blocks.0.attention.output", "blocks.1.attention.output"]
    assert chosen_layers(model, ("1.feedforward.up", "blocks.0.attention.key")) == [
        "blocks.0.attention.key",
        "blocks.1.feedforward.up",
    ]
    assert chosen_layers(model.blocks[0].attention, ("query",)) == ["query"]  # a part by itself
    with pytest.raises(ValueError, match="no layer is called quary; there are query, key, value, output, gate"):
        chosen_layers(model, ("query", "quary"))
    with pytest.raises(ValueError, match="no layer is called ery"):
        chosen_layers(model, ("ery",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"dropout": 1.0}, "dropout must be from 0"),
        ({"targets": "query"}, "attention, all or a list"),
    ],
)
def test_settings_that_cannot_be_are_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoraConfig(**values)


def test_what_cannot_be_adapted_is_named_and_left_as_it_was() -> None:
    model = build_decoder(decoder_config(vocabulary=96, context=64, depth=1, width=64), 0)
    with pytest.raises(ValueError, match=r"blocks\.0\.attention\.output has rows of zeros"):
        add_lora(model, LoraConfig(dora=True), seed=0)
    with pytest.raises(ValueError, match="no layers for LoRA"):
        add_lora(nn.Sequential(nn.Linear(4, 4)), LoraConfig(), seed=0)
    assert not lora_layers(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    add_lora(model, LoraConfig(), seed=0)
    with pytest.raises(ValueError, match="merge it first"):
        add_lora(model, LoraConfig(), seed=0)


def test_an_adapters_state_goes_over_whole_or_not_at_all() -> None:
    one, other = small_decoder(), small_decoder()
    for model in (one, other):
        add_lora(model, LoraConfig(rank=4, dora=True, targets=("query", "up")), seed=1)
    shaken(one)
    assert not torch.equal(one(IDS), other(IDS))
    state = {name: tensor.clone() for name, tensor in lora_state(one).items()}
    name = "blocks.1.feedforward.up.lora_magnitude"
    before = other(IDS).detach()
    for spoilt, message in (
        ({key: state[key] for key in state if key != name}, f"missing: .*{name}"),
        (state | {"blocks.9.more": torch.zeros(1)}, r"nobody asked for: .*blocks\.9\.more"),
        (state | {name: torch.zeros(3)}, rf"{name} is \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            load_lora_state(other, spoilt)
        assert torch.equal(other(IDS), before)
    load_lora_state(other, state)
    assert torch.equal(one(IDS), other(IDS))


# --- frozen layers and rates by depth ---------------------------------------------------------------------------------


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    model = small_decoder()
    freeze(model, ["embedding*", "blocks.0.*", "*norm*"])
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert all(name.startswith(("embedding", "blocks.0.")) or "norm" in name for name in frozen)
    assert num_trained(model) == sum(p.numel() for n, p in model.named_parameters() if n not in frozen)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizers = Optimizers(model, OptimConfig())
    loss(model.head(model(IDS))).backward()
    optimizers.step(1.0)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name in frozen), name
    freeze(model, ["output*"])
    assert len(Optimizers(model, OptimConfig()).parts) == 1  # only matrices are left: no AdamW
    with pytest.raises(ValueError, match=r"no parameter is called blocks\.7"):
        freeze(model, ["blocks.7.*"])
    with pytest.raises(ValueError, match="nothing is left"):
        freeze(model, ["*"])


def test_rates_fall_with_depth() -> None:
    names = ["embedding.weight", "blocks.0.attention.query.weight", "blocks.1.attention.query.lora_a", "norm.weight",
             "output.weight"]  # fmt: skip
    assert list(depth_factors(names, 0.5).values()) == [0.125, 0.25, 0.5, 1.0, 1.0]
    assert depth_factors([name for name, _ in small_decoder().named_parameters()], 1.0).keys() == set(
        dict(small_decoder().named_parameters())
    )
    two = ["embedding.weight", "encoder.positions", "encoder.blocks.0.up.weight", "encoder.norm.weight",
           "decoder.positions", "decoder.blocks.0.up.weight", "decoder.blocks.1.up.weight", "decoder.norm.weight",
           "output.weight"]  # fmt: skip
    assert list(depth_factors(two, 0.5).values()) == [0.125, 0.125, 0.5, 1.0, 0.125, 0.25, 0.5, 1.0, 1.0]
    assert list(depth_factors(["backbone.embedding", "backbone.blocks.0.up", "head.weight"], 0.5).values()) == [
        0.25,
        0.5,
        1.0,
    ]
    assert depth_factors(["weight"], 0.5) == {"weight": 1.0}
    for decay in (0.0, 1.5):
        with pytest.raises(ValueError, match="decay must be"):
            depth_factors(names, decay)


def test_an_optimiser_follows_the_factors() -> None:
    """With a factor f the first step is f times as far; without factors it is as it always was."""
    moved = []
    names = [name for name, _ in small_decoder().named_parameters()]
    for factors in (None, dict.fromkeys(names, 1.0), depth_factors(names, 0.5)):
        model = small_decoder()
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        optimizers = Optimizers(model, OptimConfig(), factors)
        loss(model.head(model(IDS))).backward()
        optimizers.step(1.0)
        moved.append({name: parameter.detach() - before[name] for name, parameter in model.named_parameters()})
    assert all(torch.equal(moved[0][name], moved[1][name]) for name in names)
    factors = depth_factors(names, 0.5)
    for name in names:
        torch.testing.assert_close(moved[2][name], factors[name] * moved[0][name], atol=1e-6, rtol=1e-3, msg=name)


def test_the_rate_falls_with_the_width_as_published() -> None:
    assert lora_rate(4096) == pytest.approx(2e-4, rel=0.05)
    assert lora_rate(8192) == pytest.approx(1e-4, rel=0.05)


def test_loras_matrices_have_adamw_at_their_own_rate() -> None:
    model = small_decoder()
    add_lora(model, LoraConfig(rank=4, dora=True, targets=("query",)), seed=1)
    shaken(model)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    config = OptimConfig(lora=0.01)
    copies = [nn.Parameter(parameter.detach().clone()) for _, parameter in named]
    reference = torch.optim.AdamW(
        copies, lr=0.01 * 0.5, betas=(config.beta1, config.beta2), eps=config.eps, weight_decay=0
    )
    optimizers = Optimizers(model, config)
    loss(model.head(model(IDS))).backward()
    for copy, (_, parameter) in zip(copies, named, strict=True):
        copy.grad = parameter.grad.clone()
    optimizers.step(0.5)
    reference.step()
    for copy, (name, parameter) in zip(copies, named, strict=True):
        torch.testing.assert_close(parameter, copy, atol=1e-6, rtol=1e-5, msg=name)
    assert not any(key.startswith("muon") for key in optimizers.state())
