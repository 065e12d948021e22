"""How many jobs there are of each status, known without counting them.

Triggers of the database keep the counts in the transaction of each change, whatever statement makes it. Each connection
has a row of its own to add to (of 1,024 on Postgres, by its server process), so they do not wait for each other.
"""

from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, func, select, text

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.jobs.models import PENDING, job_counts, jobs
from coordinator.miners.models import IS_ACTIVE, miners

_NOW = clock.PRESENT.c.now_us
_GAUGES = select(
    *(func.sum(column).label(column.name) for column in job_counts.c if column.name != "shard"),
    select(func.min(jobs.c.created_us)).where(text(PENDING)).scalar_subquery().label("oldest_us"),
    select(func.count())
    .select_from(miners, clock.PRESENT)
    .where(text(IS_ACTIVE), miners.c.last_heartbeat_us > _NOW - bindparam("timeout_us", type_=BigInteger))
    .scalar_subquery()
    .label("miners"),
    clock.NowUs().label("now_us"),
)


class Gauges(NamedTuple):
    pending: int
    running: int
    completed: int
    failed: int
    lease_expiries: int
    oldest_pending_age_seconds: float
    # Those that are heard of, whether or not a sweep has come by since.
    active_miners: int


def gauges(tx: Connection) -> Gauges:
    """The state of the market, at a cost that does not depend on the number of jobs."""
    timeout_us = settings().heartbeat_timeout_seconds * clock.SECOND_US
    found = tx.execute(_GAUGES, {"timeout_us": timeout_us}).one()
    return Gauges(
        pending=int(found.pending),
        running=int(found.running),
        completed=int(found.completed),
        failed=int(found.failed),
        lease_expiries=int(found.lease_expiries),
        oldest_pending_age_seconds=(
            0.0 if found.oldest_us is None else max(0, found.now_us - found.oldest_us) / clock.SECOND_US
        ),
        active_miners=found.miners,
    )
