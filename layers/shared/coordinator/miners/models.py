from sqlalchemy import BigInteger, Boolean, Integer, String, Table, Text, UniqueConstraint, false

from coordinator.core.columns import DIGEST, ID, column, metadata, partial_index

# Written out in queries too: SQLite uses a partial index only where its condition stands as it is.
_ACTIVE = "status = 'active'"
IS_ACTIVE = f"miners.{_ACTIVE}"

# A machine that runs jobs; the key that registered it owns it.
miners = Table(
    "miners",
    metadata,
    column("id", ID, primary_key=True),
    column("owner_id", ID),
    column("address", String),
    # Empty when the miner named none, so that the unique constraint covers that too.
    column("endpoint", String),
    column("name", String, nullable=True),
    column("region", String, nullable=True),
    column("capabilities", Text),
    column("hardware", Text),
    # What the matching of jobs depends on, hashed: miners alike share their eligibility.
    column("profile_sha256", DIGEST),
    column("price_atoms", BigInteger),
    column("concurrency", Integer),
    column("public_key", String, nullable=True),
    column("status", String),
    # False after deregistering, until the miner registers again.
    column("registered", Boolean),
    # By the operator, until he enables it again; whoever adds a miner need not name it.
    column("disabled", Boolean, server_default=false()),
    # What the last heartbeat said of the machine, for operators.
    column("report", Text),
    column("last_heartbeat_us", BigInteger),
    column("last_assigned_us", BigInteger),
    column("created_us", BigInteger),
    UniqueConstraint("owner_id", "address", "endpoint"),
    partial_index("miners_active", "last_heartbeat_us", where=_ACTIVE),
    # How many there are of each kind is read from this index alone.
    partial_index("miners_by_profile", "profile_sha256", "price_atoms", "last_heartbeat_us", where=_ACTIVE),
)
