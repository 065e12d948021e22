from typing import Any

from pydantic import BaseModel, Field

from coordinator.core.schemas import Id, Timestamp


class ReceiptRead(BaseModel):
    """Signed evidence of a completed job; `proof` is a JWS that anyone can verify with the published keys."""

    id: Id = Field(description="The receipt's id, a UUIDv7.")
    job_id: Id = Field(description="The job.")
    miner_id: Id = Field(description="Who has done it.")
    client_id: Id = Field(description="Who has submitted it.")
    result: Any = Field(description="What the miner has delivered, any JSON value.")
    result_sha256: str = Field(description="SHA-256, hex, of the result as RFC 8785 JSON.")
    parameters_sha256: str = Field(description="SHA-256, hex, of the parameters as RFC 8785 JSON.")
    units: float = Field(description="How much was delivered, as the miner counts it, else how long it took.")
    unit_type: str = Field(description="What `units` counts: the miner's word, else `seconds`.")
    price: str = Field(description="AITBC that the job has cost.")
    started_at: Timestamp = Field(description="When the attempt began.")
    completed_at: Timestamp = Field(description="When the result was taken.")
    proof: str = Field(description="All of the above but the result itself, signed: a compact JWS (RFC 7515).")
    created_at: Timestamp = Field(description="When the receipt was made.")
