"""API keys that users make for their programs; what those do belongs to the user."""

import secrets
from typing import Any

from sqlalchemy import Connection, insert, select, update

from coordinator.core import clock
from coordinator.core.clock import NowUs
from coordinator.core.ids import is_id, new_id
from coordinator.core.pages import fetch_page
from coordinator.core.schemas import Page, PageQuery
from coordinator.users.digests import present_digest
from coordinator.users.errors import ApiKeyNotFound
from coordinator.users.key_lookup import PREFIX, named
from coordinator.users.models import user_keys
from coordinator.users.schemas import ApiKeyCreate, ApiKeyCreatedRead, ApiKeyRead

_KEY_BYTES = 32


def create(tx: Connection, user_id: str, body: ApiKeyCreate) -> ApiKeyCreatedRead:
    """Makes a key; it is told now and never again."""
    key = PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    now = clock.now_us(tx)
    row = {
        "id": new_id(),
        "user_id": user_id,
        "role": body.role,
        "name": body.name,
        "digest": present_digest(named(key)),
        "created_us": now,
        "last_used_us": None,
        "revoked_us": None,
    }
    tx.execute(insert(user_keys), row)
    return ApiKeyCreatedRead(
        id=row["id"], role=body.role, name=body.name, created_at=clock.rfc3339(now), last_used_at=None, api_key=key
    )


def page(tx: Connection, user_id: str, query: PageQuery) -> Page[ApiKeyRead]:
    """The keys of a user that are good, newest first."""
    good = select(user_keys).where(user_keys.c.user_id == user_id, user_keys.c.revoked_us.is_(None))
    rows, next_cursor = fetch_page(tx, good, user_keys.c.id, query)
    return Page(items=[_read(row) for row in rows], next_cursor=next_cursor)


def revoke(tx: Connection, user_id: str, key_id: str) -> None:
    """Makes a key good for nothing, in all environments at once; again changes nothing.

    Raises:
        ApiKeyNotFound: this user has no such key.
    """
    this = (user_keys.c.id == key_id, user_keys.c.user_id == user_id)
    if not is_id(key_id) or tx.execute(select(user_keys.c.id).where(*this)).first() is None:
        raise ApiKeyNotFound
    tx.execute(update(user_keys).where(*this, user_keys.c.revoked_us.is_(None)).values(revoked_us=NowUs()))


def _read(key: Any) -> ApiKeyRead:
    return ApiKeyRead(
        id=key.id,
        role=key.role,
        name=key.name,
        created_at=clock.rfc3339(key.created_us),
        last_used_at=None if key.last_used_us is None else clock.rfc3339(key.last_used_us),
    )
