"""Sessions: who is logged in, for how long, and how that ends."""

import pytest
from fastapi import APIRouter

from coordinator.http.app import create_app, lambda_handler
from coordinator.http.route import Caller, route_for_user_or_admin
from tests.api import ADMIN, CLIENT, SECRET_KEY, Api, forget_process_state, let_pass
from tests.integration.keyed import count
from tests.integration.logins import ALICE, BOB, KEYS, LOGOUT, ME, logged_in, new_key
from tests.integration.test_keys import SECOND_SECRET

HOUR_SECONDS = 3600


@pytest.mark.parametrize("token", [None, "", "x", "0" * 43, "ü" * 43, "0" * 100_000])
def test_without_a_session_nothing_is_told(api: Api, token: str | None) -> None:
    answer = api.in_(token).get(ME)

    assert (answer.status, answer.error) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == "SessionToken"


def test_no_api_key_is_a_session(api: Api) -> None:
    user = logged_in(api)
    key = new_key(user)["api_key"]

    answers = [api.as_(other).in_(token).get(ME) for other in (key, CLIENT, ADMIN) for token in (None, other)]

    assert {answer.status for answer in answers} == {401}


def test_a_session_is_no_api_key(api: Api) -> None:
    token = logged_in(api).session

    assert api.as_(token).get("/v1/client/jobs").status == 401


def test_a_session_lives_a_day(api: Api) -> None:
    user = logged_in(api)
    let_pass(24 * HOUR_SECONDS - 5)
    assert user.get(ME).status == 200
    let_pass(6)

    assert user.get(ME).status == 401


def test_logging_out_ends_this_session_and_no_other(api: Api) -> None:
    here, there, other = logged_in(api), logged_in(api), logged_in(api, BOB)

    answer = here.post(LOGOUT)

    assert (answer.status, answer.text) == (204, "")
    assert [user.get(ME).status for user in (here, there, other)] == [401, 200, 200]
    assert here.post(LOGOUT).status == 401


def test_a_user_may_end_all_sessions(api: Api) -> None:
    here, there, other = logged_in(api), logged_in(api), logged_in(api, BOB)

    assert here.post(f"{LOGOUT}?all=true").status == 204

    assert [user.get(ME).status for user in (here, there, other)] == [401, 401, 200]


def test_a_session_survives_restarts(api: Api) -> None:
    user = logged_in(api)
    forget_process_state()

    assert user.get(ME).status == 200


def test_a_new_secret_keeps_sessions_while_the_old_one_is_named(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    user = logged_in(api)
    monkeypatch.setenv("SECRET_KEY", SECOND_SECRET)
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", SECRET_KEY)
    forget_process_state()
    kept = user.get(ME).status
    ended = logged_in(api)
    ended.post(LOGOUT)
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", "")
    forget_process_state()

    assert (kept, ended.get(ME).status, user.get(ME).status) == (200, 401, 401)


def test_a_session_of_an_old_secret_can_be_ended(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    user = logged_in(api)
    monkeypatch.setenv("SECRET_KEY", SECOND_SECRET)
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", SECRET_KEY)
    forget_process_state()

    assert user.post(LOGOUT).status == 204
    assert (user.get(ME).status, count("sessions")) == (401, 0)


def test_calls_are_limited_by_user_and_refused_ones_by_address(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there, other = (
        logged_in(api.from_(f"203.0.113.{n}"), signer) for n, signer in enumerate((ALICE, ALICE, BOB))
    )
    monkeypatch.setenv("RATE_LIMIT_USER", "3")
    forget_process_state()

    statuses = [user.get(path).status for user, path in ((here, ME), (there, KEYS), (here, ME), (there, ME))]

    assert statuses == [200, 200, 200, 429]
    assert other.get(ME).status == 200
    tried = [api.from_("203.0.113.9").in_(f"{number:043}").get(ME).status for number in range(4)]
    assert tried == [401, 401, 401, 429]


def test_an_account_is_for_its_user_and_for_operators(api: Api) -> None:
    alice, bob = logged_in(api), logged_in(api, BOB)
    alice_id = alice.get(ME).json["id"]
    key = new_key(alice)["api_key"]
    router = APIRouter(prefix="/v1/users", route_class=route_for_user_or_admin())

    @router.get("/{user_id}/account")
    async def get_account(user_id: str, caller: Caller) -> dict[str, str | None]:
        return {"of": user_id, "by": caller.user_id}

    account = lambda_handler(create_app(router))
    callers = {
        "owner": alice,
        "other user": bob,
        "admin": api.as_(ADMIN),
        "owner with an admin key": alice.as_(ADMIN),
        "other user with an admin key": bob.as_(ADMIN),
        "own api key": api.as_(key),
        "client": api.as_(CLIENT),
        "ended session with an admin key": api.as_(ADMIN).in_("0" * 43),
        "nobody": api,
    }

    answers = {
        name: Api(**{**vars(caller), "handlers": {"users": account}}).get(f"/v1/users/{alice_id}/account")
        for name, caller in callers.items()
    }

    assert {name: answer.status for name, answer in answers.items()} == {
        "owner": 200,
        "other user": 403,
        "admin": 200,
        "owner with an admin key": 200,
        "other user with an admin key": 403,
        "own api key": 403,
        "client": 403,
        "ended session with an admin key": 401,
        "nobody": 401,
    }
    assert answers["owner"].json == {"of": alice_id, "by": alice_id}
    assert answers["admin"].json == {"of": alice_id, "by": None}
