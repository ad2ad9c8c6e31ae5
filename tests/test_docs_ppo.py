"""The page that maps each published detail of PPO to its line: the lines are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = re.findall(
    r"^\| ([^|]+) \| ([ZSOH, ]+) \| `([^`]+)` \| `([^`]+)` \|$",
    (ROOT / "docs/ppo.md").read_text(encoding="utf-8"),
    re.M,
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_line_is_there(row: tuple[str, str, str, str]) -> None:
    _, _, file, line = row
    assert line in (ROOT / "src/dodam" / file).read_text(encoding="utf-8"), f"docs/ppo.md: {file} has no `{line}`"


def test_no_row_of_the_table_was_missed() -> None:
    text = (ROOT / "docs/ppo.md").read_text(encoding="utf-8")
    table = text.partition("| Detail | From | File | Line |")[2].partition("\n\n")[0]
    assert len(ROWS) == table.count("\n|") - 1
