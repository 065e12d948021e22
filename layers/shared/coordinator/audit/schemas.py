from typing import Any

from pydantic import BaseModel, Field

from coordinator.core.schemas import Id, Timestamp


class AuditEntryRead(BaseModel):
    """One change that an operator made; it is never changed or removed."""

    id: Id = Field(description="The entry's id, a UUIDv7.")
    admin: Id = Field(description="Which admin key it was, by the id that stands for it.")
    action: str = Field(description="`job.cancel`, `job.requeue`, `miner.disable`, `miner.enable` or `user.adjust`.")
    subject: Id = Field(description="The id of the job, miner or user that was changed.")
    details: dict[str, Any] = Field(description="More by action: `was` is the status before, `amount` what was added.")
    created_at: Timestamp = Field(description="When it was changed.")
