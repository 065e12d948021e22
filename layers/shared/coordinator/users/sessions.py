"""Sessions: who has logged in, in every execution environment, until the time is up or the user has logged out."""

import re
import secrets
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select

from coordinator.core.clock import SECOND_US, NowUs
from coordinator.core.database import database
from coordinator.core.forgetting import A_FEW, delete_old
from coordinator.users.digests import possible_digests, present_digest
from coordinator.users.errors import SessionRequired
from coordinator.users.keys import Principal
from coordinator.users.models import sessions

LIFETIME_US = 24 * 3600 * SECOND_US

_TOKEN_BYTES = 32
# What `secrets.token_urlsafe` makes of so many bytes; anything else needs no look at the database.
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")
_FIND = select(sessions.c.user_id).where(
    sessions.c.digest.in_(bindparam("digests", expanding=True)), sessions.c.expires_us > NowUs()
)


class Opened(NamedTuple):
    token: str
    expires_us: int


def open_session(tx: Connection, user_id: str, now_us: int) -> Opened:
    """Begins a session; its token is told now and never again."""
    delete_old(tx, sessions.c.expires_us, now_us, A_FEW)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    expires_us = now_us + LIFETIME_US
    row = {"digest": present_digest(_named(token)), "user_id": user_id, "created_us": now_us, "expires_us": expires_us}
    tx.execute(insert(sessions), row)
    return Opened(token, expires_us)


def authenticate_session(token: str | None) -> Principal:
    """Tells which user calls.

    Raises:
        SessionRequired: there is no token, or its session has ended.
    """
    if not token:
        raise SessionRequired
    user_id = database().read(lambda tx: _find(tx, token)) if _FORM.fullmatch(token) else None
    if user_id is None:
        raise SessionRequired("This session has ended; log in again.")
    return Principal(user_id, user_id)


def close_session(tx: Connection, token: str) -> None:
    """Ends a session, in all environments at once."""
    tx.execute(delete(sessions).where(sessions.c.digest.in_(possible_digests(_named(token)))))


def close_sessions(tx: Connection, user_id: str) -> None:
    """Ends all sessions of a user."""
    tx.execute(delete(sessions).where(sessions.c.user_id == user_id))


def _find(tx: Connection, token: str) -> str | None:
    return tx.scalar(_FIND, {"digests": possible_digests(_named(token))})


def _named(token: str) -> str:
    return "session:" + token
