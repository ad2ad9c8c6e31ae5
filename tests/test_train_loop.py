"""The loop by itself: checkpoints that are written beside the steps and kept, the best weights, the end of its time."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dodam.data.batch import Batch, TokenBatch
from dodam.errors import Interrupted, StorageError
from dodam.stages.training import Training, until
from dodam.train import checkpoint
from dodam.train.clock import ASIDE, Clock, Plan
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


class Slow:
    """In place of `write_tensors`: of the writes it is told it waits until it may go on; then the disk may be full."""

    def __init__(self, *which: int, full: bool = False) -> None:
        self.which, self.full, self.count = which, full, 0
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.write = checkpoint.write_tensors

    def __call__(self, tensors: dict[str, torch.Tensor], path: Path) -> None:
        self.count += 1
        if self.count in self.which:
            self.begun.set()
            assert self.may_go_on.wait(30)
            if self.full:
                path.write_bytes(b"half of it")
                raise OSError(errno.ENOSPC, "No space left on device")
        self.write(tensors, path)


def test_steps_go_on_while_a_checkpoint_is_written_and_it_holds_what_was_when_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(1)
    monkeypatch.setattr(checkpoint, "write_tensors", slow)

    def later(step: int) -> Sequence[Batch]:
        if step == 5:  # five steps are done, and the checkpoint of step 0 is not yet written
            assert slow.begun.wait(30) and kept(tmp_path) == []
            slow.may_go_on.set()
        return _batches(step)

    _batches = batches
    monkeypatch.setitem(globals(), "batches", later)
    run(tmp_path, checkpoint_seconds=1e9)
    assert kept(tmp_path) == [0, STEPS]
    first = checkpoint.pieces(tmp_path / "checkpoint" / "step-00000000")
    assert float(first["model.weight"]) == 0.0


def test_a_disk_that_is_full_beside_the_steps_ends_the_run_at_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, _ = run(tmp_path / "whole")
    slow, asked = Slow(3, full=True), []

    def noted(step: int) -> Sequence[Batch]:
        asked.append(step)
        if step == 3:  # the checkpoint after two steps is under way; none is due until the end
            assert slow.begun.wait(30)
            slow.may_go_on.set()
            [writing] = [thread for thread in threading.enumerate() if thread.name == "checkpoint"]
            writing.join()
        return _batches(step)

    _batches = batches
    monkeypatch.setattr(checkpoint, "write_tensors", slow)
    monkeypatch.setitem(globals(), "batches", noted)
    monkeypatch.setattr("dodam.train.state.Run.save", only_first(3))
    with pytest.raises(StorageError, match="the disk is full"):
        run(tmp_path / "full")
    assert asked == [0, 1, 2, 3]
    assert kept(tmp_path / "full") == [0, 1]
    assert {path.name for path in (tmp_path / "full" / "checkpoint").iterdir()} == {"step-00000000", "step-00000001"}
    monkeypatch.undo()
    monkeypatch.setattr("dodam.train.schedule.Schedule.__call__", lambda self, progress: 1.0)
    assert run(tmp_path / "full")[0] == whole


def only_first(number: int) -> Any:
    """`Run.save`, of which no more are due after so many, but those in which it is raised what the last one met."""
    from dodam.train.state import Run

    save, count = Run.save, 0

    def counted(self: Run, plan: Any) -> None:
        nonlocal count
        count += 1
        if count <= number or self.writer.failed:
            save(self, plan)

    return counted


def test_a_last_checkpoint_that_is_not_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(2, full=True)
    slow.may_go_on.set()
    monkeypatch.setattr(checkpoint, "write_tensors", slow)
    with pytest.raises(StorageError, match="the disk is full"):
        run(tmp_path, checkpoint_seconds=1e9)
    assert kept(tmp_path) == [0]


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import test_train_loop as loop
from dodam.train import checkpoint
from dodam.train.schedule import Schedule
from dodam.train.state import Run

def half(tensors, path, count=[0]):
    count[0] += 1
    if count[0] < 3:
        return whole(tensors, path)
    path.write_bytes(b"half of it")
    time.sleep(60)

def noted(step):
    if step == 4:
        print("two steps on", flush=True)
        time.sleep(60)
    return batches(step)

whole, batches = checkpoint.write_tensors, loop.batches
checkpoint.write_tensors, loop.batches = half, noted
Schedule.__call__ = lambda self, progress: 1.0
Run.save = loop.only_first(3)
loop.run(loop.Path({folder!r}))
"""


def test_killed_while_a_checkpoint_is_written_it_goes_on_from_the_one_before(tmp_path: Path) -> None:
    whole, _, _ = run(tmp_path / "whole")
    folder = tmp_path / "killed"
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "two steps on\n"
        deadline = time.monotonic() + 30.0
        while not (left := list((folder / "checkpoint").glob(".step-00000002*"))) and time.monotonic() < deadline:
            time.sleep(0.02)  # until the thread that writes has begun
        process.send_signal(signal.SIGKILL)
    assert kept(folder) == [0, 1]
    assert len(left) == 1, "it was not killed while it wrote"
    weight, outcome, seen = run(folder, checkpoint_seconds=1e9)  # so that no other is written in its place
    assert (weight, outcome.steps, len(seen)) == (whole, STEPS, STEPS - 1)  # from step 1 on
    assert not left[0].exists()


class Hands(Clock):
    """A clock that is moved by hand."""

    def seconds(self) -> float:
        return self.used


@pytest.mark.parametrize(("look", "made"), [(0.05, 10), (1.0, 3), (10.0, 2)])
def test_validations_leave_the_steps_their_time(look: float, made: int) -> None:
    hands = Hands()
    plan = Plan(LoopConfig(seconds=100.0, validate_every=0.1), hands, 0)
    looks, last = 0, False
    while not last:
        plan.begin_step()
        hands.used += 0.1
        plan.end_step()
        last = plan.done(0)
        if plan.validation_due(0, last):
            looks += 1
            hands.used += look
    assert looks == made  # the first shows that all is well, the last what came of it
    assert plan.usual() == pytest.approx(0.1)  # a step does not count what goes by between steps
    assert plan.aside <= max(look, ASIDE * 100.0)


def test_a_run_of_steps_validates_as_often_as_it_is_told() -> None:
    hands = Hands()
    plan = Plan(LoopConfig(steps=20, validate_every=0.1), hands, 0)
    due = []
    for step in range(1, 21):
        plan.begin_step()
        hands.used += 0.1
        plan.end_step()
        due.append(plan.validation_due(step, step == 20))
        hands.used += 10.0 * due[-1]
    assert sum(due) == 10
