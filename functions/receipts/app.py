"""Anyone may verify receipts, and that the log of all receipts only grows."""

import coordinator.http.starting  # noqa: F401  (before all else)

# isort: split
from coordinator.http.app import create_app, lambda_handler
from receipts import log, verification

app = create_app(verification.router, log.router)
handler = lambda_handler(app)
