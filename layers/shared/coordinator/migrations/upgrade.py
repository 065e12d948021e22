"""Brings a database to the newest schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from coordinator.core.database import Database, take_turn

# The bytes of "AITBC".
_TURN = 0x4149544243


def upgrade(url: str, revision: str = "head") -> None:
    """Runs all missing migrations in one transaction; several callers at once take turns."""
    database = Database(url)
    try:
        database.write(lambda tx: _upgrade(tx, revision))
    finally:
        database.engine.dispose()


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(tx: Connection, revision: str) -> None:
    take_turn(tx, _TURN)
    if tx.dialect.name == "postgresql":
        # Building an index may take longer than any request may.
        tx.execute(text("SET LOCAL statement_timeout = 0"))
    config = alembic_config()
    config.attributes["connection"] = tx
    command.upgrade(config, revision)
