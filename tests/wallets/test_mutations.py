"""Ten thousand changes of what a wallet has signed, of its address and of its signature: none is taken."""

import base64

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coordinator.users.bitcoin import parse_bitcoin
from coordinator.users.errors import InvalidWalletAddress
from coordinator.users.ethereum import parse_ethereum
from tests.wallets.signers import BitcoinSigner, EthereumSigner

MESSAGE = (
    "api.example.org wants you to sign in with your account:\n0x00\n\nURI: https://api.example.org\n"
    "Nonce: 0f1e2d3c4b5a69788796a5b4c3d2e1f0\nIssued At: 2026-01-31T12:00:00.000000Z\n"
)
SIGNERS: dict[str, EthereumSigner | BitcoinSigner] = {
    "ethereum": EthereumSigner(),
    "p2wpkh": BitcoinSigner("p2wpkh"),
    "p2tr": BitcoinSigner("p2tr"),
    "p2pkh": BitcoinSigner("p2pkh"),
    "p2wpkh by BIP-137": BitcoinSigner("p2wpkh", bip137=True),
}
EXAMPLES = 10_000 // len(SIGNERS)

positions = st.integers(0, 10_000)


@st.composite
def changed_bytes(draw: st.DrawFn, original: bytes) -> bytes:
    """One to three bytes replaced, flipped, removed, added or doubled; or all of it cut short, or drawn anew."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(positions) % (len(data) or 1)
        match draw(st.sampled_from(["replace", "flip", "remove", "add", "double", "cut", "swap", "random"])):
            case "replace":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "flip":
                data[at : at + 1] = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1])
            case "remove":
                del data[at : at + draw(st.integers(1, 4))]
            case "add":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "double":
                data += data[at:]
            case "cut":
                del data[at:]
            case "swap":
                data[at : at + 2] = data[at : at + 2][::-1]
            case _:
                data[at:] = draw(st.binary(max_size=80))
    return bytes(data)


@st.composite
def changed_text(draw: st.DrawFn, original: str) -> str:
    if draw(st.booleans()):
        return draw(changed_bytes(original.encode())).decode("latin-1")
    at = draw(positions) % len(original)
    other = draw(st.one_of(st.just(original[at].swapcase()), st.characters(codec="utf-8")))
    return original[:at] + other + original[at + 1 :]


def decoded(signature: str) -> bytes:
    return bytes.fromhex(signature[2:]) if signature.startswith("0x") else base64.b64decode(signature)


def encoded(signature: bytes, like: str) -> str:
    return "0x" + signature.hex() if like.startswith("0x") else base64.b64encode(signature).decode()


@pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS)
def test_no_change_of_a_signed_message_is_taken(signer: EthereumSigner) -> None:
    address, signature = signer.address, signer.sign(MESSAGE)
    assert is_taken(address, MESSAGE, signature)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def change_and_try(data: st.DataObject) -> None:
        what = data.draw(st.sampled_from(["signature", "bytes of the signature", "message", "address"]))
        if what == "signature":
            other = data.draw(changed_text(signature))
            # These two characters may be left out.
            assume(other.removeprefix("0x") != signature.removeprefix("0x"))
            assert not is_taken(address, MESSAGE, other)
        elif what == "bytes of the signature":
            other = encoded(data.draw(changed_bytes(decoded(signature))), signature)
            assume(other != signature)
            assert not is_taken(address, MESSAGE, other)
        elif what == "message":
            other = data.draw(changed_text(MESSAGE))
            assume(other != MESSAGE)
            assert not is_taken(address, other, signature)
        else:
            other = data.draw(changed_text(address))
            assume(other != address)
            assert not is_taken(other, MESSAGE, signature)

    change_and_try()


def is_taken(address: str, message: str, signature: str) -> bool:
    try:
        wallet = parse_ethereum(address) or parse_bitcoin(address, "testnet")
    except InvalidWalletAddress:
        return False
    return wallet.has_signed(message, signature)
