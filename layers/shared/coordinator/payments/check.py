"""Brings payments to what the chain says: all that are due by a schedule, one when its user asks.

Payments are taken a few at a time, and are due again later if nobody has come back with a reading by then. So several
schedules may run at once, and one may end at any moment.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, or_, select, text, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.database import database, insert_new
from coordinator.core.log import logger
from coordinator.metrics.counters import counters
from coordinator.payments.chain import SHORTEST_PAUSE_SECONDS, ChainUnavailable, Output, chain
from coordinator.payments.crediting import new_output, note_tip, pause_after, take_down
from coordinator.payments.errors import ExchangeUnavailable
from coordinator.payments.models import UNPAID, WATCHED, payment_outputs, payment_shared_addresses, payments
from coordinator.payments.readings import Reader, Reading
from coordinator.payments.schemas import PaymentStatus
from coordinator.payments.service import find_row

REFRESHED_SECONDS = 10
_BATCH = 20
_LONGEST_RUN_SECONDS = 40.0
# Longer than a batch can take.
_TAKEN_US = 180 * clock.SECOND_US
_AGAIN_US = 30 * clock.SECOND_US
# For an address that can't be read, so that the others are.
_LATER_US = 300 * clock.SECOND_US
# Until a server that has failed once may be asked again.
_REST_SECONDS = SHORTEST_PAUSE_SECONDS + 0.1

_DUE = (
    select(payments)
    .where(text(WATCHED), payments.c.check_us <= bindparam("now_us"))
    .order_by(payments.c.check_us)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_EXPIRE = (
    update(payments)
    .where(text(UNPAID), payments.c.expires_us <= bindparam("now_us"))
    .values(status=PaymentStatus.EXPIRED)
)


class Checked(NamedTuple):
    payments: int
    # Whether the chain, or what it says of one address, could not be read.
    failed: bool


class _Unreadable(Exception):
    """The chain can't be read, perhaps only what it says of one payment."""

    def __init__(self, blamed: str | None) -> None:
        super().__init__()
        self.blamed = blamed


class _Due(NamedTuple):
    payment: Row[Any]
    # Where the chain had what was credited.
    heights: list[int]
    since_height: int

    @property
    def is_shared(self) -> bool:
        return self.payment.address_index is None


def check_due() -> Checked:
    """Reads the chain for all payments that are due, as far as time allows."""
    end = time.monotonic() + _LONGEST_RUN_SECONDS
    database().write(lambda tx: tx.execute(_EXPIRE, {"now_us": clock.now_us(tx)}))
    done, failed, most = 0, False, _BATCH
    while time.monotonic() < end:
        due = database().write(lambda tx, most=most: _take_due(tx, most))  # type: ignore[misc]
        if not due:
            break
        try:
            _check(due)
        except _Unreadable as error:
            failed = True
            if error.blamed is None:
                _postpone(due)
                break
            _set_aside(due, error.blamed)
            # The others one by one, or they would wait for as many runs as there are that can't be read.
            most = 1
            time.sleep(_REST_SECONDS)
        else:
            done += len(due)
    return Checked(done, failed)


def refresh(user_id: str, payment_id: str) -> None:
    """Reads the chain for one payment, unless somebody has done so in the last ten seconds, or it can't be read.

    Raises:
        PaymentNotFound: the user has no such payment.
    """
    due = database().write(lambda tx: _take_one(tx, user_id, payment_id))
    if due is not None:
        with suppress(_Unreadable):
            _check([due])


def prepare_shared_address(address: str) -> None:
    """Notes what an address that payments share has got already, so that it is not taken for the next payment's.

    Whoever sees what comes with an amount of nobody's would else ask for that amount, before the schedule has seen it.

    Raises:
        ExchangeUnavailable: it can't be read, so nobody may be asked to pay to it now.
    """
    since_height = database().read(lambda tx: _since_height(tx, address)) or 0
    try:
        reader = Reader(chain())
        reading = reader.read(address, since_height, [])
        reader.finish()
    except ChainUnavailable as error:
        _note_failure(error)
        raise ExchangeUnavailable from error
    database().write(lambda tx: _note_strangers(tx, address, reading))


def _take_due(tx: Connection, most: int) -> list[_Due]:
    now_us = clock.now_us(tx)
    rows = tx.execute(_DUE, {"now_us": now_us, "most": most}).all()
    taken = payments.c.id.in_([row.id for row in rows])
    tx.execute(update(payments).where(taken).values(check_us=now_us + _TAKEN_US))
    return [_due(tx, row) for row in rows]


def _take_one(tx: Connection, user_id: str, payment_id: str) -> _Due | None:
    payment = find_row(tx, user_id, payment_id)
    now_us = clock.now_us(tx)
    long_ago = or_(
        payments.c.refreshed_us.is_(None), payments.c.refreshed_us <= now_us - REFRESHED_SECONDS * clock.SECOND_US
    )
    # A shared address is not read once the amount may be another payment's.
    readable = or_(payments.c.address_index.is_not(None), payments.c.exact_sat.is_not(None))
    taken = update(payments).where(and_(payments.c.id == payment.id, long_ago, readable)).values(refreshed_us=now_us)
    row = tx.execute(taken.returning(payments)).first()
    return None if row is None else _due(tx, row)


def _due(tx: Connection, payment: Row[Any]) -> _Due:
    credited = select(payment_outputs.c.block_height).where(
        payment_outputs.c.payment_id == payment.id,
        payment_outputs.c.credited_atoms > 0,
        payment_outputs.c.block_height.is_not(None),
    )
    since_height = 0 if payment.address_index is not None else _since_height(tx, payment.address) or 0
    return _Due(payment, list(tx.scalars(credited.distinct())), since_height)


def _check(due: Sequence[_Due]) -> None:
    """Reads the chain for some payments, all as of one moment, and takes down what it says."""
    began_us = database().read(clock.now_us)
    readings: list[Reading] = []
    blamed = None
    try:
        reader = Reader(chain())
        for one in due:
            blamed = one.payment.id
            readings.append(reader.read(one.payment.address, one.since_height, one.heights))
        blamed = None
        reader.finish()
    except ChainUnavailable as error:
        _note_failure(error)
        raise _Unreadable(blamed) from error
    database().write(lambda tx: note_tip(tx, reader.tip.height))
    read = list(zip(due, readings, strict=True))
    for one, reading in read:
        _take_down(one, reading, began_us)
    for address, reading in {one.payment.address: reading for one, reading in read if one.is_shared}.items():
        _note_rest(address, reading)


def _take_down(one: _Due, reading: Reading, began_us: int) -> None:
    with _nobody_waits_for("a payment can't be credited", payment_id=one.payment.id):
        database().write(lambda tx: take_down(tx, one.payment, reading, began_us))


def _note_rest(address: str, reading: Reading) -> None:
    with _nobody_waits_for("what came to a shared address can't be noted", address=address):
        database().write(lambda tx: _note_strangers(tx, address, reading))


@contextmanager
def _nobody_waits_for(trouble: str, **of: str) -> Iterator[None]:
    """Whatever is wrong with one payment or address, the others are gone on with."""
    try:
        yield
    except Exception:  # noqa: BLE001
        logger.exception(trouble, extra=of)


def _postpone(due: Sequence[_Due]) -> None:
    database().write(lambda tx: _put_off(tx, due, clock.now_us(tx) + _AGAIN_US))


def _set_aside(due: Sequence[_Due], blamed: str) -> None:
    """Leaves the one that can't be read, the longer the longer it could not be; the others are as due as before."""

    def work(tx: Connection) -> None:
        now_us = clock.now_us(tx)
        for one in due:
            payment = one.payment
            read_us = payment.created_us if payment.read_us is None else payment.read_us
            until_us = now_us + max(_LATER_US, pause_after(read_us, now_us))
            _put_off(tx, [one], until_us if payment.id == blamed else payment.check_us)

    database().write(work)


def _put_off(tx: Connection, due: Sequence[_Due], until_us: int) -> None:
    these = payments.c.id.in_([one.payment.id for one in due])
    tx.execute(update(payments).where(these, text(WATCHED)).values(check_us=until_us))


def _note_failure(error: ChainUnavailable) -> None:
    logger.warning("the chain can't be read: %s", error)
    counters().add({"chain_failures_total": 1})


def _note_strangers(tx: Connection, address: str, reading: Reading) -> None:
    """Keeps what has come to a shared address for no payment, so that it is never taken for a later one's."""
    amounts = {output.amount_sat for output in reading.outputs}
    waited_for = select(payments.c.exact_sat).where(payments.c.address == address, payments.c.exact_sat.in_(amounts))
    awaited = set(tx.scalars(waited_for))
    # What so many blocks are on top of stays as it is, so it need not be read again.
    since_height = max(0, reading.tip.height - settings().bitcoin_reorg_depth)
    for output in reading.outputs:
        known = tx.execute(
            select(payment_outputs.c.payment_id, payment_outputs.c.block_hash).where(*_place(output))
        ).first()
        if known is None and output.amount_sat not in awaited:
            insert_new(tx, payment_outputs, new_output(output, payment_id=None, late=False))
        elif output.block_height is not None and _has_yet_to_be_read(known, output):
            since_height = min(since_height, output.block_height)
    higher = payment_shared_addresses.c.address == address, payment_shared_addresses.c.since_height < since_height
    if not tx.execute(update(payment_shared_addresses).where(*higher).values(since_height=since_height)).rowcount:
        insert_new(tx, payment_shared_addresses, {"address": address, "since_height": since_height})


def _has_yet_to_be_read(known: Any, output: Output) -> bool:
    """Whether an output is a payment's that does not know of it, or not which block it is in by now."""
    return known is None or (known.payment_id is not None and known.block_hash != output.block_hash)


def _place(output: Output) -> tuple[Any, Any]:
    return payment_outputs.c.txid == output.txid, payment_outputs.c.vout == output.vout


def _since_height(tx: Connection, address: str) -> int | None:
    return tx.scalar(
        select(payment_shared_addresses.c.since_height).where(payment_shared_addresses.c.address == address)
    )
