"""The demo's round of jobs that pay, with the whole API and miners that echo: its sums, and that it checks them."""

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from rich.console import Console

from local.demo import __main__ as demo
from local.demo import paid, purchase
from local.demo.failure import DemoFailed
from local.demo.wallet import Wallet
from local.regtest.node import ask
from tests.emulator.process import ROOT, Emulator
from tests.miner.process import MinerProcess

StartMiner = Callable[..., MinerProcess]


OPTIONS = ("--template", str(ROOT / "template.yaml"), "--no-reload", "--quiet", "--max-environments", "4")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Takes payments where there is npm."""
    bitcoin = "regtest" if shutil.which("npm") else ""
    emulator = Emulator(tmp_path_factory.mktemp("demo"), *OPTIONS, "--bitcoin", bitcoin)
    yield emulator
    emulator.stop()


@pytest.fixture
def url(emulator: Emulator) -> str:
    return f"http://127.0.0.1:{emulator.port}"


@pytest.fixture
def node_url(npm: None, emulator: Emulator) -> str:
    return str(json.loads((emulator.volume / "regtest.json").read_text())["url"])


@pytest.fixture
def keys(emulator: Emulator) -> dict[str, str]:
    return dict(json.loads((emulator.volume / "keys.json").read_text()))


@pytest.fixture
def start_miner(url: str, keys: dict[str, str], tmp_path: Path) -> Iterator[StartMiner]:
    """Starts miners that answer with the job itself."""
    started: list[MinerProcess] = []

    def start(name: str, *options: str) -> MinerProcess:
        identity = ("--identity", str(tmp_path / name), "--name", name)
        work = ("--capability", "llm_inference", "--command", "cat")
        started.append(MinerProcess("--url", url, "--api-key", keys["miner"], *identity, *work, *options))
        return started[-1]

    yield start
    for miner in started:
        miner.stop()


def test_what_was_credited_is_what_was_spent_and_what_is_left(
    url: str, keys: dict[str, str], start_miner: StartMiner
) -> None:
    told = io.StringIO()

    paid.show_paid_round(url, keys, start_miner, Console(file=told, width=200))

    sums = re.search(r"credited (\S+) = held (\S+) \+ spent (\S+) \+ left (\S+); earned (\S+)", told.getvalue())
    assert sums is not None, told.getvalue()
    credited, held, spent, left, earned = (float(amount) for amount in sums.groups())
    assert (credited, held) == (10, 0)
    assert spent == earned > 0
    assert credited == spent + left


def test_what_is_bought_is_what_the_chain_confirms(
    url: str, node_url: str, keys: dict[str, str], start_miner: StartMiner
) -> None:
    told = io.StringIO()

    paid.show_paid_round(url, keys, start_miner, Console(file=told, width=200), node_url)

    assert "bitcoin:bcrt1q" in told.getvalue()
    assert "credited 10 AITBC after 2 confirmations; the chain confirms 10000 sat" in told.getvalue()
    assert "credited 10 = held 0 + spent " in told.getvalue()


def test_a_payment_that_the_coordinator_has_not_seen_fails_the_demo(
    url: str, node_url: str, keys: dict[str, str], start_miner: StartMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until_credited = purchase._wait_until_credited

    def pay_more(user: httpx.Client, payment_id: str) -> object:
        payment = wait_until_credited(user, payment_id)
        ask(node_url, "pay", outputs=[{"address": payment["address"], "amount_sat": 600}])
        ask(node_url, "mine")
        return payment

    monkeypatch.setattr(purchase, "_wait_until_credited", pay_more)

    with pytest.raises(DemoFailed, match=r"what was credited is 10, and what the chain confirms is worth 10\.6"):
        paid.show_paid_round(url, keys, start_miner, Console(file=io.StringIO()), node_url)


def test_without_npm_it_says_that_an_operator_gives_the_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(demo, "console", Console(width=200))

    assert demo._bitcoin_there_is() == ""
    assert "so an operator will give the money: the regtest node needs Node.js with npm" in capsys.readouterr().out


def test_money_that_nobody_speaks_of_fails_the_demo(
    url: str, keys: dict[str, str], start_miner: StartMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    credit = paid._credit

    def credit_with_a_tip(api_url: str, admin_key: str, user_id: str) -> Decimal:
        tip = {"amount": "0.00000001", "reason": "a tip"}
        adjust = f"{api_url}/v1/admin/users/{user_id}/adjust"
        httpx.post(adjust, headers={"X-Api-Key": admin_key}, json=tip).raise_for_status()
        return credit(api_url, admin_key, user_id)

    monkeypatch.setattr(paid, "_credit", credit_with_a_tip)

    with pytest.raises(DemoFailed, match=r"what was credited is 10, and held, spent and left 10\.00000001"):
        paid.show_paid_round(url, keys, start_miner, Console(file=io.StringIO()))


def test_the_demos_wallet_signs_as_other_programs_do() -> None:
    wallet = Wallet()

    signer = Account.recover_message(
        encode_defunct(text="a message\n\u20ac"), signature=wallet.sign("a message\n\u20ac")
    )

    assert signer.lower() == wallet.address.replace("ait1", "0x")
