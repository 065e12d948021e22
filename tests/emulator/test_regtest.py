"""`make run BITCOIN=regtest`: a chain of one's own, whose faucet pays, and which goes with the emulator."""

import json
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.emulator.conftest import Start, write_handler
from tests.emulator.process import ROOT, TEMPLATE, Emulator
from tests.emulator.test_start_and_stop import alive

NAMES = ("BITCOIN_NETWORK", "BITCOIN_XPUB", "BITCOIN_ADDRESS", "ESPLORA_URLS")
HANDLER = f"import os\ndef handler(event, context):\n    return {{name: os.environ[name] for name in {NAMES}}}\n"
ADDRESS = "bcrt1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpvxat9t"


@pytest.fixture
def bitcoin_project(npm: None, project: Path) -> Path:
    declared = "".join(f'        {name}: ""\n' for name in NAMES)
    (project / "template.yaml").write_text(
        TEMPLATE.replace('        SECRET_KEY: ""\n', f'        SECRET_KEY: ""\n{declared}')
    )
    write_handler(project, HANDLER)
    return project


def faucet(emulator: Emulator, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "local.regtest", "--volume", str(emulator.volume), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def told(emulator: Emulator, path: str) -> str:
    url = json.loads((emulator.volume / "regtest.json").read_text())["url"]
    with urllib.request.urlopen(f"{url}/api{path}", timeout=30) as answer:
        return str(answer.read().decode())


def test_functions_take_payments_on_a_chain_of_the_volume(start: Start, bitcoin_project: Path) -> None:
    first = start(BITCOIN="regtest", BITCOIN_ADDRESS="bc1qnothing")
    seen = first.call("GET", "/one/x").json
    seed = first.volume / "bitcoin_seed"
    paid = faucet(first, ADDRESS, "0.0015BTC", "--blocks", "2")
    height = int(told(first, "/blocks/tip/height"))
    first.stop()
    second = start(BITCOIN="regtest")

    assert seen == {
        "BITCOIN_NETWORK": "regtest",
        "BITCOIN_XPUB": second.call("GET", "/one/x").json["BITCOIN_XPUB"],
        "BITCOIN_ADDRESS": "",
        "ESPLORA_URLS": seen["ESPLORA_URLS"],
    }
    assert seen["BITCOIN_XPUB"].startswith("wpkh([")
    assert stat.S_IMODE(seed.stat().st_mode) == 0o600
    assert "make faucet" in first.output
    assert (paid.returncode, "paid 150000 sat" in paid.stdout, "mined 2 blocks" in paid.stdout) == (0, True, True)
    [transaction] = json.loads(told(second, f"/address/{ADDRESS}/txs"))
    assert (transaction["vout"][0]["value"], transaction["status"]["block_height"]) == (150_000, height - 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_node_goes_with_the_emulator(start: Start, bitcoin_project: Path, number: signal.Signals) -> None:
    emulator = start(BITCOIN="regtest")
    children = emulator.children()
    assert any("server.js" in Path(f"/proc/{pid}/cmdline").read_text() for pid in children)

    emulator.stop(number)

    until = time.monotonic() + 10
    while any(alive(pid) for pid in children):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([ADDRESS, "1.5"], "no amount like"),
        ([ADDRESS, "0.000000001BTC"], "no amount like"),
        ([ADDRESS], "how much?"),
        ([ADDRESS, "150000"], "make run BITCOIN=regtest"),
    ],
)
def test_the_faucet_says_what_it_wants(tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "local.regtest", "--volume", str(tmp_path), *arguments]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert message in done.stderr


def test_the_faucet_pays_no_other_network(start: Start, bitcoin_project: Path) -> None:
    refused = faucet(start(BITCOIN="regtest"), "tb1q6rz28mcfaxtmd6v789l9rrlrusdprr9pqcpvkl", "150000")

    assert (refused.returncode, "is no address of regtest" in refused.stderr) == (1, True)


def test_without_npm_it_says_what_is_missing(start: Start, project: Path, tmp_path: Path) -> None:
    emulator = start(BITCOIN="regtest", PATH=str(tmp_path))

    assert emulator.process.wait(15) == 1
    assert "needs Node.js with npm" in emulator.output


def test_no_other_network_can_be_started(start: Start, project: Path) -> None:
    emulator = start(BITCOIN="mainnet")

    assert emulator.process.wait(15) == 2
    assert "only regtest can be started, not 'mainnet'" in emulator.output
