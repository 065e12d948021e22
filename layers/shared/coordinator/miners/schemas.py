"""The HTTP bodies of miners, as the contract has them."""

import base64
import binascii
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AfterValidator, BaseModel, Field

from coordinator.core.schemas import WHOLE, Amount, Id, RequestBody, Timestamp, Whole


def _check_public_key(value: str) -> str:
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        Ed25519PublicKey.from_public_bytes(raw)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be an Ed25519 public key: 32 bytes in base64url") from error
    return value


PublicKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}=?$"), AfterValidator(_check_public_key)]


class Capability(RequestBody):
    """A job type that a miner takes, and the models that it has for it."""

    job_type: str = Field(min_length=1, max_length=64, description="Such as `llm_inference`.")
    models: list[str] = Field(
        default_factory=list, max_length=1000, description="Names of models, as clients spell them in constraints."
    )


class Gpu(RequestBody):
    """One GPU of a miner."""

    name: str = Field(max_length=200, description="As its driver names it.")
    memory_mb: float = Field(default=0, ge=0, description="Its memory in MB (1024 of them are a GB).")


class Hardware(RequestBody):
    """What a miner runs on; constraints of jobs are compared with it."""

    gpus: list[Gpu] = Field(default_factory=list, max_length=64)
    cuda: str | None = Field(default=None, max_length=20, description="CUDA version, such as `12.4`.")


class MinerRegister(RequestBody):
    """What a miner is and offers."""

    address: str = Field(min_length=1, max_length=200, description="The wallet that is paid.")
    endpoint: str | None = Field(
        default=None, max_length=500, description="Tells apart several miners of one key with the same address."
    )
    capabilities: list[str | Capability] = Field(
        min_length=1, max_length=100, description="The job types that it takes, each with or without models."
    )
    hardware: Hardware = Field(default_factory=Hardware)
    region: str | None = Field(default=None, max_length=100, description="Where it stands, in the operator's words.")
    price: Amount = Field(
        default=0, description="AITBC a job.", validate_default=False, json_schema_extra={"default": "0"}
    )
    concurrency: Whole = Field(default=1, ge=1, le=1000, description="How many jobs it runs at once.")
    public_key: PublicKey | None = Field(
        default=None, description="Ed25519, 32 bytes in base64url. Results must then be signed."
    )
    name: str | None = Field(default=None, max_length=200, description="For people.")


MinerStatus = Literal["active", "inactive"]


class MinerRead(BaseModel):
    """A miner as it is now, and what the coordinator expects of it."""

    id: Id = Field(description="The miner's id, a UUIDv7; sent back as `X-Miner-Id`.")
    address: str = Field(description="The wallet that is paid.")
    endpoint: str | None = Field(description="As registered.")
    capabilities: list[str | Capability] = Field(description="As registered.")
    hardware: Hardware
    region: str | None = Field(description="As registered.")
    price: str = Field(description="AITBC a job.")
    concurrency: int = Field(description="How many jobs it runs at once.")
    name: str | None = Field(description="As registered.")
    status: MinerStatus = Field(description="Only active miners get jobs.")
    last_heartbeat: Timestamp = Field(description="When it was heard last.")
    created_at: Timestamp = Field(description="When it registered first.")
    heartbeat_interval_seconds: int = Field(description="How often it should send a heartbeat, in seconds.")
    heartbeat_timeout_seconds: int = Field(description="After this long a silence it is given up, in seconds.")
    lease_seconds: int = Field(description="How long a lease lasts unless it is renewed, in seconds.")


class Heartbeat(RequestBody):
    """What a miner may tell of itself; all of it may be left out."""

    status: str | None = Field(default=None, max_length=64, description="A word of the miner's own.")
    inflight: Annotated[Annotated[int, Field(ge=0)] | Annotated[list[str], Field(max_length=1000)] | None, WHOLE] = (
        Field(
            default=None,
            description="How many jobs it works on, or the list of their ids: then only their leases are renewed.",
        )
    )
    metrics: dict[str, Any] | None = Field(default=None, description="Figures of the miner's own.")


class EarningRead(BaseModel):
    """What one completed job has brought."""

    job_id: Id = Field(description="The job.")
    receipt_id: Id = Field(description="Its receipt.")
    amount: str = Field(description="AITBC.")
    completed_at: Timestamp = Field(description="When its result was taken.")


class EarningsRead(BaseModel):
    """What a miner has earned in all, and by which jobs, newest first."""

    total: str = Field(description="AITBC, over all pages.")
    settled_jobs: int = Field(description="How many jobs it has completed, over all pages.")
    items: list[EarningRead]
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")
