"""A wallet that logs in over HTTP."""

import json
from typing import Any
from urllib.request import Request, urlopen

from tests.wallets.signers import EthereumSigner

ONE, OTHER = EthereumSigner(b"\1" * 32), EthereumSigner(b"\2" * 32)


def log_in(url: str, signer: EthereumSigner) -> str:
    """The token of a new session."""
    asked = _post(f"{url}/v1/users/challenge", {"wallet_address": signer.address})
    signature = signer.sign(asked["message"])
    login = {"wallet_address": signer.address, "nonce": asked["nonce"], "signature": signature}
    return str(_post(f"{url}/v1/users/login", login)["session_token"])


def _post(url: str, body: dict[str, Any]) -> Any:
    with urlopen(Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})) as answer:
        return json.load(answer)
