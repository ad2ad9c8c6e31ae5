"""Every family of decoders against `transformers`: its folder in, the same logits and gradients, and out again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from dodam.exchange.decoders import FAMILIES
from dodam.exchange.mapping import expanded, load_theirs, to_theirs
from dodam.models.decoder import Decoder
from dodam.nn.cache import Cache
from dodam.nn.mask import CAUSAL
from dodam.tensors import ModelTensors, write_tensors

SMALL = {
    "vocab_size": 160,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 32,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0,
}  # fmt: skip
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24, "num_experts": 4}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "llama 2": ("llama", {"num_key_value_heads": 4}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama, linear, biases": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
                                        "attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", {"sliding_window": 7}),
    "mistral without window": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "qwen2, window": ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2}),
    "qwen3": ("qwen3", {}),
    "qwen3, yarn": ("qwen3", {"rope_parameters": YARN}),
    "qwen3_moe": ("qwen3_moe", {**EXPERTS, "norm_topk_prob": True}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 7}),
    "gemma2": ("gemma2", {"sliding_window": 7, "query_pre_attn_scalar": 16}),
    "gemma3": ("gemma3_text", {"sliding_window": 7, "num_hidden_layers": 6, "query_pre_attn_scalar": 16}),
    "smollm3": ("smollm3", {"pad_token_id": 0}),
    "exaone4": ("exaone4", {"sliding_window": 7}),
    "exaone4 without window": ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 4}),
}  # fmt: skip


@pytest.fixture
def theirs(tmp_path: Path) -> Callable[[str], tuple[Any, Path]]:
    """Makes a small random model of a case with `transformers`, and the folder it saves."""

    def make(case: str) -> tuple[Any, Path]:
        model_type, options = CASES[case]
        values = {**SMALL, **options}
        if model_type == "gpt2":
            values = {"vocab_size": 160, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 128}
        config = transformers.AutoConfig.for_model(model_type, **values)
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        with torch.no_grad():
            for parameter in model.parameters():  # norms and biases too must matter
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path / "theirs")
        return model, tmp_path / "theirs"

    return make


def read(folder: Path) -> tuple[Any, Decoder, list]:
    """Our model of their folder."""
    values = json.loads((folder / "config.json").read_text())
    family = next(one for one in FAMILIES if one.model_type == values["model_type"])
    config = family.from_theirs(values)
    model = Decoder(config)
    table = expanded(family.weights(config), config.depth, config.experts)
    load_theirs(model, ModelTensors(folder), table, where=folder, ignored=family.ignored)
    return family, model, table


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_are_those_of_transformers(case: str, theirs: Callable) -> None:
    reference, folder = theirs(case)
    _, model, table = read(folder)
    ids = torch.randint(0, 160, (2, 40), generator=torch.Generator().manual_seed(1))
    expected = reference(ids, use_cache=False).logits
    got = model.head(model(ids))
    assert torch.allclose(got, expected, atol=1e-4, rtol=1e-4)
    labels = ids.roll(-1, 1)
    torch.nn.functional.cross_entropy(expected.flatten(0, 1), labels.flatten()).backward()
    torch.nn.functional.cross_entropy(got.flatten(0, 1), labels.flatten()).backward()
    for name, parameter in reference.named_parameters():
        if parameter.grad is None:
            continue
        weight = next((one for one in table if one.theirs == name), None)
        if weight is None:  # experts are kept in one tensor there
            assert ".mlp.experts" in name or ".mlp.gate." in name
            continue
        grads = torch.cat([model.get_parameter(part).grad for part in weight.parts])
        grads = grads.T if weight.transposed else grads
        assert torch.allclose(grads, parameter.grad, atol=1e-5, rtol=1e-3), name


@pytest.mark.parametrize("case", CASES)
def test_out_again_is_the_same_for_transformers(case: str, theirs: Callable, tmp_path: Path) -> None:
    reference, folder = theirs(case)
    family, model, table = read(folder)
    out = tmp_path / "out"
    out.mkdir()
    values = {
        "model_type": family.model_type,
        "architectures": [family.architecture],
        "pad_token_id": 0,
        **family.to_theirs(model.config),
    }
    (out / "config.json").write_text(json.dumps(values))
    write_tensors(to_theirs(model, table), out / "model.safetensors", metadata={"format": "pt"})
    assert family.from_theirs(json.loads((out / "config.json").read_text())) == model.config
    again = transformers.AutoModelForCausalLM.from_pretrained(out, attn_implementation="eager")
    for (name, before), after in zip(reference.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(before, after), name
    ids = torch.randint(0, 160, (2, 40), generator=torch.Generator().manual_seed(2))
    assert torch.equal(again(ids, use_cache=False).logits, reference(ids, use_cache=False).logits)


@pytest.mark.parametrize("case", CASES)
def test_with_a_cache_it_says_the_same(case: str, theirs: Callable) -> None:
    _, folder = theirs(case)
    _, model, _ = read(folder)
    model.eval()
    ids = torch.randint(0, 160, (2, 24), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        whole = model(ids, mask=CAUSAL)
        cache = Cache.empty(model.config, 2, 32)
        parts = [model(ids[:, :16], cache=cache, starts_B=torch.zeros(2, dtype=torch.long))]
        parts += [model(ids[:, t : t + 1], cache=cache, starts_B=torch.full((2,), t)) for t in range(16, 24)]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-5)
