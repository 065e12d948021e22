"""Wallets that sign as their owners' programs do, by libraries that the coordinator does not verify with."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from embit import ec, script
from embit.networks import NETWORKS
from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionInput, TransactionOutput
from embit.util import secp256k1
from eth_account import Account
from eth_account.messages import encode_defunct

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_EMBIT_NETWORKS = {"mainnet": "main", "testnet": "test", "signet": "signet", "regtest": "regtest"}
_HEADERS = {"p2pkh-uncompressed": 27, "p2pkh": 31, "p2sh-p2wpkh": 35, "p2wpkh": 39}


@dataclass(frozen=True)
class EthereumSigner:
    """By eth-account."""

    secret: bytes = b"\1" * 32

    @property
    def address(self) -> str:
        """With its checksum."""
        return str(Account.from_key(self.secret).address)

    def sign(self, message: str) -> str:
        return "0x" + bytes(Account.from_key(self.secret).sign_message(encode_defunct(text=message)).signature).hex()


@dataclass(frozen=True)
class BitcoinSigner:
    """By embit, BIP-322 for p2wpkh and p2tr, and BIP-137 for others or where it is told to."""

    kind: str
    network: str = "testnet"
    secret: bytes = b"\1" * 32
    bip137: bool = False

    @property
    def address(self) -> str:
        return str(self._script().address(NETWORKS[_EMBIT_NETWORKS[self.network]]))

    def sign(self, message: str) -> str:
        signed = self._compact(message) if self.bip137 or self.kind not in {"p2wpkh", "p2tr"} else self._simple(message)
        return base64.b64encode(signed).decode()

    def _key(self) -> Any:
        return ec.PrivateKey(self.secret, compressed=self.kind != "p2pkh-uncompressed")

    def _script(self) -> Any:
        public = self._key().get_public_key()
        return {
            "p2pkh": script.p2pkh,
            "p2pkh-uncompressed": script.p2pkh,
            "p2wpkh": script.p2wpkh,
            "p2sh-p2wpkh": lambda key: script.p2sh(script.p2wpkh(key)),
            "p2tr": script.p2tr,
        }[self.kind](public)

    def _compact(self, message: str) -> bytes:
        text = message.encode()
        size = bytes([len(text)]) if len(text) < 253 else b"\xfd" + len(text).to_bytes(2, "little")
        digest = hashlib.sha256(hashlib.sha256(b"\x18Bitcoin Signed Message:\n" + size + text).digest()).digest()
        signature, recovery_id = secp256k1.ecdsa_recoverable_signature_serialize_compact(
            secp256k1.ecdsa_sign_recoverable(digest, self.secret)
        )
        return bytes([_HEADERS[self.kind] + recovery_id]) + signature

    def _simple(self, message: str) -> bytes:
        """https://github.com/bitcoin/bips/blob/master/bip-0322.mediawiki: to_spend, to_sign and its witness."""
        tag = hashlib.sha256(b"BIP0322-signed-message").digest()
        digest = hashlib.sha256(tag + tag + message.encode()).digest()
        to_spend = Transaction(
            version=0,
            vin=[TransactionInput(bytes(32), 0xFFFFFFFF, Script(b"\x00\x20" + digest), sequence=0)],
            vout=[TransactionOutput(0, self._script())],
        )
        to_sign = Transaction(
            version=0,
            vin=[TransactionInput(to_spend.txid(), 0, sequence=0)],
            vout=[TransactionOutput(0, Script(b"\x6a"))],
        )
        if self.kind == "p2tr":
            sighash = to_sign.sighash_taproot(0, [self._script()], [0])
            items = [self._key().taproot_tweak(b"").schnorr_sign(sighash).serialize()]
        else:
            # BIP-143: the script code of a key's hash is that of P2PKH.
            code = script.p2pkh_from_p2wpkh(self._script())
            signature = self._key().sign(to_sign.sighash_segwit(0, code, 0)).serialize()
            items = [signature + b"\x01", self._key().sec()]
        return bytes(Witness(items).serialize())
