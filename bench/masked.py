"""Training a BERT, a ModernBERT and a Marian: ours against `transformers`, in turns within one process.

    python bench/masked.py [--models bert modernbert marian] [--sizes 2M 10M 30M] [--parts step attention loss]

Three sides with the same weights and batches: `ours` (what the training stages do), `eager` (transformers as it comes:
fp32, its fused attention, fused AdamW) and `best` (the same under bf16 autocast, compiled). `step` is a whole optimiser
step; `attention` one layer's attention with its norm, and `loss` the head and the cross-entropy, forward and backward,
for the BERT. Printed are medians of each side, medians of the pairwise ratios, and the peak memory that a process of
each side's own needs for some steps (--memory no leaves that out). Nothing is dropped out.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dodam import machine as machines
from dodam.data.batch import IGNORED, TokenBatch
from dodam.data.pairs import PairBatch
from dodam.exchange.families import FAMILIES
from dodam.exchange.mapping import table_of, to_theirs
from dodam.folder import config_json
from dodam.models.encoder import build_encoder, encoder_config
from dodam.models.encoder_decoder import build_encoder_decoder, encoder_decoder_config
from dodam.nn.mask import EVERYTHING
from dodam.stages.compiling import compile_blocks
from dodam.train.label_smoothing import SmoothedCrossEntropy
from dodam.train.loop import one_step
from dodam.train.objective import MaskedCrossEntropy, chunk_loss, compiled, summed_cross_entropy
from dodam.train.optim import OptimConfig, Optimizers

Step = Callable[[], object]

# model: size: depth (of either side), width, heads, vocabulary
SIZES = {
    "bert": {"2M": (4, 128, 2, 8192), "10M": (7, 256, 4, 16_384), "30M": (8, 512, 8, 8192)},
    "modernbert": {"2M": (4, 128, 2, 8192), "10M": (7, 256, 4, 16_384), "30M": (8, 512, 8, 8192)},
    "marian": {"2M": (3, 128, 2, 8192), "10M": (3, 256, 4, 16_384), "30M": (3, 512, 8, 16_384)},
}
ROWS, CONTEXT, SHARE = 16, 256, 0.15  # of an encoder's batch, and the share of its tokens that is masked
PAIRS, TOKENS = 64, 32  # of a Marian's batch, either side
SMOOTHING = 0.1
SIDES = ("ours", "eager", "best")
STEPS_ALONE = 4  # of a process whose memory is measured


def ours_of(model: str, size: str) -> Any:
    """Our model of that size. Fresh models begin with output projections of zero; a little noise on every matrix has
    them take part when losses are compared."""
    depth, width, heads, vocabulary = SIZES[model][size]
    sizes: dict[str, int] = {"vocabulary": vocabulary, "depth": depth, "width": width, "heads": heads}
    if model == "bert" or model == "modernbert":
        ours: Any = build_encoder(encoder_config(context=CONTEXT, family=model, **sizes), 0)
    else:
        ours = build_encoder_decoder(encoder_decoder_config(context=TOKENS, start_id=1, **sizes), 0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in ours.parameters():
            if weight.ndim > 1:
                weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    return ours.train()


def theirs_of(ours: Any) -> Any:
    """The same model in transformers, with the same weights."""
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    values = config_json(ours) | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "dropout": 0.0}
    kind = values.pop("model_type")
    values.pop("torch_dtype", None)
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    config = AutoConfig.for_model(kind, **values, **special, use_cache=False)
    build = AutoModelForSeq2SeqLM if kind == "marian" else AutoModelForMaskedLM
    theirs = build.from_config(config)
    theirs.load_state_dict(to_theirs(ours, table_of(FAMILIES[ours.config.family], ours.config)), strict=False)
    return theirs.train()


def batch_of(model: str, vocabulary: int) -> Any:
    """Random tokens, the same at every call."""
    generator = torch.Generator().manual_seed(0)

    def draw(rows: int, columns: int) -> torch.Tensor:
        return torch.randint(3, vocabulary, (rows, columns), generator=generator)

    if model != "marian":
        masked_BT = torch.rand((ROWS, CONTEXT), generator=generator) < SHARE
        labels_BT = draw(ROWS, CONTEXT).where(masked_BT, torch.tensor(IGNORED))
        return TokenBatch(draw(ROWS, CONTEXT), labels_BT)
    source_BS, target_BT = draw(PAIRS, TOKENS), draw(PAIRS, TOKENS)
    return PairBatch(source_BS, torch.ones_like(source_BS, dtype=torch.bool), target_BT, draw(PAIRS, TOKENS))


def objective_of(model: str, dtype: torch.dtype, compiled: bool) -> Any:
    return (
        SmoothedCrossEntropy(SMOOTHING, dtype, compiled) if model == "marian" else MaskedCrossEntropy(dtype, compiled)
    )


def our_step(model: str, ours: Any, batch: Any, machine: machines.Machine) -> Step:
    if machine.compiler:
        compile_blocks(ours)
    optimizers = Optimizers(ours, OptimConfig())
    objective = objective_of(model, machine.torch_dtype, machine.compiler)
    return lambda: one_step(ours, optimizers, [batch], objective, 1.0, 1.0, "cpu")


def their_loss(model: str, theirs: Any, batch: Any) -> torch.Tensor:
    """Their mean loss of a batch."""
    if model != "marian":
        return theirs(input_ids=batch.ids_BT, labels=batch.labels_BT).loss
    logits = theirs(batch.source_BS, batch.real_BS.long(), decoder_input_ids=batch.target_BT).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), batch.labels_BT.flatten(), label_smoothing=SMOOTHING)


def their_step(model: str, theirs: Any, batch: Any, *, best: bool) -> Step:
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3, fused=True)
    run = torch.compile(theirs) if best else theirs

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=best):
            loss = their_loss(model, run, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def backward_of(run: Callable[[torch.Tensor], torch.Tensor], width: int, dtype: torch.dtype) -> Step:
    """A step that runs something on hidden states [B, T, D], forward and backward."""
    hidden_BTD = torch.randn(ROWS, CONTEXT, width, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def step() -> None:
        hidden_BTD.grad = None
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = run(hidden_BTD).float().sum()
        loss.backward()

    return step


def attention_steps(ours: Any, theirs: Any, machine: machines.Machine) -> dict[str, Step]:
    """One layer's attention, its residual and its norm, on each side."""
    block, layer = ours.blocks[0], theirs.bert.encoder.layer[0].attention

    def our_run(x: torch.Tensor) -> torch.Tensor:
        return block.attention_norm(x + block.attention(x, None, EVERYTHING))

    def their_run(x: torch.Tensor) -> torch.Tensor:
        return layer(x)[0]

    width, bf16 = ours.config.width, torch.bfloat16
    return {
        "ours": backward_of(torch.compile(our_run) if machine.compiler else our_run, width, machine.torch_dtype),
        "eager": backward_of(their_run, width, torch.float32),
        "best": backward_of(torch.compile(their_run), width, bf16),
    }


def loss_steps(ours: Any, theirs: Any, batch: TokenBatch, machine: machines.Machine) -> dict[str, Step]:
    """The head and the cross-entropy of masked tokens, on each side."""
    chosen_BT = batch.labels_BT != IGNORED
    chunk = compiled(chunk_loss) if machine.compiler else chunk_loss

    def our_run(x: torch.Tensor) -> torch.Tensor:
        transformed_ND, output = ours.transform(x[chosen_BT]), ours.output
        labels_N = batch.labels_BT[chosen_BT]
        return summed_cross_entropy(
            transformed_ND, output.weight, labels_N, machine.torch_dtype, chunk, bias=output.bias
        )

    def their_run(x: torch.Tensor) -> torch.Tensor:
        logits = theirs.cls(x)
        return F.cross_entropy(logits.flatten(0, 1).float(), batch.labels_BT.flatten(), reduction="sum")

    width, bf16 = ours.config.width, torch.bfloat16
    return {
        "ours": backward_of(our_run, width, machine.torch_dtype),
        "eager": backward_of(their_run, width, torch.float32),
        "best": backward_of(torch.compile(their_run), width, bf16),
    }


def steps_of(part: str, model: str, size: str, machine: machines.Machine) -> dict[str, Step]:
    """What is measured of each side. Before that, that all of them compute the same loss."""
    batch = batch_of(model, SIZES[model][size][3])
    ours = ours_of(model, size)
    theirs = theirs_of(ours)
    check_same(model, ours, theirs, batch)
    if part == "attention":
        return attention_steps(ours, theirs, machine)
    if part == "loss":
        return loss_steps(ours, theirs, batch, machine)
    return {
        "eager": their_step(model, theirs, batch, best=False),
        "best": their_step(model, theirs_of(ours), batch, best=True),
        "ours": our_step(model, ours, batch, machine),
    }


@torch.no_grad()
def check_same(model: str, ours: Any, theirs: Any, batch: Any) -> None:
    """Stop where the two sides are not the same model: in fp32 their losses must agree."""
    objective = objective_of(model, torch.float32, False)
    one, other = float(objective(ours, batch)) / objective.weight(batch), float(their_loss(model, theirs, batch))
    if abs(one - other) > 1e-5 * abs(other):
        sys.exit(f"masked: ours has a loss of {one:.5f}, theirs of {other:.5f}: they are not the same model")


def measure(step: Step, seconds: float) -> float:
    """Median seconds of a step within about `seconds`."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compared(part: str, model: str, size: str, options: argparse.Namespace) -> dict[str, Any]:
    """A row: medians of each side, and of the ratios of each pair of measurements."""
    machine = machines.look("cpu")
    steps = steps_of(part, model, size, machine)
    for step in steps.values():
        measure(step, 1.0)  # compiles
    times: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(options.pairs):
        for side, step in steps.items():
            times[side].append(measure(step, options.seconds))
    row: dict[str, Any] = {"model": model, "size": size, "part": part}
    row |= {f"{side} ms": round(1000 * statistics.median(times[side]), 1) for side in SIDES}
    for side in ("eager", "best"):
        ratios = [theirs / ours for theirs, ours in zip(times[side], times["ours"], strict=True)]
        row[f"{side} / ours"] = round(statistics.median(ratios), 2)
    return row


def alone(side: str, model: str, size: str) -> None:
    """Print the peak memory that some steps of one side add to a process that has loaded everything they need, in
    MB."""
    import transformers.models.bert.modeling_bert
    import transformers.models.marian.modeling_marian
    import transformers.models.modernbert.modeling_modernbert  # noqa: F401

    machine = machines.look("cpu")
    machines.use(machine)
    before = peak()
    batch, ours = batch_of(model, SIZES[model][size][3]), ours_of(model, size)
    if side == "ours":
        step = our_step(model, ours, batch, machine)
    else:
        theirs = theirs_of(ours)
        del ours
        step = their_step(model, theirs, batch, best=side == "best")
    for _ in range(STEPS_ALONE):
        step()
    print(round((peak() - before) / 1024))


def peak() -> int:
    """The most kB this process has had resident. getrusage tells of a new process what its parent had (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--sizes", nargs="+", default=["2M", "10M", "30M"], choices=["2M", "10M", "30M"])
    parser.add_argument("--parts", nargs="+", default=["step", "attention", "loss"])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--memory", choices=("yes", "no"), default="yes")
    parser.add_argument(
        "--alone", nargs=3, metavar=("SIDE", "MODEL", "SIZE"), help="print one side's peak memory in MB"
    )
    options = parser.parse_args()
    if options.alone:
        alone(*options.alone)
        return
    machine = machines.look("cpu")
    machines.use(machine)  # the allocator's settings are part of ours; the other sides profit from them too
    name = platform.processor() or platform.machine()
    print(f"{name}, {machine.threads} threads, {machine.dtype}, torch {torch.__version__}", flush=True)
    for model in options.models:
        for size in options.sizes:
            parameters = sum(weight.numel() for weight in ours_of(model, size).parameters())
            for part in options.parts if model == "bert" else [one for one in options.parts if one == "step"]:
                row = compared(part, model, size, options)
                print(json.dumps({**row, "parameters": parameters}), flush=True)
            if options.memory == "yes":
                command = [sys.executable, __file__, "--alone"]
                peaks = {
                    f"{side} MB": int(subprocess.check_output([*command, side, model, size], text=True))
                    for side in SIDES
                }
                print(json.dumps({"model": model, "size": size, "part": "memory", **peaks}), flush=True)


if __name__ == "__main__":
    main()
