"""Datasets of the hub, with a library that only looks like the real one: no test opens a connection."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from dodam import cli
from dodam.data.readers.hub import parts
from dodam.data.skipped import Skipped
from dodam.data.sources import documents, inputs_of, rows
from dodam.errors import DataError, UsageError

ROWS = {("owner/apples", None, "train"): ["one", "two"], ("owner/apples", "ko", "test"): ["하나"]}


@pytest.fixture
def hub(monkeypatch) -> list[tuple]:
    """Stands in for the package `datasets` and for the hub; what was asked for."""
    asked: list[tuple] = []

    def load_dataset(name, configuration=None, *, split, streaming):
        assert streaming
        asked.append((name, configuration, split))
        if (name, configuration, split) not in ROWS:
            raise ConnectionError("Couldn't reach\nthe hub")
        return iter({"text": text, "label": 0} for text in ROWS[name, configuration, split])

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, name: SimpleNamespace(sha=f"sha of {name}"))
    return asked


def test_names() -> None:
    assert parts("hf:owner/name") == ("owner/name", "", "train")
    assert parts("hf:owner/name/ko:test") == ("owner/name", "ko", "test")
    assert parts("hf:name:validation[:10%]") == ("name", "", "validation[:10%]")
    for wrong in ("hf:", "hf:owner/", "hf:/name"):
        with pytest.raises(UsageError, match="no dataset's name"):
            parts(wrong)


def test_documents_and_rows(hub) -> None:
    inputs = inputs_of(["hf:owner/apples", "hf:owner/apples/ko:test"])
    found = list(documents(inputs, columns={}, encoding="auto", skipped=Skipped(False)))
    assert [(one.id, one.text) for one in found] == [
        ("hf:owner/apples:1", "one"), ("hf:owner/apples:2", "two"), ("hf:owner/apples/ko:test:1", "하나"),
    ]  # fmt: skip
    assert [one.source for one in found][:2] == ["apples", "apples"] and found[2].source != "apples"
    assert [row["answer"] for _, row in rows("hf:owner/apples", columns={"answer": "label"})] == [0, 0]


def test_through_the_command_and_not_twice(hub, tmp_path: Path, capsys) -> None:
    asked = ["prepare", "--data", "hf:owner/apples", "--out", str(tmp_path / "out"), "--json"]
    assert cli.main(asked) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["documents"] == 2
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs"] == {
        "hf:owner/apples": "sha of owner/apples"
    }
    assert cli.main(asked) == 0 and len(hub) == 1  # it is already done


def test_a_hub_that_cannot_be_reached_is_told_with_its_mend(hub, tmp_path: Path, monkeypatch) -> None:
    inputs = inputs_of(["hf:owner/pears"])
    with pytest.raises(DataError, match=r"pears: cannot be read from the hub \(Couldn't reach the hub\).*folder"):
        list(documents(inputs, columns={}, encoding="auto", skipped=Skipped(False)))
    skipped = Skipped(True)
    assert not list(documents(inputs, columns={}, encoding="auto", skipped=skipped)) and skipped.count == 1
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match="needs the package datasets"):
        list(rows("hf:owner/apples"))


def test_without_a_network_nothing_is_written(tmp_path: Path, capsys) -> None:
    """With the real library of the hub, which the tests keep offline."""
    assert cli.main(["prepare", "--data", "hf:owner/apples", "--out", str(tmp_path / "out")]) == 1
    assert "hf:owner/apples: cannot be read from the hub" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_recipes_take_them_and_grow_says_why_not(tmp_path: Path, capsys) -> None:
    assert cli.main(["grow", "hf:owner/apples", "--budget", "5m", "--out", str(tmp_path / "run")]) != 0
    assert "hf:owner/apples: how large a dataset of the hub is" in capsys.readouterr().err
