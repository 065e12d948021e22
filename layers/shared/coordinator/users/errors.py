from typing import Any

from coordinator.core.errors import CoordinatorError, Unauthorized


class InvalidWalletAddress(CoordinatorError):
    """This is no address of a wallet that can log in here."""

    code = "INVALID_WALLET_ADDRESS"


class SignatureRequired(Unauthorized):
    """Sign the message in the details with the wallet, then log in with its nonce and the signature."""

    code = "SIGNATURE_REQUIRED"
    scheme = "Wallet"

    def __init__(self, **challenge: Any) -> None:
        super().__init__()
        # One of them is named like the error's own message.
        self.details = challenge


class BadWalletSignature(Unauthorized):
    """This is not the wallet's signature of the message that belongs to the nonce."""

    code = "BAD_SIGNATURE"
    scheme = "Wallet"


class ChallengeExpired(Unauthorized):
    """This nonce was used or is too old; ask for another challenge."""

    code = "CHALLENGE_EXPIRED"
    scheme = "Wallet"


class SessionRequired(Unauthorized):
    """Log in and send the session token in the header X-Session-Token."""

    scheme = "SessionToken"


class LoginDisabled(CoordinatorError):
    """The operator has not said under which address this service is reached, so nobody can log in."""

    code = "LOGIN_DISABLED"


class ApiKeyNotFound(CoordinatorError):
    """There is no such API key."""

    code = "API_KEY_NOT_FOUND"
