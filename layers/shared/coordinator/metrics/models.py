from sqlmodel import BigInteger, Field, SQLModel, Text

from coordinator.core.columns import id_column


class EnvironmentCounts(SQLModel, table=True):
    """What one execution environment has counted since its row began; only that environment writes it."""

    __tablename__ = "environment_counts"

    environment: str = Field(sa_column=id_column(primary_key=True))
    # A JSON object of whole numbers.
    counts: str = Field(sa_type=Text)
    flushed_us: int = Field(sa_type=BigInteger)
