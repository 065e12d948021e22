from sqlalchemy import Column, Index, text
from sqlmodel import BigInteger, Field, SmallInteger, SQLModel, Text

from coordinator.core.columns import digest_column, id_column, partial_index

# Written out in queries too: SQLite uses a partial index only where its condition stands as it is.
UNFINISHED = "status IN ('pending', 'running')"
# The jobs of status pending, in words that the index of the queue has not: a planner that knows of a few jobs takes
# either of two indexes with one condition for claims.
PENDING = "started_us IS NULL AND completed_us IS NULL"
LIVE = "ended_us IS NULL"
# The same rows as LIVE. Asked for a miner's leases in these words, a planner has one index to choose from; of several
# it takes any while the table is small, and keeps to that when the table has grown.
HELD = "outcome IS NULL"


class JobClass(SQLModel, table=True):
    """All jobs with the same requirements, so that eligibility is worked out once and not for each job."""

    __tablename__ = "job_classes"

    id: str = Field(sa_column=digest_column(primary_key=True))
    # Rises in the order in which classes become visible, so that whoever knows the newest one knows them all.
    number: int = Field(sa_column=Column(BigInteger, nullable=False, unique=True))
    requirements: str = Field(sa_type=Text)


class Job(SQLModel, table=True):
    __tablename__ = "jobs"
    __table_args__ = (
        # The order in which jobs of one class are handed out.
        partial_index(
            "jobs_queue",
            "class_number",
            text("priority DESC"),
            text("max_price_atoms DESC"),
            "id",
            where="status = 'pending'",
        ),
        partial_index("jobs_unfinished", "expires_us", where=UNFINISHED),
        Index("jobs_of_client", "client_id", "id"),
        # The rest is for operators' lists and figures.
        partial_index("jobs_failed", "id", where="status = 'failed'"),
        partial_index("jobs_of_miner", "miner_id", "id", where="miner_id IS NOT NULL"),
        partial_index("jobs_pending_since", "created_us", where=PENDING),
    )

    id: str = Field(sa_column=id_column(primary_key=True))
    client_id: str = Field(sa_column=id_column())
    class_number: int = Field(sa_type=BigInteger)
    job_type: str
    priority: int = Field(sa_type=SmallInteger)
    # Zero for a free job.
    max_price_atoms: int = Field(sa_type=BigInteger)
    # The user whose balance it is held from.
    payer_id: str | None = Field(sa_column=id_column(nullable=True))
    # How often it was held: once more each time that the job is taken back from having failed.
    holds: int = Field(sa_column=Column(SmallInteger, nullable=False, server_default="0"))
    ttl_seconds: int
    timeout_seconds: int
    max_attempts: int = Field(sa_type=SmallInteger)
    status: str
    attempts: int = Field(sa_type=SmallInteger)
    miner_id: str | None = Field(sa_column=id_column(nullable=True))
    price_atoms: int | None = Field(sa_type=BigInteger)
    error_code: str | None
    error_message: str | None
    created_us: int = Field(sa_type=BigInteger)
    updated_us: int = Field(sa_type=BigInteger)
    started_us: int | None = Field(sa_type=BigInteger)
    completed_us: int | None = Field(sa_type=BigInteger)
    expires_us: int = Field(sa_type=BigInteger)
    constraints: str = Field(sa_type=Text)
    parameters_sha256: str = Field(sa_column=digest_column())
    parameters: str = Field(sa_type=Text)


class Attempt(SQLModel, table=True):
    """One lease of a job to a miner: live until `ended_us` is set, kept to judge late answers."""

    __tablename__ = "attempts"
    __table_args__ = (
        # One lease, one miner: the database itself refuses a second.
        partial_index("attempts_one_live", "job_id", where=LIVE, unique=True),
        partial_index("attempts_held", "miner_id", where=HELD),
        partial_index("attempts_expiry", "lease_expires_us", where=LIVE),
        partial_index("attempts_cancelled", "miner_id", "ended_us", where="outcome = 'cancelled'"),
    )

    job_id: str = Field(sa_column=id_column(primary_key=True))
    attempt: int = Field(sa_type=SmallInteger, primary_key=True)
    miner_id: str = Field(sa_column=id_column())
    lease_token: str = Field(sa_column=id_column())
    started_us: int = Field(sa_type=BigInteger)
    lease_expires_us: int = Field(sa_type=BigInteger)
    # The attempt's own end, past which no lease is renewed.
    deadline_us: int = Field(sa_type=BigInteger)
    progress_percent: float
    progress_message: str | None
    ended_us: int | None = Field(sa_type=BigInteger)
    outcome: str | None
    # What the miner answered, to tell a repeated answer from another one.
    answer_sha256: str | None = Field(sa_column=digest_column(nullable=True))
