"""The ledger under random calls of all kinds, which break off at any statement: nothing is lost, made or done twice.

What each user must have follows from the jobs as they are and from what operators gave; nothing of the ledger is asked.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import text

from tests.api import ADMIN, BOTH, CLIENT, MINER, OTHER_CLIENT, OTHER_MINER, Answer, Api, forget_process_state, let_pass
from tests.integration.machines import breaking_off, databases_of, model_examples, run_machine
from tests.money import ALICE, ALICE_AIT, BOB, balance, broken_laws, give, give_users, statement

T = TypeVar("T")

EXAMPLES = model_examples(12)
ATOMS = 10**8
# Two users, one of them with two keys.
WALLETS = {CLIENT: ALICE, BOTH: ALICE, OTHER_CLIENT: BOB}
# Alice mines too, and one address is no wallet.
MINERS = {MINER: ALICE_AIT, OTHER_MINER: BOB, BOTH: "no wallet at all"}
PAYEES = {ALICE_AIT: ALICE}
PRICES = ["1", "2", "0", "3"]
# Past a lease, past a job's time to live.
JUMPS_SECONDS = [70, 400]
TTL_SECONDS = 300
# A machine that stands still for longer may let a lease expire by itself.
LONGEST_SECONDS = 50
# More than the longest call makes; then it does not break off.
MOST_STATEMENTS = 40
WEIGHTS = {
    "submit": 8,
    "register": 3,
    "poll": 9,
    "answer": 8,
    "answer_again": 2,
    "cancel": 2,
    "cancel_any": 1,
    "requeue": 4,
    "adjust": 3,
    "pass_time": 3,
    "read": 1,
    "sweep": 1,
    "switch": 2,
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
        forget_process_state()
        self.users = give_users(self.monkeypatch, WALLETS)
        self.given = dict.fromkeys(self.users.values(), 6 * ATOMS)
        for user_id in self.given:
            give(self.api, user_id, "6")
        self.miners: dict[str, str] = {}
        self.assignments: list[tuple[str, dict[str, Any]]] = []
        self.requests = 0
        self.began = time.monotonic()

    def teardown(self) -> None:
        self.monkeypatch.undo()

    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        assume(time.monotonic() - self.began < LONGEST_SECONDS)
        self.data = data
        getattr(self, self._pick("call", [name for name, weight in WEIGHTS.items() for _ in range(weight)]))()

    def submit(self) -> None:
        key, price = self._pick("client", list(WALLETS)), self._pick("price", PRICES)
        covered = int(price) * ATOMS <= self._available(self.users[WALLETS[key]])
        before = self._count("jobs")
        body = {"job_type": "custom", "max_price": price, "max_attempts": 2, "ttl_seconds": TTL_SECONDS}

        answer = self._post_until_answered(key, "/v1/client/jobs", body)

        assert (answer.status, self._count("jobs") - before) == ((201, 1) if covered else (402, 0))

    def adjust(self) -> None:
        user_id = self._pick("user", list(self.given))
        amount = self._pick("amount", [5, 5, 1, -1, -3])
        covered = self._available(user_id) + amount * ATOMS >= 0
        body = {"amount": str(amount), "reason": "a model"}

        answer = self._post_until_answered(ADMIN, f"/v1/admin/users/{user_id}/adjust", body)

        assert answer.status == (201 if covered else 402)
        self.given[user_id] += amount * ATOMS if covered else 0

    def register(self) -> None:
        key = self._pick("miner", list(MINERS))
        body = {
            "address": MINERS[key],
            "capabilities": ["custom"],
            "price": self._pick("price", PRICES),
            "concurrency": 2,
        }
        answer = self._call(key, "POST", "/v1/miner/register", body)
        if answer.status < 300:
            self.miners[key] = answer.json["id"]

    def poll(self) -> None:
        key = self._pick("miner", list(MINERS))
        answer = self._call(key, "GET", "/v1/miner/jobs")
        self.assignments += [(key, item) for item in answer.json["items"]] if answer.status == 200 else []

    def answer(self) -> None:
        if not self.assignments:
            return self.poll()
        key, assignment = self.assignments[-1 - self._pick("assignment", range(min(3, len(self.assignments))))]
        body = {"job_id": assignment["id"], "lease_token": assignment["lease_token"]}
        ways: dict[str, dict[str, Any]] = {
            "completed": {"result": 42},
            "may pass": {"status": "failed", "error": {"code": "GPU_LOST", "retryable": True}},
            "failed": {"status": "failed", "error": {"code": "BAD_PROMPT"}},
        }
        way = self._pick("answer", ["completed"] * 4 + list(ways))
        self._call(key, "POST", "/v1/miner/result", body | ways[way])
        return None

    def answer_again(self) -> None:
        if self.assignments:
            key, assignment = self._pick("assignment", self.assignments)
            body = {"job_id": assignment["id"], "lease_token": assignment["lease_token"], "result": 42}
            for _ in range(2):
                self._call(key, "POST", "/v1/miner/result", body)

    def cancel(self) -> None:
        if job_id := self._pick_job():
            self._call(self._pick("client", list(WALLETS)), "POST", f"/v1/client/jobs/{job_id}/cancel")

    def cancel_any(self) -> None:
        if job_id := self._pick_job():
            self._call(ADMIN, "POST", f"/v1/admin/jobs/{job_id}/cancel")

    def requeue(self) -> None:
        if not (job_id := self._pick_job("failed")):
            return
        [(status, price, payer)] = self._rows(f"SELECT status, max_price_atoms, payer_id FROM jobs WHERE id='{job_id}'")
        covered = status != "failed" or not price or price <= self._available(payer)
        answer = self._call(ADMIN, "POST", f"/v1/admin/jobs/{job_id}/requeue")
        allowed = {409} if status == "completed" else {200} if covered else {402}
        assert answer.status in allowed | {500}

    def pass_time(self) -> None:
        let_pass(self._pick("seconds", JUMPS_SECONDS))

    def read(self) -> None:
        if job_id := self._pick_job("pending"):
            self._call(self._pick("client", list(WALLETS)), "GET", f"/v1/client/jobs/{job_id}")

    def sweep(self) -> None:
        from miner.heartbeats import handler

        with breaking_off(self.data, MOST_STATEMENTS):
            handler({}, None)

    def switch(self) -> None:
        if self.miners:
            miner_id = self._pick("miner", list(self.miners.values()))
            for action in ("disable", "enable"):
                self._call(ADMIN, "POST", f"/v1/admin/miners/{miner_id}/{action}")

    # What must hold after every step.

    @invariant()
    def everybody_has_what_jobs_and_operators_have_left(self) -> None:
        owners = {wallet: user_id for user_id, wallet in self._rows("SELECT id, wallet FROM users")}
        held = dict.fromkeys(owners.values(), 0)
        total = held | self.given
        for payer, status, price, paid, address in self._rows("""
            SELECT payer_id, jobs.status, max_price_atoms, receipts.price_atoms, address FROM jobs
            LEFT JOIN receipts ON receipts.job_id = jobs.id LEFT JOIN miners ON miners.id = receipts.miner_id
            WHERE max_price_atoms > 0
        """):
            if status in ("pending", "running"):
                held[payer] += price
            if paid:
                total[payer] -= paid
                total[owners[PAYEES.get(address, address)]] += paid
        stored = dict.fromkeys(owners.values(), (0, 0)) | {
            owner: (available, on_hold)
            for owner, available, on_hold in self._rows(
                "SELECT owner_id, available_atoms, held_atoms FROM ledger_accounts"
            )
            if owner in total
        }
        assert stored == {owner: (total[owner] - held[owner], held[owner]) for owner in total}

    @invariant()
    def the_laws_hold(self) -> None:
        assert broken_laws() == {}

    @invariant()
    def a_statement_adds_up_to_what_is_available(self) -> None:
        for user_id in self.given:
            amounts = [round(float(amount) * ATOMS) for _, amount in statement(self.api, user_id)]
            assert sum(amounts) == round(float(balance(self.api, user_id)[0]) * ATOMS)

    # Calls.

    def _call(self, key: str, method: str, path: str, body: Any = None, headers: Any = None) -> Answer:
        with breaking_off(self.data, MOST_STATEMENTS):
            return self.api.as_(key, self.miners.get(key)).call(method, path, body=body, headers=headers)

    def _post_until_answered(self, key: str, path: str, body: Any) -> Answer:
        """Repeats a request that broke off, and any once more, as if the answer had been lost."""
        self.requests += 1
        headers = {"idempotency-key": str(self.requests)}
        answer = self._call(key, "POST", path, body, headers)
        if answer.status == 500:
            answer = self.api.as_(key).post(path, body, headers=headers)
        again = self._call(key, "POST", path, body, headers)
        assert again.status == 500 or (again.status, again.text) == (answer.status, answer.text)
        return answer

    def _pick_job(self, mostly: str | None = None) -> str | None:
        """One of this status that pays, if there is any."""
        jobs = self._rows("SELECT id, status, max_price_atoms FROM jobs ORDER BY id")
        wanted = [job_id for job_id, status, price in jobs if price and mostly in (None, status)]
        wanted = wanted or [job_id for job_id, *_ in jobs]
        return wanted[self._pick("job", range(len(wanted)))] if wanted else None

    def _pick(self, label: str, options: Sequence[T]) -> T:
        return options[self.data.draw(st.integers(0, len(options) - 1), label)]

    def _available(self, user_id: str) -> int:
        found = self._rows(f"SELECT available_atoms FROM ledger_accounts WHERE owner_id = '{user_id}'")
        return int(found[0][0]) if found else 0

    def _count(self, table: str) -> int:
        return int(self._rows(f"SELECT count(*) FROM {table}")[0][0])

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        from coordinator.core.database import database

        return database().read(lambda tx: [tuple(row) for row in tx.execute(text(statement))])


@pytest.mark.timeout(600 + 5 * EXAMPLES)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_money_is_lost_or_made(api: Api, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    class TheMachine(Machine): ...

    with pytest.MonkeyPatch.context() as monkeypatch:
        TheMachine.api, TheMachine.monkeypatch = api, monkeypatch
        TheMachine.new_database = staticmethod(databases_of(kind, tmp_path, request))
        run_machine(TheMachine, EXAMPLES)
