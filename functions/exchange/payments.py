"""Scheduled: credits what the chain confirms, and takes back what it does not have any more."""

from typing import Any

from coordinator.core.log import logger
from coordinator.metrics.flushing import schedule_ran
from coordinator.payments.check import check_due


def handler(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Reads the chain for the payments that are due; what remains, or could not be read, is for the next run."""
    checked = check_due()
    if checked.payments:
        logger.info("payments checked", extra=checked._asdict())
    schedule_ran("payments")
    return checked._asdict()
