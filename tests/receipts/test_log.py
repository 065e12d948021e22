"""Whatever is changed in a proof of inclusion, a checkpoint or the log itself is found."""

import base64
import json
import string
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aitbc_verify.checkpoints import Checkpoint, verified_checkpoint
from aitbc_verify.errors import NotVerified
from aitbc_verify.log import require_grown, verified_inclusion
from tests.receipts.issued import SIGNERS
from tests.receipts.logs import ORIGIN, Log, root, signature_line

JWKS = {"keys": [signer.public_jwk for signer in SIGNERS.values()]}
MOST = 20
ENTRIES = [f"proof-{number}" for number in range(MOST)]

kinds = st.sampled_from(sorted(SIGNERS))
sizes = st.integers(1, MOST)
values = st.none() | st.booleans() | st.integers(-2, MOST + 2) | st.text(string.printable, max_size=64) | st.just([])


def log_of(algorithm: str, proofs: list[str] | None = None) -> Log:
    return Log(ENTRIES if proofs is None else proofs, SIGNERS[algorithm])


def checkpoint_of(log: Log, size: int | None = None) -> Checkpoint:
    return verified_checkpoint(log.checkpoint(size), JWKS)


@pytest.mark.parametrize("algorithm", SIGNERS)
@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_entry_is_in_every_log_that_has_it(algorithm: str, size: int) -> None:
    log = log_of(algorithm)

    for index in range(size):
        found = verified_inclusion(ENTRIES[index], log.inclusion(index, size), JWKS)

        assert (found.origin, found.size) == (ORIGIN, size)


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_every_log_has_grown_from_each_of_its_beginnings(algorithm: str) -> None:
    log = log_of(algorithm)

    for newer in range(MOST + 1):
        for older in range(newer + 1):
            proof = log.consistency(older, newer) if 0 < older < newer else None

            require_grown(checkpoint_of(log, older), checkpoint_of(log, newer), proof)


@given(kinds, st.data(), values)
def test_a_change_of_any_field_of_an_inclusion_is_found(algorithm: str, data: st.DataObject, value: Any) -> None:
    size = data.draw(sizes)
    index = data.draw(st.integers(0, size - 1))
    inclusion = log_of(algorithm).inclusion(index, size)
    name = data.draw(st.sampled_from(sorted(inclusion)))
    assume(json.dumps(inclusion[name]) != json.dumps(value))

    with pytest.raises(NotVerified):
        verified_inclusion(ENTRIES[index], {**inclusion, name: value}, JWKS)


@given(kinds, st.data())
def test_an_inclusion_without_one_of_its_fields_is_none(algorithm: str, data: st.DataObject) -> None:
    inclusion = log_of(algorithm).inclusion(3)
    del inclusion[data.draw(st.sampled_from(sorted(inclusion)))]

    with pytest.raises(NotVerified):
        verified_inclusion(ENTRIES[3], inclusion, JWKS)


@given(st.data(), st.binary(min_size=32, max_size=32).map(bytes.hex))
def test_a_change_of_any_step_of_a_path_is_found(data: st.DataObject, step: str) -> None:
    size = data.draw(st.integers(2, MOST))
    index = data.draw(st.integers(0, size - 1))
    inclusion = log_of("Ed25519").inclusion(index, size)
    path = list(inclusion["path"])
    place = data.draw(st.integers(0, len(path) - 1))
    how = data.draw(st.sampled_from(["replace", "remove", "insert", "repeat", "upper case", "no text"]))
    if how == "replace":
        path[place] = step
    elif how == "remove":
        del path[place]
    elif how == "insert":
        path.insert(place, step)
    elif how == "repeat":
        path.insert(place, path[place])
    elif how == "upper case":
        path[place] = path[place].upper()
    else:
        path[place] = data.draw(values)
    assume(path != inclusion["path"])

    with pytest.raises(NotVerified):
        verified_inclusion(ENTRIES[index], {**inclusion, "path": path}, JWKS)


@given(kinds, st.data())
def test_an_inclusion_proves_nothing_of_another_receipt(algorithm: str, data: st.DataObject) -> None:
    index, other = data.draw(st.lists(st.integers(0, MOST - 1), min_size=2, max_size=2, unique=True))
    inclusion = log_of(algorithm).inclusion(index)

    with pytest.raises(NotVerified):
        verified_inclusion(ENTRIES[other], inclusion, JWKS)


@given(kinds, sizes, st.data(), st.characters(codec="utf-8") | st.sampled_from("\n =+/\u2014"))
def test_a_change_of_any_character_of_a_checkpoint_is_found(
    algorithm: str, size: int, data: st.DataObject, character: str
) -> None:
    note = log_of(algorithm).checkpoint(size)
    place = data.draw(st.integers(0, len(note) - 1))
    changed = note[:place] + character + note[place + data.draw(st.integers(0, 1)) :]
    assume(changed != note)

    with pytest.raises(NotVerified):
        verified_checkpoint(changed, JWKS)


@given(kinds, st.data())
def test_a_checkpoint_that_was_cut_is_none(algorithm: str, data: st.DataObject) -> None:
    note = log_of(algorithm).checkpoint()

    with pytest.raises(NotVerified):
        verified_checkpoint(note[: data.draw(st.integers(0, len(note) - 1))], JWKS)


@pytest.mark.parametrize("algorithm", SIGNERS)
@pytest.mark.parametrize(
    "text",
    [
        "{origin}\n007\n{root}\n",
        "{origin}\n-7\n{root}\n",
        "{origin}\n+7\n{root}\n",
        "{origin}\n\u0667\n{root}\n",
        "{origin}\n99999999999999999999\n{root}\n",
        "\n7\n{root}\n",
        "{origin}\n7\n",
        "{origin}\n7\n{root}=\n",
        "{origin}\n7\nAAAA\n",
        "{origin}\n7 \n{root}\n",
    ],
)
def test_what_was_signed_is_a_checkpoint_only_in_its_one_form(algorithm: str, text: str) -> None:
    signer = SIGNERS[algorithm]
    signed = text.format(origin=ORIGIN, root=base64.b64encode(bytes(32)).decode())

    with pytest.raises(NotVerified, match="no checkpoint"):
        verified_checkpoint(f"{signed}\n{signature_line(signer, ORIGIN, signed)}\n", JWKS)


def test_signatures_of_witnesses_are_not_looked_at() -> None:
    note = log_of("Ed25519").checkpoint()
    witness = "\u2014 witness.example.org/w " + base64.b64encode(bytes(76)).decode() + "\n"

    assert verified_checkpoint(note + witness, JWKS) == verified_checkpoint(note, JWKS)
    with pytest.raises(NotVerified, match="none of the published keys"):
        verified_checkpoint(note.rpartition("\n\n")[0] + "\n\n" + witness, JWKS)


def test_a_wrong_signature_of_the_logs_key_is_refused_beside_a_right_one() -> None:
    note = log_of("Ed25519").checkpoint()
    wrong = signature_line(SIGNERS["Ed25519"], ORIGIN, "another text\n")

    with pytest.raises(NotVerified, match="signature is wrong"):
        verified_checkpoint(f"{note}{wrong}\n", JWKS)


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_the_signature_stands_under_the_logs_own_name(algorithm: str) -> None:
    text = log_of(algorithm).checkpoint().rpartition("\n\n")[0] + "\n"

    with pytest.raises(NotVerified, match="none of the published keys"):
        verified_checkpoint(f"{text}\n{signature_line(SIGNERS[algorithm], 'another.example.org', text)}\n", JWKS)


def test_key_ids_are_those_of_signed_notes() -> None:
    # The key of the example in the documentation of Go's package note.
    from aitbc_verify.checkpoints import note_key_id
    from aitbc_verify.keys import Ed25519Key
    from tests.receipts.issued import b64

    key = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]

    assert note_key_id("PeterNeumann", Ed25519Key({"x": b64(key)})).hex() == "c74f20a3"


@pytest.mark.parametrize("algorithm", SIGNERS)
@pytest.mark.parametrize("tampered", ["changed", "removed", "reordered", "inserted"])
@given(data=st.data())
def test_a_log_that_was_tampered_with_has_not_grown(algorithm: str, tampered: str, data: st.DataObject) -> None:
    older, newer = sorted(data.draw(st.lists(st.integers(2, MOST), min_size=2, max_size=2)))
    place = data.draw(st.integers(0, older - 2))
    entries = list(ENTRIES)
    if tampered == "changed":
        entries[place] += "!"
    elif tampered == "removed":
        del entries[place]
    elif tampered == "reordered":
        entries[place], entries[place + 1] = entries[place + 1], entries[place]
    else:
        entries.insert(place, "inserted")
    honest, forged = log_of(algorithm), log_of(algorithm, entries)
    before, after = checkpoint_of(honest, older), checkpoint_of(forged, newer)

    # The log shows what it can compute: of what it has now, or of what it had.
    for log in (honest, forged):
        proof = log.consistency(older, min(newer, len(log.proofs))) if older < len(log.proofs) else None
        with pytest.raises(NotVerified):
            require_grown(before, after, proof)


def test_a_log_that_was_wound_back_has_not_grown() -> None:
    log = log_of("Ed25519")

    with pytest.raises(NotVerified, match="had 9 entries and has 8"):
        require_grown(checkpoint_of(log, 9), checkpoint_of(log, 8), None)


def test_checkpoints_of_two_logs_are_told_apart() -> None:
    log = log_of("Ed25519")
    other = Log(ENTRIES, log.signer, origin="other.example.org")

    with pytest.raises(NotVerified, match="different logs"):
        require_grown(checkpoint_of(log, 3), checkpoint_of(other, 5), log.consistency(3, 5))


@given(st.data(), values | st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=6))
def test_any_other_path_proves_no_growth(data: st.DataObject, path: Any) -> None:
    log = log_of("Ed25519")
    older, newer = sorted(data.draw(st.lists(sizes, min_size=2, max_size=2, unique=True)))
    assume(path != log.consistency(older, newer)["path"])

    for answer in ({"path": path}, path, None):
        with pytest.raises(NotVerified):
            require_grown(checkpoint_of(log, older), checkpoint_of(log, newer), answer)


def test_the_root_of_nothing_is_that_of_the_rfc() -> None:
    assert root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
