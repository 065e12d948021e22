"""Whose key has made an ECDSA signature on secp256k1."""

from coincurve import PublicKey

# https://www.secg.org/sec2-v2.pdf, section 2.4.1.
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_HIGHEST_S = _ORDER // 2


def recover(digest: bytes, r_and_s: bytes, recovery_id: int, *, most: int) -> PublicKey | None:
    """The key that has signed a digest; None if there is none, or if the signature is not in its one form.

    Anyone can turn a signature into another one by negating s, so only the lower of the two counts (BIP-146, EIP-2).
    Recovery ids go up to `most`.
    """
    if not 0 <= recovery_id <= most or int.from_bytes(r_and_s[32:]) > _HIGHEST_S:
        return None
    try:
        return PublicKey.from_signature_and_message(r_and_s + bytes([recovery_id]), digest, hasher=None)
    except ValueError:
        return None
