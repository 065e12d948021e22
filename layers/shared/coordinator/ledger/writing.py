"""How entries are added, and the balances with them: on PostgreSQL in one statement, and nobody waits for its result.

The statement goes with the commit, so accounts are locked from the end of their transaction until it is on the disk.
Nobody asks it whether the balance was enough: the database refuses what is not allowed, and `refusal_of` tells what.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from coordinator.core.prepared import Prepared
from coordinator.ledger.models import MOST_ATOMS, NOBODY_OWES, ledger_accounts, ledger_entries

# The columns of an entry; the owner may be named by a wallet instead of an id.
Entry = Mapping[str, Any]


class Refusal(Enum):
    TOO_LITTLE = auto()
    TOO_MUCH = auto()


def write_entries(tx: Connection, given: Sequence[Entry]) -> None:
    """Adds entries and changes the balances of their owners, in the order of the owners' ids.

    What the database refuses shows then or when the transaction goes on.
    """
    if tx.dialect.name == "postgresql":
        _WRITE_POSTGRES.later(tx, {"entries": json.dumps(given)})
        return
    changes: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"available": 0, "held": 0, "taken_back": False})
    for entry in given:
        owner_id = _ADD_SQLITE.first(tx, entry).owner_id
        changes[owner_id][entry["account"]] += entry["amount_atoms"]
        changes[owner_id]["taken_back"] |= entry["kind"] == "reversal" and entry["amount_atoms"] < 0
    for owner_id, change in sorted(changes.items()):
        _CHANGE_SQLITE.later(tx, {"owner_id": owner_id, **change})


def refusal_of(error: DBAPIError) -> Refusal | None:
    """Which limit of a balance was passed, if that is why the database has failed."""
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is None:
        return next((refusal for refusal, message in _REFUSALS_SQLITE.items() if str(error.orig) == message), None)
    if diagnosis.constraint_name == NOBODY_OWES:
        return Refusal.TOO_LITTLE
    return Refusal.TOO_MUCH if (diagnosis.table_name, diagnosis.column_name) == _FULL else None


# No sum is null otherwise, and the column refuses it.
_FULL = (ledger_accounts.name, "available_atoms")
_REFUSALS_SQLITE = {
    Refusal.TOO_LITTLE: f"CHECK constraint failed: {NOBODY_OWES}",
    Refusal.TOO_MUCH: f"NOT NULL constraint failed: {'.'.join(_FULL)}",
}
_COLUMNS = [column.name for column in ledger_entries.c]


def _within(atoms: str) -> str:
    return f"CASE WHEN {atoms} BETWEEN {-MOST_ATOMS} AND {MOST_ATOMS} THEN {atoms} END"


def _owed(atoms: str) -> str:
    """What is owed by whoever has so much: only what the chain takes back makes it more."""
    debt = f"CASE WHEN {atoms} < 0 THEN -({atoms}) ELSE 0 END"
    return f"CASE WHEN c.taken_back OR {debt} < a.owed_atoms THEN {debt} ELSE a.owed_atoms END"


def _owner(owner_id: str, wallet: str) -> str:
    return f"COALESCE({owner_id}, (SELECT users.id FROM users WHERE users.wallet = {wallet}))"  # noqa: S608  (constants)


_AVAILABLE = "a.available_atoms + c.available"
# What is to be inserted must pass the table's checks even where there is a row to be changed instead; so there it is
# nothing. A row is never removed, and one that another transaction is just making is waited for and then changed.
_ADD_TO_BALANCES = f"""
INSERT INTO ledger_accounts AS a (owner_id, available_atoms, held_atoms)
SELECT owner_id, CASE WHEN known THEN 0 ELSE {_within("available")} END, CASE WHEN known THEN 0 ELSE held END
FROM (
    SELECT *, EXISTS (SELECT 1 FROM ledger_accounts AS there WHERE there.owner_id = changes.owner_id) AS known
    FROM {{changes}} AS changes
) AS change
WHERE true
ORDER BY owner_id
ON CONFLICT (owner_id) DO UPDATE SET (available_atoms, held_atoms, owed_atoms) = (
    SELECT {_within(_AVAILABLE)}, a.held_atoms + c.held, {_owed(_AVAILABLE)}
    FROM {{changes}} AS c WHERE c.owner_id = excluded.owner_id
)
"""  # noqa: S608  (constants)
# Accounts are locked when all else is done, as their changes are the sums of what was added.
_WRITE_POSTGRES = Prepared(
    text(f"""
WITH added AS (
    INSERT INTO ledger_entries ({", ".join(_COLUMNS)})
    SELECT {", ".join(_owner("e.owner_id", "e.wallet") if name == "owner_id" else f"e.{name}" for name in _COLUMNS)}
    FROM json_to_recordset(CAST(:entries AS json)) AS e (
        key text, place smallint, id text, owner_id text COLLATE "C", wallet text, account text, kind text,
        amount_atoms bigint, job_id text, payment_id text, created_us bigint
    )
    RETURNING owner_id, account, kind, amount_atoms
), changes AS (
    SELECT owner_id,
        CAST(COALESCE(sum(amount_atoms) FILTER (WHERE account = 'available'), 0) AS bigint) AS available,
        CAST(COALESCE(sum(amount_atoms) FILTER (WHERE account = 'held'), 0) AS bigint) AS held,
        bool_or(kind = 'reversal' AND amount_atoms < 0) AS taken_back
    FROM added GROUP BY owner_id
)
{_ADD_TO_BALANCES.format(changes="changes")}
""")  # noqa: S608  (constants)
)
_ADD_SQLITE = Prepared(
    text(f"""
INSERT INTO ledger_entries ({", ".join(_COLUMNS)})
VALUES ({", ".join(_owner(":owner_id", ":wallet") if name == "owner_id" else f":{name}" for name in _COLUMNS)})
RETURNING owner_id
""")  # noqa: S608  (constants)
)
_CHANGE_SQLITE = Prepared(
    text(
        _ADD_TO_BALANCES.format(
            changes="(SELECT :owner_id AS owner_id, :available AS available, :held AS held, :taken_back AS taken_back)"
        )
    )
)
