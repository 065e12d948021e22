"""Time as microseconds since 1970 in UTC. The database's clock is the one that counts, never a caller's."""

import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

SECOND_US = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_NOW = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")


def now_us(connection: Connection) -> int:
    """The database's present time. SQLite runs inside this process, so its clock is this machine's."""
    if connection.dialect.name == "sqlite":
        return time.time_ns() // 1000
    return int(connection.scalar(_POSTGRES_NOW))


def rfc3339(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds_until(us: int, now: int) -> float:
    """Seconds from `now` to `us`, not below zero."""
    return max(0.0, round((us - now) / SECOND_US, 3))
