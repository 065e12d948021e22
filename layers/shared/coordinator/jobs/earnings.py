"""What a miner has earned by its completed jobs."""

from sqlalchemy import Connection, func, select

from coordinator.core import clock
from coordinator.core.money import format_aitbc
from coordinator.core.pages import fetch_page
from coordinator.core.schemas import PageQuery
from coordinator.miners import service as miners_service
from coordinator.miners.schemas import EarningRead, EarningsRead
from coordinator.receipts.models import receipts


def earnings(tx: Connection, owner_id: str, miner_id: str | None, query: PageQuery) -> EarningsRead:
    miner = miners_service.acting(tx, owner_id, miner_id, registered=False, lookup=miners_service.READ)
    of_miner = receipts.c.miner_id == miner.id
    settled, total = tx.execute(
        select(func.count(), func.coalesce(func.sum(receipts.c.price_atoms), 0)).where(of_miner)
    ).one()
    columns = (receipts.c.id, receipts.c.job_id, receipts.c.price_atoms, receipts.c.completed_us)
    rows, next_cursor = fetch_page(tx, select(*columns).where(of_miner), receipts.c.id, query)
    return EarningsRead(
        total=format_aitbc(int(total)),
        settled_jobs=settled,
        items=[
            EarningRead(
                job_id=row.job_id,
                receipt_id=row.id,
                amount=format_aitbc(row.price_atoms),
                completed_at=clock.rfc3339(row.completed_us),
            )
            for row in rows
        ],
        next_cursor=next_cursor,
    )
