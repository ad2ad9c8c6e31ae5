"""Trackers: what they are told, that nothing is told twice after a kill, and that none of them can harm a run.

The packages themselves are tried where they are installed, each in a folder of its own and without a network;
everything else is shown with stand-ins.
"""

import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dodam.errors import UsageError
from dodam.tracking import follow, trackers
from dodam.tracking.follow import Follower, Note, flat, following, numbers_of

SETTINGS = {
    "stage": "reward",
    "data": ["postgresql://kim:secret@host/db#edited"],
    "lora": {"rank": 4, "targets": ["all"]},
    "budget": None,
    "tied": False,
}


def training_row(step: int) -> dict[str, Any]:
    return {"step": step, "loss": 100.0 / step, "tokens": 64 * step, "progress": step / 40, "remaining": 1.0}


def validation_row(step: int) -> dict[str, Any]:
    return {"step": step, "validation": 50.0 / step, "seconds": 1.0 * step}


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Recorder:
    """A tracker that keeps what it is told in a list, and fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.told, self.opened, self.closed = fails, [], None, None

    def open(self, run: trackers.Watched) -> str:
        self.opened = run
        self.may("open")
        return f"theirs of {run.id}"

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.may(f"log {step}")
        self.told.append((step, numbers))

    def close(self, finished: bool, result: dict[str, float]) -> None:
        self.may("close")
        self.closed = (finished, result)

    def may(self, what: str) -> None:
        if what == self.fails:
            raise SystemExit("gone") if what == "open" else ConnectionError("gone")


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
    """Stand-ins for two trackers; one made anew each time a run is followed takes its place here."""
    made: dict[str, Recorder] = {}

    def maker(name: str) -> Any:
        return lambda: made.setdefault(name, Recorder())

    monkeypatch.setattr(follow, "TRACKERS", {name: maker(name) for name in ("wandb", "mlflow")})
    return made


def follow_run(folder: Path, names: list[str], rows: list[dict[str, Any]], result: dict | None = None) -> None:
    with following(names, folder, SETTINGS) as followed:
        for hook in followed.hooks:
            hook.start(0)
            for row in rows:
                (hook.step if "loss" in row else hook.validate)(row)
            hook.end()
        followed.result = result


def test_names_settings_and_numbers_are_told_and_nothing_else(tmp_path: Path, recorders: dict[str, Recorder]) -> None:
    rows = [
        training_row(10),
        {"step": 10, "seconds": 1.0},
        validation_row(10),
        {**training_row(20), "loss": float("nan")},
    ]
    follow_run(tmp_path / "mine" / "pretrain", [], rows)
    assert not (tmp_path / "mine").exists(), "nothing is written without --track"
    (tmp_path / "mine" / "pretrain").mkdir(parents=True)
    result = {"model": "x", "steps": 20, "compiled": True, "loss": 1.5}
    follow_run(tmp_path / "mine" / "pretrain", ["wandb"], rows, result)
    run = recorders["wandb"].opened
    assert run.name == "mine/pretrain" and run.called == ""
    assert run.settings == {
        "stage": "reward",
        "data": '["postgresql://***@host/db#edited"]',
        "lora.rank": 4,
        "lora.targets": '["all"]',
        "tied": False,
    }
    assert recorders["wandb"].told == [
        (10, {"loss": 10.0, "tokens": 640.0}),
        (10, {"validation": 5.0, "seconds": 10.0}),
        (20, {"tokens": 1280.0}),
    ]
    assert recorders["wandb"].closed == (True, {"steps": 20.0, "loss": 1.5})


def test_a_run_that_goes_on_is_the_same_and_tells_no_step_twice(tmp_path: Path, recorders: dict[str, Recorder]) -> None:
    follow_run(tmp_path, ["wandb"], [training_row(10), validation_row(10), training_row(20), training_row(30)])
    before = recorders.pop("wandb")
    assert before.closed == (False, {}), "a run without a result is not finished"
    # Its checkpoint was of step 20: metrics.jsonl is cut there, and 30 is trained again.
    write_metrics(tmp_path, [training_row(10), validation_row(10), training_row(20)])
    follow_run(tmp_path, ["wandb"], [validation_row(20), training_row(30), training_row(40)], {"steps": 40})
    after = recorders["wandb"]
    assert after.opened.id == before.opened.id and after.opened.called == f"theirs of {before.opened.id}"
    told = [(step, "loss" in numbers) for step, numbers in before.told + after.told]
    assert told == [(10, True), (10, False), (20, True), (30, True), (20, False), (40, True)]


def test_what_a_tracker_missed_is_told_when_the_run_goes_on(
    tmp_path: Path, recorders: dict[str, Recorder], capsys
) -> None:
    recorders["wandb"] = Recorder(fails="log 20")
    follow_run(tmp_path, ["wandb", "mlflow"], [training_row(step) for step in (10, 20, 30)])
    assert [step for step, _ in recorders["mlflow"].told] == [10, 20, 30]
    told = capsys.readouterr().err
    assert told.count("tracking with wandb stopped (ConnectionError: gone)") == 1 and "the training goes on" in told
    assert "mlflow" not in told
    write_metrics(tmp_path, [training_row(step) for step in (10, 20, 30)])
    recorders.clear()
    follow_run(tmp_path, ["wandb", "mlflow"], [training_row(40)])
    assert [step for step, _ in recorders["wandb"].told] == [30, 40], "20 may have arrived: it is not told again"
    assert [step for step, _ in recorders["mlflow"].told] == [40]


@pytest.mark.parametrize("fails", ["open", "log 10", "close"])
def test_whatever_a_tracker_raises_is_one_line(
    fails: str, tmp_path: Path, recorders: dict[str, Recorder], capsys
) -> None:
    recorders["wandb"] = Recorder(fails=fails)
    follow_run(tmp_path, ["wandb"], [training_row(10), training_row(20)], {"steps": 20})
    assert capsys.readouterr().err.count("tracking with wandb stopped") == 1


def test_a_tracker_that_hangs_is_waited_for_no_longer_than_its_time(tmp_path: Path, capsys) -> None:
    class Hanging(Recorder):
        def log(self, step: int, numbers: dict[str, float]) -> None:
            released.wait()

    released = threading.Event()
    run = trackers.Watched(name="x", id="", folder=tmp_path, settings={})
    hook = Follower("wandb", Hanging(), run, patience=0.05)
    hook.start(0)
    hook.step(training_row(10))
    hook.close(True, {})
    assert "wandb has not taken everything" in capsys.readouterr().err
    released.set()
    hook.thread.join()


def test_a_folder_that_cannot_be_written_ends_the_tracking_only(
    tmp_path: Path, recorders: dict[str, Recorder], capsys
) -> None:
    (tmp_path / "tracking").write_text("a file in the way")
    follow_run(tmp_path, ["wandb"], [training_row(10)], {"steps": 10})
    assert "tracking with wandb stopped (StorageError" in capsys.readouterr().err


def test_what_a_tracker_prints_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    class Loud(Recorder):
        def log(self, step: int, numbers: dict[str, float]) -> None:
            print("hello from a tracker")

    monkeypatch.setattr(follow, "TRACKERS", {"wandb": Loud})
    follow_run(tmp_path, ["wandb"], [training_row(10)], {"steps": 10})
    told = capsys.readouterr()
    assert told.out == "" and "hello from a tracker" in told.err


@pytest.mark.parametrize("torn", [b'{"kind": "loss", "st', b'\n{"kind": "loss", "step": 20}\n{"ki\xff', b"[1]\n7\n"])
def test_a_torn_note_is_read_as_far_as_it_goes(torn: bytes, tmp_path: Path) -> None:
    note = Note(tmp_path / "tracking" / "wandb.jsonl")
    note.name("theirs")
    note.tell(training_row(10))
    with note.path.open("ab") as file:
        file.write(torn)
    again = Note(note.path)
    assert (again.id, again.called) == (note.id, "theirs")
    assert again.knows(training_row(10)) and not again.knows(validation_row(10)) and not again.knows(training_row(30))
    again.tell(training_row(30))
    assert Note(note.path).told == {"loss": 30}


def test_no_password_and_no_list_in_settings() -> None:
    assert flat({"a": {"b": {"c": 1}}, "d": None, "e": ["https://u:p@h/x", 2]}) == {
        "a.b.c": 1,
        "e": '["https://***@h/x", 2]',
    }
    assert numbers_of({"step": 1, "a": float("inf"), "b": True, "c": "text", "d": 2}) == {"d": 2.0}


def test_a_package_that_is_missing_is_said_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    trackers.check_trackers([])
    with pytest.raises(UsageError, match=r"--track: mlflow is not installed. Install it: pip install mlflow"):
        trackers.check_trackers(["mlflow"])


# The packages themselves

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from dodam.tracking import trackers
from test_trackers import SETTINGS, training_row, validation_row, follow_run
class Killed(trackers.TRACKERS[{name!r}]):
    def log(self, step, numbers):
        super().log(step, numbers)
        if step == 20:
            os.kill(os.getpid(), signal.SIGKILL)
from dodam.tracking import follow
follow.TRACKERS = {{{name!r}: Killed}}
follow.PATIENCE = 120
follow_run(Path({folder!r}), [{name!r}], [training_row(10), validation_row(10), training_row(20)])
"""


def read_tensorboard(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    # Files are read by name: time in whole seconds, host, process. Two of one second may come the other way round.
    events = {tag: sorted(found.Scalars(tag), key=lambda event: event.wall_time) for tag in found.Tags()["scalars"]}
    curves = {tag: [(event.step, event.value) for event in some] for tag, some in events.items()}
    return curves, found.Tensors("settings")[0].tensor_proto.string_val[0].decode()


def read_mlflow(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("dodam").experiment_id])
    assert run.info.status == "FINISHED" and run.data.metrics["result.steps"] == 30
    assert run.info.run_name == f"{folder.parent.name}/{folder.name}"
    history = {name: client.get_metric_history(run.info.run_id, name) for name in ("loss", "validation")}
    return {name: [(one.step, one.value) for one in history[name]] for name in history}, str(run.data.params)


def read_trackio(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], str]:
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("dodam")
    rows = SQLiteStorage.get_logs("dodam", name)
    curves = {key: [(row["step"], row[key]) for row in rows if key in row] for key in ("loss", "validation")}
    return curves, str(SQLiteStorage.get_run_config("dodam", name))


def read_wandb(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], str]:
    """Both offline runs, the killed one's and the one that went on, as `wandb sync` would read them."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # as at the end of the process: its service writes what it still has
    files = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({file.stem for file in files}) == 1, "the same run"
    curves: dict[str, dict[int, float]] = {"loss": {}, "validation": {}}
    config = ""
    for file in files:
        for data in records_of(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            config += str(record.run.config)
            row = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            for name, curve in curves.items():
                if name in row:
                    step = int(row["_step"])
                    assert step not in curve, "told twice"
                    curve[step] = float(row[name])
    return {name: sorted(curve.items()) for name, curve in curves.items()}, config


def records_of(data: bytes) -> Iterator[bytes]:
    """What a .wandb file holds: after 7 bytes a LevelDB log, blocks of 32 KiB with pieces of records in them, each with
    a checksum (4 bytes), its length (2) and whether it is all of a record (1), its begin (2), middle (3) or end (4)."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


READERS = {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "trackio": read_trackio, "wandb": read_wandb}


@pytest.mark.filterwarnings("ignore")  # of the packages
@pytest.mark.parametrize("name", READERS)
def test_a_killed_run_goes_on_in_the_package_itself(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    folder = tmp_path / "mine" / "run"
    folder.mkdir(parents=True)
    for variable, value in (
        ("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db"),
        ("TRACKIO_DIR", str(tmp_path / "trackio")),
        ("WANDB_MODE", "offline"),
    ):
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(follow, "PATIENCE", 120.0)
    code = KILLED.format(tests=str(Path(__file__).parent), name=name, folder=str(folder))
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    write_metrics(folder, [training_row(10), validation_row(10)])
    follow_run(folder, [name], [training_row(20), training_row(30), validation_row(30)], {"steps": 30})
    curves, settings = READERS[name](folder)
    steps = {key: [step for step, _ in curves[key]] for key in ("loss", "validation")}
    if name in ("trackio", "wandb"):  # write every half second: the killed one may have kept its rows to itself
        assert steps["loss"][-1] == 30 and len(set(steps["loss"])) == len(steps["loss"])
    else:
        assert steps == {"loss": [10, 20, 30], "validation": [10, 30]}
    assert all(value == pytest.approx(100 / step) for step, value in curves["loss"])
    assert "lora.rank" in settings and "secret" not in settings
