"""Command `feedback uncertainty`: how little a reward model knows about the answers to each prompt of a store.

What is written is what `serve --choose uncertain` sorts by: the mean over pairs of answers of the entropy, in bits, of
which of the two is better. 1: no idea; 0: sure. With an ensemble the probability is the mean of its members', so that
their disagreement counts too (Settles 2009, sections 3.1-3.2).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt

from dodam.errors import DataError

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 64  # prompts


@dataclass(frozen=True, kw_only=True)
class FeedbackUncertainty:
    """Write into a store how little a reward model knows about each prompt, to be asked first what it knows least."""

    positional: ClassVar[tuple[str, ...]] = ("store",)

    store: str
    """The feedback store: an SQLite file or the URL of a PostgreSQL database."""
    reward: Path
    """The reward model: a run of `dodam reward`, or its model folder."""
    threads: Annotated[int, Gt(0)] | None = None
    """CPU threads. Default: all cores this process may use."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""


def run(config: FeedbackUncertainty) -> dict[str, Any]:
    """Score the answers and write the numbers; prompts with fewer than two answers have none."""
    import numpy as np

    from dodam import machine as machines
    from dodam.feedback.store import open_store
    from dodam.generate.scorer import load_scorer

    machine = machines.look(config.device, config.threads)
    machines.use(machine)
    scorer = load_scorer(config.reward, device=machine.device)
    found: dict[str, float] = {}
    with open_store(config.store) as store:
        asked = [(one.id, one.messages, texts) for one in store.prompts() if len(texts := different(one.answers)) > 1]
        if not asked:
            mend = "Rank some first, or bring in prompts with answers: `dodam feedback import`."
            raise DataError("no prompt has two answers to compare", where=store.where, mend=mend)
        for first in range(0, len(asked), AT_ONCE):
            part = asked[first : first + AT_ONCE]
            compared = [(messages, texts) for _, messages, texts in part]
            tables = [one.own_scores(compared) for one in (scorer, *scorer.others)]
            for (id, *_), *scores in zip(part, *tables, strict=True):
                found[id] = uncertainty(np.stack(scores))
        gone = store.set_uncertainty(found)
    written = [value for id, value in found.items() if id not in gone]
    mean = sum(written) / len(written) if written else None
    told = "" if mean is None else f", {mean:.3f} on the average"
    deleted = f"; {len(gone)} were deleted meanwhile" if gone else ""
    print(f"feedback uncertainty: {len(written)} prompts{told}{deleted}.", file=sys.stderr)
    return {"store": store.where, "prompts": len(written), "gone": len(gone), "mean": mean}


def different(answers: Sequence[Any]) -> list[str]:
    """The texts of answers, each once."""
    return list(dict.fromkeys(answer.text for answer in answers))


def uncertainty(scores_MA: "np.ndarray") -> float:
    """The mean entropy over all pairs of answers (A), given the scores of each member (M)."""
    import numpy as np

    one, two = np.triu_indices(scores_MA.shape[1], k=1)
    apart_MP = (scores_MA[:, one] - scores_MA[:, two]).astype(np.float64)
    better_P = (1 / (1 + np.exp(-np.clip(apart_MP, -500, 500)))).mean(0)
    sides = np.stack([better_P, 1 - better_P])
    return float(-(sides * np.log2(np.maximum(sides, 1e-300))).sum(0).mean())
