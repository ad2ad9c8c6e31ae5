"""`grow`: the recipe it writes fits the files and the time, is kept, and is one that `run` can read."""

import tomllib
from pathlib import Path

import pytest

from dodam import grow
from dodam.config import seconds
from dodam.errors import DataError, UsageError
from dodam.grow import Grow, num_bytes, write_recipe
from dodam.recipe import read


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A folder with some text and a file of conversations."""
    monkeypatch.chdir(tmp_path)
    Path("law").mkdir()
    Path("law/one.txt").write_text("법" * 1000)
    Path("law/two.md").write_text("law " * 500)
    Path("chat.jsonl").write_text('{"question": "a", "answer": "b"}\n')


def recipe_of(**values) -> dict:
    config = Grow(**{"text": ("law",), **values})
    return tomllib.loads(write_recipe(config, Path("runs/law")))


def stages_of(**values) -> dict:
    return {stage["kind"]: stage for stage in recipe_of(**values)["stage"]}


def test_with_conversations_the_recipe_has_every_stage_and_the_budget_is_shared_out():
    stages = stages_of(chat=("chat.jsonl",), budget="40m", name="도담 2.0")
    assert [*stages] == ["prepare", "tokenizer train", "pretrain", "sft", "evaluate"]
    assert (stages["pretrain"]["budget"], stages["sft"]["budget"]) == ("30m", "6m")
    assert stages["sft"]["flags"]["name"] == "도담 2.0" and stages["sft"]["data"] == ["chat.jsonl"]
    assert (stages["sft"]["replay"], stages["sft"]["replay_share"]) == ("@prepare", 0.25)
    assert stages["evaluate"]["model"] == ["base=@pretrain", "tuned=@sft"]


def test_without_conversations_pretraining_gets_their_share():
    stages = stages_of(budget="100s")
    assert [*stages] == ["prepare", "tokenizer train", "pretrain", "evaluate"]
    assert stages["pretrain"]["budget"] == "90s"


@pytest.mark.parametrize("budget", ["1m", "90s", "1h30m", "2d"])
def test_the_shares_never_exceed_the_budget_and_are_enough_to_train_in(budget):
    stages = stages_of(chat=("chat.jsonl",), budget=budget)
    shares = [seconds(stages[kind]["budget"]) for kind in ("pretrain", "sft")]
    assert sum(shares) <= seconds(budget) and min(shares) >= grow.LEAST


@pytest.mark.parametrize("values", [{"budget": "50s", "chat": ("chat.jsonl",)}, {"budget": "20s"}])
def test_a_budget_too_short_for_a_stage_is_refused_before_anything_runs(values):
    with pytest.raises(UsageError, match=r"too short to grow anything in. Try 1m"):
        grow.run(Grow(text=("law",), **values))
    assert not Path("runs").exists()


def test_encoding_and_skip_bad_reach_the_stages_that_read_files():
    stages = stages_of(chat=("chat.jsonl",), encoding="cp949", skip_bad=True)
    assert [kind for kind in stages if "encoding" in stages[kind]] == ["prepare", "sft"]
    assert all((stages[kind]["encoding"], stages[kind]["skip_bad"]) == ("cp949", True) for kind in ("prepare", "sft"))
    plain = stages_of(chat=("chat.jsonl",))
    assert not any({"encoding", "skip_bad"} & stage.keys() for stage in plain.values())


def test_the_vocabulary_grows_with_the_text_and_with_the_time(monkeypatch):
    def vocabulary(size: float, budget: str) -> int:
        monkeypatch.setattr(grow, "num_bytes", lambda path: size)
        return stages_of(budget=budget)["tokenizer train"]["vocabulary"]

    assert [vocabulary(size, "2d") for size in (1e5, 5e7, 2e8, 2e9)] == [4096, 8192, 16_384, 32_768]
    assert [vocabulary(2e9, budget) for budget in ("10m", "40m", "5h", "2d")] == [4096, 8192, 16_384, 32_768]
    assert vocabulary(1e5, "2d") == 4096


def test_bytes_of_files_folders_globs_and_packed_files():
    assert num_bytes("law/one.txt") == 3000
    assert num_bytes("law") == num_bytes("law/*") == num_bytes("**/*.txt") + 2000 == 5000
    Path("packed.txt.gz").write_bytes(b"x" * 100)
    assert num_bytes("packed.txt.gz") > 100
    assert num_bytes("sample:text") > 1e6


@pytest.mark.parametrize("values", [{"text": ("lwa",)}, {"chat": ("chta.jsonl",)}])
def test_a_path_without_text_is_named_before_anything_is_written(values):
    with pytest.raises(DataError, match="there is no such file") as error:
        grow.run(Grow(**{"text": ("law",), **values}))
    assert error.value.where in ("lwa", "chta.jsonl") and not Path("runs").exists()


def test_names_with_quotes_and_backslashes_survive():
    name = 'a "b" \\c'
    assert stages_of(chat=("chat.jsonl",), name=name)["sft"]["flags"]["name"] == name


def test_the_recipe_is_one_that_run_reads():
    Path("r.toml").write_text(write_recipe(Grow(text=("law",), chat=("chat.jsonl",), name="x"), Path("runs/law")))
    recipe = read(Path("r.toml"))
    assert recipe.out == Path("runs/law")
    assert [stage.name for stage in recipe.stages] == ["prepare", "tokenizer", "pretrain", "sft", "evaluate"]


@pytest.fixture
def ran(monkeypatch):
    """The recipes that were run, instead of running them."""
    recipes = []
    monkeypatch.setattr(grow, "run_recipe", lambda config: recipes.append(config.recipe) or {"model": "m"})
    return recipes


def test_the_recipe_is_kept_and_run_and_the_run_is_called_after_the_text_or_the_name(ran):
    result = grow.run(Grow(text=("law",)))
    assert result == {"model": "m", "recipe": "runs/law/recipe.toml"}
    grow.run(Grow(text=("law/one.txt",)))
    grow.run(Grow(text=("law/*",), name="도담"))
    grow.run(Grow(text=("law",), out=Path("elsewhere")))
    assert [str(path.parent) for path in ran] == ["runs/law", "runs/one", "runs/도담", "elsewhere"]
    assert all(path.exists() for path in ran)


def test_the_same_again_goes_on_even_with_more_text_but_other_settings_are_refused(ran):
    grow.run(Grow(text=("law",)))
    Path("law/three.txt").write_text("more")
    grow.run(Grow(text=("law",)))
    Path("runs/law/recipe.toml").write_text(Path("runs/law/recipe.toml").read_text() + "# a remark\n")
    grow.run(Grow(text=("law",)))
    assert len(ran) == 3
    Path("runs/law/pretrain").mkdir()
    Path("runs/law/pretrain/stage.json").write_text("{}")
    with pytest.raises(UsageError, match=r"other settings.*dodam run runs/law/recipe.toml"):
        grow.run(Grow(text=("law",), budget="2h"))
    assert "# a remark" in Path("runs/law/recipe.toml").read_text()


def test_other_settings_replace_a_recipe_of_which_nothing_is_done(ran):
    grow.run(Grow(text=("law",)))
    grow.run(Grow(text=("law",), encoding="cp949"))
    assert 'encoding = "cp949"' in Path("runs/law/recipe.toml").read_text() and len(ran) == 2


def test_conversations_that_cannot_be_read_are_told_before_anything_runs(ran):
    Path("bad.jsonl").write_text('{"question": "a", "answer": "b"}\n{"question": \n')
    with pytest.raises(DataError, match=r"bad.jsonl:2"):
        grow.run(Grow(text=("law",), chat=("bad.jsonl",)))
    assert not ran


def test_a_dry_run_only_prints_the_recipe(capsys):
    result = grow.run(Grow(text=("law",), dry_run=True))
    assert tomllib.loads(result["recipe"])["stage"] and result["recipe"] in capsys.readouterr().out
    assert not Path("runs").exists()
