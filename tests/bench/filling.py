"""Fills a database with waiting jobs, as many and as fast as a bench needs them."""

import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url

Row = dict[str, Any]

PROMPT = "Summarise the following report for a reader in a hurry, and name its three weakest claims. " * 2
_WEEK_SECONDS = 604_800
# Most clients leave the priority as it is.
_PRIORITIES = (5,) * 17 + (0, 7, 9)


def class_rows(wanted: Sequence[tuple[str, dict[str, Any]]]) -> list[Row]:
    """The classes of these job types and constraints."""
    from coordinator.core.canonical import canonical_json, sha256_hex
    from coordinator.jobs.classes import requirements_of

    texts = [canonical_json(requirements_of(job_type, constraints)) for job_type, constraints in wanted]
    return [{"id": sha256_hex(text), "requirements": text, "number": number} for number, text in enumerate(texts, 1)]


def job_rows(
    count: int, wanted: Sequence[tuple[str, dict[str, Any]]], class_numbers: Sequence[int], now_us: int
) -> Iterator[Row]:
    """Waiting jobs of these classes in turn, with parameters of a few hundred characters."""
    from coordinator.core.canonical import canonical_json
    from coordinator.core.ids import new_id

    kinds = [
        (kind, class_number, canonical_json(kind[1])) for kind, class_number in zip(wanted, class_numbers, strict=True)
    ]
    draw = random.Random(count)
    client_id = new_id()
    for number in range(count):
        (job_type, _), class_number, constraints = kinds[number % len(kinds)]
        job_id = new_id()
        yield {
            "id": job_id,
            "client_id": client_id,
            "class_number": class_number,
            "job_type": job_type,
            "priority": draw.choice(_PRIORITIES),
            "max_price_atoms": 0,
            "ttl_seconds": _WEEK_SECONDS,
            "timeout_seconds": 600,
            "max_attempts": 3,
            "status": "pending",
            "attempts": 0,
            "created_us": now_us + number,
            "updated_us": now_us + number,
            "expires_us": now_us + number + _WEEK_SECONDS * 1_000_000,
            "constraints": constraints,
            "parameters_sha256": f"{draw.getrandbits(256):064x}",
            "parameters": f'{{"max_tokens":256,"prompt":"{job_id} {PROMPT}"}}',
        }


def fill(database: str | URL, tables: dict[str, Iterable[Row]]) -> None:
    """Adds rows and lets the database work out its statistics, so that it plans as it would in the long run."""
    url = make_url(database)
    if url.get_backend_name() == "sqlite":
        _fill_sqlite(str(url.database), tables)
    else:
        _fill_postgres(url.render_as_string(hide_password=False), tables)


def _fill_sqlite(path: str, tables: dict[str, Iterable[Row]]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in tables.items():
            names, values = _columns(rows)
            places = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", values)
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _fill_postgres(database_url: str, tables: dict[str, Iterable[Row]]) -> None:
    import psycopg

    with psycopg.connect(plain_url(database_url), autocommit=True) as connection:
        for table, rows in tables.items():
            names, values = _columns(rows)
            with connection.cursor().copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(row)
        settle_postgres(connection)


def settle_postgres(connection: Any) -> None:
    """Does now what would else come in the middle of a measurement."""
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


def stored_bytes(database_url: str) -> int:
    """What a database takes on its disk, indexes and all."""
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.stat().st_size
    import psycopg

    with psycopg.connect(plain_url(database_url)) as connection:
        [size] = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
    return int(size)


def plain_url(database_url: str) -> str:
    """The URL as drivers take it, without SQLAlchemy's part."""
    return database_url.replace("postgresql+psycopg://", "postgresql://")


def _columns(rows: Iterable[Row]) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    rows = iter(rows)
    first = next(rows)
    return list(first), (tuple(row.values()) for row in chain((first,), rows))
