"""Scheduled: ends what the clock has ended, for miners that do not ask and jobs that nobody asks for."""

from typing import Any

from coordinator.core import clock
from coordinator.core.database import database
from coordinator.core.log import logger
from coordinator.core.rates import rates
from coordinator.idempotency.service import forget_old
from coordinator.jobs.expiry import sweep
from coordinator.metrics.flushing import schedule_ran

_BATCH = 200
_MAX_BATCHES = 100


def handler(_event: dict[str, Any], _context: Any) -> dict[str, int]:
    """Works in batches, each committed, until nothing is left; what remains is for the next run."""
    totals = {"expired_jobs": 0, "expired_leases": 0, "silent_miners": 0, "forgotten_answers": 0}
    for _ in range(_MAX_BATCHES):
        swept = database().write(lambda tx: sweep(tx, clock.now_us(tx), _BATCH))
        for name, count in swept._asdict().items():
            totals[name] += count
        if max(swept) == 0:
            break
    for _ in range(_MAX_BATCHES):
        forgotten = database().write(lambda tx: forget_old(tx, clock.now_us(tx), _BATCH))
        totals["forgotten_answers"] += forgotten
        if forgotten == 0:
            break
    if any(totals.values()):
        logger.info("swept", extra=totals)
    rates().sweep()
    schedule_ran("heartbeats")
    return totals
