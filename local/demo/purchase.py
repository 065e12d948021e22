"""A user buys AITBC: with bitcoin that is mined for it, on a chain of the demo's own."""

import time
from decimal import Decimal
from typing import Any

import httpx
from rich.console import Console

from local.demo.failure import DemoFailed
from local.demo.sums import aitbc, require_same
from local.regtest.node import NodeFailed, ask

# Beyond a minute the schedule has looked too.
_CREDITED_SECONDS = 90
# The rate limit of users is one request a second.
_PAUSE_SECONDS = 2
_CHAIN_SECONDS = 30
_SAT_PER_BTC = 10**8


def buy(user: httpx.Client, user_id: str, amount: str, node_url: str, console: Console) -> Decimal:
    """Asks for an address, pays it, mines, waits for the credit, and compares that with what the chain confirms.

    Args:
        user: the API as the buyer calls it.
        user_id: the buyer.
        amount: how many AITBC.
        node_url: the regtest node that the coordinator takes payments on.
        console: where it is told.

    Returns:
        How many AITBC were credited.

    Raises:
        DemoFailed: they were not in time, or are not what the chain confirms.
    """
    rate = Decimal(user.get("/exchange/rates").raise_for_status().json()["btc_to_aitbc"])
    asked = user.post("/exchange/create-payment", json={"aitbc_amount": amount}).raise_for_status().json()
    console.print(f"To buy {amount} AITBC at {aitbc(rate)} for a bitcoin: {asked['uri']}", highlight=False)
    txid, blocks = _pay_and_mine(node_url, asked)
    console.print(f"paid {asked['amount_sat']} sat in transaction {txid}, and mined {blocks} blocks", highlight=False)
    payment = _wait_until_credited(user, asked["payment_id"])
    credited = Decimal(payment["credited_aitbc"])
    confirmed_sat = _confirmed_sat(node_url, asked["address"])
    console.print(
        f"credited {aitbc(credited)} AITBC after {payment['confirmations']} confirmations; "
        f"the chain confirms {confirmed_sat} sat",
        highlight=False,
    )
    worth = confirmed_sat * rate / _SAT_PER_BTC
    require_same("what was credited", credited, "what the chain confirms is worth", worth)
    require_same("what was issued", _issued(user, user_id, asked["payment_id"]), "what was credited", credited)
    return credited


def _pay_and_mine(node_url: str, asked: dict[str, Any]) -> tuple[str, int]:
    """The transaction's id, and how many blocks were mined then: as many as it takes."""
    outputs = [{"address": asked["address"], "amount_sat": asked["amount_sat"]}]
    try:
        txid = ask(node_url, "pay", outputs=outputs)["txid"]
        hashes = ask(node_url, "mine", blocks=asked["confirmations_required"])["hashes"]
    except NodeFailed as error:
        raise DemoFailed(f"the payment can't be made: {error}") from error
    return str(txid), len(hashes)


def _wait_until_credited(user: httpx.Client, payment_id: str) -> dict[str, Any]:
    until = time.monotonic() + _CREDITED_SECONDS
    while True:
        payment: dict[str, Any] = user.get(f"/exchange/payment-status/{payment_id}").raise_for_status().json()
        if payment["status"] == "confirmed":
            return payment
        if time.monotonic() > until:
            raise DemoFailed(f"payment {payment_id} is {payment['status']} after {_CREDITED_SECONDS} s")
        time.sleep(_PAUSE_SECONDS)


def _confirmed_sat(node_url: str, address: str) -> int:
    """What an address has got in blocks, as the node itself says."""
    stats = httpx.get(f"{node_url}/api/address/{address}", timeout=_CHAIN_SECONDS).raise_for_status().json()
    return int(stats["chain_stats"]["funded_txo_sum"])


def _issued(user: httpx.Client, user_id: str, payment_id: str) -> Decimal:
    """What the user's transactions say of a payment."""
    listed = user.get(f"/users/{user_id}/transactions", params={"limit": 200}).raise_for_status().json()
    amounts = [Decimal(item["amount"]) for item in listed["items"] if item["payment_id"] == payment_id]
    return sum(amounts, Decimal(0))
