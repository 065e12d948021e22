from coordinator.core.errors import CoordinatorError


class SigningUnavailable(CoordinatorError):
    """Receipts can't be signed at the moment; nothing was changed, so send the same again."""

    code = "SIGNING_UNAVAILABLE"
