"""How the owner of a wallet logs in: by its signature of a message that was made for this one login."""

import secrets

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from coordinator.core import clock
from coordinator.core.clock import SECOND_US, NowUs
from coordinator.core.config import settings
from coordinator.core.database import database
from coordinator.core.forgetting import A_FEW, delete_old
from coordinator.users import sessions
from coordinator.users.ensuring import ensure
from coordinator.users.errors import (
    BadWalletSignature,
    ChallengeExpired,
    LoginDisabled,
    SignatureRequired,
)
from coordinator.users.models import challenges, users
from coordinator.users.schemas import ChallengeRead, LoginRead
from coordinator.users.service import read_user
from coordinator.users.wallets import Wallet, parse_wallet

LIFETIME_US = 300 * SECOND_US
# Letters and digits, as EIP-4361 has it.
_NONCE_BYTES = 16
_STATEMENT = "Log in to the AITBC coordinator. This costs nothing and moves no coins."
# Which chain a wallet is on makes no difference here; this is the one that every wallet knows.
_CHAIN_ID = 1

_FIND = select(challenges.c.wallet, challenges.c.message).where(
    challenges.c.nonce == bindparam("nonce"), challenges.c.expires_us > NowUs()
)
_TAKE = delete(challenges).where(challenges.c.nonce == bindparam("taken"), challenges.c.expires_us > NowUs())


def challenge(tx: Connection, wallet_address: str) -> ChallengeRead:
    """Makes a message for a wallet to sign.

    Raises:
        InvalidWalletAddress: this is no wallet's address.
        LoginDisabled: the operator has set no PUBLIC_URL, which the message must name.
    """
    wallet = parse_wallet(wallet_address)
    if not settings().public_url:
        raise LoginDisabled
    now = clock.now_us(tx)
    nonce = secrets.token_hex(_NONCE_BYTES)
    expires_us = now + LIFETIME_US
    message = message_of(wallet, nonce, now, expires_us)
    delete_old(tx, challenges.c.expires_us, now, A_FEW)
    row = {"nonce": nonce, "wallet": wallet.canonical, "message": message, "expires_us": expires_us}
    tx.execute(insert(challenges), row)
    return ChallengeRead(
        wallet_address=wallet_address, message=message, nonce=nonce, expires_at=clock.rfc3339(expires_us)
    )


def login(wallet_address: str, nonce: str | None, signature: str | None) -> LoginRead:
    """Opens a session for the user of a wallet, who is made if there is none.

    A nonce counts until somebody logs in with it or its time is up; a wrong signature does not use it up, as no number
    of them leads to a right one.

    Raises:
        InvalidWalletAddress: this is no wallet's address.
        SignatureRequired: there is no signature, or it is not said of what; the details have a fresh challenge.
        ChallengeExpired: the nonce was used, is too old, or was never given.
        BadWalletSignature: the nonce was given to another wallet, or the signature is not this one's.
    """
    if nonce is None or signature is None:
        asked = database().write(lambda tx: challenge(tx, wallet_address))
        raise SignatureRequired(**asked.model_dump())
    wallet = parse_wallet(wallet_address)
    asked_of = database().read(lambda tx: tx.execute(_FIND, {"nonce": nonce}).first())
    if asked_of is None:
        raise ChallengeExpired
    # What was signed is what was asked and stored, never a text of the caller's.
    if asked_of.wallet != wallet.canonical or not wallet.has_signed(asked_of.message, signature):
        raise BadWalletSignature
    return database().write(lambda tx: _enter(tx, wallet, nonce))


def message_of(wallet: Wallet, nonce: str, issued_us: int, expires_us: int) -> str:
    """What a wallet signs: for Ethereum's as https://eips.ethereum.org/EIPS/eip-4361 has it, for others alike."""
    url = settings().public_url
    chain = f"Chain ID: {_CHAIN_ID}" if wallet.chain == "Ethereum" else f"Network: {settings().bitcoin_network}"
    return (
        f"{url.partition('://')[2]} wants you to sign in with your {wallet.chain} account:\n"
        f"{wallet.shown}\n"
        "\n"
        f"{_STATEMENT}\n"
        "\n"
        f"URI: {url}\n"
        "Version: 1\n"
        f"{chain}\n"
        f"Nonce: {nonce}\n"
        f"Issued At: {clock.rfc3339(issued_us)}\n"
        f"Expiration Time: {clock.rfc3339(expires_us)}"
    )


def _enter(tx: Connection, wallet: Wallet, nonce: str) -> LoginRead:
    # Of several who come with one nonce, one takes it; the others wait here and find it gone.
    if tx.execute(_TAKE, {"taken": nonce}).rowcount == 0:
        raise ChallengeExpired
    user_id, created = ensure(tx, wallet.canonical)
    now = clock.now_us(tx)
    tx.execute(update(users).where(users.c.id == user_id).values(last_login_us=now))
    session = sessions.open_session(tx, user_id, now)
    return LoginRead(
        session_token=session.token,
        expires_at=clock.rfc3339(session.expires_us),
        created=created,
        user=read_user(tx, user_id),
    )
