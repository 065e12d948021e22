from coordinator.core.errors import CoordinatorError, InvalidInput


class InsufficientFunds(CoordinatorError):
    """The available balance does not cover this amount."""

    code = "INSUFFICIENT_FUNDS"


class BalanceTooLarge(InvalidInput):
    """No account may hold that much."""


class NoSuchUser(CoordinatorError):
    """There is no such user."""

    code = "USER_NOT_FOUND"
