"""What sets the three architectures apart in pretraining: the flags each has, its sizes, its fresh weights, its rows.

In comes the config of `pretrain`, and the model to go on with where there is one.
"""

import sys
from typing import TYPE_CHECKING, Any

from dodam.errors import UsageError

if TYPE_CHECKING:
    from dodam.exchange.mapping import Kind
    from dodam.folder import LoadedModel
    from dodam.models.build import Sizes
    from dodam.stages.pretrain import Pretrain
    from dodam.tokenizer.tokenizer import Tokenizer

OF_ARCHITECTURE = {
    "kv_heads": ("decoder",),
    "tied": ("decoder",),
    "document_mask": ("decoder", "encoder"),
    "packing": ("decoder", "encoder"),
    "family": ("encoder",),
    "masking": ("encoder",),
    "mask_share": ("encoder",),
    "decoder_depth": ("encoder-decoder",),
    "drop_share": ("encoder-decoder",),
    "span_length": ("encoder-decoder",),
}
LEARNS = {"encoder": "fill in masks", "encoder-decoder": "write dropped spans"}


def kinds(config: "Pretrain") -> "tuple[Kind, ...]":
    """What a --model may be: what --architecture says, anything where it is left as it is."""
    every = ("decoder", "encoder", "encoder-decoder")
    return every if config.architecture == "decoder" else (config.architecture,)


def check_architecture(config: "Pretrain", loaded: "LoadedModel | None") -> str:
    """Which of the three it is. UsageError for flags that only others have."""
    from dodam.exchange.families import FAMILIES

    architecture = FAMILIES[loaded.model.config.family].kind if loaded else config.architecture
    if architecture != config.architecture:
        told = f"{config.model} is an {architecture}, so it learns to {LEARNS[architecture]}"
        print(f"pretrain: {told}.", file=sys.stderr)
    for name, owners in OF_ARCHITECTURE.items():
        if getattr(config, name) and architecture not in owners:
            flag, those = f"--{name.replace('_', '-')}", " or ".join(owners)
            raise UsageError(f"only a model with --architecture {those} has it", where=flag, mend=f"Leave out {flag}.")
    return architecture


def sizes(config: "Pretrain", vocabulary: int, context: int, depth: int, bos: int = 0) -> "Sizes":
    """The model's sizes from its depth and whatever else was given; the targets of an encoder-decoder begin with `bos`.
    UsageError when they do not fit together."""
    from dodam.models.build import decoder_config
    from dodam.models.encoder import encoder_config
    from dodam.models.encoder_decoder import encoder_decoder_config

    given: dict[str, Any] = {"vocabulary": vocabulary, "context": context, "depth": depth}
    given |= {name: getattr(config, name) for name in ("width", "heads", "feedforward_size")}
    try:
        if config.architecture == "encoder":
            return encoder_config(**given, family=config.family or "modernbert")
        if config.architecture == "encoder-decoder":
            return encoder_decoder_config(**given, decoder_depth=config.decoder_depth, start_id=bos)
        return decoder_config(**given, kv_heads=config.kv_heads, tied=config.tied)
    except ValueError as error:
        raise UsageError(str(error), where="pretrain") from None


def build(shape: "Sizes", seed: int) -> Any:
    """A model with fresh weights."""
    from dodam.models.build import build_decoder
    from dodam.models.decoder import DecoderConfig
    from dodam.models.encoder import EncoderConfig, build_encoder
    from dodam.models.encoder_decoder import build_encoder_decoder

    if isinstance(shape, DecoderConfig):
        return build_decoder(shape, seed)
    return build_encoder(shape, seed) if isinstance(shape, EncoderConfig) else build_encoder_decoder(shape, seed)


def row_length(config: "Pretrain", architecture: str, tokenizer: "Tokenizer", context: int) -> int:
    """Tokens of a row: as many as the model reads, or with some of them dropped would read."""
    if architecture != "encoder-decoder":
        return context
    from dodam.stages import corrupted

    return corrupted.row_length(config, tokenizer, context)
