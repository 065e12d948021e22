"""The HTTP bodies of the exchange, as the contract has them."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from coordinator.core.schemas import Amount, Id, RequestBody, Timestamp


class PaymentStatus(StrEnum):
    # Nothing is seen yet.
    PENDING = "pending"
    # Seen, but with too few confirmations.
    PROCESSING = "processing"
    # All that was seen is credited.
    CONFIRMED = "confirmed"
    # Nothing was seen in time.
    EXPIRED = "expired"


class Flag(StrEnum):
    UNDERPAID = "underpaid"
    OVERPAID = "overpaid"
    LATE = "late"
    REVERSED = "reversed"


class PaymentCreate(RequestBody):
    """Name one amount; two must be the same at today's rate."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "not": {"properties": {name: {"type": "null"}}}}
                for name in ("aitbc_amount", "btc_amount")
            ]
        }
    )

    aitbc_amount: Amount | None = Field(default=None, description="How many AITBC to buy.")
    btc_amount: Amount | None = Field(default=None, description="How many bitcoin to pay.")


class PaymentTransaction(BaseModel):
    """An output that pays the address."""

    txid: str = Field(description="The transaction.")
    vout: int = Field(description="Which of its outputs.")
    amount_sat: int = Field(description="Satoshis.")
    block_height: int | None = Field(description="The block that it is in; null while it is in none.")


class PaymentRead(BaseModel):
    """What to pay where, and what has come of it."""

    payment_id: Id = Field(description="The payment's id, a UUIDv7.")
    user_id: Id = Field(description="Who gets the AITBC.")
    aitbc_amount: str = Field(description="AITBC that this buys.")
    btc_amount: str = Field(description="Bitcoin to pay.")
    amount_sat: int = Field(description="The same in satoshis.")
    address: str = Field(description="Where to pay them.")
    uri: str = Field(description="The same for wallets (BIP-321).")
    status: PaymentStatus = Field(
        description="`pending`: nothing is seen; `processing`: seen, with too few confirmations; `confirmed`: all that "
        "has come is credited; `expired`: nothing was seen in time. What is paid later is credited too."
    )
    flags: list[Flag] = Field(
        description="`underpaid`, `overpaid`: less or more than asked for has come; `late`: some of it after the time; "
        "`reversed`: some was credited and taken back, as the chain did."
    )
    confirmations: int = Field(description="Of that part of the money which has the fewest; 0 while any has none.")
    confirmations_required: int = Field(description="How many it takes to be credited.")
    received_sat: int = Field(description="Satoshis that were seen, confirmed or not.")
    transactions: list[PaymentTransaction] = Field(description="What has come, in the order of the blocks.")
    credited_aitbc: str = Field(description="AITBC that the user has got for it.")
    created_at: Timestamp = Field(description="When the payment was made.")
    expires_at: Timestamp = Field(description="Until when the rate is good.")
    confirmed_at: Timestamp | None = Field(description="When it was credited; null before.")


class RatesRead(BaseModel):
    """The rate of the moment; a payment keeps the one that it was made at."""

    btc_to_aitbc: str = Field(description="AITBC for a bitcoin.")
    aitbc_to_btc: str = Field(description="Bitcoin for an AITBC, rounded down to the 16th place.")
