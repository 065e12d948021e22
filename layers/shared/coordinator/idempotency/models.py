from sqlalchemy import BigInteger, Index, SmallInteger, String, Table, Text

from coordinator.core.columns import DIGEST, ID, column, metadata

# A key that a principal has sent, with the answer to the request that it came with.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    column("principal_id", ID, primary_key=True),
    column("key", String, primary_key=True),
    column("request_sha256", DIGEST),
    column("status", SmallInteger),
    column("headers", Text),
    column("body", Text),
    column("created_us", BigInteger),
    Index("idempotency_keys_age", "created_us"),
)
