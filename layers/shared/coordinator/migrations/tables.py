"""The tables of all subjects in one place, for Alembic to compare with a database."""

from sqlmodel import SQLModel

import coordinator.audit.models
import coordinator.idempotency.models
import coordinator.jobs.gauges
import coordinator.jobs.models
import coordinator.ledger.models
import coordinator.metrics.models
import coordinator.miners.models
import coordinator.payments.models
import coordinator.receipts.models
import coordinator.users.models  # noqa: F401  (imported for the tables that they declare)

metadata = SQLModel.metadata
