from sqlalchemy import Boolean, Column, UniqueConstraint, false
from sqlmodel import BigInteger, Field, SQLModel, Text

from coordinator.core.columns import digest_column, id_column, partial_index

# Written out in queries too: SQLite uses a partial index only where its condition stands as it is.
_ACTIVE = "status = 'active'"
IS_ACTIVE = f"miners.{_ACTIVE}"


class Miner(SQLModel, table=True):
    """A machine that runs jobs; the key that registered it owns it."""

    __tablename__ = "miners"
    __table_args__ = (
        UniqueConstraint("owner_id", "address", "endpoint"),
        partial_index("miners_active", "last_heartbeat_us", where=_ACTIVE),
        # How many there are of each kind is read from this index alone.
        partial_index("miners_by_profile", "profile_sha256", "price_atoms", "last_heartbeat_us", where=_ACTIVE),
    )

    id: str = Field(sa_column=id_column(primary_key=True))
    owner_id: str = Field(sa_column=id_column())
    address: str
    # Empty when the miner named none, so that the unique constraint covers that too.
    endpoint: str
    name: str | None
    region: str | None
    capabilities: str = Field(sa_type=Text)
    hardware: str = Field(sa_type=Text)
    # What the matching of jobs depends on, hashed: miners alike share their eligibility.
    profile_sha256: str = Field(sa_column=digest_column())
    price_atoms: int = Field(sa_type=BigInteger)
    concurrency: int
    public_key: str | None
    status: str
    # False after deregistering, until the miner registers again.
    registered: bool
    # By the operator, until he enables it again; whoever adds a miner need not name it.
    disabled: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=false()))
    # What the last heartbeat said of the machine, for operators.
    report: str = Field(sa_type=Text)
    last_heartbeat_us: int = Field(sa_type=BigInteger)
    last_assigned_us: int = Field(sa_type=BigInteger)
    created_us: int = Field(sa_type=BigInteger)
