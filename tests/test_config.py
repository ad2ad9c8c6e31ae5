"""The funnel: every wrong key in one message, spelt like its origin; JSON round trip; lengths of time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt

from dodam.config import COMMAND_LINE, Duration, build, fingerprint, from_file, seconds, to_json
from dodam.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Source:
    """A weighted source."""

    path: str
    weight: Annotated[float, Gt(0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Nested settings."""

    lr: Annotated[float, Gt(0)] = 0.02


@dataclass(frozen=True, kw_only=True)
class Job:
    """A config with every kind of field."""

    positional: ClassVar[tuple[str, ...]] = ("model",)

    data: tuple[str | Source, ...]
    out: Path
    model: Path | None = None
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    steps: Annotated[int, Ge(1)] | None = None
    architecture: Literal["decoder", "encoder"] = "decoder"
    budget: Duration | None = None
    columns: dict[str, str] | None = None
    document_mask: bool = False
    optim: Optim = Optim()


def wrong(values: dict, where: str = COMMAND_LINE, places: dict | None = None) -> str:
    with pytest.raises(UsageError) as error:
        build(Job, {"data": "a", "out": "o", **values}, where, places)
    return str(error.value)


def test_text_from_the_command_line_becomes_the_types_of_the_fields():
    values = {"steps": "10", "learning_rate": "1e-4", "document_mask": True, "optim": {"lr": "3"}, "budget": "10m"}
    job = build(Job, {"data": ("a", "b"), "out": "o", **values}, COMMAND_LINE)
    assert job == Job(
        data=("a", "b"),
        out=Path("o"),
        steps=10,
        learning_rate=1e-4,
        document_mask=True,
        optim=Optim(lr=3.0),
        budget="10m",
    )


def test_a_single_value_is_a_tuple_of_one_and_tables_become_dataclasses():
    assert build(Job, {"data": "a", "out": "o"}, "x").data == ("a",)
    assert build(Job, {"data": {"path": "a", "weight": 2}, "out": "o"}, "x").data == (Source(path="a", weight=2.0),)
    assert build(Job, {"data": ["a", Source(path="b")], "out": "o"}, "x").data == ("a", Source(path="b"))


def test_json_round_trip_keeps_every_value():
    job = Job(data=("a", Source(path="b", weight=2.5)), out=Path("o"), columns={"text": "body"}, optim=Optim(lr=1.5))
    values = to_json(job)
    assert values["out"] == "o" and values["data"] == ["a", {"path": "b", "weight": 2.5}]
    assert build(Job, values, "x") == job


def test_every_wrong_key_is_in_one_message_spelt_as_a_flag():
    text = wrong({"learning_rate": "-1", "steps": "ten", "architecture": "x", "budget": "3x", "optim": {"lr": "0"}})
    assert text == (
        "`--learning-rate` must be greater than 0; `--steps` must be a valid integer; "
        "`--architecture` must be 'decoder' or 'encoder'; "
        "`--budget` must be a length of time such as 90s, 10m, 1h30m or 2d; `--optim.lr` must be greater than 0"
    )


def test_the_same_mistakes_in_a_file_are_spelt_as_keys_with_the_file_name():
    text = wrong({"learning_rate": -1, "optim": {"lr": 0}, "data": [{"path": "a", "weight": 0}]}, "x.toml")
    assert text.startswith("x.toml: ")
    for key in ("`learning_rate`", "`optim.lr`", "`data[0].weight`"):
        assert f"{key} must be greater than 0" in text


def test_mistakes_of_two_places_name_both():
    text = wrong({"learning_rate": -1, "steps": "0"}, COMMAND_LINE, {"learning_rate": "x.toml"})
    assert "x.toml: `learning_rate` must" in text and "command line: `--steps` must be greater than or equal" in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stpes": 3}, "`stpes` is not known. Did you mean `steps`?"),
        ({"optim": {"lr_": 3}}, "`optim.lr_` is not known. Did you mean `optim.lr`?"),
        ({"data": [{"path": "a", "wieght": 2}]}, "`data[0].wieght` is not known. Did you mean `data[0].weight`?"),
        ({"zzz": 3}, "`zzz` is not known. Known: data, out, model"),
    ],
)
def test_an_unknown_key_is_refused_at_every_depth(values, message):
    assert message in wrong(values, "x.toml")


def test_a_union_tells_of_the_branch_that_fits_best():
    assert wrong({"data": [3]}, "x.toml") == "x.toml: `data[0]` must be a valid string"
    assert wrong({"data": [{"weight": 3}]}, "x.toml") == "x.toml: `data[0].path` is required"


def test_missing_values_are_named_positional_ones_without_dashes():
    @dataclass(frozen=True, kw_only=True)
    class Talk:
        """Two required fields."""

        positional: ClassVar[tuple[str, ...]] = ("model",)
        model: Path
        max_tokens: int

    with pytest.raises(UsageError, match="`MODEL` is required; `--max-tokens` is required"):
        build(Talk, {}, COMMAND_LINE)


def test_the_wrong_value_itself_is_never_repeated():
    assert "secret" not in wrong({"steps": "secret"})


def test_not_a_number_is_no_number():
    assert "finite" in wrong({"learning_rate": "nan"})


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), (" 1.5H ", 5400)]
)
def test_seconds(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "10", "m", "10 minutes", "0s", "-3m", "1.2.3s", "3m1h"])
def test_not_a_length_of_time(text):
    with pytest.raises(ValueError, match="such as 90s"):
        seconds(text)


def test_a_budget_without_unit_in_a_file_asks_for_quotes():
    assert "in quotes" in wrong({"budget": 600}, "x.toml")


def test_files_toml_and_json(tmp_path):
    (tmp_path / "a.toml").write_text("learning_rate = 1e-4\nsteps = 3\n[optim]\nlr = 1\n")
    (tmp_path / "a.json").write_text('{"learning_rate": 1e-4, "steps": 3, "optim": {"lr": 1}}')
    assert from_file(tmp_path / "a.toml") == from_file(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a = 1\nb = text\n", "line 2"), (b"\xff\xfe", "UTF-8"), (b"a = [1", "broken TOML"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as error:
        from_file(path)
    assert error.value.where == str(path)


def test_fingerprint_sees_values_not_order():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
