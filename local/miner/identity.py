"""Who a miner is across restarts: a key pair that signs its results, and the wallet that is paid."""

import base64
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key


class IdentityInUse(Exception):
    """Another miner runs with this identity; two would take each other's jobs."""


class Identity:
    """An Ed25519 key kept in a file (PEM, mode 600), made on first use and locked while the miner runs.

    Raises:
        IdentityInUse: another miner has it.
        OSError: the file can't be read or made.
        ValueError: it holds no Ed25519 key.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), "r+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IdentityInUse(f"another miner runs with {path}; give this one its own --identity") from None
        self._key = self._kept(path)
        self.public_key = _base64url(self._key.public_key().public_bytes_raw())

    @property
    def default_address(self) -> str:
        """An address of the right shape for a miner that wants no pay: no wallet has the key to it."""
        return "ait1" + hashlib.sha256(self._key.public_key().public_bytes_raw()).hexdigest()[:40]

    def sign_result(self, job_id: str, lease_token: str, result: Any) -> str:
        """Signs "<job_id>.<lease_token>.<SHA-256 hex of the result's RFC 8785 JSON>"; base64url."""
        digest = hashlib.sha256(rfc8785.dumps(result)).hexdigest()
        return _base64url(self._key.sign(f"{job_id}.{lease_token}.{digest}".encode()))

    def _kept(self, path: Path) -> Ed25519PrivateKey:
        if pem := self._file.read():
            try:
                key = load_pem_private_key(pem, password=None)
            except (ValueError, TypeError, UnsupportedAlgorithm):
                key = None
            if not isinstance(key, Ed25519PrivateKey):
                raise ValueError(f"{path} holds no Ed25519 key")
            return key
        key = Ed25519PrivateKey.generate()
        self._file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._file.flush()
        os.fsync(self._file.fileno())
        return key


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
