"""Rows that nobody asks for any more."""

from typing import Any

from sqlalchemy import Column, Connection, delete, select, tuple_

# So many are taken away by whoever adds a row, so that a table does not grow with time.
A_FEW = 4


def delete_old(tx: Connection, aged_us: Column[Any], until_us: int, limit: int) -> int:
    """Deletes the rows whose time in this column has come, the oldest first and `limit` at most, and tells how many.

    What others are deleting is passed over, so several at once share the work.
    """
    key = list(aged_us.table.primary_key)
    old = select(*key).where(aged_us <= until_us).order_by(aged_us).limit(limit).with_for_update(skip_locked=True)
    return tx.execute(delete(aged_us.table).where(tuple_(*key).in_(old))).rowcount
