"""Double-entry bookkeeping: money only moves from one account to another, so all accounts together are always zero.

What a transaction of the database posts is written as the last thing that it does. Accounts are shared by many jobs:
so they are locked for the shortest time, in one order, and while they are nothing else is waited for. A use case may
end many jobs, whose payers come in any order, and can't run into a deadlock with another one.
"""

from collections import defaultdict
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, insert, select, update

from coordinator.core.columns import table_of
from coordinator.core.database import insert_new, last_step
from coordinator.core.ids import new_id
from coordinator.core.money import format_aitbc
from coordinator.ledger.errors import BalanceTooLarge, InsufficientFunds
from coordinator.ledger.models import MOST_ATOMS, SYSTEM, LedgerAccount, LedgerEntry

accounts = table_of(LedgerAccount)
entries = table_of(LedgerEntry)

_INSERT = insert(entries)
_SUM = accounts.c.available_atoms + bindparam("more_available", type_=BigInteger)
_CHANGE = (
    update(accounts)
    .where(accounts.c.owner_id == bindparam("owner"), _SUM.between(bindparam("least", type_=BigInteger), MOST_ATOMS))
    .values(available_atoms=_SUM, held_atoms=accounts.c.held_atoms + bindparam("more_held", type_=BigInteger))
)
_AVAILABLE = select(accounts.c.available_atoms).where(accounts.c.owner_id == bindparam("owner"))


class Part(StrEnum):
    """The accounts that each owner has."""

    AVAILABLE = "available"
    # Of unfinished jobs.
    HELD = "held"


class Kind(StrEnum):
    """What an entry is for."""

    PURCHASE = "purchase"
    HOLD = "hold"
    RELEASE = "release"
    SETTLEMENT = "settlement"
    EARNING = "earning"
    ADJUSTMENT = "adjustment"
    REVERSAL = "reversal"


class Account(NamedTuple):
    owner_id: str
    part: Part = Part.AVAILABLE


class Move(NamedTuple):
    """An amount that goes from one account to another, and as what each owner sees it."""

    amount_atoms: int
    source: Account
    target: Account
    kind: Kind
    target_kind: Kind | None = None


def post(
    tx: Connection, key: str, *moves: Move, now_us: int, job_id: str | None = None, payment_id: str | None = None
) -> None:
    """Makes one transaction of the ledger, all of it or nothing.

    The key names the effect: the database refuses to post it again. Whether the accounts cover it shows when the
    transaction of the database ends, which then fails with `InsufficientFunds`.
    """
    book = last_step(tx, _Book)
    common = {"key": key, "job_id": job_id, "payment_id": payment_id, "created_us": now_us}
    for number, move in enumerate(moves):
        book.enter(move.source, -move.amount_atoms, place=2 * number, kind=move.kind, **common)
        book.enter(move.target, move.amount_atoms, place=2 * number + 1, kind=move.target_kind or move.kind, **common)


def write_postings(tx: Connection) -> None:
    """Writes what was posted until now, for a use case that goes on to read balances.

    Raises:
        InsufficientFunds: an account does not cover it.
        BalanceTooLarge: an account would hold more than any may.
    """
    last_step(tx, _Book).finish(tx)


class _Book:
    """What a transaction of the database has posted."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        # By owner and account.
        self._changes: defaultdict[str, dict[Part, int]] = defaultdict(lambda: dict.fromkeys(Part, 0))

    def enter(self, account: Account, amount_atoms: int, **entry: Any) -> None:
        owner_id, part = account
        named = {"id": new_id(), "owner_id": owner_id, "account": part, "amount_atoms": amount_atoms}
        self._entries.append(named | entry)
        self._changes[owner_id][part] += amount_atoms

    def finish(self, tx: Connection) -> None:
        if not self._entries:
            return
        tx.execute(_INSERT, self._entries)
        for owner_id, change in sorted(self._changes.items()):
            _change(tx, owner_id, change[Part.AVAILABLE], change[Part.HELD])
        self._entries.clear()
        self._changes.clear()


def _change(tx: Connection, owner_id: str, available_atoms: int, held_atoms: int) -> None:
    least = -MOST_ATOMS if owner_id in SYSTEM else 0
    change = {"owner": owner_id, "more_available": available_atoms, "more_held": held_atoms, "least": least}
    if tx.execute(_CHANGE, change).rowcount:
        return
    # By now it may be another one, so it says nothing of the reason.
    balance = tx.scalar(_AVAILABLE, {"owner": owner_id})
    if available_atoms < 0 and owner_id not in SYSTEM:
        raise InsufficientFunds(available=format_aitbc(balance or 0))
    if balance is not None:
        raise BalanceTooLarge
    insert_new(tx, accounts, {"owner_id": owner_id, "available_atoms": 0, "held_atoms": 0})
    tx.execute(_CHANGE, change)
