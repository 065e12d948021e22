"""Taking jobs on PostgreSQL: one statement finds the best, takes them and leases them to a miner.

It comes in a few kinds, as a plan with less in it is begun sooner: for one job or several, of one class or several, for
a miner of price zero or another, and inside a transaction that has looked at the miner before or as nearly all there is
of one.
"""

from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, literal_column, text
from sqlalchemy.dialects.postgresql.base import PGDialect

from coordinator.core import clock
from coordinator.core.prepared import Prepared
from coordinator.jobs.classes import NEWEST_CLASS
from coordinator.jobs.expiry import anything_overdue
from coordinator.jobs.heads import HEADS_FOR_FREE_POSTGRES, HEADS_POSTGRES, ORDER
from coordinator.jobs.models import HELD

# Nothing of a caller is ever put into these texts; what varies is bound.
# ruff: noqa: S608
# Counted by the statement that takes: what was read with the miner may be older than the lock on it.
_ROOM = f"least(:most, :concurrency - (SELECT count(*) FROM attempts WHERE {HELD} AND attempts.miner_id = :miner_id))"
_NOW = clock.NOW_US_SQL["postgresql"]


def _sql(expression: ColumnElement[Any]) -> str:
    return str(expression.compile(dialect=PGDialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[no-untyped-call]


_OVERDUE = anything_overdue(
    literal_column("present.now_us"), literal_column("present.now_us - CAST(:heartbeat_timeout_us AS bigint)")
)
# Nothing is taken, and the caller looks at everything one by one, unless all is as it was when this process last did.
_AS_KNOWN = f"""
miners.owner_id = :owner_id AND miners.registered AND NOT miners.disabled AND miners.status = 'active'
AND miners.profile_sha256 = :profile_sha256 AND miners.price_atoms = :price AND miners.concurrency = :concurrency
AND {_sql(NEWEST_CLASS)} = :newest_class AND ({_sql(_OVERDUE)}) IS NOT TRUE
"""
_ASKING = f"SELECT {_ROOM} AS room"
_ASKING_ALONE = f"""
SELECT miners.last_assigned_us, present.now_us,
    CASE WHEN {_AS_KNOWN} THEN {_ROOM} ELSE 0 END AS room
FROM miners CROSS JOIN (SELECT {_NOW} AS now_us) AS present WHERE miners.id = :miner_id
"""
# The best class is found first, and then its first job that nobody else holds; so only the job that is taken is locked.
_ONE = f"""
best AS (
    SELECT j.class_number, j.priority FROM asking, {{heads}} WHERE asking.room > 0 ORDER BY {ORDER("j")} LIMIT 1
), chosen AS (
    SELECT h.id FROM jobs AS h
    WHERE h.status = 'pending' AND h.class_number = (SELECT class_number FROM best)
        AND h.priority <= (SELECT priority FROM best) AND {{pays}}
    ORDER BY {ORDER("h")} LIMIT 1 FOR UPDATE SKIP LOCKED
), wanted AS (
    SELECT class_number, 1 AS jobs FROM best
)
"""
# Of the best classes the best jobs are found first, then as many of each class and priority as there are among them.
_SEVERAL = f"""
best AS (
    SELECT j.class_number, j.priority FROM asking, {{heads}} WHERE asking.room > 0
    ORDER BY {ORDER("j")} LIMIT (SELECT room FROM asking)
), share AS (
    SELECT w.class_number, w.priority, count(*) AS jobs FROM (
        SELECT w.class_number, w.priority FROM best CROSS JOIN LATERAL ({{first}}) AS w
        ORDER BY {ORDER("w")} LIMIT (SELECT room FROM asking)
    ) AS w
    GROUP BY w.class_number, w.priority
), chosen AS (
    SELECT w.id FROM share CROSS JOIN LATERAL (
        SELECT h.id FROM jobs AS h
        WHERE h.status = 'pending' AND h.class_number = share.class_number AND h.priority = share.priority AND {{pays}}
        ORDER BY {ORDER("h")} LIMIT share.jobs FOR UPDATE SKIP LOCKED
    ) AS w
), wanted AS (
    SELECT CAST(NULL AS bigint) AS class_number, CAST(sum(jobs) AS bigint) AS jobs FROM share
)
"""
# Of one class all of whose jobs pay enough, they stand in the index as they are to be handed out. What others are just
# taking is as good as gone.
_OF_ONE_CLASS = f"""
chosen AS (
    SELECT h.id FROM jobs AS h
    WHERE h.status = 'pending' AND h.class_number = (CAST(:classes AS bigint[]))[1]
    ORDER BY {ORDER("h")} LIMIT (SELECT greatest(room, 0) FROM asking) FOR UPDATE SKIP LOCKED
), wanted AS (
    SELECT CAST(NULL AS bigint) AS class_number, count(*) AS jobs FROM chosen
)
"""
_FIRST_OF_CLASS = f"""
SELECT h.class_number, h.priority, h.max_price_atoms, h.id FROM jobs AS h
WHERE h.status = 'pending' AND h.class_number = best.class_number
ORDER BY {ORDER("h")} LIMIT (SELECT room FROM asking)
"""
# Priority by priority, so that no job is looked at that pays too little.
_FIRST_OF_CLASS_THAT_PAY = f"""
SELECT f.class_number, f.priority, f.max_price_atoms, f.id
FROM generate_series(0, best.priority) AS p(priority) CROSS JOIN LATERAL (
    SELECT h.class_number, h.priority, h.max_price_atoms, h.id FROM jobs AS h
    WHERE h.status = 'pending' AND h.class_number = best.class_number AND h.priority = p.priority
        AND h.max_price_atoms >= :price
    ORDER BY {ORDER("h")} LIMIT (SELECT room FROM asking)
) AS f
ORDER BY {ORDER("f")} LIMIT (SELECT room FROM asking)
"""
_PAYS = "h.max_price_atoms >= :price"
# The times are the update's own: a lease of the job that ended before must not end after this begins. A job that is
# past its time gets no lease, which tells the caller to end it; alone it was in time a moment ago, so others will.
_TAKE = f"""
WITH asking AS MATERIALIZED (
    {{asking}}
), {{choose}}, taken AS (
    UPDATE jobs
    SET status = 'running', attempts = attempts + 1, miner_id = :miner_id, started_us = {_NOW}, updated_us = {_NOW}
    WHERE id {{chosen}}
    RETURNING id, job_type, parameters, constraints, attempts, max_attempts, timeout_seconds, expires_us, started_us,
        priority, max_price_atoms, payer_id, holds
), leased AS (
    INSERT INTO attempts (job_id, attempt, miner_id, lease_token, started_us, lease_expires_us, deadline_us,
        progress_percent)
    SELECT id, attempts, :miner_id, replace(CAST(gen_random_uuid() AS text), '-', ''), started_us,
        least(started_us + :lease_us, deadline_us), deadline_us, 0
    FROM (SELECT *, started_us + CAST(timeout_seconds AS bigint) * {clock.SECOND_US} AS deadline_us FROM taken) AS t
    {{unless}}
    RETURNING job_id, lease_token
)
SELECT asking.*, wanted.class_number, wanted.jobs AS wanted, taken.*, leased.lease_token
FROM asking LEFT JOIN wanted ON true LEFT JOIN (taken LEFT JOIN leased ON leased.job_id = taken.id) ON true
{{order}}
"""


@cache
def statement(*, alone: bool, several: bool, one_class: bool, free: bool) -> Prepared:
    """What takes jobs.

    Args:
        alone: whether it must see for itself that it may, and stand without what a caller would do after it.
        several: for more than one job.
        one_class: of no more than one class.
        free: for a miner that asks for no pay.
    """
    choose = (_OF_ONE_CLASS if one_class and free else _SEVERAL if several else _ONE).format(
        heads=HEADS_FOR_FREE_POSTGRES if free else HEADS_POSTGRES,
        first=_FIRST_OF_CLASS if free else _FIRST_OF_CLASS_THAT_PAY,
        pays="true" if free else _PAYS,
    )
    return Prepared(
        text(
            _TAKE.format(
                asking=_ASKING_ALONE if alone else _ASKING,
                choose=choose,
                chosen="= ANY (ARRAY(SELECT id FROM chosen))" if several else "= (SELECT id FROM chosen)",
                unless="" if alone else "WHERE expires_us > started_us",
                order="ORDER BY taken.priority DESC, taken.max_price_atoms DESC, taken.id" if several else "",
            )
        )
    )
