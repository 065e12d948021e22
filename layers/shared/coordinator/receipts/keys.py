"""The public keys that verify receipts."""

import json
from contextlib import suppress

from sqlalchemy import select

from coordinator.core import clock
from coordinator.core.config import from_secrets
from coordinator.core.database import database, insert_new
from coordinator.receipts.errors import SigningUnavailable
from coordinator.receipts.models import signing_keys
from coordinator.receipts.signing import receipt_signer


@from_secrets
def publish_signing_key() -> None:
    """Adds this process's public key to the published ones, where it stays when the secret changes."""
    signer = receipt_signer()
    jwk = json.dumps(signer.public_jwk)
    database().write(
        lambda tx: insert_new(tx, signing_keys, {"kid": signer.kid, "jwk": jwk, "created_us": clock.now_us(tx)})
    )


def published_keys() -> list[dict[str, str]]:
    """All public keys that have ever signed receipts as JWKs (RFC 7517), oldest first."""
    # Not to be asked now, the key has signed nothing that is not yet published.
    with suppress(SigningUnavailable):
        publish_signing_key()
    keys = select(signing_keys.c.jwk).order_by(signing_keys.c.created_us, signing_keys.c.kid)
    return database().read(lambda tx: [json.loads(jwk) for jwk in tx.scalars(keys)])
