from sqlalchemy import BigInteger, Float, Index, Integer, LargeBinary, SmallInteger, String, Table, Text

from coordinator.core.columns import DIGEST, ID, KEY, column, metadata

# SQLite takes a key of this very type for the number of the row, which needs no index of its own.
_INDEX = BigInteger().with_variant(Integer(), "sqlite")

# The signed statement of a completed job; exactly one a job.
receipts = Table(
    "receipts",
    metadata,
    column("id", ID, primary_key=True),
    column("job_id", ID, unique=True),
    column("attempt", SmallInteger),
    column("miner_id", ID),
    column("client_id", ID),
    column("result_sha256", DIGEST),
    column("parameters_sha256", DIGEST),
    column("units", Float),
    column("unit_type", String),
    column("price_atoms", BigInteger),
    column("started_us", BigInteger),
    column("completed_us", BigInteger),
    column("created_us", BigInteger),
    column("proof", Text),
    column("result", Text),
    Index("receipts_of_miner", "miner_id", "id"),
    Index("receipts_of_client", "client_id", "id"),
)

# A public key that has signed receipts; kept for as long as receipts are to be verified.
signing_keys = Table(
    "signing_keys",
    metadata,
    column("kid", DIGEST, primary_key=True),
    column("jwk", Text),
    column("created_us", BigInteger),
)

# A receipt's place in the transparency log; the database itself refuses to change or remove one.
receipt_log = Table(
    "receipt_log",
    metadata,
    column("log_index", _INDEX, primary_key=True, autoincrement=False),
    column("receipt_id", ID, unique=True),
    # That of the receipt's proof, then those of the nodes that it completes; see `tree`.
    column("hashes", LargeBinary),
)

# A receipt that the log has yet to take in, noted by a trigger in the transaction of the receipt. That SQLite keeps it
# without row ids only its migration says: said here, SQLite's dialect would be imported with PostgreSQL's.
receipt_log_waiting = Table(
    "receipt_log_waiting",
    metadata,
    column("receipt_id", ID, primary_key=True),
)

# What was signed of the log at one size; as unchangeable as the entries.
receipt_log_checkpoints = Table(
    "receipt_log_checkpoints",
    metadata,
    column("size", _INDEX, primary_key=True, autoincrement=False),
    column("root_hash", DIGEST),
    column("note", Text),
    column("created_us", BigInteger),
)

# The name of this database's log, one row, given by the migration that made it.
receipt_log_origin = Table(
    "receipt_log_origin",
    metadata,
    column("origin", KEY, primary_key=True),
)
