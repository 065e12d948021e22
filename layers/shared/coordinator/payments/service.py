"""Users ask for addresses to pay bitcoin to, and see what has come of it."""

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, insert, select, text, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.database import insert_new, take_turn, upsert
from coordinator.core.errors import InvalidInput
from coordinator.core.ids import is_id, new_id
from coordinator.core.money import format_aitbc
from coordinator.core.pages import fetch_page
from coordinator.core.schemas import Page, PageQuery
from coordinator.payments.addresses import AccountAddresses, OneAddress, address_source
from coordinator.payments.errors import ExchangeDisabled, PaymentNotFound, TooManyPayments
from coordinator.payments.models import UNPAID, payment_accounts, payment_outputs, payments
from coordinator.payments.rates import aitbc_for_bitcoin, bitcoin_for_aitbc, price
from coordinator.payments.schemas import (
    Flag,
    PaymentCreate,
    PaymentRead,
    PaymentStatus,
    PaymentTransaction,
    RatesRead,
)

MOST_OPEN = 10

_OPEN = (
    select(func.count())
    .select_from(payments)
    .where(payments.c.user_id == bindparam("user_id"), text(UNPAID), payments.c.expires_us > bindparam("now_us"))
)
_NEXT_INDEX = (
    update(payment_accounts)
    .where(payment_accounts.c.account == bindparam("of_account"))
    .values(next_index=payment_accounts.c.next_index + 1)
    .returning(payment_accounts.c.next_index)
)
_GIVEN = select(payments.c.id).where(payments.c.address == bindparam("of_address")).limit(1)
# How many satoshis at most are added to an amount that is taken, the more the more often it was.
_ADDED_SAT = (100, 1000, 10_000)
_TRIES = 10


def rates() -> RatesRead:
    """The rate of the moment."""
    rate = settings().btc_to_aitbc_rate
    return RatesRead(btc_to_aitbc=aitbc_for_bitcoin(rate), aitbc_to_btc=bitcoin_for_aitbc(rate))


def require_exchange() -> AccountAddresses | OneAddress:
    """Where payments go.

    Raises:
        ExchangeDisabled: nowhere.
    """
    source = address_source()
    if source is None:
        raise ExchangeDisabled
    return source


def create(tx: Connection, user_id: str, body: PaymentCreate) -> PaymentRead:
    """Asks a user for bitcoin, at today's rate and at an address of its own, or for an amount of its own.

    Raises:
        ExchangeDisabled: there is nowhere to pay to.
        InvalidInput: no amount is named.
        AmountMismatch, AmountOutOfRange: it can't be that.
        TooManyPayments: the user has ten open ones.
    """
    source = require_exchange()
    if body.aitbc_amount is None and body.btc_amount is None:
        raise InvalidInput.at("body", message="name aitbc_amount or btc_amount", kind="missing")
    rate = settings().btc_to_aitbc_rate
    atoms, sat = price(body.aitbc_amount, body.btc_amount, rate)
    # Of several calls at once none sees the others' payments before they are committed.
    take_turn(tx, _turn_of(user_id))
    now_us = clock.now_us(tx)
    if tx.execute(_OPEN, {"user_id": user_id, "now_us": now_us}).scalar_one() >= MOST_OPEN:
        raise TooManyPayments(open=MOST_OPEN)
    payment_id = new_id()
    payment = {
        "id": payment_id,
        "user_id": user_id,
        "address_index": None,
        "exact_sat": None,
        "amount_atoms": atoms,
        "amount_sat": sat,
        "rate": rate,
        "status": PaymentStatus.PENDING,
        "received_sat": 0,
        "confirmations": 0,
        "credited_atoms": 0,
        "late": False,
        "reversed": False,
        "created_us": now_us,
        "expires_us": now_us + settings().payment_ttl_seconds * clock.SECOND_US,
        "confirmed_us": None,
        "readings": 0,
        "read_us": None,
        "check_us": now_us,
        "refreshed_us": None,
    }
    if isinstance(source, OneAddress):
        _insert_exact(tx, payment | {"address": source.address})
    else:
        tx.execute(insert(payments).values(payment | _new_address(tx, source)))
    return read(tx, payment_id)


def read(tx: Connection, payment_id: str) -> PaymentRead:
    """A payment that exists."""
    return read_all(tx, [tx.execute(select(payments).where(payments.c.id == payment_id)).one()])[0]


def find(tx: Connection, user_id: str, payment_id: str) -> PaymentRead:
    """A payment of a user's.

    Raises:
        PaymentNotFound: the user has no such payment.
    """
    return read_all(tx, [find_row(tx, user_id, payment_id)])[0]


def find_row(tx: Connection, user_id: str, payment_id: str) -> Row[Any]:
    """Raises `PaymentNotFound` as `find` does."""
    own = select(payments).where(payments.c.id == payment_id, payments.c.user_id == user_id)
    row = tx.execute(own).first() if is_id(payment_id) else None
    if row is None:
        raise PaymentNotFound
    return row


def page(
    tx: Connection, query: PageQuery, *, user_id: str | None = None, status: PaymentStatus | None = None
) -> Page[PaymentRead]:
    """Payments, newest first, of one user or of all."""
    found = select(payments)
    if user_id is not None:
        found = found.where(payments.c.user_id == user_id)
    if status is not None:
        found = found.where(_has_status(status, clock.now_us(tx)))
    rows, next_cursor = fetch_page(tx, found, payments.c.id, query)
    return Page(items=read_all(tx, rows), next_cursor=next_cursor)


def read_all(tx: Connection, rows: Iterable[Row[Any]]) -> list[PaymentRead]:
    """Payments as their users see them."""
    rows = list(rows)
    if not rows:
        return []
    now_us = clock.now_us(tx)
    found: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    present = payment_outputs.c.payment_id.in_([row.id for row in rows]), payment_outputs.c.present
    for output in tx.execute(select(payment_outputs).where(*present)):
        found[output.payment_id].append(output)
    return [_read(row, sorted(found[row.id], key=in_order), now_us) for row in rows]


def in_order(output: Any) -> tuple[bool, int, str, int]:
    """Sorts outputs, of ours or of the chain's, by the order of their blocks; those in none come last."""
    return output.block_height is None, output.block_height or 0, output.txid, output.vout


def uri(payment: Any) -> str:
    """The payment for wallets: https://github.com/bitcoin/bips/blob/master/bip-0321.mediawiki."""
    return f"bitcoin:{payment.address}?amount={format_aitbc(payment.amount_sat)}"


def _read(row: Any, found: list[Any], now_us: int) -> PaymentRead:
    return PaymentRead(
        payment_id=row.id,
        user_id=row.user_id,
        aitbc_amount=format_aitbc(row.amount_atoms),
        btc_amount=format_aitbc(row.amount_sat),
        amount_sat=row.amount_sat,
        address=row.address,
        uri=uri(row),
        status=_status(row, now_us),
        flags=_flags(row),
        confirmations=row.confirmations,
        confirmations_required=settings().bitcoin_confirmations,
        received_sat=row.received_sat,
        transactions=[
            PaymentTransaction(
                txid=output.txid, vout=output.vout, amount_sat=output.amount_sat, block_height=output.block_height
            )
            for output in found
        ],
        credited_aitbc=format_aitbc(row.credited_atoms),
        created_at=clock.rfc3339(row.created_us),
        expires_at=clock.rfc3339(row.expires_us),
        confirmed_at=None if row.confirmed_us is None else clock.rfc3339(row.confirmed_us),
    )


def _status(row: Any, now_us: int) -> PaymentStatus:
    if row.status == PaymentStatus.PENDING and row.expires_us <= now_us:
        # The schedule has yet to write it down.
        return PaymentStatus.EXPIRED
    return PaymentStatus(row.status)


def _has_status(status: PaymentStatus, now_us: int) -> ColumnElement[bool]:
    """The same as a condition."""
    has_expired = payments.c.expires_us <= now_us
    if status == PaymentStatus.PENDING:
        return (payments.c.status == status) & ~has_expired
    if status == PaymentStatus.EXPIRED:
        return (payments.c.status == status) | (payments.c.status == PaymentStatus.PENDING) & has_expired
    return payments.c.status == status


def _flags(row: Any) -> list[Flag]:
    holds = {
        Flag.UNDERPAID: 0 < row.received_sat < row.amount_sat,
        Flag.OVERPAID: row.received_sat > row.amount_sat,
        Flag.LATE: row.late,
        Flag.REVERSED: row.reversed,
    }
    return [flag for flag, is_so in holds.items() if is_so]


def _new_address(tx: Connection, source: AccountAddresses) -> dict[str, Any]:
    """An address that nobody was given yet; whoever asks next waits for this transaction to end."""
    while True:
        index = _next_index(tx, source)
        address = source.address(index)
        # It may have been the one address of all payments before.
        if tx.execute(_GIVEN, {"of_address": address}).first() is None:
            return {"address_index": index, "address": address}


def _next_index(tx: Connection, source: AccountAddresses) -> int:
    # However an account is written, its addresses are the same.
    account = hashlib.sha256(source.address(0).encode()).hexdigest()
    taken = tx.scalar(_NEXT_INDEX, {"of_account": account})
    if taken is None:
        insert_new(tx, payment_accounts, {"account": account, "next_index": 0})
        taken = tx.execute(_NEXT_INDEX, {"of_account": account}).scalar_one()
    return int(taken) - 1


def _insert_exact(tx: Connection, payment: dict[str, Any]) -> None:
    base_sat = payment["amount_sat"]
    for added_sat in _ADDED_SAT:
        for _ in range(_TRIES):
            sat = base_sat + 1 + secrets.randbelow(added_sat)
            values = payment | {"amount_sat": sat, "exact_sat": sat}
            unless_taken = upsert(tx, payments).values(values).on_conflict_do_nothing().returning(payments.c.id)
            if tx.execute(unless_taken).first():
                return
    raise TooManyPayments("So many payments of this amount are open that it can't be told apart; try another amount.")


def _turn_of(user_id: str) -> int:
    """A number that nothing else on the server locks, but by a chance of one in 2^64."""
    return int.from_bytes(hashlib.sha256(f"payments of {user_id}".encode()).digest()[:8], "big", signed=True)
