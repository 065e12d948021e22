"""How often somebody has called in the last minute, counted for all processes together and forgotten soon after.

The method is a sliding window log (https://www.figma.com/blog/an-alternative-approach-to-rate-limiting/): a call is
admitted if fewer than `limit` calls were admitted in the 60 s before it. So no minute, wherever it begins, has more
than `limit` of them; a fixed window and GCRA with a burst of `limit` admit up to twice as many. A limit of up to 100 is
exact. A larger one notes calls that come within 0.6 s together, under the time of the last: each then counts up to
0.6 s longer than a minute, never shorter, and whoever was quiet for a minute has all calls again.
"""

import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from sqlalchemy import text

from coordinator.core.clock import NOW_US_SQL, SECOND_US, machine_now_us
from coordinator.core.database import Database, database
from coordinator.core.prepared import Prepared
from coordinator.core.sqlite import BUSY_TIMEOUT_SECONDS, WriterLock

WINDOW_US = 60 * SECOND_US
# How many entries a log has at most; it is rewritten with every call.
_MAX_ENTRIES = 100


class Verdict(NamedTuple):
    """Whether a call is admitted, how many more are, and when the next one is again that no longer counts."""

    admitted: bool
    remaining: int
    freed_in_us: int


class Rates(Protocol):
    """The counters of all who call, by a key of any text; they may be lost, which lets everybody call again."""

    def take(self, key: str, limit: int) -> Callable[[], Verdict]:
        """Counts a call if it is within the limit of calls a minute.

        The verdict may still be on its way while the caller does other things; calling what this gives waits for it.
        """
        ...

    def sweep(self) -> None:
        """Removes what no longer counts."""
        ...


@cache
def rates() -> Rates:
    """The counters beside this process's database."""
    engine = database().engine
    if engine.dialect.name == "sqlite":
        return SqliteRates(Path(f"{engine.url.database}.rates"))
    return PostgresRates(database())


class Log:
    """The admitted calls of one minute: when, and how many together. The statement below does the same in SQL."""

    def __init__(self, packed: bytes = b"") -> None:
        numbers = array("q", packed)
        half = len(numbers) // 2
        self._began_us = numbers[0] if numbers else 0
        self._times_us = numbers[1 : half + 1]
        self._counts = numbers[half + 1 :]

    def packed(self) -> bytes:
        return (array("q", [self._began_us]) + self._times_us + self._counts).tobytes()

    def take(self, now_us: int, limit: int) -> Verdict:
        gone = bisect_right(self._times_us, now_us - WINDOW_US)
        del self._times_us[:gone], self._counts[:gone]
        used = sum(self._counts)
        if used >= limit:
            return Verdict(admitted=False, remaining=0, freed_in_us=self._times_us[0] + WINDOW_US - now_us)
        if self._times_us and now_us - self._began_us < _together_us(limit):
            self._times_us[-1] = now_us
            self._counts[-1] += 1
        else:
            self._times_us.append(now_us)
            self._counts.append(1)
            self._began_us = now_us
        return Verdict(admitted=True, remaining=limit - used - 1, freed_in_us=self._times_us[0] + WINDOW_US - now_us)


class SqliteRates:
    """Counters in a file of their own, so that no counting waits for a disk or for the database's writers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = WriterLock(path)
        self._connection: sqlite3.Connection | None = None

    def take(self, key: str, limit: int) -> Callable[[], Verdict]:
        # All who count hold this lock, so the two statements need no transaction around them.
        with self._turn.held():
            connection = self._connected()
            row = connection.execute("SELECT log, newest_us FROM rate_counters WHERE key = ?", (key,)).fetchone()
            log = Log(row[0]) if row else Log()
            now_us = max(machine_now_us(), row[1]) if row else machine_now_us()
            verdict = log.take(now_us, limit)
            if verdict.admitted:
                connection.execute("REPLACE INTO rate_counters VALUES (?, ?, ?)", (key, now_us, log.packed()))
        return lambda: verdict

    def sweep(self) -> None:
        now_us = machine_now_us()
        with self._turn.held():
            self._connected().execute(
                # What is ahead of the clock was counted before the clock was set back.
                "DELETE FROM rate_counters WHERE newest_us NOT BETWEEN ? AND ?",
                (now_us - 2 * WINDOW_US, now_us + WINDOW_US),
            )

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                # Without fsync a power cut can leave it broken; it holds nothing that is worth mending.
                for suffix in ("", "-wal", "-shm"):
                    with suppress(FileNotFoundError):
                        Path(f"{self._path}{suffix}").unlink()
                self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        # WAL, so that a process that is killed while it writes breaks nothing.
        for pragma in ("journal_mode = WAL", "synchronous = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS rate_counters"
            " (key TEXT PRIMARY KEY, newest_us INTEGER NOT NULL, log BLOB NOT NULL) WITHOUT ROWID"
        )
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("the counters are broken")
        return connection


class PostgresRates:
    """Counters in an unlogged table, counted in one statement that is its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, key: str, limit: int) -> Callable[[], Verdict]:
        asked = _TAKE.ask(self._database, {"key": key, "limit": limit, "together_us": _together_us(limit)})

        def verdict() -> Verdict:
            counted = asked.row(self._database)
            remaining = max(0, limit - counted.used)
            return Verdict(counted.admitted, remaining, counted.oldest_us + WINDOW_US - counted.asked_us)

        return verdict

    def sweep(self) -> None:
        self._database.write(lambda tx: tx.execute(_SWEEP))


def _together_us(limit: int) -> int:
    return 0 if limit <= _MAX_ENTRIES else WINDOW_US // _MAX_ENTRIES


# Everything is worked out from the row itself, which the statement has locked: what another process has just counted is
# seen. Time does not go back while a row was waited for. OFFSET 0 has each step evaluated once.
_TAKE = Prepared(
    text(f"""
INSERT INTO rate_counters AS c (key, times_us, counts, began_us, asked_us, used, admitted)
SELECT :key, ARRAY[now_us], ARRAY[1], now_us, now_us, 1, true
FROM (SELECT {NOW_US_SQL["postgresql"]} AS now_us OFFSET 0) AS present
ON CONFLICT (key) DO UPDATE SET (times_us, counts, began_us, asked_us, used, admitted) = (
    SELECT
        CASE WHEN NOT fits THEN times WHEN joins THEN times[1:size - 1] || now_us ELSE times || now_us END,
        CASE WHEN NOT fits THEN numbers WHEN joins THEN numbers[1:size - 1] || numbers[size] + 1 ELSE numbers || 1 END,
        CASE WHEN joins OR NOT fits THEN c.began_us ELSE now_us END,
        now_us,
        CASE WHEN fits THEN counted + 1 ELSE counted END,
        fits
    FROM (
        SELECT *, counted < CAST(:limit AS bigint) AS fits,
            size > 0 AND now_us - c.began_us < CAST(:together_us AS bigint) AS joins
        FROM (
            SELECT *, cardinality(times) AS size, COALESCE((SELECT sum(n) FROM unnest(numbers) AS n), 0) AS counted
            FROM (
                SELECT now_us, c.times_us[gone + 1:] AS times, c.counts[gone + 1:] AS numbers
                FROM (
                    SELECT now_us, width_bucket(now_us - {WINDOW_US}, c.times_us) AS gone
                    FROM (SELECT GREATEST(excluded.asked_us, c.asked_us) AS now_us OFFSET 0) AS present
                    OFFSET 0
                ) AS past
                OFFSET 0
            ) AS log
            OFFSET 0
        ) AS sums
        OFFSET 0
    ) AS verdict
)
RETURNING admitted, used, times_us[1] AS oldest_us, asked_us
""")  # noqa: S608  (constants)
)
_SWEEP = text(f"""
DELETE FROM rate_counters USING (SELECT {NOW_US_SQL["postgresql"]} AS now_us) AS present
WHERE asked_us NOT BETWEEN now_us - {2 * WINDOW_US} AND now_us + {WINDOW_US}
""")  # noqa: S608  (constants)
