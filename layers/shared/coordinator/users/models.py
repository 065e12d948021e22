from sqlmodel import BigInteger, Field, SQLModel

from coordinator.core.columns import digest_column, id_column


class ApiKey(SQLModel, table=True):
    """A key, or a name of keys, that was used at least once: its digest leads to the id that what it owns hangs on.

    Several digests may lead to one id, as a key has another one with each SECRET_KEY. The key itself is never stored.
    """

    __tablename__ = "api_keys"

    digest: str = Field(sa_column=digest_column(primary_key=True))
    id: str = Field(sa_column=id_column())
    created_us: int = Field(sa_type=BigInteger)
