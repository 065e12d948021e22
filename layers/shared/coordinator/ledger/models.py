from sqlalchemy import BigInteger, Boolean, CheckConstraint, SmallInteger, String, Table

from coordinator.core.columns import ID, KEY, column, metadata, partial_index

# Where money comes from and goes to.
ISSUANCE, EXCHANGE = "issuance", "exchange"
SYSTEM = (ISSUANCE, EXCHANGE)
# No account holds more than this, so that sums of balances fit into 64 bits.
MOST_ATOMS = 4 * 10**18
# Written out in queries too: SQLite uses a partial index only where its condition stands as it is.
AVAILABLE = "account = 'available'"

# The name of the check that refuses what a user does not have.
NOBODY_OWES = "ledger_accounts_nobody_owes"

_ONLY_THE_SYSTEM_OWES = f"owner_id IN {SYSTEM} OR (available_atoms >= -owed_atoms AND held_atoms >= 0)"

# The two accounts of an owner, as the sums of their entries; an owner without a row has nothing.
ledger_accounts = Table(
    "ledger_accounts",
    metadata,
    # A user's id, or one of the system's own accounts.
    column("owner_id", ID, primary_key=True),
    column("available_atoms", BigInteger),
    column("held_atoms", BigInteger),
    # How far available is below zero, since the chain took back what was spent already: it only gets less otherwise.
    column("owed_atoms", BigInteger, server_default="0"),
    CheckConstraint(_ONLY_THE_SYSTEM_OWES, name=NOBODY_OWES),
)

# What one transaction has added to one account; the database itself refuses to change or remove an entry.
#
# A transaction is all entries with one key, and a key names an effect: none can have two transactions.
ledger_entries = Table(
    "ledger_entries",
    metadata,
    column("key", KEY, primary_key=True),
    column("place", SmallInteger, primary_key=True),
    column("id", ID),
    column("owner_id", ID),
    column("account", String),
    column("kind", String),
    column("amount_atoms", BigInteger),
    column("job_id", ID, nullable=True),
    column("payment_id", ID, nullable=True),
    column("created_us", BigInteger),
    partial_index("ledger_entries_of_owner", "owner_id", "id", where=AVAILABLE),
)

# What the latest check of the ledger has found: one row, none before the first check.
ledger_check = Table(
    "ledger_check",
    metadata,
    column("number", SmallInteger, primary_key=True, autoincrement=False),
    column("ok", Boolean),
    column("checked_us", BigInteger),
)
