"""One training step on many devices, and a long run of them: what computing takes, what waiting adds.

N = t * p * d devices: t share every matrix (tensor parallel), p have a part of the blocks each (pipeline), d have rows
of their own (data parallel). What is assumed is listed in `docs/plan.md`. Times are in seconds,
amounts in bytes.
"""

import math
from dataclasses import asdict, dataclass
from typing import Literal

from dodam.errors import UsageError
from dodam.models.build import Sizes, flops_per_token, num_parameters
from dodam.plan.hardware import Hardware

Sharding = Literal["full", "optimizer"]
"""What data-parallel devices have only a share of: weights, gradients and optimiser (FSDP), or the last alone."""
REACHED = 0.8  # of a link's bandwidth by collective operations
SPREAD = 0.01  # how far one device's times lie apart, a standard deviation as a share of the mean
HALF, FULL = 2, 4  # bytes of what is sent: activations and gathered weights, and gradients that are summed
FORWARD = 1 / 3  # of the work of a step


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a step is shared out."""

    devices: int = 1
    tensor: int = 1
    pipeline: int = 1
    chunks: int = 1
    """Parts of the model that each device of a pipeline has, in turns (Narayanan et al. 2021, section 2.2)."""
    batch: int = 1
    """Rows of a step, over all devices."""
    rows: int = 1
    """Rows that go through a device at one time."""
    sharding: Sharding = "full"
    recompute: float = 0.0
    """Share of the blocks that are computed a second time on the way back, so that little of them need be kept."""

    @property
    def data(self) -> int:
        return self.devices // (self.tensor * self.pipeline)

    @property
    def microbatches(self) -> int:
        """How often `rows` rows go through each pipeline in a step."""
        return max(1, math.ceil(self.batch / (self.data * self.rows)))


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where the time of a step goes; the parts add up."""

    compute: float
    tensor: float
    """Sums over the devices that share matrices; the next product waits for them."""
    bubble: float
    """Devices of a pipeline wait for its first and its last microbatch."""
    data: float
    """Weights gathered and gradients summed, as far as it is not hidden behind computing."""
    stragglers: float
    """All wait for the slowest."""

    @property
    def seconds(self) -> float:
        return sum(asdict(self).values())


def check(layout: Layout, sizes: Sizes) -> None:
    """UsageError for a layout that cannot be."""
    depth, where = depth_of(sizes), "--devices"
    if layout.devices % (layout.tensor * layout.pipeline):
        together = f"{layout.tensor} x {layout.pipeline}"
        raise UsageError(f"{layout.devices} devices are no multiple of {together} (tensor x pipeline)", where=where)
    if layout.pipeline * layout.chunks > depth:
        what = (
            f"a pipeline of {layout.pipeline} with {layout.chunks} parts each needs as many blocks; there are {depth}"
        )
        raise UsageError(what, where="--pipeline")
    if layout.pipeline == 1 and layout.chunks > 1:
        raise UsageError("only a pipeline has parts in turns", where="--chunks", mend="Give --pipeline too.")
    if layout.pipeline > 1 and layout.sharding == "full":
        what = "a pipeline that gathered its weights for every microbatch would do little else"
        raise UsageError(what, where="--sharding", mend="Give --sharding optimizer.")
    if sizes.heads % layout.tensor:
        raise UsageError(
            f"{sizes.heads} heads cannot be shared by {layout.tensor} devices", where="--tensor", mend="Give --heads."
        )
    if layout.batch < layout.data:
        what = f"a step of {layout.batch} rows leaves some of {layout.data} data-parallel devices without any"
        raise UsageError(what, where="--batch", mend="Give a larger --batch, or a larger --tensor or --pipeline.")


def depth_of(sizes: Sizes) -> int:
    """Blocks, of both sides where there are two."""
    return getattr(sizes, "encoder_depth", 0) + sizes.depth


def step(sizes: Sizes, context: int, hardware: Hardware, layout: Layout) -> Step:
    """The parts of one step. On one device it is FLOPs / (peak * efficiency)."""
    m, t, p = layout.microbatches, layout.tensor, layout.pipeline
    again = 1 + FORWARD * layout.recompute
    tokens = m * layout.rows * context if layout.devices > 1 else layout.batch * context
    compute = again * flops_per_token(sizes, context) * tokens / (t * p) / hardware.rate
    tensor = tensor_seconds(sizes, tokens, hardware, layout)
    bubble = (compute + tensor) * (p - 1) / (m * layout.chunks)
    data = data_seconds(sizes, compute + tensor, hardware, layout)
    slowest = SPREAD * math.sqrt(2 * math.log(layout.devices))  # the largest of N normal deviates, for large N
    return Step(compute=compute, tensor=tensor, bubble=bubble, data=data, stragglers=slowest * (compute + tensor))


def tensor_seconds(sizes: Sizes, tokens: int, hardware: Hardware, layout: Layout) -> float:
    """Each block sums the stream over its devices twice forward and twice back (Shoeybi et al. 2019, section 3), in a
    ring; twice more where the forward pass is done again."""
    t = layout.tensor
    sums = (4 + 2 * layout.recompute) * depth_of(sizes) / layout.pipeline
    sent = sums * 2 * (t - 1) / t * HALF * sizes.width * tokens
    return sent / (REACHED * bandwidth(hardware, t))


def data_seconds(sizes: Sizes, busy: float, hardware: Hardware, layout: Layout) -> float:
    """With everything sharded weights are gathered for the forward and for the backward pass of every microbatch, and
    its gradients summed and scattered; else once a step gradients are scattered and weights gathered (Rajbhandari et
    al. 2020, section 7). That is done block by block while others are computed; what is left is one block's, and
    whatever takes longer than computing."""
    d, blocks = layout.data, max(1, depth_of(sizes) // layout.pipeline)
    full = layout.sharding == "full"
    times, sent = (layout.microbatches, 2 * HALF + FULL) if full else (1, HALF + FULL)
    own = num_parameters(sizes) / (layout.tensor * layout.pipeline)
    speed = REACHED * bandwidth(hardware, layout.tensor * layout.pipeline * d)
    seconds = times * own * sent * (d - 1) / d / speed
    return max(0.0, seconds - busy) + seconds / (blocks * times)


def bandwidth(hardware: Hardware, together: int) -> float:
    """Of the slowest link between so many devices."""
    return hardware.link if together <= hardware.box else min(hardware.link, hardware.network)


def utilization(sizes: Sizes, context: int, hardware: Hardware, layout: Layout) -> float:
    """Model FLOPs a second as a share of the peak of all devices (MFU; Chowdhery et al. 2022, appendix B). What is
    computed a second time does not count."""
    flops = flops_per_token(sizes, context) * layout.batch * context
    return flops / (step(sizes, context, hardware, layout).seconds * layout.devices * hardware.peak)


@dataclass(frozen=True, kw_only=True)
class Failures:
    """What a run of many devices meets."""

    device_hours: float = 50_000.0
    """Hours between two failures of one device; Llama 3 405B: 419 in 54 days on 16,384 (Dubey et al. 2024, 3.3.4)."""
    save_seconds: float = 30.0
    """All wait while a checkpoint is written."""
    restart_seconds: float = 600.0

    def mean_seconds(self, devices: int) -> float:
        """Seconds between two failures of any of them."""
        return 3600 * self.device_hours / devices

    def interval(self, devices: int) -> float:
        """Seconds of work between two checkpoints at which least is lost, to first order (Young 1974)."""
        return math.sqrt(2 * self.save_seconds * self.mean_seconds(devices))

    def slowdown(self, devices: int, interval: float) -> float:
        """Wall time over the time of the work itself, with failures at any moment (Daly 2006, eq. 13); infinite where
        no checkpoint is ever reached."""
        mean = self.mean_seconds(devices)
        try:
            lost = math.exp(self.restart_seconds / mean) * math.expm1((interval + self.save_seconds) / mean)
        except OverflowError:
            return math.inf
        return mean * lost / interval
