"""The HTTP bodies of miners, as the contract has them."""

import base64
import binascii
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AfterValidator, BaseModel, Field

from coordinator.core.schemas import Amount, RequestBody, Timestamp


def _check_public_key(value: str) -> str:
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        Ed25519PublicKey.from_public_bytes(raw)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be an Ed25519 public key: 32 bytes in base64url") from error
    return value


PublicKey = Annotated[str, AfterValidator(_check_public_key)]


class Capability(RequestBody):
    job_type: str = Field(min_length=1, max_length=64)
    models: list[str] = Field(default_factory=list, max_length=1000)


class Gpu(RequestBody):
    name: str = Field(max_length=200)
    memory_mb: float = Field(default=0, ge=0)


class Hardware(RequestBody):
    gpus: list[Gpu] = Field(default_factory=list, max_length=64)
    cuda: str | None = Field(default=None, max_length=20)


class MinerRegister(RequestBody):
    address: str = Field(min_length=1, max_length=200, description="The wallet that is paid.")
    endpoint: str | None = Field(default=None, max_length=500)
    capabilities: list[str | Capability] = Field(min_length=1, max_length=100)
    hardware: Hardware = Field(default_factory=Hardware)
    region: str | None = Field(default=None, max_length=100)
    price: Amount = Field(default=0, description="AITBC a job.", validate_default=False)
    concurrency: int = Field(default=1, ge=1, le=1000, description="How many jobs it runs at once.")
    public_key: PublicKey | None = Field(
        default=None, description="Ed25519, 32 bytes in base64url. Results must then be signed."
    )
    name: str | None = Field(default=None, max_length=200)


MinerStatus = Literal["active", "inactive"]


class MinerRead(BaseModel):
    id: str
    address: str
    endpoint: str | None
    capabilities: list[Any]
    hardware: dict[str, Any]
    region: str | None
    price: str
    concurrency: int
    name: str | None
    status: MinerStatus
    last_heartbeat: Timestamp
    created_at: Timestamp
    heartbeat_interval_seconds: int
    heartbeat_timeout_seconds: int
    lease_seconds: int


class MinerOperatorRead(MinerRead):
    """A miner as operators see it."""

    owner_id: str = Field(description="Which miner key registered it, by the id that stands for it.")
    disabled: bool
    report: dict[str, Any] = Field(description="What its last heartbeat said.")


class MinerCounts(BaseModel):
    active: int
    inactive: int


class Heartbeat(RequestBody):
    status: str | None = Field(default=None, max_length=64)
    inflight: Annotated[int, Field(ge=0)] | Annotated[list[str], Field(max_length=1000)] | None = Field(
        default=None,
        description="How many jobs it works on, or the list of their ids: then only their leases are renewed.",
    )
    metrics: dict[str, Any] | None = None


class EarningRead(BaseModel):
    job_id: str
    receipt_id: str
    amount: str
    completed_at: Timestamp


class EarningsRead(BaseModel):
    total: str
    settled_jobs: int
    items: list[EarningRead]
    next_cursor: str | None
