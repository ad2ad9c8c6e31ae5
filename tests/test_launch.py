"""The launch files of recipes/launch, as far as that can be told without Slurm, Kubernetes or SkyPilot.

Each is run by a shell with stand-ins for the programs it calls. What reaches torchrun must be what torchrun and dodam
take.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dodam import cli
from dodam.config import build

LAUNCH = Path(__file__).parent.parent / "recipes" / "launch"
STAND_INS = {
    "torchrun": f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n",
    "srun": '#!/bin/sh\nexec "$@"\n',
    "scontrol": "#!/bin/sh\necho node7\necho node8\n",
}


def script(name: str) -> str:
    """What a launch file has a shell do."""
    text = (LAUNCH / name).read_text(encoding="utf-8")
    if name.endswith(".sh"):
        return text
    values = yaml.safe_load(text)
    if name == "skypilot.yaml":
        return values["run"].replace("cd /mnt/dodam\n", "")
    pods = [values["spec"]["pytorchReplicaSpecs"][role] for role in ("Master", "Worker")]
    containers = [pod["template"]["spec"]["containers"][0] for pod in pods]
    assert sum(pod["replicas"] for pod in pods) == 2 and containers[0]["name"] == "pytorch"
    assert containers[0] == containers[1] and containers[0]["command"] == ["sh", "-c"]
    (words,) = containers[0]["args"]
    return words


@pytest.mark.parametrize(
    ("name", "environment", "meeting"),
    [
        (
            "slurm.sh",
            {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "5"},
            {"rdzv_endpoint": "node7:29500", "rdzv_backend": "c10d", "rdzv_id": "5"},
        ),
        (
            "kubernetes.yaml",
            {"RANK": "1", "MASTER_ADDR": "dodam-master-0", "MASTER_PORT": "23456"},
            {"node_rank": 1, "master_addr": "dodam-master-0", "master_port": 23456},
        ),
        (
            "skypilot.yaml",
            {
                "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
                "SKYPILOT_NUM_NODES": "2",
                "SKYPILOT_NODE_RANK": "1",
                "SKYPILOT_NUM_GPUS_PER_NODE": "8",
            },
            {"node_rank": 1, "master_addr": "10.0.0.1", "master_port": 29500},
        ),
    ],
)
def test_what_reaches_torchrun_and_dodam(
    name: str, environment: dict[str, str], meeting: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.run import parse_args

    for program, text in STAND_INS.items():
        (tmp_path / program).write_text(text)
        (tmp_path / program).chmod(0o755)
    done = subprocess.run(
        ["bash", "-eu", "-c", script(name)], capture_output=True, text=True,
        env={**environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    given = parse_args(json.loads(done.stdout))
    assert given.module and given.training_script == "dodam"
    assert (given.nnodes, given.nproc_per_node) == ("2", "8")
    assert {key: getattr(given, key) for key in meeting} == meeting
    taken: list[object] = []

    def check(command: str, values: dict, where: str, places: dict | None = None) -> dict:
        taken.append(build(cli.load(command)[0], values, where, places))
        return {}

    monkeypatch.setattr(cli, "call", check)
    assert cli.main(given.training_script_args) == 0
    (config,) = taken
    assert config.parallel.shard == "full" and config.batch % 16 == 0, "16 ranks share its rows"


def test_slurm_stops_a_job_before_its_time_is_over() -> None:
    lines = (LAUNCH / "slurm.sh").read_text(encoding="utf-8").splitlines()
    asked = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if line.startswith("#SBATCH"))
    assert asked["signal"] == "TERM@120" and "requeue" in asked and asked["ntasks-per-node"] == "1"
