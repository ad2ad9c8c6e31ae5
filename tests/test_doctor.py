"""`dodam doctor`: what is wrong with a machine is found, and nothing is found where nothing is wrong."""

import json
import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from dodam import cli, doctor
from dodam import machine as machines
from dodam.doctor import Doctor

Usage = namedtuple("Usage", "total used free")


def found(check, **settings: object) -> list[tuple[str, str]]:
    return [(finding.grade, f"{finding.found} {finding.mend}") for finding in check(Doctor(**settings))]


def test_the_command_tells_lines_and_json(tmp_path: Path, capsys) -> None:
    assert cli.main(["doctor", "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    *lines, last = out.splitlines()
    told = json.loads(last)
    names = [finding["check"] for finding in told["findings"]]
    assert list(dict.fromkeys(names)) == [
        "python", "packages", "torch", "numbers", "compiler", "threads", "memory", "disk", "port"
    ]  # fmt: skip
    assert told["good"] + told["slow"] + told["bad"] == len(names) and told["bad"] == 0
    assert all(any(finding["found"] in line for line in lines) for finding in told["findings"])
    assert f"{told['slow']} slow, 0 bad" in err
    for finding in told["findings"]:
        assert (finding["grade"] == "slow") <= bool(finding["mend"])


def test_the_rates_are_measured_in_every_dtype_that_is_fast_here(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.0)
    monkeypatch.setattr(doctor, "SIDE", 64)
    before = torch.get_num_threads()
    try:
        for dtype in ("float32", "bfloat16"):
            machine = machines.Machine(device="cpu", threads=1, dtype=dtype, compiler=False)
            rates = doctor.measured(machine)
            assert list(rates) == list(dict.fromkeys(("float32", dtype))) and min(rates.values()) > 0
    finally:
        torch.set_num_threads(before)


def test_a_processor_that_is_slower_in_bfloat16_is_told_to_train_in_float32(monkeypatch) -> None:
    machine = machines.Machine(device="cpu", threads=1, dtype="bfloat16", compiler=False)
    monkeypatch.setattr(machines, "look", lambda: machine)
    monkeypatch.setattr(doctor, "measured", lambda _: {"float32": 200.0, "bfloat16": 100.0})
    grades = dict(found(doctor.check_torch))
    assert "--dtype float32" in grades["slow"]
    monkeypatch.setattr(doctor, "measured", lambda _: {"float32": 200.0, "bfloat16": 800.0})
    assert "slow" not in dict(found(doctor.check_torch))


def test_an_old_python_and_missing_packages(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (99, 0))
    assert found(doctor.check_python)[0][0] == "bad"
    needs = ["numpy>=2", "no-such-thing>=1", "never-seen>=2; extra == 'export'", "numpy>=1; extra == 'export'"]
    monkeypatch.setattr(doctor, "requires", lambda _: needs)
    (grade, missing), (other, optional) = found(doctor.check_packages)
    assert grade == "bad" and "no-such-thing" in missing and "never-seen" not in missing
    assert other == "good" and "never-seen" in optional and "dodam[export]" in optional and "numpy" not in optional


def test_no_compiler_no_headers_no_folder_for_kernels(monkeypatch, tmp_path: Path) -> None:
    assert found(doctor.check_compiler)[0][0] == ("good" if machines.has_compiler() else "slow")
    monkeypatch.setattr(machines, "has_compiler", lambda: False)
    monkeypatch.setattr(machines, "can_write", lambda _: True)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "apt-get install g++" in found(doctor.check_compiler)[0][1]
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/g++")
    assert "python3-dev" in found(doctor.check_compiler)[0][1]
    monkeypatch.setattr(machines, "can_write", lambda _: False)
    assert "TORCHINDUCTOR_CACHE_DIR" in found(doctor.check_compiler)[0][1]


def test_threads_that_are_limited_or_used_by_others(monkeypatch) -> None:
    monkeypatch.setattr(machines, "num_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.0, 0.0))
    assert found(doctor.check_threads)[0][0] == "good"
    monkeypatch.setattr(os, "getloadavg", lambda: (6.0, 0.0, 0.0))
    assert "--threads 1" in found(doctor.check_threads)[0][1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert "OMP_NUM_THREADS is 2" in found(doctor.check_threads)[0][1]


def test_little_memory_and_little_room(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: 10**9)
    assert found(doctor.check_memory)[0][0] == "slow"
    monkeypatch.setattr(doctor, "free_memory", lambda: 10**11)
    assert found(doctor.check_memory)[0][0] == "good"
    monkeypatch.setattr(doctor, "free_memory", lambda: None)
    assert not found(doctor.check_memory)
    deep = tmp_path / "not" / "yet" / "there"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 10**9) if folder == tmp_path else None)
    assert found(doctor.check_disk, out=deep)[0][0] == "slow"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 10**11))
    assert found(doctor.check_disk, out=deep)[0][0] == "good"
    assert not deep.exists(), "looking makes nothing"
    (tmp_path / "file").write_text("")
    assert found(doctor.check_disk, out=tmp_path / "file")[0][0] == "bad"


def test_a_port_that_another_program_has() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert found(doctor.check_port, port=port)[0][0] == "slow"
    assert found(doctor.check_port, port=port)[0][0] == "good"


@pytest.mark.parametrize(("most", "expected"), [("max", 3 * 1024), (str(2000), 1500)])
def test_memory_is_what_the_container_leaves(most: str, expected: int, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       3 kB\nBuffers: 1 kB\n")
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text("500\n")
    places = {"/proc/meminfo": tmp_path / "proc" / "meminfo", "/sys/fs/cgroup": tmp_path}
    monkeypatch.setattr(doctor, "Path", lambda path: places[path])
    assert doctor.free_memory() == expected
