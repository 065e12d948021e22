"""Scheduled: proves the ledger, and tells the outcome to the log and the metrics."""

from typing import Any

from coordinator.core.database import database
from coordinator.core.log import logger
from coordinator.ledger.check import broken_laws, note
from coordinator.metrics.flushing import schedule_ran


def handler(_event: dict[str, Any], _context: Any) -> dict[str, list[str]]:
    """Gives the laws that do not hold, each with what breaks it."""
    broken = database().snapshot(broken_laws)
    database().write(lambda tx: note(tx, ok=not broken))
    if broken:
        logger.error("the ledger is broken", extra={"laws": broken})
    schedule_ran("ledger-check")
    return broken
