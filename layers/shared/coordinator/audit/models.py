from sqlmodel import BigInteger, Field, SQLModel, Text

from coordinator.core.columns import id_column


class AuditEntry(SQLModel, table=True):
    """One change that an operator made; the database itself refuses to change or remove an entry."""

    __tablename__ = "audit"

    id: str = Field(sa_column=id_column(primary_key=True))
    # The principal of the admin key, never the key.
    admin_id: str = Field(sa_column=id_column())
    action: str
    # The id of what was changed.
    subject: str
    details: str = Field(sa_type=Text)
    created_us: int = Field(sa_type=BigInteger)
