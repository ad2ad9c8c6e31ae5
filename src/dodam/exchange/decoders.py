"""The families of decoders, one table each: which config.json says what, and how their tensors are called.

A family is a list of (their key, our field), what else their config must say (and does, when we write it), and the few
lines that a pair of names cannot tell (rotary positions, which layer has a window).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dodam.exchange.configuration import (
    ACTIVATIONS,
    Keys,
    Values,
    layer_types,
    refuse,
    rope_parameters,
    rotary_of,
    windowed_layers,
)
from dodam.exchange.mapping import Family, Weight
from dodam.models.decoder import Decoder, DecoderConfig

SIZES: Keys = (
    ("vocab_size", "vocabulary"),
    ("num_hidden_layers", "depth"),
    ("hidden_size", "width"),
    ("num_attention_heads", "heads"),
    ("num_key_value_heads", "kv_heads"),
    ("head_dim", "head_dim"),
    ("intermediate_size", "feedforward_size"),
    ("max_position_embeddings", "context"),
    ("tie_word_embeddings", "tied"),
    ("rms_norm_eps", "eps"),
)


def layers(*rows: tuple[str, str]) -> list[Weight]:
    """(theirs, ours) within a layer, under the names of the Llama family."""
    return [Weight(f"model.layers.{{i}}.{theirs}", f"blocks.{{i}}.{ours}") for theirs, ours in rows]


def llama_weights(config: DecoderConfig) -> list[Weight]:
    """The tensors of a Llama, and of everything that is called like it."""
    table = [Weight("model.embed_tokens.weight", "embedding.weight")]
    norms = {
        "before": (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "feedforward_norm")),
        "after": (("post_attention_layernorm", "attention_norm"), ("post_feedforward_layernorm", "feedforward_norm")),
        "around": (
            ("input_layernorm", "attention_norm"),
            ("post_attention_layernorm", "attention_end_norm"),
            ("pre_feedforward_layernorm", "feedforward_norm"),
            ("post_feedforward_layernorm", "feedforward_end_norm"),
        ),
    }[config.norm_place]
    table += layers(*((f"{theirs}.weight", f"{ours}.weight") for theirs, ours in norms))
    for part, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("output", "o_proj")):
        table += layers((f"self_attn.{theirs}.weight", f"attention.{part}.weight"))
        if config.output_bias if part == "output" else config.qkv_bias:
            table += layers((f"self_attn.{theirs}.bias", f"attention.{part}.bias"))
    if config.qk_norm:
        table += layers(("self_attn.q_norm.weight", "attention.query_norm.weight"))
        table += layers(("self_attn.k_norm.weight", "attention.key_norm.weight"))
    table += llama_experts(config) if config.experts else llama_feedforward(config)
    table.append(Weight("model.norm.weight", "norm.weight"))
    return table if config.tied else [*table, Weight("lm_head.weight", "output.weight")]


def llama_feedforward(config: DecoderConfig) -> list[Weight]:
    kinds = ("weight", "bias") if config.feedforward_bias else ("weight",)
    return layers(
        *((f"mlp.{p}_proj.{kind}", f"feedforward.{p}.{kind}") for p in ("gate", "up", "down") for kind in kinds)
    )


def llama_experts(config: DecoderConfig) -> list[Weight]:
    """Mixtral calls its experts' matrices w1, w3 and w2; Qwen3-MoE calls them like a feed-forward's."""
    parts, block = (("gate_proj", "up_proj", "down_proj"), "mlp")
    if config.family == "mixtral":
        parts, block = (("w1", "w3", "w2"), "block_sparse_moe")
    named = zip(parts, ("gate", "up", "down"), strict=True)
    experts = [
        (f"{block}.experts.{{e}}.{theirs}.weight", f"feedforward.experts.{{e}}.{ours}.weight") for theirs, ours in named
    ]
    return layers((f"{block}.gate.weight", "feedforward.router.weight"), *experts)


def gpt2_weights(config: DecoderConfig) -> list[Weight]:
    """GPT-2's matrices are [in, out], and query, key and value are one."""
    qkv = tuple(f"blocks.{{i}}.attention.{part}" for part in ("query", "key", "value"))
    table = [Weight("transformer.wte.weight", "embedding.weight"), Weight("transformer.wpe.weight", "positions.weight")]
    for kind in ("weight", "bias"):
        turned = kind == "weight"
        for theirs, ours in (
            ("ln_1", ("blocks.{i}.attention_norm",)),
            ("attn.c_attn", qkv),
            ("attn.c_proj", ("blocks.{i}.attention.output",)),
            ("ln_2", ("blocks.{i}.feedforward_norm",)),
            ("mlp.c_fc", ("blocks.{i}.feedforward.up",)),
            ("mlp.c_proj", ("blocks.{i}.feedforward.down",)),
        ):
            names = tuple(f"{name}.{kind}" for name in ours)
            table.append(Weight(f"transformer.h.{{i}}.{theirs}.{kind}", names, turned and not theirs.startswith("ln")))
        table.append(Weight(f"transformer.ln_f.{kind}", f"norm.{kind}"))
    return table if config.tied else [*table, Weight("lm_head.weight", "output.weight")]


def no_more(_: Any) -> Values:
    """What a family adds that the table has not said already."""
    return {}


def family(
    model_type: str,
    architecture: str,
    *,
    ours: Values,
    demanded: Values,
    defaults: Values,
    keys: Keys = SIZES,
    read: Callable[[Values], Values] = no_more,
    write: Callable[[DecoderConfig], Values] = no_more,
    weights: Callable[[DecoderConfig], Sequence[Weight]] = llama_weights,
    ignored: str = r"rotary_emb\.inv_freq$",
) -> Family:
    """A family from its table.

    `ours` are the fields of a DecoderConfig that make it this family; `demanded` the settings that must be so in their
    config (absent is so) and that we write; `defaults` what an absent entry means; `keys` the entries that go over as
    they are; `read` and `write` the rest."""

    def from_theirs(theirs: Mapping[str, Any]) -> DecoderConfig:
        refuse(theirs, demanded)
        values = {**defaults, **{key: value for key, value in theirs.items() if value is not None}}
        values.setdefault("num_key_value_heads", values.get("num_attention_heads"))
        if "head_dim" not in values and "hidden_size" in values:
            values["head_dim"] = values["hidden_size"] // values["num_attention_heads"]
        sizes: Values = {field: values[key] for key, field in keys}
        sizes |= {"family": model_type, **ours, **read(values)}
        return DecoderConfig(**sizes)

    def to_theirs(config: DecoderConfig) -> Values:
        sizes = {key: getattr(config, field) for key, field in keys}
        return {**sizes, **demanded, **write(config)}

    return Family(
        model_type=model_type,
        architecture=architecture,
        kind="decoder",
        model=Decoder,
        weights=weights,
        from_theirs=from_theirs,
        to_theirs=to_theirs,
        ignored=ignored,
    )


def read_rotary(theirs: Values) -> Values:
    theta, scaling = rotary_of(theirs)
    return {"theta": theta, "rotary_scaling": scaling}


def write_rotary(config: DecoderConfig) -> Values:
    """The base stands there twice: programs read one or the other."""
    return {"rope_theta": config.theta, "rope_parameters": rope_parameters(config.theta, config.rotary_scaling)}


def read_llama(theirs: Values) -> Values:
    bias = bool(theirs.get("attention_bias", False))
    biases = {"qkv_bias": bias, "output_bias": bias, "feedforward_bias": bool(theirs.get("mlp_bias", False))}
    return {**read_rotary(theirs), **biases}


def write_llama(config: DecoderConfig) -> Values:
    return {**write_rotary(config), "attention_bias": config.qkv_bias, "mlp_bias": config.feedforward_bias}


def read_window(theirs: Values) -> Values:
    """Mistral: a window for all layers, or none."""
    window = theirs.get("sliding_window")
    return {
        **read_rotary(theirs),
        "window": window,
        "windowed": (True,) * theirs["num_hidden_layers"] if window else (),
    }


def write_window(config: DecoderConfig) -> Values:
    return {**write_rotary(config), "sliding_window": config.window}


def read_qwen(theirs: Values) -> Values:
    """Qwen: layers of a window only where `use_sliding_window` says so, from `max_window_layers` on."""
    values = read_rotary(theirs)
    if "attention_bias" in theirs:
        values |= {"qkv_bias": bool(theirs["attention_bias"]), "output_bias": bool(theirs["attention_bias"])}
    if not theirs.get("use_sliding_window") or not theirs.get("sliding_window"):
        return values
    depth, first = theirs["num_hidden_layers"], theirs.get("max_window_layers", 28)
    windowed = windowed_layers(theirs) or tuple(layer >= first for layer in range(depth))
    return {**values, "window": theirs["sliding_window"], "windowed": windowed}


def write_qwen(config: DecoderConfig) -> Values:
    values = {**write_rotary(config), "use_sliding_window": any(config.windowed), "layer_types": layer_types(config)}
    return {**values, "sliding_window": config.window if any(config.windowed) else None}


def read_gemma(theirs: Values) -> Values:
    """Gemma 2 and 3: every second layer (2) or five of six (3) have a window, in 3 with a rotary base of their own."""
    depth, window = theirs["num_hidden_layers"], theirs["sliding_window"]
    windowed = windowed_layers(theirs)
    if not windowed:
        pattern = theirs.get("sliding_window_pattern") or (2 if theirs["model_type"] == "gemma2" else 6)
        windowed = tuple(bool((layer + 1) % pattern) for layer in range(depth))
    values: Values = {
        "embedding_scale": theirs["hidden_size"] ** 0.5,
        "attention_scale": theirs["query_pre_attn_scalar"] ** -0.5,
        "attention_softcap": theirs.get("attn_logit_softcapping"),
        "logit_softcap": theirs.get("final_logit_softcapping"),
        "window": window,
        "windowed": windowed,
    }
    if theirs["model_type"] == "gemma2":
        return {**values, **read_rotary(theirs)}
    theta, scaling = rotary_of(theirs, "full_attention")
    local = (theirs.get("rope_parameters") or {}).get("sliding_attention", {}).get("rope_theta")
    local = local or theirs.get("rope_local_base_freq") or 10_000.0
    return {**values, "theta": theta, "rotary_scaling": scaling, "window_theta": float(local)}


def write_gemma(config: DecoderConfig) -> Values:
    assert config.attention_scale is not None
    values: Values = {
        "query_pre_attn_scalar": round(config.attention_scale**-2),
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
        "sliding_window": config.window,
        "layer_types": layer_types(config),
    }
    if config.window_theta is None:
        return {**values, **write_rotary(config)}
    parameters = {
        "full_attention": rope_parameters(config.theta, config.rotary_scaling),
        "sliding_attention": rope_parameters(config.window_theta, None),
    }
    # The two older keys are what llama.cpp's converter and programs before 2026 read.
    old = {"rope_theta": config.theta, "rope_local_base_freq": config.window_theta}
    return {**values, **old, "rope_parameters": parameters}


def read_smollm(theirs: Values) -> Values:
    """SmolLM3: every fourth layer goes without positions."""
    depth, every = theirs["num_hidden_layers"], theirs.get("no_rope_layer_interval", 4)
    rotated = theirs.get("no_rope_layers") or [int((layer + 1) % every != 0) for layer in range(depth)]
    unrotated = tuple(not one for one in rotated)
    return {**read_llama(theirs), "unrotated": unrotated if any(unrotated) else ()}


def write_smollm(config: DecoderConfig) -> Values:
    unrotated = config.unrotated or (False,) * config.depth
    types = ["full_attention"] * config.depth
    return {**write_llama(config), "no_rope_layers": [int(not one) for one in unrotated], "layer_types": types}


def read_exaone(theirs: Values) -> Values:
    """EXAONE 4: layers of a window with positions, others without either; without a window all have positions."""
    values, window = read_rotary(theirs), theirs.get("sliding_window")
    if not window:
        return values
    depth, pattern = theirs["num_hidden_layers"], theirs.get("sliding_window_pattern") or 4
    windowed = windowed_layers(theirs)
    if not windowed and isinstance(pattern, str):
        windowed = tuple(pattern[layer % len(pattern)] == "L" and layer + 1 < depth for layer in range(depth))
    elif not windowed:
        windowed = tuple(bool((layer + 1) % pattern) for layer in range(depth))
    return {**values, "window": window, "windowed": windowed, "unrotated": tuple(not one for one in windowed)}


def write_exaone(config: DecoderConfig) -> Values:
    return {**write_rotary(config), "sliding_window": config.window, "layer_types": layer_types(config)}


def read_experts(theirs: Values) -> Values:
    values = read_qwen(theirs) if theirs["model_type"] == "qwen3_moe" else read_window(theirs)
    experts = theirs["num_experts"] if "num_experts" in theirs else theirs["num_local_experts"]  # newer folders
    normalized = bool(theirs.get("norm_topk_prob", theirs["model_type"] == "mixtral"))
    return {**values, "experts": experts, "experts_normalized": normalized}


def write_experts(config: DecoderConfig) -> Values:
    if config.family == "mixtral":
        return write_window(config)
    return {**write_qwen(config), "num_experts": config.experts, "norm_topk_prob": config.experts_normalized}


def read_gpt2(theirs: Values) -> Values:
    width = theirs["n_embd"]
    return {
        "kv_heads": theirs["n_head"],
        "head_dim": width // theirs["n_head"],
        "feedforward_size": theirs.get("n_inner") or 4 * width,
        "activation": ACTIVATIONS[theirs.get("activation_function", "gelu_new")],
    }


def write_gpt2(config: DecoderConfig) -> Values:
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    activation = "gelu_new" if config.activation == "gelu-tanh" else names[config.activation]
    return {"n_inner": config.feedforward_size, "activation_function": activation}


LLAMA: Values = {"qk_norm": False}
GEMMA: Values = {"norm": "rms-offset", "norm_place": "around", "activation": "gelu-tanh"}
GEMMA_DEFAULTS: Values = {"tie_word_embeddings": True, "head_dim": 256, "query_pre_attn_scalar": 256}
UNTIED: Values = {"tie_word_embeddings": False, "rms_norm_eps": 1e-6}
PLAIN: Values = {"hidden_act": "silu", "attention_dropout": 0.0}
GPT2_KEYS: Keys = (
    ("vocab_size", "vocabulary"),
    ("n_layer", "depth"),
    ("n_embd", "width"),
    ("n_head", "heads"),
    ("n_positions", "context"),
    ("layer_norm_epsilon", "eps"),
    ("tie_word_embeddings", "tied"),
)
MOE_KEYS: Keys = (
    *(pair for pair in SIZES if pair[1] != "feedforward_size"),
    ("moe_intermediate_size", "feedforward_size"),
    ("num_experts_per_tok", "experts_chosen"),
)
MIXTRAL_KEYS: Keys = (*SIZES, ("num_local_experts", "experts"), ("num_experts_per_tok", "experts_chosen"))

FAMILIES = [
    family(
        "qwen3", "Qwen3ForCausalLM",
        ours={}, demanded=PLAIN, defaults={**UNTIED, "head_dim": 128}, read=read_qwen,
        write=lambda config: {**write_qwen(config), "attention_bias": config.qkv_bias},
    ),
    family(
        "qwen2", "Qwen2ForCausalLM",
        ours={"qk_norm": False, "qkv_bias": True}, demanded=PLAIN, defaults=UNTIED, read=read_qwen, write=write_qwen,
    ),
    family(
        "llama", "LlamaForCausalLM",
        ours=LLAMA, demanded={**PLAIN, "pretraining_tp": 1}, defaults=UNTIED, read=read_llama, write=write_llama,
    ),
    family(
        "mistral", "MistralForCausalLM",
        ours=LLAMA, demanded=PLAIN, defaults={**UNTIED, "sliding_window": None}, read=read_window, write=write_window,
    ),
    family(
        "smollm3", "SmolLM3ForCausalLM",
        ours=LLAMA, demanded={**PLAIN, "use_sliding_window": False, "pretraining_tp": 1},
        defaults={**UNTIED, "tie_word_embeddings": True}, read=read_smollm, write=write_smollm,
    ),
    family(
        "exaone4", "Exaone4ForCausalLM",
        ours={"norm_place": "after"}, demanded=PLAIN, defaults=UNTIED, read=read_exaone, write=write_exaone,
    ),
    family(
        "gemma2", "Gemma2ForCausalLM",
        ours={**GEMMA, "qk_norm": False}, demanded={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False},
        defaults={**UNTIED, **GEMMA_DEFAULTS, "sliding_window": 4096, "attn_logit_softcapping": 50.0,
                  "final_logit_softcapping": 30.0},
        read=read_gemma, write=write_gemma,
    ),
    family(
        "gemma3_text", "Gemma3ForCausalLM",
        ours=GEMMA, demanded={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False,
                              "use_bidirectional_attention": False},
        defaults={**UNTIED, **GEMMA_DEFAULTS, "sliding_window": 4096, "rope_theta": 1_000_000.0},
        read=read_gemma, write=write_gemma,
    ),
    family(
        "mixtral", "MixtralForCausalLM",
        ours=LLAMA, demanded=PLAIN, defaults={**UNTIED, "rms_norm_eps": 1e-5}, keys=MIXTRAL_KEYS,
        read=read_experts, write=write_experts,
    ),
    family(
        "qwen3_moe", "Qwen3MoeForCausalLM",
        ours={}, demanded={**PLAIN, "decoder_sparse_step": 1, "mlp_only_layers": []}, defaults=UNTIED, keys=MOE_KEYS,
        read=read_experts, write=lambda config: {**write_experts(config), "attention_bias": config.qkv_bias},
    ),
    family(
        "gpt2", "GPT2LMHeadModel",
        ours={"norm": "layer", "qk_norm": False, "qkv_bias": True, "output_bias": True, "feedforward_bias": True,
              "gated": False, "learned_positions": True},
        demanded={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
                  "reorder_and_upcast_attn": False, "add_cross_attention": False},
        defaults={"tie_word_embeddings": True, "layer_norm_epsilon": 1e-5}, keys=GPT2_KEYS, read=read_gpt2,
        write=write_gpt2, weights=gpt2_weights, ignored=r"\.attn\.(masked_)?bias$",
    ),
]  # fmt: skip
