"""Who is paid: the wallet that a miner has registered as its address."""

from coordinator.core.config import settings
from coordinator.users.addresses import canonical_form
from coordinator.users.errors import InvalidWalletAddress


def wallet_of(address: str) -> str:
    """The wallet that logs in by this address, in its one form.

    What is no wallet stays as it is: it is paid like one, though nobody can log in to it, so that no work is unpaid
    for a slip in an address; an operator moves it to where it belongs.
    """
    try:
        return canonical_form(address, settings().bitcoin_network)
    except InvalidWalletAddress:
        return address
