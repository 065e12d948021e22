"""Receipts as they are read; `issuing` makes them, so that whoever only reads needs no cipher."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from coordinator.core import clock
from coordinator.core.money import format_aitbc
from coordinator.core.pages import fetch_page
from coordinator.core.schemas import Page, PageQuery
from coordinator.receipts.models import receipts
from coordinator.receipts.schemas import ReceiptRead


def of_job(tx: Connection, job_id: str) -> ReceiptRead | None:
    row = tx.execute(select(receipts).where(receipts.c.job_id == job_id)).mappings().first()
    return read(row) if row else None


def page(
    tx: Connection, query: PageQuery, *, miner_id: str | None, client_id: str | None, job_id: str | None
) -> Page[ReceiptRead]:
    """All receipts, newest first."""
    wanted = {receipts.c.miner_id: miner_id, receipts.c.client_id: client_id, receipts.c.job_id: job_id}
    conditions = [column == value for column, value in wanted.items() if value is not None]
    found = select(receipts).where(*conditions)
    rows, next_cursor = fetch_page(tx, found, receipts.c.id, query, characters=func.length(receipts.c.result))
    return Page(items=[read(row._asdict()) for row in rows], next_cursor=next_cursor)


def read(row: Mapping[Any, Any]) -> ReceiptRead:
    return ReceiptRead(
        id=row["id"],
        job_id=row["job_id"],
        miner_id=row["miner_id"],
        client_id=row["client_id"],
        result=json.loads(row["result"]),
        result_sha256=row["result_sha256"],
        parameters_sha256=row["parameters_sha256"],
        units=row["units"],
        unit_type=row["unit_type"],
        price=format_aitbc(row["price_atoms"]),
        started_at=clock.rfc3339(row["started_us"]),
        completed_at=clock.rfc3339(row["completed_us"]),
        proof=row["proof"],
        created_at=clock.rfc3339(row["created_us"]),
    )
