"""What `dodam plan` says of many devices: one device is the plain formula, more bandwidth is never slower, pipelines
and failures agree with simulations of them, and published trainings come out as docs/plan.md tells.
"""

import heapq
import math
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodam.models.build import decoder_config, flops_per_token
from dodam.plan import published
from dodam.plan.cluster import SPREAD, Failures, Layout, step, utilization
from dodam.plan.hardware import HERE, TABLE, Hardware, changed, named

PAGE = (Path(__file__).parent.parent / "docs" / "plan.md").read_text(encoding="utf-8")
SIZES = decoder_config(vocabulary=512, context=128, depth=16, width=256, heads=8)
H100 = TABLE["h100-sxm"]

powers = st.sampled_from([1, 2, 4, 8])
speeds = st.floats(1e6, 1e13)


@st.composite
def layouts(draw) -> Layout:
    tensor, pipeline, data = draw(powers), draw(powers), draw(st.sampled_from([1, 2, 16, 512]))
    return Layout(
        devices=tensor * pipeline * data,
        tensor=tensor,
        pipeline=pipeline,
        chunks=draw(st.sampled_from([1, 2])) if pipeline > 1 else 1,
        batch=data * draw(powers),
        rows=1,
        sharding="optimizer" if pipeline > 1 else draw(st.sampled_from(["full", "optimizer"])),
        recompute=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )


@pytest.mark.parametrize("rows", [1, 4, 32])
@pytest.mark.parametrize("name", TABLE)
def test_one_device_is_the_plain_formula(name: str, rows: int) -> None:
    on = TABLE[name]
    took = step(SIZES, 128, on, Layout(batch=32, rows=rows))
    assert took.seconds == took.compute
    assert took.seconds == pytest.approx(flops_per_token(SIZES, 128) * 32 * 128 / (on.peak * on.efficiency))
    assert utilization(SIZES, 128, on, Layout(batch=32, rows=rows)) == pytest.approx(on.efficiency)


@settings(max_examples=60, deadline=None)
@given(layout=layouts(), slow=speeds, fast=speeds, other=speeds)
def test_more_bandwidth_is_never_slower(layout: Layout, slow: float, fast: float, other: float) -> None:
    slow, fast = sorted((slow, fast))
    for better, worse in (
        (replace(H100, link=fast, network=other), replace(H100, link=slow, network=other)),
        (replace(H100, link=other, network=fast), replace(H100, link=other, network=slow)),
    ):
        assert step(SIZES, 128, better, layout).seconds <= step(SIZES, 128, worse, layout).seconds * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(layout=layouts(), speed=speeds)
def test_waiting_only_costs(layout: Layout, speed: float) -> None:
    """No share of the peak is above that of one device, and without anything to wait for it is that."""
    assert utilization(SIZES, 128, replace(H100, link=speed, network=speed), layout) <= H100.efficiency * (1 + 1e-9)
    quick = replace(H100, link=math.inf, network=math.inf)
    took = step(SIZES, 128, quick, replace(layout, recompute=0.0))
    alone = flops_per_token(SIZES, 128) * layout.batch * 128 / layout.devices / H100.rate
    assert took.compute == pytest.approx(alone) and took.tensor == took.data == 0
    assert took.stragglers == pytest.approx(SPREAD * math.sqrt(2 * math.log(layout.devices)) * alone)


def pipelined(parts: int, microbatches: int) -> float:
    """Time until a pipeline has done all microbatches forward (1 each) and then, in turn, back (2 each): an event for
    each, which begins as soon as its device is free and what it needs is there."""
    free = [0.0] * parts
    done: dict[tuple[int, int, bool], float] = {}
    waiting = [(0, microbatch, part, False) for microbatch in range(microbatches) for part in range(parts)]
    waiting += [(1, microbatch, parts - 1 - part, True) for microbatch in range(microbatches) for part in range(parts)]
    heapq.heapify(waiting)
    for _, microbatch, part, back in sorted(
        waiting, key=lambda one: (one[3], one[1], one[2] if not one[3] else -one[2])
    ):
        before = (microbatch, part + 1, True) if back else (microbatch, part - 1, False)
        ready = done.get(before, done[microbatch, part, False] if back else 0.0)
        done[microbatch, part, back] = free[part] = max(free[part], ready) + (2.0 if back else 1.0)
    return max(free)


@pytest.mark.parametrize(("parts", "microbatches"), [(2, 1), (2, 8), (4, 4), (8, 8), (8, 64), (16, 4)])
def test_the_bubble_is_that_of_a_simulated_pipeline(parts: int, microbatches: int) -> None:
    """(p - 1) / (m + p - 1) of the time (Huang et al. 2019, GPipe, section 2.3)."""
    layout = Layout(devices=parts, pipeline=parts, batch=microbatches, rows=1, sharding="optimizer")
    took = step(SIZES, 128, replace(H100, link=math.inf), layout)
    share = took.bubble / (took.compute + took.bubble)
    assert share == pytest.approx((parts - 1) / (microbatches + parts - 1))
    assert share == pytest.approx(1 - 3 * microbatches / pipelined(parts, microbatches))


def test_parts_in_turns_shorten_the_bubble() -> None:
    layout = Layout(devices=8, pipeline=8, batch=16, sharding="optimizer")
    whole, turns = (step(SIZES, 128, H100, replace(layout, chunks=chunks)).bubble for chunks in (1, 2))
    assert turns == pytest.approx(whole / 2)


@pytest.mark.parametrize(("devices", "save"), [(512, 10.0), (4096, 60.0), (16_384, 30.0)])
def test_the_best_interval_is_near_the_root(devices: int, save: float) -> None:
    """sqrt(2 * cost * mean time between failures), within a tenth of the best of all, and what it loses within 1%."""
    failures = Failures(save_seconds=save)
    root = failures.interval(devices)
    assert root == math.sqrt(2 * save * failures.mean_seconds(devices))
    every = [root * 1.01**power for power in range(-300, 300)]
    best = min(every, key=lambda interval: failures.slowdown(devices, interval))
    assert best == pytest.approx(root, rel=0.1)
    assert failures.slowdown(devices, root) == pytest.approx(failures.slowdown(devices, best), rel=0.01)


def test_the_slowdown_is_that_of_simulated_failures() -> None:
    failures = Failures(device_hours=2000, save_seconds=60, restart_seconds=300)
    devices, interval, chance = 1000, 900.0, random.Random(1)
    mean, wall, pieces = failures.mean_seconds(devices), 0.0, 20_000

    def attempt(needed: float) -> float:
        """Seconds until `needed` of them went by without a failure, each failure and its restart counted."""
        took = 0.0
        while (until := chance.expovariate(1 / mean)) < needed:
            took += until + attempt(failures.restart_seconds)
        return took + needed

    for _ in range(pieces):
        wall += attempt(interval + failures.save_seconds)
    assert wall / (pieces * interval) == pytest.approx(failures.slowdown(devices, interval), rel=0.01)


def test_a_run_that_fails_too_often_never_ends() -> None:
    assert Failures().slowdown(10**9, 3600.0) == math.inf


@pytest.fixture(scope="module")
def rows() -> list[published.Published]:
    return [*published.runs(), *published.steps()]


def test_published_trainings_come_out_as_the_page_tells(rows: list[published.Published]) -> None:
    """Every row stands on the page with its error in whole percent, and no others do."""
    shown = dict(re.findall(r"^\| ([^|]+ \([^|]+\)) \|.*\| ([+-]\d+%) \|", PAGE, re.MULTILINE))
    assert shown == {f"{row.name} ({row.unit})": f"{row.error:+.0%}" for row in rows}


def test_the_errors_are_bounded(rows: list[published.Published]) -> None:
    errors = {f"{row.name} ({row.unit})": row.error for row in rows}
    assert abs(errors["GPT-3 175B (FLOPs)"]) < 0.02
    assert abs(errors["Llama 3 405B, 16,384 H100 (of the peak)"]) < 0.1
    assert abs(errors["Llama 3.1 405B (H100 hours)"]) < 0.1
    assert all(abs(error) < 0.25 for name, error in errors.items() if "Megatron" in name)
    small = [abs(error) < 0.25 for error in errors.values()]
    assert sum(small) >= len(small) - 4  # Llama 3 8B and 70B and nanochat's whole run, of which this is a part


def test_the_table_is_whole_and_on_the_page() -> None:
    for name, on in TABLE.items():
        assert named(name.upper().replace("-", " ")) is on and name != HERE
        assert 0 < on.efficiency <= 1 and on.memory and on.watts and on.price and on.priced
        line = re.search(rf"^\| `{re.escape(name)}` \|(.*)\|$", PAGE, re.MULTILINE)
        assert line, f"{name} is not on the page"
        tera, gigabytes, speed, watts, share, price = (cell.strip() for cell in line[1].split("|")[:6])
        told = [float(cell.replace(",", "").strip("$%")) for cell in (tera, gigabytes, speed, watts, share, price)]
        known = [on.peak / 1e12, on.memory / 1e9, (on.bandwidth or 0) / 1e9, on.watts, 100 * on.efficiency, on.price]
        assert told == pytest.approx(known)


def test_a_changed_price_is_nobodys_list_price() -> None:
    on: Hardware = changed(H100, price=1.0, peak=None)
    assert (on.price, on.priced, on.peak) == (1.0, "as given", H100.peak)
