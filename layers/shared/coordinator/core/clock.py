"""Time as microseconds since 1970 in UTC. The database's clock is the one that counts, never a caller's."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

SECOND_US = 1_000_000
# The database's present time in its own words, by dialect; SQLite's function is given by `core.sqlite`.
NOW_US_SQL = {
    "sqlite": "now_us()",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NowUs(FunctionElement[int]):
    """The database's present time, inside a statement."""

    type = BigInteger()
    inherit_cache = True


@compiles(NowUs, "sqlite")
@compiles(NowUs, "postgresql")
def _now(_element: NowUs, compiler: Any, **_options: Any) -> str:
    return NOW_US_SQL[compiler.dialect.name]


# The same wherever one statement uses it, though older by what that statement had to wait for.
STATEMENT_NOW_US_POSTGRES = literal_column(
    f"CAST(extract(epoch FROM statement_timestamp()) * {SECOND_US} AS bigint)", BigInteger
)
# For a statement that needs the time more than once, or compares indexed columns with it.
PRESENT = select(NowUs().label("now_us")).subquery("present")
_SELECT_NOW = select(NowUs())


def machine_now_us() -> int:
    return time.time_ns() // 1000


def now_us(tx: Connection) -> int:
    """The database's present time. SQLite runs inside this process, so there it is this machine's."""
    if tx.dialect.name == "sqlite":
        return machine_now_us()
    return tx.execute(_SELECT_NOW).scalar_one()


def rfc3339(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds_until(us: int, now: int) -> float:
    """Seconds from `now` to `us`, not below zero."""
    return max(0.0, round((us - now) / SECOND_US, 3))
