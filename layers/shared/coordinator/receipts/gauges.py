"""What the metrics tell of the log, at a cost that does not depend on its size."""

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from coordinator.core.clock import SECOND_US
from coordinator.receipts import checkpoints, log
from coordinator.receipts.models import receipt_log_waiting

# Whether there are ten thousand or a million, the schedule does not run.
_MOST_COUNTED = 10_000
_A_FEW = select(receipt_log_waiting.c.receipt_id).limit(_MOST_COUNTED).subquery()
_WAITING = select(func.count()).select_from(_A_FEW)


class LogGauges(NamedTuple):
    size: int
    # Counted up to ten thousand.
    waiting: int
    # None before the first checkpoint.
    signed_at_seconds: float | None


def log_gauges(tx: Connection) -> LogGauges:
    signed = checkpoints.latest(tx)
    waiting = tx.execute(_WAITING).scalar_one()
    return LogGauges(log.size(tx), waiting, None if signed is None else signed.created_us / SECOND_US)
