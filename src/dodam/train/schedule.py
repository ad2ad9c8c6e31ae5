"""The learning rate over a run: a short warm-up, constant, then a long linear decay.

In comes progress, the share of the run that is done (steps, or time under a budget); out comes a factor from 0 to 1.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Shares of the run. The decay ends at `floor` times the top rate."""

    warmup: float = 0.01
    decay: float = 0.7
    floor: float = 0.0

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return max(progress / self.warmup, 0.05)
        if progress > 1.0 - self.decay:
            return self.floor + (1.0 - self.floor) * max(0.0, 1.0 - progress) / self.decay
        return 1.0
