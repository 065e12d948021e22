"""Rows that nobody asks for any more: whoever adds a row takes some old ones away, so that no table grows with time."""

from typing import Any

from sqlalchemy import Column, Connection, delete, select

_AT_ONCE = 4


def forget_old(tx: Connection, key: Column[Any], expires_us: Column[Any], now_us: int) -> None:
    """Deletes a few rows of a table that have expired, passing over those that others are deleting."""
    old = select(key).where(expires_us <= now_us).order_by(expires_us).limit(_AT_ONCE).with_for_update(skip_locked=True)
    tx.execute(delete(key.table).where(key.in_(old)))
