"""The exchange over a chain in memory."""

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from tests.api import Api

# An account of a test network; nobody keeps its private key.
XPUB = "tpubDC8msFGeGuwnKG9Upg7DM2b4DaRqg3CUZa5g8v2SRQ6K4NSkxUgd7HsL2XVWbVm39yBA4LAxysQAm397zwQSQoQgewGiYZqrA9DsP4zbQ1M"
VARIABLES = {"BITCOIN_NETWORK": "regtest", "BITCOIN_XPUB": XPUB, "ESPLORA_URLS": "memory:"}
TIMES = ("created_us", "expires_us", "confirmed_us", "read_us", "check_us", "refreshed_us")


@dataclass
class Exchange:
    """Pays, mines and checks as tests want it."""

    user: Api
    chain: Any

    def create(self, **body: Any) -> dict[str, Any]:
        answer = self.user.post("/v1/exchange/create-payment", body or {"aitbc_amount": "10"})
        assert answer.status == 201, answer.text
        return dict(answer.json)

    def payment(self, payment: dict[str, Any]) -> dict[str, Any]:
        """The payment as it is written down, without another look at the chain."""
        page = self.user.get("/v1/exchange/payments?limit=200").json["items"]
        return next(item for item in page if item["payment_id"] == payment["payment_id"])

    def check(self) -> dict[str, Any]:
        """What the schedule does, with all payments due."""
        from exchange.payments import handler

        make_all_due()
        return dict(handler({}, None))

    def mine(self, blocks: int = 1) -> None:
        self.chain.mine(blocks)
        self.check()

    def pass_time(self, seconds: float) -> None:
        pass_time(seconds)


def open_exchange(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Any:
    """Configures the exchange of this process with a chain in memory, which it gives."""
    chain = configure_exchange(monkeypatch, **variables)
    chain.mine(10)
    return chain


def configure_exchange(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Any:
    """Configures the exchange of this process, with a chain in memory unless told; gives what it asks for the chain."""
    from coordinator.core import config
    from coordinator.payments import addresses
    from coordinator.payments import chain as chains

    for name, value in {**VARIABLES, **variables}.items():
        monkeypatch.setenv(name, value)
    for cached in (config.settings, addresses.address_source, chains.chain):
        cached.cache_clear()
    return chains.chain()


def make_all_due() -> None:
    change("UPDATE payments SET check_us = 0 WHERE check_us IS NOT NULL")


def pass_time(seconds: float) -> None:
    """Lets everything about payments be older."""
    moved = ", ".join(f"{name} = {name} - {int(seconds * 1_000_000)}" for name in TIMES)
    change(f"UPDATE payments SET {moved}")


def change(statement: str) -> None:
    from coordinator.core.database import database

    database().write(lambda tx: tx.execute(text(statement)))
