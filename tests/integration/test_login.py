"""Wallets log in: once for each challenge, by their own signature of it, and as one user however they are written."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api import PUBLIC_URL, Api, forget_process_state, let_pass
from tests.bench.processes import together
from tests.integration.keyed import count
from tests.integration.logins import ALICE, BOB, CHALLENGE, LOGIN, ME, challenge, logged_in, try_login
from tests.wallets.signers import BitcoinSigner, EthereumSigner

HANDLERS = re.findall(r"Handler: (\S+)", Path("template.yaml").read_text())
NETWORKS = ["mainnet", "testnet", "signet", "regtest"]


@pytest.mark.parametrize(
    "signer",
    [ALICE, *(BitcoinSigner(kind) for kind in ("p2wpkh", "p2tr", "p2pkh")), BitcoinSigner("p2wpkh", bip137=True)],
    ids=lambda signer: getattr(signer, "kind", "ethereum"),
)
def test_a_wallet_logs_in(api: Api, signer: EthereumSigner) -> None:
    answer = try_login(api, signer)

    assert answer.status == 200
    assert answer.json["created"] is True
    user = answer.json["user"]
    assert user["wallet_address"].lower() == signer.address.lower()
    assert user["created_at"] <= user["last_login_at"] < answer.json["expires_at"]
    assert api.in_(answer.json["session_token"]).get(ME).json == user


def test_the_next_login_is_of_the_same_user(api: Api) -> None:
    first = try_login(api, ALICE).json
    again = try_login(api, ALICE).json

    assert again["created"] is False
    assert again["user"]["id"] == first["user"]["id"]
    assert again["user"]["last_login_at"] > first["user"]["last_login_at"]
    assert again["session_token"] != first["session_token"]


def test_one_wallet_is_one_user_in_all_forms_of_its_address(api: Api) -> None:
    digits = ALICE.address.removeprefix("0x")
    forms = [prefix + same for prefix in ("0x", "ait1", "aitbc1") for same in (digits, digits.lower(), digits.upper())]

    answers = [try_login(api, ALICE, address=form) for form in forms]

    assert {answer.json["user"]["id"] for answer in answers} == {answers[0].json["user"]["id"]}
    assert {answer.json["user"]["wallet_address"] for answer in answers} == {"0x" + digits.lower()}
    # One form in the challenge and another one in the login.
    assert try_login(api, ALICE, wallet_address=f"ait1{digits.lower()}").status == 200


def test_a_challenge_is_an_eip_4361_message_that_names_the_service_and_its_end(api: Api) -> None:
    asked = challenge(api, ALICE.address.lower())

    match = re.fullmatch(
        r"api\.example\.org wants you to sign in with your Ethereum account:\n"
        rf"{ALICE.address}\n"
        r"\n"
        r"Log in to the AITBC coordinator\. This costs nothing and moves no coins\.\n"
        r"\n"
        rf"URI: {PUBLIC_URL}\n"
        r"Version: 1\n"
        r"Chain ID: 1\n"
        r"Nonce: ([0-9a-f]{32})\n"
        r"Issued At: (.+)\n"
        r"Expiration Time: (.+)",
        asked["message"],
    )
    assert match is not None
    assert (match[1], match[3]) == (asked["nonce"], asked["expires_at"])
    assert match[2] < match[3]
    assert asked["wallet_address"] == ALICE.address.lower()


def test_a_bitcoin_wallets_message_says_the_same(api: Api) -> None:
    signer = BitcoinSigner("p2tr")

    message = challenge(api, signer.address)["message"]

    assert message.startswith(f"api.example.org wants you to sign in with your Bitcoin account:\n{signer.address}\n\n")
    lines = {line.partition(": ")[0] for line in message.splitlines()}
    assert {"URI", "Network", "Nonce", "Issued At", "Expiration Time"} <= lines


def test_the_domain_is_the_operators_whatever_the_host_header_says(api: Api) -> None:
    answer = api.post(
        CHALLENGE,
        {"wallet_address": ALICE.address},
        headers={"host": "evil.example", "x-forwarded-host": "evil.example", "origin": "https://evil.example"},
    )

    assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"signature": "0x" + "00" * 65}, 401, "BAD_SIGNATURE"),
        ({"signature": ""}, 401, "BAD_SIGNATURE"),
        ({"signature": "0x" + "11" * 10_000}, 401, "BAD_SIGNATURE"),
        ({"signature": None}, 401, "SIGNATURE_REQUIRED"),
        ({"nonce": None}, 401, "SIGNATURE_REQUIRED"),
        ({"nonce": "0" * 32}, 401, "CHALLENGE_EXPIRED"),
        ({"nonce": ""}, 401, "CHALLENGE_EXPIRED"),
        ({"wallet_address": BOB.address}, 401, "BAD_SIGNATURE"),
        ({"wallet_address": "0x1"}, 422, "INVALID_WALLET_ADDRESS"),
        ({"wallet_address": 1}, 422, "VALIDATION_ERROR"),
        ({"signature": 1}, 422, "VALIDATION_ERROR"),
    ],
)
def test_what_is_wrong_with_a_login_is_told(api: Api, changes: dict[str, Any], status: int, code: str) -> None:
    answer = try_login(api, ALICE, **changes)

    assert (answer.status, answer.error) == (status, code)
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert count("users") == count("sessions") == 0


def test_without_a_signature_there_is_a_challenge_to_sign(api: Api) -> None:
    answer = api.post(LOGIN, {"wallet_address": ALICE.address})

    asked = answer.json["error"]["details"]
    assert (answer.status, answer.error) == (401, "SIGNATURE_REQUIRED")
    assert set(asked) == {"wallet_address", "message", "nonce", "expires_at"}
    body = {"wallet_address": ALICE.address, "nonce": asked["nonce"], "signature": ALICE.sign(asked["message"])}
    assert api.post(LOGIN, body).status == 200


def signed(api: Api, signer: EthereumSigner = ALICE) -> dict[str, Any]:
    asked = challenge(api, signer.address)
    return {"wallet_address": signer.address, "nonce": asked["nonce"], "signature": signer.sign(asked["message"])}


def test_a_nonce_is_good_for_one_login(api: Api) -> None:
    body = signed(api)
    assert api.post(LOGIN, body).status == 200

    answer = api.post(LOGIN, body)

    assert (answer.status, answer.error) == (401, "CHALLENGE_EXPIRED")
    assert count("sessions") == 1


def test_a_wrong_signature_does_not_use_the_nonce_up(api: Api) -> None:
    body = signed(api)

    tried = [api.post(LOGIN, body | {"signature": BOB.sign("x")}) for _ in range(3)]

    assert {answer.error for answer in tried} == {"BAD_SIGNATURE"}
    assert api.post(LOGIN, body).status == 200


def test_a_nonce_lives_five_minutes(api: Api) -> None:
    fresh, old = signed(api), signed(api)
    let_pass(298)
    assert api.post(LOGIN, fresh).status == 200
    let_pass(3)

    answer = api.post(LOGIN, old)

    assert (answer.status, answer.error) == (401, "CHALLENGE_EXPIRED")


def test_a_signature_of_another_services_message_is_refused(api: Api) -> None:
    asked = challenge(api, ALICE.address)
    message = asked["message"].replace("api.example.org", "other.example.org")

    answer = api.post(
        LOGIN, {"wallet_address": ALICE.address, "nonce": asked["nonce"], "signature": ALICE.sign(message)}
    )

    assert (answer.status, answer.error) == (401, "BAD_SIGNATURE")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Chain ID: 1", "Chain ID: 137"),
        ("Version: 1", "Version: 2"),
        ("your Ethereum", "your ethereum"),
        ("Expiration Time: 20", "Expiration Time: 30"),
        ("Log in", "Log  in"),
        ("\n", "\r\n"),
    ],
)
def test_a_message_of_another_chain_or_time_is_refused_also_if_the_caller_sends_it(
    api: Api, old: str, new: str
) -> None:
    asked = challenge(api, ALICE.address)
    message = asked["message"].replace(old, new)
    assert message != asked["message"]

    answer = api.post(
        LOGIN,
        {
            "wallet_address": ALICE.address,
            "nonce": asked["nonce"],
            "signature": ALICE.sign(message),
            "message": message,
        },
    )

    assert (answer.status, answer.error) == (401, "BAD_SIGNATURE")


def test_the_challenge_of_another_wallet_is_refused(api: Api) -> None:
    asked = challenge(api, BOB.address)

    answer = api.post(
        LOGIN, {"wallet_address": ALICE.address, "nonce": asked["nonce"], "signature": ALICE.sign(asked["message"])}
    )

    assert (answer.status, answer.error) == (401, "BAD_SIGNATURE")
    assert count("users") == 0


@pytest.mark.parametrize("network", NETWORKS)
def test_bitcoin_addresses_must_be_of_the_operators_network(
    api: Api, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    monkeypatch.setenv("BITCOIN_NETWORK", network)
    forget_process_state()

    answers = {of: api.post(CHALLENGE, {"wallet_address": BitcoinSigner("p2wpkh", of).address}) for of in NETWORKS}

    same = {"testnet", "signet"} if network in {"testnet", "signet"} else {network}
    assert {of for of, answer in answers.items() if answer.status == 201} == same
    assert {answer.error for answer in answers.values() if answer.status != 201} == {"INVALID_WALLET_ADDRESS"}


def test_without_a_public_url_nobody_can_log_in(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_URL", "")
    forget_process_state()

    answers = [api.post(path, {"wallet_address": ALICE.address}) for path in (CHALLENGE, LOGIN)]

    assert {(answer.status, answer.error) for answer in answers} == {(503, "LOGIN_DISABLED")}


def test_of_many_logins_with_one_nonce_at_once_one_opens_a_session(api: Api) -> None:
    bodies = [signed(api, EthereumSigner(bytes([number + 1]) * 32)) for number in range(8)]

    answers = together(*[(log_in_with_each, (bodies,))] * 4)

    for of_body in zip(*answers, strict=True):
        assert sorted(of_body) == [(200, ""), *[(401, "CHALLENGE_EXPIRED")] * 3]
    assert count("sessions") == count("users") == len(bodies)
    assert count("challenges") == 0


def log_in_with_each(meet: Callable[[], object], bodies: list[dict[str, Any]]) -> list[tuple[int, str]]:
    import users.app

    api = Api(handlers={"users": users.app.handler})
    answers = []
    for body in bodies:
        meet()
        answer = api.post(LOGIN, body)
        answers.append((answer.status, answer.error if answer.status >= 400 else ""))
    return answers


def test_challenges_and_logins_are_limited_by_address(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMIT_USER", "3")
    forget_process_state()

    statuses = [api.post(CHALLENGE, {"wallet_address": f"0x{number:040x}"}).status for number in range(5)]

    assert statuses == [201] * 3 + [429] * 2
    assert api.post(LOGIN, {"wallet_address": ALICE.address}).status == 429
    assert api.from_("203.0.113.9").post(CHALLENGE, {"wallet_address": ALICE.address}).status == 201


def test_old_challenges_and_sessions_are_forgotten(api: Api) -> None:
    for _ in range(3):
        logged_in(api)
        challenge(api, ALICE.address)
    let_pass(25 * 3600)

    logged_in(api)

    assert (count("challenges"), count("sessions")) == (0, 1)


def test_no_secret_of_a_login_is_stored_or_logged(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    body = signed(api)
    token = api.post(LOGIN, body).json["session_token"]
    api.in_(token).get(ME)

    from coordinator.core.database import database

    stored = database().read(lambda tx: [str(row) for row in tx.exec_driver_sql("SELECT * FROM sessions")])
    told = "".join(capsys.readouterr()) + "".join(stored)
    assert token not in told
    assert body["signature"] not in told


@pytest.mark.parametrize("module", sorted({handler.rpartition(".")[0] for handler in HANDLERS} - {"migrate.app"}))
def test_only_the_users_function_loads_the_libraries_of_wallets(api: Api, module: str) -> None:
    libraries = ["bip322", "coincurve", "Crypto"]
    show = f"import sys, {module}; print(*[name for name in {libraries} if name in sys.modules])"
    environment = {"PYTHONPATH": "functions:layers/shared", "DATABASE_URL": "sqlite:///x", "SECRET_KEY": "x1y2z3a4" * 5}

    done = subprocess.run(
        [sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.split() == (libraries if module == "users.app" else [])
