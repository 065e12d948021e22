"""What users have, and how it came to be."""

from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, select, text

from coordinator.core import clock
from coordinator.core.ids import is_id
from coordinator.core.money import format_aitbc
from coordinator.core.pages import fetch_page
from coordinator.core.schemas import Page, PageQuery
from coordinator.ledger.errors import NoSuchUser
from coordinator.ledger.models import AVAILABLE, ledger_accounts, ledger_entries
from coordinator.ledger.schemas import BalanceRead, TransactionRead
from coordinator.users.models import users

# A user who was never paid has no accounts.
WITH_BALANCE: Select[Any] = select(
    users,
    func.coalesce(ledger_accounts.c.available_atoms, 0).label("available_atoms"),
    func.coalesce(ledger_accounts.c.held_atoms, 0).label("held_atoms"),
).outerjoin(ledger_accounts, ledger_accounts.c.owner_id == users.c.id)
_ONE = WITH_BALANCE.where(users.c.id == bindparam("user_id"))


def balance(tx: Connection, user_id: str) -> BalanceRead:
    """What a user has.

    Raises:
        NoSuchUser: there is no such user.
    """
    return BalanceRead(user_id=user_id, **amounts(find(tx, user_id)))


def transactions(tx: Connection, user_id: str, query: PageQuery) -> Page[TransactionRead]:
    """All changes of what a user has available, newest first.

    Raises:
        NoSuchUser: there is no such user.
    """
    find(tx, user_id)
    own = select(ledger_entries).where(ledger_entries.c.owner_id == user_id, text(AVAILABLE))
    rows, next_cursor = fetch_page(tx, own, ledger_entries.c.id, query)
    items = [
        TransactionRead(
            id=row.id,
            kind=row.kind,
            amount=format_aitbc(row.amount_atoms),
            job_id=row.job_id,
            payment_id=row.payment_id,
            created_at=clock.rfc3339(row.created_us),
        )
        for row in rows
    ]
    return Page(items=items, next_cursor=next_cursor)


def find(tx: Connection, user_id: str) -> Row[Any]:
    """A user with the balance.

    Raises:
        NoSuchUser: there is no such user.
    """
    found = tx.execute(_ONE, {"user_id": user_id}).first() if is_id(user_id) else None
    if found is None:
        raise NoSuchUser
    return found


def amounts(row: Any) -> dict[str, Any]:
    """The fields of `schemas.Balance`, of a row of `WITH_BALANCE`."""
    available, held = row.available_atoms, row.held_atoms
    return {
        "currency": "AITBC",
        "available": format_aitbc(available),
        "held": format_aitbc(held),
        "total": format_aitbc(available + held),
    }
