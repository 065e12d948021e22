"""Signatures by other libraries are known, official ones too, and each in one form only."""

import base64
from collections.abc import Callable
from functools import partial

import pytest

from coordinator.users.bitcoin import parse_bitcoin
from coordinator.users.ethereum import parse_ethereum
from coordinator.users.wallets import Wallet
from tests.wallets.signers import ORDER, BitcoinSigner, EthereumSigner

MESSAGE = "127.0.0.1:8000 wants you to sign in with your account:\n" + "x" * 300
SIGNERS: dict[str, EthereumSigner | BitcoinSigner] = {
    "ethereum": EthereumSigner(),
    "p2wpkh": BitcoinSigner("p2wpkh"),
    "p2wpkh by BIP-137": BitcoinSigner("p2wpkh", bip137=True),
    "p2tr": BitcoinSigner("p2tr"),
    "p2pkh": BitcoinSigner("p2pkh"),
    "p2pkh-uncompressed": BitcoinSigner("p2pkh-uncompressed"),
    "p2sh-p2wpkh": BitcoinSigner("p2sh-p2wpkh"),
}
each_signer = pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS)


def wallet_of(address: str, network: str = "testnet") -> Wallet:
    return parse_ethereum(address) or parse_bitcoin(address, network)


@each_signer
@pytest.mark.parametrize("length", [0, 1, 252, 253, 300, 5000])
def test_a_wallets_signature_is_known(signer: EthereumSigner, length: int) -> None:
    message = "x" * length

    assert wallet_of(signer.address).has_signed(message, signer.sign(message))


@each_signer
def test_a_signature_counts_for_its_wallet_and_its_message(signer: EthereumSigner) -> None:
    signature = signer.sign(MESSAGE)

    others = [wallet_of(other.address) for other in SIGNERS.values() if other.address != signer.address]
    assert not any(other.has_signed(MESSAGE, signature) for other in others)
    assert not wallet_of(type(signer)(**{**vars(signer), "secret": b"\2" * 32}).address).has_signed(MESSAGE, signature)
    assert not wallet_of(signer.address).has_signed(MESSAGE + " ", signature)


@pytest.mark.parametrize("network", ["mainnet", "signet", "regtest"])
@pytest.mark.parametrize("kind", ["p2wpkh", "p2tr", "p2pkh"])
def test_every_network_has_its_wallets(network: str, kind: str) -> None:
    signer = BitcoinSigner(kind, network)

    assert wallet_of(signer.address, network).has_signed(MESSAGE, signer.sign(MESSAGE))


def test_the_signature_of_geth_is_known() -> None:
    """https://web3js.readthedocs.io/en/v1.10.0/web3-eth-accounts.html#sign, as its `personal_sign` has it."""
    wallet = wallet_of("0x2c7536E3605D9C16a7a3D7b1898e529396a65c23")
    signature = (
        "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
    )

    assert wallet.has_signed("Some data", signature)
    assert wallet.has_signed("Some data", signature.removeprefix("0x"))


# https://github.com/bitcoin/bips/tree/master/bip-0322: the simple ones of one key.
OFFICIAL = [
    (
        "bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l",
        "",
        (
            "smpAkcwRAIgM2gBAQqvZX15ZiysmKmQpDrG83avLIT492QBzLnQIxYCIBaTpOaD20qRlEylyxFSeEA2ba9YOixpX8z46TSDtS40ASECx/EgAxlk"
            "QpQ9hYjgGu6EBCPMVPwVIVJqO4XCsMvViHI="
        ),
    ),
    (
        "bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l",
        "",
        (
            "smpAkgwRQIhAPkJ1Q4oYS0htvyuSFHLxRQpFAY56b70UvE7Dxazen0ZAiAtZfFz1S6T6I23MWI2lK/pcNTWncuyL8UL+oMdydVgzAEhAsfxIAMZ"
            "ZEKUPYWI4BruhAQjzFT8FSFSajuFwrDL1Yhy"
        ),
    ),
    (
        "bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l",
        "Hello World",
        (
            "smpAkcwRAIgZRfIY3p7/DoVTty6YZbWS71bc5Vct9p9Fia83eRmw2QCICK/ENGfwLtptFluMGs2KsqoNSk89pO7F29zJLUx9a/sASECx/EgAxlk"
            "QpQ9hYjgGu6EBCPMVPwVIVJqO4XCsMvViHI="
        ),
    ),
    (
        "bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l",
        "Hello World",
        (
            "smpAkgwRQIhAOzyynlqt93lOKJr+wmmxIens//zPzl9tqIOua93wO6MAiBi5n5EyAcPScOjf1lAqIUIQtr3zKNeavYabHyR8eGhowEhAsfxIAMZ"
            "ZEKUPYWI4BruhAQjzFT8FSFSajuFwrDL1Yhy"
        ),
    ),
    (
        "bc1pss0zhytly75awhm6x2hhvd5lnzv3vssgrf9axfheq8ldyzn88ges79fler",
        "No prefix fallback",
        "AUCJYOwOjxYAvatTAGYaVlNXBVyFuc4MwNQkOuK2tl8xhfKDONd0NjfYyNSYcRqeCp8hsAnCEPHAVEkO9h6vbQ/R",
    ),
    (
        "bc1qkntwc3c4dzxh9xh6875l03fn3vkk023jgak3u7",
        "ESHJI7MWUL64AXHBI42L3UR4QA",
        (
            "AkcwRAIgCYHF/vn67iZX5WBimh84kqD6pTME6eNCMGhfFnnwCNECIAF3nMCk/RfLit+uv8a8FgfQIw0f0ASE21GSz7rX17PsASEDTA2vM8bOtUFg"
            "venSDUmvkq7aWNwoTB0CMiM6carHY1s="
        ),
    ),
    (
        "bc1p9cyuceaazr8cz46mvgkzl94wy397mwpqsrk84su37t72jvkg6wzqv52nfp",
        "TPIZPITUIHEUHO5ACOL6W6MBVD",
        "AUBay6NwR4LEYedkTG+vE9F7C0RTOCB5NH6ZAqf+3hudjHIkOzSZk1jW/5Kt0wRKX3llJ25os+0qktdou4/Y8516",
    ),
]


@pytest.mark.parametrize(("address", "message", "signature"), OFFICIAL)
def test_the_official_signatures_of_bip_322_are_known(address: str, message: str, signature: str) -> None:
    wallet = wallet_of(address, "mainnet")

    assert wallet.has_signed(message, signature)
    assert wallet.has_signed(message, "smp" + signature.removeprefix("smp"))
    assert wallet.has_signed(message, signature.removeprefix("smp"))
    assert not wallet.has_signed(message + ".", signature)


@pytest.mark.parametrize(
    ("address", "message", "signature"),
    [
        ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "", "not-valid-base64!!!"),
        ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "", ""),
        ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "Wrong message that was not signed", OFFICIAL[0][2]),
        ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "", "smpAA=="),
        ("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l", "", "fooAA=="),
        ("bc1pyrgrm6cu6n54jrvkdjd9rvyd3xfyu84s2623awu2srn6mxhscwpsm5644w", "incorrect prefix", "ful" + OFFICIAL[6][2]),
        ("bc1qx3f9s3scavc92s3g2fhwzqzn7qucd37ez03jpf", OFFICIAL[5][1], OFFICIAL[5][2]),
        ("bc1pr72av8sh7qc2ssxs8w0hlj0cl82g2q2dvypngzgsrmd4plml84ksmfyv0q", OFFICIAL[6][1], OFFICIAL[6][2]),
    ],
)
def test_the_official_errors_of_bip_322_are_refused(address: str, message: str, signature: str) -> None:
    assert not wallet_of(address, "mainnet").has_signed(message, signature)


def hexadecimal(change: Callable[[bytes], bytes], signature: str) -> str:
    return "0x" + change(bytes.fromhex(signature.removeprefix("0x"))).hex()


def base64_(change: Callable[[bytes], bytes], signature: str) -> str:
    return base64.b64encode(change(base64.b64decode(signature))).decode()


def negated(s: bytes) -> bytes:
    return (ORDER - int.from_bytes(s)).to_bytes(32)


def with_high_s_in_der(witness: bytes) -> bytes:
    """The same signature with the other s, correctly written."""
    length = witness[1]
    der, rest = witness[2 : 2 + length - 1], witness[2 + length :]
    r_length = der[3]
    s = negated(der[6 + r_length :].rjust(32, b"\0")[-32:])
    integer = (b"\0" if s[0] & 0x80 else b"") + s
    body = der[2 : 4 + r_length] + b"\x02" + bytes([len(integer)]) + integer
    signature = b"\x30" + bytes([len(body)]) + body + b"\x01"
    return b"\x02" + bytes([len(signature)]) + signature + rest


def with_padded_r(witness: bytes) -> bytes:
    """A zero byte before r, which BER allows and DER does not."""
    length, r_length = witness[1], witness[5]
    padded = witness[2:3] + bytes([witness[3] + 1]) + b"\x02" + bytes([r_length + 1]) + b"\0" + witness[6 : 2 + length]
    return b"\x02" + bytes([len(padded)]) + padded + witness[2 + length :]


OTHER_FORMS: dict[str, list[Callable[[str], str]]] = {
    "ethereum": [
        partial(hexadecimal, lambda raw: raw[:32] + negated(raw[32:64]) + bytes([raw[64] ^ 7])),
        partial(hexadecimal, lambda raw: raw[:64] + bytes([raw[64] - 27])),
        partial(hexadecimal, lambda raw: raw[:64] + bytes([raw[64] ^ 7])),
        partial(hexadecimal, lambda raw: raw[:64] + bytes([raw[64] + 2])),
        partial(hexadecimal, lambda raw: raw[:64] + bytes([raw[64] + 10])),
        partial(hexadecimal, lambda raw: raw[:64]),
        partial(hexadecimal, lambda raw: raw + b"\0"),
        # EIP-2098.
        partial(hexadecimal, lambda raw: raw[:32] + bytes([raw[32] | (raw[64] - 27) << 7]) + raw[33:64]),
        partial(hexadecimal, lambda raw: bytes(64) + raw[64:]),
        str.upper,
        lambda signature: "0x" + signature.removeprefix("0x").upper(),
        lambda signature: signature + " ",
        lambda signature: "0x" + signature,
        lambda signature: signature[:20] + " " + signature[20:],
    ],
    "p2pkh": [
        partial(base64_, lambda raw: bytes([31 + (raw[0] - 31 ^ 1)]) + raw[1:33] + negated(raw[33:])),
        partial(base64_, lambda raw: bytes([raw[0] - 4]) + raw[1:]),
        partial(base64_, lambda raw: bytes([raw[0] + 8]) + raw[1:]),
        partial(base64_, lambda raw: bytes([31 + (raw[0] - 31 ^ 1)]) + raw[1:]),
        partial(base64_, lambda raw: bytes([raw[0] + 2]) + raw[1:]),
        partial(base64_, lambda raw: raw[:-1]),
        partial(base64_, lambda raw: raw + b"\0"),
        lambda signature: "smp" + signature,
        lambda signature: signature + "\n",
        lambda signature: signature.rstrip("="),
        # The last character has two bits that mean nothing.
        lambda signature: signature[:-2] + chr(ord(signature[-2]) + 1) + signature[-1:],
    ],
    "p2wpkh": [
        partial(base64_, with_high_s_in_der),
        partial(base64_, with_padded_r),
        partial(base64_, lambda raw: raw + b"\0"),
        partial(base64_, lambda raw: raw + b"\x01\0"),
        partial(base64_, lambda raw: b"\x03" + raw[1:] + b"\0"),
        partial(base64_, lambda raw: b"\xfd\x02\0" + raw[1:]),
        partial(base64_, lambda raw: raw[:-1]),
        lambda signature: "smpsmp" + signature,
        lambda signature: "SMP" + signature,
        lambda signature: signature.replace("A", "A ", 1),
    ],
    "p2tr": [
        partial(base64_, lambda raw: raw + b"\0"),
        # SIGHASH_DEFAULT is no byte at all.
        partial(base64_, lambda raw: b"\x01\x41" + raw[2:66] + b"\0"),
        partial(base64_, lambda raw: b"\x01\x41" + raw[2:66] + b"\x01"),
        partial(base64_, lambda raw: b"\x02" + raw[1:] + b"\0"),
        partial(base64_, lambda raw: b"\x02" + raw[1:] + b"\x01\x50"),
        partial(base64_, lambda raw: raw[2:]),
    ],
}


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in OTHER_FORMS.items() for change in changes]
)
def test_a_signature_has_one_form(name: str, change: Callable[[str], str]) -> None:
    signer = SIGNERS[name]
    signature = signer.sign(MESSAGE)
    assert wallet_of(signer.address).has_signed(MESSAGE, signature)

    assert change(signature) != signature
    assert not wallet_of(signer.address).has_signed(MESSAGE, change(signature))
