"""How many open payments a scheduled check goes through while the chain takes its time, and what users wait for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from local.demo.wallet import Wallet
from local.regtest.wallet import account_of
from tests.bench import filling
from tests.bench.databases import Databases
from tests.bench.emulator import Emulator, emulator, variables
from tests.bench.http import Connection
from tests.bench.processes import alone
from tests.bench.report import percentile, say, show
from tests.bench.size import Size

if TYPE_CHECKING:
    from tests.payments.esplora import FakeEsplora

# So many payments as `jobs` are open, and a tenth of them; users make so many as `rounds`.
FULL = Size(jobs=10_000, rounds=300)
TINY = Size(jobs=40, rounds=12)

_CALL_SECONDS = 0.02
_CREATED, _REFRESHED, _READ = "create-payment", "payment-status, which asks the chain", "payment-status, asked again"
_STATUSES = {_CREATED: 201, _REFRESHED: 200, _READ: 200}
# A user may have no more open.
_PAYMENTS_A_USER = 10
_PAID_SHARE = 10
_SAT, _RATE = 10_000, 100_000
_CONFIRMATIONS = 2


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    assert size.jobs
    assert size.rounds
    figures: dict[str, Any] = {}
    failures = []
    for kind in databases.kinds:
        checks = {}
        for payments in (size.jobs // 10, size.jobs):
            say(f"payments, {kind}: a check with {payments:,} open ones")
            with databases.fresh(kind) as url:
                checks[payments] = _check(url, payments)
            failures += [f"{kind}, {payments} open: {failure}" for failure in checks[payments].pop("failures")]
        say(f"payments, {kind}: {size.rounds} are made over HTTP")
        with databases.fresh(kind) as url, _esplora() as esplora, emulator(url, **_exchange(esplora)) as served:
            milliseconds, wrong = _use(served, size.rounds)
        failures += [f"{kind}: {failure}" for failure in wrong]
        calls = {
            name: {"p50": percentile(each, 50), "p99": percentile(each, 99)} for name, each in milliseconds.items()
        }
        figures[kind] = {"checks": checks, "calls_ms": calls}
        _show(kind, size, figures[kind])
    return figures, failures[:5]


@contextmanager
def _esplora() -> Iterator["FakeEsplora"]:
    """A server of a chain, in threads of this process, that takes its time for each answer."""
    from tests.payments.esplora import FakeEsplora

    esplora = FakeEsplora()
    esplora.change = lambda _, reply: replace(reply, silent_seconds=_CALL_SECONDS)
    esplora.chain.mine(_CONFIRMATIONS)
    try:
        yield esplora
    finally:
        esplora.stop()


def _exchange(esplora: "FakeEsplora") -> dict[str, str]:
    return {
        "BITCOIN_NETWORK": "regtest",
        "BITCOIN_XPUB": account_of(bytes(32)),
        "BITCOIN_CONFIRMATIONS": str(_CONFIRMATIONS),
        "ESPLORA_URLS": esplora.url,
    }


def _check(url: str, payments: int) -> dict[str, Any]:
    """What one run of the schedule does about so many open payments, some of which were paid."""
    with _esplora() as esplora:
        addresses = [_address(number) for number in range(payments)]
        for address in addresses[::_PAID_SHARE]:
            esplora.chain.pay((address, _SAT))
        esplora.chain.mine(_CONFIRMATIONS)
        environment = {**variables(url), **_exchange(esplora)}
        alone(_fill, addresses, variables=environment)
        checked: dict[str, Any] = alone(_run_check, variables=environment)
        checked["requests"] = len(esplora.asked)
    return checked


def _address(number: int) -> str:
    """One of regtest, that nobody has a key of."""
    from embit import bech32

    return str(bech32.encode("bcrt", 0, number.to_bytes(20, "big")))


def _fill(addresses: list[str]) -> None:
    from coordinator.core import clock
    from coordinator.core.config import settings
    from coordinator.core.database import database
    from coordinator.core.ids import new_id

    now_us = database().read(clock.now_us)

    def rows() -> Iterator[filling.Row]:
        for index, address in enumerate(addresses):
            yield {
                "id": new_id(),
                "user_id": new_id(),
                "address_index": index,
                "address": address,
                "amount_atoms": _SAT * _RATE,
                "amount_sat": _SAT,
                "rate": _RATE,
                "status": "pending",
                "received_sat": 0,
                "confirmations": 0,
                "credited_atoms": 0,
                "late": False,
                "reversed": False,
                "created_us": now_us,
                "expires_us": now_us + 3600 * clock.SECOND_US,
                "readings": 0,
                # They are taken in this order.
                "check_us": now_us - len(addresses) + index,
            }

    filling.fill(settings().database.value, {"payments": rows()})


def _run_check() -> dict[str, Any]:
    from sqlalchemy import func, select

    from coordinator.core.database import database
    from coordinator.ledger.check import broken_laws
    from coordinator.payments.models import payments
    from exchange.payments import handler

    began, cpu = time.perf_counter(), time.process_time()
    checked = handler({}, None)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    credited = database().read(
        lambda tx: tx.scalar(select(func.count()).where(payments.c.credited_atoms == _SAT * _RATE))
    )
    failures = [f"it does not hold that {law}" for law in database().snapshot(broken_laws)]
    failures += ["the chain could not be read"] if checked["failed"] else []
    # One in ten was paid, from the first one on.
    if credited != -(-checked["payments"] // _PAID_SHARE):
        failures.append(f"of {checked['payments']} payments {credited} were credited")
    return {
        "checked": checked["payments"],
        "credited": credited,
        "seconds": seconds,
        "cpu_ms_a_payment": cpu_seconds * 1000 / checked["payments"],
        "failures": failures,
    }


def _use(served: Emulator, payments: int) -> tuple[dict[str, list[float]], list[str]]:
    """Milliseconds of each call, of users who make payments and look at each twice; and what went wrong."""
    milliseconds: dict[str, list[float]] = {name: [] for name in _STATUSES}
    failures = []
    # The first user warms up.
    for made in range(-_PAYMENTS_A_USER, payments, _PAYMENTS_A_USER):
        with Wallet().log_in(f"http://127.0.0.1:{served.port}") as user:
            connection = Connection(served.port, {"X-Session-Token": user.headers["X-Session-Token"]})
        for _ in range(min(_PAYMENTS_A_USER, payments - made)):
            status, payment = connection.call(_CREATED, "POST", "/v1/exchange/create-payment", {"aitbc_amount": "10"})
            statuses = {_CREATED: status}
            for name in (_REFRESHED, _READ):
                path = f"/v1/exchange/payment-status/{payment.get('payment_id')}"
                statuses[name], _ = connection.call(name, "GET", path)
            failures += [f"{name}: {status}" for name, status in statuses.items() if status != _STATUSES[name]]
        if made >= 0:
            for name, each in connection.milliseconds.items():
                milliseconds[name] += each
    return milliseconds, failures


def _show(kind: str, size: Size, figures: dict[str, Any]) -> None:
    show(
        f"payments, {kind}: one run of the schedule, {_CALL_SECONDS * 1000:.0f} ms for each answer of the chain",
        ("open", "looked up", "credited", "seconds", "requests", "requests each", "ms each", "CPU ms each"),
        [
            (
                f"{payments:,}",
                f"{check['checked']:,}",
                check["credited"],
                f"{check['seconds']:.1f}",
                f"{check['requests']:,}",
                f"{check['requests'] / check['checked']:.2f}",
                f"{check['seconds'] * 1000 / check['checked']:.1f}",
                f"{check['cpu_ms_a_payment']:.1f}",
            )
            for payments, check in figures["checks"].items()
        ],
        note="It begins each minute, and looks up what it can in 40 s.",
    )
    show(
        f"payments, {kind}: milliseconds over HTTP of {size.rounds} payments",
        ("call", "p50", "p99"),
        [(name, *(f"{value:.1f}" for value in values.values())) for name, values in figures["calls_ms"].items()],
    )
