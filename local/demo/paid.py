"""Jobs that pay: a client's wallet pays miners for their answers, and their wallets find the money there."""

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import httpx
from rich.console import Console

from local.demo.failure import DemoFailed
from local.demo.prompts import PROMPTS
from local.demo.purchase import buy
from local.demo.sums import aitbc, require_same
from local.demo.verify import verify_receipt
from local.demo.wallet import Wallet

_CREDIT, _MAX_PRICE = "10", "1"
# What each miner asks.
_PRICES = ("0.25", "0.4")
_PROMPTS = PROMPTS[:6]
_MAX_TOKENS = 16
# Other miners would do these jobs for nothing.
_REGION = "where work is paid"
_DONE_SECONDS = 120
_WAIT_SECONDS = 20


def show_paid_round(
    api_url: str,
    keys: Mapping[str, str],
    start_miner: Callable[..., object],
    console: Console,
    node_url: str | None = None,
) -> None:
    """Runs a few jobs for money and compares what everybody says of it.

    Args:
        api_url: where the coordinator is.
        keys: the operator's, by role.
        start_miner: starts a miner with this name and these further options.
        console: where it is told.
        node_url: the regtest node that the payer's bitcoin is on; without one an operator gives the money.

    Raises:
        DemoFailed: the money did not come, a job was not done, or money was made or lost.
        NotVerified: a receipt does not prove what it should.
    """
    payer, payees = Wallet(), [Wallet() for _ in _PRICES]
    for number, (payee, price) in enumerate(zip(payees, _PRICES, strict=True), 1):
        start_miner(f"paid miner {number}", "--price", price, "--address", payee.address, "--region", _REGION)
    with payer.log_in(api_url) as user:
        user_id = _me(user)
        if node_url is None:
            credited = _credit(api_url, keys["admin"], user_id)
        else:
            credited = buy(user, user_id, _CREDIT, node_url, console)
        console.print(
            f"Wallet {payer.address} has logged in, has {aitbc(credited)} AITBC, and offers {_MAX_PRICE} for each of "
            f"{len(_PROMPTS)} jobs; two miners ask {' and '.join(_PRICES)}.",
            highlight=False,
        )
        receipts = _run_jobs(api_url, user)
        left, held = _balance(user, user_id)
        changes = _amounts(user, user_id)
    spent = sum(receipt["price"] for receipt in receipts)
    earned = Decimal(0)
    for payee in payees:
        paid = [receipt["price"] for receipt in receipts if receipt["miner_address"] == payee.address]
        has, earnings = _log_in_and_look(api_url, payee)
        require_same(f"what {payee.address} has", has, f"the sum of its {len(paid)} receipts", sum(paid))
        require_same(f"what {payee.address} has", has, "the sum of its earnings", sum(earnings))
        earned += has
        console.print(f"Wallet {payee.address} has logged in: {aitbc(has)} AITBC for {len(paid)} jobs", highlight=False)
    console.print(
        f"credited {aitbc(credited)} = held {aitbc(held)} + spent {aitbc(spent)} + left {aitbc(left)}; "
        f"earned {aitbc(earned)}",
        highlight=False,
    )
    require_same("what was credited", credited, "held, spent and left", held + spent + left)
    require_same("what was spent", spent, "what was earned", earned)
    require_same("what is held", held, "what unfinished jobs may cost", Decimal(0))
    require_same("what is left", left, "the sum of all transactions", sum(changes))


def _credit(api_url: str, admin_key: str, user_id: str) -> Decimal:
    """An operator gives the money; tells how much."""
    body = {"amount": _CREDIT, "reason": "the demo"}
    answer = httpx.post(f"{api_url}/v1/admin/users/{user_id}/adjust", headers={"X-Api-Key": admin_key}, json=body)
    answer.raise_for_status()
    return Decimal(_CREDIT)


def _run_jobs(api_url: str, user: httpx.Client) -> list[dict[str, Any]]:
    """What the receipts of all jobs state, with prices as numbers."""
    key = user.post("/users/me/api-keys", json={"role": "client", "name": "demo"}).raise_for_status().json()["api_key"]
    jwks = httpx.get(f"{api_url}/.well-known/jwks.json").raise_for_status().json()
    with httpx.Client(base_url=f"{api_url}/v1", headers={"X-Api-Key": key}, timeout=40) as client:
        jobs = []
        for prompt in _PROMPTS:
            parameters = {"prompt": prompt, "max_tokens": _MAX_TOKENS, "temperature": 0}
            constraints = {"region": _REGION}
            body = {"job_type": "llm_inference", "parameters": parameters, "constraints": constraints}
            job = client.post("/client/jobs", json={**body, "max_price": _MAX_PRICE}).raise_for_status().json()
            jobs.append((job["id"], parameters))
        until = time.monotonic() + _DONE_SECONDS
        answers = [(_wait_for(client, job_id, until), parameters) for job_id, parameters in jobs]
    statements = [verify_receipt(each["receipt"], jwks, parameters, each["result"]) for each, parameters in answers]
    return [{**statement, "price": Decimal(statement["price"])} for statement in statements]


def _wait_for(client: httpx.Client, job_id: str, until: float) -> dict[str, Any]:
    while time.monotonic() < until:
        answer = client.get(f"/client/jobs/{job_id}/result", params={"wait": _WAIT_SECONDS})
        if answer.status_code == httpx.codes.TOO_EARLY:
            continue
        finished: dict[str, Any] = answer.raise_for_status().json()
        if finished["status"] != "completed":
            raise DemoFailed(f"job {job_id} failed: {finished['error']}")
        return finished
    raise DemoFailed(f"job {job_id}, which pays, was not done within {_DONE_SECONDS} s")


def _log_in_and_look(api_url: str, payee: Wallet) -> tuple[Decimal, list[Decimal]]:
    """What a wallet has, and by which amounts."""
    with payee.log_in(api_url) as user:
        user_id = _me(user)
        return _balance(user, user_id)[0], _amounts(user, user_id)


def _me(user: httpx.Client) -> str:
    return str(user.get("/users/me").raise_for_status().json()["id"])


def _balance(user: httpx.Client, user_id: str) -> tuple[Decimal, Decimal]:
    """What is available, and what is held."""
    balance = user.get(f"/users/{user_id}/balance").raise_for_status().json()
    return Decimal(balance["available"]), Decimal(balance["held"])


def _amounts(user: httpx.Client, user_id: str) -> list[Decimal]:
    listed = user.get(f"/users/{user_id}/transactions", params={"limit": 200}).raise_for_status().json()
    return [Decimal(item["amount"]) for item in listed["items"]]
