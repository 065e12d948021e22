"""Which addresses are wallets, and which of them are the same one; and what operators set for that."""

import pytest

from coordinator.core.config import read_settings
from coordinator.core.errors import ConfigurationError
from coordinator.users.bitcoin import parse_bitcoin
from coordinator.users.errors import InvalidWalletAddress
from coordinator.users.ethereum import parse_ethereum
from tests.api import SECRET_KEY

HEX = "f39fd6e51aad88f6f4ce6ab8827279cfffb92266"
REQUIRED = {"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY}
CHECKSUMMED = "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.mark.parametrize("prefix", ["0x", "ait1", "aitbc1"])
@pytest.mark.parametrize("digits", [HEX, HEX.upper(), CHECKSUMMED])
def test_20_bytes_are_one_wallet_however_they_are_written(prefix: str, digits: str) -> None:
    wallet = parse_ethereum(prefix + digits)

    assert wallet is not None
    assert (wallet.canonical, wallet.shown) == ("0x" + HEX, "0x" + CHECKSUMMED)


# https://eips.ethereum.org/EIPS/eip-55
@pytest.mark.parametrize(
    "address",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_the_examples_of_eip_55_are_their_own_checksum(address: str) -> None:
    wallet = parse_ethereum(address)

    assert wallet is not None
    assert wallet.shown == address


@pytest.mark.parametrize("prefix", ["0x", "ait1", "aitbc1"])
def test_mixed_case_must_be_the_checksums(prefix: str) -> None:
    with pytest.raises(InvalidWalletAddress, match="checksum"):
        parse_ethereum(prefix + CHECKSUMMED.replace("F4ce", "f4ce"))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "0x",
        HEX,
        "0X" + HEX,
        "AIT1" + HEX,
        "0x" + HEX[:-1],
        "0x" + HEX + "0",
        "0x" + HEX[:-1] + "g",
        " 0x" + HEX,
        "0x" + HEX + "\n",
        "0x" + HEX[:-1] + "\uff16",
        "aitbc10x" + HEX,
    ],
)
def test_what_looks_like_an_ethereum_address_is_none(address: str) -> None:
    assert parse_ethereum(address) is None
    with pytest.raises(InvalidWalletAddress):
        parse_bitcoin(address, "mainnet")


# https://github.com/bitcoin/bips/blob/master/bip-0350.mediawiki, those that one key can sign for.
@pytest.mark.parametrize(
    ("address", "network", "payload"),
    [
        ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "mainnet", "751e76e8199196d454941c45d1b3a323f1433bd6"),
        (
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "mainnet",
            "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        ),
        (
            "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
            "signet",
            "000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
        ),
    ],
)
def test_the_examples_of_bip_350_are_read(address: str, network: str, payload: str) -> None:
    wallet = parse_bitcoin(address, network)

    assert (wallet.canonical, wallet.payload.hex()) == (address.lower(), payload)


@pytest.mark.parametrize(
    "address",
    [
        # Valid, but no key: a script's hash, and versions to come.
        "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
        "BC1SW50QGDZ25J",
        "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
        # Those that BIP-350 lists as invalid.
        "tc1qw508d6qejxtdg4y5r3zarvary0c5xw7kg3g4ty",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "BC13W508D6QEJXTDG4Y5R3ZARVARY0C5XW7KN40WF2",
        "bc1rw5uspcuh",
        "bc10w508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kw5rljs90",
        "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
        "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",
        "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
        "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",
        "bc1pw5dgrnzv",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf",
        "bc1gmk9yu",
        # In two cases, cut short, and with one character changed.
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7KV8F3T4",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t",
        "bc1",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN0",
        "1" * 34,
        "1" * 2000,
        "bc1q" + "q" * 2000,
        "ьc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    ],
)
def test_what_looks_like_a_bitcoin_address_is_none(address: str) -> None:
    with pytest.raises(InvalidWalletAddress):
        parse_bitcoin(address, "mainnet")


ADDRESSES = {
    "mainnet": [
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "35LM1A29K95ADiQ8rJ9uEfVZCKffZE4D9i",
    ],
    "testnet": [
        "tb1q0xcqpzrky6eff2g52qdye53xkk9jxkvraulyla",
        "mrcNu71ztWjAQA6ww9kHiW3zBWSQidHXTQ",
        "2MvtZ4txAvbaWRW2gXRmmrcUpQfsqNgpfUm",
    ],
    "regtest": [
        "bcrt1q0xcqpzrky6eff2g52qdye53xkk9jxkvrl4xfg5",
        "mrcNu71ztWjAQA6ww9kHiW3zBWSQidHXTQ",
        "2MvtZ4txAvbaWRW2gXRmmrcUpQfsqNgpfUm",
    ],
}
# Networks for tests share their addresses, but for regtest's segwit.
ADDRESSES["signet"] = ADDRESSES["testnet"]


@pytest.mark.parametrize("network", ADDRESSES)
def test_only_addresses_of_the_network_are_wallets(network: str) -> None:
    for address in {address for addresses in ADDRESSES.values() for address in addresses}:
        if address in ADDRESSES[network]:
            assert parse_bitcoin(address, network).canonical == address
        else:
            with pytest.raises(InvalidWalletAddress):
                parse_bitcoin(address, network)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", ""),
        ("https://api.example.org", "https://api.example.org"),
        ("https://API.example.org/", "https://api.example.org"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_public_url_is_an_origin(given: str, read: str) -> None:
    assert read_settings({**REQUIRED, "PUBLIC_URL": given}).public_url == read


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PUBLIC_URL", "api.example.org"),
        ("PUBLIC_URL", "ftp://api.example.org"),
        ("PUBLIC_URL", "https://api.example.org/v1"),
        ("PUBLIC_URL", "https://user@api.example.org"),
        ("PUBLIC_URL", "https://api.example.org\nURI: https://evil.example"),
        ("BITCOIN_NETWORK", "main"),
        ("BITCOIN_NETWORK", "Testnet"),
    ],
)
def test_a_wrong_address_of_the_service_or_network_refuses_to_start(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable} must be"):
        read_settings({**REQUIRED, variable: value})
