"""What operators see of users, and the one thing by which they make and destroy money."""

from typing import Any

from sqlalchemy import Connection

from coordinator.audit.service import record
from coordinator.core import clock
from coordinator.core.ids import new_id
from coordinator.core.money import format_aitbc
from coordinator.core.pages import fetch_page
from coordinator.core.schemas import Page, PageQuery
from coordinator.ledger.models import ISSUANCE
from coordinator.ledger.postings import Account, Kind, Move, post, write_postings
from coordinator.ledger.schemas import Adjustment, UserOperatorRead
from coordinator.ledger.service import WITH_BALANCE, amounts, find
from coordinator.users.models import users


def adjust(tx: Connection, admin_id: str, user_id: str, body: Adjustment) -> UserOperatorRead:
    """Gives a user money, or takes some that is available.

    Raises:
        NoSuchUser: there is no such user.
        InsufficientFunds: so much is not available; raised when the transaction ends.
        BalanceTooLarge: the user would have more than anybody may; raised when the transaction ends.
    """
    user, issuance = Account(find(tx, user_id).id), Account(ISSUANCE)
    source, target = (issuance, user) if body.amount > 0 else (user, issuance)
    move = Move(abs(body.amount), source, target, Kind.ADJUSTMENT)
    post(tx, f"adjustment:{new_id()}", move, now_us=clock.now_us(tx))
    record(tx, admin_id, "user.adjust", user_id, amount=format_aitbc(body.amount), reason=body.reason)
    write_postings(tx)
    return _read(find(tx, user_id))


def page(tx: Connection, query: PageQuery) -> Page[UserOperatorRead]:
    """All users, newest first."""
    rows, next_cursor = fetch_page(tx, WITH_BALANCE, users.c.id, query)
    return Page(items=[_read(row) for row in rows], next_cursor=next_cursor)


def _read(row: Any) -> UserOperatorRead:
    return UserOperatorRead(
        id=row.id,
        wallet_address=row.wallet,
        created_at=clock.rfc3339(row.created_us),
        last_login_at=None if row.last_login_us is None else clock.rfc3339(row.last_login_us),
        **amounts(row),
    )
