from sqlmodel import BigInteger, Field, SQLModel

from coordinator.core.columns import digest_column, id_column


class ApiKey(SQLModel, table=True):
    """A key that was used at least once; what a key owns hangs on its id, so the key itself is never stored."""

    __tablename__ = "api_keys"

    id: str = Field(sa_column=id_column(primary_key=True))
    digest: str = Field(sa_column=digest_column(unique=True))
    created_us: int = Field(sa_type=BigInteger)
