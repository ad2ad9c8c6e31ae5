"""Several reward models as one: each trained by itself with a seed of its own, put into one folder.

In comes the config of `reward` with --members; out come the members' run folders below OUT/members, and OUT/model,
which is the first member's folder with the others in it.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dodam import files
from dodam.data.preferences import kept_rows
from dodam.generate.scorer import MEMBER
from dodam.train import distributed

if TYPE_CHECKING:
    from dodam.stages.reward import Reward


def train_members(config: "Reward", run: "Callable[[Reward], dict[str, Any]]") -> dict[str, Any]:
    """Train each member that is not trained yet, put them together, and return what is told of the first. `run`: trains
    one. The members differ in what is drawn by the seed: the head they begin with and the order of the prompts. Of a
    feedback store they read what was read of it for all of them."""
    results = []
    same = {"data": kept_rows(config.data, config.out), "dev": kept_rows(config.dev, config.out)}
    for number in range(config.members):
        out = config.out / "members" / str(number + 1)
        results.append(run(replace(config, members=1, caution=0.0, out=out, seed=config.seed + number, **same)))
    return distributed.first(lambda: put_together(config, results))


def put_together(config: "Reward", results: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the folder of all members; what is told of it."""
    with files.new_dir(config.out / "model") as folder:
        for number in range(config.members):
            source = config.out / "members" / str(number + 1) / "model"
            target = folder / f"{MEMBER}{number + 1}" if number else folder
            shutil.copytree(source, target, dirs_exist_ok=True)
        info = files.read_json(folder / "dodam.json")
        told = {"members": config.members, "caution": config.caution}
        files.write_json(folder / "dodam.json", {**info, "reward": {**info["reward"], **told}})
    names = ("parameters", "steps", "tokens", "unit", "compiled")
    kept = {name: results[0][name] for name in names}
    seconds = round(sum(result["seconds"] for result in results), 1)
    result = {"model": str(config.out / "model"), **kept, "members": config.members, "seconds": seconds}
    files.write_json(config.out / "result.json", result)
    return result
