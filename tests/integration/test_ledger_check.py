"""The proof of the ledger: it holds whatever happens to jobs, and finds whatever else was done to the tables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from coordinator.core.database import Database, database
from coordinator.ledger.check import LAWS
from tests.api import CLIENT, Api
from tests.money import ALICE, BOB, broken_laws, give, give_users

ROOT = Path(__file__).parents[2]
SUMS, DEBTS, ACCOUNTS, HOLDS, RECEIPTS, PAYMENTS = LAWS


@pytest.fixture
def alice(api: Api, client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user who has paid for a job and waits for another."""
    alice = give_users(monkeypatch, {CLIENT: ALICE})[ALICE]
    give(api, alice, "10")
    client.submit(max_price="2")
    miner.register(BOB, price="1")
    miner.answer(miner.poll()[0])
    client.submit(max_price="3")
    return alice


def tamper(change: str) -> None:
    """Does what nobody may, past what the database refuses."""

    def work(tx: Connection) -> None:
        if tx.dialect.name == "postgresql":
            tx.execute(text("ALTER TABLE ledger_entries DISABLE TRIGGER USER"))
            tx.execute(text("ALTER TABLE ledger_accounts DROP CONSTRAINT ledger_accounts_nobody_owes"))
        else:
            tx.execute(text("DROP TRIGGER ledger_entries_refuse_update"))
            tx.execute(text("DROP TRIGGER ledger_entries_refuse_delete"))
            tx.execute(text("PRAGMA ignore_check_constraints = ON"))
        tx.execute(text(change))

    database().write(work)


def check_at(database_url: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(ROOT / "layers/shared")}
    command = [sys.executable, "-m", "coordinator.ledger.check"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_an_empty_ledger_is_sound(api: Api) -> None:
    assert broken_laws() == {}


def test_a_ledger_in_use_is_sound(alice: str) -> None:
    assert broken_laws() == {}


@pytest.mark.parametrize(
    ("change", "laws"),
    [
        ("UPDATE ledger_entries SET amount_atoms = amount_atoms + 1 WHERE place = 1", {SUMS, ACCOUNTS}),
        ("UPDATE ledger_entries SET amount_atoms = amount_atoms * 2 WHERE key LIKE 'adj%'", {ACCOUNTS}),
        ("DELETE FROM ledger_entries WHERE kind = 'settlement'", {SUMS, ACCOUNTS}),
        ("DELETE FROM ledger_entries WHERE kind IN ('settlement', 'earning')", {ACCOUNTS, RECEIPTS}),
        ("UPDATE ledger_entries SET account = 'available' WHERE kind = 'hold'", {ACCOUNTS}),
        ("UPDATE ledger_accounts SET available_atoms = available_atoms + 1 WHERE owner_id = 'exchange'", {ACCOUNTS}),
        ("UPDATE ledger_accounts SET available_atoms = -1 WHERE held_atoms > 0", {DEBTS, ACCOUNTS}),
        ("DELETE FROM ledger_accounts WHERE held_atoms > 0", {ACCOUNTS, HOLDS}),
        ("UPDATE jobs SET status = 'failed' WHERE status = 'pending'", {HOLDS}),
        ("UPDATE jobs SET max_price_atoms = 1 WHERE status = 'pending'", {HOLDS}),
        ("UPDATE jobs SET payer_id = NULL WHERE status = 'pending'", {HOLDS}),
        ("UPDATE receipts SET price_atoms = price_atoms + 1", {RECEIPTS}),
        ("UPDATE ledger_entries SET owner_id = 'exchange' WHERE owner_id = 'issuance'", {ACCOUNTS, PAYMENTS}),
    ],
)  # fmt: skip
def test_what_breaks_a_law_is_found(alice: str, change: str, laws: set[str]) -> None:
    tamper(change)

    assert set(broken_laws()) == laws


def test_the_first_that_break_a_law_are_named(alice: str) -> None:
    tamper("UPDATE ledger_accounts SET available_atoms = 0 WHERE owner_id = 'issuance'")

    assert broken_laws() == {ACCOUNTS: ["issuance"]}


def test_the_check_sees_one_state_while_others_write(alice: str, database_url: str) -> None:
    other_process = Database(database_url)
    count = text("SELECT count(*) FROM ledger_entries")

    def look_write_look(tx: Connection) -> list[int]:
        before = tx.scalar(count)
        other_process.write(
            lambda tx: tx.execute(
                text("INSERT INTO ledger_entries SELECT 'more', 0, id, owner_id, account, kind, 1, NULL, NULL, 1 "
                     "FROM ledger_entries WHERE kind = 'earning'")
            )
        )  # fmt: skip
        return [int(before or 0), int(tx.scalar(count) or 0)]

    before, after = database().snapshot(look_write_look)
    other_process.close()

    assert before == after


def test_the_command_says_which_laws_hold_and_fails_if_one_does_not(alice: str, database_url: str) -> None:
    sound = check_at(database_url)
    tamper("UPDATE jobs SET max_price_atoms = 1 WHERE status = 'pending'")
    broken = check_at(database_url)

    assert (sound.returncode, sound.stdout.count("holds ")) == (0, len(LAWS))
    assert broken.returncode == 1
    assert f"BROKEN  {HOLDS}: {alice}\n" in broken.stdout


def test_the_schedule_tells_the_metrics(alice: str, api: Api, caplog: pytest.LogCaptureFixture) -> None:
    from admin.ledger import handler

    before = api.get("/metrics").text
    handler({}, None)
    sound = api.get("/metrics").text
    tamper("UPDATE jobs SET max_price_atoms = 1 WHERE status = 'pending'")
    handler({}, None)
    broken = api.get("/metrics").text

    assert "ledger_check_" not in before
    assert "\nledger_check_ok 1\n" in sound
    assert "\nledger_check_timestamp_seconds 1" in sound
    assert "\nledger_check_ok 0\n" in broken
    assert 'schedule_runs_total{schedule="ledger-check"} 2\n' in broken
    [told] = [record for record in caplog.records if record.getMessage() == "the ledger is broken"]
    assert told.__dict__["laws"] == {HOLDS: [alice]}
