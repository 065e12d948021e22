"""Keys and secrets are replaced without anybody losing what they own."""

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.core.config import ConfiguredKey, read_settings
from coordinator.core.errors import ConfigurationError
from tests.api import CLIENT, MINER, OTHER_CLIENT, SECRET_KEY, Api, forget_process_state

SECOND_SECRET = "the-second-secret-9876543210-zyxwvutsrq"
THIRD_SECRET = "the-third-secret-5432109876-mnopqrstuvw"

Configure = Callable[..., None]


@pytest.fixture
def configure(api: Api, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Deploys with other variables: every process begins anew."""

    def deploy(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        forget_process_state()

    return deploy


def jobs(client: Api) -> list[Any]:
    return [job["id"] for job in client.get("/v1/client/jobs").json["items"]]


def test_two_keys_of_a_name_are_one_principal(api: Api, configure: Configure) -> None:
    configure(CLIENT_API_KEYS="acme=key-one,acme=key-two,other=key-three,key-four")
    job = api.as_("key-one").submit()

    assert jobs(api.as_("key-two")) == [job["id"]]
    assert jobs(api.as_("key-three")) == jobs(api.as_("key-four")) == []


def test_a_key_is_replaced_without_downtime_and_without_losing_jobs(api: Api, configure: Configure) -> None:
    job = api.as_(CLIENT).submit()
    configure(CLIENT_API_KEYS=f"acme={CLIENT},acme=the-new-one")

    with_both = [jobs(api.as_(key)) for key in ("the-new-one", CLIENT)]
    configure(CLIENT_API_KEYS="acme=the-new-one")

    assert with_both == [[job["id"]]] * 2
    assert jobs(api.as_("the-new-one")) == [job["id"]]
    assert api.as_(CLIENT).get("/v1/client/jobs").status == 401


def test_a_name_owns_miners_under_each_of_its_keys(api: Api, configure: Configure) -> None:
    miner = api.as_(MINER).register()
    configure(MINER_API_KEYS=f"farm={MINER},farm=the-new-one")

    assert api.as_("the-new-one").get("/v1/miner/me").json["id"] == miner["id"]


def test_a_name_that_is_taken_away_again_loses_nothing(api: Api, configure: Configure) -> None:
    job = api.as_(CLIENT).submit()
    configure(CLIENT_API_KEYS=f"acme={CLIENT}")
    jobs(api.as_(CLIENT))
    configure(CLIENT_API_KEYS=CLIENT)

    assert jobs(api.as_(CLIENT)) == [job["id"]]


def test_a_name_is_no_key(api: Api, configure: Configure) -> None:
    configure(CLIENT_API_KEYS="acme=key-one")

    assert [api.as_(key).get("/v1/client/jobs").status for key in ("acme", "acme=key-one", "key-one")] == [
        401,
        401,
        200,
    ]


@pytest.mark.parametrize(
    ("item", "name", "key"),
    [
        ("key", None, "key"),
        ("acme=key", "acme", "key"),
        (" acme=key ", "acme", "key"),
        ("acme=a2V5==", "acme", "a2V5=="),
        ("a2V5==", None, "a2V5=="),
        ("a2V5=", None, "a2V5="),
        ("=key", None, "=key"),
    ],
)
def test_the_padding_of_base64_makes_no_name(item: str, name: str | None, key: str) -> None:
    settings = read_settings({"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY, "ADMIN_API_KEYS": item})

    assert settings.api_keys.admin == (ConfiguredKey(name, key),)


@pytest.mark.parametrize("keys", ["acme=key-one,other=key-one", "acme=key-one,key-one"])
def test_a_key_with_two_names_refuses_to_start_and_is_not_shown(keys: str) -> None:
    with pytest.raises(ConfigurationError, match="one API key has two names") as refused:
        read_settings({"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY, "API_KEYS": keys})

    assert "key-one" not in str(refused.value)


@pytest.mark.parametrize("keys", [{}, {"CLIENT_API_KEYS": f"acme={CLIENT}", "MINER_API_KEYS": f"farm={MINER}"}])
def test_a_new_secret_keeps_owners_while_the_old_one_is_named(
    api: Api, configure: Configure, keys: dict[str, str]
) -> None:
    configure(**keys)
    job, miner = api.as_(CLIENT).submit(), api.as_(MINER).register()
    configure(SECRET_KEY=SECOND_SECRET, SECRET_KEY_PREVIOUS=SECRET_KEY)

    kept = jobs(api.as_(CLIENT)), api.as_(MINER).register()["id"]
    configure(SECRET_KEY_PREVIOUS="")

    assert kept == ([job["id"]], miner["id"])
    assert (jobs(api.as_(CLIENT)), api.as_(MINER).get("/v1/miner/me").json["id"]) == kept


def test_without_the_old_secret_a_key_is_a_new_owner(api: Api, configure: Configure) -> None:
    api.as_(CLIENT).submit()
    configure(SECRET_KEY=SECOND_SECRET)

    assert jobs(api.as_(CLIENT)) == []


def test_several_old_secrets_may_be_named(api: Api, configure: Configure) -> None:
    job = api.as_(CLIENT).submit()
    other_job = api.as_(OTHER_CLIENT).submit()
    configure(SECRET_KEY=SECOND_SECRET, SECRET_KEY_PREVIOUS=SECRET_KEY)
    jobs(api.as_(CLIENT))
    configure(SECRET_KEY=THIRD_SECRET, SECRET_KEY_PREVIOUS=f"{SECOND_SECRET},{SECRET_KEY}")

    assert jobs(api.as_(CLIENT)) == [job["id"]]
    assert jobs(api.as_(OTHER_CLIENT)) == [other_job["id"]]


def test_processes_that_still_have_the_old_secret_go_on(api: Api, configure: Configure) -> None:
    job = api.as_(CLIENT).submit()
    configure(SECRET_KEY=SECOND_SECRET, SECRET_KEY_PREVIOUS=SECRET_KEY)
    jobs(api.as_(CLIENT))
    configure(SECRET_KEY=SECRET_KEY, SECRET_KEY_PREVIOUS="")

    assert jobs(api.as_(CLIENT)) == [job["id"]]


def test_a_new_secret_and_a_new_name_at_once_lose_nothing(api: Api, configure: Configure) -> None:
    job = api.as_(CLIENT).submit()
    configure(
        CLIENT_API_KEYS=f"acme=the-new-one,acme={CLIENT}", SECRET_KEY=SECOND_SECRET, SECRET_KEY_PREVIOUS=SECRET_KEY
    )

    assert jobs(api.as_("the-new-one")) == [job["id"]]


def test_receipts_and_their_keys_survive_a_new_secret(api: Api, client: Api, miner: Api, configure: Configure) -> None:
    client.submit()
    miner.register()
    receipt = miner.answer(miner.poll()[0]).json["receipt"]
    [old_key] = api.get("/.well-known/jwks.json").json["keys"]
    configure(SECRET_KEY=SECOND_SECRET, SECRET_KEY_PREVIOUS=SECRET_KEY)

    published = api.get("/.well-known/jwks.json").json["keys"]

    assert old_key in published
    assert len(published) == 2
    [kept] = client.get(f"/v1/client/jobs/{receipt['job_id']}/receipts").json["items"]
    assert kept["proof"] == receipt["proof"]
