"""The HTTP bodies of what verifies a receipt: by this coordinator, or by its log."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from coordinator.core.schemas import Id, RequestBody, Timestamp


class VerificationCreate(RequestBody):
    """A receipt's proof, and what it should be about."""

    proof: str = Field(description="The receipt's `proof`.")
    result: Any = Field(
        default=None, description="The result, any JSON value; null is one too, so leave out what you lack."
    )
    parameters: dict[str, Any] | None = Field(default=None, description="The job's parameters.")


class VerificationChecks(BaseModel):
    """What holds; null is what was not asked, or can't be decided (yet)."""

    signature: bool | None = Field(default=None, description="One of the published keys has signed the proof.")
    known: bool | None = Field(default=None, description="This coordinator has issued just this proof.")
    result: bool | None = Field(default=None, description="It is about this result.")
    parameters: bool | None = Field(default=None, description="It is about these parameters.")
    inclusion: bool | None = Field(
        default=None, description="The transparency log has it; null until the log has taken it in."
    )


class VerificationRead(BaseModel):
    """What became of each check; `valid` if none has failed and the receipt is signed and known."""

    valid: bool = Field(description="Whether the receipt can be relied on.")
    checks: VerificationChecks
    receipt_id: Id | None = Field(description="Which receipt it is; null unless it is signed.")
    reason: str | None = Field(description="For a person: which checks have failed, and why. Null if none has.")


class InclusionRead(BaseModel):
    """Proof that the log has a receipt (RFC 9162, section 2.1.3); its hashes are SHA-256 in lowercase hexadecimal."""

    log_index: int = Field(description="The receipt's place in the log, counted from 0; it never changes.")
    tree_size: int = Field(description="How many receipts the log had at the checkpoint.")
    leaf_hash: str = Field(description="SHA-256 of a zero byte and the receipt's `proof`.")
    path: list[str] = Field(
        description="The hashes that lead from `leaf_hash` to the root of the checkpoint, from below."
    )
    checkpoint: str = Field(description="The signed checkpoint: a note (c2sp.org/tlog-checkpoint), line ends included.")


class CheckpointRead(BaseModel):
    """What the coordinator has signed of its log; whoever keeps it can prove later whether the log has only grown."""

    checkpoint: str = Field(
        description="A signed note (c2sp.org/tlog-checkpoint): name of the log, size, root in base64; signature."
    )
    tree_size: int = Field(description="How many receipts the log had.")
    root_hash: str = Field(description="The root of their Merkle tree (RFC 9162), in lowercase hexadecimal.")
    created_at: Timestamp = Field(description="When it was signed.")


class ConsistencyRead(BaseModel):
    """Proof that the log has only grown from one size to another (RFC 9162, section 2.1.4)."""

    older: int = Field(alias="from", description="The smaller size.")
    newer: int = Field(alias="to", description="The larger size.")
    path: list[str] = Field(
        description="The hashes that lead to both roots, in lowercase hexadecimal; none from 0 or the same size."
    )

    model_config = ConfigDict(populate_by_name=True)
