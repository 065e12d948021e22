"""Counters of this process, and their sums over all processes, which never go backwards.

A process keeps its counters in memory and writes them, as they stand, into a row of its own: a write that is repeated
changes nothing. Whole numbers only: sums of floats differ in the last digit with the order of the rows.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from threading import Lock

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.exc import DBAPIError

from coordinator.core import clock
from coordinator.core.database import Database, take_turn, upsert
from coordinator.core.ids import new_id
from coordinator.metrics.models import environment_counts

# Holds what the rows that are gone have held.
_ENDED = "ended"
_SILENT_SECONDS = 600
# The bytes of "count".
_TURN = 0x636F756E74

_UPDATE = (
    update(environment_counts)
    .where(environment_counts.c.environment == bindparam("row"))
    .values(counts=bindparam("counts"), flushed_us=clock.NowUs())
)


class Counters:
    """What this process has counted since it began, by name."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = Lock()
        self._row = new_id()
        self._row_exists = False
        # What the rows had counted that this process had before this one.
        self._before: Counter[str] = Counter()
        self._written: Counter[str] = Counter()
        # As `_written`, but with writes of which nobody knows whether they were committed.
        self._perhaps_written: Counter[str] = Counter()

    def add(self, amounts: Mapping[str, int]) -> None:
        with self._lock:
            self._counts.update(amounts)

    @property
    def unwritten(self) -> bool:
        with self._lock:
            return self._counts != self._written

    def flush(self, database: Database) -> None:
        """Writes down what was counted until now."""
        with self._lock:
            counts = self._counts.copy()
        if counts == self._written:
            return
        try:
            database.write(lambda tx: self._write(tx, counts))
        except DBAPIError as error:
            if error.connection_invalidated:
                self._perhaps_written = counts
            raise
        self._row_exists = True
        self._written = self._perhaps_written = counts

    def _write(self, tx: Connection, counts: Counter[str]) -> None:
        if self._row_exists:
            if tx.execute(_UPDATE, {"row": self._row, "counts": _text(counts - self._before)}).rowcount:
                return
            # This environment was taken for ended: what it had written is kept in another row, so it begins anew.
            self._row, self._row_exists, self._before = new_id(), False, self._perhaps_written
        _put(tx, self._row, counts - self._before)


@cache
def counters() -> Counters:
    return Counters()


def totals(tx: Connection) -> Counter[str]:
    """The sums over all processes, in one statement: a row that is being folded is in it once."""
    return _sum(tx.scalars(select(environment_counts.c.counts)))


def fold_ended(tx: Connection) -> None:
    """Adds up the rows of environments that have been silent for long, most of which are gone, in one row."""
    take_turn(tx, _TURN)
    silent = environment_counts.c.flushed_us < clock.now_us(tx) - _SILENT_SECONDS * clock.SECOND_US
    ended = (
        delete(environment_counts)
        .where(silent, environment_counts.c.environment != _ENDED)
        .returning(environment_counts.c.counts)
    )
    if folded := tx.scalars(ended).all():
        kept = tx.scalars(select(environment_counts.c.counts).where(environment_counts.c.environment == _ENDED))
        _put(tx, _ENDED, _sum([*kept, *folded]))


def _put(tx: Connection, row: str, counts: Counter[str]) -> None:
    values = {"environment": row, "counts": _text(counts), "flushed_us": clock.now_us(tx)}
    insert = upsert(tx, environment_counts).values(values)
    tx.execute(insert.on_conflict_do_update(index_elements=["environment"], set_=values))


def _sum(texts: Iterable[str]) -> Counter[str]:
    total: dict[str, int] = {}
    for text in texts:
        for name, count in json.loads(text).items():
            total[name] = total.get(name, 0) + count
    return Counter(total)


def _text(counts: Counter[str]) -> str:
    return json.dumps(counts, separators=(",", ":"))
