"""The numbers of all subjects in one body."""

from pydantic import Field
from sqlalchemy import Connection

from coordinator.jobs.statistics import JobStatistics, statistics
from coordinator.miners.operations import MinerCounts
from coordinator.miners.operations import count as count_miners
from coordinator.payments.gauges import by_status as payments_by_status
from coordinator.users.service import count as count_users


class StatsRead(JobStatistics):
    """The market in numbers."""

    miners: MinerCounts
    users: int = Field(description="Users: wallets that have logged in or were paid.")
    payments: int = Field(description="Payments of any status.")


def stats(tx: Connection) -> StatsRead:
    return StatsRead(
        **statistics(tx).model_dump(),
        miners=count_miners(tx),
        users=count_users(tx),
        payments=sum(payments_by_status(tx).values()),
    )
