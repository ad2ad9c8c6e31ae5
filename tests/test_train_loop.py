"""The loop by itself: checkpoints that are kept, the best weights, the end of a process's time."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dodam.data.batch import Batch, TokenBatch
from dodam.errors import Interrupted
from dodam.stages.training import Training, until
from dodam.train.loop import LoopConfig, Outcome, train
from dodam.train.optim import OptimConfig, Optimizers

STEPS = 8
MEASURED = [5.0, 4.0, 3.0, 6.0, 2.5, 7.0, 8.0, 9.0]  # after each step; the fifth is the lowest, the last the highest


class One(nn.Module):
    """A single weight; each step takes it a little further."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Down:
    def weight(self, batch: Batch) -> float:
        return 1.0

    def __call__(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        assert isinstance(model, One)
        return -model.weight.sum()


def batches(step: int) -> Sequence[Batch]:
    ids_BT = torch.zeros(1, 2, dtype=torch.long)
    return [TokenBatch(ids_BT, ids_BT)]


def run(folder: Path, *, stop: int | None = None, **more: Any) -> tuple[float, Outcome, list[float]]:
    """The weight at the end, what the loop says, and the weight at each validation. `stop`: after so many looks the
    process is killed, before anything is saved."""
    model = One()
    seen: list[float] = []

    def validate(model: One) -> float:
        seen.append(float(model.weight.detach()))
        if len(seen) == stop:
            raise KeyboardInterrupt
        step = round(float(model.weight.detach()) / RATE)
        return MEASURED[step - 1]

    optimizers = Optimizers(model, OptimConfig(matrix=RATE, embedding=RATE, head=RATE, scalar=RATE, weight_decay=0.0))
    config = LoopConfig(**{"steps": STEPS, "validate_every": 1 / STEPS, "checkpoint_seconds": 0.0} | more)
    outcome = train(model, optimizers, batches, Down(), config, folder=folder, validate=validate)
    return float(model.weight.detach()), outcome, seen


RATE = 0.125


@pytest.fixture(autouse=True)
def constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is a step: the schedule is flat, and AdamW goes RATE each time."""
    monkeypatch.setattr("dodam.train.schedule.Schedule.__call__", lambda self, progress: 1.0)


def kept(folder: Path, kind: str = "step") -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in (folder / "checkpoint").glob(f"{kind}-*"))


def test_as_many_checkpoints_stay_as_are_asked_for(tmp_path: Path) -> None:
    run(tmp_path / "two")
    assert kept(tmp_path / "two") == [7, 8]
    run(tmp_path / "four", keep=4)
    assert kept(tmp_path / "four") == [5, 6, 7, 8]


@pytest.mark.parametrize(("wanted", "step"), [("lowest", 5), ("highest", 8), (None, 8)])
def test_the_best_weights_are_those_of_the_best_validation(tmp_path: Path, wanted: str | None, step: int) -> None:
    weight, outcome, seen = run(tmp_path, best=wanted)
    assert weight == seen[step - 1]
    assert outcome.validation == MEASURED[step - 1]
    assert outcome.best == (None if wanted is None else step)
    assert outcome.steps == STEPS


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_killed_at_a_validation_it_ends_with_the_same_best_weights(tmp_path: Path, stop: int) -> None:
    whole, _, _ = run(tmp_path / "whole", best="lowest")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", best="lowest", stop=stop)
    again, outcome, _ = run(tmp_path / "killed", best="lowest")
    assert (again, outcome.best) == (whole, 5)
    # Begun again after its end, too.
    assert run(tmp_path / "killed", best="lowest")[0] == whole


def test_torn_best_weights_are_said_and_those_of_the_last_step_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, seen = run(tmp_path, best="lowest")
    torn = tmp_path / "checkpoint" / "best-00000005" / "tensors.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    weight, outcome, _ = run(tmp_path, best="lowest")
    assert (weight, outcome.best) == (seen[STEPS - 1], STEPS)
    assert "the best weights are torn" in capsys.readouterr().err


def test_before_its_time_is_over_a_run_is_saved_and_goes_on_later(tmp_path: Path) -> None:
    whole, _, _ = run(tmp_path / "whole")
    with pytest.raises(Interrupted, match="stopped at step 0, as the time of this process is nearly over"):
        run(tmp_path / "short", until=time.time() + 5)
    assert kept(tmp_path / "short") == [0]
    assert run(tmp_path / "short", until=time.time() + 3600)[0] == whole


def test_when_a_process_has_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert until(Training(out=Path("run"))) is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "2000000000")
    assert until(Training(out=Path("run"))) == 2e9
    since_start = until(Training(out=Path("run"), stop_after="2h"))
    assert since_start is not None
    assert 0 <= time.time() + 7200 - since_start < 7200  # the process began some time ago
    assert os.environ["SLURM_JOB_END_TIME"]  # --stop-after counts, whatever Slurm says
