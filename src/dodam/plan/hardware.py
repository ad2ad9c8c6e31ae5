"""What a training may run on: a table of GPUs by their datasheets, and this machine by measuring.

Peaks are those of dense matrix products in bf16, in fp16 where there is no bf16, summed in fp32. Efficiency is the
share of the peak that one device, or one box of them, reaches in training while it waits for nobody else; where each
figure comes from is in `docs/plan.md`. Rates are in bytes and floating point operations a second, a GB is 10^9 bytes.
"""

from dataclasses import dataclass, replace

from dodam.config import nearest
from dodam.errors import UsageError

GB = 1e9
TERA = 1e12
HERE = "here"
CPU_EFFICIENCY = 0.4  # 133-221 of 415 GFLOP/s at 1M to 10M parameters (docs/benchmarks.md)
UNKNOWN_LINK = 1.25 * GB  # 10 Gbit/s, where nothing better is known

MARCH_2026 = "lower list price of RunPod, as listed by a third party in March 2026"
LAMBDA_2025 = "list price of Lambda in 2025"
AWS_2026 = "list price of AWS, us-east-1, June 2026"
AWS_2025 = "list price of AWS, us-east-1, 2025"
LAMBDA_2020 = "what Lambda's estimate of GPT-3 in 2020 reckons with"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One device, and what it is connected by."""

    name: str
    peak: float
    """FLOP/s of dense matrix products."""
    memory: float | None
    """Bytes; None where the system does not tell."""
    bandwidth: float | None
    """Of its own memory, bytes/s."""
    efficiency: float
    watts: float | None = None
    """The most it draws, by the datasheet."""
    price: float | None = None
    """Dollars an hour."""
    priced: str = ""
    """Whose price that is, and when."""
    link: float = UNKNOWN_LINK
    """To the other devices of its box, bytes/s one way."""
    box: int = 1
    """How many devices are in a box."""
    network: float = UNKNOWN_LINK
    """To other boxes, bytes/s one way for each device."""
    kind: str = "cuda"
    dtype: str = "bfloat16"
    """What matrices multiply in."""

    @property
    def rate(self) -> float:
        """FLOP/s in training."""
        return self.peak * self.efficiency


def gpu(
    name: str,
    tera: float,
    memory: float,
    bandwidth: float,
    watts: float,
    efficiency: float,
    price: float,
    priced: str,
    **connected: float | int | str,
) -> Hardware:
    """A row of the table, in TFLOP/s, GB, GB/s, W and dollars an hour."""
    return Hardware(
        name=name, peak=tera * TERA, memory=memory * GB, bandwidth=bandwidth * GB, watts=watts, efficiency=efficiency,
        price=price, priced=priced, **connected,  # type: ignore[arg-type]
    )  # fmt: skip


AMPERE_BOX = {"link": 300 * GB, "box": 8, "network": 25 * GB}
HOPPER_BOX = {"link": 450 * GB, "box": 8, "network": 50 * GB}
BLACKWELL_BOX = {"link": 900 * GB, "box": 8, "network": 50 * GB}
VOLTA_BOX = {"link": 150 * GB, "box": 8, "network": 6.25 * GB, "dtype": "float16"}
PCIE_4 = {"link": 32 * GB, "box": 8}
PCIE_5 = {"link": 64 * GB, "box": 8}

TABLE = {
    one.name: one
    for one in (
        #    name           TFLOP/s  GB  GB/s    W  share  $/h
        gpu("a100-40gb", 312, 40, 1555, 400, 0.50, 1.29, LAMBDA_2025, **AMPERE_BOX),
        gpu("a100-80gb", 312, 80, 2039, 400, 0.50, 1.39, MARCH_2026, **AMPERE_BOX),
        gpu("h100-sxm", 989, 80, 3350, 700, 0.50, 2.69, MARCH_2026, **HOPPER_BOX),
        gpu("h100-pcie", 756, 80, 2000, 350, 0.45, 1.99, MARCH_2026, **PCIE_5),
        gpu("h200", 989, 141, 4800, 700, 0.50, 3.59, MARCH_2026, **HOPPER_BOX),
        gpu("b200", 2250, 180, 7700, 1000, 0.45, 5.98, MARCH_2026, **BLACKWELL_BOX),
        gpu("l4", 121, 24, 300, 72, 0.35, 0.44, MARCH_2026, **PCIE_4),
        gpu("l40s", 362, 48, 864, 350, 0.35, 0.79, MARCH_2026, **PCIE_4),
        gpu("a10g", 70, 24, 600, 300, 0.45, 1.006, AWS_2026, **PCIE_4),
        gpu("rtx-3090", 71, 24, 936, 350, 0.50, 0.22, MARCH_2026, **PCIE_4),
        gpu("rtx-4090", 165, 24, 1008, 450, 0.45, 0.34, MARCH_2026, **PCIE_4),
        gpu("rtx-5090", 210, 32, 1792, 575, 0.45, 0.69, MARCH_2026, **PCIE_5),
        gpu("v100-32gb", 125, 32, 900, 300, 0.225, 1.50, LAMBDA_2020, **VOLTA_BOX),
        gpu("t4", 65, 16, 320, 70, 0.30, 0.526, AWS_2025, link=16 * GB, box=8, dtype="float16"),
    )
}


def named(name: str) -> Hardware:
    """What is called so, in the table or `here`. UsageError when nothing is."""
    wanted = name.lower().replace("_", "-").replace(" ", "-")
    if wanted == HERE:
        return here()
    if wanted not in TABLE:
        known = [HERE, *TABLE]
        raise UsageError(f"there is no `{name}` in the table", where="--on", mend=nearest(wanted, known))
    return TABLE[wanted]


def here() -> Hardware:
    """This machine: how fast it multiplies matrices (measured, a second or two) and the memory that is free.

    On a GPU small square products fall short of the peak; the table, or --peak, is then the better guess."""
    from dodam import doctor
    from dodam import machine as machines

    machine = machines.look()
    rate = doctor.measured(machine)[machine.dtype] * GB
    return Hardware(
        name=HERE, peak=rate, memory=free_memory(machine.device), bandwidth=None, efficiency=CPU_EFFICIENCY,
        kind=machine.device, dtype=machine.dtype,
    )  # fmt: skip


def free_memory(device: str) -> float | None:
    """Bytes that are free on the device; None where the system does not tell."""
    import torch

    from dodam import doctor

    return float(torch.cuda.mem_get_info()[0]) if device == "cuda" else doctor.free_memory()


def changed(hardware: Hardware, **given: float | None) -> Hardware:
    """The same with what was given in place of the table's; None keeps it. A price given is nobody's list price."""
    values = {name: value for name, value in given.items() if value is not None}
    if "price" in values:
        return replace(hardware, **values, priced="as given")  # type: ignore[arg-type]
    return replace(hardware, **values)  # type: ignore[arg-type]
