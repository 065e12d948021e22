"""Brings a database to the newest schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text

from coordinator.core.database import STATEMENT_TIMEOUT_MS, Database, take_turn
from coordinator.core.secrets import Secret
from coordinator.migrations import HEAD

# The bytes of "AITBC".
_TURN = 0x4149544243
# Behind a pooler a connection can't set it for itself. What an operator has chosen stays.
_LIMIT_OF_ROLE = text("""
SELECT format(
    'ALTER ROLE %I IN DATABASE %I SET statement_timeout = %s', session_user, current_database(), CAST(:timeout AS text)
)
FROM pg_settings WHERE name = 'statement_timeout' AND reset_val = '0'
""")


class SchemaIsNewer(Exception):
    """The database has a schema that this release does not know; only a newer release can have made it."""


def upgrade(url: str | Secret[URL], revision: str = "head") -> None:
    """Runs all missing migrations in one transaction; several callers at once take turns.

    Raises:
        SchemaIsNewer: there is no way back, so this release must not be put in the place of the newer one.
    """
    database = Database(url)
    try:
        database.write(lambda tx: _upgrade(tx, revision))
    finally:
        database.close()


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(tx: Connection, revision: str) -> None:
    if tx.dialect.name == "postgresql":
        # Building an index may take longer than any request may, and so may the turn of another that builds one.
        tx.execute(text("SET LOCAL statement_timeout = 0"))
    take_turn(tx, _TURN)
    config = alembic_config()
    present = MigrationContext.configure(tx).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise SchemaIsNewer(f"The database has schema {present}, which is newer than this release ({HEAD}).")
    config.attributes["connection"] = tx
    command.upgrade(config, revision)
    if tx.dialect.name == "postgresql":
        limit = tx.scalar(_LIMIT_OF_ROLE, {"timeout": str(STATEMENT_TIMEOUT_MS)})
        if limit is not None:
            tx.exec_driver_sql(limit)
