from sqlalchemy import BigInteger, Table, Text

from coordinator.core.columns import ID, column, metadata

# What one execution environment has counted since its row began; only that environment writes it.
environment_counts = Table(
    "environment_counts",
    metadata,
    column("environment", ID, primary_key=True),
    # A JSON object of whole numbers.
    column("counts", Text),
    column("flushed_us", BigInteger),
)
