"""Keys that belong to users, and money for them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from tests.api import ADMIN, Api

# 20 bytes in the three ways in which they may be written.
ALICE, ALICE_AIT, ALICE_AITBC = (prefix + "a1" * 20 for prefix in ("0x", "ait1", "aitbc1"))
BOB, CAROL = "0x" + "b0" * 20, "0x" + "ca" * 20


def give_users(monkeypatch: pytest.MonkeyPatch, wallets: Mapping[str, str]) -> dict[str, str]:
    """Makes keys those of users, by their wallets; gives the users' ids by wallet."""
    from coordinator.http import route

    authenticate = route.authenticate
    ids = {wallet: user_of(wallet) for wallet in wallets.values()}

    def authenticate_users(key: str | None, *role: Any) -> Any:
        principal = authenticate(key, *role)
        return replace(principal, user_id=ids[wallets[key]]) if key in wallets else principal

    monkeypatch.setattr(route, "authenticate", authenticate_users)
    return ids


def user_of(wallet: str) -> str:
    from coordinator.core.database import database
    from coordinator.users.ensuring import ensure_user

    return database().write(lambda tx: ensure_user(tx, wallet))


def give(api: Api, user_id: str, amount: str) -> None:
    answer = api.as_(ADMIN).post(f"/v1/admin/users/{user_id}/adjust", {"amount": amount, "reason": "a test"})
    assert answer.status == 201, answer.text


def balance(api: Api, user_id: str) -> tuple[str, str]:
    """What is available, and what is held."""
    answer = api.as_(ADMIN).get(f"/v1/users/{user_id}/balance")
    assert answer.status == 200, answer.text
    return answer.json["available"], answer.json["held"]


def statement(api: Api, user_id: str) -> list[tuple[str, str]]:
    """All transactions, oldest first, as kind and amount."""
    items = api.as_(ADMIN).get(f"/v1/users/{user_id}/transactions?limit=200").json["items"]
    return [(item["kind"], item["amount"]) for item in reversed(items)]


def broken_laws() -> dict[str, list[str]]:
    from coordinator.core.database import database
    from coordinator.ledger import check

    return database().snapshot(check.broken_laws)


def entries() -> int:
    from coordinator.core.database import database

    return int(database().read(lambda tx: tx.scalar(text("SELECT count(*) FROM ledger_entries")) or 0))
