"""Real databases for tests: a PostgreSQL cluster of their own, PgBouncer in front of it, and files of SQLite."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, make_url, text

from coordinator.core.database import STATEMENT_TIMEOUT_MS
from coordinator.migrations.upgrade import upgrade

# How many wait for a lock, on PostgreSQL.
WAITING_FOR_A_LOCK = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
_TEMPLATE = "migrated_template"
# How many connections to one database the pooler may have; more clients than that wait for each other.
SERVER_CONNECTIONS = 20
_PGBOUNCER = """\
[databases]
* = host={server}
[pgbouncer]
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
; Each transaction gets another connection than the one before, so that nothing can rest on getting the same.
server_round_robin = 1
; Every test has a database of its own.
server_idle_timeout = 2
server_login_retry = 1
"""
_MEMORY = Path("/dev/shm")
# With its log, which is kept up to a gigabyte.
_CLUSTER_BYTES = 4 * 2**30
# The only role that the server asks for a password.
_GUARDED = "guarded"


class PostgresCluster:
    """A server that listens on a socket in its own folder; every database is a copy of a migrated one."""

    def __init__(self, folder: Path, control: Callable[..., None]) -> None:
        self.folder = folder
        self._control = control
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        upgrade(self._url(_TEMPLATE))

    def new_database(self, template: str = _TEMPLATE) -> str:
        """The URL of a fresh database, migrated unless it is made from another template."""
        name = f"test_{uuid4().hex}"
        # Copied by way of the log, each would leave ten megabytes there.
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        if template == _TEMPLATE:
            # The only thing that a migration leaves and a copy lacks.
            self._execute(f"ALTER ROLE postgres IN DATABASE {name} SET statement_timeout = {STATEMENT_TIMEOUT_MS}")
        return self._url(name)

    def drop(self, url: str) -> None:
        """Deletes a database, and ends its connections."""
        self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def guarded(self, url: str, password: str) -> str:
        """The URL of the same database for a role that needs a password: this one from now on, and no other."""
        self._execute(
            f"""DO $$ BEGIN CREATE ROLE {_GUARDED} LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $$"""
        )
        self._execute(f"ALTER ROLE {_GUARDED} PASSWORD '{password}'")
        return url.replace("postgres@", f"{_GUARDED}:{password}@")

    def restart(self, mode: str) -> None:
        """Ends all connections and takes new ones: "fast" as an operator would, "immediate" as after a crash."""
        self._control("-m", mode, "restart")

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def _execute(self, statement: str) -> None:
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()


class PgBouncer:
    """A pooler in transaction mode before a cluster: a client has a server's connection for one transaction."""

    def __init__(self, program: str, folder: Path, server: Path, user: dict[str, Any]) -> None:
        self.folder = folder
        self._command = (program, str(folder / "pgbouncer.ini"))
        self._user = user
        (folder / "users").write_text('"postgres" ""\n')
        text = _PGBOUNCER.format(server=server, folder=folder, connections=SERVER_CONNECTIONS)
        (folder / "pgbouncer.ini").write_text(text)
        self._process = self._start()

    def url(self, database_url: str) -> str:
        """Where this database of the cluster is found behind the pooler."""
        return database_url.replace(make_url(database_url).query["host"], f"{self.folder}&port=6432")  # type: ignore[arg-type]

    def open_connections(self, pooled_url: str) -> None:
        """Has the pooler open two connections to a database, between which it then changes."""
        engine = create_engine(pooled_url, connect_args={"prepare_threshold": None})
        with ExitStack() as held:
            for _ in range(2):
                held.enter_context(engine.begin()).execute(text("SELECT 1"))
        engine.dispose()

    def restart(self) -> None:
        """Ends it, with all its connections, as kill -9 would, and starts it anew."""
        self.stop()
        self._process = self._start()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        socket = self.folder / ".s.PGSQL.6432"
        socket.unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self._command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._user
            )
        while not socket.exists():
            assert process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.01)
        return process


def postgres_binaries() -> Path | None:
    """Where this machine's PostgreSQL server lies, if it has one."""
    if config := shutil.which("pg_config"):
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        if (Path(told) / "initdb").exists():
            return Path(told)
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


def pgbouncer_program() -> str | None:
    """Where this machine's PgBouncer lies, if it has one; Debian puts it where only root looks."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def _servers_folder(place: Path | None = None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A temporary folder, and who runs what works in it: the servers refuse root, so root hands it to nobody."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=place))
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    try:
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_pgbouncer(program: str, cluster: PostgresCluster) -> Iterator[PgBouncer]:
    """Starts a pooler before a cluster and ends it."""
    with _servers_folder() as (folder, user):
        pooler = PgBouncer(program, folder, cluster.folder, user)
        try:
            yield pooler
        finally:
            pooler.stop()


@contextmanager
def running_postgres(binaries: Path, place: Path | None = None) -> Iterator[PostgresCluster]:
    """Starts a cluster in a temporary folder, of `place` if that is given, and ends it."""
    with _servers_folder(place) as (folder, user):
        yield from _cluster_in(folder, user, binaries)


def _cluster_in(folder: Path, user: dict[str, Any], binaries: Path) -> Iterator[PostgresCluster]:
    def run(*command: str | Path, check: bool = True) -> None:
        subprocess.run(command, check=check, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **user)

    data = folder / "data"

    def control(*arguments: str, check: bool = True) -> None:
        run(binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", *arguments, check=check)

    run(binaries / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
    rules = data / "pg_hba.conf"
    rules.write_text(f"local all {_GUARDED} scram-sha-256\n{rules.read_text()}")
    try:
        control("-o", f"-k {folder} -c listen_addresses='' -c max_connections=200", "start")
        yield PostgresCluster(folder, control)
    finally:
        control("-m", "immediate", "stop", check=False)


def memory() -> Path | None:
    """A folder in memory, if this machine has one with room for a cluster."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _CLUSTER_BYTES else None


def migrated_sqlite(folder: Path) -> Path:
    """A migrated file to copy for each test."""
    path = folder / "migrated.db"
    upgrade(f"sqlite:///{path}")
    return path
