"""Whatever is changed in a receipt, in what it is about or in its key is found."""

import copy
import json
import string
from typing import Any

import pytest
import rfc8785
from hypothesis import assume, given
from hypothesis import strategies as st

from aitbc_verify.errors import NotVerified
from aitbc_verify.receipts import is_signed_by_miner, require_hash, require_same, verified_statement
from tests.receipts.issued import OTHER_JOB_ID, PARAMETERS, RESULT, SIGNERS, Issued, b64, issued

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(string.printable, max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(sorted(SIGNERS))
# No base64 at all, and its neighbours.
characters = st.sampled_from(string.ascii_letters + string.digits + "-_.=+/ \n\0é")


def verify(one: Issued) -> dict[str, Any]:
    """All checks that need no log."""
    statement = verified_statement(one.proof, one.jwks)
    require_same(statement, one.receipt)
    require_hash(statement, "result", one.receipt["result"])
    require_hash(statement, "parameters", one.parameters)
    assert is_signed_by_miner(statement)
    return statement


def differ(one: Any, other: Any) -> bool:
    """Whether two values are different JSON: 3 and 3.0 are not."""
    return bool(rfc8785.dumps(one) != rfc8785.dumps(other))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all parts of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, part in items for place in places(part, (*path, name)))]


def replaced(value: Any, path: tuple[Any, ...], part: Any) -> Any:
    if not path:
        return part
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], part)
    return changed


def signed_by(one: Issued, header: bytes, payload: bytes | None = None) -> str:
    """A proof with this header that the coordinator's key has signed, as it never would."""
    body = one.proof.split(".")[1] if payload is None else b64(payload)
    message = f"{b64(header)}.{body}"
    return f"{message}.{b64(one.signer.sign(message.encode()))}"


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_an_unchanged_receipt_verifies(algorithm: str) -> None:
    one = issued(algorithm)

    assert verify(one) == one.statement


@given(kinds, st.data(), values)
def test_a_change_of_any_member_of_the_statement_is_found(algorithm: str, data: st.DataObject, value: Any) -> None:
    one = issued(algorithm)
    name = data.draw(st.sampled_from(sorted(one.statement)))
    assume(differ(one.statement[name], value))
    header, _, signature = one.proof.split(".")

    one.receipt["proof"] = f"{header}.{b64(rfc8785.dumps({**one.statement, name: value}))}.{signature}"

    with pytest.raises(NotVerified):
        verified_statement(one.proof, one.jwks)


@given(kinds, st.data(), values)
def test_a_change_of_any_field_beside_the_proof_is_found(algorithm: str, data: st.DataObject, value: Any) -> None:
    one = issued(algorithm)
    name = data.draw(st.sampled_from(sorted(set(one.receipt) - {"proof"})))
    assume(differ(one.receipt[name], value))

    one.receipt[name] = value

    with pytest.raises(NotVerified):
        verify(one)


@given(st.sampled_from(places(RESULT)), values)
def test_a_change_anywhere_in_the_result_is_found(place: tuple[Any, ...], value: Any) -> None:
    one = issued()
    changed = replaced(RESULT, place, value)
    assume(differ(changed, RESULT))

    one.receipt["result"] = changed

    with pytest.raises(NotVerified):
        verify(one)


@given(st.sampled_from(places(PARAMETERS)), values)
def test_a_change_anywhere_in_the_parameters_is_found(place: tuple[Any, ...], value: Any) -> None:
    one = issued()
    changed = replaced(PARAMETERS, place, value)
    assume(differ(changed, PARAMETERS))

    one.parameters = changed

    with pytest.raises(NotVerified):
        verify(one)


@given(kinds, st.data(), characters)
def test_a_change_of_any_character_of_the_proof_is_found(algorithm: str, data: st.DataObject, character: str) -> None:
    one = issued(algorithm)
    place = data.draw(st.integers(0, len(one.proof) - 1))
    removed = data.draw(st.integers(0, 1))
    changed = one.proof[:place] + character + one.proof[place + removed :]
    assume(changed != one.proof)

    one.receipt["proof"] = changed

    with pytest.raises(NotVerified):
        verified_statement(one.proof, one.jwks)


@given(kinds, st.data())
def test_a_proof_that_was_cut_is_found(algorithm: str, data: st.DataObject) -> None:
    one = issued(algorithm)

    one.receipt["proof"] = one.proof[: data.draw(st.integers(0, len(one.proof) - 1))]

    with pytest.raises(NotVerified):
        verified_statement(one.proof, one.jwks)


@given(kinds, st.data(), values | st.text("AB-_", min_size=43, max_size=43))
def test_a_change_of_any_member_of_the_key_is_found(algorithm: str, data: st.DataObject, value: Any) -> None:
    one = issued(algorithm)
    name = data.draw(st.sampled_from(sorted(one.signer.public_jwk)))
    changed = {**one.signer.public_jwk, name: value}
    assume(differ(changed, one.signer.public_jwk))

    with pytest.raises(NotVerified):
        verified_statement(one.proof, {"keys": [changed]})


@given(values)
def test_anything_else_in_place_of_the_keys_is_no_key(value: Any) -> None:
    one = issued()

    for keys in (value, {"keys": value}, {"keys": [value]}):
        with pytest.raises(NotVerified):
            verified_statement(one.proof, keys)


@given(st.text(max_size=200) | st.binary(max_size=200).map(b64))
def test_garbage_is_no_proof(garbage: str) -> None:
    jwks = issued().jwks

    for proof in (garbage, f"{garbage}.{garbage}.{garbage}"):
        with pytest.raises(NotVerified):
            verified_statement(proof, jwks)


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_receipt_of_one_job_never_verifies_for_another(algorithm: str) -> None:
    one, other = issued(algorithm), issued(algorithm, OTHER_JOB_ID)
    header, payload, _ = one.proof.split(".")

    for proof in (other.proof, f"{header}.{payload}.{other.proof.split('.')[2]}"):
        one.receipt["proof"] = proof
        with pytest.raises(NotVerified):
            verify(one)


def test_a_miners_signature_of_another_job_is_found() -> None:
    statement = {**issued().statement, "miner_signature": issued(job_id=OTHER_JOB_ID).statement["miner_signature"]}

    with pytest.raises(NotVerified, match="not of this result"):
        is_signed_by_miner(statement)


def test_receipts_that_do_not_carry_the_miners_key_say_so() -> None:
    statement = {**issued().statement, "miner_public_key": None, "lease_token": None}

    with pytest.raises(NotVerified, match="does not carry"):
        is_signed_by_miner(statement)


@pytest.mark.parametrize(
    ("result", "same"), [({"n": 3.0}, True), ({"n": 3}, True), ({"n": True}, False), ({"n": 2**53}, False)]
)
def test_results_are_compared_as_json(result: Any, same: bool) -> None:
    statement = issued(result={"n": 3}).statement

    if same:
        require_hash(statement, "result", result)
    else:
        with pytest.raises(NotVerified):
            require_hash(statement, "result", result)


@pytest.mark.parametrize("signed", [{}, [], {"version": 2}, {"version": 1}, "text"])
def test_what_the_key_has_signed_beside_receipts_is_none(signed: Any) -> None:
    one = issued()
    header = json.dumps({"alg": "Ed25519", "kid": one.signer.kid}).encode()

    with pytest.raises(NotVerified, match="what was signed"):
        verified_statement(signed_by(one, header, json.dumps(signed).encode()), one.jwks)


def test_a_statement_that_says_something_twice_is_refused() -> None:
    one = issued()
    header = json.dumps({"alg": "Ed25519", "kid": one.signer.kid}).encode()
    twice = b'{"price": "1", ' + rfc8785.dumps(one.statement)[1:]

    with pytest.raises(NotVerified, match="twice"):
        verified_statement(signed_by(one, header, twice), one.jwks)


def test_a_deeply_nested_header_is_refused() -> None:
    one = issued()

    with pytest.raises(NotVerified, match="malformed"):
        verified_statement(f"{b64(b'[' * 10_000)}.{b64(b'{}')}.{b64(b'x')}", one.jwks)
