"""Payments under a chain that pays, replaces, mines and reorganizes at random, and checks that break off or overlap.

What each user must have follows from the chain as it then is; nothing of the exchange's tables is asked for it.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.api import Api, forget_process_state
from tests.exchange import make_all_due, open_exchange, pass_time
from tests.integration.machines import breaking_off, databases_of, model_examples, run_machine
from tests.money import ALICE, BOB, balance, broken_laws, give, user_of

T = TypeVar("T")

EXAMPLES = model_examples(8)
ATOMS = 10**8
RATE = 100_000
CONFIRMATIONS = 2
# Less than what is final, so that nothing that is no longer watched is undone.
DEEPEST_REORG = 3
AMOUNTS_SAT = [10_000, 4_000, 6_000, 25_000]
JUMPS_SECONDS = [15, 1800, 5000]
# A machine that stands still for longer may let a payment expire by itself.
LONGEST_SECONDS = 50
MOST_STATEMENTS = 30
WEIGHTS = {
    "create": 4,
    "pay": 8,
    "mine": 7,
    "reorganize": 3,
    "replace": 2,
    "check": 6,
    "check_while_others_do": 3,
    "refresh": 3,
    "fail": 1,
    "pass_time": 2,
    "spend": 2,
    "catch_up": 2,
}


class Machine(RuleBasedStateMachine):
    """Makes the calls; all of them are one rule, as Hypothesis leaves out about half of the rules of each example."""

    api: Api
    monkeypatch: pytest.MonkeyPatch
    new_database: Callable[[], str]
    data: st.DataObject

    def __init__(self) -> None:
        super().__init__()
        self.monkeypatch.undo()
        self.monkeypatch.setenv("DATABASE_URL", self.new_database())
        # Nothing ends to be watched, and a reorganization can't go deeper than what is.
        self.monkeypatch.setenv("PAYMENT_WATCH_SECONDS", str(80 * 86_400))
        forget_process_state()
        self.chain = open_exchange(self.monkeypatch)
        self.spent = {user_of(wallet): 0 for wallet in (ALICE, BOB)}
        # Address and owner by payment.
        self.payments: dict[str, tuple[str, str]] = {}
        self.began = time.monotonic()

    def teardown(self) -> None:
        self.catch_up()
        self.monkeypatch.undo()

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        assume(time.monotonic() - self.began < LONGEST_SECONDS)
        self.data = data
        getattr(self, self._pick("call", [name for name, weight in WEIGHTS.items() for _ in range(weight)]))()

    @invariant()
    def the_ledger_is_sound(self) -> None:
        assert broken_laws() == {}

    def create(self) -> None:
        from coordinator.core.database import database
        from coordinator.payments import service
        from coordinator.payments.errors import TooManyPayments
        from coordinator.payments.schemas import PaymentCreate

        user_id = self._pick("user", list(self.spent))
        body = PaymentCreate.model_validate({"aitbc_amount": "10"})
        try:
            made = database().write(lambda tx: service.create(tx, user_id, body))
        except TooManyPayments:
            return
        self.payments[made.payment_id] = made.address, user_id

    def pay(self) -> None:
        if not self.payments:
            self.create()
        addresses = [address for address, _ in self.payments.values()]
        outputs = [(self._pick("address", addresses), self._pick("amount", AMOUNTS_SAT))]
        if self._pick("one more output", [False, False, True]):
            outputs.append((self._pick("address", addresses), self._pick("amount", AMOUNTS_SAT)))
        self.chain.pay(*outputs)

    def mine(self) -> None:
        self.chain.mine(self._pick("blocks", [1, 1, 2, 3]))

    def reorganize(self) -> None:
        depth = self._pick("depth", range(1, DEEPEST_REORG + 1))
        self.chain.reorg(depth, without=self._some_txids())

    def replace(self) -> None:
        self.chain.drop(*self._some_txids())

    def check(self) -> None:
        with breaking_off(self.data, MOST_STATEMENTS):
            self._check()

    def check_while_others_do(self) -> None:
        """Another check overtakes this one between its reading and what it makes of it, or the chain moves."""
        from coordinator.payments.readings import Reader

        finish, overtaken = Reader.finish, []

        def finish_late(reader: Reader) -> None:
            finish(reader)
            if not overtaken:
                overtaken.append(True)
                meanwhile = self._pick("meanwhile", ["mine", "reorganize", "nothing"])
                if meanwhile != "nothing":
                    getattr(self, meanwhile)()
                self._check()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Reader, "finish", finish_late)
            self._check()

    def refresh(self) -> None:
        from coordinator.payments.check import refresh

        if self.payments:
            payment_id = self._pick("payment", list(self.payments))
            with breaking_off(self.data, MOST_STATEMENTS):
                refresh(self.payments[payment_id][1], payment_id)

    def fail(self) -> None:
        self.chain.unavailable = True
        self._check()
        self.chain.unavailable = False

    def pass_time(self) -> None:
        pass_time(self._pick("seconds", JUMPS_SECONDS))

    def spend(self) -> None:
        """Takes some of what is available, so that not all can be taken back."""
        user_id = self._pick("user", list(self.spent))
        available = float(balance(self.api, user_id)[0])
        amount = self._pick("amount", [5, 10])
        if available >= amount:
            give(self.api, user_id, str(-amount))
            self.spent[user_id] += amount * ATOMS

    def catch_up(self) -> None:
        """Once the chain has been read for all of them, payments and balances are what it says."""
        self._check()

        confirmed = {payment_id: self._confirmed_sat(address) for payment_id, (address, _) in self.payments.items()}
        shown = self._shown()
        assert {payment_id: shown[payment_id].credited_aitbc for payment_id in confirmed} == {
            payment_id: f"{sat * RATE / ATOMS:g}" for payment_id, sat in confirmed.items()
        }
        for payment_id, (address, _) in self.payments.items():
            received_sat = sum(output.amount_sat for output in self.chain.outputs(address))
            payment = shown[payment_id]
            assert payment.received_sat == received_sat
            assert (payment.status == "processing") == (received_sat > confirmed[payment_id])
            assert (payment.status == "confirmed") == (received_sat == confirmed[payment_id] > 0)
        for user_id, spent in self.spent.items():
            own = sum(confirmed[payment_id] for payment_id, (_, owner) in self.payments.items() if owner == user_id)
            available, held = balance(self.api, user_id)
            assert (float(available) * ATOMS, held) == (own * RATE - spent, "0")

    def _check(self) -> None:
        from exchange.payments import handler

        make_all_due()
        handler({}, None)

    def _confirmed_sat(self, address: str) -> int:
        height = self.chain.tip().height
        return sum(
            output.amount_sat
            for output in self.chain.outputs(address)
            if output.block_height is not None and height - output.block_height + 1 >= CONFIRMATIONS
        )

    def _shown(self) -> dict[str, Any]:
        from coordinator.core.database import database
        from coordinator.core.schemas import PageQuery
        from coordinator.payments.service import page

        return {item.payment_id: item for item in database().read(lambda tx: page(tx, PageQuery(limit=200))).items}

    def _some_txids(self) -> list[str]:
        height = self.chain.tip().height - DEEPEST_REORG
        outputs = [output for address, _ in self.payments.values() for output in self.chain.outputs(address)]
        # In the order in which they were made: by their ids, which are random, no example could be repeated.
        young = dict.fromkeys(o.txid for o in outputs if o.block_height is None or o.block_height > height)
        return [txid for txid in young if self._pick("spent otherwise", [False, True])]

    def _pick(self, label: str, options: Sequence[T]) -> T:
        return options[self.data.draw(st.integers(0, len(options) - 1), label)]


@pytest.mark.timeout(600 + 5 * EXAMPLES)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_users_have_what_the_chain_confirms(
    api: Api, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    class TheMachine(Machine): ...

    with pytest.MonkeyPatch.context() as monkeypatch:
        TheMachine.api, TheMachine.monkeypatch = api, monkeypatch
        TheMachine.new_database = staticmethod(databases_of(kind, tmp_path, request))
        run_machine(TheMachine, EXAMPLES)
