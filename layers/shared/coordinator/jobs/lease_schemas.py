"""The HTTP bodies between a miner and the jobs that it leases, as the contract has them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from coordinator.core.schemas import Id, RequestBody, Timestamp
from coordinator.jobs.models import JobStatus
from coordinator.receipts.schemas import ReceiptRead


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
