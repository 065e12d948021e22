"""Having the user of a wallet there, who is made when the wallet is first seen."""

from typing import NamedTuple

from sqlalchemy import Connection, select, text

from coordinator.core import clock
from coordinator.core.database import insert_new
from coordinator.core.ids import new_id
from coordinator.core.prepared import Prepared
from coordinator.users.models import users

_MAKE = """
INSERT INTO users (id, wallet, created_us)
SELECT :id, CAST(:wallet AS text), {now} WHERE NOT EXISTS (SELECT 1 FROM users WHERE wallet = CAST(:wallet AS text))
ON CONFLICT DO NOTHING
"""
_ENSURE = Prepared(
    text(_MAKE.format(now=clock.NOW_US_SQL["postgresql"])), sqlite=text(_MAKE.format(now=clock.NOW_US_SQL["sqlite"]))
)


class Ensured(NamedTuple):
    user_id: str
    created: bool


def ensure_user(tx: Connection, wallet: str) -> str:
    """The id of the user of a wallet in canonical form, who is made if there is none."""
    return ensure(tx, wallet).user_id


def ensure(tx: Connection, wallet: str) -> Ensured:
    """The same, and whether the user was made."""
    known = _find(tx, wallet)
    if known is not None:
        return Ensured(known, created=False)
    user_id = new_id()
    # Of several at once the first one's id stays; the others wait here and then read it.
    insert_new(tx, users, {"id": user_id, "wallet": wallet, "created_us": clock.now_us(tx), "last_login_us": None})
    found = str(_find(tx, wallet))
    return Ensured(found, created=found == user_id)


def ensure_user_later(tx: Connection, wallet: str) -> None:
    """Has the user of a wallet in canonical form there by the next statement of the transaction, without asking who."""
    _ENSURE.later(tx, {"id": new_id(), "wallet": wallet})


def _find(tx: Connection, wallet: str) -> str | None:
    return tx.scalar(select(users.c.id).where(users.c.wallet == wallet))
