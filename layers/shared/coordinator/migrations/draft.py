"""Drafts a migration from the difference between the tables and the newest schema: `make migration`."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from coordinator.core.database import Database
from coordinator.migrations.upgrade import alembic_config, upgrade


def draft(message: str) -> None:
    config = alembic_config()
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    revision = f"{len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'draft.db'}"
        upgrade(url)
        database = Database(url)
        database.read(lambda tx: _compare(tx, config, message, revision))
        database.close()
    places = "HEAD in migrations/__init__.py and Revision in template.yaml"
    print(f"Read it, then set {places} to {revision!r}.")  # noqa: T201  (a command)


def _compare(tx: Connection, config: Config, message: str, revision: str) -> None:
    config.attributes["connection"] = tx
    command.revision(config, message, autogenerate=True, rev_id=revision)


if __name__ == "__main__":
    draft(sys.argv[1])
