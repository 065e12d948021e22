"""A miner's address pays the wallet that logs in by it, however it is written."""

from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coordinator.core.bitcoin import NETWORKS
from coordinator.core.config import settings as configured
from coordinator.ledger.payees import wallet_of
from coordinator.users.errors import InvalidWalletAddress
from coordinator.users.wallets import parse_wallet
from tests.api import SECRET_KEY
from tests.wallets.signers import ORDER, BitcoinSigner, EthereumSigner

SEGWIT, BASE58 = ["p2wpkh", "p2tr"], ["p2pkh", "p2pkh-uncompressed", "p2sh-p2wpkh"]

secrets = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32))


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in {"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BITCOIN_NETWORK", request.param)
    configured.cache_clear()
    yield request.param
    configured.cache_clear()


@st.composite
def ethereum(draw: st.DrawFn) -> str:
    digits = EthereumSigner(draw(secrets)).address.removeprefix("0x")
    written = draw(st.sampled_from([digits, digits.lower(), digits.upper()]))
    return draw(st.sampled_from(["0x", "ait1", "aitbc1"])) + written


@st.composite
def bitcoin(draw: st.DrawFn, network: str) -> str:
    kind = draw(st.sampled_from(SEGWIT + BASE58))
    address = BitcoinSigner(kind, network, draw(secrets)).address
    return address.upper() if kind in SEGWIT and draw(st.booleans()) else address


def test_the_wallet_that_logs_in_is_the_one_that_is_paid(network: str) -> None:
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.one_of(ethereum(), bitcoin(network)))
    def write_and_compare(address: str) -> None:
        assert wallet_of(address) == parse_wallet(address).canonical

    write_and_compare()


def test_all_ways_to_write_an_address_are_one_wallet(network: str) -> None:
    @settings(max_examples=100, deadline=None, database=None)
    @given(secrets)
    def write_and_compare(secret: bytes) -> None:
        digits = EthereumSigner(secret).address.removeprefix("0x")
        segwit = BitcoinSigner("p2wpkh", network, secret).address

        wallets = {
            wallet_of(prefix + written)
            for prefix in ("0x", "ait1", "aitbc1")
            for written in (digits, digits.lower(), digits.upper())
        }

        assert wallets == {"0x" + digits.lower()}
        assert wallet_of(segwit.upper()) == wallet_of(segwit) == segwit

    write_and_compare()


def test_text_that_is_no_wallet_is_paid_as_it_stands(network: str) -> None:
    @settings(max_examples=200, deadline=None, database=None)
    @given(st.one_of(st.text(min_size=1, max_size=200), bitcoin("mainnet"), bitcoin("regtest")))
    def pay_and_compare(address: str) -> None:
        assume(not logs_in(address))

        assert wallet_of(address) == address

    pay_and_compare()


def logs_in(address: str) -> bool:
    try:
        parse_wallet(address)
    except InvalidWalletAddress:
        return False
    return True
