"""Bitcoin for AITBC: whole AITBC for a bitcoin, which are as many atoms for a satoshi."""

from coordinator.core.money import ATOMS_PER_AITBC, format_aitbc
from coordinator.payments.errors import AmountMismatch, AmountOutOfRange

LEAST_SAT, MOST_SAT = 1000, 21 * 10**8
_PLACES = 8


def price(atoms: int | None, sat: int | None, rate: int) -> tuple[int, int]:
    """What is bought and what it costs, in atoms and satoshis, of at least one of the two.

    A price that is no whole number of satoshis is the next one.

    Raises:
        AmountMismatch: both are given, and one is not the price of the other.
        AmountOutOfRange: it is less than 1000 satoshis, or more than 21 bitcoin.
    """
    if atoms is None:
        assert sat is not None  # noqa: S101
        atoms = sat * rate
    least_sat = -(-atoms // rate)
    if sat is not None and sat != least_sat:
        raise AmountMismatch(aitbc_amount=format_aitbc(atoms), btc_amount=format_aitbc(least_sat))
    if not LEAST_SAT <= least_sat <= MOST_SAT:
        raise AmountOutOfRange(least_sat=LEAST_SAT, most_sat=MOST_SAT)
    return atoms, least_sat


def bitcoin_for_aitbc(rate: int) -> str:
    """The reciprocal of a rate, as a decimal string of at most 16 places, rounded down."""
    places = 2 * _PLACES
    digits = f"{10**places // rate:0{places + 1}d}"
    return f"{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")


def aitbc_for_bitcoin(rate: int) -> str:
    return format_aitbc(rate * ATOMS_PER_AITBC)
