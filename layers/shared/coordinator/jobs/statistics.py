"""How many jobs there are and how long they take, for operators."""

from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, select

from coordinator.core import clock
from coordinator.jobs.gauges import gauges
from coordinator.receipts.models import receipts

# So many of the latest completed jobs make the average.
_AVERAGED = 1000
_LATEST = (
    select((receipts.c.completed_us - receipts.c.started_us).label("took_us"))
    .order_by(receipts.c.id.desc())
    .limit(_AVERAGED)
    .subquery("latest")
)
_AVERAGE = select(func.avg(_LATEST.c.took_us))


class JobCounts(BaseModel):
    """How many jobs there are."""

    pending: int = Field(description="Those that wait for a miner.")
    running: int = Field(description="Those that a miner holds.")
    completed: int = Field(description="Those that have a result.")
    failed: int = Field(description="Those that ended without one, cancelled ones too.")


class JobStatistics(BaseModel):
    """How many jobs there are, and how long they take."""

    jobs: JobCounts
    oldest_pending_seconds: float | None = Field(
        description="How long ago the oldest of the waiting jobs was submitted; null when none waits."
    )
    average_job_seconds: float | None = Field(
        description="From lease to result, over the latest 1000 completed jobs; null before the first."
    )


def statistics(tx: Connection) -> JobStatistics:
    now = gauges(tx)
    average_us = tx.scalar(_AVERAGE)
    return JobStatistics(
        jobs=JobCounts(pending=now.pending, running=now.running, completed=now.completed, failed=now.failed),
        oldest_pending_seconds=now.oldest_pending_age_seconds if now.pending else None,
        average_job_seconds=None if average_us is None else round(float(average_us) / clock.SECOND_US, 3),
    )
