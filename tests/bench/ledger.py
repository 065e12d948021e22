"""Cycles of jobs that pay beside free ones, over HTTP and without; a ledger of a million entries, read and checked."""

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from tests.bench import filling, paid
from tests.bench.databases import Databases
from tests.bench.emulator import variables
from tests.bench.load import JOB, RESULT
from tests.bench.processes import Meet, alone, together
from tests.bench.report import percentile, say, show
from tests.bench.size import Size

# Of entries there are so many as `jobs`.
FULL = Size(jobs=1_000_000, rounds=5, clients=4)
TINY = Size(jobs=1_000, rounds=1, clients=2)

_CYCLES_SHARE = 1_000
# Over HTTP there are more clients and as many miners, so that the machine has enough to do.
_HTTP_CLIENTS = 2
_WARM_UP = 20
_READS = 200
_WANTED_PERCENT = 75
_FREE, _SHARED = paid.FREE, paid.ONE
_OWN = "each process with a payer and a payee of its own"
_ATOMS = 10**8


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    assert size.jobs
    assert size.rounds
    assert size.clients
    figures: dict[str, Any] = {}
    failures = []
    for kind in databases.kinds:
        with databases.fresh(kind) as url:
            jobs = max(20, size.jobs // _CYCLES_SHARE)
            direct = _cycles(kind, url, jobs, size.rounds, size.clients)
            broken = alone(_broken_laws, variables=variables(url))
        each = size.clients * _HTTP_CLIENTS
        over_http, errors = paid.rates(kind, databases, jobs=jobs, rounds=size.rounds, each=each)
        with databases.fresh(kind) as url:
            say(f"ledger, {kind}: filling up to {size.jobs:,} entries")
            alone(_fill, size.jobs, variables=variables(url))
            large = alone(_measure, variables=variables(url))
        rates = {"http": _medians(over_http), "direct": _medians(direct)}
        figures[kind] = {"cycles_per_second": rates, **large}
        failures += [f"{kind}: {errors} calls over HTTP went wrong"] if errors else []
        failures += [f"{kind}: it does not hold that {law}" for law in (*broken, *large["broken"])]
        _show(kind, size, figures[kind])
    return figures, failures


def _medians(rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of each case the rate, and its part of the free ones in the same round."""
    return {
        case: {
            "rate": statistics.median(each),
            "of_free": statistics.median(rate / free for rate, free in zip(each, rates[_FREE], strict=True)),
        }
        for case, each in rates.items()
    }


def _cycles(kind: str, url: str, jobs: int, rounds: int, processes: int) -> dict[str, list[float]]:
    """Of each round, in which all cases are close together, so that they meet the machine in the same mood."""
    measured: dict[str, list[float]] = {_FREE: [], _OWN: [], _SHARED: []}
    for number in range(rounds):
        say(f"ledger, {kind}: round {number + 1} of {rounds}")
        # Forth and back, as the tables grow meanwhile.
        for case, rates in list(measured.items())[:: -1 if number % 2 else 1]:
            share = jobs // processes
            spans = together(*[(_run, (case, share, each)) for each in range(processes)], variables=variables(url))
            seconds = max(ended for _, ended in spans) - min(began for began, _ in spans)
            rates.append(share * processes / seconds)
    return measured


def _run(meet: Meet, case: str, jobs: int, number: int) -> tuple[float, float]:
    """Submits, leases and answers, in a region of its own, so that nobody takes another's jobs."""
    from coordinator.core.database import database
    from coordinator.core.ids import new_id
    from coordinator.jobs import leases, queue, results, service
    from coordinator.jobs.lease_schemas import ResultCreate
    from coordinator.jobs.schemas import JobCreate
    from coordinator.ledger.operations import adjust
    from coordinator.ledger.schemas import Adjustment
    from coordinator.miners.schemas import MinerRegister
    from coordinator.users.ensuring import ensure_user

    owner, whose = new_id(), 0 if case == _SHARED else number
    price, offered = ("0", "0") if case == _FREE else ("0.5", "1")
    money = Adjustment.model_validate({"amount": str(_WARM_UP + jobs), "reason": "bench"})
    user_id = database().write(lambda tx: ensure_user(tx, f"payer-{whose}"))
    database().write(lambda tx: adjust(tx, owner, user_id, money))
    miner = {"address": f"payee-{whose}", "capabilities": [JOB["job_type"]], "region": f"bench-{number}"}
    registration = MinerRegister.model_validate({**miner, "price": price})
    miner_id = database().write(lambda tx: leases.register(tx, owner, registration)).miner.id
    job = JobCreate.model_validate({**JOB, "constraints": {"region": miner["region"]}, "max_price": offered})

    def cycle() -> None:
        database().write(lambda tx: service.submit(tx, owner, job, user_id=user_id)).read()
        [assignment] = queue.claim(owner, miner_id, 1).items
        answer = ResultCreate(job_id=assignment.id, lease_token=assignment.lease_token, result=RESULT)
        database().write(lambda tx: results.answer(tx, owner, None, answer))

    for _ in range(_WARM_UP):
        cycle()
    meet()
    began = time.time()
    for _ in range(jobs):
        cycle()
    ended = time.time()
    database().write(lambda tx: leases.deregister(tx, owner, None))
    return began, ended


def _broken_laws() -> list[str]:
    from coordinator.core.database import database
    from coordinator.ledger.check import broken_laws

    return list(database().snapshot(broken_laws))


def _fill(entries: int) -> None:
    """Everything belongs to one user, who has bought all of it."""
    from sqlalchemy import text

    from coordinator.core.config import settings
    from coordinator.core.database import database
    from coordinator.core.ids import new_id
    from coordinator.users.ensuring import ensure_user

    user_id = database().write(lambda tx: ensure_user(tx, "payer"))
    purchases = entries // 2
    account = {"owner_id": user_id, "available_atoms": purchases * _ATOMS, "held_atoms": 0}
    bought = text(f"UPDATE ledger_accounts SET available_atoms = {-purchases * _ATOMS} WHERE owner_id = 'exchange'")
    payment_ids = [new_id() for _ in range(purchases)]
    rows = {
        "payment_outputs": map(_output, payment_ids),
        "ledger_entries": _purchases(payment_ids, user_id),
        "ledger_accounts": [account],
    }
    filling.fill(settings().database.value, rows)
    database().write(lambda tx: tx.execute(bought))


def _measure() -> dict[str, Any]:
    from coordinator.core.database import database
    from coordinator.core.schemas import PageQuery
    from coordinator.ledger import service
    from coordinator.users.ensuring import ensure_user

    user_id, nobody = (
        database().write(lambda tx, wallet=wallet: ensure_user(tx, wallet))  # type: ignore[misc]
        for wallet in ("payer", "nobody")
    )
    began = time.perf_counter()
    broken = _broken_laws()
    return {
        "check_seconds": time.perf_counter() - began,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "broken": broken,
        "balance_of_nobody_ms": _read_ms(lambda: database().read(lambda tx: service.balance(tx, nobody))),
        "balance_ms": _read_ms(lambda: database().read(lambda tx: service.balance(tx, user_id))),
        "transactions_ms": _read_ms(lambda: database().read(lambda tx: service.transactions(tx, user_id, PageQuery()))),
    }


def _output(payment_id: str) -> filling.Row:
    return {
        "txid": sha256(payment_id.encode()).hexdigest(),
        "vout": 0,
        "payment_id": payment_id,
        "amount_sat": 1000,
        "present": True,
        "late": False,
        "credited_atoms": _ATOMS,
        "frozen_rate_sat": 1000,
        "credits": 1,
    }


def _purchases(payment_ids: Sequence[str], user_id: str) -> Iterator[filling.Row]:
    from coordinator.core.ids import new_id

    for number, payment_id in enumerate(payment_ids):
        for place, (owner_id, atoms) in enumerate((("exchange", -_ATOMS), (user_id, _ATOMS))):
            yield {
                "key": f"purchase:{number}",
                "place": place,
                "id": new_id(),
                "owner_id": owner_id,
                "account": "available",
                "kind": "purchase",
                "amount_atoms": atoms,
                "payment_id": payment_id,
                "created_us": number,
            }


def _read_ms(read: Callable[[], Any]) -> float:
    taken = []
    for _ in range(_READS):
        began = time.perf_counter()
        read()
        taken.append((time.perf_counter() - began) * 1000)
    return percentile(taken, 50)


def _show(kind: str, size: Size, figures: dict[str, Any]) -> None:
    assert size.clients
    each = size.clients * _HTTP_CLIENTS
    ways = {"http": f"over HTTP, {each} clients, {each} miners", "direct": f"without HTTP, {size.clients} processes"}
    for way, title in ways.items():
        show(
            f"ledger, {kind}: full cycles {title}, medians of {size.rounds} rounds",
            ("jobs", "cycles/s", "of free ones"),
            [
                (case, f"{each['rate']:.0f}", f"{100 * each['of_free']:.0f} %")
                for case, each in figures["cycles_per_second"][way].items()
            ],
            note=f"{_WANTED_PERCENT} % or more are wanted.",
        )
    show(
        f"ledger, {kind}: {size.jobs:,} entries of one user",
        ("what", "figure"),
        (
            ("balance of a user without entries", f"{figures['balance_of_nobody_ms']:.2f} ms"),
            ("balance", f"{figures['balance_ms']:.2f} ms"),
            ("50 transactions", f"{figures['transactions_ms']:.2f} ms"),
            ("the check", f"{figures['check_seconds']:.1f} s"),
            ("memory of its process, at most", f"{figures['peak_megabytes']:.0f} MB"),
        ),
    )
