"""ONNX: graphs that onnxruntime runs without torch, in browsers and on phones too.

In comes a model, out come its files and how far what onnxruntime says lies from what the model says, at other shapes
than the graphs were written with. Inputs and outputs are named as `optimum` names them. Batch and lengths are free.

B batch, T positions given, S positions seen (those of the past counted), P of the past, D width, V vocabulary.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript  # noqa: F401 - torch.onnx writes with it, and says so late where it is missing
import torch
from torch import Tensor, nn

from dodam.errors import FolderError
from dodam.models.decoder import Decoder
from dodam.models.encoder import Encoder
from dodam.models.encoder_decoder import EncoderDecoder
from dodam.models.heads import pool
from dodam.nn.mask import CAUSAL, Mask

OPSET = 20
PROBED = 64  # tokens of the longest row that is compared
TOLERANCE = 1e-3  # of the largest logit; fp32 in another order comes to about 1e-6
BATCH, LENGTH, PAST, TOTAL = "batch_size", "sequence_length", "past_sequence_length", "total_sequence_length"
SOURCE = "encoder_sequence_length"
Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""A file at work: inputs by name -> outputs by name."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One file: what computes it, an example of each input, the names of its free axes, and of the outputs."""

    file: str
    module: nn.Module
    inputs: dict[str, Tensor]
    """No tensor twice: torch would take two inputs for one."""
    axes: dict[str, tuple[str, ...]]
    """By input: for each axis its name, empty where its size is fixed."""
    outputs: list[str]


# --- what is computed -------------------------------------------------------------------------------------------------


class GrowingCache:
    """One layer's past keys and values [B, K, P, E], and with those of this step [B, K, S, E]."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values

    def append(self, keys_BKTE: Tensor, values_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        self.keys = torch.cat([self.keys, keys_BKTE], dim=2)
        self.values = torch.cat([self.values, values_BKTE], dim=2)
        return self.keys, self.values


class DecoderGraph(nn.Module):
    """Ids [B, T], mask [B, S], positions [B, T] and each layer's past keys and values -> logits [B, T, V] and each
    layer's keys and values for the next step. Padding may stand anywhere; it is what the mask says."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        ids_BT, seen_BS, positions_BT, *past = inputs
        model, config = self.model, self.model.config
        T, S = ids_BT.shape[1], seen_BS.shape[1]
        places_T, keys_S = torch.arange(S - T, S), torch.arange(S)
        before_TS, itself_TS = keys_S <= places_T[:, None], keys_S == places_T[:, None]
        # A query amid padding sees itself: a softmax over nothing is NaN, and spreads through the cache.
        mask = Mask(causal=False, allowed=(before_TS & real(seen_BS)) | itself_TS)
        caches: list[Any] = [GrowingCache(*pair) for pair in zip(past[::2], past[1::2], strict=True)]
        x_BTD = model.embedding(ids_BT)
        if config.embedding_scale != 1.0:
            x_BTD = x_BTD * config.embedding_scale
        if model.positions is not None:
            x_BTD = x_BTD + model.positions(positions_BT)
        views = model.views(mask, positions_BT, places_T, S)
        for index, (block, cache) in enumerate(zip(model.blocks, caches, strict=True)):
            rotation, allowed = views[bool(config.windowed) and config.windowed[index]]
            if config.unrotated and config.unrotated[index]:
                rotation = None
            x_BTD = block(x_BTD, rotation, allowed, cache)
        present = (tensor for cache in caches for tensor in (cache.keys, cache.values))
        return model.head(model.norm(x_BTD)), *present


class EncoderGraph(nn.Module):
    """Ids, mask and, where the model knows them, segments, each [B, T] -> mask logits [B, T, V], hidden [B, T, D]."""

    def __init__(self, model: Encoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        hidden_BTD = encoded(self.model, *inputs)
        return self.model.head(hidden_BTD), hidden_BTD


class ClassifierGraph(nn.Module):
    """Ids, mask and, where the model knows them, segments, each [B, T], padded on the right -> logits [B, labels], or
    [B, T, labels] where each token has its own; of a span two outputs [B, T], where it begins and where it ends."""

    def __init__(self, model: Any, *, span: bool) -> None:
        super().__init__()
        self.model, self.span = model, span

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        ids_BT, seen_BT, *_ = inputs
        hidden_BTD = encoded(self.model, *inputs)
        head: Any = self.model.classifier
        real_BT, pooling = seen_BT != 0, head.config.pooling
        if pooling == "last":  # the mean over it alone, for which no graph has to know the number of rows
            real_BT, pooling = torch.arange(ids_BT.shape[1]) == real_BT.sum(1, keepdim=True) - 1, "mean"
        logits = head.output(head.norm(head.activation(head.dense(pool(hidden_BTD, real_BT, pooling)))))
        return logits.unbind(-1) if self.span else (logits,)


class SourceGraph(nn.Module):
    """Source ids and mask [B, S] -> hidden states [B, S, D]: `EncoderDecoder.encode` with lengths left free."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        ids_BS, seen_BS = inputs
        model, mask = self.model, padding(seen_BS)
        x_BSD = model.encoder.enter(model.embedding(ids_BS), torch.arange(ids_BS.shape[1]))
        if model.encoder.distances is not None:
            mask = replace(mask, bias=model.source_bias(ids_BS.shape[1]))
        for block in model.encoder.blocks:
            x_BSD = block(x_BSD, None, mask)
        return (model.encoder.norm(x_BSD),)


class TargetGraph(nn.Module):
    """The source's mask [B, S], target ids [B, T] and the source's hidden states [B, S, D] -> logits [B, T, V]."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        seen_BS, ids_BT, memory_BSD = inputs
        hidden_BTD = self.model.decode(ids_BT, self.model.remember(memory_BSD), padding(seen_BS))
        return (self.model.head(hidden_BTD),)


def encoded(model: Any, ids_BT: Tensor, seen_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
    """Hidden states [B, T, D]. Positions are given, to look tables up by: a slice of a table would bind T to its
    length."""
    positions_1T = torch.arange(ids_BT.shape[1])[None]
    if isinstance(model, Decoder):
        return model(ids_BT, positions_BT=positions_1T, mask=CAUSAL)
    return model(ids_BT, positions_BT=positions_1T, segments_BT=segments_BT, mask=padding(seen_BT))


def real(seen_BS: Tensor) -> Tensor:
    """A mask as other programs give it, 1 for a token -> [B, 1, 1, S]."""
    return (seen_BS != 0)[:, None, None]


def padding(seen_BS: Tensor) -> Mask:
    """Every query sees all that is no padding. (`padding_mask` looks at the values, which a graph cannot.)"""
    return Mask(causal=False, allowed=real(seen_BS))


# --- the files of a model ---------------------------------------------------------------------------------------------


def graphs_of(model: Any, *, span: bool) -> list[Graph]:
    """The files of a model. FolderError for what has no graph that fits all lengths."""
    config = model.config
    faults = {
        "a mixture of experts": getattr(config, "experts", 0) > 0,  # which expert computes what, the values decide
        "attention_softcap": getattr(config, "attention_softcap", None) is not None,  # computed in blocks of a length
    }
    for fault, found in faults.items():
        if found:
            what = f"a {config.family} with {fault} cannot be written as ONNX"
            raise FolderError(what, where="config.json", mend="Export it to gguf or hf instead.")
    if isinstance(model, EncoderDecoder):
        return encoder_decoder_graphs(model)
    if isinstance(model, Decoder) and not hasattr(model, "classifier"):
        return [decoder_graph(model)]
    # Longer than any window, so that the graph has the windows in it.
    example = torch.zeros(2, 2 + (config.window or 0), dtype=torch.long)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if getattr(config, "segments", 0) > 1 else [])]
    inputs = {name: torch.ones_like(example) for name in names}
    axes: dict[str, tuple[str, ...]] = dict.fromkeys(inputs, (BATCH, LENGTH))
    module, outputs = EncoderGraph(model), ["logits", "last_hidden_state"]
    if hasattr(model, "classifier"):
        module, outputs = ClassifierGraph(model, span=span), ["start_logits", "end_logits"] if span else ["logits"]
    return [Graph(file="model.onnx", module=module, inputs=inputs, axes=axes, outputs=outputs)]


def decoder_graph(model: Decoder) -> Graph:
    """One file for the prompt (with a past of no positions) and for every step after it."""
    config = model.config
    B, T, P = 2, 3, 5 + (config.window or 0)
    inputs = {
        "input_ids": torch.zeros(B, T, dtype=torch.long),
        "attention_mask": torch.ones(B, P + T, dtype=torch.long),
        "position_ids": torch.zeros(B, T, dtype=torch.long),
    }
    axes: dict[str, tuple[str, ...]] = dict.fromkeys(inputs, (BATCH, LENGTH))
    axes["attention_mask"] = (BATCH, TOTAL)
    layers = [f"{layer}.{part}" for layer in range(config.depth) for part in ("key", "value")]
    inputs |= {f"past_key_values.{layer}": torch.zeros(B, config.kv_heads, P, config.head_dim) for layer in layers}
    axes |= {f"past_key_values.{layer}": (BATCH, "", PAST, "") for layer in layers}
    outputs = ["logits", *(f"present.{layer}" for layer in layers)]
    return Graph(file="model.onnx", module=DecoderGraph(model), inputs=inputs, axes=axes, outputs=outputs)


def encoder_decoder_graphs(model: EncoderDecoder) -> list[Graph]:
    """The source's file, and the target's, which computes all of a target at every step."""
    source_BS, target_BT = torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long)
    seen_BS, memory_BSD = torch.ones_like(source_BS), torch.zeros(2, 5, model.config.width)
    encoder = Graph(
        file="encoder_model.onnx",
        module=SourceGraph(model),
        inputs={"input_ids": source_BS, "attention_mask": seen_BS},
        axes={"input_ids": (BATCH, LENGTH), "attention_mask": (BATCH, LENGTH)},
        outputs=["last_hidden_state"],
    )
    decoder = Graph(
        file="decoder_model.onnx",
        module=TargetGraph(model),
        inputs={"encoder_attention_mask": seen_BS, "input_ids": target_BT, "encoder_hidden_states": memory_BSD},
        axes={
            "encoder_attention_mask": (BATCH, SOURCE),
            "input_ids": (BATCH, LENGTH),
            "encoder_hidden_states": (BATCH, SOURCE, ""),
        },
        outputs=["logits"],
    )
    return [encoder, decoder]


def write_onnx(folder: Path, model: Any, *, span: bool = False) -> dict[str, float]:
    """Write a model's graphs into a folder and run them; `span` says that a head's two labels are the ends of one.

    Returns `logits`, the largest difference of one of their logits from the model's, and `largest`, how large logits
    are. FolderError as in `graphs_of`, and when a file does not compute what the model does."""
    model.eval()
    if isinstance(model, Decoder):
        model.fold_embedding_norm()
    graphs = graphs_of(model, span=span)
    with torch.no_grad():
        for graph in graphs:
            write_graph(graph, folder / graph.file)
        runs = {graph.file: runner(folder / graph.file) for graph in graphs}
        pairs = list(compared(model, runs))
    difference = float(torch.stack([(theirs - ours).abs().max() for ours, theirs in pairs]).max())
    largest = float(torch.stack([ours.abs().max() for ours, _ in pairs]).max())
    if not difference <= TOLERANCE * largest:  # so said that it also holds for NaN
        what = f"onnxruntime does not compute what the model does: a logit differs by {difference:.3g} of {largest:.3g}"
        raise FolderError(what, where=", ".join(runs), mend="Export it to gguf or hf instead.")
    return {"logits": difference, "largest": largest}


def write_graph(graph: Graph, path: Path) -> None:
    """Trace and write one graph; weights above 2 GB go into a file beside it. An axis that turned out not to be free
    is torch's own error."""
    values = tuple(graph.inputs.values())
    named = tuple({axis: name for axis, name in enumerate(graph.axes[one]) if name} for one in graph.inputs)
    free = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in named)
    with quiet():
        traced = torch.export.export(
            graph.module, values, dynamic_shapes={"inputs": free}, strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )  # fmt: skip
        written = torch.onnx.export(
            traced, values, dynamic_shapes={"inputs": named}, input_names=list(graph.inputs),
            output_names=graph.outputs, opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
        assert written is not None
        for node in written.model.graph.all_nodes():
            node.metadata_props.clear()  # lines of this program, with their paths on this disk
        written.save(path)
    onnx.checker.check_model(str(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Within, torch does not tell of what it does without (torchvision) and of axes that share a name."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


# --- run and compared -------------------------------------------------------------------------------------------------


def runner(path: Path) -> Run:
    """A file in onnxruntime, on the CPU, with as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(names, {name: tensor.numpy() for name, tensor in inputs.items()})
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(names, found, strict=True)}

    return run


def compared(model: Any, runs: Mapping[str, Run]) -> Iterator[tuple[Tensor, Tensor]]:
    """(what the model says to a row by itself, what its files say to it): alone, then amid padded rows."""
    longest = min(PROBED, model.config.context)
    generator = torch.Generator().manual_seed(0)
    rows = [
        torch.randint(0, model.config.vocabulary, (max(1, length),), generator=generator)
        for length in (longest, longest // 2, 1)
    ]
    compare = compare_texts
    if isinstance(model, EncoderDecoder):
        compare = compare_targets
    elif isinstance(model, Decoder) and not hasattr(model, "classifier"):
        compare = compare_steps
    yield from compare(model, runs, rows[:1])
    yield from compare(model, runs, rows)


def compare_steps(model: Decoder, runs: Mapping[str, Run], rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of rows padded on the left: all but the last two positions at once, then one position at a time."""
    config, run = model.config, runs["model.onnx"]
    width, B = max(map(len, rows)), len(rows)
    ids_BT = torch.stack([torch.cat([row.new_zeros(width - len(row)), row]) for row in rows])
    seen_BT = torch.stack([torch.arange(width) >= width - len(row) for row in rows]).long()
    positions_BT = (seen_BT.cumsum(1) - 1).clamp(min=0)
    layers = [f"{layer}.{part}" for layer in range(config.depth) for part in ("key", "value")]
    present = {f"present.{layer}": torch.zeros(B, config.kv_heads, 0, config.head_dim) for layer in layers}
    parts, first = [], max(1, width - 2)
    for begin, end in [(0, first), *((place, place + 1) for place in range(first, width))]:
        step = {"input_ids": ids_BT, "position_ids": positions_BT}
        inputs = {name: tensor[:, begin:end].contiguous() for name, tensor in step.items()}
        inputs["attention_mask"] = seen_BT[:, :end].contiguous()
        present = run(inputs | {f"past_key_values.{layer}": present[f"present.{layer}"] for layer in layers})
        parts.append(present["logits"])
    logits_BTV = torch.cat(parts, dim=1)
    for row, theirs_TV in zip(rows, logits_BTV, strict=True):
        yield model.head(model(row[None]))[0], theirs_TV[width - len(row) :]


def compare_texts(model: Any, runs: Mapping[str, Run], rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """What an encoder or a classifier says of rows padded on the right, their second halves of the second segment."""
    segments = getattr(model.config, "segments", 0) > 1
    inputs = dict(zip(("input_ids", "attention_mask"), padded(rows), strict=True))
    halves = [(torch.arange(len(row)) >= len(row) // 2).long() for row in rows]
    if segments:
        inputs["token_type_ids"] = padded(halves)[0]
    found = runs["model.onnx"](inputs)
    for index, (row, half) in enumerate(zip(rows, halves, strict=True)):
        more = {"segments_BT": half[None]} if segments else {}
        hidden_BTD = model(row[None], **more)
        if not hasattr(model, "classifier"):
            yield model.head(hidden_BTD)[0], found["logits"][index, : len(row)]
            yield hidden_BTD[0], found["last_hidden_state"][index, : len(row)]
            continue
        ours = model.classifier(hidden_BTD, torch.ones_like(row, dtype=torch.bool)[None])[0]
        theirs = found["logits"] if "logits" in found else torch.stack(list(found.values()), dim=-1)
        yield ours, theirs[index, : len(row)] if ours.ndim == 2 else theirs[index]


def compare_targets(
    model: EncoderDecoder, runs: Mapping[str, Run], rows: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of targets, each with its source, both padded on the right; the longest source has the shortest target."""
    targets = rows[::-1]
    source_BS, seen_BS = padded(rows)
    target_BT, _ = padded(targets)
    memory = runs["encoder_model.onnx"]({"input_ids": source_BS, "attention_mask": seen_BS})
    inputs = {"encoder_attention_mask": seen_BS, "encoder_hidden_states": memory["last_hidden_state"]}
    logits_BTV = runs["decoder_model.onnx"](inputs | {"input_ids": target_BT})["logits"]
    for source, target, theirs_TV in zip(rows, targets, logits_BTV, strict=True):
        yield model.head(model(source[None], target[None]))[0], theirs_TV[: len(target)]


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows side by side with zeros on the right [B, T], and 1 where there is a token."""
    ids_BT = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths_B1 = torch.tensor([[len(row)] for row in rows])
    return ids_BT, (torch.arange(ids_BT.shape[1]) < lengths_B1).long()
