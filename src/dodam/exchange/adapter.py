"""A LoRA adapter in PEFT's layout: adapter_config.json and adapter_model.safetensors.

In come a model with LoRA and its family's table; out goes a folder that `peft`, vLLM and llama.cpp's converter read,
and back. Layers are called as `transformers` calls them, which is what the table says.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dodam import files
from dodam.errors import FolderError, UsageError
from dodam.exchange.mapping import Weight
from dodam.nn.lora import (
    LoraConfig,
    add_lora,
    ends_with,
    linear_layer,
    load_lora_state,
    lora_layers,
    lora_state,
    possible_layers,
)
from dodam.tensors import read_tensors, write_tensors

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
KINDS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "lora_magnitude": "lora_magnitude_vector"}
"""Our name of a tensor within a layer, and PEFT's."""

READ = {
    "peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules", "exclude_modules",
    "init_lora_weights",
}  # fmt: skip
HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying",
    "eva_config", "fan_in_fan_out", "inference_mode", "layers_pattern", "loftq_config", "lora_ga_config",
    "megatron_core", "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type",
}  # fmt: skip
"""Settings that do not change what a saved adapter computes. Every other one that is set is refused."""
KEEPS_BASE = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin an adapter that leave the model's own weights as they are; the others (PiSSA, ...) rewrite them."""
MERGE = "Merge it into its model with the program that made it, and import that."


def save_adapter(
    path: str | Path,
    model: nn.Module,
    table: Sequence[Weight],
    *,
    base: str | None = None,
    task_type: str | None = "CAUSAL_LM",
) -> Path:
    """Write the adapter of a model beside `path` and put it there in one move, fp32. `base` is where its model lies.

    UsageError for a layer that the layout has no place for, see `refuse_layer`."""
    path, layers = Path(path), lora_layers(model)
    assert layers, "the model has no LoRA"
    config = next(iter(layers.values())).config
    weights = weights_by_layer(table)
    for name in layers:
        refuse_layer(name, weights[name], config, path)
    theirs = {name: module_of(weights[name]) for name in layers}
    values = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": int(config.alpha) if config.alpha == int(config.alpha) else config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rank_stabilized,
        "use_dora": config.dora,
        "target_modules": shortest_endings(theirs.values(), modules_of(table)),
        "fan_in_fan_out": any(weights[name].transposed for name in layers),
        "bias": "none",
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    tensors = {}
    for name, tensor in lora_state(model).items():
        layer, _, kind = name.rpartition(".")
        tensors[f"{PREFIX}{theirs[layer]}.{KINDS[kind]}"] = tensor.float().cpu().contiguous()
    with files.new_dir(path) as folder:
        files.write_json(folder / CONFIG, values)
        write_tensors(tensors, folder / TENSORS, metadata={"format": "pt"})
    return path


def load_adapter(path: str | Path, model: nn.Module, table: Sequence[Weight]) -> LoraConfig:
    """Give a model the adapter of a folder; all else is frozen. Returns how it was made.

    FolderError names a setting we do not have, a target that fits no layer, and a tensor that is missing, left over or
    misshapen; then the model is as it was."""
    path = Path(path)
    values = files.read_json(path / CONFIG)
    refuse_settings(values, path / CONFIG)
    if not (path / TENSORS).is_file():
        raise FolderError(f"holds no {TENSORS}", where=str(path), mend="Pickled adapters (.bin) are not read.")
    weights = weights_by_layer(table)
    layers = {module_of(weights[name]): name for name in possible_layers(model) if len(weights[name].parts) == 1}
    modules = targeted(values, modules_of(table), layers, path / CONFIG)
    try:
        config = LoraConfig(
            rank=int(values["r"]),
            alpha=float(values["lora_alpha"]),
            rank_stabilized=bool(values.get("use_rslora")),
            dora=bool(values.get("use_dora")),
            dropout=float(values.get("lora_dropout") or 0.0),
            targets=tuple(shortest_endings([layers[module] for module in modules], possible_layers(model))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(f"cannot be used: {error}", where=str(path / CONFIG)) from None
    state = adapter_state(model, config, {module: layers[module] for module in modules}, path / TENSORS)
    try:
        add_lora(model, config, seed=0)
    except ValueError as error:
        raise FolderError(f"does not fit the model: {error}", where=str(path)) from None
    load_lora_state(model, state)
    return config


def adapter_state(model: nn.Module, config: LoraConfig, modules: Mapping[str, str], where: Path) -> dict[str, Tensor]:
    """A file's tensors under our names, each there with its shape and none left over. `modules`: theirs -> ours."""
    tensors = read_tensors(where)
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {}  # their name -> ours, shape
    for module, name in modules.items():
        layer = linear_layer(model, name)
        shapes: dict[str, tuple[int, ...]] = {"lora_a": (config.rank, layer.in_features)}
        shapes["lora_b"] = (layer.out_features, config.rank)
        if config.dora:
            shapes["lora_magnitude"] = (layer.out_features,)
        for kind, shape in shapes.items():
            wanted[f"{PREFIX}{module}.{KINDS[kind]}"] = (f"{name}.{kind}", shape)
    missing = [theirs for theirs in wanted if theirs not in tensors]
    extra = sorted(set(tensors) - set(wanted))
    if missing or extra:
        what = f"tensors missing: {missing[:3]}" if missing else f"tensors nobody asked for: {extra[:3]}"
        raise FolderError(what, where=str(where), mend=f"The file does not belong to its {CONFIG} or to this model.")
    for theirs, (_, shape) in wanted.items():
        if tensors[theirs].shape != shape:
            what = f"{theirs} is {tuple(tensors[theirs].shape)}, model and {CONFIG} say {shape}"
            raise FolderError(what, where=str(where), mend="The adapter was made for another model or rank.")
    return {ours: tensors[theirs] for theirs, (ours, _) in wanted.items()}


def refuse_settings(values: Mapping[str, Any], where: Path) -> None:
    """FolderError for an adapter that is no LoRA, or one with a setting that we do not have."""
    if values.get("peft_type") != "LORA":
        raise FolderError(f"peft_type {values.get('peft_type')!r} is not LORA", where=str(where), mend=MERGE)
    for key, value in values.items():
        unset = not value or (key == "bias" and value == "none")
        if key not in READ | HARMLESS and not unset:
            raise FolderError(f"{key} = {value!r} is not supported", where=str(where), mend=MERGE)
    begun = values.get("init_lora_weights")
    if begun not in KEEPS_BASE:
        what = f"init_lora_weights = {begun!r}: the adapter belongs to rewritten weights, not to its model's own"
        raise FolderError(what, where=str(where), mend=MERGE)


def targeted(values: Mapping[str, Any], modules: Sequence[str], layers: Mapping[str, str], where: Path) -> list[str]:
    """The modules that `target_modules` names, all of them among `layers`. FolderError names a target that is not."""
    targets, excluded = values.get("target_modules") or [], values.get("exclude_modules") or []
    try:
        for target in targets if isinstance(targets, list) else [targets]:
            if not any(fits(module, [target] if isinstance(targets, list) else target) for module in modules):
                raise FolderError(f"the target {target} fits no layer of the model", where=str(where))
        found = [module for module in modules if fits(module, targets) and not fits(module, excluded)]
    except (TypeError, AttributeError, re.error) as error:
        raise FolderError(f"its targets cannot be read: {error}", where=str(where)) from None
    if not found:
        raise FolderError("target_modules names no layer", where=str(where))
    for module in found:
        if module not in layers:
            what = f"adapts {module}; only layers of attention and feed-forward with a matrix of their own can be"
            raise FolderError(what, where=str(where), mend=MERGE)
    return found


def fits(module: str, targets: str | Sequence[str]) -> bool:
    """Whether PEFT takes a module for one of its targets: one string is a regular expression of the whole name, a
    list holds endings."""
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    return any(ends_with(module, target) for target in targets)


def refuse_layer(name: str, weight: Weight, config: LoraConfig, where: Path) -> None:
    """UsageError for a layer that is kept in one matrix with others, as GPT-2's query, key and value, and for an
    expert's with anything but plain LoRA: PEFT has all experts in one tensor, scales that by another rank's root and
    knows no DoRA of it."""
    mend = "Merge the adapter into the model and save that, or choose other targets."
    if len(weight.parts) > 1:
        what = f"PEFT's layout has no place for an adapter of {name} alone: it is a part of {module_of(weight)}"
        raise UsageError(what, where=str(where), mend=mend)
    if ".experts." in name and (config.dora or config.rank_stabilized):
        kind = "DoRA" if config.dora else "rsLoRA"
        raise UsageError(f"PEFT has no {kind} for experts such as {name}", where=str(where), mend=mend)


def weights_by_layer(table: Sequence[Weight]) -> dict[str, Weight]:
    """Our layers' names -> where their weight is stored."""
    return {
        part.removesuffix(".weight"): weight for weight in table for part in weight.parts if part.endswith(".weight")
    }


def module_of(weight: Weight) -> str:
    """What `transformers` calls the layer of a weight."""
    return weight.theirs.removesuffix(".weight")


def modules_of(table: Sequence[Weight]) -> list[str]:
    """The layers of a table as `transformers` calls them, norms and embeddings included."""
    return [module_of(weight) for weight in table if weight.theirs.endswith(".weight")]


def shortest_endings(chosen: Iterable[str], names: Iterable[str]) -> list[str]:
    """The shortest endings, all of so many words, that fit the chosen ones among `names` and no other."""
    wanted, names, words = set(chosen), list(names), 1
    while True:
        endings = sorted({".".join(name.split(".")[-words:]) for name in wanted})
        if {name for name in names if any(ends_with(name, ending) for ending in endings)} == wanted:
            return endings
        words += 1
