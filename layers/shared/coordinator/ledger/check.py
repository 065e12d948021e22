"""Proves the ledger: `python -m coordinator.ledger.check`, and hourly by a schedule.

The laws are plain statements over the tables as they are and use nothing of the code that they judge. The database
works them out, so memory does not grow with the ledger.
"""

import os
import sys
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, text, update

from coordinator.core.clock import SECOND_US, NowUs
from coordinator.core.database import Database
from coordinator.ledger.models import ledger_check

# Each statement finds what breaks its law; so many of them are told.
_TOLD = 10
LAWS = {
    "every transaction sums to zero": """
        SELECT key FROM ledger_entries GROUP BY key HAVING sum(amount_atoms) <> 0
    """,
    "no user's account is below zero, but by what the chain has taken back": """
        SELECT owner_id FROM ledger_accounts AS a
        WHERE owner_id NOT IN ('issuance', 'exchange') AND (
            held_atoms < 0 OR (available_atoms < 0 AND available_atoms < (
                SELECT coalesce(sum(amount_atoms), 0) FROM ledger_entries AS e
                WHERE e.owner_id = a.owner_id AND account = 'available' AND kind = 'reversal'
            ))
        )
    """,
    "every account is the sum of its entries": """
        SELECT owner_id FROM (
            SELECT owner_id, available_atoms AS available, held_atoms AS held FROM ledger_accounts
            UNION ALL
            SELECT owner_id,
                -sum(CASE WHEN account = 'available' THEN amount_atoms ELSE 0 END),
                -sum(CASE WHEN account = 'held' THEN amount_atoms ELSE 0 END)
            FROM ledger_entries GROUP BY owner_id
        ) AS compared
        GROUP BY owner_id HAVING sum(available) <> 0 OR sum(held) <> 0
    """,
    "what is held is what unfinished jobs may cost": """
        SELECT owner_id FROM (
            SELECT owner_id, held_atoms AS held FROM ledger_accounts
            UNION ALL
            SELECT payer_id, -max_price_atoms FROM jobs WHERE status IN ('pending', 'running') AND max_price_atoms > 0
        ) AS compared
        GROUP BY owner_id HAVING sum(held) <> 0
    """,
    "every price that a receipt states was paid, and nothing else for a job": """
        SELECT job_id FROM (
            SELECT job_id, price_atoms AS paid FROM receipts WHERE price_atoms > 0
            UNION ALL
            SELECT job_id, -amount_atoms FROM ledger_entries WHERE kind = 'earning'
        ) AS compared
        GROUP BY job_id HAVING sum(paid) <> 0
    """,
    "the exchange has issued just what was credited for the outputs of payments": """
        SELECT payment_id FROM (
            SELECT payment_id, credited_atoms AS credited FROM payment_outputs WHERE credited_atoms <> 0
            UNION ALL
            SELECT payment_id, amount_atoms FROM ledger_entries WHERE owner_id = 'exchange'
        ) AS compared
        GROUP BY payment_id HAVING sum(credited) <> 0
    """,
}


class Checked(NamedTuple):
    ok: bool
    at_seconds: float


def broken_laws(tx: Connection) -> dict[str, list[str]]:
    """The laws that do not hold, each with the first keys, owners or jobs that break it.

    All of it must see the same state: call it by `Database.snapshot`.
    """
    if tx.dialect.name == "postgresql":
        # Reads every entry, which may take longer than any request may.
        tx.execute(text("SET LOCAL statement_timeout = 0"))
    found = {law: tx.scalars(text(f"{statement} LIMIT {_TOLD}")).all() for law, statement in LAWS.items()}
    return {law: [str(what) for what in breakers] for law, breakers in found.items() if breakers}


def note(tx: Connection, *, ok: bool) -> None:
    """Keeps what a check has found, for the metrics."""
    checked = {"ok": ok, "checked_us": NowUs()}
    if not tx.execute(update(ledger_check).values(checked)).rowcount:
        tx.execute(insert(ledger_check).values(number=1, **checked))


def latest(tx: Connection) -> Checked | None:
    """What the latest check has found, None before the first."""
    row = tx.execute(select(ledger_check)).first()
    return None if row is None else Checked(row.ok, row.checked_us / SECOND_US)


def main() -> int:
    """Checks the database at DATABASE_URL and tells each law; 1 if one is broken."""
    database = Database(os.environ["DATABASE_URL"])
    try:
        broken = database.snapshot(broken_laws)
    finally:
        database.close()
    for law in LAWS:
        told = f"BROKEN  {law}: {', '.join(broken[law])}" if law in broken else f"holds   {law}"
        sys.stdout.write(told + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
