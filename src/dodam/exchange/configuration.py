"""What families of any kind say in their config.json in the same way: activations, rotary positions, windows.

A table of keys says the rest (`decoders.py`, `encoders.py`, `encoder_decoders.py`).
"""

from collections.abc import Mapping
from typing import Any

from dodam.models.decoder import DecoderConfig
from dodam.nn.feedforward import Activation
from dodam.nn.position import RotaryScaling

Keys = tuple[tuple[str, str], ...]
"""(their key, our field)."""

Values = dict[str, Any]

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "relu": "relu",
}


def refuse(theirs: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """ValueError when a setting that may change the result is not what it is in every model of ours."""
    for key, value in wanted.items():
        if theirs.get(key, value) not in (value, None):
            raise ValueError(f"{key} = {theirs[key]!r} is not supported, only {value!r}")


def rotary_of(theirs: Mapping[str, Any], layer_type: str = "") -> tuple[float, RotaryScaling | None]:
    """Base and scaling, from `rope_parameters` (perhaps one for each type of layer) or from the older two keys."""
    found = theirs.get("rope_parameters") or {}
    found = found.get(layer_type, found)
    old = theirs.get("rope_scaling") or {}
    values = {"rope_theta": theirs.get("rope_theta", 10_000.0), **old, **found}
    kind = values.get("rope_type", values.get("type", "default"))
    theta = float(values["rope_theta"])
    if kind in ("default", None):
        return theta, None
    if kind not in ("linear", "llama3", "yarn"):
        raise ValueError(f"rope_type = {kind!r} is not supported, only default, linear, llama3 and yarn")
    refuse(values, {"mscale": None, "mscale_all_dim": None, "truncate": True})
    return theta, RotaryScaling(
        kind=kind,
        factor=float(values["factor"]),
        original_context=int(values.get("original_max_position_embeddings") or theirs["max_position_embeddings"]),
        low_frequency_factor=float(values.get("low_freq_factor", 1.0)),
        high_frequency_factor=float(values.get("high_freq_factor", 4.0)),
        beta_fast=float(values.get("beta_fast") or 32.0),
        beta_slow=float(values.get("beta_slow") or 1.0),
        attention_factor=values.get("attention_factor"),
    )


def rope_parameters(theta: float, scaling: RotaryScaling | None) -> dict[str, Any]:
    """The same, as they write it."""
    if scaling is None:
        return {"rope_type": "default", "rope_theta": theta}
    values: dict[str, Any] = {"rope_type": scaling.kind, "rope_theta": theta, "factor": scaling.factor}
    if scaling.kind != "linear":
        values["original_max_position_embeddings"] = scaling.original_context
    if scaling.kind == "llama3":
        values |= {"low_freq_factor": scaling.low_frequency_factor, "high_freq_factor": scaling.high_frequency_factor}
    if scaling.kind == "yarn":
        values |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        if scaling.attention_factor is not None:
            values["attention_factor"] = scaling.attention_factor
    return values


def windowed_layers(theirs: Mapping[str, Any]) -> tuple[bool, ...]:
    """For each layer whether it has a window, from `layer_types`."""
    return tuple(kind == "sliding_attention" for kind in theirs.get("layer_types") or ())


def layer_types(config: DecoderConfig) -> list[str]:
    """The same, as they write it."""
    windowed = config.windowed or (False,) * config.depth
    return ["sliding_attention" if one else "full_attention" for one in windowed]
