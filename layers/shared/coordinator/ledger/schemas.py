"""The HTTP bodies of the ledger, as the contract has them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from coordinator.core.money import parse_aitbc
from coordinator.core.schemas import Id, RequestBody, Timestamp
from coordinator.ledger.postings import Kind


def _parse_change(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("must be a decimal string")  # noqa: TRY004  (pydantic reports ValueError as a field error)
    atoms = parse_aitbc(value.removeprefix("-"))
    if atoms == 0:
        raise ValueError("must not be zero")
    return -atoms if value.startswith("-") else atoms


# As `core.schemas.Amount`, with a sign and without zero.
Change = Annotated[
    int,
    BeforeValidator(_parse_change),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^-?(100000000(\.0{1,8})?|(0|[1-9][0-9]{0,7})(\.[0-9]{1,8})?)$",
            "not": {"pattern": r"^-?0(\.0+)?$"},
        }
    ),
]


class Balance(BaseModel):
    """What a user has."""

    currency: Literal["AITBC"] = Field(description="The unit of all amounts.")
    available: str = Field(description="What can be spent.")
    held: str = Field(description="For unfinished jobs: what they may cost.")
    total: str = Field(description="Both together.")


class BalanceRead(Balance):
    """What a user has."""

    user_id: Id = Field(description="The user's id.")


class TransactionRead(BaseModel):
    """One change of a user's available balance; all of them add up to it. It is never changed or removed."""

    id: Id = Field(description="The transaction's id, a UUIDv7.")
    kind: Kind = Field(
        description="`hold`: held for a job; `release`: given back when the job has ended; `settlement`: the price of "
        "a completed job; `earning`: paid for a completed job; `adjustment`: by an operator; `purchase`: bought for "
        "bitcoin; `reversal`: taken back, as the bitcoin was."
    )
    amount: str = Field(description="AITBC; negative if the balance has become less.")
    job_id: Id | None = Field(description="The job, for what has one.")
    payment_id: Id | None = Field(description="The payment, for what has one.")
    created_at: Timestamp = Field(description="When it was made.")


class UserOperatorRead(Balance):
    """A user as operators see him."""

    id: Id = Field(description="The user's id, a UUIDv7.")
    wallet_address: str = Field(description="The user's wallet.")
    created_at: Timestamp = Field(description="When the wallet was paid or logged in first.")
    last_login_at: Timestamp | None = Field(description="When it logged in last; null if it never has.")


class Adjustment(RequestBody):
    """A change of a user's balance that no job and no payment has made."""

    amount: Change = Field(description="AITBC; negative to take away, no more than is available.")
    reason: str = Field(min_length=1, max_length=500, description="Why; kept in the audit.")
