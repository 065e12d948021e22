"""What is stored and looked up instead of keys and tokens: HMACs keyed by SECRET_KEY, of which nobody learns them."""

import hashlib
import hmac

from coordinator.core.config import settings


def digest(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def present_digest(text: str) -> str:
    """What is stored now."""
    return digest(settings().secret_key, text)


def possible_digests(text: str) -> list[str]:
    """What may be stored: under SECRET_KEY, or under what it was before."""
    return [digest(secret, text) for secret in settings().secret_keys]
