"""Users: one for each wallet, whoever asks first and how many at once."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from coordinator.core.database import database
from coordinator.users.ensuring import ensure, ensure_user
from tests.api import Api
from tests.bench.processes import together
from tests.integration.keyed import count

WALLET = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"


def test_a_wallet_has_one_user(api: Api) -> None:
    first = database().write(lambda tx: ensure(tx, WALLET))
    again = database().write(lambda tx: ensure(tx, WALLET))
    other = database().write(lambda tx: ensure(tx, WALLET.replace("f39", "e39")))

    assert (first.created, again.created, other.created) == (True, False, True)
    assert first.user_id == again.user_id != other.user_id


def test_an_undone_transaction_makes_no_user(api: Api) -> None:
    class Undone(Exception):
        pass

    def work(tx: Connection) -> None:
        ensure_user(tx, WALLET)
        raise Undone

    with pytest.raises(Undone):
        database().write(work)

    assert count("users") == 0


def test_many_at_once_find_one_user(api: Api) -> None:
    wallets = [f"wallet-{number}" for number in range(10)]

    found = together(*[(ensure_all, (wallets,))] * 4)

    assert len({tuple(ids) for ids in found}) == 1
    assert count("users") == 10


def ensure_all(meet: Callable[[], object], wallets: list[str]) -> list[str]:
    ids = []
    for wallet in wallets:
        meet()
        ids.append(database().write(lambda tx, wallet=wallet: ensure_user(tx, wallet)))
    return ids
