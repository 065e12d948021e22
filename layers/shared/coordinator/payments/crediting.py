"""Credits what the chain confirms, once, and takes it back when the chain does."""

from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, select, update

from coordinator.core import clock
from coordinator.core.config import settings
from coordinator.core.database import insert_new
from coordinator.ledger.models import EXCHANGE
from coordinator.ledger.postings import Account, Kind, Move, post
from coordinator.payments.chain import Output
from coordinator.payments.models import payment_chain, payment_outputs, payments
from coordinator.payments.readings import Reading
from coordinator.payments.schemas import PaymentStatus
from coordinator.payments.service import in_order

# The schedule runs each minute; what is due a little earlier is not left to the next run.
_SOON_US = 50 * clock.SECOND_US
_LONGEST_PAUSE_US = 3600 * clock.SECOND_US
# What has expired, or can't be read, is read again after a tenth of the time that has gone by since.
_PATIENCE = 10
# A block's time may be two hours ahead of the network's, and lies behind it by as much as blocks are slow.
# https://github.com/bitcoin/bips/blob/master/bip-0113.mediawiki
_BLOCK_TIME_OFF_US = 24 * 3600 * clock.SECOND_US

_THIS = and_(payment_outputs.c.txid == bindparam("of_txid"), payment_outputs.c.vout == bindparam("of_vout"))
_KNOWN = select(payment_outputs).where(payment_outputs.c.payment_id == bindparam("payment_id"))
_KNOWN_ONE = select(payment_outputs).where(_THIS)


def take_down(tx: Connection, payment: Row[Any], reading: Reading, began_us: int) -> None:
    """Brings a payment to what the chain says.

    `payment` is the row that the reading was made for, `began_us` when. Does nothing if another reading was taken down
    meanwhile.
    """
    this = payments.c.id == payment.id, payments.c.readings == payment.readings
    locked = tx.execute(select(payments).where(*this).with_for_update()).first()
    if locked is None:
        return
    account = _Account(tx, locked, reading, began_us)
    account.follow()
    tx.execute(update(payments).where(payments.c.id == payment.id).values(account.summary()))


def pause_after(since_us: int, now_us: int) -> int:
    """For how long a payment is not read of which nothing is new since then."""
    return min(max(0, now_us - since_us) // _PATIENCE, _LONGEST_PAUSE_US)


def note_tip(tx: Connection, height: int) -> None:
    """Keeps the greatest height that any server has told of, and that the chain was read just now."""
    read = {"height": height, "read_us": clock.now_us(tx)}
    higher = payment_chain.c.height <= height
    if tx.execute(update(payment_chain).where(higher).values(read)).rowcount:
        return
    if not tx.execute(update(payment_chain).values(read_us=read["read_us"])).rowcount:
        insert_new(tx, payment_chain, {"number": 1, **read})


def new_output(output: Output, payment_id: str | None, *, late: bool) -> dict[str, Any]:
    """The row of an output that was not seen before."""
    return {
        "txid": output.txid,
        "vout": output.vout,
        "payment_id": payment_id,
        "amount_sat": output.amount_sat,
        "present": True,
        "late": late,
        "block_height": output.block_height,
        "block_hash": output.block_hash,
        "credited_atoms": 0,
        "frozen_rate_sat": 0,
        "credits": 0,
    }


class _Account:
    """What one payment has got, while it is brought to what the chain says."""

    def __init__(self, tx: Connection, payment: Row[Any], reading: Reading, began_us: int) -> None:
        self._tx, self._payment, self._reading, self._began_us = tx, payment, reading, began_us
        self._now_us = clock.now_us(tx)
        highest = tx.scalar(select(payment_chain.c.height)) or 0
        # A server that lags behind shows nothing of what others have shown already, so it is no proof of anything.
        self._current = reading.tip.height >= highest
        self._known = {
            (row["txid"], row["vout"]): dict(row) for row in tx.execute(_KNOWN, {"payment_id": payment.id}).mappings()
        }
        self._reversed = bool(payment.reversed)

    def follow(self) -> None:
        found = {(output.txid, output.vout): output for output in self._reading.outputs if self._is_ours(output)}
        for place, known in list(self._known.items()):
            self._compare(known, found.get(place))
        for place, output in found.items():
            if place not in self._known:
                self._add(output)
        for known in sorted(self._known.values(), key=lambda row: in_order(SimpleNamespace(**row))):
            if known["present"] and not known["credited_atoms"]:
                self._credit_if_confirmed(known)

    def _is_ours(self, output: Output) -> bool:
        if not output.amount_sat:
            return False
        if (output.txid, output.vout) in self._known:
            return True
        if self._payment.address_index is not None:
            # Somebody may have used the account before.
            return not self._is_older(output)
        if output.amount_sat != self._payment.exact_sat:
            return False
        # It may have been here before this payment was made.
        return self._tx.execute(_KNOWN_ONE, {"of_txid": output.txid, "of_vout": output.vout}).first() is None

    def _is_older(self, output: Output) -> bool:
        """Whether an output was there before anybody was told to pay."""
        if output.block_seconds is None:
            return False
        earliest_us: int = self._payment.created_us - _BLOCK_TIME_OFF_US
        return output.block_seconds * clock.SECOND_US < earliest_us

    def _compare(self, known: dict[str, Any], output: Output | None) -> None:
        """Brings one output that was seen before to how it is seen now."""
        if output is None:
            below = known["block_height"] is not None and known["block_height"] < self._reading.since_height
            if below or not self._current:
                return
            if known["credited_atoms"]:
                if not self._is_undone(known):
                    return
                self._take_back(known)
            if known["credits"]:
                self._change(known, present=False, block_height=None, block_hash=None)
            else:
                # It was replaced before anybody was credited for it.
                self._tx.execute(
                    delete(payment_outputs).where(_THIS), {"of_txid": known["txid"], "of_vout": known["vout"]}
                )
                del self._known[known["txid"], known["vout"]]
            return
        moved = (output.block_height, output.block_hash) != (known["block_height"], known["block_hash"])
        if known["credited_atoms"] and moved:
            if not self._is_undone(known):
                return
            if self._reading.confirmations(output.block_height) < settings().bitcoin_confirmations:
                self._take_back(known)
        if moved or not known["present"]:
            place = {"block_height": output.block_height, "block_hash": output.block_hash}
            self._change(known, present=True, **place)

    def _is_undone(self, known: dict[str, Any]) -> bool:
        """Whether the chain has another block where this was credited in; that it is silent proves nothing."""
        there = self._reading.block_hashes.get(known["block_height"])
        return self._current and there is not None and there != known["block_hash"]

    def _add(self, output: Output) -> None:
        # A reading that began after the time was up has not had it: until then it counts as paid in time.
        late = self._payment.read_us is not None and self._payment.read_us >= self._payment.expires_us
        row = new_output(output, payment_id=self._payment.id, late=late)
        self._tx.execute(insert(payment_outputs).values(row))
        self._known[output.txid, output.vout] = row

    def _credit_if_confirmed(self, known: dict[str, Any]) -> None:
        if self._reading.confirmations(known["block_height"]) < settings().bitcoin_confirmations:
            return
        taken_sat = sum(row["frozen_rate_sat"] for row in self._known.values())
        left_sat = 0 if known["late"] else max(0, self._payment.amount_sat - taken_sat)
        frozen_sat = min(known["amount_sat"], left_sat)
        rest_sat = known["amount_sat"] - frozen_sat
        atoms = frozen_sat * self._payment.rate + rest_sat * settings().btc_to_aitbc_rate
        number = known["credits"] + 1
        move = Move(atoms, Account(EXCHANGE), Account(self._payment.user_id), Kind.PURCHASE)
        self._post("purchase", known, number, move)
        self._change(known, credited_atoms=atoms, frozen_rate_sat=frozen_sat, credits=number)

    def _take_back(self, known: dict[str, Any]) -> None:
        move = Move(known["credited_atoms"], Account(self._payment.user_id), Account(EXCHANGE), Kind.REVERSAL)
        self._post("reversal", known, known["credits"], move)
        self._change(known, credited_atoms=0, frozen_rate_sat=0)
        self._reversed = True

    def _post(self, effect: str, known: dict[str, Any], number: int, move: Move) -> None:
        # The output itself names the effect, so the ledger has it once whatever happens here.
        key = f"{effect}:{known['txid']}:{known['vout']}:{number}"
        post(self._tx, key, move, now_us=self._now_us, payment_id=self._payment.id)

    def _change(self, known: dict[str, Any], **changes: Any) -> None:
        known.update(changes)
        self._tx.execute(
            update(payment_outputs).where(_THIS).values(changes), {"of_txid": known["txid"], "of_vout": known["vout"]}
        )

    def summary(self) -> dict[str, Any]:
        """The payment's own row after it."""
        payment = self._payment
        present = [row for row in self._known.values() if row["present"]]
        waiting = [row for row in present if not row["credited_atoms"]]
        status = self._status(present, waiting)
        confirmed_us = None
        if status == PaymentStatus.CONFIRMED:
            confirmed_us = self._now_us if payment.confirmed_us is None else payment.confirmed_us
        check_us = self._next_check_us(present, waiting)
        return {
            "status": status,
            "received_sat": sum(row["amount_sat"] for row in present),
            "confirmations": min((self._reading.confirmations(row["block_height"]) for row in present), default=0),
            "credited_atoms": sum(row["credited_atoms"] for row in self._known.values()),
            "late": any(row["late"] for row in present),
            "reversed": self._reversed,
            "confirmed_us": confirmed_us,
            "readings": payment.readings + 1,
            "read_us": self._began_us,
            "check_us": check_us,
            "exact_sat": None if check_us is None else payment.exact_sat,
        }

    def _status(self, present: list[dict[str, Any]], waiting: list[dict[str, Any]]) -> PaymentStatus:
        if waiting:
            return PaymentStatus.PROCESSING
        if present:
            return PaymentStatus.CONFIRMED
        return PaymentStatus.EXPIRED if self._payment.expires_us <= self._now_us else PaymentStatus.PENDING

    def _next_check_us(self, present: list[dict[str, Any]], waiting: list[dict[str, Any]]) -> int | None:
        unsettled = [
            row for row in present if self._reading.confirmations(row["block_height"]) <= settings().bitcoin_reorg_depth
        ]
        # It may come again in another block, however late that is.
        taken_back = any(not row["present"] for row in self._known.values())
        end_us = self._payment.expires_us + settings().payment_watch_seconds * clock.SECOND_US
        watched = self._now_us < end_us
        if not unsettled and not waiting and not taken_back and not watched:
            return None
        pause_us = 0 if unsettled else pause_after(self._payment.expires_us, self._now_us)
        return self._now_us + max(pause_us, _SOON_US)
