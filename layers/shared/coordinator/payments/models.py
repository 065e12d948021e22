from sqlalchemy import Index
from sqlmodel import BigInteger, Boolean, Column, Field, Integer, SmallInteger, SQLModel, String

from coordinator.core.columns import digest_column, id_column, partial_index

# Written out in queries too: SQLite uses a partial index only where its condition stands as it is.
WATCHED = "check_us IS NOT NULL"
UNPAID = "status = 'pending'"


class Payment(SQLModel, table=True):
    """Bitcoin that a user wants to pay, and what the chain has said of it so far."""

    __tablename__ = "payments"
    __table_args__ = (
        # Ids sort by time, and lists are newest first.
        Index("payments_of_user", "user_id", "id"),
        Index("payments_by_status", "status", "id"),
        Index("payments_address", "address"),
        partial_index("payments_to_check", "check_us", where=WATCHED),
        partial_index("payments_unpaid", "expires_us", where=UNPAID),
        partial_index("payments_unpaid_of_user", "user_id", where=UNPAID),
    )

    id: str = Field(sa_column=id_column(primary_key=True))
    user_id: str = Field(sa_column=id_column())
    # The address's number in its account; None: the address is shared, and the amount tells whose the money is.
    address_index: int | None = Field(sa_type=BigInteger)
    address: str
    # The amount as long as it belongs to no other payment to a shared address.
    exact_sat: int | None = Field(sa_column=Column(BigInteger, unique=True))
    # What was asked for, at how many atoms for a satoshi.
    amount_atoms: int = Field(sa_type=BigInteger)
    amount_sat: int = Field(sa_type=BigInteger)
    rate: int = Field(sa_type=Integer)
    status: str
    # Of the outputs that are on the chain or in the mempool.
    received_sat: int = Field(sa_type=BigInteger)
    confirmations: int = Field(sa_type=Integer)
    credited_atoms: int = Field(sa_type=BigInteger)
    late: bool = Field(sa_type=Boolean)
    reversed: bool = Field(sa_type=Boolean)
    created_us: int = Field(sa_type=BigInteger)
    expires_us: int = Field(sa_type=BigInteger)
    confirmed_us: int | None = Field(sa_type=BigInteger)
    # Counts readings of the chain that were taken down, so that an older one is not after a newer one.
    readings: int = Field(sa_type=Integer)
    # When the latest of them began.
    read_us: int | None = Field(sa_type=BigInteger)
    # When to read next; None: no more, unless somebody asks.
    check_us: int | None = Field(sa_type=BigInteger)
    # When somebody asked last, who is given a fresh reading.
    refreshed_us: int | None = Field(sa_type=BigInteger)


class PaymentOutput(SQLModel, table=True):
    """An output of a transaction that pays one of our addresses."""

    __tablename__ = "payment_outputs"
    __table_args__ = (Index("payment_outputs_payment_id", "payment_id"),)

    txid: str = Field(sa_column=digest_column(primary_key=True))
    vout: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    # None: it came to a shared address, and is no payment's.
    payment_id: str | None = Field(sa_column=id_column(nullable=True))
    amount_sat: int = Field(sa_type=BigInteger)
    # Whether the chain or the mempool had it when last asked.
    present: bool = Field(sa_type=Boolean)
    late: bool = Field(sa_type=Boolean)
    # The block that it is in; of one that is credited, the block by which it was.
    block_height: int | None = Field(sa_type=Integer)
    block_hash: str | None = Field(sa_column=digest_column(nullable=True))
    # What its user has for it now, and how much of it at the payment's own rate.
    credited_atoms: int = Field(sa_type=BigInteger)
    frozen_rate_sat: int = Field(sa_type=BigInteger)
    # How often it was credited: once more for each time that it was taken back.
    credits: int = Field(sa_type=SmallInteger)


class PaymentAccount(SQLModel, table=True):
    """Which address an account gives out next."""

    __tablename__ = "payment_accounts"

    # SHA-256 of its first address.
    account: str = Field(sa_column=digest_column(primary_key=True))
    next_index: int = Field(sa_type=BigInteger)


class SharedAddress(SQLModel, table=True):
    """An address that many payments share: what lies below this height has been read to the end."""

    __tablename__ = "payment_shared_addresses"

    address: str = Field(sa_column=Column(String, primary_key=True))
    since_height: int = Field(sa_type=Integer)


class PaymentCount(SQLModel, table=True):
    """How many payments have a status; kept by the database itself."""

    __tablename__ = "payment_counts"

    status: str = Field(sa_column=Column(String, primary_key=True))
    payments: int = Field(sa_type=BigInteger)


class ChainSeen(SQLModel, table=True):
    """The highest block that any server has told of: one row, none before the first reading."""

    __tablename__ = "payment_chain"

    number: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    height: int = Field(sa_type=Integer)
    read_us: int = Field(sa_type=BigInteger)
