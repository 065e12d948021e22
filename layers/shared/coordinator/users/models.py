from sqlalchemy import Index
from sqlmodel import BigInteger, Field, SQLModel, Text

from coordinator.core.columns import digest_column, id_column


class ApiKey(SQLModel, table=True):
    """A key, or a name of keys, that was used at least once: its digest leads to the id that what it owns hangs on.

    Several digests may lead to one id, as a key has another one with each SECRET_KEY. The key itself is never stored.
    """

    __tablename__ = "api_keys"

    digest: str = Field(sa_column=digest_column(primary_key=True))
    id: str = Field(sa_column=id_column())
    created_us: int = Field(sa_type=BigInteger)


class User(SQLModel, table=True):
    """The owner of a wallet, in the one form of its address that all others are brought to."""

    __tablename__ = "users"

    id: str = Field(sa_column=id_column(primary_key=True))
    wallet: str = Field(unique=True)
    created_us: int = Field(sa_type=BigInteger)
    last_login_us: int | None = Field(sa_type=BigInteger)


class Challenge(SQLModel, table=True):
    """A message that a wallet was asked to sign and has not signed yet: whoever logs in with it removes it."""

    __tablename__ = "challenges"
    __table_args__ = (Index("challenges_expiry", "expires_us"),)

    nonce: str = Field(primary_key=True)
    wallet: str
    # The whole of it, so that what is verified is what was asked, whatever the settings are by then.
    message: str = Field(sa_type=Text)
    expires_us: int = Field(sa_type=BigInteger)


class Session(SQLModel, table=True):
    """A user who has logged in, found by the digest of the token; the token itself is never stored."""

    __tablename__ = "sessions"
    __table_args__ = (Index("sessions_of_user", "user_id"), Index("sessions_expiry", "expires_us"))

    digest: str = Field(sa_column=digest_column(primary_key=True))
    user_id: str = Field(sa_column=id_column())
    created_us: int = Field(sa_type=BigInteger)
    expires_us: int = Field(sa_type=BigInteger)


class UserKey(SQLModel, table=True):
    """An API key that a user has made; the key itself is never stored."""

    __tablename__ = "user_keys"
    __table_args__ = (Index("user_keys_of_user", "user_id", "id"),)

    id: str = Field(sa_column=id_column(primary_key=True))
    user_id: str = Field(sa_column=id_column())
    role: str
    name: str
    digest: str = Field(sa_column=digest_column(unique=True))
    created_us: int = Field(sa_type=BigInteger)
    last_used_us: int | None = Field(sa_type=BigInteger)
    revoked_us: int | None = Field(sa_type=BigInteger)
