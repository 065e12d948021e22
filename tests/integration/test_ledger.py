"""The money of jobs: held, paid, given back, and never made or lost but by an operator."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from tests.api import ADMIN, BOTH, CLIENT, MINER, OTHER_CLIENT, Api, let_pass
from tests.integration.logins import ME, logged_in
from tests.money import (
    ALICE,
    ALICE_AIT,
    ALICE_AITBC,
    BOB,
    CAROL,
    balance,
    broken_laws,
    entries,
    give,
    give_users,
    statement,
    user_of,
)
from tests.wallets.signers import BitcoinSigner

JOBS = "/v1/client/jobs"
NOBODY = "01a20e16-96db-735a-9dcf-bc8386955752"


@pytest.fixture
def alice(api: Api, monkeypatch: pytest.MonkeyPatch) -> str:
    """The user of the client's key, who has 10."""
    alice = give_users(monkeypatch, {CLIENT: ALICE, BOTH: ALICE, OTHER_CLIENT: BOB})[ALICE]
    give(api, alice, "10")
    return alice


def run_one(client: Api, miner: Api, *, address: str = BOB, max_price: str = "2", price: str = "1.5") -> Any:
    """A job that a miner at this address has done; its receipt."""
    client.submit(max_price=max_price)
    miner.register(address, price=price)
    return miner.answer(miner.poll()[0]).json["receipt"]


def adjust(admin: Api, user_id: str, amount: Any, **options: Any) -> Any:
    return admin.post(f"/v1/admin/users/{user_id}/adjust", {"amount": amount, "reason": "a test"}, **options)


class TestHold:
    def test_a_price_is_held_while_its_job_waits_and_runs(self, alice: str, client: Api, miner: Api) -> None:
        job = client.submit(max_price="2.50000001")
        held_while_pending = balance(client, alice)
        miner.register(BOB, price="1")
        miner.poll()

        assert job["max_price"] == "2.50000001"
        assert held_while_pending == balance(client, alice) == ("7.49999999", "2.50000001")

    def test_a_job_that_is_not_covered_is_refused_and_leaves_nothing(self, alice: str, client: Api) -> None:
        answer = client.post(JOBS, {"job_type": "custom", "max_price": "10.00000001"})

        assert (answer.status, answer.error) == (402, "INSUFFICIENT_FUNDS")
        assert answer.json["error"]["details"] == {"available": "10"}
        assert client.get(JOBS).json["items"] == []
        assert balance(client, alice) == ("10", "0")

    def test_the_last_atom_may_be_spent(self, alice: str, client: Api) -> None:
        client.submit(max_price="10")

        assert balance(client, alice) == ("0", "10")

    def test_who_never_had_anything_is_refused_too(self, alice: str, client: Api) -> None:
        assert client.as_(OTHER_CLIENT).post(JOBS, {"job_type": "custom", "max_price": "1"}).status == 402

    def test_a_key_of_the_operators_pays_nothing(self, api: Api) -> None:
        assert api.as_(CLIENT).post(JOBS, {"job_type": "custom", "max_price": "1"}).error == "FORBIDDEN"

    def test_all_keys_of_a_user_spend_one_balance(self, alice: str, client: Api) -> None:
        client.submit(max_price="6")

        assert client.as_(BOTH).post(JOBS, {"job_type": "custom", "max_price": "6"}).status == 402

    def test_a_submit_that_is_repeated_holds_once(self, alice: str, client: Api) -> None:
        for _ in range(2):
            answer = client.post(
                JOBS, {"job_type": "custom", "max_price": "3"}, headers={"idempotency-key": "the same"}
            )
            assert answer.status == 201

        assert balance(client, alice) == ("7", "3")

    def test_a_free_job_of_a_user_holds_nothing(self, alice: str, client: Api, miner: Api) -> None:
        before = entries()
        client.submit()
        client.submit(max_price="0")
        miner.register(concurrency=2)
        for assignment in miner.poll():
            miner.answer(assignment)

        assert entries() == before

    def test_a_free_job_asks_nothing_more_of_the_database(self, alice: str, client: Api, miner: Api) -> None:
        from coordinator.core.database import database

        statements: list[str] = []
        event.listen(database().engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
        client.submit()
        miner.register()
        miner.answer(miner.poll()[0])

        assert [statement for statement in statements if "ledger" in statement or "users" in statement] == []


class TestSettlement:
    def test_the_miners_price_is_paid_and_the_rest_given_back(self, alice: str, client: Api, miner: Api) -> None:
        receipt = run_one(client, miner)

        assert receipt["price"] == client.job(receipt["job_id"])["price"] == "1.5"
        assert balance(client, alice) == ("8.5", "0")
        assert balance(client, user_of(BOB)) == ("1.5", "0")
        assert statement(client, alice) == [
            ("adjustment", "10"),
            ("hold", "-2"),
            ("release", "2"),
            ("settlement", "-1.5"),
        ]
        assert statement(client, user_of(BOB)) == [("earning", "1.5")]

    def test_a_miner_that_asks_nothing_gets_nothing(self, alice: str, client: Api, miner: Api) -> None:
        run_one(client, miner, price="0")

        assert balance(client, alice) == ("10", "0")
        assert statement(client, alice)[-1] == ("release", "2")

    def test_a_miner_that_has_raised_its_price_gets_no_more_than_the_job_offers(
        self, alice: str, client: Api, miner: Api
    ) -> None:
        client.submit(max_price="2")
        miner.register(BOB, price="1")
        assignment = miner.poll()[0]
        miner.register(BOB, price="5")

        miner.answer(assignment)

        assert balance(client, user_of(BOB)) == ("2", "0")

    @pytest.mark.parametrize("address", [ALICE, ALICE_AIT, ALICE_AITBC, ALICE.upper().replace("0X", "0x")])
    def test_a_user_may_be_client_and_miner_however_the_wallet_is_written(
        self, alice: str, client: Api, miner: Api, address: str
    ) -> None:
        run_one(client, miner, address=address)

        assert balance(client, alice) == ("10", "0")
        assert statement(client, alice)[-2:] == [("settlement", "-1.5"), ("earning", "1.5")]

    def test_a_bitcoin_wallet_written_in_capitals_logs_in_and_has_its_pay(
        self, alice: str, client: Api, miner: Api
    ) -> None:
        wallet = BitcoinSigner("p2wpkh")

        run_one(client, miner, address=wallet.address.upper())

        user = logged_in(client, wallet)
        assert user.get(f"/v1/users/{user.get(ME).json['id']}/balance").json["available"] == "1.5"

    @pytest.mark.parametrize("address", ["bcrt1qexample", "no wallet at all", "0x12"])
    def test_what_is_no_wallet_is_paid_as_it_stands(self, alice: str, client: Api, miner: Api, address: str) -> None:
        run_one(client, miner, address=address)

        [paid] = [user for user in client.as_(ADMIN).get("/v1/admin/users").json["items"] if user["total"] == "1.5"]
        assert paid["wallet_address"] == address

    def test_the_same_answer_again_pays_once(self, alice: str, client: Api, miner: Api) -> None:
        client.submit(max_price="2")
        miner.register(BOB, price="2")
        assignment = miner.poll()[0]

        assert [miner.answer(assignment).status for _ in range(2)] == [201, 200]
        assert balance(client, user_of(BOB)) == ("2", "0")

    def test_a_late_answer_is_paid(self, alice: str, client: Api, miner: Api) -> None:
        client.submit(max_price="2")
        miner.register(BOB, price="1")
        assignment = miner.poll()[0]
        let_pass(70)
        client.get(f"{JOBS}/{assignment['id']}")

        assert miner.answer(assignment).status == 201
        assert balance(client, user_of(BOB)) == ("1", "0")

    def test_earnings_are_what_the_ledger_has_paid(self, alice: str, client: Api, miner: Api) -> None:
        for _ in range(3):
            run_one(client, miner)

        assert miner.get("/v1/miner/earnings").json["total"] == balance(client, user_of(BOB))[0] == "4.5"


def cancel(job_id: str, client: Api, _miner: Api) -> None:
    client.post(f"{JOBS}/{job_id}/cancel")


def cancel_twice(job_id: str, client: Api, miner: Api) -> None:
    cancel(job_id, client, miner)
    cancel(job_id, client, miner)


def cancel_as_operator(job_id: str, client: Api, _miner: Api) -> None:
    client.as_(ADMIN).post(f"/v1/admin/jobs/{job_id}/cancel")


def fail(_job_id: str, _client: Api, miner: Api) -> None:
    miner.answer(miner.poll()[0], status="failed", error={"code": "BAD_PROMPT"})


def fail_until_attempts_are_used_up(_job_id: str, _client: Api, miner: Api) -> None:
    for _ in range(2):
        miner.answer(miner.poll()[0], status="failed", error={"code": "GPU_LOST", "retryable": True})


def be_read_too_late(job_id: str, client: Api, _miner: Api) -> None:
    let_pass(1000)
    client.get(f"{JOBS}/{job_id}")


def be_swept(_job_id: str, _client: Api, _miner: Api) -> None:
    from miner.heartbeats import handler

    let_pass(1000)
    handler({}, None)


def be_polled_too_late(_job_id: str, _client: Api, miner: Api) -> None:
    let_pass(1000)
    miner.poll()


def lose_all_leases(_job_id: str, _client: Api, miner: Api) -> None:
    for _ in range(2):
        miner.poll()
        miner.register(BOB, price="1")


def lose_its_miners(job_id: str, client: Api, miner: Api) -> None:
    admin = client.as_(ADMIN)
    for name in (CAROL, BOB):
        me = miner.register(name, price="1")["id"]
        miner.as_(MINER, me).poll()
        admin.post(f"/v1/admin/miners/{me}/disable")


END_UNPAID: list[Callable[[str, Api, Api], None]] = [
    cancel,
    cancel_twice,
    cancel_as_operator,
    fail,
    fail_until_attempts_are_used_up,
    be_read_too_late,
    be_swept,
    be_polled_too_late,
    lose_all_leases,
    lose_its_miners,
]


class TestRelease:
    @pytest.mark.parametrize("end", END_UNPAID, ids=lambda end: end.__name__)
    def test_a_job_that_fails_gives_back_all(
        self, alice: str, client: Api, miner: Api, end: Callable[[str, Api, Api], None]
    ) -> None:
        job_id = client.submit(max_price="2", max_attempts=2, ttl_seconds=900)["id"]
        miner.register(BOB, price="1")

        end(job_id, client, miner)

        assert client.job(job_id)["status"] == "failed"
        assert balance(client, alice) == ("10", "0")
        assert statement(client, alice)[1:] == [("hold", "-2"), ("release", "2")]
        assert broken_laws() == {}

    def test_an_attempt_that_fails_keeps_the_hold_while_others_are_left(
        self, alice: str, client: Api, miner: Api
    ) -> None:
        client.submit(max_price="2")
        miner.register(BOB, price="1")
        miner.answer(miner.poll()[0], status="failed", error={"code": "GPU_LOST", "retryable": True})

        assert balance(client, alice) == ("8", "2")


class TestRequeue:
    def test_a_failed_job_is_held_for_again(self, alice: str, client: Api, miner: Api, admin: Api) -> None:
        job_id = client.submit(max_price="2")["id"]
        for _ in range(2):
            cancel(job_id, client, miner)
            assert admin.post(f"/v1/admin/jobs/{job_id}/requeue").status == 200
        held_again = balance(client, alice)
        miner.register(BOB, price="1.5")
        miner.answer(miner.poll()[0])

        assert held_again == ("8", "2")
        assert balance(client, alice) == ("8.5", "0")
        assert broken_laws() == {}

    def test_what_the_user_can_no_longer_pay_stays_failed(
        self, alice: str, client: Api, miner: Api, admin: Api
    ) -> None:
        job_id = client.submit(max_price="6")["id"]
        cancel(job_id, client, miner)
        client.submit(max_price="6")
        audited = admin.get("/v1/admin/audit").json

        answer = admin.post(f"/v1/admin/jobs/{job_id}/requeue")

        assert (answer.status, answer.error) == (402, "INSUFFICIENT_FUNDS")
        assert client.job(job_id)["status"] == "failed"
        assert admin.get("/v1/admin/audit").json == audited

    @pytest.mark.parametrize("seconds", [0, 1000])
    def test_a_job_that_has_not_failed_is_held_for_once(
        self, alice: str, client: Api, miner: Api, admin: Api, seconds: int
    ) -> None:
        job_id = client.submit(max_price="2", ttl_seconds=900)["id"]
        miner.register(BOB, price="1")
        miner.poll()
        let_pass(seconds)

        assert admin.post(f"/v1/admin/jobs/{job_id}/requeue").status == 200
        assert balance(client, alice) == ("8", "2")


class TestAdjust:
    def test_money_is_given_and_taken_with_a_trace(self, alice: str, admin: Api) -> None:
        answer = adjust(admin, alice, "-2.5")

        assert answer.status == 201
        assert (answer.json["id"], answer.json["wallet_address"]) == (alice, ALICE)
        assert [answer.json[name] for name in ("available", "held", "total")] == ["7.5", "0", "7.5"]
        assert statement(admin, alice) == [("adjustment", "10"), ("adjustment", "-2.5")]
        entry = admin.get("/v1/admin/audit").json["items"][0]
        assert (entry["action"], entry["subject"]) == ("user.adjust", alice)
        assert entry["details"] == {"amount": "-2.5", "reason": "a test"}

    def test_what_is_held_can_not_be_taken(self, alice: str, client: Api, admin: Api) -> None:
        client.submit(max_price="4")

        assert adjust(admin, alice, "-6.00000001").error == "INSUFFICIENT_FUNDS"
        assert adjust(admin, alice, "-6").status == 201
        assert balance(admin, alice) == ("0", "4")

    def test_the_same_request_again_changes_nothing(self, alice: str, admin: Api) -> None:
        answers = [adjust(admin, alice, "5", headers={"idempotency-key": "one"}) for _ in range(2)]

        assert answers[0].json == answers[1].json
        assert balance(admin, alice) == ("15", "0")

    @pytest.mark.parametrize("amount", ["0", "-0.00", 5, "1.000000001", "--1", "+1", "100000000.1", "", None])
    def test_what_is_no_change_is_422(self, alice: str, admin: Api, amount: Any) -> None:
        assert adjust(admin, alice, amount).error == "VALIDATION_ERROR"

    @pytest.mark.parametrize("reason", ["", "x" * 501, None])
    def test_a_reason_is_asked_for(self, alice: str, admin: Api, reason: Any) -> None:
        body = {"amount": "1", "reason": reason}

        assert admin.post(f"/v1/admin/users/{alice}/adjust", body).error == "VALIDATION_ERROR"

    def test_more_than_64_bits_hold_is_refused(self, alice: str, admin: Api) -> None:
        from coordinator.core.database import database

        nearly_full = text("UPDATE ledger_accounts SET available_atoms = 4000000000000000000 WHERE owner_id = :owner")
        database().write(lambda tx: tx.execute(nearly_full, {"owner": alice}))

        assert adjust(admin, alice, "0.00000001").error == "VALIDATION_ERROR"

    @pytest.mark.parametrize("user_id", [NOBODY, "nobody"])
    def test_there_must_be_such_a_user(self, admin: Api, user_id: str) -> None:
        for answer in (
            adjust(admin, user_id, "1"),
            admin.get(f"/v1/users/{user_id}/balance"),
            admin.get(f"/v1/users/{user_id}/transactions"),
        ):
            assert (answer.status, answer.error) == (404, "USER_NOT_FOUND")


class TestReads:
    def test_a_balance_is_what_is_available_and_held(self, alice: str, client: Api, admin: Api) -> None:
        client.submit(max_price="0.1")

        assert admin.get(f"/v1/users/{alice}/balance").json == {
            "user_id": alice,
            "currency": "AITBC",
            "available": "9.9",
            "held": "0.1",
            "total": "10",
        }

    def test_a_transaction_names_its_job(self, alice: str, client: Api, admin: Api) -> None:
        job = client.submit(max_price="0.1")

        newest = admin.get(f"/v1/users/{alice}/transactions").json["items"][0]

        assert {name: newest[name] for name in newest if name != "id"} == {
            "kind": "hold",
            "amount": "-0.1",
            "job_id": job["id"],
            "payment_id": None,
            "created_at": job["created_at"],
        }

    def test_transactions_come_in_pages_and_add_up_to_what_is_available(
        self, alice: str, client: Api, miner: Api, admin: Api
    ) -> None:
        run_one(client, miner)
        client.submit(max_price="3")
        path = f"/v1/users/{alice}/transactions?limit=2"
        amounts: list[Decimal] = []
        cursor = ""
        while cursor is not None:
            page = admin.get(path + (f"&cursor={cursor}" if cursor else "")).json
            amounts += [Decimal(item["amount"]) for item in page["items"]]
            cursor = page["next_cursor"]

        assert amounts == [-3, Decimal("-1.5"), 2, -2, 10]
        assert Decimal(balance(admin, alice)[0]) == sum(amounts)

    def test_users_are_listed_newest_first_and_counted(self, alice: str, admin: Api) -> None:
        carol = user_of(CAROL)
        listed = admin.get("/v1/admin/users").json["items"]

        assert [(user["wallet_address"], user["total"]) for user in listed] == [(CAROL, "0"), (BOB, "0"), (ALICE, "10")]
        assert (listed[0]["id"], listed[0]["last_login_at"]) == (carol, None)
        assert admin.get("/v1/admin/stats").json["users"] == 3


class TestTheDatabaseItself:
    @pytest.mark.parametrize("change", ["UPDATE ledger_entries SET amount_atoms = 0", "DELETE FROM ledger_entries"])
    def test_entries_are_never_changed_or_removed(self, alice: str, change: str) -> None:
        from coordinator.core.database import database

        with pytest.raises(DBAPIError, match="never changed or removed"):
            database().write(lambda tx: tx.execute(text(change)))

    @pytest.mark.parametrize("part", ["available", "held"])
    def test_no_user_owes(self, alice: str, part: str) -> None:
        from coordinator.core.database import database

        with pytest.raises(DBAPIError, match="nobody_owes"):
            database().write(lambda tx: tx.execute(text(f"UPDATE ledger_accounts SET {part}_atoms = -1")))

    def test_no_effect_is_posted_twice(self, alice: str, client: Api) -> None:
        from coordinator.core.database import database
        from coordinator.ledger import holds

        job_id = client.submit(max_price="1")["id"]
        held = holds.Hold(job_id, 1, alice, 10**8)
        with pytest.raises(DBAPIError):
            database().write(lambda tx: holds.hold(tx, held, 1))
        database().write(lambda tx: holds.release(tx, held, 1))

        with pytest.raises(DBAPIError):
            database().write(lambda tx: holds.settle(tx, held, 10**8, BOB, 1))
