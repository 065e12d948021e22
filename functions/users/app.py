"""Owners of wallets log in, and make API keys for their programs."""

import coordinator.http.starting  # noqa: F401  (before all else)

# isort: split
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy import Connection

from coordinator.core.database import database
from coordinator.core.schemas import Id, Page, PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.idempotency import Once, Reply
from coordinator.http.responses import errors
from coordinator.http.route import Caller, PublicRoute, UserRoute
from coordinator.users import login as logins
from coordinator.users import sessions, user_keys
from coordinator.users.errors import (
    ApiKeyNotFound,
    BadWalletSignature,
    ChallengeExpired,
    InvalidWalletAddress,
    LoginDisabled,
    SignatureRequired,
)
from coordinator.users.schemas import (
    ApiKeyCreate,
    ApiKeyCreatedRead,
    ApiKeyRead,
    ChallengeCreate,
    ChallengeRead,
    LoginCreate,
    LoginRead,
    UserRead,
)
from coordinator.users.service import read_user
from users.ledger import router as ledger_router

entrance = APIRouter(prefix="/v1/users", tags=["users"], route_class=PublicRoute)
router = APIRouter(prefix="/v1/users", tags=["users"], route_class=UserRoute)

KeyId = Annotated[Id, Path(description="The key's `id`.")]
All = Annotated[bool, Query(alias="all", description="Whether to end all sessions of the user.")]


@entrance.post(
    "/challenge",
    status_code=201,
    response_description="What to sign.",
    responses=errors(InvalidWalletAddress, LoginDisabled),
)
async def create_challenge(body: ChallengeCreate) -> ChallengeRead:
    """Ask for a message to sign.

    It names this service, the wallet, a nonce and its own end, five minutes from now. Sign it with the wallet and log
    in with the signature. Asked again there is another one; both are good.
    """
    return database().write(lambda tx: logins.challenge(tx, body.wallet_address))


@entrance.post(
    "/login",
    response_description="The session.",
    responses=errors(InvalidWalletAddress, LoginDisabled, SignatureRequired, BadWalletSignature, ChallengeExpired),
)
async def login(body: LoginCreate) -> LoginRead:
    """Log in with a wallet.

    By its signature of a challenge's message. The first login makes the user. Each challenge is good for one login; a
    wrong signature does not use it up. Without a signature the answer is a 401 with a challenge in its `details`.
    """
    return logins.login(body.wallet_address, body.nonce, body.signature)


@router.post("/logout", status_code=204, response_description="The token is good for nothing now.")
async def logout(request: Request, user: Caller, all_sessions: All = False) -> None:
    """Log out.

    Ends the session of this token, everywhere at once; with `all=true` all sessions of the user. API keys stay.
    """
    if all_sessions:
        database().write(lambda tx: sessions.close_sessions(tx, user.id))
    else:
        database().write(lambda tx: sessions.close_session(tx, request.headers["x-session-token"]))


@router.get("/me", response_description="The user.")
async def get_user(user: Caller) -> UserRead:
    """Get the user who is logged in.

    The wallet is shown in its canonical form, which is `0x` and small letters for Ethereum's and AITBC's.
    """
    return database().read(lambda tx: read_user(tx, user.id))


@router.post(
    "/me/api-keys", status_code=201, response_model=ApiKeyCreatedRead, response_description="The new key, shown once."
)
async def create_api_key(body: ApiKeyCreate, user: Caller, once: Once) -> Response:
    """Make an API key.

    What is done with it belongs to the user: all keys of the role client see the same jobs, all of the role miner own
    the same miners. It is shown in this answer alone, and again only to the same `Idempotency-Key`, which has the
    answer kept encrypted for 24 hours.
    """

    def reply(tx: Connection) -> Reply:
        return Reply(user_keys.create(tx, user.id, body), secret=True)

    return once.write(reply)


@router.get("/me/api-keys", response_description="A page of keys.")
async def list_api_keys(user: Caller, query: Annotated[PageQuery, Query()]) -> Page[ApiKeyRead]:
    """List the user's API keys, newest first.

    Without the keys themselves, and without those that were revoked.
    """
    return database().read(lambda tx: user_keys.page(tx, user.id, query))


@router.delete(
    "/me/api-keys/{key_id}",
    status_code=204,
    response_description="The key is good for nothing now.",
    responses=errors(ApiKeyNotFound),
)
async def revoke_api_key(key_id: KeyId, user: Caller) -> None:
    """Revoke an API key.

    Everywhere at once. What was done with it stays the user's. Revoking it again changes nothing.
    """
    database().write(lambda tx: user_keys.revoke(tx, user.id, key_id))


app = create_app(entrance, router, ledger_router)
handler = lambda_handler(app)
