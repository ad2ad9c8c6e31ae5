"""The families of encoder-decoders, one table each: which config.json says what, and how their tensors are called.

Marian (opus-mt), BART and T5 with its later form v1.1 (Flan-T5). Read with `exchange/mapping.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dodam.exchange.configuration import ACTIVATIONS, Keys, Values, refuse
from dodam.exchange.mapping import Family, Weight
from dodam.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig

BART_KEYS: Keys = (
    ("vocab_size", "vocabulary"),
    ("encoder_layers", "encoder_depth"),
    ("decoder_layers", "decoder_depth"),
    ("d_model", "width"),
    ("encoder_attention_heads", "heads"),
    ("encoder_ffn_dim", "feedforward_size"),
    ("max_position_embeddings", "context"),
    ("scale_embedding", "scaled_embedding"),
    ("decoder_start_token_id", "start_id"),
)
T5_KEYS: Keys = (
    ("vocab_size", "vocabulary"),
    ("num_layers", "encoder_depth"),
    ("num_decoder_layers", "decoder_depth"),
    ("d_model", "width"),
    ("num_heads", "heads"),
    ("d_kv", "head_dim"),
    ("d_ff", "feedforward_size"),
    ("n_positions", "context"),
    ("layer_norm_epsilon", "eps"),
    ("relative_attention_num_buckets", "buckets"),
    ("relative_attention_max_distance", "furthest"),
    ("decoder_start_token_id", "start_id"),
)


def bart_weights(config: EncoderDecoderConfig) -> list[Weight]:
    """The tensors of a BART, and of a Marian, which is called like it."""
    table = [Weight("final_logits_bias", "logits_bias"), Weight("model.shared.weight", "embedding.weight")]
    attention = (("k_proj", "key"), ("v_proj", "value"), ("q_proj", "query"), ("out_proj", "output"))
    rest = (("fc1", "feedforward.up"), ("fc2", "feedforward.down"), ("final_layer_norm", "feedforward_norm"))
    own = (*((f"self_attn.{theirs}", f"attention.{ours}") for theirs, ours in attention),
           ("self_attn_layer_norm", "attention_norm"))  # fmt: skip
    cross = (*((f"encoder_attn.{theirs}", f"cross.{ours}") for theirs, ours in attention),
             ("encoder_attn_layer_norm", "cross_norm"))  # fmt: skip
    sides = (("encoder", config.encoder_depth, (*own, *rest)), ("decoder", config.decoder_depth, (*own, *cross, *rest)))
    for side, depth, rows in sides:
        if config.positions == "learned":
            table.append(Weight(f"model.{side}.embed_positions.weight", f"{side}.positions.weight"))
        names = [(f"layers.{i}.{theirs}", f"blocks.{i}.{ours}") for i in range(depth) for theirs, ours in rows]
        if config.embedding_norm:
            names.append(("layernorm_embedding", "embedding_norm"))
        table += [
            Weight(f"model.{side}.{theirs}.{kind}", f"{side}.{ours}.{kind}")
            for theirs, ours in names
            for kind in ("weight", "bias")
        ]
    return table


def t5_weights(config: EncoderDecoderConfig) -> list[Weight]:
    """The tensors of a T5. Its buckets of distances are stored with the first layer, for all."""
    table = [Weight("shared.weight", "embedding.weight")]
    attention = (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output"))
    up = (("wi_0", "gate"), ("wi_1", "up")) if config.gated else (("wi", "up"),)
    own = [("0.layer_norm", "attention_norm"), *((f"0.SelfAttention.{t}", f"attention.{o}") for t, o in attention)]
    cross = [("1.layer_norm", "cross_norm"), *((f"1.EncDecAttention.{t}", f"cross.{o}") for t, o in attention)]
    rest = [("layer_norm", "feedforward_norm")]
    rest += [(f"DenseReluDense.{theirs}", f"feedforward.{ours}") for theirs, ours in (*up, ("wo", "down"))]
    for side, depth, first, last in (
        ("encoder", config.encoder_depth, own, 1),
        ("decoder", config.decoder_depth, own + cross, 2),
    ):
        distances = "block.0.layer.0.SelfAttention.relative_attention_bias"
        rows = [*first, *((f"{last}.{theirs}", ours) for theirs, ours in rest)]
        names = [(f"block.{i}.layer.{theirs}", f"blocks.{i}.{ours}") for i in range(depth) for theirs, ours in rows]
        names += [(distances, "distances"), ("final_layer_norm", "norm")]
        table += [Weight(f"{side}.{theirs}.weight", f"{side}.{ours}.weight") for theirs, ours in names]
    return table if config.tied else [*table, Weight("lm_head.weight", "output.weight", absent="shared.weight")]


def read_bart(theirs: Values) -> Values:
    """Both sides must be of the same sizes."""
    same = {
        "decoder_attention_heads": theirs["encoder_attention_heads"],
        "decoder_ffn_dim": theirs["encoder_ffn_dim"],
        "decoder_vocab_size": theirs["vocab_size"],
    }
    refuse(theirs, same)
    activation = theirs.get("activation_function", "gelu")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation_function = {activation!r} is not supported, only {', '.join(ACTIVATIONS)}")
    return {
        "head_dim": theirs["d_model"] // theirs["encoder_attention_heads"],
        "activation": ACTIVATIONS[activation],
    }


def write_bart(config: EncoderDecoderConfig) -> Values:
    values = {
        "decoder_attention_heads": config.heads,
        "decoder_ffn_dim": config.feedforward_size,
        "activation_function": their_activation(config),
        "forced_eos_token_id": None,  # else theirs is a number of its own
    }
    return values if config.family == "bart" else {**values, "decoder_vocab_size": config.vocabulary}


def their_activation(config: EncoderDecoderConfig) -> str:
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return "gelu_new" if config.activation == "gelu-tanh" else names[config.activation]


def read_t5(theirs: Values) -> Values:
    """v1.1 and what came of it divide nothing before the head and have a head of their own.

    That is told by `tie_word_embeddings`; `transformers` 5 writes it always true, and `scale_decoder_outputs`."""
    first = theirs.get("scale_decoder_outputs", theirs["tie_word_embeddings"])
    *gate, name = theirs["feed_forward_proj"].split("-")
    if gate not in ([], ["gated"]) or name not in ACTIVATIONS:
        raise ValueError(f"feed_forward_proj = {theirs['feed_forward_proj']!r} is not supported")
    gelu_of_v11 = gate and name == "gelu"  # there it is the approximate one
    return {
        "tied": bool(first),
        "scaled_hidden": bool(first),
        "gated": bool(gate),
        "activation": "gelu-tanh" if gelu_of_v11 else ACTIVATIONS[name],
    }


def write_t5(config: EncoderDecoderConfig) -> Values:
    name = their_activation(config)
    if config.gated:
        name = "gated-gelu" if config.activation == "gelu-tanh" else f"gated-{name}"
    return {
        "feed_forward_proj": name,
        "tie_word_embeddings": config.tied,
        "scale_decoder_outputs": config.scaled_hidden,
    }


def family(
    model_type: str,
    architecture: str,
    *,
    ours: Values,
    demanded: Values,
    refused: Values,
    defaults: Values,
    keys: Keys,
    read: Callable[[Values], Values],
    write: Callable[[EncoderDecoderConfig], Values],
    weights: Callable[[EncoderDecoderConfig], Sequence[Weight]],
    ignored: str,
) -> Family:
    """A family from its table.

    `ours` are the fields of an EncoderDecoderConfig that make it this family; `demanded` the settings that must be so
    in their config (absent is so) and that we write; `refused` those that older programs knew and that must be so
    where they stand; `defaults` what an absent entry means; `keys` the entries that go over as they are; `read` and
    `write` the rest."""

    def from_theirs(theirs: Mapping[str, Any]) -> EncoderDecoderConfig:
        refuse(theirs, {**demanded, **refused})
        values = {**defaults, **{key: value for key, value in theirs.items() if value is not None}}
        if model_type == "t5":
            values.setdefault("num_decoder_layers", values["num_layers"])
        sizes: Values = {field: values[key] for key, field in keys}
        sizes |= {"family": model_type, **ours, **read(values)}
        return EncoderDecoderConfig(**sizes)

    def to_theirs(config: EncoderDecoderConfig) -> Values:
        values = {**{key: getattr(config, field) for key, field in keys}, **demanded, **write(config)}
        if from_theirs(values) != config:
            raise ValueError(f"no {model_type} has this model's shape; choose the family that has")
        return values

    return Family(
        model_type=model_type,
        architecture=architecture,
        kind="encoder-decoder",
        model=EncoderDecoder,
        weights=weights,
        from_theirs=from_theirs,
        to_theirs=to_theirs,
        ignored=ignored,
    )


# One table of embeddings may be stored several times, and a table of sinusoids is no weight.
SAME_TABLE = r"(encoder|decoder)\.embed_tokens\.weight$|^lm_head\.weight$"
BART_DEMANDED: Values = {"tie_word_embeddings": True, "is_encoder_decoder": True}
BART_REFUSED: Values = {"normalize_before": False, "add_final_layer_norm": False}

FAMILIES = [
    family(
        "marian", "MarianMTModel",
        ours={},
        demanded={**BART_DEMANDED, "share_encoder_decoder_embeddings": True},
        refused={**BART_REFUSED, "normalize_embedding": False, "static_position_embeddings": True},
        defaults={"scale_embedding": False}, keys=BART_KEYS, read=read_bart, write=write_bart, weights=bart_weights,
        ignored=rf"{SAME_TABLE}|embed_positions\.weight$",
    ),
    family(
        "bart", "BartForConditionalGeneration",
        ours={"positions": "learned", "embedding_norm": True},
        demanded=BART_DEMANDED,
        refused={**BART_REFUSED, "normalize_embedding": True, "static_position_embeddings": False,
                 "extra_pos_embeddings": 2},
        defaults={"scale_embedding": False, "decoder_start_token_id": 2},
        keys=BART_KEYS, read=read_bart, write=write_bart, weights=bart_weights, ignored=SAME_TABLE,
    ),
    family(
        "t5", "T5ForConditionalGeneration",
        ours={"norm": "rms", "norm_place": "before", "bias": False, "positions": "relative", "scaled_embedding": False,
              "attention_scale": 1.0, "logits_bias": False},
        demanded={"is_encoder_decoder": True}, refused={},
        defaults={"tie_word_embeddings": True, "feed_forward_proj": "relu", "n_positions": 512,
                  "layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32,
                  "relative_attention_max_distance": 128, "decoder_start_token_id": 0},
        keys=T5_KEYS, read=read_t5, write=write_t5, weights=t5_weights,
        ignored=rf"{SAME_TABLE}|EncDecAttention\.relative_attention_bias\.weight$",
    ),
]  # fmt: skip
