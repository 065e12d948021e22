from sqlalchemy import Index
from sqlmodel import BigInteger, Field, SmallInteger, SQLModel, Text

from coordinator.core.columns import digest_column, id_column


class IdempotencyKey(SQLModel, table=True):
    """A key that a principal has sent, with the answer to the request that it came with."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_age", "created_us"),)

    principal_id: str = Field(sa_column=id_column(primary_key=True))
    key: str = Field(primary_key=True)
    request_sha256: str = Field(sa_column=digest_column())
    status: int = Field(sa_type=SmallInteger)
    headers: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    created_us: int = Field(sa_type=BigInteger)
