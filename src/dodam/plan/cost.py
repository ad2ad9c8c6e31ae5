"""From work to time, energy and money: FLOPs, tokens and a rate in, seconds, kilowatt hours and dollars out."""

from dataclasses import dataclass

from dodam.plan.hardware import Hardware

HOUR = 3600.0
KWH = 3.6e6  # joules


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What some work takes on so many devices."""

    seconds: float
    device_hours: float
    energy: float | None
    """Kilowatt hours of the devices alone, as if they drew all they may all the time."""
    dollars: float | None


def cost(seconds: float, devices: int, hardware: Hardware) -> Cost:
    """Of `seconds` on `devices` devices; None where nothing is known to reckon with."""
    hours = seconds * devices / HOUR
    return Cost(
        seconds=seconds,
        device_hours=hours,
        energy=None if hardware.watts is None else seconds * devices * hardware.watts / KWH,
        dollars=None if hardware.price is None else hours * hardware.price,
    )


def seconds_of(flops: float, devices: int, hardware: Hardware) -> float:
    """Seconds of so many floating point operations, were no device ever to wait for another."""
    return flops / (devices * hardware.rate)
