"""What a training stage starts from: the model of --model, and how fast an encoder-decoder may learn from there.

In come a stage's config and the names of those flags that say what fresh weights are like; out come the model to go on
with, or None, and the optimisers' settings.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodam.errors import UsageError
from dodam.stages import training
from dodam.stages.training import Training

if TYPE_CHECKING:
    from dodam.exchange.mapping import Kind
    from dodam.folder import LoadedModel
    from dodam.machine import Machine
    from dodam.models.encoder_decoder import EncoderDecoder

FRESH_SHARE, CONTINUED_SHARE = 0.12, 0.012  # of the weights' size, an AdamW step at the top of the schedule
FRESH_MATRIX, CONTINUED_MATRIX = 0.5, 0.25  # of Muon's rate
SCALAR_SIZE = 0.05  # what counts as the size of biases and norms


def load_start(
    config: Training, model: Path | None, of_fresh: Sequence[str], kinds: "Sequence[Kind]", machine: "Machine"
) -> "LoadedModel[Any] | None":
    """The model to go on with; None for fresh weights. UsageError for flags (`of_fresh`) that would make it another
    one, and for LoRA beside fresh weights."""
    from dodam.folder import load

    if model is None:
        if config.lora.rank:
            raise UsageError("fresh weights have to be trained themselves", where="--lora", mend="Name a --model.")
        return None
    for name in of_fresh:
        if getattr(config, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError("the model to go on with has its own", where=flag, mend=f"Leave out {flag} or --model.")
    return load(model, kinds, device=machine.device)


def encoder_decoder_rates(config: Training, model: "EncoderDecoder", *, fresh: bool) -> dict[str, float]:
    """Muon moves the matrices of the blocks as in every stage. AdamW moves every other weight by about its rate, so
    those rates are a share of the size the weights have (their root mean square). A model to go on with gets less, and
    its matrices no more than their size bears."""
    from dodam.train.optim import bearable, lora_rate

    share = (FRESH_SHARE if fresh else CONTINUED_SHARE) * config.learning_rate
    table = float(model.embedding.weight.detach().float().square().mean().sqrt())
    values = training.learning_rates(config)
    values["matrix"] *= FRESH_MATRIX if fresh else CONTINUED_MATRIX * bearable(model)["matrix"]
    return values | {
        "embedding": share * table,
        "head": share * table,
        "scalar": share * SCALAR_SIZE,
        "lora": lora_rate(model.config.width) * config.learning_rate,
    }
