"""Users of the API: wallets that log in."""

from typing import Any

from tests.api import Answer, Api
from tests.wallets.signers import BitcoinSigner, EthereumSigner

CHALLENGE, LOGIN, LOGOUT, ME = (f"/v1/users/{name}" for name in ("challenge", "login", "logout", "me"))
KEYS = "/v1/users/me/api-keys"
ALICE, BOB = EthereumSigner(b"\1" * 32), EthereumSigner(b"\2" * 32)

Signer = EthereumSigner | BitcoinSigner


def challenge(api: Api, address: str) -> dict[str, Any]:
    answer = api.post(CHALLENGE, {"wallet_address": address})
    assert answer.status == 201, answer.text
    return dict(answer.json)


def try_login(api: Api, signer: Signer, **changes: Any) -> Answer:
    """Logs in with what the wallet signs, but for what is changed."""
    address = changes.pop("address", signer.address)
    asked = challenge(api, address)
    body = {"wallet_address": address, "nonce": asked["nonce"], "signature": signer.sign(asked["message"])}
    return api.post(LOGIN, body | changes)


def logged_in(api: Api, signer: Signer = ALICE) -> Api:
    """The API as the owner of a wallet calls it."""
    answer = try_login(api, signer)
    assert answer.status == 200, answer.text
    return api.in_(answer.json["session_token"])


def new_key(user: Api, role: str = "client", name: str = "a key") -> dict[str, Any]:
    answer = user.post(KEYS, {"role": role, "name": name})
    assert answer.status == 201, answer.text
    return dict(answer.json)
