"""API keys of users: what they may do, whose it is, and how they end."""

import re
from typing import Any

import pytest
from sqlalchemy import event, text

from tests.api import ADMIN, CLIENT, SECRET_KEY, Answer, Api, forget_process_state, let_pass
from tests.integration.keyed import count, is_replay
from tests.integration.logins import ALICE, BOB, KEYS, ME, logged_in, new_key
from tests.integration.test_keys import SECOND_SECRET

JOBS = "/v1/client/jobs"


@pytest.fixture
def user(api: Api) -> Api:
    return logged_in(api)


def listed(user: Api) -> list[dict[str, Any]]:
    return list(user.get(KEYS).json["items"])


def statements(call: Any) -> list[str]:
    from coordinator.core.database import database

    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database().engine, "before_cursor_execute", note)
    call()
    event.remove(database().engine, "before_cursor_execute", note)
    return [statement for statement in seen if "BEGIN" not in statement]


def test_a_key_is_shown_once(user: Api) -> None:
    made = new_key(user, "client", "my notebook")

    assert re.fullmatch(r"aitbc_[A-Za-z0-9_-]{43}", made["api_key"])
    shown = {name: value for name, value in made.items() if name != "api_key"}
    assert listed(user) == [shown]
    assert (shown["role"], shown["name"], shown["last_used_at"]) == ("client", "my notebook", None)


def test_a_key_is_not_stored(user: Api) -> None:
    from coordinator.core.database import database

    key = new_key(user)["api_key"]

    tables = ("user_keys", "api_keys", "idempotency_keys")
    rows = database().read(lambda tx: [str(row) for t in tables for row in tx.execute(text(f"SELECT * FROM {t}"))])
    assert rows
    assert not any(key in row for row in rows)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"role": "client"},
        {"name": "x"},
        {"role": "admin", "name": "x"},
        {"role": "CLIENT", "name": "x"},
        {"role": "client", "name": ""},
        {"role": "client", "name": "x" * 101},
        {"role": "client", "name": 1},
    ],
)
def test_a_key_has_a_role_of_users_and_a_name(user: Api, body: dict[str, Any]) -> None:
    assert user.post(KEYS, body).status == 422
    assert count("user_keys") == 0


def test_a_users_keys_see_the_same_jobs_and_no_others(api: Api, user: Api) -> None:
    one, two = (api.as_(new_key(user)["api_key"]) for _ in range(2))
    stranger = api.as_(new_key(logged_in(api, BOB))["api_key"])
    job = one.submit()

    assert job["client_id"] == user.get(ME).json["id"]
    assert two.job(job["id"])["id"] == job["id"]
    assert [other.get(f"{JOBS}/{job['id']}").status for other in (stranger, api.as_(CLIENT))] == [404, 404]
    assert [item["client_id"] for item in api.as_(ADMIN).get("/v1/admin/jobs").json["items"]] == [job["client_id"]]


def test_a_users_keys_run_the_same_miners(api: Api, user: Api) -> None:
    one, two = (api.as_(new_key(user, "miner")["api_key"]) for _ in range(2))
    miner = one.register()

    assert two.get("/v1/miner/me").json["id"] == miner["id"]
    assert two.register()["id"] == miner["id"]
    assert api.as_(new_key(logged_in(api, BOB), "miner")["api_key"]).get("/v1/miner/me").status == 404


def test_a_key_has_its_role_and_no_other(api: Api, user: Api) -> None:
    client, miner = (api.as_(new_key(user, role)["api_key"]) for role in ("client", "miner"))

    paths = (JOBS, "/v1/miner/earnings", "/v1/admin/stats", "/v1/users/me")

    assert [client.get(path).status for path in paths] == [200, 403, 403, 401]
    assert [miner.get(path).status for path in paths] == [403, 404, 403, 401]


def test_a_revoked_key_is_dead_and_what_it_did_stays_the_users(api: Api, user: Api) -> None:
    made, other = new_key(user), new_key(user)
    client = api.as_(made["api_key"])
    job = client.submit()

    answer = user.delete(f"{KEYS}/{made['id']}")

    assert (answer.status, answer.text) == (204, "")
    assert (client.get(JOBS).status, client.get(JOBS).error) == (401, "UNAUTHORIZED")
    assert [key["id"] for key in listed(user)] == [other["id"]]
    assert api.as_(other["api_key"]).job(job["id"])["id"] == job["id"]
    assert user.delete(f"{KEYS}/{made['id']}").status == 204


def test_revoking_takes_no_notice_of_what_other_processes_remember(api: Api, user: Api) -> None:
    """A process that has just served the key looks again: it remembers nothing of it."""
    made = new_key(user)
    client = api.as_(made["api_key"])
    assert client.get(JOBS).status == 200
    from coordinator.core.database import database

    # As another process does it.
    database().write(lambda tx: tx.execute(text("UPDATE user_keys SET revoked_us = 1")))

    assert client.get(JOBS).status == 401


def test_nobody_revokes_another_users_key(api: Api, user: Api) -> None:
    made = new_key(user)
    bob = logged_in(api, BOB)

    answers = [
        bob.delete(f"{KEYS}/{key_id}") for key_id in (made["id"], "no-id", "0199a3c4-5a1e-7c3b-8f52-3d9b7a1c2e4f")
    ]

    assert {(answer.status, answer.error) for answer in answers} == {(404, "API_KEY_NOT_FOUND")}
    assert listed(bob) == []
    assert api.as_(made["api_key"]).get(JOBS).status == 200


def test_keys_are_listed_in_pages_newest_first(user: Api) -> None:
    ids = [new_key(user)["id"] for _ in range(3)]

    first = user.get(f"{KEYS}?limit=2").json
    second = user.get(f"{KEYS}?limit=2&cursor={first['next_cursor']}").json

    assert [key["id"] for key in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None


def test_when_a_key_was_used_is_noted_once_a_minute(api: Api, user: Api) -> None:
    client = api.as_(new_key(user)["api_key"])
    client.get(JOBS)
    [used] = listed(user)

    again = statements(lambda: client.get(JOBS))
    let_pass(61)
    later = statements(lambda: client.get(JOBS))

    assert used["last_used_at"] > used["created_at"]
    assert [len([one for one in seen if "UPDATE user_keys" in one]) for seen in (again, later)] == [0, 1]


def test_a_users_key_costs_one_read_and_an_operators_none(api: Api, user: Api) -> None:
    client = api.as_(new_key(user)["api_key"])
    for caller in (client, api.as_(CLIENT)):
        caller.get(JOBS)

    by_user, by_operators, by_nobody = (
        [one for one in statements(lambda c=caller: c.get(JOBS)) if "_keys" in one]
        for caller in (client, api.as_(CLIENT), api.as_("a guess"))
    )

    assert (len(by_user), len(by_operators), len(by_nobody)) == (1, 0, 0)


def test_a_new_secret_keeps_keys_while_the_old_one_is_named(
    api: Api, user: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = api.as_(new_key(user)["api_key"])
    job = client.submit()
    monkeypatch.setenv("SECRET_KEY", SECOND_SECRET)
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", SECRET_KEY)
    forget_process_state()
    kept = client.job(job["id"])["id"]
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", "")
    forget_process_state()

    assert (kept, client.get(JOBS).status) == (job["id"], 401)


def make_once(user: Api, name: str = "x") -> Answer:
    return user.post(KEYS, {"role": "client", "name": name}, headers={"idempotency-key": "k"})


def test_a_repeated_request_gets_the_same_key_which_is_not_stored_in_the_clear(api: Api, user: Api) -> None:
    first, again = make_once(user), make_once(user)

    assert (first.status, again.status, again.text) == (201, 201, first.text)
    assert (is_replay(first), is_replay(again)) == (False, True)
    assert api.as_(again.json["api_key"]).get(JOBS).status == 200
    assert count("user_keys") == 1
    from coordinator.core.database import database

    [stored] = database().read(lambda tx: tx.execute(text("SELECT body FROM idempotency_keys")).all())
    assert first.json["api_key"] not in stored.body
    assert first.json["id"] not in stored.body


def test_the_first_answer_is_given_to_all_sessions_of_the_user_and_to_nobody_else(api: Api, user: Api) -> None:
    first = make_once(user)

    assert make_once(logged_in(api)).text == first.text
    assert make_once(logged_in(api, BOB)).json["api_key"] != first.json["api_key"]
    assert make_once(user, "y").error == "IDEMPOTENCY_KEY_REUSED"


def test_the_first_answer_is_not_good_for_another_user_even_if_it_is_copied(api: Api, user: Api) -> None:
    from coordinator.core.database import database

    make_once(user)
    bob = logged_in(api, BOB)
    make_once(bob)
    copy = "UPDATE idempotency_keys SET body = (SELECT max(body) FROM idempotency_keys)"
    database().write(lambda tx: tx.execute(text(copy)))

    answers = [make_once(caller).status for caller in (user, bob)]

    assert sorted(answers) == [201, 422]


def test_a_new_secret_keeps_first_answers_while_the_old_one_is_named(
    api: Api, user: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_once(user)
    monkeypatch.setenv("SECRET_KEY", SECOND_SECRET)
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", SECRET_KEY)
    forget_process_state()
    kept = make_once(user).text
    later = logged_in(api, ALICE)
    monkeypatch.setenv("SECRET_KEY_PREVIOUS", "")
    forget_process_state()

    gone = make_once(later)

    assert kept == first.text
    assert (gone.status, gone.error) == (422, "IDEMPOTENCY_KEY_REUSED")
