"""The money of jobs: held when one is submitted, paid to its miner when it is completed, given back however it ends."""

from typing import NamedTuple

from sqlalchemy import Connection

from coordinator.ledger.payees import wallet_of
from coordinator.ledger.postings import Account, Kind, Move, Part, Wallet, post
from coordinator.users.ensuring import ensure_user_later


class Hold(NamedTuple):
    """What is held of a user's balance for a job."""

    job_id: str
    # A job that failed and is put back into the queue is held for once more.
    number: int
    payer_id: str
    amount_atoms: int


def hold(tx: Connection, held: Hold, now_us: int) -> None:
    """Raises `InsufficientFunds` when the transaction ends, if the payer's available balance does not cover it."""
    move = Move(held.amount_atoms, Account(held.payer_id), Account(held.payer_id, Part.HELD), Kind.HOLD)
    post(tx, f"hold:{held.job_id}:{held.number}", move, now_us=now_us, job_id=held.job_id)


def release(tx: Connection, held: Hold, now_us: int) -> None:
    """Gives back all that is held."""
    post(tx, _end(held), _back(held), now_us=now_us, job_id=held.job_id)


def settle(tx: Connection, held: Hold, price_atoms: int, address: str, now_us: int) -> None:
    """Gives back all that is held and pays the price, which is no more than that, to the wallet at this address."""
    moves = [_back(held)]
    if price_atoms:
        miner = Wallet(wallet_of(address))
        ensure_user_later(tx, miner.address)
        moves.append(Move(price_atoms, Account(held.payer_id), Account(miner), Kind.SETTLEMENT, Kind.EARNING))
    post(tx, _end(held), *moves, now_us=now_us, job_id=held.job_id)


def _end(held: Hold) -> str:
    """One key for both ends, so that the database itself refuses that a hold has two."""
    return f"end:{held.job_id}:{held.number}"


def _back(held: Hold) -> Move:
    return Move(held.amount_atoms, Account(held.payer_id, Part.HELD), Account(held.payer_id), Kind.RELEASE)
