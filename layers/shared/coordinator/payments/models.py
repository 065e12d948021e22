from sqlalchemy import BigInteger, Boolean, Index, Integer, SmallInteger, String, Table

from coordinator.core.columns import DIGEST, ID, column, metadata, partial_index

# Written out in queries too: SQLite uses a partial index only where its condition stands as it is.
WATCHED = "check_us IS NOT NULL"
UNPAID = "status = 'pending'"

# Bitcoin that a user wants to pay, and what the chain has said of it so far.
payments = Table(
    "payments",
    metadata,
    column("id", ID, primary_key=True),
    column("user_id", ID),
    # The address's number in its account; None: the address is shared, and the amount tells whose the money is.
    column("address_index", BigInteger, nullable=True),
    column("address", String),
    # The amount as long as it belongs to no other payment to a shared address.
    column("exact_sat", BigInteger, unique=True, nullable=True),
    # What was asked for, at how many atoms for a satoshi.
    column("amount_atoms", BigInteger),
    column("amount_sat", BigInteger),
    column("rate", Integer),
    column("status", String),
    # Of the outputs that are on the chain or in the mempool.
    column("received_sat", BigInteger),
    column("confirmations", Integer),
    column("credited_atoms", BigInteger),
    column("late", Boolean),
    column("reversed", Boolean),
    column("created_us", BigInteger),
    column("expires_us", BigInteger),
    column("confirmed_us", BigInteger, nullable=True),
    # Counts readings of the chain that were taken down, so that an older one is not after a newer one.
    column("readings", Integer),
    # When the latest of them began.
    column("read_us", BigInteger, nullable=True),
    # When to read next; None: no more, unless somebody asks.
    column("check_us", BigInteger, nullable=True),
    # When somebody asked last, who is given a fresh reading.
    column("refreshed_us", BigInteger, nullable=True),
    # Ids sort by time, and lists are newest first.
    Index("payments_of_user", "user_id", "id"),
    Index("payments_by_status", "status", "id"),
    Index("payments_address", "address"),
    partial_index("payments_to_check", "check_us", where=WATCHED),
    partial_index("payments_unpaid", "expires_us", where=UNPAID),
    partial_index("payments_unpaid_of_user", "user_id", where=UNPAID),
)

# An output of a transaction that pays one of our addresses.
payment_outputs = Table(
    "payment_outputs",
    metadata,
    column("txid", DIGEST, primary_key=True),
    column("vout", BigInteger, primary_key=True, autoincrement=False),
    # None: it came to a shared address, and is no payment's.
    column("payment_id", ID, nullable=True),
    column("amount_sat", BigInteger),
    # Whether the chain or the mempool had it when last asked.
    column("present", Boolean),
    column("late", Boolean),
    # The block that it is in; of one that is credited, the block by which it was.
    column("block_height", Integer, nullable=True),
    column("block_hash", DIGEST, nullable=True),
    # What its user has for it now, and how much of it at the payment's own rate.
    column("credited_atoms", BigInteger),
    column("frozen_rate_sat", BigInteger),
    # How often it was credited: once more for each time that it was taken back.
    column("credits", SmallInteger),
    Index("payment_outputs_payment_id", "payment_id"),
)

# Which address an account gives out next.
payment_accounts = Table(
    "payment_accounts",
    metadata,
    # SHA-256 of its first address.
    column("account", DIGEST, primary_key=True),
    column("next_index", BigInteger),
)

# An address that many payments share: what lies below this height has been read to the end.
payment_shared_addresses = Table(
    "payment_shared_addresses",
    metadata,
    column("address", String, primary_key=True),
    column("since_height", Integer),
)

# How many payments have a status; kept by the database itself.
payment_counts = Table(
    "payment_counts",
    metadata,
    column("status", String, primary_key=True),
    column("payments", BigInteger),
)

# The highest block that any server has told of: one row, none before the first reading.
payment_chain = Table(
    "payment_chain",
    metadata,
    column("number", SmallInteger, primary_key=True, autoincrement=False),
    column("height", Integer),
    column("read_us", BigInteger),
)
