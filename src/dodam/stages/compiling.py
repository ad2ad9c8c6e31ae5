"""Whether a run's blocks are compiled: decided by its size alone, so that the same run always decides the same.

In come a stage's config, the machine and the FLOPs of the run; out comes a yes or no, or a model with compiled blocks.
"""

from typing import TYPE_CHECKING, Any

from dodam.errors import UsageError

if TYPE_CHECKING:
    from dodam.machine import Machine
    from dodam.stages.training import Training

COMPILE_REPAYS = 1e13  # FLOPs of training: about a minute on two cores


def worth_compiling(wanted: str, machine: "Machine", flops: float, *, experts: bool = False) -> bool:
    """Whether a run of so many FLOPs repays compiling. Decided by size alone, so that the same run always decides
    the same. Experts are not compiled: how many tokens each gets is known only when it gets them."""
    if experts and wanted == "yes":
        raise UsageError("a model with experts cannot be compiled", where="--compile", mend="Leave the flag out.")
    if wanted != "auto" or experts:
        return wanted == "yes"
    return machine.compiler and machine.device != "mps" and flops > COMPILE_REPAYS


def refuse_compiling(config: "Training", what: str) -> None:
    """UsageError where blocks shall be compiled and rows have all lengths."""
    if config.compile == "yes":
        told = f"batches of {what} have all lengths, and each would be compiled anew"
        raise UsageError(told, where="--compile", mend="Leave the flag out.")


def compile_blocks(model: Any) -> None:
    """Compile the model's blocks; one graph serves all that are alike."""
    import torch

    for name in ("run_block", "run_decoder_block"):
        if hasattr(model, name):
            setattr(model, name, torch.compile(getattr(model, name), dynamic=False))
