"""Scheduled: takes new receipts into the transparency log, and signs what it then is."""

from typing import Any

from coordinator.core.config import renew_secrets
from coordinator.core.database import database
from coordinator.core.log import logger
from coordinator.metrics.flushing import schedule_ran
from coordinator.receipts import checkpoints, log
from coordinator.receipts.proofs import BATCH

# 60,000 receipts a run.
_MAX_BATCHES = 120


def handler(_event: dict[str, Any], _context: Any) -> dict[str, int]:
    """Works in batches, each committed and then signed, until nothing waits; what remains is for the next run."""
    renew_secrets()
    taken = 0
    for _ in range(_MAX_BATCHES):
        batch = database().write(lambda tx: log.take_in(tx, BATCH))
        # Also what a run before this one has taken in and could not sign.
        size = checkpoints.newest().size
        taken += batch
        if batch < BATCH:
            break
    if taken:
        logger.info("log grown", extra={"taken": taken, "size": size})
    schedule_ran("receipt-log")
    return {"taken": taken, "size": size}
