"""Programs that many runs are watched in, behind one protocol: TensorBoard, wandb, MLflow, trackio.

In come a run's name and settings and rows of numbers; they go out as each program wants them. Servers and keys are
those of the packages' own environment variables. Each package is loaded when its tracker is opened, by a thread.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dodam.errors import DodamError, UsageError

PROJECT = "dodam"
PATIENCE = 30.0  # seconds that a slow tracker is waited for at the end of a run
FLUSHED = 0.5  # seconds after which wandb writes what it has; after 15 of its own, which a kill would lose


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A run as its trackers know it. `id` is its own for ever; `called`: what the tracker called it, if it was opened
    before."""

    name: str
    id: str
    folder: Path
    settings: dict[str, Any]
    called: str = ""


class Tracker(Protocol):
    """Called by one thread, in this order; whatever it raises ends the tracking, never the run. `open` returns what the
    tracker calls the run, which it gets back in `Watched.called` when the run goes on."""

    def open(self, run: Watched) -> str: ...
    def log(self, step: int, numbers: dict[str, float]) -> None: ...
    def close(self, finished: bool, result: dict[str, float]) -> None: ...


class TensorBoard:
    """An event file in OUT/tensorboard, another one each time the run goes on; flushed after every row."""

    def open(self, run: Watched) -> str:
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata  # type: ignore[missing-import]
        from tensorboard.compat.proto.tensor_pb2 import TensorProto  # type: ignore[missing-import]
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[missing-import]

        self.writer = EventFileWriter(str(run.folder / "tensorboard"))
        if not run.called:
            lines = ["| setting | value |", "|---|---|", *(f"| {key} | {run.settings[key]} |" for key in run.settings)]
            text = TensorProto(dtype="DT_STRING", string_val=["\n".join(lines).encode()])
            shown = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
            self.write(0, [Summary.Value(tag="settings", tensor=text, metadata=shown)])
        return run.id

    def log(self, step: int, numbers: dict[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[missing-import]

        self.write(step, [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()])

    def close(self, finished: bool, result: dict[str, float]) -> None:
        self.writer.close()

    def write(self, step: int, values: list[Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[missing-import]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[missing-import]

        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self.writer.flush()


class Wandb:
    """A run of wandb, without what it would collect of itself."""

    def open(self, run: Watched) -> str:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers
        import wandb  # type: ignore[missing-import]

        away = os.environ.get("WANDB_MODE", "online") in ("offline", "disabled")
        if not (away or wandb.login(prompt=False, verify=False)):  # else it would ask for a key on the terminal
            raise DodamError("there is no key: set WANDB_API_KEY, or WANDB_MODE=offline")
        settings = wandb.Settings(
            silent=True, console="off", disable_code=True, disable_git=True, finish_timeout=PATIENCE,
            init_timeout=PATIENCE, x_graphql_retry_max=3, x_transaction_log_flush_interval=FLUSHED,
            x_disable_meta=True, x_disable_machine_info=True, x_disable_stats=True, x_save_requirements=False,
        )  # fmt: skip
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), id=run.id, name=run.name, resume="allow",
            dir=str(run.folder), config=run.settings, allow_val_change=True, settings=settings,
        )  # fmt: skip
        return run.id

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(numbers, step=step)

    def close(self, finished: bool, result: dict[str, float]) -> None:
        self.run.summary.update(result)
        self.run.finish(exit_code=0 if finished else 1)


class Mlflow:
    """A run of MLflow, through its client, which sends what it is given and nothing else."""

    def open(self, run: Watched) -> str:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import Param  # type: ignore[missing-import]
        from mlflow.exceptions import MlflowException  # type: ignore[missing-import]
        from mlflow.tracking import MlflowClient  # type: ignore[missing-import]

        self.client = MlflowClient()
        if run.called:
            self.client.update_run(run.called, status="RUNNING")
            self.id = run.called
            return self.id
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(project)
        try:
            experiment = found.experiment_id if found else self.client.create_experiment(project)
        except MlflowException:  # another run has just made it
            experiment = self.client.get_experiment_by_name(project).experiment_id
        self.id = self.client.create_run(experiment, run_name=run.name).info.run_id
        settings = [Param(key, str(value)[:6000]) for key, value in run.settings.items()]
        for first in range(0, len(settings), 100):  # no more at a time
            self.client.log_batch(self.id, params=settings[first : first + 100])
        return self.id

    def log(self, step: int, numbers: dict[str, float]) -> None:
        from mlflow.entities import Metric  # type: ignore[missing-import]

        now = int(1000 * time.time())
        self.client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in numbers.items()])

    def close(self, finished: bool, result: dict[str, float]) -> None:
        from mlflow.entities import Metric  # type: ignore[missing-import]

        now = int(1000 * time.time())
        self.client.log_batch(self.id, metrics=[Metric(f"result.{name}", result[name], now, 0) for name in result])
        self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


class Trackio:
    """A run of trackio; its name ends in the beginning of the run's id, as trackio knows runs by their name."""

    def open(self, run: Watched) -> str:
        import trackio  # type: ignore[missing-import]

        name = run.called or f"{run.name} {run.id[:6]}"
        self.run = trackio.init(
            project=PROJECT, name=name, config=run.settings, resume="allow", embed=False, auto_log_gpu=False,
            auto_log_cpu=False,
        )  # fmt: skip
        return name

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(dict(numbers), step=step)

    def close(self, finished: bool, result: dict[str, float]) -> None:
        self.run.finish()


TRACKERS: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "mlflow": Mlflow,
    "trackio": Trackio,
}


def check_trackers(names: Iterable[str]) -> None:
    """UsageError for a tracker whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed", where="--track", mend=f"Install it: pip install {name}.")
