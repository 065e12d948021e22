"""Which addresses payments go to."""

from dataclasses import dataclass
from functools import cache

from coordinator.core.bitcoin import NETWORKS, Account
from coordinator.core.config import settings
from coordinator.core.errors import ConfigurationError


class AccountAddresses:
    """An address for each payment, from the public key of an account; only its owner's wallet has the private ones.

    Raises:
        ConfigurationError: the library takes the key for none.
    """

    def __init__(self, account: Account, network: str) -> None:
        # Only the functions of the exchange carry it.
        from embit.bip32 import HDKey  # noqa: PLC0415
        from embit.script import p2tr, p2wpkh  # noqa: PLC0415

        try:
            self._branch = HDKey.from_base58(account.key).derive(account.path)
        except Exception as error:
            # The library has no one class for what a key can be wrong with.
            raise ConfigurationError(f"BITCOIN_XPUB holds no valid key: {error}") from error
        self._script_of = p2tr if account.kind == "tr" else p2wpkh
        self._network = {"bech32": NETWORKS[network].segwit_prefix}

    def address(self, index: int) -> str:
        """The address of an index, from 0 to 2^31 - 1, as the wallet of the account numbers those it receives by."""
        return str(self._script_of(self._branch.child(index)).address(self._network))


@dataclass(frozen=True)
class OneAddress:
    """The same address for all payments, which are told apart by their exact amounts."""

    address: str


@cache
def address_source() -> AccountAddresses | OneAddress | None:
    """Where this process takes addresses from; None: the exchange is disabled.

    Raises:
        ConfigurationError: BITCOIN_XPUB can't be used.
    """
    chosen = settings()
    if chosen.bitcoin_account is not None:
        return AccountAddresses(chosen.bitcoin_account, chosen.bitcoin_network)
    return OneAddress(chosen.bitcoin_address) if chosen.bitcoin_address else None
