from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import BigInteger, Field, SQLModel, Text

from coordinator.core.columns import digest_column, id_column


class Miner(SQLModel, table=True):
    """A machine that runs jobs; the key that registered it owns it."""

    __tablename__ = "miners"
    __table_args__ = (
        UniqueConstraint("owner_id", "address", "endpoint"),
        Index(
            "miners_active",
            "last_heartbeat_us",
            postgresql_where=text("status = 'active'"),
            sqlite_where=text("status = 'active'"),
        ),
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
    # What the last heartbeat said of the machine, for operators.
    report: str = Field(sa_type=Text)
    last_heartbeat_us: int = Field(sa_type=BigInteger)
    last_assigned_us: int = Field(sa_type=BigInteger)
    created_us: int = Field(sa_type=BigInteger)
