"""What the metrics and the statistics tell of payments, at a cost that does not depend on their number."""

from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from coordinator.core import clock
from coordinator.payments.models import WATCHED, payment_chain, payment_counts, payments

_LONGEST_DUE = select(func.min(payments.c.check_us)).where(text(WATCHED))


class PaymentGauges(NamedTuple):
    # By status.
    payments: dict[str, int]
    # For how long the payment that waits longest to be looked up on the chain has been due; 0 if none is.
    overdue_seconds: float
    # None before the first reading.
    chain_height: int | None
    chain_read_at_seconds: float | None


def payment_gauges(tx: Connection) -> PaymentGauges:
    due_us = tx.scalar(_LONGEST_DUE)
    overdue = 0.0 if due_us is None else clock.seconds_until(clock.now_us(tx), due_us)
    seen = tx.execute(select(payment_chain)).first()
    return PaymentGauges(
        by_status(tx),
        overdue,
        None if seen is None else seen.height,
        None if seen is None else seen.read_us / clock.SECOND_US,
    )


def by_status(tx: Connection) -> dict[str, int]:
    return {row.status: row.payments for row in tx.execute(select(payment_counts).order_by(payment_counts.c.status))}
