"""Double-entry bookkeeping: money only moves from one account to another, so all accounts together are always zero.

What a transaction of the database posts is written as the last thing that it does. Accounts are shared by many jobs:
so they are locked for the shortest time, in one order, and while they are nothing else is waited for. A use case may
end many jobs, whose payers come in any order, and can't run into a deadlock with another one.
"""

from collections import defaultdict
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.exc import DBAPIError

from coordinator.core.database import last_step
from coordinator.core.ids import new_id
from coordinator.core.money import format_aitbc
from coordinator.ledger.errors import BalanceTooLarge, InsufficientFunds
from coordinator.ledger.models import SYSTEM, ledger_accounts
from coordinator.ledger.writing import Entry, Refusal, refusal_of, write_entries

_AVAILABLE = select(ledger_accounts.c.available_atoms).where(ledger_accounts.c.owner_id == bindparam("owner"))


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


class Wallet(NamedTuple):
    """The user of a wallet in canonical form, who is there by the time the entries are written."""

    address: str


class Account(NamedTuple):
    # A user's id or one of the system's names.
    owner: str | Wallet
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
    transaction of the database ends, which then fails with `InsufficientFunds`, or with `BalanceTooLarge`.
    """
    book = last_step(tx, _Book)
    common = {"key": key, "job_id": job_id, "payment_id": payment_id, "created_us": now_us}
    for number, move in enumerate(moves):
        book.enter(move.source, -move.amount_atoms, place=2 * number, kind=move.kind, **common)
        book.enter(move.target, move.amount_atoms, place=2 * number + 1, kind=move.target_kind or move.kind, **common)


def write_postings(tx: Connection) -> None:
    """Writes what was posted until now, for a use case that goes on to read balances.

    Where accounts do not cover it, the transaction fails by its next statement at the latest.
    """
    last_step(tx, _Book).finish(tx)


class _Book:
    """What a transaction of the database has posted."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        # What each owner will have more available, of all that was posted.
        self._available: defaultdict[str, int] = defaultdict(int)

    def enter(self, account: Account, amount_atoms: int, **entry: Any) -> None:
        owner, part = account
        owner_id, wallet = (None, owner.address) if isinstance(owner, Wallet) else (owner, None)
        named = {"id": new_id(), "owner_id": owner_id, "wallet": wallet, "account": part, "amount_atoms": amount_atoms}
        self._entries.append(named | entry)
        if owner_id is not None and part is Part.AVAILABLE:
            self._available[owner_id] += amount_atoms

    def finish(self, tx: Connection) -> None:
        written, self._entries = self._entries, []
        if written:
            write_entries(tx, written)

    def explain(self, tx: Connection, error: DBAPIError) -> None:
        """Raises what it means for the caller that the database has refused a posting."""
        refusal = refusal_of(error)
        if refusal is Refusal.TOO_MUCH:
            raise BalanceTooLarge from error
        if refusal is Refusal.TOO_LITTLE:
            spent = {owner: atoms for owner, atoms in self._available.items() if atoms < 0 and owner not in SYSTEM}
            # By now they may be others, so they say nothing of the reason.
            balances = {owner: tx.scalar(_AVAILABLE, {"owner": owner}) or 0 for owner in spent}
            for owner in sorted(spent, key=lambda owner: balances[owner] + spent[owner])[:1]:
                raise InsufficientFunds(available=format_aitbc(balances[owner])) from error
