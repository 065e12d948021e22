"""Anyone may verify receipts."""

from coordinator.http.app import create_app, lambda_handler
from receipts import verification

app = create_app(verification.router)
handler = lambda_handler(app)
