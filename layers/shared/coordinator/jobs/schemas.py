"""The HTTP bodies of jobs, as the contract has them; those that miners see are in `lease_schemas`."""

from typing import Any

from pydantic import BaseModel, Field

from coordinator.core.schemas import Amount, Id, RequestBody, Timestamp, Whole
from coordinator.jobs.models import HIGHEST_PRIORITY, JobStatus
from coordinator.receipts.schemas import ReceiptRead


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
