"""How much leaving the reference costs: a fixed coefficient, or one that steers the KL towards a target.

In come the KL of each rollout and how many answers it had; out comes the coefficient of the next one.
"""

from dataclasses import dataclass

MOST_ERROR = 0.2


@dataclass
class Penalty:
    """The coefficient of the KL penalty. With a target it changes after each rollout in proportion to the relative
    error, cut at 20%, over `horizon` answers (Ziegler et al. 2019, section 2.2)."""

    coefficient: float
    target: float | None = None
    horizon: float = 10_000.0

    def update(self, kl: float, num_answers: int) -> None:
        """Take in the mean KL of a rollout's answers, in nats per answer."""
        if self.target is not None:
            error = min(MOST_ERROR, max(-MOST_ERROR, kl / self.target - 1))
            self.coefficient *= 1 + error * num_answers / self.horizon
