"""Recipes: what they say, what is redone, what a kill leaves behind. The stages are the two of recipe_stages.py."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import recipe_stages
from dodam import child, cli, files, runner
from dodam.errors import DodamError, UsageError
from dodam.recipe import content_of, read
from dodam.runner import Run

STAGES = recipe_stages.__file__
RECIPES = Path(__file__).parents[1] / "recipes"
RECIPE = """
title = "a test"
seed = 7

[[stage]]
kind = "collect"
data = ["a.txt", "b.txt"]

[[stage]]
kind = "count"
name = "base"
data = "@collect"

[[stage]]
kind = "count"
name = "tuned"
data = "@collect"
steps = 5
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with two texts and a recipe, and a table of commands that has the two fakes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
    monkeypatch.setattr(child, "CHILD", [sys.executable, STAGES, "stage"])
    for name, command in recipe_stages.COMMANDS.items():
        monkeypatch.setitem(cli.COMMANDS, name, command)
    Path("a.txt").write_text("aaa")
    Path("b.txt").write_text("bb")
    Path("r.toml").write_text(RECIPE)
    return tmp_path


def go(*overrides: str, recipe: str = "r.toml", **values) -> dict:
    return runner.run(Run(recipe=Path(recipe), set=overrides, **values))


def starts(stage: str, out: str = "runs/r") -> int:
    log = Path(out, stage, "log")
    return log.read_text().count("start") if log.exists() else 0


def refused(*overrides: str, text: str | None = None, **values) -> str:
    if text is not None:
        Path("r.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        read(Path("r.toml"), overrides, **values)
    return str(error.value)


def test_a_recipe_writes_its_folders_and_links_the_last_model(workplace, capfd):
    result = go()
    assert Path("runs/r/model/weights").read_text() == "aaabb 5"
    assert os.readlink("runs/r/model") == os.path.join("tuned", "model")
    assert Path("runs/r/report.md").read_text() == Path("runs/r/report.json").read_text() == "tuned"
    assert [stage["name"] for stage in result["stages"]] == ["collect", "base", "tuned"]
    assert result["stages"][0]["result"] == {"documents": 2, "seed": 7}
    assert all(stage["peak_bytes"] > 1e6 and stage["seconds"] > 0 for stage in result["stages"])
    out, err = capfd.readouterr()
    assert "step 5" in out and "letters 5, loss 0.5" in out and "peak memory" in out
    assert "a test" in err and "[3/3] tuned: starts" in err


def test_a_second_run_does_nothing_and_gives_the_same_result(workplace, monkeypatch):
    first = go()
    monkeypatch.setattr(child, "CHILD", ["no such program"])
    second = go()
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_only_what_changed_and_what_reads_from_it_is_redone(workplace):
    def finished(*overrides):
        return [stage["finished"] for stage in go(*overrides)["stages"]]

    first = finished()
    second = finished("tuned.steps=4")
    assert second[:2] == first[:2] and second[2] > first[2]
    assert Path("runs/r/model/weights").read_text() == "aaabb 4"
    Path("a.txt").write_text("AAAA")
    third = finished("tuned.steps=4")
    assert Path("runs/r/model/weights").read_text() == "AAAAbb 4"
    assert all(late > early for late, early in zip(third, second, strict=True))
    shutil.rmtree("runs/r/base")
    fourth = finished("tuned.steps=4")
    assert fourth[1] > third[1] and (fourth[0], fourth[2]) == (third[0], third[2])


def test_a_moved_run_is_still_up_to_date(workplace, monkeypatch):
    go()
    Path("runs/r").rename("elsewhere")
    monkeypatch.setattr(child, "CHILD", ["no such program"])
    assert go(out=Path("elsewhere"))["out"] == "elsewhere"


@pytest.mark.parametrize("stage", ["collect", "base", "tuned"])
def test_killed_in_any_stage_and_started_again_ends_with_the_same_model(workplace, stage):
    overrides = ["base.pause=0.1", "tuned.pause=0.1"]
    killed = start_until(stage, overrides)
    killed.kill()
    killed.communicate()
    go(*overrides)
    assert Path("runs/r/model/weights").read_text() == "aaabb 5"
    assert not list(Path("runs/r/.running").iterdir())
    if stage == "tuned":
        assert starts("collect") == starts("base") == 1
        assert starts("tuned") == 2  # it went on in the same folder


def test_the_stage_dies_with_a_killed_runner(workplace):
    killed = start_until("base", ["base.pause=0.05", "base.steps=10000"])
    killed.kill()
    killed.communicate()
    with open("runs/r/.lock") as file:  # the stage holds it too
        deadline = time.monotonic() + 20
        while not (free := files.lock(file.fileno())) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert free, "the stage outlived its runner"


def test_a_signal_lets_the_stage_save_and_says_how_to_go_on(workplace):
    stopped = start_until("base", ["base.pause=0.05", "base.steps=10000"])
    while not Path("runs/r/base/state").exists():  # its first step is done
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    _, err = stopped.communicate(timeout=20)
    assert stopped.returncode == 1
    assert Path("runs/r/base/saved").exists()
    assert "Go on with: dodam run r.toml --set base.pause=0.05 --set base.steps=10000" in err
    assert "Traceback" not in err


def test_two_runs_on_one_folder_refuse(workplace, monkeypatch):
    monkeypatch.setattr(runner, "PATIENCE", 0)
    other = start_until("base", ["base.pause=0.05", "base.steps=10000"])
    try:
        with pytest.raises(DodamError, match="another run is working"):
            go()
    finally:
        other.terminate()
        other.communicate()


def test_a_failed_stage_keeps_the_others_and_the_next_run_goes_on(workplace, capfd):
    with pytest.raises(DodamError, match="stage `tuned` failed"):
        go("tuned.fail=it broke")
    assert "error: here: it broke. Mend it." in capfd.readouterr().err
    go()
    assert starts("collect") == starts("base") == 1


def test_a_folder_of_the_users_is_never_replaced(workplace):
    Path("runs/r/base").mkdir(parents=True)
    Path("runs/r/base/diary.txt").write_text("dear diary")
    with pytest.raises(UsageError, match="was not made by this recipe"):
        go()
    assert Path("runs/r/base/diary.txt").exists()


def test_a_model_trained_by_hand_is_never_replaced(workplace):
    weights = Path("runs/r/model/weights")
    weights.parent.mkdir(parents=True)
    weights.write_text("hours of work")
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="runs/r: holds a model this recipe did not make"):
            go(dry_run=dry_run)
    assert weights.read_text() == "hours of work" and not Path("runs/r/collect").exists()


def test_a_copy_of_the_model_is_replaced_where_links_are_not_possible(workplace, monkeypatch):
    def refuse(*_args, **_values):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    go()
    go("tuned.steps=4")
    assert not Path("runs/r/model").is_symlink()
    assert Path("runs/r/model/weights").read_text() == "aaabb 4"


def test_what_a_changed_stage_had_made_is_kept_until_the_new_one_is_done(workplace, capfd):
    finished = go()["stages"]
    kept = Path("runs/r/.running/tuned")
    for failing in ("it broke", "it broke again"):
        with pytest.raises(DodamError, match=f"the one before is kept in {kept}"):
            go(f"tuned.fail={failing}")
        assert (kept / "model/weights").read_text() == "aaabb 5"
    assert f"runs/r/tuned as it was is kept in {kept}" in capfd.readouterr().err
    assert go(dry_run=True)["stages"][2]["state"] == runner.KEPT
    assert go()["stages"] == finished
    with pytest.raises(DodamError, match="is kept"):
        go("tuned.fail=it broke")
    go("tuned.steps=4")
    assert Path("runs/r/model/weights").read_text() == "aaabb 4"
    assert not list(Path("runs/r/.running").iterdir())


def test_killed_after_a_change_keeps_what_was_and_a_rerun_tidies(workplace):
    go()
    overrides = ["tuned.pause=0.1", "tuned.steps=6"]
    Path("runs/r/tuned/log").unlink()
    killed = start_until("tuned", overrides)
    killed.kill()
    killed.communicate()
    assert Path("runs/r/.running/tuned/model/weights").read_text() == "aaabb 5"
    go(*overrides)
    assert Path("runs/r/model/weights").read_text() == "aaabb 6"
    Path("runs/r/.running/tuned").mkdir()  # killed just before it was removed
    go(*overrides)
    assert not list(Path("runs/r/.running").iterdir())


def test_how_a_stage_is_computed_redoes_nothing_and_a_beginning_goes_on_with_it(workplace):
    with pytest.raises(DodamError):
        go("tuned.fail=it broke")
    Path("runs/r/tuned/state").write_text("4")
    with pytest.raises(DodamError):
        go("tuned.fail=it broke", "tuned.threads=2")
    assert starts("tuned") == 2 and '"threads": 2' in Path("runs/r/tuned/config.json").read_text()
    first = go("tuned.threads=2")
    assert go("tuned.threads=1")["stages"] == first["stages"]


SHARED = """
[parallel]
ranks = 2
shard = "full"

[[stage]]
kind = "pretrain"
data = "a.txt"

[[stage]]
kind = "ppo"
data = "sample:problems"
reward = "exact"
model = "@pretrain"
parallel.shard = "none"

[[stage]]
kind = "sft"
data = "sample:chat"
model = "@pretrain"
parallel.ranks = 1
"""


def test_one_table_says_how_training_is_shared_and_a_stage_what_is_otherwise_there(workplace):
    Path("r.toml").write_text(SHARED)
    first = read(Path("r.toml"))
    assert [stage.ranks for stage in first.stages] == [2, 2, 1]
    assert [stage.config["parallel"]["shard"] for stage in first.stages] == ["full", "none", "full"]
    assert all("ranks" not in stage.config["parallel"] for stage in first.stages)
    more = read(Path("r.toml"), ("parallel.ranks=4", "parallel.timeout=2m", "sft.parallel.ranks=2"))
    assert [stage.ranks for stage in more.stages] == [4, 4, 2]
    assert {stage.config["parallel"]["timeout"] for stage in more.stages} == {"2m"}
    for one, other in zip(first.stages, more.stages, strict=True):
        assert one.fingerprint("1", dict.fromkeys(one.needs, "")) == other.fingerprint(
            "1", dict.fromkeys(one.needs, "")
        )
    assert [stage["ranks"] for stage in go(dry_run=True)["stages"]] == [2, 2, 1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "ppo.parallel.shard=full",
            "stage `ppo`: parallel.shard: answers are written by a whole model. Give the stage",
        ),
        ("parallel.tensor=2", "stage `ppo`: parallel.tensor: in this stage every rank has rows of its own. Give the"),
        ("parallel.ranks=0", "`parallel.ranks`"),
        ("pretrain.batch=7", "stage `pretrain`: batch: 2 ranks do not divide 7 rows. Give a multiple of 2."),
        (
            "pretrain.parallel.tensor=3",
            "stage `pretrain`: parallel.tensor: groups of 3 do not divide 2 ranks. Give the",
        ),
        ("pretrain.parallel.pipeline=2", "stage `pretrain`: parallel.pipeline: ranks of a pipeline have whole blocks."),
        ("parallel.rank=2", "Did you mean `parallel.ranks`?"),
        ("sft.parallel.ranks=0", "ranks"),
        ("sft.parallel=2", "parallel"),
    ],
)
def test_a_way_of_sharing_that_a_stage_has_not_is_found_out_before_anything_runs(workplace, override, message):
    assert message in refused(override, text=SHARED)


def test_a_dry_run_writes_nothing(workplace, capsys):
    assert [stage["state"] for stage in go(dry_run=True)["stages"]] == [
        "starts",
        "runs after collect",
        "runs after collect",
    ]
    assert not Path("runs").exists()
    assert 'data = "runs/r/collect"' in capsys.readouterr().out
    go()
    planned = go("tuned.steps=9", dry_run=True)
    assert [stage["state"] for stage in planned["stages"]] == ["up to date", "up to date", "changed, starts over"]


def test_overrides_are_toml_values_or_plain_text(workplace):
    recipe = read(Path("r.toml"), ('collect.data=["b.txt"]', "base.fail=no luck", "base.pause=1e-3", "seed=3", "out=x"))
    assert recipe.stages[0].config == {"data": ["b.txt"], "seed": 3}
    assert recipe.stages[1].config["fail"] == "no luck" and recipe.stages[1].config["pause"] == 0.001
    assert recipe.out == Path("x") and recipe.stages[1].values()["data"] == os.path.join("x", "collect")
    assert recipe.stages[1].needs == ("collect",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tunde.steps=3", "no stage is called `tunde`. Did you mean `tuned`?"),
        ("tuned.stpes=3", "--set tuned: `stpes` is not known. Did you mean `steps`?"),
        ("tuned.steps=x", "--set tuned: `steps` must be a valid integer"),
        ("tuned.steps", "has no value"),
        ("sed=3", "`sed` is not known. Did you mean `seed`?"),
        ("base.data.x=1", "`data` has no parts"),
        ("base.kind=[1]", "`[1]` is not a command"),
        ("collect.data=[1", "broken value [1"),
    ],
)
def test_a_wrong_override_is_named(workplace, override, message):
    assert message in refused(override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`stage` is required"),
        ("stage = []", "`stage` must"),
        ("titel = 'x'\n[[stage]]\nkind='collect'", "`titel` is not known. Did you mean `title`?"),
        ("[[stage]]\nkidn = 'collect'", "stage 1: `kind` is required"),
        ("[[stage]]\nkind = 'colect'", "`colect` is not a command. Did you mean `collect`?"),
        ("[[stage]]\nkind = 'run'\nrecipe = 'x'", "cannot be a stage"),
        ("[[stage]]\nkind = 'collect'\ndata = 'x'\nout = 'y'", "`out` is set by the recipe"),
        ("[[stage]]\nkind = 'collect'\ndata = 'x'\n[[stage]]\nkind = 'collect'", "is called `collect` too"),
        ("[[stage]]\nkind = 'collect'\nname = '../x'\ndata = 'x'", "`name` cannot be '../x'"),
        ("[[stage]]\nkind = 'collect'\nname = 'model'\ndata = 'x'", "`name` cannot be 'model'"),
        ("[[stage]]\nkind = 'collect'\ndata = '@collect'", "`@collect` is no earlier stage"),
        ("[[stage]]\nkind = 'collect'\ndata = ['a.txt', 'c.txt']", "stage `collect`: `data`: there is no `c.txt` here"),
        ("[[stage]]\nkind = 'collect'\ndata = 3", "r.toml, stage `collect`: `data[0]` must be a valid string"),
    ],
)
def test_a_wrong_recipe_is_named(workplace, text, message):
    assert message in refused(text=text)


@pytest.mark.parametrize("key", ["replay", "model", "tokenizer"])
def test_every_path_is_looked_for_before_anything_runs(workplace, key):
    from dodam.recipe import _check_paths

    Path("here").mkdir()
    for path in ("@base", "here", *(["one=here"] if key == "model" else [])):
        _check_paths({key: path}, "r.toml")
    with pytest.raises(UsageError, match=f"`{key}`: there is no `one=there` here"):
        _check_paths({key: ["here", "one=there"]}, "r.toml")


def test_a_missing_path_is_named_with_its_stage(workplace):
    assert "stage `base`: `replay`: there is no `there` here" in refused("base.replay=there")


def test_references_stand_behind_labels_and_before_paths(workplace):
    Path("r.toml").write_text(RECIPE + "\n[[stage]]\nkind='collect'\nname='all'\ndata=['one=@base','@tuned/model']")
    stage = read(Path("r.toml")).stages[-1]
    assert stage.values()["data"] == [f"one={Path('runs/r/base')}", str(Path("runs/r/tuned/model"))]
    assert stage.needs == ("base", "tuned")


RL = """
[[stage]]
kind = "grpo"
model = "here"
data = "a.txt"
"""


def test_rewards_of_a_recipe_are_looked_for_before_anything_runs_and_may_be_earlier_stages(workplace):
    Path("here").mkdir()
    Path("mine.py").write_text("def good(prompt, answer, item): return 1.0")
    Path("r.toml").write_text(RECIPE + RL + "reward = ['exact', '0.2*@base', '-1*mine.py:good']")
    stage = read(Path("r.toml")).stages[-1]
    assert stage.values()["reward"] == ["exact", f"0.2*{Path('runs/r/base')}", "-1*mine.py:good"]
    assert stage.needs == ("base",)
    unknown = refused(text=RECIPE + RL + "reward = ['exakt']")
    assert "stage `grpo`: --reward exakt: there is no reward exakt. Known: exact," in unknown
    assert "mine.py has no function better" in refused(text=RECIPE + RL + "reward = ['mine.py:better']")


def test_a_reward_that_was_rewritten_is_another_reward(workplace):
    def fingerprint():
        return read(Path("r.toml")).stages[-1].fingerprint("1", {})

    Path("here").mkdir()
    Path("mine.py").write_text("def good(prompt, answer, item): return 1.0")
    Path("r.toml").write_text(RECIPE + RL + "reward = ['mine.py:good']")
    first = fingerprint()
    assert fingerprint() == first
    Path("mine.py").write_text("def good(prompt, answer, item): return 2.0")
    assert fingerprint() != first


def test_a_flag_called_name_is_written_under_flags(workplace, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "named", cli.Command("recipe_stages", "Named", "Has a flag --name."))
    Path("r.toml").write_text("[[stage]]\nkind = 'named'\nname = 'stage'\nflags.name = '도담'")
    (stage,) = read(Path("r.toml")).stages
    assert (stage.name, stage.config["name"]) == ("stage", "도담")
    assert read(Path("r.toml"), ("stage.name=다온",)).stages[0].config["name"] == "다온"


def test_content_is_seen_through_files_folders_and_globs(workplace):
    Path("folder").mkdir()
    Path("folder/c.txt").write_text("c")
    before = [content_of(path) for path in ("a.txt", "folder", "*/*.txt")]
    assert all(before) and before == [content_of(path) for path in ("a.txt", "folder", "*/*.txt")]
    Path("folder/c.txt").write_text("d")
    Path("a.txt").write_text("b")
    assert not set(before) & {content_of(path) for path in ("a.txt", "folder", "*/*.txt")}
    aligned = content_of("a.txt:folder/c.txt")
    Path("folder/c.txt").write_text("e")
    assert aligned and aligned != content_of("a.txt:folder/c.txt")
    assert content_of("sample:text") and content_of("no such file") == content_of("a.txt:no such file") == ""


CHAT = ["prepare", "tokenizer", "pretrain", "sft", "evaluate"]
STAGES_OF = {
    "classifier": ["prepare", "tokenizer", "encoder", "classifier"],
    "korean-chat": CHAT,
    "quickstart": [*CHAT[:4], "reward", "ppo", "evaluate"],
    "rlhf": ["reward", "ppo"],
    "translator": ["vocabulary", "translator"],
}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_with_dodam_can_be_read(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("text", "conversations", "pairs", "models/sft"):
        Path(name).mkdir(parents=True)
    for name in ("labelled.tsv", "pairs/train.en", "pairs/train.de", "prompts.jsonl", "feedback.sqlite"):
        Path(name).write_text("one\ttwo\n")
    assert [stage.name for stage in read(path).stages] == STAGES_OF[path.stem]


def start_until(stage: str, overrides: list[str]) -> subprocess.Popen:
    """`dodam run` in a process of its own, up to the moment the stage has begun."""
    words = ["run", "r.toml", *(word for text in overrides for word in ("--set", text))]
    process = subprocess.Popen([sys.executable, STAGES, "cli", *words], stderr=subprocess.PIPE, text=True)
    while not starts(stage):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    return process


def test_what_people_said_since_is_noticed_in_a_feedback_store(workplace):
    from dodam.feedback.store import open_store

    with open_store("people.sqlite", create=True) as store:
        prompt = store.add_prompt("안녕?")
        one, two = store.add_candidates(prompt, ["하나", "둘"])
        before = content_of("people.sqlite#edited")
        said = {"prompt": prompt, "answers": [one, two], "ranks": [2, 1], "annotator": "kim"}
        store.add_ranking(id="ranking-number-1", **said)
    assert before and content_of("people.sqlite#edited") == content_of("people.sqlite") != before
    assert content_of("nobody.sqlite#edited") == ""
