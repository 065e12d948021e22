"""A wallet for development, whose seed is on the volume."""

_ACCOUNT = "m/84h/1h/0h"


def account_of(seed: bytes) -> str:
    """The descriptor of a seed's first account on test networks (BIP-84): its addresses, and no private key."""
    # Few runs need it.
    from embit.bip32 import HDKey  # noqa: PLC0415
    from embit.networks import NETWORKS  # noqa: PLC0415

    root = HDKey.from_seed(seed, version=NETWORKS["regtest"]["xprv"])
    origin = _ACCOUNT.replace("m", root.my_fingerprint.hex(), 1)
    return f"wpkh([{origin}]{root.derive(_ACCOUNT).to_public().to_base58()}/0/*)"
