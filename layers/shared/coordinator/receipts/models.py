from sqlalchemy import Index
from sqlmodel import BigInteger, Field, SmallInteger, SQLModel, Text

from coordinator.core.columns import digest_column, id_column


class Receipt(SQLModel, table=True):
    """The signed statement of a completed job; exactly one a job."""

    __tablename__ = "receipts"
    __table_args__ = (Index("receipts_of_miner", "miner_id", "id"), Index("receipts_of_client", "client_id", "id"))

    id: str = Field(sa_column=id_column(primary_key=True))
    job_id: str = Field(sa_column=id_column(unique=True))
    attempt: int = Field(sa_type=SmallInteger)
    miner_id: str = Field(sa_column=id_column())
    client_id: str = Field(sa_column=id_column())
    result_sha256: str = Field(sa_column=digest_column())
    parameters_sha256: str = Field(sa_column=digest_column())
    units: float
    unit_type: str
    price_atoms: int = Field(sa_type=BigInteger)
    started_us: int = Field(sa_type=BigInteger)
    completed_us: int = Field(sa_type=BigInteger)
    created_us: int = Field(sa_type=BigInteger)
    proof: str = Field(sa_type=Text)
    result: str = Field(sa_type=Text)


class SigningKey(SQLModel, table=True):
    """A public key that has signed receipts; kept for as long as receipts are to be verified."""

    __tablename__ = "signing_keys"

    kid: str = Field(sa_column=digest_column(primary_key=True))
    jwk: str = Field(sa_type=Text)
    created_us: int = Field(sa_type=BigInteger)
