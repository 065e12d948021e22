from typing import Any

from pydantic import BaseModel, Field

from coordinator.core.schemas import Timestamp


class AuditEntryRead(BaseModel):
    id: str
    admin: str = Field(description="Which admin key it was, by the id that stands for it.")
    action: str = Field(examples=["job.requeue"])
    subject: str = Field(description="The id of the job or miner that was changed.")
    details: dict[str, Any]
    created_at: Timestamp
