from sqlalchemy import Column, Index, Integer
from sqlmodel import BigInteger, Field, LargeBinary, SmallInteger, SQLModel, Text

from coordinator.core.columns import digest_column, id_column, key_column

# SQLite takes a key of this very type for the number of the row, which needs no index of its own.
_INDEX = BigInteger().with_variant(Integer(), "sqlite")


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


class LogEntry(SQLModel, table=True):
    """A receipt's place in the transparency log; the database itself refuses to change or remove one."""

    __tablename__ = "receipt_log"

    log_index: int = Field(sa_column=Column(_INDEX, primary_key=True, autoincrement=False))
    receipt_id: str = Field(sa_column=id_column(unique=True))
    # That of the receipt's proof, then those of the nodes that it completes; see `tree`.
    hashes: bytes = Field(sa_type=LargeBinary)


class LogWaiting(SQLModel, table=True):
    """A receipt that the log has yet to take in, noted by a trigger in the transaction of the receipt."""

    __tablename__ = "receipt_log_waiting"
    __table_args__ = {"sqlite_with_rowid": False}

    receipt_id: str = Field(sa_column=id_column(primary_key=True))


class LogCheckpoint(SQLModel, table=True):
    """What was signed of the log at one size; as unchangeable as the entries."""

    __tablename__ = "receipt_log_checkpoints"

    size: int = Field(sa_column=Column(_INDEX, primary_key=True, autoincrement=False))
    root_hash: str = Field(sa_column=digest_column())
    note: str = Field(sa_type=Text)
    created_us: int = Field(sa_type=BigInteger)


class LogOrigin(SQLModel, table=True):
    """The name of this database's log, one row, given by the migration that made it."""

    __tablename__ = "receipt_log_origin"

    origin: str = Field(sa_column=key_column(primary_key=True))
