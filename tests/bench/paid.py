"""Full cycles over HTTP of jobs that pay beside free ones, by the same users and with the same keys."""

import httpx

from local.demo.wallet import Wallet
from tests.bench import load
from tests.bench.databases import Databases
from tests.bench.emulator import Emulator, emulator
from tests.bench.report import say

FREE, MANY, ONE = "free", "as many payers and payees as clients and miners", "one payer and one payee for all"
_WARM_UP_SHARE = 5
_AMPLE = "1000000"


def rates(kind: str, databases: Databases, *, jobs: int, rounds: int, each: int) -> tuple[dict[str, list[float]], int]:
    """Cycles a second of each case in each round, by so many clients and miners; and how many calls went wrong."""
    measured: dict[str, list[float]] = {FREE: [], MANY: [], ONE: []}
    errors = 0
    with databases.fresh(kind) as url, emulator(url) as served:
        markets = _markets(served, each)
        say(f"ledger, {kind}: warming up over HTTP")
        for who in markets.values():
            load.full_cycles(served.port, who, max(each, jobs // _WARM_UP_SHARE))
        for number in range(rounds):
            say(f"ledger, {kind}: round {number + 1} of {rounds} over HTTP")
            # Forth and back, as the tables grow meanwhile.
            for case in list(markets)[:: -1 if number % 2 else 1]:
                outcome = load.full_cycles(served.port, markets[case], jobs)
                measured[case].append(outcome.cycles_per_second)
                errors += outcome.errors.total() + outcome.given_out_twice
    return measured, errors


def _markets(served: Emulator, each: int) -> dict[str, load.Market]:
    clients = [_key(served, "client") for _ in range(each)]
    miners = [(_key(served, "miner"), Wallet().address) for _ in range(each)]
    payee = Wallet().address
    return {
        FREE: load.Market(clients, miners),
        MANY: load.Market(clients, miners, "1", "0.5"),
        ONE: load.Market(clients[:1] * each, [(key, payee) for key, _ in miners], "1", "0.5"),
    }


def _key(served: Emulator, role: str) -> str:
    """An API key of a new user, who has money."""
    url = f"http://127.0.0.1:{served.port}"
    with Wallet().log_in(url) as user:
        user_id = user.get("/users/me").raise_for_status().json()["id"]
        key = user.post("/users/me/api-keys", json={"role": role, "name": "bench"}).raise_for_status().json()["api_key"]
    given = httpx.post(
        f"{url}/v1/admin/users/{user_id}/adjust",
        json={"amount": _AMPLE, "reason": "bench"},
        headers={"X-Api-Key": served.keys["admin"]},
    )
    given.raise_for_status()
    return str(key)
