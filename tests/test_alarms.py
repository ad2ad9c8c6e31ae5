"""Alarms: each is told of runs that have its harm, and not of those that only scatter."""

import json
import random
from pathlib import Path

import pytest

from dodam.train.alarms import Alarms, Row, found


def run_of(losses: list[float], norm: float = 1.0) -> list[Row]:
    count = len(losses)
    return [
        {"step": 10 * (place + 1), "loss": loss, "gradient_norm": norm, "progress": (place + 1) / count}
        for place, loss in enumerate(losses)
    ]


def ever(rows: list[Row], nothing: float | None = None) -> dict[str, str]:
    """All that was told while the rows came in."""
    told: dict[str, str] = {}
    for count in range(1, len(rows) + 1):
        told |= {kind: text for kind, text in found(rows[:count], nothing).items() if kind not in told}
    return told


def falling(count: int, seed: int = 0, scatter: float = 0.1) -> list[float]:
    rng = random.Random(seed)
    return [2 + 6 / (1 + place / 5) + rng.gauss(0, scatter) for place in range(count)]


@pytest.mark.parametrize("scatter", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_learns_gives_no_alarm(seed: int, scatter: float) -> None:
    assert ever(run_of(falling(256, seed, scatter)), nothing=9.0) == {}


def test_a_loss_that_climbs_blames_the_learning_rate() -> None:
    rows = run_of(falling(40)) + [
        {"step": 400 + 10 * n, "loss": 3.0 + 0.4 * n, "gradient_norm": 20.0, "progress": 0.5} for n in range(1, 12)
    ]
    told = ever(rows)
    assert list(told) == ["learning rate"]
    assert "gradients are 20 times as large" in found(rows)["learning rate"]
    assert "--learning-rate" in told["learning rate"]


def test_one_bad_row_is_no_alarm() -> None:
    losses = falling(60)
    losses[40] = 12.0
    assert ever(run_of(losses)) == {}


def test_a_model_that_goes_on_with_strange_text() -> None:
    assert "9.01" in ever(run_of([11.0, 8.0]), nothing=9.01)["strange text"]
    assert ever(run_of([11.0, 8.0])) == {}
    assert ever(run_of([8.0, 11.0]), nothing=9.01) == {}


def test_learning_by_heart() -> None:
    def looked(values: list[float], losses: list[float]) -> list[Row]:
        rows: list[Row] = []
        for place, (value, loss) in enumerate(zip(values, losses, strict=True)):
            rows += [row | {"step": row["step"] + 100 * place} for row in run_of([loss] * 9)]
            rows.append({"step": 100 * (place + 1), "validation": value})
        return rows

    worse = ever(looked([3.0, 2.5, 2.3, 2.4, 2.5], [3.0, 2.5, 2.2, 2.0, 1.8]))
    assert list(worse) == ["learned by heart"]
    assert "after step 300 (2.3000, now 2.5000)" in worse["learned by heart"]
    assert "2.200 to 1.800" in worse["learned by heart"]
    assert ever(looked([3.0, 2.5, 2.3, 2.4, 2.2], [3.0, 2.5, 2.2, 2.0, 1.8])) == {}  # it fell again
    both = ever(looked([3.0, 2.5, 2.3, 2.4, 2.5], [3.0, 2.5, 2.2, 2.3, 2.3]))
    assert "learned by heart" not in both  # nothing is learned


def test_texts_that_stand_together() -> None:
    rng = random.Random(0)
    sorted_by_kind = [2.0 + 0.8 * (place // 8 % 3) + rng.gauss(0, 0.05) for place in range(256)]
    assert "Mix the data" in ever(run_of(sorted_by_kind))["data order"]
    rng.shuffle(sorted_by_kind)
    assert ever(run_of(sorted_by_kind)) == {}


def test_each_kind_is_told_once_and_not_again_after_a_restart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = run_of([11.0, *falling(30), *[9.0 + n for n in range(10)]])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:1]), encoding="utf-8")
    alarms = Alarms("pretrain", path, nothing=9.0)
    alarms.start(rows[0]["step"])
    assert capsys.readouterr().err == ""
    for row in rows[1:]:
        alarms.step(row)
    assert capsys.readouterr().err.count("ALARM") == 1
    assert list(alarms.told) == ["strange text", "learning rate"]
