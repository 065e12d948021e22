"""The database's secret: as RDS writes it or as a URL, and replaced while processes are warm."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from sqlalchemy import text
from sqlalchemy.engine import make_url

from coordinator.core.config import read_settings, settings
from coordinator.core.database import database
from coordinator.core.database_url import url_of_secret
from coordinator.core.errors import ConfigurationError
from tests.api import CLIENT, SECRET_KEY, Api, forget_process_state, logged
from tests.databases import PostgresCluster

REGION = "eu-central-1"
RDS = {
    "engine": "postgres",
    "host": "db.example.org",
    "port": 5433,
    "username": "market",
    "password": "geh@im/:",
    "dbname": "coordinator",
}

Rotate = Callable[[str], None]

# SQLite has no passwords.
on_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def rotate(
    api: Api, postgres: PostgresCluster, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Gives the database another password, and the secret too; the secret is a URL the first time."""
    with mock_aws():
        manager = boto3.client("secretsmanager", region_name=REGION)
        arn = manager.create_secret(Name="db", SecretString=postgres.guarded(database_url, "first"))["ARN"]
        monkeypatch.setenv("DATABASE_URL", "")
        monkeypatch.setenv("DATABASE_SECRET_ARN", arn)
        forget_process_state()

        def change(password: str) -> None:
            manager.put_secret_value(SecretId=arn, SecretString=postgres.guarded(database_url, password))

        yield change


def lose_connections(url: str) -> None:
    """What a failover does: all connections end."""
    from coordinator.core.database import Database

    other = Database(url)
    here = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    other.read(lambda tx: tx.execute(text(f"{here} AND pid <> pg_backend_pid()")))
    other.close()


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which secrets are read from now on."""
    from coordinator.core import aws

    read: list[str] = []
    fetch = aws.fetch

    def noted(arn: str, stage: str | None = None) -> str:
        read.append(arn)
        return fetch(arn, stage)

    monkeypatch.setattr(aws, "fetch", noted)
    return read


@on_postgres
def test_a_new_password_is_found_at_once(
    api: Api, rotate: Rotate, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reads(monkeypatch)
    job = api.as_(CLIENT).submit()
    rotate("second")
    lose_connections(database_url)

    listed = api.as_(CLIENT).get("/v1/client/jobs")

    assert listed.status == 200
    assert [found["id"] for found in listed.json["items"]] == [job["id"]]
    assert len(read) == 2


@on_postgres
def test_connections_that_are_there_need_no_new_password(
    api: Api, rotate: Rotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.as_(CLIENT).submit()
    read = reads(monkeypatch)
    rotate("second")

    assert api.as_(CLIENT).get("/v1/client/jobs").status == 200
    assert read == []


@on_postgres
def test_a_password_that_is_wrong_is_not_shown(
    api: Api,
    rotate: Rotate,
    postgres: PostgresCluster,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rotate("the-one-in-the-secret")
    # The server has another one.
    postgres.guarded(database_url, "the-one-of-the-server")
    read = reads(monkeypatch)

    refused = api.as_(CLIENT).get("/v1/client/jobs")

    log = logged(caplog.records)
    assert (refused.status, refused.error) == (500, "INTERNAL_ERROR")
    assert "password authentication failed" in log
    assert "the-one-" not in log + refused.text
    # Once because it was never read, once as it could have changed; and no more for the same request.
    assert len(read) < 6


@on_postgres
def test_a_secret_that_is_gone_leaves_the_servers_own_error(
    api: Api, rotate: Rotate, postgres: PostgresCluster, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    api.as_(CLIENT).submit()
    manager = boto3.client("secretsmanager", region_name=REGION)
    manager.delete_secret(SecretId=manager.list_secrets()["SecretList"][0]["ARN"], ForceDeleteWithoutRecovery=True)
    postgres.guarded(database_url, "second")
    lose_connections(database_url)

    assert api.as_(CLIENT).get("/v1/client/jobs").status == 500
    log = logged(caplog.records)
    assert "the database's secret can't be read again" in log
    assert "can't be read (ResourceNotFoundException)" in log
    assert "password authentication failed" in log


@on_postgres
def test_the_migration_connects_by_the_secret(rotate: Rotate, monkeypatch: pytest.MonkeyPatch) -> None:
    from migrate.app import handler

    assert handler({"RequestType": "Update"}, None)["Status"] == "SUCCESS"


@on_postgres
def test_a_secret_that_the_migration_can_not_read_is_told_to_cloudformation(
    rotate: Rotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from migrate.app import handler

    monkeypatch.setenv("DATABASE_SECRET_ARN", f"arn:aws:secretsmanager:{REGION}:123456789012:secret:none")
    forget_process_state()

    answer = handler({"RequestType": "Create"}, None)

    assert answer["Status"] == "FAILED"
    assert re.fullmatch(r"DATABASE_SECRET_ARN: arn:\S+ can't be read \(ResourceNotFoundException\)", answer["Reason"])


def test_a_secret_as_rds_writes_it_is_a_whole_url() -> None:
    assert url_of_secret(json.dumps(RDS), "") == make_url(
        "postgresql+psycopg://market:geh%40im%2F%3A@db.example.org:5433/coordinator?sslmode=require"
    )


def test_what_a_managed_secret_leaves_open_stands_in_the_url() -> None:
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html
    managed = {"username": "market", "password": "geheim"}

    assert url_of_secret(json.dumps(managed), "postgresql://db.example.org/c?sslmode=verify-full") == make_url(
        "postgresql+psycopg://market:geheim@db.example.org/c?sslmode=verify-full"
    )


@pytest.mark.parametrize(
    ("secret", "url", "said"),
    [
        ("", "", "begins with postgresql://, or JSON"),
        ("geheim", "", "begins with postgresql://, or JSON"),
        ("sqlite:///geheim", "", "begins with postgresql://, or JSON"),
        ("postgresql://u:p@h:geheim/d", "", "begins with postgresql://, or JSON"),
        ('{"password": "geheim"', "", "broken JSON"),
        ({**RDS, "engine": "mysql"}, "", "engine is not Postgres"),
        ({**RDS, "username": ""}, "", "has no username"),
        ({**RDS, "password": None}, "", "has no password"),
        ({**RDS, "password": ["geheim"]}, "", "password must be text"),
        ({**RDS, "port": "geheim"}, "", "port is no port"),
        ({**RDS, "port": 65536}, "", "port is no port"),
        ({**RDS, "port": True}, "", "port is no port"),
        ({**RDS, "host": ""}, "", "both host and dbname"),
        ({**RDS, "dbname": ""}, "postgresql://elsewhere", "both host and dbname"),
        (RDS, "sqlite:///x", "DATABASE_URL must begin with postgresql://"),
        (RDS, "no url", "DATABASE_URL must begin with postgresql://"),
    ],
)
def test_a_malformed_secret_is_told_and_not_shown(secret: Any, url: str, said: str) -> None:
    given = secret if isinstance(secret, str) else json.dumps(secret)

    with pytest.raises(ConfigurationError, match=said) as raised:
        url_of_secret(given, url)

    assert "geh" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_neither_url_nor_secret_refuses_to_start() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set"):
        read_settings({"SECRET_KEY": SECRET_KEY})


def test_a_url_that_can_not_be_read_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not an SQLAlchemy URL") as raised:
        read_settings({"SECRET_KEY": SECRET_KEY, "DATABASE_URL": "postgresql://u:p@h:geheim/d"})

    assert raised.value.__cause__ is None


@on_postgres
def test_the_secret_is_not_read_before_there_is_something_to_ask(rotate: Rotate) -> None:
    with pytest.MonkeyPatch.context() as patch:
        read = reads(patch)
        assert database().engine.dialect.name == "postgresql"
        assert settings().public_url

        assert read == []
