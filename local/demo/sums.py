"""Amounts of AITBC as the demo tells and compares them."""

from decimal import Decimal

from local.demo.failure import DemoFailed


def require_same(what: str, amount: Decimal, other: str, expected: Decimal | int) -> None:
    """Fails the demo if two amounts that must be the same are not; they are named in its message.

    Raises:
        DemoFailed: they are not.
    """
    if amount != expected:
        raise DemoFailed(f"{what} is {aitbc(amount)}, and {other} {aitbc(Decimal(expected))}")


def aitbc(amount: Decimal) -> str:
    """The amount without zeros at its end."""
    return f"{amount.normalize():f}"
