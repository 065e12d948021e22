"""The tables of all subjects in one place, for Alembic to compare with a database."""

from sqlalchemy import text

import coordinator.audit.models
import coordinator.idempotency.models
import coordinator.jobs.models
import coordinator.ledger.models
import coordinator.metrics.models
import coordinator.miners.models
import coordinator.payments.models
import coordinator.receipts.models
import coordinator.users.models  # noqa: F401  (imported for the tables that they declare)
from coordinator.core import columns

metadata = columns.metadata

for _table in metadata.tables.values():
    for _index in _table.indexes:
        if condition := _index.info.get(columns.CONDITION):
            _index.dialect_kwargs.update(postgresql_where=text(condition), sqlite_where=text(condition))
