"""The families of encoders, one table each: which config.json says what, and how their tensors are called.

They are read and written with the head that fills masks in, whose matrix is the embedding's. Dropout is no part of our
models: it is neither read nor written, and programs that fine-tune what we write use their own default.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dodam.exchange.configuration import ACTIVATIONS, Keys, Values, refuse, rope_parameters, rotary_of, windowed_layers
from dodam.exchange.mapping import Family, Weight
from dodam.models.encoder import Encoder, EncoderConfig
from dodam.nn.feedforward import Activation

SIZES: Keys = (
    ("vocab_size", "vocabulary"),
    ("num_hidden_layers", "depth"),
    ("hidden_size", "width"),
    ("num_attention_heads", "heads"),
    ("intermediate_size", "feedforward_size"),
)
KINDS = ("weight", "bias")


def both(theirs: str, ours: str, kinds: Sequence[str] = KINDS) -> list[Weight]:
    """A layer's weight and, unless `kinds` says less, its bias."""
    return [Weight(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in kinds]


def bert_weights(config: EncoderConfig) -> list[Weight]:
    """The tensors of a BERT, and of a RoBERTa, whose head alone is called otherwise."""
    base = config.family
    table = [
        Weight(f"{base}.embeddings.word_embeddings.weight", "embedding.weight"),
        Weight(f"{base}.embeddings.position_embeddings.weight", "positions.weight"),
        Weight(f"{base}.embeddings.token_type_embeddings.weight", "segments.weight"),
        *both(f"{base}.embeddings.LayerNorm", "input_norm"),
    ]
    for theirs, ours in (
        ("attention.self.query", "attention.query"),
        ("attention.self.key", "attention.key"),
        ("attention.self.value", "attention.value"),
        ("attention.output.dense", "attention.output"),
        ("attention.output.LayerNorm", "attention_norm"),
        ("intermediate.dense", "feedforward.up"),
        ("output.dense", "feedforward.down"),
        ("output.LayerNorm", "feedforward_norm"),
    ):
        table += both(f"{base}.encoder.layer.{{i}}.{theirs}", f"blocks.{{i}}.{ours}")
    head, dense, norm = ("cls.predictions", "transform.dense", "transform.LayerNorm")
    if base == "roberta":
        head, dense, norm = ("lm_head", "dense", "layer_norm")
    return [
        *table,
        *both(f"{head}.{dense}", "dense"),
        *both(f"{head}.{norm}", "head_norm"),
        Weight(f"{head}.bias", "output.bias"),
    ]


def modernbert_weights(config: EncoderConfig) -> list[Weight]:
    """ModernBERT has query, key and value in one, gate and up too; its first layer has no norm before attention."""

    def kinds(bias: bool) -> Sequence[str]:
        return KINDS if bias else KINDS[:1]

    norms, attention = kinds(config.norm_bias), kinds(config.attention_bias)
    feedforward = kinds(config.feedforward_bias)
    table = [Weight("model.embeddings.tok_embeddings.weight", "embedding.weight")]
    table += both("model.embeddings.norm", "input_norm", norms)
    for layer in range(0 if config.first_attention_norm else 1, config.depth):
        table += both(f"model.layers.{layer}.attn_norm", f"blocks.{layer}.attention_norm", norms)
    theirs, ours = "model.layers.{i}", "blocks.{i}"
    for kind in attention:
        qkv = tuple(f"{ours}.attention.{part}.{kind}" for part in ("query", "key", "value"))
        table.append(Weight(f"{theirs}.attn.Wqkv.{kind}", qkv))
    table += both(f"{theirs}.attn.Wo", f"{ours}.attention.output", attention)
    table += both(f"{theirs}.mlp_norm", f"{ours}.feedforward_norm", norms)
    for kind in feedforward:
        gate_up = (f"{ours}.feedforward.gate.{kind}", f"{ours}.feedforward.up.{kind}")
        table.append(Weight(f"{theirs}.mlp.Wi.{kind}", gate_up))
    table += both(f"{theirs}.mlp.Wo", f"{ours}.feedforward.down", feedforward)
    table += both("model.final_norm", "norm", norms)
    table += both("head.dense", "dense", kinds(config.head_bias))
    table += both("head.norm", "head_norm", norms)
    return [*table, Weight("decoder.bias", "output.bias")] if config.output_bias else table


def activation_of(name: str) -> Activation:
    """ValueError for one we do not have."""
    if name not in ACTIVATIONS:
        raise ValueError(f"the activation {name!r} is not supported, only {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def activation_name(activation: Activation) -> str:
    """What it is called in every version of `transformers`."""
    return "gelu_new" if activation == "gelu-tanh" else activation


def family(
    model_type: str,
    architecture: str,
    *,
    also: Sequence[str] = (),
    keys: Keys,
    demanded: Values,
    defaults: Values,
    read: Callable[[Values], Values],
    write: Callable[[EncoderConfig], Values],
    weights: Callable[[EncoderConfig], Sequence[Weight]],
    ignored: str,
) -> Family:
    """A family from its table.

    `also` are other classes whose folders hold all we need; `keys` the entries that go over as they are; `demanded` the
    settings that must be so in their config (absent is so) and that we write; `defaults` what an absent entry means;
    `read` and `write` the rest."""

    def from_theirs(theirs: Mapping[str, Any]) -> EncoderConfig:
        saved_as = (theirs.get("architectures") or [architecture])[0]
        if saved_as not in (architecture, *also):
            known = " or ".join((architecture, *also))
            raise ValueError(f"it was saved as {saved_as}, without the head that fills masks in; save it as {known}")
        refuse(theirs, demanded)
        values = {**defaults, **{key: value for key, value in theirs.items() if value is not None}}
        return EncoderConfig(
            **{field: values[key] for key, field in (*SIZES, *keys)}, family=model_type, **read(values)
        )

    def to_theirs(config: EncoderConfig) -> Values:
        sizes = {key: getattr(config, field) for key, field in (*SIZES, *keys)}
        return {**sizes, **demanded, **write(config)}

    return Family(
        model_type=model_type,
        architecture=architecture,
        kind="encoder",
        model=Encoder,
        weights=weights,
        from_theirs=from_theirs,
        to_theirs=to_theirs,
        ignored=ignored,
    )


def read_bert(theirs: Values) -> Values:
    activation = activation_of(theirs["hidden_act"])
    return {"context": theirs["max_position_embeddings"], "activation": activation, "head_activation": activation}


def write_bert(config: EncoderConfig) -> Values:
    assert config.segments and config.head_activation == config.activation, "a BERT is not like this"
    return {"max_position_embeddings": config.context, "hidden_act": activation_name(config.activation)}


def read_roberta(theirs: Values) -> Values:
    """RoBERTa's first position is the number after its padding token's, and its head has always the plain GELU."""
    offset = theirs["pad_token_id"] + 1
    context = theirs["max_position_embeddings"] - offset
    return {"context": context, "position_offset": offset, "activation": activation_of(theirs["hidden_act"])}


def write_roberta(config: EncoderConfig) -> Values:
    assert config.segments and config.position_offset and config.head_activation == "gelu", "a RoBERTa is not like this"
    return {
        "max_position_embeddings": config.context + config.position_offset,
        "pad_token_id": config.position_offset - 1,
        "hidden_act": activation_name(config.activation),
    }


def read_modernbert(theirs: Values) -> Values:
    """Two layers of three have a window, which `local_attention` gives from end to end without the middle."""
    depth = theirs["num_hidden_layers"]
    every = theirs.get("global_attn_every_n_layers", 3)  # older folders
    windowed = windowed_layers(theirs) or tuple(layer % every != 0 for layer in range(depth))
    thetas = []
    for kind, old, default in (
        ("full_attention", "global_rope_theta", 160_000.0),
        ("sliding_attention", "local_rope_theta", 10_000.0),
    ):
        found = {key: theirs[key] for key in ("rope_parameters", "rope_scaling", "max_position_embeddings")}
        theta, scaling = rotary_of({**found, "rope_theta": theirs.get(old, default)}, kind)
        if scaling is not None:
            raise ValueError(f"rope_type = {scaling.kind!r} is not supported in an encoder")
        thetas.append(theta)
    bias, activation = bool(theirs["classifier_bias"]), activation_of(theirs["classifier_activation"])
    return {
        "norm_place": "before",
        "first_attention_norm": False,
        "gated": True,
        "learned_positions": False,
        "activation": activation_of(theirs["hidden_activation"]),
        "theta": thetas[0],
        "window_theta": thetas[1],
        "window": theirs["local_attention"] // 2 + 1,
        "windowed": windowed,
        "head_activation": activation,
        "head_bias": bias,
    }


def write_modernbert(config: EncoderConfig) -> Values:
    assert config.window is not None and config.window_theta is not None, "a ModernBERT is not like this"
    windowed = config.windowed or (False,) * config.depth
    values: Values = {
        "hidden_activation": activation_name(config.activation),
        "local_attention": 2 * (config.window - 1),
        "layer_types": ["sliding_attention" if one else "full_attention" for one in windowed],
        "rope_parameters": {
            "full_attention": rope_parameters(config.theta, None),
            "sliding_attention": rope_parameters(config.window_theta, None),
        },
        "classifier_activation": activation_name(config.head_activation),
        "classifier_bias": config.head_bias,
    }
    # What programs before 2026 read.
    values |= {"global_rope_theta": config.theta, "local_rope_theta": config.window_theta}
    patterns = {
        every: tuple(layer % every != 0 for layer in range(config.depth)) for every in range(1, config.depth + 1)
    }
    regular = [every for every, pattern in patterns.items() if pattern == windowed]
    return {**values, "global_attn_every_n_layers": regular[0]} if regular else values


BERT_KEYS: Keys = (("type_vocab_size", "segments"), ("layer_norm_eps", "eps"))
BERT: Values = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
BERT_DEFAULTS: Values = {"type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
MODERNBERT_KEYS: Keys = (
    ("max_position_embeddings", "context"),
    ("norm_eps", "eps"),
    ("norm_bias", "norm_bias"),
    ("attention_bias", "attention_bias"),
    ("mlp_bias", "feedforward_bias"),
    ("decoder_bias", "output_bias"),
)

# What the patterns of `ignored` name: the pooler and the next-sentence head, which fill no masks in, and second copies
# of tied weights and counted positions that older programs stored.
FAMILIES = [
    family(
        "bert", "BertForMaskedLM", also=("BertForPreTraining",),
        keys=BERT_KEYS, demanded=BERT, defaults=BERT_DEFAULTS, read=read_bert, write=write_bert, weights=bert_weights,
        ignored=r"^bert\.pooler\.|^cls\.seq_relationship\.|^cls\.predictions\.decoder\.|\.position_ids$",
    ),
    family(
        "roberta", "RobertaForMaskedLM",
        keys=BERT_KEYS, demanded=BERT, defaults={**BERT_DEFAULTS, "pad_token_id": 1},
        read=read_roberta, write=write_roberta, weights=bert_weights,
        ignored=r"^roberta\.pooler\.|^lm_head\.decoder\.|\.position_ids$",
    ),
    family(
        "modernbert", "ModernBertForMaskedLM",
        keys=MODERNBERT_KEYS, demanded={"tie_word_embeddings": True},
        defaults={"norm_eps": 1e-5, "norm_bias": False, "attention_bias": False, "mlp_bias": False,
                  "decoder_bias": True, "hidden_activation": "gelu", "local_attention": 128,
                  "classifier_bias": False, "classifier_activation": "gelu", "rope_parameters": None,
                  "rope_scaling": None},
        read=read_modernbert, write=write_modernbert, weights=modernbert_weights,
        ignored=r"^decoder\.weight$|rotary_emb\.",
    ),
]  # fmt: skip
