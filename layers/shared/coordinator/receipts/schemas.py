from typing import Any

from pydantic import BaseModel, Field

from coordinator.core.schemas import Timestamp


class ReceiptRead(BaseModel):
    """Signed evidence of a completed job; `proof` is a JWS that anyone can verify with the published keys."""

    id: str
    job_id: str
    miner_id: str
    client_id: str
    result: Any
    result_sha256: str = Field(description="SHA-256, hex, of the result as RFC 8785 JSON.")
    parameters_sha256: str = Field(description="SHA-256, hex, of the parameters as RFC 8785 JSON.")
    units: float
    unit_type: str
    price: str
    started_at: Timestamp
    completed_at: Timestamp
    proof: str
    created_at: Timestamp
