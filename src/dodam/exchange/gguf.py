"""GGUF, the one file that llama.cpp and all that is built on it run: a decoder with its tokenizer and chat template.

Out goes a model of ours, its matrices as they are or in blocks of few bits; back come metadata and tensors, to be
compared. A family is a row of `LAYOUTS`: its name there, and what llama.cpp's code for it takes as given. A model that
is otherwise is refused, for nothing in the file could say so.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gguf import GGUFWriter, LlamaFileType, RopeScalingType
from gguf.constants import GGML_QUANT_SIZES, GGML_QUANT_VERSION, GGMLQuantizationType
from gguf.quants import quantize
from torch import Tensor

from dodam import files
from dodam.errors import FolderError, UsageError
from dodam.exchange.gguf_reader import StoredTensor, open_gguf
from dodam.exchange.gguf_tokenizer import add_tokenizer
from dodam.models.decoder import Decoder, DecoderConfig
from dodam.nn.position import RotaryScaling, scaled
from dodam.tokenizer.tokenizer import Tokenizer

Kind = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
KINDS: dict[Kind, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
LARGEST_F16 = 65504.0

ALWAYS_F32 = re.compile(r"norm\.weight$|ffn_gate_inp|position_embd|rope_freqs")
"""Small tensors that everything hangs on, beside all of one dimension."""

OUTSIDE = {"embedding": "token_embd", "positions": "position_embd", "norm": "output_norm", "output": "output"}
INSIDE = {
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "attention.query_norm": "attn_q_norm",
    "attention.key_norm": "attn_k_norm",
    "attention_end_norm": "post_attention_norm",
    "feedforward_end_norm": "post_ffw_norm",
    "feedforward.router": "ffn_gate_inp",
    **{f"feedforward.{part}": f"ffn_{part}" for part in ("gate", "up", "down")},
    **{f"feedforward.experts.{part}": f"ffn_{part}_exps" for part in ("gate", "up", "down")},
}
NORMS = {
    "before": {"attention_norm": "attn_norm", "feedforward_norm": "ffn_norm"},
    "around": {"attention_norm": "attn_norm", "feedforward_norm": "ffn_norm"},
    "after": {"attention_norm": "post_attention_norm", "feedforward_norm": "post_ffw_norm"},
}
"""The norms of a block are called after their place in it."""

Layers = Callable[[DecoderConfig], tuple[bool, ...]]


def none(config: DecoderConfig) -> tuple[bool, ...]:
    return (False,) * config.depth


def every(period: int, *, depth: int | None = None) -> Layers:
    """Each `period`-th layer; with a `depth`, only in models that deep."""
    return lambda config: tuple(
        not (layer + 1) % period and depth in (None, config.depth) for layer in range(config.depth)
    )


def all_but_every(period: int, *, depth: int | None = None) -> Layers:
    """The others."""
    return lambda config: tuple(
        bool((layer + 1) % period) and depth in (None, config.depth) for layer in range(config.depth)
    )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What llama.cpp makes of a family."""

    architecture: str
    given: Mapping[str, Any]
    """Fields of our config that its code takes as given."""
    interleaved: bool = False
    """Rotates neighbours (x_2i, x_2i+1) and not halves, so the rows of queries and keys change places."""
    scalings: tuple[str, ...] = ("linear", "yarn")
    windowed: Layers = none
    """Which layers have a window; a family without windows runs in a context no longer than the window."""
    unrotated: Layers = none
    wide_depth: int = 0
    """In models this deep, scores are divided by sqrt(width / heads) rather than sqrt(head_dim)."""


DENSE = {"experts": 0, "feedforward_bias": False}
PLAIN: dict[str, Any] = {
    "norm": "rms", "norm_place": "before", "qk_norm": False, "qkv_bias": False, "output_bias": False,
    "gated": True, "activation": "silu", "learned_positions": False, "window_theta": None,
    "attention_softcap": None, "logit_softcap": None,
}  # fmt: skip
FREE_BIAS = {field: value for field, value in PLAIN.items() if not field.endswith("_bias")}
EXPERTS = {"experts_normalized": True, "feedforward_bias": False}
GEMMA = {**PLAIN, **DENSE, "norm": "rms-offset", "norm_place": "around", "activation": "gelu-tanh"}
ALL_SCALINGS = ("linear", "yarn", "llama3")

LAYOUTS: dict[str, Layout] = {
    "qwen3": Layout(architecture="qwen3", given={**PLAIN, **DENSE, "qk_norm": True}),
    "qwen2": Layout(architecture="qwen2", given={**PLAIN, **DENSE, "qkv_bias": True}),
    "llama": Layout(architecture="llama", given={**FREE_BIAS, "experts": 0}, interleaved=True, scalings=ALL_SCALINGS),
    "mistral": Layout(architecture="llama", given={**PLAIN, **DENSE}, interleaved=True, scalings=ALL_SCALINGS),
    "mixtral": Layout(architecture="llama", given={**PLAIN, **EXPERTS}, interleaved=True, scalings=ALL_SCALINGS),
    "qwen3_moe": Layout(architecture="qwen3moe", given={**PLAIN, **EXPERTS, "qk_norm": True}),
    "smollm3": Layout(
        architecture="smollm3", given={**FREE_BIAS, "experts": 0}, interleaved=True, unrotated=every(4)
    ),
    "exaone4": Layout(
        architecture="exaone4", given={**PLAIN, **DENSE, "qk_norm": True, "norm_place": "after"},
        scalings=ALL_SCALINGS, windowed=all_but_every(4, depth=64), unrotated=every(4, depth=64),
    ),
    "gemma2": Layout(
        architecture="gemma2",
        given={**{field: value for field, value in GEMMA.items() if not field.endswith("softcap")}, "tied": True},
        windowed=all_but_every(2), wide_depth=46,
    ),
    "gemma3_text": Layout(
        architecture="gemma3",
        given={**{field: value for field, value in GEMMA.items() if field != "window_theta"}, "qk_norm": True},
        scalings=("linear",), windowed=all_but_every(6), wide_depth=62,
    ),
    "gpt2": Layout(
        architecture="gpt2",
        given={**PLAIN, "norm": "layer", "qkv_bias": True, "output_bias": True, "feedforward_bias": True,
               "gated": False, "activation": "gelu-tanh", "learned_positions": True, "experts": 0},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """What an export came to. `differences` is the largest difference after reloading, by type of tensor;
    `fallbacks` are tensors not of the type asked for, with the reason; `context` what the file allows."""

    path: Path
    differences: dict[str, float]
    fallbacks: dict[str, str]
    context: int


def write_gguf(
    path: str | Path,
    model: Decoder,
    tokenizer: Tokenizer,
    *,
    kind: Kind,
    chat_template: str | None,
    name: str,
) -> Written:
    """Write a model and its tokenizer as one GGUF file, reload it and compare.

    Rows that do not divide into blocks stay F16. FolderError for what llama.cpp cannot run, StorageError for the disk;
    then there is no file."""
    path, config = Path(path), model.config
    if path.is_dir():
        raise UsageError("is a folder", where=str(path), mend="Name a file, such as model.gguf.")
    layout = layout_of(config)
    model.fold_embedding_norm()
    kind_type, file_type = KINDS[kind]
    context = config.context
    if any(config.windowed) and not any(layout.windowed(config)):
        context = min(context, config.window or context)  # within the window there is no difference
    writer = GGUFWriter(None, layout.architecture)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    add_sizes(writer, config, context)
    add_tokenizer(writer, tokenizer, config.vocabulary, chat_template=chat_template)
    types, fallbacks = {}, {}
    for theirs, tensor in their_tensors(model):
        types[theirs], why = stored_type(theirs, tensor, kind_type)
        if why:
            fallbacks[theirs] = f"{types[theirs].name}: {why}"
        block, size = GGML_QUANT_SIZES[types[theirs]]
        num_bytes = tensor.numel() // block * size
        writer.add_tensor_info(theirs, tensor.shape, np.dtype(np.float32), num_bytes, types[theirs])
    with files.new_file(path) as temporary:
        write_tensors(writer, temporary, ((tensor, types[theirs]) for theirs, tensor in their_tensors(model)))
        differences = compare(temporary, model)
    return Written(path, differences, fallbacks, context)


def read_gguf(path: str | Path, config: DecoderConfig) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's metadata, and its tensors in fp32 under our names. FolderError when it is torn or of another model."""
    layout_of(config)
    metadata, stored = open_gguf(path)
    return metadata, {name: tensor for name, tensor, _ in our_tensors(stored, config, Path(path))}


def layout_of(config: DecoderConfig) -> Layout:
    """The row of a config's family. FolderError names the family, or what llama.cpp has otherwise in it."""
    mend = "Export it to hf instead."
    layout = LAYOUTS.get(config.family)
    if layout is None:
        what = f"the family {config.family!r} cannot be written as GGUF, only {', '.join(LAYOUTS)}"
        raise FolderError(what, where="config.json", mend=mend)
    faults = [
        f"{field} = {getattr(config, field)!r}"
        for field, value in layout.given.items()
        if getattr(config, field) != value
    ]
    offset = config.norm == "rms-offset"
    width = config.width / config.heads if config.depth == layout.wide_depth else config.head_dim
    if not math.isclose(config.attention_scale or config.head_dim**-0.5, width**-0.5, rel_tol=1e-6):
        faults.append(f"attention_scale = {config.attention_scale}")
    if not math.isclose(config.embedding_scale, config.width**0.5 if offset else 1.0, rel_tol=1e-6):
        faults.append(f"embedding_scale = {config.embedding_scale}")
    if layout.architecture == "gemma2" and None in (config.attention_softcap, config.logit_softcap):
        faults.append("no soft cap")
    if config.learned_positions and config.heads * config.head_dim != config.width:
        faults.append(f"head_dim = {config.head_dim}")
    windowed = layout.windowed(config)
    if any(windowed) and config.windowed != windowed:
        faults.append(f"windowed = {config.windowed}")
    if (config.unrotated or none(config)) != layout.unrotated(config):
        faults.append(f"unrotated = {config.unrotated}")
    if config.rotary_scaling and not known_scaling(config.rotary_scaling, layout):
        faults.append(f"{config.rotary_scaling}")
    if faults:
        what = f"llama.cpp does not run a {config.family} with {'; '.join(faults)}"
        raise FolderError(what, where="config.json", mend=mend)
    return layout


def known_scaling(scaling: RotaryScaling, layout: Layout) -> bool:
    """Whether a family there takes this scaling, with the constants that no key can change."""
    usual = (scaling.beta_fast, scaling.beta_slow) == (32.0, 1.0)
    default = 0.1 * math.log(scaling.factor) + 1.0
    usual = usual and math.isclose(scaling.attention_factor or default, default, rel_tol=1e-6)
    return scaling.kind in layout.scalings and (usual or scaling.kind != "yarn")


def add_sizes(writer: GGUFWriter, config: DecoderConfig, context: int) -> None:
    """Sizes and constants, under the keys llama.cpp reads."""
    writer.add_vocab_size(config.vocabulary)
    writer.add_context_length(context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.depth)
    writer.add_feed_forward_length(config.feedforward_size)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    (writer.add_layer_norm_eps if config.norm == "layer" else writer.add_layer_norm_rms_eps)(config.eps)
    if config.experts:
        writer.add_expert_count(config.experts)
        writer.add_expert_used_count(config.experts_chosen)
        writer.add_expert_feed_forward_length(config.feedforward_size)
    if config.attention_softcap is not None:
        writer.add_attn_logit_softcapping(config.attention_softcap)
    if config.logit_softcap is not None:
        writer.add_final_logit_softcapping(config.logit_softcap)
    if config.window is not None and any(LAYOUTS[config.family].windowed(config)):
        writer.add_sliding_window(config.window)
    if config.learned_positions:
        return
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.theta)
    if config.window_theta is not None:
        writer.add_rope_freq_base_swa(config.window_theta)
    scaling = config.rotary_scaling
    if scaling is not None and scaling.kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(scaling.kind))
        writer.add_rope_scaling_factor(scaling.factor)
        if scaling.kind == "yarn":
            writer.add_rope_scaling_orig_ctx_len(scaling.original_context)


def their_names(ours: Iterable[str], config: DecoderConfig) -> dict[str, list[str]]:
    """Their name -> the tensors of ours it holds: one, or all experts' in order, or query, key and value of a GPT-2."""
    names = {**OUTSIDE, **INSIDE, **NORMS[config.norm_place]}
    if config.family == "gpt2":
        names |= dict.fromkeys(("attention.query", "attention.key", "attention.value"), "attn_qkv")
    found: dict[str, list[str]] = {}
    for name in ours:
        if config.tied and name == "output.weight":
            continue
        match = re.fullmatch(r"(?:blocks\.(\d+)\.)?(.*)\.(weight|bias)", name)
        assert match is not None, f"{name} is called like no weight"
        part = names[re.sub(r"experts\.\d+", "experts", match[2])]
        found.setdefault((f"blk.{match[1]}." if match[1] else "") + f"{part}.{match[3]}", []).append(name)
    return found


def their_tensors(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    """(their name, fp32 tensor as they keep it), one after the other."""
    config, state = model.config, model.state_dict()
    if config.rotary_scaling is not None and config.rotary_scaling.kind == "llama3":
        yield "rope_freqs.weight", rotary_factors(config, config.rotary_scaling)
    for theirs, ours in their_names(state, config).items():
        parts = [state[name].detach().to("cpu", torch.float32) for name in ours]
        tensor = torch.stack(parts) if "_exps." in theirs else torch.cat(parts)
        if config.norm == "rms-offset" and theirs.endswith("norm.weight"):
            tensor = tensor + 1.0
        if (heads := interleaved_heads(theirs, config)) is not None:
            tensor = tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
        yield theirs, tensor.contiguous()


def our_tensors(
    stored: Mapping[str, StoredTensor], config: DecoderConfig, path: Path
) -> Iterator[tuple[str, Tensor, str]]:
    """(our name, fp32 tensor, type it was stored in): `their_tensors` undone."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Decoder(config).state_dict().items()}
    names = their_names(shapes, config)
    if set(names) != set(stored) - {"rope_freqs.weight"}:
        what = f"tensors missing or too many: {sorted(set(names) ^ set(stored))[:3]}"
        raise FolderError(what, where=str(path), mend="The file is not of this model.")
    for theirs, ours in names.items():
        tensor = stored[theirs].values().flatten(0, 1 if "_exps." in theirs else 0)
        if config.norm == "rms-offset" and theirs.endswith("norm.weight"):
            tensor = tensor - 1.0
        if (heads := interleaved_heads(theirs, config)) is not None:
            tensor = tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
        rows = [shapes[name][0] for name in ours]
        if (sum(rows), *shapes[ours[0]][1:]) != tensor.shape:
            what = f"{theirs} is {tuple(tensor.shape)}"
            raise FolderError(what, where=str(path), mend="The file is not of this model.")
        for name, part in zip(ours, tensor.split(rows), strict=True):
            yield name, part, stored[theirs].kind.name


def interleaved_heads(theirs: str, config: DecoderConfig) -> int | None:
    """How many heads of a tensor have their rows interleaved; None where rows stay as they are."""
    if LAYOUTS[config.family].interleaved and (part := re.search(r"\.attn_([qk])\.", theirs)):
        return config.heads if part[1] == "q" else config.kv_heads
    return None


def rotary_factors(config: DecoderConfig, scaling: RotaryScaling) -> Tensor:
    """What each frequency is divided by, [head_dim / 2]."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequencies = 1.0 / config.theta**exponents
    return frequencies / scaled(frequencies, config.head_dim, config.theta, scaling)


def stored_type(theirs: str, tensor: Tensor, wanted: GGMLQuantizationType) -> tuple[GGMLQuantizationType, str]:
    """The type a tensor gets, and why it is not the one wanted ("" where it is, or where small ones are always F32)."""
    if tensor.ndim == 1 or ALWAYS_F32.search(theirs):
        return GGMLQuantizationType.F32, ""
    why = ""
    block, _ = GGML_QUANT_SIZES[wanted]
    if tensor.shape[-1] % block:
        wanted, why = GGMLQuantizationType.F16, f"rows of {tensor.shape[-1]} do not divide by {block}"
    if wanted == GGMLQuantizationType.F16 and tensor.abs().max() > LARGEST_F16:
        return GGMLQuantizationType.F32, "holds values too large for F16"
    return wanted, why


def write_tensors(writer: GGUFWriter, path: Path, tensors: Iterable[tuple[Tensor, GGMLQuantizationType]]) -> None:
    """Write the header a writer has gathered, then the tensors, one in memory at a time."""
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        file = writer.fout[0]
        writer.write_padding(file, file.tell())
        for tensor, kind in tensors:
            data = np.ascontiguousarray(quantize(tensor.numpy(), kind))
            file.write(data.data.cast("B"))  # numpy's own writing hides what the disk says
            writer.write_padding(file, data.nbytes)
    finally:
        writer.close()


def compare(path: Path, model: Decoder) -> dict[str, float]:
    """The largest difference between a file's tensors and a model's, by the type they are stored in."""
    state, found = model.state_dict(), dict[str, float]()
    for name, tensor, kind in our_tensors(open_gguf(path)[1], model.config, path):
        difference = (tensor - state[name].detach().to("cpu", torch.float32)).abs().max().item()
        found[kind] = max(found.get(kind, 0.0), difference)
    return found
