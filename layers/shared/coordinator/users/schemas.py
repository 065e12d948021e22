"""The HTTP bodies of users, their logins and keys, as the contract has them."""

from typing import Literal

from pydantic import BaseModel, Field

from coordinator.core.schemas import Id, RequestBody, Timestamp

_ADDRESS = (
    "`0x`, `ait1` or `aitbc1` and 40 hexadecimal digits, in one case or with their checksum (EIP-55): the same digits "
    "are the same wallet. Or an address of one key on the coordinator's network of Bitcoin."
)


class ChallengeCreate(RequestBody):
    """Who wants to log in."""

    wallet_address: str = Field(description=_ADDRESS)


class ChallengeRead(BaseModel):
    """What the wallet must sign."""

    wallet_address: str = Field(description="The address as it was given.")
    message: str = Field(description="The text to sign as it is: EIP-4361 for Ethereum's and AITBC's wallets.")
    nonce: str = Field(description="Names the challenge; good for one login.")
    expires_at: Timestamp = Field(description="Until when.")


class LoginCreate(RequestBody):
    """A wallet's signature of the message of a challenge."""

    wallet_address: str = Field(description="Whose challenge it was, in any form of the address.")
    nonce: str | None = Field(default=None, description="The `nonce` of the challenge.")
    signature: str | None = Field(
        default=None,
        description="Of the `message`. Of Ethereum's and AITBC's wallets: EIP-191 (`personal_sign`), 65 bytes in "
        "hexadecimal digits. Of Bitcoin's: BIP-322 in its simple form, or BIP-137, in base64.",
    )


class UserRead(BaseModel):
    """The owner of a wallet."""

    id: Id = Field(description="The user's id, a UUIDv7.")
    wallet_address: str = Field(description="The wallet, in lower case as far as case makes no difference; `0x...`.")
    created_at: Timestamp = Field(description="When it was first seen.")
    last_login_at: Timestamp | None = Field(description="When its owner logged in last; null if never.")


class LoginRead(BaseModel):
    """A session, just begun."""

    session_token: str = Field(description="Send it as `X-Session-Token`; it is not shown again.")
    expires_at: Timestamp = Field(description="Until when it is good.")
    created: bool = Field(description="Whether this is a new user.")
    user: UserRead = Field(description="Who has logged in.")


class ApiKeyCreate(RequestBody):
    """A key for programs of the user."""

    role: Literal["client", "miner"] = Field(description="What it is for: submitting jobs, or running them.")
    name: str = Field(min_length=1, max_length=100, description="What the user calls it.")


class ApiKeyRead(BaseModel):
    """A key, but for the key itself."""

    id: Id = Field(description="The key's id, a UUIDv7; what deletes it.")
    role: Literal["client", "miner"] = Field(description="What it is for.")
    name: str = Field(description="What the user calls it.")
    created_at: Timestamp = Field(description="When it was made.")
    last_used_at: Timestamp | None = Field(description="When it was used last, to the minute; null if never.")


class ApiKeyCreatedRead(ApiKeyRead):
    """A new key."""

    api_key: str = Field(description="Send it as `X-Api-Key`; it is not shown again.")
