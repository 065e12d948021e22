import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from coordinator.migrations import HEAD, tables
from coordinator.migrations.upgrade import alembic_config, upgrade
from local.template import read_template
from tests.api import SECRET_KEY, forget_process_state

TEMPLATE = Path(__file__).parents[2] / "template.yaml"


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD


def test_a_new_schema_changes_the_resource_that_migrates() -> None:
    # CloudFormation sends an Update only when a property of the resource has changed.
    [migration] = read_template(TEMPLATE).custom_resources

    assert migration.properties["Revision"] == HEAD


def test_another_database_changes_the_resource_that_migrates(tmp_path: Path) -> None:
    template = TEMPLATE.read_text().replace("CodeUri: functions/", "CodeUri: .").replace("layers/shared/", ".")
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:other-AbCdEf"
    named = 'DatabaseSecretArn:\n    Type: String\n    Default: ""'
    assert named in template
    changed = tmp_path / "template.yaml"
    changed.write_text(template.replace(named, named.replace('""', arn)))

    [migration] = read_template(changed).custom_resources

    assert migration.properties == {"Revision": HEAD, "DatabaseSecretArn": arn}


def test_a_wrong_variable_is_named_to_cloudformation_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from migrate.app import handler

    monkeypatch.setenv("DATABASE_URL", "sqlite:///never-opened.db")
    monkeypatch.setenv("SECRET_KEY", "short")
    forget_process_state()

    answer = handler({"RequestType": "Create"}, None)

    assert (answer["Status"], answer["Reason"]) == ("FAILED", "SECRET_KEY must be at least 32 random characters")
    assert capsys.readouterr().out == ""


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'old.db'}"
    url: str = request.getfixturevalue("postgres").new_database(template="template1")
    return url if request.param == "postgresql" else str(request.getfixturevalue("pgbouncer").url(url))


def test_jobs_of_the_first_schema_keep_their_class(empty_database_url: str) -> None:
    upgrade(empty_database_url, "0001")
    old = create_engine(empty_database_url)
    with old.begin() as tx:
        for number, letter in enumerate("ab", 1):
            tx.execute(text(f"INSERT INTO job_classes VALUES ('{letter}', {number}, '{{}}')"))
        for job, class_id in (("one", "b"), ("two", "a"), ("three", "b")):
            tx.execute(
                text(f"""
                INSERT INTO jobs (id, client_id, class_id, job_type, priority, max_price_atoms, ttl_seconds,
                    timeout_seconds, max_attempts, status, attempts, created_us, updated_us, expires_us, constraints,
                    parameters_sha256, parameters)
                VALUES ('{job}', 'client', '{class_id}', 'custom', 5, 0, 60, 60, 3, 'pending', 0, 1, 1, 2, '{{}}', '',
                    '{{"prompt": "x"}}')
                """)
            )

    upgrade(empty_database_url)

    with old.connect() as tx:
        jobs = tx.execute(text("SELECT id, class_number, parameters FROM jobs ORDER BY id")).all()
    old.dispose()
    assert [tuple(job) for job in jobs] == [
        ("one", 2, '{"prompt": "x"}'),
        ("three", 2, '{"prompt": "x"}'),
        ("two", 1, '{"prompt": "x"}'),
    ]


def test_receipts_that_are_older_than_the_log_wait_for_it(empty_database_url: str) -> None:
    upgrade(empty_database_url, "0009")
    old = create_engine(empty_database_url)
    with old.begin() as tx:
        for receipt in ("one", "two"):
            values = f"'{receipt}', '{receipt}', 1, '', '', '', '', 1, '', 0, 0, 0, 0, '', ''"
            tx.execute(text(f"INSERT INTO receipts VALUES ({values})"))

    upgrade(empty_database_url)

    with old.connect() as tx:
        waiting = tx.scalars(text("SELECT receipt_id FROM receipt_log_waiting ORDER BY receipt_id")).all()
    old.dispose()
    assert waiting == ["one", "two"]


def test_several_migrations_at_once_take_turns(empty_database_url: str) -> None:
    # Alembic's configuration is of the process, so each is one.
    program = f"from coordinator.migrations.upgrade import upgrade; upgrade({empty_database_url!r})"
    environment = {**os.environ, "PYTHONPATH": "layers/shared"}
    processes = [subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=TEMPLATE.parent) for _ in "123"]

    assert [process.wait() for process in processes] == [0, 0, 0]
    assert revision(empty_database_url) == HEAD


def test_a_schema_of_a_newer_release_is_left_alone(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from migrate.app import handler

    upgrade(empty_database_url)
    newer = create_engine(empty_database_url)
    with newer.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer.dispose()
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    forget_process_state()

    answers = [handler({"RequestType": kind}, None) for kind in ("Update", "Create", "Delete")]

    assert [answer["Status"] for answer in answers] == ["FAILED", "FAILED", "SUCCESS"]
    assert answers[0]["Reason"] == f"The database has schema 9999, which is newer than this release ({HEAD})."
    assert revision(empty_database_url) == "9999"
    assert capsys.readouterr().out == ""


def test_a_migration_that_fails_leaves_the_schema_as_it_was(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(empty_database_url, "0009")
    monkeypatch.setattr("alembic.op.create_table", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        upgrade(empty_database_url)

    assert revision(empty_database_url) == "0009"


def revision(url: str) -> str:
    engine = create_engine(url)
    with engine.connect() as tx:
        found = tx.scalar(text("SELECT version_num FROM alembic_version"))
    engine.dispose()
    return str(found)


@pytest.mark.filterwarnings("ignore:autogenerate skipping")
def test_the_migrations_make_what_the_models_declare(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    engine = create_engine(empty_database_url)

    with engine.connect() as connection:
        # Of an index with expressions Alembic can't tell on SQLite what it is made of; the counters are no model's.
        passed_over = {("table", "rate_counters"), ("index", "jobs_queue" if "sqlite" in empty_database_url else "")}
        options = {"include_name": lambda name, kind, _: (kind, name) not in passed_over}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)

    engine.dispose()
    assert differences == []
