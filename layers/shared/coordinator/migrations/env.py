"""Run by Alembic itself: hands it the connection of the caller and the tables of all subjects."""

from typing import Any, Literal

from alembic import context
from sqlmodel.sql.sqltypes import AutoString

from coordinator.migrations import tables


def _render_item(kind: str, item: Any, _autogen: Any) -> str | Literal[False]:
    """Writes SQLModel's own text type as plain SQLAlchemy, so that migrations need not import SQLModel."""
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    render_item=_render_item,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
