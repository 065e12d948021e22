"""Nobody can talk the verification into another algorithm than the key's (RFC 8725, sections 2 and 3)."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aitbc_verify.errors import NotVerified
from aitbc_verify.receipts import verified_statement
from tests.receipts.issued import SIGNERS, Issued, b64, issued, unb64

each_algorithm = pytest.mark.parametrize("algorithm", SIGNERS)


def header_of(one: Issued, **changes: Any) -> dict[str, Any]:
    return {"alg": one.signer.algorithm, "kid": one.signer.kid, "typ": "JWS", **changes}


def message_of(one: Issued, header: Any) -> str:
    """What is signed of a proof with the true statement and this header."""
    text = header if isinstance(header, str) else json.dumps(header)
    return f"{b64(text.encode())}.{one.proof.split('.')[1]}"


def signed(one: Issued, header: Any) -> str:
    """A proof that the coordinator's own key has signed, so that only its form can be held against it."""
    message = message_of(one, header)
    return f"{message}.{b64(one.signer.sign(message.encode()))}"


def refused(proof: str, jwks: Any) -> str:
    with pytest.raises(NotVerified) as refusal:
        verified_statement(proof, jwks)
    return str(refusal.value)


@each_algorithm
def test_a_header_of_our_own_making_is_taken(algorithm: str) -> None:
    one = issued(algorithm)

    assert verified_statement(signed(one, header_of(one)), one.jwks) == one.statement


@each_algorithm
@pytest.mark.parametrize("none", ["none", "None", "NONE", "", None])
def test_none_is_no_algorithm(algorithm: str, none: str | None) -> None:
    one = issued(algorithm)
    message = message_of(one, header_of(one, alg=none))

    for signature in ("", one.proof.split(".")[2]):
        refused(f"{message}.{signature}", one.jwks)
    refused(signed(one, header_of(one, alg=none)), one.jwks)


@each_algorithm
def test_the_public_key_is_no_secret_to_sign_by(algorithm: str) -> None:
    one = issued(algorithm)
    jwk = one.signer.public_jwk
    if algorithm == "Ed25519":
        key: Any = Ed25519PublicKey.from_public_bytes(unb64(jwk["x"]))
    else:
        x, y = (int.from_bytes(unb64(jwk[name])) for name in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    secrets = [
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        unb64(jwk["x"]),
        jwk["x"].encode(),
        json.dumps(jwk).encode(),
        b"",
    ]

    for alg in ("HS256", algorithm):
        message = message_of(one, header_of(one, alg=alg))
        for secret in secrets:
            refused(f"{message}.{b64(hmac.digest(secret, message.encode(), hashlib.sha256))}", one.jwks)


@each_algorithm
@pytest.mark.parametrize(
    "alg", ["EdDSA", "Ed448", "ES256", "Ed25519", "ES384", "ES256K", "ed25519", "RS256", 5, ["ES256"]]
)
def test_only_the_algorithm_of_the_key_is_taken(algorithm: str, alg: Any) -> None:
    one = issued(algorithm)
    if alg != algorithm:
        assert "but the key signs by" in refused(signed(one, header_of(one, alg=alg)), one.jwks)


@each_algorithm
def test_a_header_without_an_algorithm_is_refused(algorithm: str) -> None:
    one = issued(algorithm)

    refused(signed(one, {"kid": one.signer.kid}), one.jwks)


@pytest.mark.parametrize(
    ("kty", "crv"),
    [("EC", "P-384"), ("EC", "secp256k1"), ("OKP", "X25519"), ("OKP", "Ed448"), ("RSA", None), ("oct", None)],
)
def test_keys_of_other_kinds_verify_nothing(kty: str, crv: str | None) -> None:
    one = issued("ES256")
    jwk = {**one.signer.public_jwk, "kty": kty, "crv": crv}

    assert "neither Ed25519 nor P-256" in refused(one.proof, {"keys": [jwk]})


def test_a_point_of_another_curve_is_no_key() -> None:
    point = ec.generate_private_key(ec.SECP256K1()).public_key().public_numbers()
    one = issued("ES256")
    jwk = {**one.signer.public_jwk, "x": b64(point.x.to_bytes(32)), "y": b64(point.y.to_bytes(32))}

    assert "damaged" in refused(one.proof, {"keys": [jwk]})


def test_a_signature_in_asn1_is_none_of_jose() -> None:
    key = ec.derive_private_key(0x5EC4E7, ec.SECP256R1())
    one = issued("ES256")
    message = message_of(one, header_of(one))

    refused(f"{message}.{b64(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))}", one.jwks)


@each_algorithm
@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(63) + b"\x01", b"", bytes(65)])
def test_numbers_that_are_no_signature_are_refused(algorithm: str, signature: bytes) -> None:
    one = issued(algorithm)

    refused(f"{message_of(one, header_of(one))}.{b64(signature)}", one.jwks)


@each_algorithm
@pytest.mark.parametrize("kid", ["other", "", None, 5])
def test_a_key_that_is_not_published_is_not_looked_for_elsewhere(algorithm: str, kid: Any) -> None:
    one = issued(algorithm)

    refused(signed(one, header_of(one, kid=kid)), one.jwks)
    refused(signed(one, {"alg": algorithm}), one.jwks)


@each_algorithm
def test_the_id_of_another_published_key_is_refused(algorithm: str) -> None:
    one = issued(algorithm)
    [other] = [signer for signer in SIGNERS.values() if signer is not one.signer]

    refused(signed(one, header_of(one, kid=other.kid)), one.jwks)
    refused(signed(one, header_of(one, kid=other.kid, alg=other.algorithm)), one.jwks)


def test_two_keys_of_one_id_are_refused() -> None:
    one = issued()
    stranger = {**one.signer.public_jwk, "x": b64(Ed25519PrivateKey.generate().public_key().public_bytes_raw())}

    for keys in ([stranger, one.signer.public_jwk], [one.signer.public_jwk, stranger]):
        assert "several" in refused(one.proof, {"keys": keys})


@pytest.mark.parametrize("named", ["jwk", "jku", "x5c", "x5u"])
def test_a_key_that_the_proof_brings_along_is_not_used(named: str) -> None:
    one = issued()
    stranger = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(stranger.public_key().public_bytes_raw()), "kid": "stranger"}
    for kid in (one.signer.kid, "stranger"):
        message = message_of(one, header_of(one, kid=kid, **{named: jwk}))

        refused(f"{message}.{b64(stranger.sign(message.encode()))}", one.jwks)


@each_algorithm
@pytest.mark.parametrize(
    "extension", [{"crit": ["b64"], "b64": False}, {"crit": []}, {"crit": ["exp"], "exp": 1}, {"b64": False}]
)
def test_extensions_are_refused(algorithm: str, extension: dict[str, Any]) -> None:
    one = issued(algorithm)

    assert "extension" in refused(signed(one, header_of(one, **extension)), one.jwks)


def test_an_unencoded_payload_is_refused() -> None:
    one = issued()
    header = b64(json.dumps(header_of(one, b64=False, crit=["b64"])).encode())
    message = f"{header}.{json.dumps(one.statement)}"

    refused(f"{message}.{b64(one.signer.sign(message.encode()))}", one.jwks)


@pytest.mark.parametrize(
    "header",
    ['{{"alg": "none", {rest}', '{{{rest_open}, "alg": "none"}}', '{{"kid": "x", {rest}', "[{all}]", '"{alg}"'],
)
def test_a_header_has_each_name_once_and_is_an_object(header: str) -> None:
    one = issued()
    whole = json.dumps(header_of(one))
    text = header.format(rest=whole[1:], rest_open=whole[1:-1], all=whole, alg="Ed25519")

    refused(signed(one, text), one.jwks)


@each_algorithm
@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("suffix", ["=", "==", " ", "\n", "\r\n", "A", "AA"])
def test_each_part_has_one_way_to_be_written(algorithm: str, part: int, suffix: str) -> None:
    one = issued(algorithm)
    parts = one.proof.split(".")
    parts[part] += suffix
    message = f"{parts[0]}.{parts[1]}"
    signature = parts[2] if part == 2 else b64(one.signer.sign(message.encode()))

    refused(f"{message}.{signature}", one.jwks)


@each_algorithm
def test_bits_that_say_nothing_are_zero(algorithm: str) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    one = issued(algorithm)
    # 64 bytes end with four bits that say nothing.
    signature = one.proof.split(".")[2]
    others = [letter for letter in alphabet if unb64(signature[:-1] + letter) == unb64(signature)]

    assert len(others) == 16
    for letter in set(others) - {one.proof[-1]}:
        refused(one.proof[:-1] + letter, one.jwks)


@pytest.mark.parametrize("form", ["{}", "a", "a.b", "{p}.x", ".{p}", "..", "{p}{p}", "...."])
def test_a_proof_has_three_parts(form: str) -> None:
    one = issued()

    refused(form.replace("{p}", one.proof), one.jwks)


def test_other_serializations_are_refused() -> None:
    one = issued()
    header, payload, signature = one.proof.split(".")

    refused(json.dumps({"protected": header, "payload": payload, "signature": signature}), one.jwks)


def test_a_proof_has_a_longest_length() -> None:
    one = issued()

    assert "longer" in refused(signed(one, header_of(one, more="x" * 20_000)), one.jwks)
