from sqlalchemy import Boolean, CheckConstraint, Column
from sqlmodel import BigInteger, Field, SmallInteger, SQLModel

from coordinator.core.columns import id_column, key_column, partial_index

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


class LedgerAccount(SQLModel, table=True):
    """The two accounts of an owner, as the sums of their entries; an owner without a row has nothing."""

    __tablename__ = "ledger_accounts"
    __table_args__ = (CheckConstraint(_ONLY_THE_SYSTEM_OWES, name=NOBODY_OWES),)

    # A user's id, or one of the system's own accounts.
    owner_id: str = Field(sa_column=id_column(primary_key=True))
    available_atoms: int = Field(sa_type=BigInteger)
    held_atoms: int = Field(sa_type=BigInteger)
    # How far available is below zero, since the chain took back what was spent already: it only gets less otherwise.
    owed_atoms: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})


class LedgerEntry(SQLModel, table=True):
    """What one transaction has added to one account; the database itself refuses to change or remove an entry.

    A transaction is all entries with one key, and a key names an effect: none can have two transactions.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (partial_index("ledger_entries_of_owner", "owner_id", "id", where=AVAILABLE),)

    key: str = Field(sa_column=key_column(primary_key=True))
    place: int = Field(sa_type=SmallInteger, primary_key=True)
    id: str = Field(sa_column=id_column())
    owner_id: str = Field(sa_column=id_column())
    account: str
    kind: str
    amount_atoms: int = Field(sa_type=BigInteger)
    job_id: str | None = Field(sa_column=id_column(nullable=True))
    payment_id: str | None = Field(sa_column=id_column(nullable=True))
    created_us: int = Field(sa_type=BigInteger)


class LedgerCheck(SQLModel, table=True):
    """What the latest check of the ledger has found: one row, none before the first check."""

    __tablename__ = "ledger_check"

    number: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    ok: bool = Field(sa_column=Column(Boolean, nullable=False))
    checked_us: int = Field(sa_type=BigInteger)
