from sqlalchemy import BigInteger, String, Table, Text

from coordinator.core.columns import ID, column, metadata

# One change that an operator made; the database itself refuses to change or remove an entry.
audit = Table(
    "audit",
    metadata,
    column("id", ID, primary_key=True),
    # The principal of the admin key, never the key.
    column("admin_id", ID),
    column("action", String),
    # The id of what was changed.
    column("subject", String),
    column("details", Text),
    column("created_us", BigInteger),
)
