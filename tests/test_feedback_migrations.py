"""Migrations of the feedback store: there and back, with rows in it, all or nothing, on SQLite and PostgreSQL."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

import feedback_stores
from dodam.feedback import database, tables
from dodam.feedback.database import open_database
from dodam.feedback.store import Store, open_store
from feedback_stores import filled, told

postgres, place = feedback_stores.postgres, feedback_stores.place  # fixtures

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("rankings") as table:
        table.add_column(sa.Column("mood", sa.Text(), nullable=False, server_default="fine"))
        table.alter_column("guideline", new_column_name="rules")
        table.create_unique_constraint("uq_rankings_number", ["number", "mood"])
    {more}


def downgrade() -> None:
    with op.batch_alter_table("rankings") as table:
        table.drop_constraint("uq_rankings_number", type_="unique")
        table.alter_column("rules", new_column_name="guideline")
        table.drop_column("mood")
"""


@pytest.fixture
def judged(place: str) -> str:
    with open_store(place, create=True) as store:
        for number, (prompt, answers) in enumerate(filled(store, prompts=3)):
            said = {"prompt": prompt, "answers": answers, "ranks": [1, 2, 2], "annotator": "kim"}
            store.add_ranking(id=f"r{number}", **said, guideline="g")
    return place


def next_version(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
    """A Dodam with one migration more."""
    shutil.copytree(database.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "0002_next.py").write_text(NEXT.replace("{more}", more))
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    monkeypatch.setattr(tables, "VERSION", "0002")


def schema(store: Store) -> dict:
    """Everything of the tables but the order in which constraints are listed."""
    found = inspect(store.database.engine)
    names = [name for name in found.get_table_names() if name != database.VERSION_TABLE]
    return {
        name: (
            [(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns(name)],
            sorted((one["name"], *one["column_names"]) for one in found.get_indexes(name)),
            sorted((one["name"], *one["column_names"]) for one in found.get_unique_constraints(name)),
            sorted((one["name"], one["referred_table"]) for one in found.get_foreign_keys(name)),
            found.get_pk_constraint(name)["constrained_columns"],
        )
        for name in names
    }


def test_migrations_make_the_tables_that_the_code_reads(place: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with open_store(place, create=True) as store, store.database.engine.connect() as connection:
        assert set(schema(store)) == set(tables.Table.metadata.tables)
        options = {"version_table": database.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.Table.metadata) == []
        assert database.version_of(connection) == tables.VERSION


def test_down_to_nothing_and_up_again(place: str) -> None:
    with open_store(place, create=True) as store:
        before = schema(store)
        store.database.move_to("base")
        assert schema(store) == {}
        store.database.move_to("head")
        assert schema(store) == before


def test_an_older_store_is_migrated_when_opened_and_loses_nothing(
    judged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Altering an SQLite table drops and makes it anew: what refers to it must stay, and so must foreign keys."""
    with open_store(judged) as store:
        rows, before = list(store.rankings()), schema(store)
    next_version(tmp_path / "migrations", monkeypatch)
    moved = open_database(judged)
    with moved.engine.connect() as connection:
        said = connection.execute(text("SELECT id, rules, mood FROM rankings ORDER BY number")).all()
        assert said == [(f"r{number}", "g", "fine") for number in range(3)]
        assert connection.execute(text("SELECT count(*) FROM places")).scalar() == 9
        assert database.version_of(connection) == "0002"
    with pytest.raises(Exception, match=r"(?i)foreign key"), moved.engine.begin() as connection:
        connection.execute(text("DELETE FROM rankings"))
    moved.move_to("0001")
    moved.close()
    monkeypatch.undo()
    with open_store(judged) as store:
        assert list(store.rankings()) == rows and schema(store) == before


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    judged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(judged) as store:
        rows, before = list(store.rankings()), schema(store)
    next_version(
        tmp_path / "migrations", monkeypatch, more='op.execute("DELETE FROM places"); raise RuntimeError("stop")'
    )
    with pytest.raises(RuntimeError, match="stop"):
        open_store(judged)
    monkeypatch.undo()
    with open_store(judged) as store:
        assert list(store.rankings()) == rows and schema(store) == before


def test_a_store_of_the_next_dodam_is_refused(judged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next_version(tmp_path / "migrations", monkeypatch)
    open_store(judged).close()
    monkeypatch.undo()
    assert "is of version 0002, this Dodam knows stores up to 0001. Update Dodam." in told(lambda: open_store(judged))
