"""How many jobs there are, for operators."""

from sqlalchemy import Connection, func, select, text

from coordinator.core import clock
from coordinator.jobs.lifecycle import attempts, jobs
from coordinator.jobs.models import LIVE
from coordinator.jobs.schemas import JobCounts, JobStatistics
from coordinator.receipts.service import receipts

# So many of the latest completed jobs make the average.
_AVERAGED = 1000
_WAITING = (
    select(func.count().label("pending"), func.min(jobs.c.id).label("oldest"))
    .where(text("jobs.status = 'pending'"))
    .subquery("waiting")
)
_LATEST = (
    select((receipts.c.completed_us - receipts.c.started_us).label("took_us"))
    .order_by(receipts.c.id.desc())
    .limit(_AVERAGED)
    .subquery("latest")
)
# A running job has one live attempt, a completed one has one receipt; these are counted by narrow indexes.
_STATISTICS = select(
    _WAITING.c.pending,
    select(jobs.c.created_us)
    .where(jobs.c.id == _WAITING.c.oldest)
    .correlate(_WAITING)
    .scalar_subquery()
    .label("waiting_since"),
    select(func.count()).select_from(attempts).where(text(LIVE)).scalar_subquery().label("running"),
    select(func.count()).select_from(receipts).scalar_subquery().label("completed"),
    select(func.count()).select_from(jobs).where(text("jobs.status = 'failed'")).scalar_subquery().label("failed"),
    select(func.avg(_LATEST.c.took_us)).scalar_subquery().label("average_us"),
    clock.NowUs().label("now_us"),
)


def statistics(tx: Connection) -> JobStatistics:
    """Counts all jobs, by one statement so that the numbers fit together.

    It reads the entries of indexes one by one, so with millions of jobs it takes a second or so; nobody waits for it.
    """
    counted = tx.execute(_STATISTICS).one()
    waiting_since, average_us = counted.waiting_since, counted.average_us
    return JobStatistics(
        jobs=JobCounts(
            pending=counted.pending, running=counted.running, completed=counted.completed, failed=counted.failed
        ),
        oldest_pending_seconds=(None if waiting_since is None else clock.seconds_until(counted.now_us, waiting_since)),
        average_job_seconds=None if average_us is None else round(float(average_us) / clock.SECOND_US, 3),
    )
