"""Run by Alembic itself: hands it the connection of the caller and the tables of all subjects."""

from alembic import context

from coordinator.migrations import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
