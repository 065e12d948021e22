"""A backup made while the coordinator runs, restored into another database, is the coordinator as it was."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from aitbc_verify.jws import verified_payload
from coordinator.core.database import Database
from tests.api import Api, forget_process_state
from tests.databases import PostgresCluster, postgres_binaries
from tests.integration.keyed import JOBS
from tests.integration.logged import checkpoint, included, jwks, proof_of, require_growth
from tests.money import ALICE, BOB, balance, broken_laws, give, give_users, user_of

# As docs/operator.md has it.
_BACK_UP_SQLITE = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))"


@pytest.fixture
def paying(api: Api, client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A market in the midst of its work: a job is done and paid, one runs, one waits."""
    give_users(monkeypatch, {client.key or "": ALICE})
    give(api, user_of(ALICE), "10")
    miner = miner.as_(miner.key, miner.register(BOB, capabilities=["custom"], price="1")["id"])
    for key in ("done", "runs", "waits"):
        job = {"job_type": "custom", "max_price": "2"}
        assert client.post(JOBS, job, headers={"idempotency-key": key}).status == 201
    assert miner.answer(miner.poll(1)[0]).status == 201
    miner.poll(1)
    return miner


@pytest.fixture
def restored_url(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty place for the backup."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'restored.db'}"
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    return cluster.new_database(template="template0")


def back_up(url: str, backup: Path) -> None:
    if url.startswith("sqlite"):
        subprocess.run([sys.executable, "-c", _BACK_UP_SQLITE, str(make_url(url).database), backup], check=True)
    else:
        subprocess.run([program("pg_dump"), "--format=custom", f"--file={backup}", plain(url)], check=True)


def restore(backup: Path, url: str) -> None:
    if url.startswith("sqlite"):
        shutil.copy(backup, str(make_url(url).database))
    else:
        command = [program("pg_restore"), "--exit-on-error", "--no-owner", f"--dbname={plain(url)}", backup]
        subprocess.run(command, check=True)


def program(name: str) -> Path:
    binaries = postgres_binaries()
    assert binaries is not None
    return binaries / name


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def all_rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    from coordinator.migrations.tables import metadata

    database = Database(url)
    try:
        return database.snapshot(
            lambda tx: {
                name: sorted((tuple(row) for row in tx.execute(table.select())), key=repr)
                for name, table in metadata.tables.items()
            }
        )
    finally:
        database.close()


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
class TestRestored:
    @pytest.fixture
    def before(self, api: Api, paying: Api) -> Any:
        """The log's checkpoint that somebody has kept since before the backup."""
        return checkpoint(api)

    @pytest.fixture(autouse=True)
    def restored(
        self, before: Any, database_url: str, restored_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        backup = tmp_path / "backup"
        back_up(database_url, backup)
        restore(backup, restored_url)
        forget_process_state()
        monkeypatch.setenv("DATABASE_URL", restored_url)
        yield
        forget_process_state()

    def test_every_row_is_there(self, database_url: str, restored_url: str) -> None:
        assert all_rows(restored_url) == all_rows(database_url)

    def test_receipts_verify_and_are_in_the_log(self, api: Api, client: Api, before: Any) -> None:
        [job] = [job for job in client.get(JOBS).json["items"] if job["status"] == "completed"]
        [receipt] = client.get(f"{JOBS}/{job['id']}/receipts").json["items"]

        assert verified_payload(proof_of(receipt["id"]), jwks(api))["job_id"] == job["id"]
        assert included(api, receipt["id"])[1].root == before.root

    def test_the_log_goes_on_from_where_it_was(self, api: Api, paying: Api, before: Any) -> None:
        assert paying.answer(paying.poll(1)[0]).status == 201

        after = checkpoint(api)

        assert (before.size, after.size) == (1, 2)
        require_growth(api, before, after)

    def test_the_ledger_is_sound_and_goes_on(self, api: Api, paying: Api) -> None:
        assert broken_laws() == {}
        assert (balance(api, user_of(ALICE)), balance(api, user_of(BOB))) == (("5", "4"), ("1", "0"))

        assert paying.answer(paying.poll(1)[0]).status == 201

        assert balance(api, user_of(BOB)) == ("2", "0")
        assert broken_laws() == {}

    def test_a_request_that_was_answered_is_not_done_again(self, client: Api) -> None:
        job = {"job_type": "custom", "max_price": "2"}
        again = client.post(JOBS, job, headers={"idempotency-key": "waits"})

        assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
        assert len(client.get(JOBS).json["items"]) == 3

    def test_what_may_never_change_is_guarded_as_before(self, restored_url: str) -> None:
        database = Database(restored_url)
        with pytest.raises(Exception, match=r"(?i)never|append"):
            database.write(lambda tx: tx.execute(text("DELETE FROM ledger_entries")))
        database.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_copy_of_the_file_alone_would_miss_what_was_last_written(
    client: Api, database_url: str, tmp_path: Path
) -> None:
    client.submit()
    shutil.copy(str(make_url(database_url).database), tmp_path / "copied.db")

    with closing(sqlite3.connect(tmp_path / "copied.db")) as copied:
        assert copied.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
