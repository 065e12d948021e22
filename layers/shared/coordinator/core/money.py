"""AITBC amounts: integers of 10^-8 ("atoms") inside, decimal strings outside, never floats.

Bitcoin has as many places, so satoshis are read and written alike.
"""

import re

ATOMS_PER_AITBC = 10**8
# Sums of balances stay far inside a signed 64-bit column.
MAX_ATOMS = 10**16

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,8})(?:\.([0-9]{1,8}))?", re.ASCII)


def parse_aitbc(text: str) -> int:
    """Reads a decimal string as atoms.

    Raises:
        ValueError: it is negative, above 10^8 AITBC, has over 8 places or is no plain decimal number.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError("must be a decimal string with at most 8 places")
    whole, fraction = match.groups()
    atoms = int(whole) * ATOMS_PER_AITBC + int((fraction or "").ljust(8, "0"))
    if atoms > MAX_ATOMS:
        raise ValueError(f"must be at most {format_aitbc(MAX_ATOMS)}")
    return atoms


def format_aitbc(atoms: int) -> str:
    """Writes atoms as the shortest decimal string."""
    sign = "-" if atoms < 0 else ""
    whole, fraction = divmod(abs(atoms), ATOMS_PER_AITBC)
    return f"{sign}{whole}.{fraction:08d}".rstrip("0").rstrip(".")
