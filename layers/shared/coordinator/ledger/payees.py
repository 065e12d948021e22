"""Who is paid: the wallet that a miner has registered as its address."""

import re

# One and the same 20 bytes.
_EVM = re.compile(r"(?:0x|ait1|aitbc1)([0-9a-f]{40})", re.IGNORECASE)


def wallet_of(address: str) -> str:
    """The one form of a wallet that may be written in several.

    What is no wallet stays as it is: it is paid like one, though nobody can log in to it, so that no work is unpaid
    for a slip in an address; an operator moves it to where it belongs.
    """
    match = _EVM.fullmatch(address)
    return "0x" + match[1].lower() if match else address
