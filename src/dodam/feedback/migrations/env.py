"""What Alembic runs to migrate: on the connection it is given, inside that connection's transaction.

To change the tables: add the next file to versions/, raise `tables.VERSION`, and never touch a released one.
"""

from alembic import context

from dodam.feedback.database import VERSION_TABLE
from dodam.feedback.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
