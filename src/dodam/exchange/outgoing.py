"""Command `export`: a model folder -> what other programs run: ONNX, GGUF, Hugging Face's layout in another type.

What is written is read again and compared, and the largest difference is told: of every type of tensor, and of the
logits on a fixed row of tokens; of ONNX that of the logits, on several rows.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dodam.errors import UsageError

if TYPE_CHECKING:
    import torch

    from dodam.folder import LoadedModel

NumberType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
EVERY = ("decoder", "encoder", "encoder-decoder")
PROBED = 64  # tokens whose logits are compared
BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""What lies beside a model's weights for other programs."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model for other programs, read it again and tell the largest difference."""

    positional: ClassVar[tuple[str, ...]] = ("model",)

    model: Path
    """A model folder or a run folder."""
    to: Literal["gguf", "hf", "onnx"]
    """gguf: one file for llama.cpp and what is built on it; hf: a folder for transformers, vLLM and the like; onnx: a
    folder for onnxruntime, here and in browsers."""
    out: Path
    """The file or the folder to write."""
    type: NumberType = "f32"
    """What numbers are stored as; q8_0 and q4_0 (8 and 4.5 bits a weight) are for gguf, onnx has f32 only."""


def run(config: Export) -> dict[str, Any]:
    """Write, read again, compare; returns the differences."""
    from dodam.folder import load, load_model

    if config.to == "hf" and config.type.startswith("q"):
        mend = "Take f32, f16 or bf16, or --to gguf."
        raise UsageError(f"Hugging Face's layout has no {config.type}", where="--type", mend=mend)
    if config.to == "onnx":
        return to_onnx(config)
    # llama.cpp runs decoders.
    loaded = load_model(config.model) if config.to == "gguf" else load(config.model, EVERY)
    before = logits(loaded.model)
    result = to_gguf(config, loaded) if config.to == "gguf" else to_folder(config, loaded)
    after = logits(result.pop("model"))
    result |= {"out": str(config.out), "type": config.type, "logits": float((after - before).abs().max())}
    told = ", ".join(f"{kind} {difference:.3g}" for kind, difference in result["differences"].items())
    print(f"export: {config.out}. Read again, the largest difference of a weight: {told}.", file=sys.stderr)
    size = float(before.abs().max())
    print(f"export: the largest difference of a logit: {result['logits']:.3g} of {size:.3g}.", file=sys.stderr)
    return result


def to_gguf(config: Export, loaded: "LoadedModel") -> dict[str, Any]:
    """Write a GGUF file; `model` is what was read again from it."""
    from dodam.exchange.gguf import read_gguf, write_gguf

    written = write_gguf(
        config.out,
        loaded.model,
        loaded.tokenizer,
        kind=config.type,
        chat_template=loaded.tokenizer.chat_template,
        name=config.out.stem,
    )
    if written.context < loaded.model.config.context:
        print(f"export: the file allows a context of {written.context}, that of the window.", file=sys.stderr)
    for tensor, reason in written.fallbacks.items():
        print(f"export: {tensor}: {reason}", file=sys.stderr)
    _, weights = read_gguf(config.out, loaded.model.config)
    if loaded.model.config.tied:
        weights["output.weight"] = weights["embedding.weight"]
    loaded.model.load_state_dict(weights)
    return {"model": loaded.model, "differences": written.differences, "fallbacks": written.fallbacks}


def to_folder(config: Export, loaded: "LoadedModel") -> dict[str, Any]:
    """Write a folder in another number type; `model` is what was read again from it."""
    import torch

    from dodam.folder import load, model_card, save_model
    from dodam.versions import versions

    check_folder(config.out, loaded.path)
    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[config.type]
    weights = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    info = {key: value for key, value in loaded.info.items() if key != "format"}
    save_model(
        config.out,
        loaded.model.to(dtype),
        loaded.tokenizer,
        chat_template=loaded.tokenizer.chat_template,
        info={**info, "versions": versions()},
        card=model_card(config.out.name, {"exported from": str(config.model), "type": config.type}),
    )
    again = load(config.out, EVERY)
    stored = again.model.state_dict()
    difference = max(float((stored[name] - weights[name]).abs().max()) for name in weights)
    return {"model": again.model, "differences": {config.type: difference}}


def to_onnx(config: Export) -> dict[str, Any]:
    """Write a folder of graphs with the tokenizer beside them. UsageError where a package for it is missing."""
    from dodam import files
    from dodam.exchange.heads import asked_in, read_classifier
    from dodam.folder import FORMAT, load, model_card, model_path
    from dodam.versions import versions

    try:
        from dodam.exchange.onnx import write_onnx
    except ModuleNotFoundError as error:
        mend = "pip install 'dodam[export]'"
        raise UsageError(f"needs {error.name}, which is not installed", where="--to onnx", mend=mend) from None
    if config.type != "f32":
        raise UsageError(f"ONNX is not written in {config.type} here", where="--type", mend="Leave the flag out.")
    path = model_path(config.model)
    check_folder(config.out, path)
    span = False
    if asked_in(files.read_json(path / "config.json")):
        model, _, problem = read_classifier(path)
        span = problem == "span"
    else:
        model = load(path, EVERY).model
    with files.new_dir(config.out) as folder:
        told = write_onnx(folder, model, span=span)
        names = sorted(file.name for file in folder.iterdir())
        for name in BESIDE:
            if (path / name).is_file():
                shutil.copyfile(path / name, folder / name)
        about = {"format": FORMAT, "stage": "export", "to": "onnx", "exported from": str(config.model)}
        files.write_json(folder / "dodam.json", {**about, "versions": versions()})
        card = model_card(config.out.name, {"exported from": str(config.model), "files": ", ".join(names)})
        (folder / "README.md").write_text(card, encoding="utf-8")
    print(f"export: {config.out}: {', '.join(names)}. Run at other shapes by onnxruntime,", file=sys.stderr)
    print(f"export: the largest difference of a logit: {told['logits']:.3g} of {told['largest']:.3g}.", file=sys.stderr)
    return {"out": str(config.out), "type": config.type, "files": names, "logits": told["logits"]}


def check_folder(out: Path, path: Path) -> None:
    """UsageError when a folder to write holds what is not ours, or is the model's own at `path`."""
    if out.is_file() or (out.exists() and not (out / "dodam.json").is_file() and any(out.iterdir())):
        raise UsageError("is there and holds no model of ours", where=str(out), mend="Choose another --out.")
    if out.exists() and path.resolve() == out.resolve():
        raise UsageError("is the model to export", where="--out", mend="Choose another one.")


def logits(model: Any) -> "torch.Tensor":
    """What a model says to a fixed row of tokens, [tokens, vocabulary]; an encoder-decoder reads it and writes it."""
    import torch

    from dodam.models.encoder_decoder import EncoderDecoder

    ids = torch.randint(
        0, model.config.vocabulary, (1, min(PROBED, model.config.context)), generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        hidden = model(ids, ids) if isinstance(model, EncoderDecoder) else model(ids)
        return model.head(hidden)[0].float()
