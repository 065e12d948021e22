from coordinator.core.errors import CoordinatorError


class SigningUnavailable(CoordinatorError):
    """Receipts can't be signed at the moment; nothing was changed, so send the same again."""

    code = "SIGNING_UNAVAILABLE"


class ReceiptNotFound(CoordinatorError):
    """There is no such receipt."""

    code = "RECEIPT_NOT_FOUND"


class ReceiptNotLogged(CoordinatorError):
    """The log has not come to this receipt yet; ask again in a moment."""

    code = "RECEIPT_NOT_LOGGED"


class InvalidRange(CoordinatorError):
    """The log was never signed at such a size, or the sizes are in the wrong order."""

    code = "INVALID_RANGE"
