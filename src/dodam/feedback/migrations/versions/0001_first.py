"""The first tables. A migration is history: it names everything itself and is never changed once released."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEYS = {  # table: (primary key, unique column, {column: what it refers to}, columns with an index)
    "annotators": (["name"], None, {}, []),
    "conversations": (["id"], None, {}, []),
    "guidelines": (["version"], None, {}, []),
    "prompts": (["number"], "id", {"conversation": "conversations.id"}, ["conversation"]),
    "candidates": (["number"], "id", {"prompt": "prompts.id"}, ["prompt"]),
    "leases": (["prompt"], None, {"prompt": "prompts.id", "annotator": "annotators.name"}, ["annotator"]),
    "skips": (["prompt", "annotator"], None, {"prompt": "prompts.id", "annotator": "annotators.name"}, ["annotator"]),
    "rankings": (
        ["number"],
        "id",
        {"prompt": "prompts.id", "annotator": "annotators.name"},
        ["annotator", "subject"],
    ),
    "places": (
        ["ranking", "position"],
        None,
        {"ranking": "rankings.id", "candidate": "candidates.id"},
        ["candidate"],
    ),
    "demonstrations": (
        ["number"],
        "id",
        {"prompt": "prompts.id", "candidate": "candidates.id", "annotator": "annotators.name"},
        ["annotator", "candidate", "prompt", "subject"],
    ),
    "thumbs": (
        ["number"],
        "id",
        {"candidate": "candidates.id", "annotator": "annotators.name"},
        ["annotator", "candidate", "subject"],
    ),
}


def text(*names: str, null: bool = False) -> list[sa.Column]:
    return [sa.Column(name, sa.Text(), nullable=null) for name in names]


def time(name: str, *, null: bool = False) -> sa.Column:
    return sa.Column(name, sa.Double(), nullable=null)


def number(name: str, *, null: bool = False) -> sa.Column:
    return sa.Column(name, sa.Integer(), nullable=null)


def said() -> list[sa.Column]:
    """What every row has that holds what a person said."""
    return [*text("supersedes", null=True), time("created"), time("undone", null=True)]


def columns() -> dict[str, list[sa.Column]]:
    """The columns of each table, in an order in which they can be made."""
    return {
        "annotators": [*text("name"), *text("key_hash", null=True), time("created")],
        "conversations": [*text("id"), time("created")],
        "guidelines": [*text("version", "text"), time("created")],
        "prompts": [
            number("number"),
            *text("id"),
            sa.Column("messages", sa.JSON(), nullable=False),
            *text("task", "source"),
            *text("conversation", null=True),
            time("uncertainty", null=True),
            time("created"),
        ],
        "candidates": [
            number("number"),
            *text("id", "prompt", "text", "model"),
            sa.Column("origin", sa.JSON(), nullable=False),
            time("created"),
        ],
        "leases": [*text("prompt", "annotator"), time("until")],
        "skips": [*text("prompt", "annotator"), time("created")],
        "rankings": [
            number("number"),
            *text("id", "subject", "prompt", "annotator"),
            sa.Column("all_bad", sa.Boolean(), nullable=False),
            time("seconds", null=True),
            *text("guideline"),
            *said(),
        ],
        "places": [
            *text("ranking"),
            number("position"),
            *text("candidate"),
            number("rank"),
            number("shown", null=True),
        ],
        "demonstrations": [
            number("number"),
            *text("id", "subject", "prompt"),
            *text("candidate", null=True),
            *text("text", "annotator"),
            time("seconds", null=True),
            *text("guideline"),
            *said(),
        ],
        "thumbs": [
            number("number"),
            *text("id", "subject", "candidate", "annotator"),
            sa.Column("up", sa.Boolean(), nullable=False),
            *said(),
        ],
    }


def upgrade() -> None:
    for table, found in columns().items():
        primary, unique, references, indexed = KEYS[table]
        constraints: list[sa.Constraint] = [sa.PrimaryKeyConstraint(*primary, name=f"pk_{table}")]
        if unique:
            constraints.append(sa.UniqueConstraint(unique, name=f"uq_{table}_{unique}"))
        for column, target in references.items():
            constraints.append(sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}"))
        op.create_table(table, *found, *constraints)
        for column in indexed:
            op.create_index(f"ix_{table}_{column}", table, [column])
    op.create_index("ix_rankings_prompt_annotator", "rankings", ["prompt", "annotator"])


def downgrade() -> None:
    for table in reversed(columns()):
        op.drop_table(table)
