"""Users: the owners of wallets."""

from sqlalchemy import Connection, func, select

from coordinator.core import clock
from coordinator.users.models import users
from coordinator.users.schemas import UserRead


def read_user(tx: Connection, user_id: str) -> UserRead:
    """A user who exists."""
    user = tx.execute(select(users).where(users.c.id == user_id)).one()
    return UserRead(
        id=user.id,
        wallet_address=user.wallet,
        created_at=clock.rfc3339(user.created_us),
        last_login_at=None if user.last_login_us is None else clock.rfc3339(user.last_login_us),
    )


def count(tx: Connection) -> int:
    return tx.execute(select(func.count()).select_from(users)).scalar_one()
