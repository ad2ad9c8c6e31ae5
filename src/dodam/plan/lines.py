"""What a plan prints: the numbers of a training as lines for people."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dodam.plan.hardware import Hardware
    from dodam.plan.plan import Plan

PARTS = ("weights", "gradients", "optimizer", "activations", "copies", "logits", "recomputed")


def tell(row: dict[str, Any], hardware: "Hardware", config: "Plan") -> None:
    """The lines of one training."""
    each = " of each device" if config.devices > 1 else ""
    sizes = row["sizes"]
    depth = sizes.get("depth") or f"{sizes['encoder_depth']} + {sizes['decoder_depth']}"
    print(
        f"{row['name']:<10}{row['parameters']:,} parameters: depth {depth}, width {sizes['width']}, "
        f"feed-forward {sizes['feedforward_size']}, {sizes['vocabulary']:,} token ids"
    )
    if row["tokens"] is None:
        print("  work      as much as the data has; --tokens says how much")
    else:
        print(f"  work      {short(row['tokens'])} tokens, {row['flops']:.2e} FLOPs")
    memory = row["memory"]
    told = ", ".join(f"{name} {size_of(memory[name])}" for name in PARTS if memory[name])
    print(f"  memory    {size_of(memory['peak'])}{each} with {rows_of(row['microbatch'])} at one time: {told}")
    if hardware.memory is not None and memory["peak"] > hardware.memory:
        fit = row["microbatch_that_fits"]
        mend = f"; --microbatch {fit} fits" if fit else "; not even one row at one time fits"
        print(f"            MORE than there is: {size_of(hardware.memory)}{mend}")
    if serving := row["serving"]:
        most = serving["tokens_per_second"]
        fast = "" if most is None else f"; one at a time, at most {most:,.0f} tokens/s"
        print(f"  serving   {size_of(serving['cache'])} for {config.conversations} full contexts{fast}")
    time = "" if row["seconds"] is None else f"{time_of(row['seconds'])} at "
    print(f"  time      {time}{short(row['tokens_per_second'])} tokens/s, {row['mfu']:.1%} of the peak")
    if config.devices > 1:
        whole = sum(row["step"].values())
        shares = ", ".join(f"{name} {part / whole:.1%}" for name, part in row["step"].items())
        print(f"  step      {whole:.3g} s: {shares}")
        lost = f"{row['slowdown'] - 1:.1%} more time for failures"
        print(f"  failures  a checkpoint every {time_of(row['interval'])}, {lost}")
    if row["energy"] is not None:
        print(f"  energy    {row['energy']:,.1f} kWh")
    if row["dollars"] is not None:
        print(f"  cost      {money(row['dollars'])} at {money(hardware.price or 0)} an hour ({hardware.priced})")


def described(hardware: "Hardware", devices: int) -> str:
    """One line about what it runs on."""
    many = f"{devices:,} x " if devices > 1 else ""
    memory = "" if hardware.memory is None else f", {size_of(hardware.memory)}"
    rate = f"{hardware.peak / 1e12:,.3g} TFLOP/s in {hardware.dtype}, {hardware.efficiency:.0%} of it in training"
    return f"on        {many}{hardware.name}: {rate}{memory}"


def short(number: float) -> str:
    """`1.3B`, `24.0k`."""
    for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{letter}"
    return f"{number:.0f}"


def rows_of(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"


def size_of(amount: float) -> str:
    """Bytes as people say them, a GB being 10^9."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= limit:
            return f"{amount / limit:.1f} {unit}"
    return f"{amount:.0f} B"


def time_of(amount: float) -> str:
    """`12 s`, `4.1 min`, `3.2 h`, `94 days`."""
    for limit, unit, most in ((1, "s", 120), (60, "min", 120), (3600, "h", 72)):
        if amount < limit * most:
            return f"{amount / limit:.1f} {unit}"
    return f"{amount / 86_400:,.1f} days"


def money(dollars: float) -> str:
    return f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:.2f}"


def paid(dollars: float) -> str:
    return f", {money(dollars)}" if dollars else ""
