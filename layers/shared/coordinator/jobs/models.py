from enum import StrEnum

from sqlalchemy import BigInteger, Float, Index, Integer, SmallInteger, String, Table, Text, func, text

from coordinator.core.columns import DIGEST, ID, column, metadata, partial_index


class JobStatus(StrEnum):
    """Where a job stands; `completed` and `failed` are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


HIGHEST_PRIORITY = 9
FINISHED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED})

# Written out in queries too: SQLite uses a partial index only where its condition stands as it is.
UNFINISHED = "status IN ('pending', 'running')"
# The jobs of status pending, in words that the index of the queue has not: a planner that knows of a few jobs takes
# either of two indexes with one condition for claims.
PENDING = "started_us IS NULL AND completed_us IS NULL"
LIVE = "ended_us IS NULL"
# The same rows as LIVE. Asked for a miner's leases in these words, a planner has one index to choose from; of several
# it takes any while the table is small, and keeps to that when the table has grown.
HELD = "outcome IS NULL"

# All jobs with the same requirements, so that eligibility is worked out once and not for each job.
job_classes = Table(
    "job_classes",
    metadata,
    column("id", DIGEST, primary_key=True),
    # Rises in the order in which classes become visible, so that whoever knows the newest one knows them all.
    column("number", BigInteger, unique=True),
    column("requirements", Text),
)

jobs = Table(
    "jobs",
    metadata,
    column("id", ID, primary_key=True),
    column("client_id", ID),
    column("class_number", BigInteger),
    column("job_type", String),
    column("priority", SmallInteger),
    # Zero for a free job.
    column("max_price_atoms", BigInteger),
    # The user whose balance it is held from.
    column("payer_id", ID, nullable=True),
    # How often it was held: once more each time that the job is taken back from having failed.
    column("holds", SmallInteger, server_default="0"),
    column("ttl_seconds", Integer),
    column("timeout_seconds", Integer),
    column("max_attempts", SmallInteger),
    column("status", String),
    column("attempts", SmallInteger),
    column("miner_id", ID, nullable=True),
    column("price_atoms", BigInteger, nullable=True),
    column("error_code", String, nullable=True),
    column("error_message", String, nullable=True),
    column("created_us", BigInteger),
    column("updated_us", BigInteger),
    column("started_us", BigInteger, nullable=True),
    column("completed_us", BigInteger, nullable=True),
    column("expires_us", BigInteger),
    column("constraints", Text),
    column("parameters_sha256", DIGEST),
    column("parameters", Text),
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

# Of the texts of a job that its submitter made as long as he liked.
CHARACTERS = func.length(jobs.c.parameters) + func.length(jobs.c.constraints)

# One lease of a job to a miner: live until `ended_us` is set, kept to judge late answers.
attempts = Table(
    "attempts",
    metadata,
    column("job_id", ID, primary_key=True),
    column("attempt", SmallInteger, primary_key=True),
    column("miner_id", ID),
    column("lease_token", ID),
    column("started_us", BigInteger),
    column("lease_expires_us", BigInteger),
    # The attempt's own end, past which no lease is renewed.
    column("deadline_us", BigInteger),
    column("progress_percent", Float),
    column("progress_message", String, nullable=True),
    column("ended_us", BigInteger, nullable=True),
    column("outcome", String, nullable=True),
    # What the miner answered, to tell a repeated answer from another one.
    column("answer_sha256", DIGEST, nullable=True),
    # One lease, one miner: the database itself refuses a second.
    partial_index("attempts_one_live", "job_id", where=LIVE, unique=True),
    partial_index("attempts_held", "miner_id", where=HELD),
    partial_index("attempts_expiry", "lease_expires_us", where=LIVE),
    partial_index("attempts_cancelled", "miner_id", "ended_us", where="outcome = 'cancelled'"),
)

# A part of the counts: only the sums over all rows mean something.
job_counts = Table(
    "job_counts",
    metadata,
    column("shard", BigInteger, primary_key=True, autoincrement=False),
    column("pending", BigInteger),
    column("running", BigInteger),
    column("completed", BigInteger),
    column("failed", BigInteger),
    # Leases that have expired, ever.
    column("lease_expiries", BigInteger),
)
