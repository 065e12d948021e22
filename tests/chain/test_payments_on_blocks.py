"""Payments by real transactions in real blocks: credited is what the chain confirms, whatever happens to it."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

import pytest
from sqlalchemy import text

from tests.api import Api
from tests.chain.regtest import Regtest
from tests.emulator.process import ROOT
from tests.exchange import Exchange, configure_exchange, make_all_due
from tests.integration.logins import logged_in
from tests.money import balance, broken_laws, statement
from tests.payments.esplora import FakeEsplora, Reply

REQUIRED, ATOMS_PER_SAT = 2, 100_000
TEN = 10_000


class Relay(FakeEsplora):
    """Passes requests on to the node, unless a test has it say something else."""

    def __init__(self, esplora_url: str) -> None:
        self._esplora_url = esplora_url
        super().__init__()

    def reply(self, path: str) -> Reply:
        try:
            with urllib.request.urlopen(self._esplora_url + path.removeprefix("/api"), timeout=60) as answer:
                return Reply(body=answer.read())
        except HTTPError as error:
            with error:
                return Reply(error.code, error.read())


@dataclass
class OnBlocks(Exchange):
    """The exchange on the regtest node; after each check the ledger must hold what the chain confirms."""

    relay: Relay
    monkeypatch: pytest.MonkeyPatch

    def check(self) -> dict[str, Any]:
        checked = super().check()
        if not checked["failed"]:
            assert self.issued_atoms() == ATOMS_PER_SAT * self.confirmed_sat()
            assert broken_laws() == {}
        return checked

    def pay(self, payment: dict[str, Any], *amounts_sat: int) -> Any:
        return self.chain.pay(*((payment["address"], amount_sat) for amount_sat in amounts_sat or (TEN,)))

    def reorg(self, depth: int, *transactions: Any) -> None:
        self.chain.reorg(depth, *transactions)
        self.check()

    def confirmed_sat(self) -> int:
        page = self.user.get("/v1/exchange/payments?limit=200").json["items"]
        return sum(self.chain.confirmed_sat(item["address"], REQUIRED) for item in page)

    def issued_atoms(self) -> int:
        from coordinator.core.database import database
        from coordinator.ledger.models import EXCHANGE

        issued = text("SELECT -available_atoms FROM ledger_accounts WHERE owner_id = :owner")
        return int(database().read(lambda tx: tx.scalar(issued, {"owner": EXCHANGE})) or 0)

    def restart(self, **variables: str) -> None:
        """Begins as a new process, which has not learned that a server has failed."""
        configure_exchange(self.monkeypatch, **{**self.variables(), **variables})

    def variables(self) -> dict[str, str]:
        return {"BITCOIN_XPUB": os.environ["BITCOIN_XPUB"], "ESPLORA_URLS": self.relay.url}


@pytest.fixture
def exchange(api: Api, regtest: Regtest, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnBlocks]:
    relay = Relay(regtest.esplora_url)
    configure_exchange(monkeypatch, BITCOIN_XPUB=regtest.fresh_account(), ESPLORA_URLS=relay.url)
    opened = OnBlocks(logged_in(api), regtest, relay, monkeypatch)
    yield opened
    relay.change = lambda _, usual: usual
    opened.restart()
    opened.check()
    relay.stop()


def summary(payment: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(payment[name] for name in ("status", "flags", "confirmations", "received_sat", "credited_aitbc"))


def history(exchange: OnBlocks, payment: dict[str, Any]) -> list[tuple[str, str]]:
    return statement(exchange.user, payment["user_id"])


def test_an_exact_payment_is_credited_with_its_confirmations(exchange: OnBlocks) -> None:
    payment = exchange.create()
    paid, seen = exchange.pay(payment), []
    exchange.check()
    seen.append(summary(exchange.payment(payment)))
    for _ in range(6):
        exchange.mine()
        seen.append(summary(exchange.payment(payment)))

    assert seen == [
        ("processing", [], 0, TEN, "0"),
        ("processing", [], 1, TEN, "0"),
        *(("confirmed", [], confirmations, TEN, "10") for confirmations in range(2, 7)),
    ]
    [transaction] = exchange.payment(payment)["transactions"]
    height = exchange.chain.height - 5
    assert transaction == {"txid": paid.txid, "vout": 0, "amount_sat": TEN, "block_height": height}
    assert balance(exchange.user, payment["user_id"]) == ("10", "0")
    assert history(exchange, payment) == [("purchase", "10")]


def test_who_waits_need_not_wait_for_the_schedule(exchange: OnBlocks) -> None:
    payment = exchange.create()
    exchange.pay(payment)
    exchange.chain.mine(REQUIRED)

    asked = exchange.user.get(f"/v1/exchange/payment-status/{payment['payment_id']}").json

    assert summary(asked) == ("confirmed", [], 2, TEN, "10")


def test_part_of_it_and_then_the_rest(exchange: OnBlocks) -> None:
    payment = exchange.create()
    exchange.pay(payment, 4_000)
    exchange.mine(2)
    part = summary(exchange.payment(payment))
    exchange.pay(payment, 6_000)
    exchange.mine(2)

    assert part == ("confirmed", ["underpaid"], 2, 4_000, "4")
    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, TEN, "10")


def test_more_than_was_asked_for_and_too_late(exchange: OnBlocks) -> None:
    over, late = exchange.create(), exchange.create()
    exchange.pay(over, 15_000)
    exchange.mine(2)
    exchange.pass_time(3600)
    exchange.check()
    exchange.pay(late)
    exchange.mine(2)

    assert summary(exchange.payment(over)) == ("confirmed", ["overpaid"], 4, 15_000, "15")
    assert summary(exchange.payment(late)) == ("confirmed", ["late"], 2, TEN, "10")


def test_two_outputs_of_one_transaction_and_two_transactions(exchange: OnBlocks) -> None:
    payment, other = exchange.create(), exchange.create()
    exchange.chain.pay((payment["address"], 3_000), (other["address"], TEN), (payment["address"], 2_000))
    exchange.pay(payment, 5_000)
    exchange.mine(2)

    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, TEN, "10")
    assert summary(exchange.payment(other)) == ("confirmed", [], 2, TEN, "10")
    assert len(exchange.payment(payment)["transactions"]) == 3


def test_a_replaced_transaction_is_worth_nothing(exchange: OnBlocks) -> None:
    payment = exchange.create()
    paid = exchange.pay(payment)
    exchange.check()
    exchange.chain.replace(exchange.chain.rival(paid))
    exchange.check()
    replaced = summary(exchange.payment(payment))
    exchange.mine(2)

    assert replaced == summary(exchange.payment(payment)) == ("pending", [], 0, 0, "0")


def test_a_double_spend_in_another_branch_before_it_is_credited(exchange: OnBlocks) -> None:
    payment = exchange.create()
    paid = exchange.pay(payment)
    rival = exchange.chain.rival(paid)
    exchange.mine()
    exchange.reorg(1, rival)

    assert summary(exchange.payment(payment)) == ("pending", [], 0, 0, "0")
    assert history(exchange, payment) == []


def test_a_double_spend_in_another_branch_after_it_is_spent(exchange: OnBlocks, client: Api) -> None:
    payment = exchange.create()
    paid = exchange.pay(payment)
    rival = exchange.chain.rival(paid)
    exchange.mine(3)
    key = exchange.user.post("/v1/users/me/api-keys", {"role": "client", "name": "k"}).json["api_key"]
    client.as_(key).submit(max_price="8")
    exchange.reorg(3, rival)
    refused = client.as_(key).post("/v1/client/jobs", {"job_type": "llm_inference", "max_price": "0.1"})

    assert summary(exchange.payment(payment)) == ("pending", ["reversed"], 0, 0, "0")
    assert balance(exchange.user, payment["user_id"]) == ("-8", "8")
    assert (refused.status, refused.error) == (402, "INSUFFICIENT_FUNDS")
    exchange.pay(payment)
    exchange.mine(2)
    assert balance(exchange.user, payment["user_id"]) == ("2", "8")


@pytest.mark.parametrize("looked_in_between", [True, False])
def test_what_another_block_confirms_is_credited_once(exchange: OnBlocks, looked_in_between: bool) -> None:
    payment = exchange.create()
    paid = exchange.pay(payment)
    exchange.mine(2)
    if looked_in_between:
        exchange.reorg(2)
        exchange.mine(2)
    else:
        # Three other blocks, of which the first has it: it is confirmed there too when we look again.
        exchange.reorg(2, paid)

    flags = ["reversed"] if looked_in_between else []
    again = [("reversal", "-10"), ("purchase", "10")] if looked_in_between else []
    assert summary(exchange.payment(payment)) == ("confirmed", flags, 2 if looked_in_between else 3, TEN, "10")
    assert history(exchange, payment) == [("purchase", "10"), *again]
    assert balance(exchange.user, payment["user_id"]) == ("10", "0")


def test_while_the_chain_can_not_be_asked_nothing_changes_and_then_all_is_caught_up(exchange: OnBlocks) -> None:
    credited, waiting = exchange.create(), exchange.create()
    paid = exchange.pay(credited)
    exchange.mine(2)
    before = summary(exchange.payment(credited))
    exchange.relay.change = lambda *_: Reply(502, b"<html>Bad gateway</html>")
    exchange.chain.reorg(2, exchange.chain.rival(paid))
    exchange.pay(waiting)
    exchange.chain.mine(2)
    checked = [exchange.check()["failed"] for _ in range(2)]
    unread = summary(exchange.payment(credited)), summary(exchange.payment(waiting))
    exchange.relay.change = lambda _, usual: usual
    exchange.restart()
    exchange.check()

    assert checked == [True, True]
    assert unread == (before, ("pending", [], 0, 0, "0"))
    assert summary(exchange.payment(credited)) == ("pending", ["reversed"], 0, 0, "0")
    assert summary(exchange.payment(waiting)) == ("confirmed", [], 2, TEN, "10")


@pytest.mark.parametrize(
    "lie",
    [
        Reply(body=b"<html>200, but we are closed</html>"),
        Reply(body=b'[{"txid": "'),
        Reply(body=b"[]" * 2),
    ],
    ids=["html", "truncated", "two documents"],
)
def test_a_server_that_says_no_sense_credits_nobody(exchange: OnBlocks, lie: Reply) -> None:
    payment = exchange.create()
    exchange.pay(payment)
    exchange.chain.mine(2)
    exchange.relay.change = lambda path, usual: lie if "/txs" in path else usual

    assert exchange.check()["failed"]
    assert summary(exchange.payment(payment)) == ("pending", [], 0, 0, "0")


def test_the_money_of_another_address_credits_nobody(exchange: OnBlocks) -> None:
    payment, other = exchange.create(), exchange.create()
    exchange.pay(other)
    exchange.chain.mine(2)
    swapped = exchange.relay.reply(f"/api/address/{other['address']}/txs")
    exchange.relay.change = lambda path, usual: swapped if payment["address"] in path else usual
    failed = exchange.check()["failed"]
    believed = summary(exchange.payment(payment))
    exchange.relay.change = lambda _, usual: usual
    exchange.restart()
    exchange.check()

    assert (failed, believed) == (True, ("pending", [], 0, 0, "0"))
    assert summary(exchange.payment(payment)) == ("pending", [], 0, 0, "0")
    assert summary(exchange.payment(other)) == ("confirmed", [], 2, TEN, "10")


def test_the_second_server_does_when_the_first_is_of_another_network(exchange: OnBlocks) -> None:
    mainnet = FakeEsplora()
    mainnet.change = lambda *_: Reply(body=b"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f")
    exchange.restart(ESPLORA_URLS=f"{mainnet.url},{exchange.relay.url}")
    payment = exchange.create()
    exchange.pay(payment)
    exchange.mine(2)
    mainnet.stop()

    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, TEN, "10")


CHECKER = """
import os, signal, sys

from coordinator.payments import check, crediting, readings
from exchange.payments import handler

def die_after(module, name):
    work = getattr(module, name)
    def last(*arguments, **options):
        work(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(module, name, last)

moment = {
    "read": (readings.Reader, "finish"),
    "posted": (crediting, "post"),
    "committed": (check, "_take_down"),
}.get(sys.argv[1])
if moment:
    die_after(*moment)
handler({}, None)
"""


def start_checker(moment: str) -> "subprocess.Popen[bytes]":
    """Another process that checks all payments that are due, and dies at a moment; never, if it is none."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("functions", "layers/shared"))
    return subprocess.Popen([sys.executable, "-c", CHECKER, moment], env={**os.environ, "PYTHONPATH": paths})


@pytest.mark.parametrize("moment", ["read", "posted", "committed"])
def test_a_checker_that_is_killed_has_credited_once_or_not_at_all(exchange: OnBlocks, moment: str) -> None:
    bought = [exchange.create() for _ in range(3)]
    for payment in bought:
        exchange.pay(payment)
    exchange.chain.mine(2)
    code = start_checker(moment).wait(60)
    credited = exchange.issued_atoms() // (ATOMS_PER_SAT * TEN)
    laws = broken_laws()
    exchange.check()

    assert code == -signal.SIGKILL
    assert credited == {"read": 0, "posted": 0, "committed": 1}[moment]
    assert laws == {}
    assert [summary(exchange.payment(payment)) for payment in bought] == [("confirmed", [], 2, TEN, "10")] * 3


def test_two_checkers_at_once_credit_once(exchange: OnBlocks) -> None:
    bought = [exchange.create() for _ in range(9)]
    for payment in bought:
        exchange.pay(payment)
    exchange.chain.mine(2)
    make_all_due()
    running = [start_checker("never") for _ in range(2)]
    codes = [checker.wait(60) for checker in running]
    exchange.check()

    assert codes == [0, 0]
    assert [summary(exchange.payment(payment)) for payment in bought] == [("confirmed", [], 2, TEN, "10")] * 9
