"""Which database: by a URL, or by a secret as RDS makes them."""

import json
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from coordinator.core.errors import ConfigurationError

# https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
_ENGINES = ("postgres", "aurora-postgresql")
_FIELDS = {"username": "username", "password": "password", "host": "host", "port": "port", "dbname": "database"}
_PORTS = range(1, 65536)


def parse_url(text: str) -> URL:
    """A database that can be used: a file of SQLite, or Postgres.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):
        # What is said of it may quote it.
        raise ConfigurationError("DATABASE_URL is not an SQLAlchemy URL") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError("DATABASE_URL must begin with sqlite:/// or postgresql+psycopg://")
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def url_of_secret(text: str, url: str) -> URL:
    """The database that a secret names: by a URL, or by JSON as RDS writes it; what JSON leaves open stands in `url`.

    Passwords do not travel in the clear: TLS is required unless the URL says otherwise.

    Raises:
        ConfigurationError: it names no Postgres. The message has nothing of the secret.
    """
    if not text.startswith("{"):
        return _encrypted(_postgres(text, "the secret must be a URL that begins with postgresql://, or JSON"))
    try:
        fields = json.loads(text)
    except ValueError:
        raise ConfigurationError("the secret is broken JSON") from None
    if fields.get("engine", _ENGINES[0]) not in _ENGINES:
        raise ConfigurationError("the secret's engine is not Postgres")
    named = {ours: _field(theirs, fields[theirs]) for theirs, ours in _FIELDS.items() if fields.get(theirs)}
    for required in ("username", "password"):
        if required not in named:
            raise ConfigurationError(f"the secret has no {required}")
    base = _postgres(url, "DATABASE_URL must begin with postgresql://") if url else URL.create("postgresql+psycopg")
    parsed = base.set(**named)
    if not (parsed.host or parsed.query.get("host")) or not parsed.database:
        raise ConfigurationError("neither the secret nor DATABASE_URL has both host and dbname")
    return _encrypted(parsed)


def _postgres(text: str, otherwise: str) -> URL:
    try:
        parsed = parse_url(text)
    except ConfigurationError:
        raise ConfigurationError(otherwise) from None
    if parsed.get_backend_name() != "postgresql":
        raise ConfigurationError(otherwise)
    return parsed


def _encrypted(url: URL) -> URL:
    return url if "sslmode" in url.query else url.update_query_dict({"sslmode": "require"})


def _field(name: str, value: Any) -> Any:
    if name == "port":
        # RDS writes a number, many people a text.
        if not str(value).isascii() or not str(value).isdigit() or int(value) not in _PORTS:
            raise ConfigurationError("the secret's port is no port")
        return int(value)
    if not isinstance(value, str):
        raise ConfigurationError(f"the secret's {name} must be text")
    return value
