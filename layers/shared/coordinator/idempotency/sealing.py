"""Answers that show a secret once: kept so that the database alone does not give them away."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from coordinator.core.config import settings

_NONCE_BYTES = 12
_KEY_BYTES = 32


class Unreadable(Exception):
    """It was sealed under a secret that is no longer named."""


def seal(text: str, place: str) -> str:
    """Encrypts a text that belongs to one place and is good for no other."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = _cipher(settings().secret_key).encrypt(nonce, text.encode(), place.encode())
    return base64.b64encode(nonce + sealed).decode()


def unseal(sealed: str, place: str) -> str:
    """The text again.

    Raises:
        Unreadable: neither SECRET_KEY nor what it was before opens it.
    """
    data = base64.b64decode(sealed)
    for secret in settings().secret_keys:
        try:
            return _cipher(secret).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], place.encode()).decode()
        except InvalidTag:
            continue
    raise Unreadable


def _cipher(secret: str) -> AESGCM:
    key = HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=b"aitbc-coordinator sealed answers v1")
    return AESGCM(key.derive(secret.encode()))
