"""The HTTP bodies of jobs, as the contract has them."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from coordinator.core.schemas import Amount, RequestBody, Timestamp
from coordinator.receipts.schemas import ReceiptRead


class JobStatus(StrEnum):
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
    min_vram_gb: float | None = Field(default=None, ge=0, le=1_000_000, description="Memory of that one GPU.")
    cuda: str | None = Field(default=None, max_length=20, description='CUDA version, such as "12" or "12.4".')
    region: str | None = Field(default=None, max_length=100, description="Region, in any case.")


class JobCreate(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"job_type": "llm_inference", "parameters": {"prompt": "The capital of France is"}}]
        }
    )

    job_type: str = Field(max_length=64)
    parameters: dict[str, Any] = Field(default_factory=dict, description="What the miner is given; any JSON object.")
    constraints: Constraints = Field(default_factory=Constraints)
    priority: int = Field(default=5, ge=0, le=HIGHEST_PRIORITY, description="Higher first.")
    ttl_seconds: int = Field(default=3600, ge=1, le=604_800, description="How long it may stay unfinished.")
    timeout_seconds: int = Field(default=600, ge=1, le=86_400, description="How long one attempt may run.")
    max_attempts: int = Field(default=3, ge=1, le=10)
    max_price: Amount | None = Field(default=None, description="AITBC held for the job; without it the job is free.")


class Progress(BaseModel):
    percent: float
    message: str | None


class JobError(BaseModel):
    code: str
    message: str


class JobRead(BaseModel):
    id: str
    client_id: str
    job_type: str
    parameters: dict[str, Any]
    constraints: dict[str, Any]
    priority: int
    status: JobStatus
    progress: Progress
    attempts: int
    max_attempts: int
    miner_id: str | None
    error: JobError | None
    max_price: str | None
    price: str | None
    ttl_seconds: int
    timeout_seconds: int
    created_at: Timestamp
    updated_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    expires_at: Timestamp


class JobStatusRead(BaseModel):
    id: str
    status: JobStatus
    progress: Progress
    attempts: int
    eligible_miners: int = Field(description="How many active miners could run this job, busy ones too.")
    error: JobError | None
    updated_at: Timestamp


class JobResultRead(BaseModel):
    job_id: str
    status: JobStatus
    result: Any
    receipt: ReceiptRead | None
    error: JobError | None


class JobCounts(BaseModel):
    pending: int
    running: int
    completed: int
    failed: int


class JobStatistics(BaseModel):
    jobs: JobCounts
    oldest_pending_seconds: float | None
    average_job_seconds: float | None = Field(description="From lease to result, over the latest 1000 completed jobs.")


class Assignment(BaseModel):
    """A job leased to this miner; the lease token comes back with progress and result."""

    id: str
    job_type: str
    parameters: dict[str, Any]
    constraints: dict[str, Any]
    attempt: int
    lease_token: str
    lease_expires_in_seconds: float
    timeout_seconds: int
    price: str
    redelivered: bool


class PollRead(BaseModel):
    items: list[Assignment]
    poll_after_seconds: float


class LeaseRead(BaseModel):
    job_id: str
    lease_token: str
    expires_in_seconds: float


class HeartbeatRead(BaseModel):
    status: Literal["active", "inactive"]
    server_time: Timestamp
    heartbeat_interval_seconds: int
    leases: list[LeaseRead]
    cancelled_jobs: list[str]


class ProgressCreate(RequestBody):
    lease_token: str | None = Field(default=None, max_length=100)
    percent: float = Field(ge=0, le=100)
    message: str | None = Field(default=None, max_length=1000)


class ProgressRead(BaseModel):
    lease_expires_in_seconds: float
    cancelled: bool


class ResultError(RequestBody):
    code: str = Field(min_length=1, max_length=100)
    message: str = Field(default="", max_length=10_000)
    retryable: bool = False


class ResultCreate(RequestBody):
    job_id: str = Field(max_length=100)
    lease_token: str | None = Field(default=None, max_length=100)
    status: Literal["completed", "failed"] = "completed"
    result: Any = None
    error: ResultError | None = Field(default=None, description="Why it failed; needed when `status` is `failed`.")
    metrics: dict[str, Any] | None = Field(
        default=None, description="`units` (a number) and `unit_type` go into the receipt."
    )
    signature: str | None = Field(default=None, max_length=200)


class ResultRead(BaseModel):
    job_id: str
    status: JobStatus
    receipt: ReceiptRead | None
