"""The audit: which admin changed what and when, written in the transaction of the change."""

import json
from typing import Any

from sqlalchemy import Connection, insert, select

from coordinator.audit.models import audit
from coordinator.audit.schemas import AuditEntryRead
from coordinator.core import clock
from coordinator.core.ids import new_id
from coordinator.core.pages import fetch_page
from coordinator.core.schemas import Page, PageQuery


def record(tx: Connection, admin_id: str, action: str, subject: str, **details: Any) -> None:
    """Notes a change; it is there when the change is, and only then."""
    entry = {
        "id": new_id(),
        "admin_id": admin_id,
        "action": action,
        "subject": subject,
        "details": json.dumps(details),
        "created_us": clock.now_us(tx),
    }
    tx.execute(insert(audit), entry)


def page(tx: Connection, query: PageQuery) -> Page[AuditEntryRead]:
    """All changes, newest first."""
    rows, next_cursor = fetch_page(tx, select(audit), audit.c.id, query)
    items = [
        AuditEntryRead(
            id=row.id,
            admin=row.admin_id,
            action=row.action,
            subject=row.subject,
            details=json.loads(row.details),
            created_at=clock.rfc3339(row.created_us),
        )
        for row in rows
    ]
    return Page(items=items, next_cursor=next_cursor)
