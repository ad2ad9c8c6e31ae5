"""One request to the engine and what comes of it: sampling parameters, the ids so far, events and outputs.

Plain values on token ids: no tensors, no text. The scheduler and the engine pass these around; the runner reads them.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Reason = Literal["stop", "length"]


@dataclass(frozen=True)
class SamplingParams:
    """How one request is answered. The order is: repetition penalty, temperature, top-k, top-p, min-p."""

    max_tokens: int = 256
    """Most tokens in the answer; the context may end it sooner."""
    temperature: float = 1.0
    """0 takes the likeliest token each time (greedy)."""
    top_k: int = 0
    """Sample from the k likeliest tokens only; 0 is off."""
    top_p: float = 1.0
    """Sample from the fewest tokens that hold this much probability (Holtzman et al. 2020); 1 is off."""
    min_p: float = 0.0
    """Leave out tokens less likely than this share of the likeliest (Nguyen et al. 2024); 0 is off."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens already in the prompt or answer less likely (Keskar et al. 2019); 1 is off."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it. They are text, so whoever turns ids into text watches for them
    (`TextStream`) and cancels the request; the engine itself knows stop ids only."""
    seed: int | None = None
    """The same seed gives the same answer, whoever else is running; None draws a fresh one."""
    logprobs: int | None = None
    """0 reports the log-probability of each chosen token, n also the n likeliest; None reports nothing."""

    def __post_init__(self) -> None:
        for name, fits, needs in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0"),
            ("stop", all(self.stop), "texts that are not empty"),
            ("logprobs", self.logprobs is None or self.logprobs >= 0, "0 or more"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {needs}, not {getattr(self, name)!r}")


class Logprob(NamedTuple):
    """The log-probability of a chosen token by the model itself (temperature 1, no filters), and the likeliest ones."""

    chosen: float
    top: list[tuple[int, float]]


class Event(NamedTuple):
    """One token of one request. `id` is None when the model chose a stop id; `reason` is given with the last event."""

    request: int
    id: int | None
    reason: Reason | None
    logprob: Logprob | None


@dataclass(frozen=True)
class Output:
    """A finished request. `text` is filled when a tokenizer was at hand."""

    ids: list[int]
    reason: Reason
    logprobs: list[Logprob]
    text: str = ""


@dataclass(slots=True, eq=False)
class Sequence:
    """A request inside the engine: its prompt, what was generated, and the cache row it holds (-1 while it waits)."""

    request: int
    prompt: list[int]
    params: SamplingParams
    seed: int
    limit: int
    """Most tokens to generate: `max_tokens`, or fewer where the context ends."""
    generated: list[int] = field(default_factory=list)
    row: int = -1

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.generated)
