"""The time in which a wallet logs in over HTTP, each by a signature of its own."""

from typing import Any

from local.demo.wallet import Wallet
from tests.bench.databases import Databases
from tests.bench.emulator import emulator
from tests.bench.http import Connection
from tests.bench.report import PERCENTS, percentiles, say, show
from tests.bench.size import Size

FULL = Size(rounds=500)
TINY = Size(rounds=10)

_WARM_UP = 10
_WANTED_MS = 10.0
_CHALLENGE, _LOGIN, _AGAIN = "challenge", "the first login, which makes the user", "a login"


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    figures: dict[str, Any] = {}
    failures: list[str] = []
    for kind in databases.kinds:
        say(f"logins, {kind}: {size.rounds} wallets")
        with databases.fresh(kind) as url, emulator(url) as served:
            connection = Connection(served.port, {})
            for _ in range(_WARM_UP + (size.rounds or 0)):
                wallet = Wallet()
                statuses = [_log_in(connection, wallet, name) for name in (_LOGIN, _AGAIN)]
                failures += [f"{kind}: {status}" for status in statuses if status != 200]
        figures[kind] = {name: percentiles(each[_WARM_UP:]) for name, each in connection.milliseconds.items()}
        show(
            f"logins, {kind}: milliseconds over HTTP of {size.rounds} wallets",
            ("call", *(f"p{p}" for p in PERCENTS)),
            [(name, *(f"{value:.1f}" for value in values.values())) for name, values in figures[kind].items()],
            note=f"A login's p50 is to be below {_WANTED_MS:.0f} ms.",
        )
    return figures, failures[:3]


def _log_in(connection: Connection, wallet: Wallet, name: str) -> int:
    asked = {"wallet_address": wallet.address}
    _, challenge = connection.call(_CHALLENGE, "POST", "/v1/users/challenge", asked)
    body = {**asked, "nonce": challenge["nonce"], "signature": wallet.sign(challenge["message"])}
    return connection.call(name, "POST", "/v1/users/login", body)[0]
