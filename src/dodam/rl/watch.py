"""What is watched while a policy trains: the numbers of each rollout, what is measured on held-back prompts, alarms.

In come means of rollouts and measurements; out come rows of metrics, and a line on standard error the first time that
something goes wrong which a higher reward hides. It is the ledger of the training loop: its state is JSON.
"""

import math
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from dodam.rl.penalty import Penalty
from dodam.train.policy import Sums

COLLAPSED = 0.1  # of the entropy at the beginning
LONGER, SHORTER = 1.6, 0.6  # times the length at the beginning
SURE = 2.0  # standard errors that a change must have


@dataclass
class Moments:
    """Mean and variance of all rewards so far (Chan et al. 1979)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: list[float]) -> None:
        for value in values:
            self.count += 1
            step = value - self.mean
            self.mean += step / self.count
            self.squares += step * (value - self.mean)

    @property
    def deviation(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count and self.squares else 1.0


@dataclass(frozen=True)
class Measured:
    """Held-back prompts answered greedily: mean `reward` and what `judge` says, with its standard error; mean tokens of
    an answer, the share that ended. `kl`: nats an answer that is sampled, to the reference."""

    reward: float
    judge: float
    error: float
    length: float
    ended: float
    kl: float
    num_prompts: int

    def row(self) -> dict[str, float]:
        """For metrics.jsonl: `validation` is the mean reward."""
        numbers = asdict(self)
        numbers.pop("num_prompts")
        return {"validation": numbers.pop("reward"), **{f"held_back_{name}": value for name, value in numbers.items()}}


@dataclass
class Watch:
    """See the file's head. `before` is what was measured before the first step."""

    stage: str
    sums: Sums
    penalty: Penalty
    before: Measured | None
    moments: Moments = field(default_factory=Moments)
    rollout: dict[str, list[float]] = field(default_factory=dict)
    """What was noted since the last row."""
    period: dict[str, list[float]] = field(default_factory=dict)
    """The rows since the last measurement."""
    first: dict[str, float] = field(default_factory=dict)
    """The means of the first of these periods."""
    alarms: dict[str, str] = field(default_factory=dict)

    def note(self, **numbers: float) -> None:
        """Numbers of one rollout."""
        for name, value in numbers.items():
            self.rollout.setdefault(name, []).append(float(value))

    def tell(self) -> dict[str, float]:
        row = {name: sum(values) / len(values) for name, values in self.rollout.items()} | self.sums.tell()
        self.rollout = {}
        for name in ("reward", "entropy", "length"):
            if name in row:
                self.period.setdefault(name, []).append(row[name])
        return row

    def state(self) -> dict[str, Any]:
        return {
            "coefficient": self.penalty.coefficient,
            "moments": asdict(self.moments),
            "period": self.period,
            "first": self.first,
            "alarms": self.alarms,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.penalty.coefficient = state["coefficient"]
        self.moments = Moments(**state["moments"])
        self.period, self.first, self.alarms = state["period"], state["first"], state["alarms"]

    def look(self, measured: Measured | None) -> None:
        """After a measurement (None: nothing is held back): compare the rows since the last one with the first rows,
        and what was measured with what was measured before the first step."""
        now = {name: sum(values) / len(values) for name, values in self.period.items()}
        rewards, self.period = self.period.get("reward", []), {}
        if not now:
            return
        if not self.first:
            self.first = {**now, "error": standard_error(rewards)}
        first = self.first
        if now["entropy"] < COLLAPSED * first["entropy"]:
            told = (
                f"entropy fell from {first['entropy']:.3f} to {now['entropy']:.3f} nats a token: it says ever the same"
            )
            self.alarm("collapse", f"{told}. A larger --kl or a lower --learning-rate keeps it livelier")
        change = now["length"] / max(first["length"], 1e-9)
        if not SHORTER <= change <= LONGER:
            told = f"answers went from {first['length']:.1f} to {now['length']:.1f} tokens"
            self.alarm("length", f"{told}. See whether the reward only likes them so (samples.md)")
        if measured is None or self.before is None:
            return
        rise = now["reward"] - first["reward"]
        fall = self.before.judge - measured.judge
        sure_rise = rise > SURE * math.hypot(first["error"], standard_error(rewards))
        if sure_rise and fall > SURE * math.hypot(self.before.error, measured.error):
            told = f"the training reward rose by {rise:.3f} while held-back answers are judged lower by {fall:.3f}"
            self.alarm("reward hacking", f"{told}. The reward is being got without what it stands for")

    def alarm(self, kind: str, told: str) -> None:
        """Say it the first time."""
        if kind not in self.alarms:
            self.alarms[kind] = told
            print(f"{self.stage}: ALARM: {kind}: {told}.", file=sys.stderr)


def standard_error(values: list[float]) -> float:
    """Of the mean of some values; 0 of fewer than two."""
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
