"""Where payments go: addresses from a wallet's account, and what operators may set."""

from collections.abc import Callable

import pytest
from embit import base58

from coordinator.core.bitcoin import script_of
from coordinator.core.config import read_settings
from coordinator.core.errors import ConfigurationError
from coordinator.payments.addresses import AccountAddresses, OneAddress, address_source
from tests.api import SECRET_KEY, forget_process_state

REQUIRED = {"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY}
# https://github.com/bitcoin/bips/blob/master/bip-0084.mediawiki#test-vectors
BIP84_ZPUB = (
    "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"
)
BIP84_RECEIVING = ["bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"]
BIP84_CHANGE = "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"
# https://github.com/bitcoin/bips/blob/master/bip-0086.mediawiki#test-vectors
BIP86_XPUB = (
    "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ"
)
BIP86_RECEIVING = [
    "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
    "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
]
BIP86_CHANGE = "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7"
# The same words' account on test networks, m/84h/1h/0h.
TPUB = "tpubDC8msFGeGuwnKG9Upg7DM2b4DaRqg3CUZa5g8v2SRQ6K4NSkxUgd7HsL2XVWbVm39yBA4LAxysQAm397zwQSQoQgewGiYZqrA9DsP4zbQ1M"
VPUB = "vpub5Y6cjg78GGuNLsaPhmYsiw4gYX3HoQiRBiSwDaBXKUafCt9bNwWQiitDk5VZ5BVxYnQdwoTyXSs2JHRPAgjAvtbBrf8ZhDYe2jWAqvZVnsc"
TPUB_RECEIVING = ["tb1q6rz28mcfaxtmd6v789l9rrlrusdprr9pqcpvkl", "tb1qd7spv5q28348xl4myc8zmh983w5jx32cjhkn97"]
TPRV = "tprv8fSjiqEQ8YG7Ro7gw2ScwcvweYuuWi1ZzGUtrPz918HvDtBzL5s2voFTrN4y3yUwj5cYD54pLhxk6NKCzHUjcka3zbKjbTEcsuAnkzbjhkL"
# For P2SH addresses (SLIP-132), which are not made here.
UPUB = "upub5DGMS1SD7bMtVaPGsQmFWqyBNYtqrnivGbviSBHdwUCn9nLN8HLr6fE5isXy5Gr399HqCKsR4nWUQzopSzKA8euazKS97Jj9m1SXTNjmvtM"
BIP84_XPUB = (
    "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V"
)
CHECKED = f"wpkh([73c5da0a/84h/0h/0h]{BIP84_XPUB}/0/*)"

AddressesOf = Callable[..., AccountAddresses | OneAddress | None]


@pytest.fixture
def addresses_of(monkeypatch: pytest.MonkeyPatch) -> AddressesOf:
    """The source of a process that is started with these variables."""

    def start(**variables: str) -> AccountAddresses | OneAddress | None:
        for name, value in {**REQUIRED, "ESPLORA_URLS": "http://127.0.0.1:1", **variables}.items():
            monkeypatch.setenv(name, value)
        forget_process_state()
        return address_source()

    return start


@pytest.mark.parametrize(
    ("network", "account", "expected"),
    [
        ("mainnet", BIP84_ZPUB, BIP84_RECEIVING),
        ("mainnet", BIP84_XPUB, BIP84_RECEIVING),
        ("mainnet", f"wpkh({BIP84_ZPUB}/1/*)", [BIP84_CHANGE]),
        ("mainnet", CHECKED, BIP84_RECEIVING),
        ("mainnet", f"{CHECKED}#afwvtk2s", BIP84_RECEIVING),
        ("mainnet", CHECKED.replace("/0/*", "/<0;1>/*") + "#qf45pmyh", BIP84_RECEIVING),
        ("mainnet", f"tr({BIP86_XPUB}/0/*)", BIP86_RECEIVING),
        ("mainnet", f"tr([73c5da0a/86'/0'/0']{BIP86_XPUB}/1/*)", [BIP86_CHANGE]),
        ("testnet", TPUB, TPUB_RECEIVING),
        ("testnet", VPUB, TPUB_RECEIVING),
        ("signet", VPUB, TPUB_RECEIVING),
    ],
)
def test_an_account_gives_the_addresses_that_its_wallet_shows(
    addresses_of: AddressesOf, network: str, account: str, expected: list[str]
) -> None:
    source = addresses_of(BITCOIN_NETWORK=network, BITCOIN_XPUB=account)

    assert isinstance(source, AccountAddresses)
    assert [source.address(index) for index in range(len(expected))] == expected


def test_addresses_are_of_the_configured_network(addresses_of: AddressesOf) -> None:
    source = addresses_of(BITCOIN_NETWORK="regtest", BITCOIN_XPUB=TPUB)

    assert isinstance(source, AccountAddresses)
    shown = [source.address(index) for index in (0, 1, 2**31 - 1)]
    assert all(address.startswith("bcrt1q") and script_of(address, "regtest") for address in shown)
    assert len(set(shown)) == 3


def test_one_address_serves_all_payments_without_an_account(addresses_of: AddressesOf) -> None:
    assert addresses_of(BITCOIN_ADDRESS=TPUB_RECEIVING[0]) == OneAddress(TPUB_RECEIVING[0])
    assert addresses_of(BITCOIN_ADDRESS=TPUB_RECEIVING[0].upper()) == OneAddress(TPUB_RECEIVING[0])


def test_an_account_goes_before_an_address(addresses_of: AddressesOf) -> None:
    assert isinstance(addresses_of(BITCOIN_ADDRESS=TPUB_RECEIVING[0], BITCOIN_XPUB=TPUB), AccountAddresses)


def test_without_either_there_is_no_source(addresses_of: AddressesOf) -> None:
    assert addresses_of() is None


@pytest.mark.parametrize("wrong", ["afwvtk2q", "qfwvtk2s", "qf45pmyh"])
def test_the_checksum_of_a_descriptor_must_be_its_own(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="BITCOIN_XPUB has the checksum of another descriptor"):
        read_settings({**REQUIRED, "BITCOIN_NETWORK": "mainnet", "BITCOIN_XPUB": f"{CHECKED}#{wrong}"})


# Beyond the field; of no point; no compressed key.
@pytest.mark.parametrize("key", [b"\x02" + b"\xff" * 32, b"\x02" + bytes(31) + b"\x05", b"\x04" + bytes(31) + b"\x01"])
def test_a_key_must_be_a_point_of_the_curve(key: bytes) -> None:
    no_point = base58.encode_check(base58.decode_check(TPUB)[:-33] + key)

    with pytest.raises(ConfigurationError, match="BITCOIN_XPUB holds no valid key"):
        read_settings({**REQUIRED, "BITCOIN_XPUB": no_point})


@pytest.mark.parametrize(
    ("network", "variable", "value", "reason"),
    [
        ("testnet", "BITCOIN_XPUB", BIP84_ZPUB, "holds a key of mainnet, not of testnet"),
        ("regtest", "BITCOIN_XPUB", f"tr({BIP86_XPUB}/0/*)", "holds a key of mainnet, not of regtest"),
        ("mainnet", "BITCOIN_XPUB", VPUB, "holds a key of a test network, not of mainnet"),
        ("testnet", "BITCOIN_XPUB", UPUB, "must hold an extended public key"),
        ("testnet", "BITCOIN_XPUB", TPUB[:-1] + "N", "must hold an extended public key"),
        ("testnet", "BITCOIN_XPUB", TPUB_RECEIVING[0], "must hold an extended public key"),
        ("testnet", "BITCOIN_XPUB", f"wpkh({TPUB})", "must be like wpkh"),
        ("testnet", "BITCOIN_XPUB", f"wpkh({TPUB}/0/5)", "must be like wpkh"),
        ("testnet", "BITCOIN_XPUB", f"wpkh({TPUB}/0h/*)", "must be like wpkh"),
        ("testnet", "BITCOIN_XPUB", f"sh(wpkh({TPUB}/0/*))", "must be like wpkh"),
        ("testnet", "BITCOIN_XPUB", f"wsh(sortedmulti(1,{TPUB}/0/*))", "must be like wpkh"),
        ("testnet", "BITCOIN_XPUB", f"wpkh({TPUB}/{2**31}/*)", f"must have numbers below {2**31}"),
        ("testnet", "BITCOIN_XPUB", TPRV, "is a private key"),
        ("testnet", "BITCOIN_XPUB", f"wpkh([73c5da0a/84h/1h/0h]{TPRV}/0/*)", "is a private key"),
        ("mainnet", "BITCOIN_ADDRESS", TPUB_RECEIVING[0], "must be an address of mainnet"),
        ("regtest", "BITCOIN_ADDRESS", TPUB_RECEIVING[0], "must be an address of regtest"),
        ("testnet", "BITCOIN_ADDRESS", BIP84_RECEIVING[0], "must be an address of testnet"),
        ("mainnet", "BITCOIN_ADDRESS", BIP84_RECEIVING[0][:-1] + "v", "must be an address of mainnet"),
        # https://github.com/bitcoin/bips/blob/master/bip-0350.mediawiki: a witness of a future version
        ("mainnet", "BITCOIN_ADDRESS", "BC1SW50QGDZ25J", "must be an address of mainnet"),
        ("testnet", "BITCOIN_ADDRESS", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "must be an address of testnet"),
        ("regtest", "ESPLORA_URLS", "", "must name a server"),
        ("testnet", "ESPLORA_URLS", "blockstream.info/api", "must be like https"),
        ("testnet", "ESPLORA_URLS", "https://user:password@host/api", "must be like https"),
        ("testnet", "ESPLORA_URLS", "https://host/api?key=1", "must be like https"),
        ("testnet", "ESPLORA_URLS", "memory:", "must be like https"),
        ("testnet", "BITCOIN_CONFIRMATIONS", "0", "must be a whole number from 1"),
        # A payment that is credited must still be watched.
        ("testnet", "BITCOIN_REORG_DEPTH", "1", "must be a whole number from 2"),
        ("testnet", "PAYMENT_TTL_SECONDS", "0", "must be a whole number from 1"),
        ("testnet", "BTC_TO_AITBC_RATE", "0.5", "must be a whole number from 1"),
    ],
)
def test_what_is_set_wrong_refuses_to_start(network: str, variable: str, value: str, reason: str) -> None:
    to_be_paid = {"BITCOIN_ADDRESS": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"} if network == "regtest" else {}
    environment = {**REQUIRED, **to_be_paid, "BITCOIN_NETWORK": network, variable: value}
    if network == "regtest" and variable != "ESPLORA_URLS":
        environment["ESPLORA_URLS"] = "memory:"

    with pytest.raises(ConfigurationError, match=f"^{variable} {reason}") as refused:
        read_settings(environment)

    assert "prv8" not in str(refused.value)


def test_each_public_network_has_servers_and_the_own_ones_go_instead() -> None:
    by_default = read_settings({**REQUIRED, "BITCOIN_NETWORK": "mainnet"})
    own = read_settings({**REQUIRED, "ESPLORA_URLS": "https://one.example/api/, http://[::1]:3002"})

    assert by_default.esplora_urls == ("https://blockstream.info/api", "https://mempool.space/api")
    assert own.esplora_urls == ("https://one.example/api", "http://[::1]:3002")


@pytest.mark.parametrize(
    ("network", "address", "script"),
    [
        # The addresses of the genesis block's key and of the examples in BIP-13, BIP-173 and BIP-350.
        ("mainnet", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac"),
        ("mainnet", "3P14159f73E4gFr7JterCCQh9QjiTjiZrG", "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87"),
        ("mainnet", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
        (
            "testnet",
            "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
            "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
        ),
        (
            "mainnet",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        ),
    ],
)
def test_an_address_says_which_script_pays_it(network: str, address: str, script: str) -> None:
    paid = script_of(address, network)

    assert paid is not None
    assert paid.hex() == script
    assert [script_of(address, other) for other in {"mainnet", "testnet", "regtest"} - {network}] == [None, None]
