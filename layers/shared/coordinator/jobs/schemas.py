"""The HTTP bodies of jobs, as the contract has them."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from coordinator.core.schemas import Amount, Id, RequestBody, Timestamp, Whole
from coordinator.receipts.schemas import ReceiptRead


class JobStatus(StrEnum):
    """Where a job stands; `completed` and `failed` are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


HIGHEST_PRIORITY = 9
FINISHED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED})


class Constraints(RequestBody):
    """What a miner must have to get the job; all of it must hold."""

    models: list[str] | None = Field(default=None, max_length=50, description="Models, each of which it must offer.")
    gpu: str | None = Field(default=None, max_length=100, description="Part of a GPU's name, in any case.")
    min_vram_gb: float | None = Field(
        default=None, ge=0, le=1_000_000, description="Memory of that one GPU, in GB of 1024 MB."
    )
    cuda: str | None = Field(default=None, max_length=20, description='CUDA version, such as "12" or "12.4".')
    region: str | None = Field(default=None, max_length=100, description="Region, in any case.")


class JobCreate(RequestBody):
    """A job to be done by some miner."""

    job_type: str = Field(max_length=64, description="One of the coordinator's job types, such as `llm_inference`.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="What the miner is given; any JSON object.")
    constraints: Constraints = Field(default_factory=Constraints, description="Which miners may get the job.")
    priority: Whole = Field(default=5, ge=0, le=HIGHEST_PRIORITY, description="Higher first.")
    ttl_seconds: Whole = Field(
        default=3600, ge=1, le=604_800, description="How long it may stay unfinished, in seconds."
    )
    timeout_seconds: Whole = Field(
        default=600, ge=1, le=86_400, description="How long one attempt may run, in seconds."
    )
    max_attempts: Whole = Field(default=3, ge=1, le=10, description="How many leases it may take.")
    max_price: Amount | None = Field(default=None, description="AITBC held for the job; without it the job is free.")


class Progress(BaseModel):
    """How far the present attempt is, as its miner has reported."""

    percent: float = Field(description="0 to 100.")
    message: str | None = Field(description="The miner's own words.")


class JobError(BaseModel):
    """Why a job failed."""

    code: str = Field(description="`CANCELLED`, `EXPIRED`, `ATTEMPTS_EXHAUSTED`, or the miner's own code.")
    message: str = Field(description="For a person.")


class JobRead(BaseModel):
    """A job as it is now."""

    id: Id = Field(description="The job's id, a UUIDv7.")
    client_id: Id = Field(description="Whose job it is.")
    job_type: str = Field(description="As submitted.")
    parameters: dict[str, Any] = Field(description="As submitted.")
    constraints: dict[str, Any] = Field(description="As submitted, without what was null.")
    priority: int = Field(description="0 to 9, higher first.")
    status: JobStatus
    progress: Progress
    attempts: int = Field(description="How many leases it has taken.")
    max_attempts: int = Field(description="How many leases it may take.")
    miner_id: Id | None = Field(description="Who runs it, or has completed it.")
    error: JobError | None = Field(description="Why it failed; null unless it has.")
    max_price: str | None = Field(description="AITBC held for the job; null when it is free.")
    price: str | None = Field(description="AITBC that it has cost; null until it is completed.")
    ttl_seconds: int = Field(description="How long it may stay unfinished, in seconds.")
    timeout_seconds: int = Field(description="How long one attempt may run, in seconds.")
    created_at: Timestamp = Field(description="When it was submitted.")
    updated_at: Timestamp = Field(description="When its status changed last.")
    started_at: Timestamp | None = Field(description="When the present attempt began, or the one that completed it.")
    completed_at: Timestamp | None = Field(description="When it was completed or failed.")
    expires_at: Timestamp = Field(description="When it fails with `EXPIRED` unless it is finished.")


class JobStatusRead(BaseModel):
    """What changes while a job runs."""

    id: Id = Field(description="The job's id.")
    status: JobStatus
    progress: Progress
    attempts: int = Field(description="How many leases it has taken.")
    eligible_miners: int = Field(description="How many active miners could run this job, busy ones too.")
    error: JobError | None = Field(description="Why it failed; null unless it has.")
    updated_at: Timestamp = Field(description="When its status changed last.")


class JobResultRead(BaseModel):
    """How a job has ended: with a result and its receipt, or with an error."""

    job_id: Id = Field(description="The job's id.")
    status: JobStatus = Field(description="`completed` or `failed`.")
    result: Any = Field(description="Any JSON value, as the miner sent it; null when the job failed.")
    receipt: ReceiptRead | None = Field(description="Null when the job failed.")
    error: JobError | None = Field(description="Null when the job was completed.")


class JobCounts(BaseModel):
    """How many jobs there are."""

    pending: int = Field(description="Those that wait for a miner.")
    running: int = Field(description="Those that a miner holds.")
    completed: int = Field(description="Those that have a result.")
    failed: int = Field(description="Those that ended without one, cancelled ones too.")


class JobStatistics(BaseModel):
    """How many jobs there are, and how long they take."""

    jobs: JobCounts
    oldest_pending_seconds: float | None = Field(
        description="How long ago the oldest of the waiting jobs was submitted; null when none waits."
    )
    average_job_seconds: float | None = Field(
        description="From lease to result, over the latest 1000 completed jobs; null before the first."
    )


class Assignment(BaseModel):
    """A job leased to this miner; the lease token comes back with progress and result."""

    id: Id = Field(description="The job's id.")
    job_type: str = Field(description="One of the job types that the miner offers.")
    parameters: dict[str, Any] = Field(description="What is to be done, as the client submitted it.")
    constraints: dict[str, Any] = Field(description="What the client asks of the miner.")
    attempt: int = Field(description="Which of the job's leases this is, from 1.")
    lease_token: str = Field(description="Names this lease, to be sent with progress and result.")
    lease_expires_in_seconds: float = Field(description="When the lease ends unless renewed, in seconds from now.")
    timeout_seconds: int = Field(description="How long this attempt may run, in seconds, however often it is renewed.")
    price: str = Field(description="AITBC that the miner is paid.")
    redelivered: bool = Field(description="The miner holds this lease already, and is told once more.")


class PollRead(BaseModel):
    """The jobs that the miner now holds, and when to ask again."""

    items: list[Assignment]
    poll_after_seconds: float = Field(description="When to ask again, in seconds from now.")


class LeaseRead(BaseModel):
    """A lease that the miner holds."""

    job_id: Id = Field(description="The job's id.")
    lease_token: str = Field(description="Names this lease.")
    expires_in_seconds: float = Field(description="When it ends unless it is renewed, in seconds from now.")


class HeartbeatRead(BaseModel):
    """What a miner should know between two polls."""

    status: Literal["active", "inactive"] = Field(description="Only active miners get jobs.")
    server_time: Timestamp = Field(description="The coordinator's clock.")
    heartbeat_interval_seconds: int = Field(description="When to send the next heartbeat, in seconds from now.")
    leases: list[LeaseRead] = Field(description="All that the miner holds.")
    cancelled_jobs: list[Id] = Field(description="Jobs of this miner that were cancelled lately: stop working on them.")


class ProgressCreate(RequestBody):
    """How far a job is."""

    lease_token: str | None = Field(
        default=None, max_length=100, description="The assignment's; without it the miner's latest lease of the job."
    )
    percent: float = Field(ge=0, le=100, description="0 to 100.")
    message: str | None = Field(default=None, max_length=1000, description="Shown to the client.")


class ProgressRead(BaseModel):
    """How long the miner may go on."""

    lease_expires_in_seconds: float = Field(description="When the lease ends unless renewed, in seconds from now.")
    cancelled: bool = Field(description="The client has cancelled the job: stop working on it.")


class ResultError(RequestBody):
    """Why a miner could not do a job."""

    code: str = Field(min_length=1, max_length=100, description="A code of the miner's own.")
    message: str = Field(default="", max_length=10_000, description="For the client.")
    retryable: bool = Field(
        default=False, description="Whether another attempt may do better: back to the queue while attempts are left."
    )


Metrics = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                "units": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "exclusiveMaximum": 2**53,
                    "description": "How much was delivered; without it the receipt says how long it took.",
                },
                "unit_type": {
                    "type": ["string", "null"],
                    "minLength": 1,
                    "maxLength": 64,
                    "description": "What is counted, such as `tokens`.",
                },
            },
            "additionalProperties": True,
        }
    ),
]


class ResultCreate(RequestBody):
    """A miner's answer to a job."""

    model_config = ConfigDict(
        json_schema_extra={
            # Failed, with an error that is null or left out.
            "not": {"properties": {"status": {"const": "failed"}, "error": {"type": "null"}}, "required": ["status"]}
        }
    )

    job_id: Id = Field(max_length=100, description="The assignment's `id`.")
    lease_token: str | None = Field(
        default=None, max_length=100, description="The assignment's; without it the miner's latest lease of the job."
    )
    status: Literal["completed", "failed"] = Field(default="completed", description="Whether there is a result.")
    result: Any = Field(default=None, description="Any JSON value.")
    error: ResultError | None = Field(default=None, description="Why it failed; needed when `status` is `failed`.")
    metrics: Metrics | None = Field(default=None, description="`units` and `unit_type` go into the receipt.")
    signature: str | None = Field(
        default=None,
        max_length=200,
        description="Needed if the miner has a `public_key`: Ed25519, base64url, over "
        "`<job_id>.<lease_token>.<SHA-256, hex, of the result as RFC 8785 JSON>`.",
    )


class ResultRead(BaseModel):
    """What became of the job."""

    job_id: Id = Field(description="The job's id.")
    status: JobStatus = Field(description="`pending` when the job went back to the queue.")
    receipt: ReceiptRead | None = Field(description="The coordinator's receipt; null unless the job is completed.")
