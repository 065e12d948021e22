"""Whose key is one that a user has made, as each call asks."""

import re
from typing import NamedTuple

from sqlalchemy import bindparam, or_, select, update

from coordinator.core.clock import SECOND_US, NowUs
from coordinator.core.database import database
from coordinator.users.digests import possible_digests
from coordinator.users.models import user_keys

PREFIX = "aitbc_"
# Anything else needs no look at the database.
_FORM = re.compile(PREFIX + "[A-Za-z0-9_-]{43}")
# How precisely it is known when a key was used last; that it is used costs no more writes than this.
_NOTED_EACH_US = 60 * SECOND_US

_FIND = select(
    user_keys.c.id,
    user_keys.c.user_id,
    user_keys.c.role,
    or_(user_keys.c.last_used_us.is_(None), user_keys.c.last_used_us <= NowUs() - _NOTED_EACH_US).label("to_note"),
).where(user_keys.c.digest.in_(bindparam("digests", expanding=True)), user_keys.c.revoked_us.is_(None))
_NOTE = update(user_keys).where(user_keys.c.id == bindparam("key_id")).values(last_used_us=NowUs())


class Used(NamedTuple):
    user_id: str
    role: str


def use(key: str) -> Used | None:
    """Whose key it is and what for, noting that it was used; None if there is none such, or it was revoked."""
    if _FORM.fullmatch(key) is None:
        return None
    found = database().read(lambda tx: tx.execute(_FIND, {"digests": possible_digests(named(key))}).first())
    if found is None:
        return None
    if found.to_note:
        database().write(lambda tx: tx.execute(_NOTE, {"key_id": found.id}))
    return Used(found.user_id, found.role)


def named(key: str) -> str:
    """What the digest of a key is made of."""
    return "user-key:" + key
