"""Scheduled: ends what the clock has ended, for miners that do not ask and jobs that nobody asks for."""

from typing import Any

from sqlalchemy import Connection

from coordinator.core import clock
from coordinator.core.database import database
from coordinator.core.log import logger
from coordinator.core.rates import rates
from coordinator.idempotency.service import forget_old
from coordinator.jobs.expiry import sweep
from coordinator.jobs.gauges import gauges
from coordinator.metrics.flushing import schedule_ran

_BATCH = 200
_MAX_BATCHES = 100
# With less, no miner can be missing for long.
_LONG_SECONDS = 60


def handler(_event: dict[str, Any], _context: Any) -> dict[str, int]:
    """Works in batches, each committed, until nothing is left; what remains is for the next run."""
    totals = {"expired_jobs": 0, "expired_leases": 0, "silent_miners": 0, "forgotten_answers": 0}
    for work in (_sweep, _forget):
        for _ in range(_MAX_BATCHES):
            done = database().write(work)
            for name, count in done.items():
                totals[name] += count
            if not any(done.values()):
                break
    if any(totals.values()):
        logger.info("swept", extra=totals)
    _tell_of_waiting_jobs()
    rates().sweep()
    schedule_ran("heartbeats")
    return totals


def _tell_of_waiting_jobs() -> None:
    """The template makes a metric of this line, and an alarm of that."""
    age_seconds = database().read(gauges).oldest_pending_age_seconds
    if age_seconds >= _LONG_SECONDS:
        logger.info("a job waits", extra={"oldest_pending_seconds": round(age_seconds)})


def _sweep(tx: Connection) -> dict[str, int]:
    return sweep(tx, clock.now_us(tx), _BATCH)._asdict()


def _forget(tx: Connection) -> dict[str, int]:
    return {"forgotten_answers": forget_old(tx, clock.now_us(tx), _BATCH)}
