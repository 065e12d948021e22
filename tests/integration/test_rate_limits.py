"""What a caller meets who calls too often, and who is counted as whom."""

import re

import pytest
from sqlalchemy import text

from coordinator.core.database import database
from coordinator.core.ids import new_id
from tests.api import BOTH, CLIENT, MINER, OTHER_CLIENT, SECRET_KEY, Answer, Api, forget_process_state, let_pass
from tests.databases import PostgresCluster

JOBS = "/v1/client/jobs"
JWKS = "/.well-known/jwks.json"
HEADERS = {"ratelimit", "ratelimit-policy", "retry-after"}


@pytest.fixture
def limited(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    for group, limit in {"CLIENT": 3, "MINER": 5, "USER": 2}.items():
        monkeypatch.setenv(f"RATE_LIMIT_{group}", str(limit))
    forget_process_state()
    return api


def statuses(api: Api, path: str, calls: int) -> list[int]:
    return [api.get(path).status for _ in range(calls)]


def told(answer: Answer) -> tuple[int, int]:
    """What is left, and for how many seconds."""
    match = re.fullmatch(r'"[a-z]+";r=([0-9]+);t=([0-9]+)', answer.headers["ratelimit"])
    assert match is not None
    return int(match[1]), int(match[2])


@pytest.mark.parametrize(
    ("key", "path", "limit"), [(CLIENT, JOBS, 3), (MINER, "/v1/miner/me", 5), (BOTH, JOBS, 3), (None, JWKS, 2)]
)
def test_one_call_too_many_is_429_until_the_time_that_it_tells(
    limited: Api, key: str | None, path: str, limit: int
) -> None:
    caller = limited.as_(key)
    assert 429 not in statuses(caller, path, limit)

    answer = caller.get(path)

    assert (answer.status, answer.error) == (429, "RATE_LIMITED")
    retry_after = int(answer.headers["retry-after"])
    assert 58 <= retry_after <= 60
    let_pass(retry_after - 2)
    assert caller.get(path).status == 429
    let_pass(2)
    assert caller.get(path).status != 429


def test_every_answer_tells_the_policy_and_what_is_left(limited: Api) -> None:
    client = limited.as_(CLIENT)

    answers = [
        client.post(JOBS, {"job_type": "llm_inference"}),
        client.post(JOBS, raw="{"),
        client.get(f"{JOBS}/no-such-job"),
        client.get(JOBS),
    ]

    assert [answer.status for answer in answers] == [201, 422, 404, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"client";q=3;w=60'}
    assert [told(answer)[0] for answer in answers] == [2, 1, 0, 0]
    assert all(58 <= told(answer)[1] <= 60 for answer in answers)
    assert int(answers[3].headers["retry-after"]) == told(answers[3])[1]


def test_a_refused_call_does_nothing(limited: Api) -> None:
    client = limited.as_(CLIENT)
    statuses(client, JOBS, 3)

    client.post(JOBS, {"job_type": "llm_inference"})

    let_pass(61)
    assert client.get(JOBS).json["items"] == []


def test_each_key_has_calls_of_its_own_in_each_group(limited: Api) -> None:
    statuses(limited.as_(BOTH), JOBS, 4)

    assert limited.as_(BOTH).get(JOBS).status == 429
    assert limited.as_(BOTH).get("/v1/miner/me").status == 404
    assert limited.as_(OTHER_CLIENT).get(JOBS).status == 200


def test_all_paths_of_a_group_count_together_under_both_prefixes(limited: Api) -> None:
    client = limited.as_(CLIENT)
    client.get(f"{JOBS}/one")
    client.get(f"/api{JOBS}/two/status")
    client.post(f"{JOBS}/three/cancel")

    assert client.get(JOBS).status == 429


@pytest.mark.parametrize("wrong", [lambda number: None, lambda number: f"guess-{number}", lambda number: MINER])
def test_whoever_tries_keys_is_refused_by_address(limited: Api, wrong: object) -> None:
    assert callable(wrong)
    tried = [limited.as_(wrong(number)).get(JOBS) for number in range(5)]

    assert {answer.status for answer in tried[:3]} <= {401, 403}
    assert [answer.status for answer in tried[3:]] == [429, 429]
    assert told(tried[0])[0] == 2
    # A key that is known is not locked out by a neighbour.
    assert limited.as_(CLIENT).get(JOBS).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"x-forwarded-for": "203.0.113.9"}, {"forwarded": "for=203.0.113.9"}, {"x-real-ip": "203.0.113.9"}],
)
def test_no_header_changes_where_a_call_came_from(limited: Api, headers: dict[str, str]) -> None:
    statuses(limited.as_("guess"), JOBS, 3)

    assert limited.as_("guess").get(JOBS, headers=headers).status == 429


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.9", "203.0.113.10", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.10", False),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
        ("no address", "no other", False),
    ],
)
def test_an_ipv6_site_is_one_address(limited: Api, one: str, other: str, same: bool) -> None:
    statuses(limited.from_(one), JWKS, 2)

    assert (limited.from_(other).get(JWKS).status == 429) is same


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/docs", "/openapi.json", "/nowhere"])
def test_health_and_docs_are_not_limited(limited: Api, path: str) -> None:
    answers = [limited.get(path) for _ in range(4)]

    assert 429 not in {answer.status for answer in answers}
    assert not HEADERS & set(answers[-1].headers)


def test_nothing_is_limited_or_told_where_the_limit_is_0(api: Api) -> None:
    answers = [api.as_(CLIENT).get(JOBS) for _ in range(5)] + [api.as_("guess").get(JOBS)]

    assert [answer.status for answer in answers] == [200] * 5 + [401]
    assert not any(HEADERS & set(answer.headers) for answer in answers)


def test_while_nothing_can_be_counted_everybody_is_served(limited: Api, caplog: pytest.LogCaptureFixture) -> None:
    from coordinator.core.rates import SqliteRates, rates

    counters = rates()
    if isinstance(counters, SqliteRates):
        counters._path.mkdir()
    else:
        database().write(lambda tx: tx.execute(text("ALTER TABLE rate_counters RENAME TO away")))

    answers = [limited.as_(CLIENT).get(JOBS) for _ in range(5)]

    assert [answer.status for answer in answers] == [200] * 5
    assert HEADERS & set(answers[0].headers) == {"ratelimit-policy"}
    assert "can't be counted" in caplog.text


def test_a_call_that_is_undone_does_not_end_the_counting(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RATE_LIMIT_CLIENT", "12")
    forget_process_state()
    client = api.as_(CLIENT)
    for _ in range(5):
        client.submit()

    undone = client.post(f"{JOBS}/{new_id()}/cancel")

    assert undone.status == 404
    assert statuses(client, JOBS, 7) == [200] * 6 + [429]
    assert "can't be counted" not in caplog.text


@pytest.mark.parametrize("value", ["-1", "many", "1000001", "1.5"])
def test_a_limit_that_is_none_refuses_to_start(value: str) -> None:
    from coordinator.core.config import read_settings
    from coordinator.core.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="RATE_LIMIT_MINER must be a whole number from 0 to 1000000"):
        read_settings({"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY, "RATE_LIMIT_MINER": value})


@pytest.mark.usefixtures("event_loop")
def test_a_restart_of_the_database_costs_no_request(postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.new_database())
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("CLIENT_API_KEYS", CLIENT)
    forget_process_state()
    import client.app

    caller = Api(key=CLIENT, handlers={"client": client.app.handler})
    caller.get(JOBS)

    postgres.restart("fast")

    answers = [caller.get(JOBS) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert "ratelimit" in answers[2].headers
    forget_process_state()
