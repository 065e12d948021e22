"""Real databases for tests: a PostgreSQL cluster of their own, and files of SQLite."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, text

from coordinator.migrations.upgrade import upgrade

_TEMPLATE = "migrated_template"


class PostgresCluster:
    """A server that listens on a socket in its own folder; every database is a copy of a migrated one."""

    def __init__(self, folder: Path, control: Callable[..., None]) -> None:
        self._folder = folder
        self._control = control
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        upgrade(self._url(_TEMPLATE))

    def new_database(self, template: str = _TEMPLATE) -> str:
        """The URL of a fresh database, migrated unless it is made from another template."""
        name = f"test_{uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._url(name)

    def restart(self, mode: str) -> None:
        """Ends all connections and takes new ones: "fast" as an operator would, "immediate" as after a crash."""
        self._control("-m", mode, "restart")

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"

    def _execute(self, statement: str) -> None:
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()


def postgres_binaries() -> Path | None:
    """Where this machine's PostgreSQL server lies, if it has one."""
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        if (Path(told) / "initdb").exists():
            return Path(told)
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@contextmanager
def running_postgres(binaries: Path) -> Iterator[PostgresCluster]:
    """Starts a cluster in a temporary folder and ends it. PostgreSQL refuses root, so root hands it to nobody."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    drop: dict[str, str | int] = {}
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
        drop = {"user": nobody.pw_uid, "group": nobody.pw_gid}

    def run(*command: str | Path, check: bool = True) -> None:
        subprocess.run(
            command,
            check=check,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            **drop,  # type: ignore[call-overload]
        )

    data = folder / "data"

    def control(*arguments: str, check: bool = True) -> None:
        run(binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", *arguments, check=check)

    run(binaries / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
    try:
        control("-o", f"-k {folder} -c listen_addresses='' -c max_connections=200", "start")
        yield PostgresCluster(folder, control)
    finally:
        control("-m", "immediate", "stop", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def migrated_sqlite(folder: Path) -> Path:
    """A migrated file to copy for each test."""
    path = folder / "migrated.db"
    upgrade(f"sqlite:///{path}")
    return path
