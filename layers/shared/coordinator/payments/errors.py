from coordinator.core.errors import CoordinatorError


class ExchangeDisabled(CoordinatorError):
    """The operator takes no bitcoin."""

    code = "EXCHANGE_DISABLED"


class ExchangeUnavailable(CoordinatorError):
    """The chain can't be asked right now; try again in a moment."""

    code = "EXCHANGE_UNAVAILABLE"


class AmountMismatch(CoordinatorError):
    """The two amounts are not the same at today's rate; name one of them."""

    code = "AMOUNT_MISMATCH"


class AmountOutOfRange(CoordinatorError):
    """So much, or so little, can't be bought at once."""

    code = "AMOUNT_OUT_OF_RANGE"


class TooManyPayments(CoordinatorError):
    """Too many payments are open; pay one, or wait until one has expired."""

    code = "TOO_MANY_PAYMENTS"


class PaymentNotFound(CoordinatorError):
    """There is no such payment."""

    code = "PAYMENT_NOT_FOUND"
