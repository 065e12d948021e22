"""A wallet as its owner's program has it: it signs what it is asked to, and logs in with that."""

import httpx
from coincurve import PrivateKey
from Crypto.Hash import keccak

# https://eips.ethereum.org/EIPS/eip-191, version 0x45.
_PREFIX = b"\x19Ethereum Signed Message:\n"
_ADDRESS_BYTES = 20
_FIRST_V = 27


class Wallet:
    """A new wallet of AITBC, which is one of Ethereum by another name."""

    def __init__(self) -> None:
        self._key = PrivateKey()
        public_key = self._key.public_key.format(compressed=False)[1:]
        self.address = "ait1" + _keccak256(public_key)[-_ADDRESS_BYTES:].hex()

    def sign(self, message: str) -> str:
        text = message.encode()
        digest = _keccak256(_PREFIX + str(len(text)).encode() + text)
        signature = bytearray(self._key.sign_recoverable(digest, hasher=None))
        signature[-1] += _FIRST_V
        return "0x" + signature.hex()

    def log_in(self, api_url: str) -> httpx.Client:
        """The API as the wallet's user calls it."""
        users = f"{api_url}/v1/users"
        asked = httpx.post(f"{users}/challenge", json={"wallet_address": self.address}).raise_for_status().json()
        signature = self.sign(asked["message"])
        body = {"wallet_address": self.address, "nonce": asked["nonce"], "signature": signature}
        session = httpx.post(f"{users}/login", json=body).raise_for_status().json()
        return httpx.Client(base_url=f"{api_url}/v1", headers={"X-Session-Token": session["session_token"]}, timeout=40)


def _keccak256(data: bytes) -> bytes:
    return keccak.new(data=data, digest_bits=256).digest()
