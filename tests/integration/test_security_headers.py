"""What answers tell browsers."""

import pytest

from tests.api import CLIENT, Api

JOBS = "/v1/client/jobs"
NOTHING_MAY_LOAD = "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        (CLIENT, JOBS, 200),
        (CLIENT, f"{JOBS}/nothing", 404),
        (None, JOBS, 401),
        (None, "/nowhere", 404),
        (None, "/health?x=%00", 422),
        (None, "/docs", 200),
    ],
)
def test_every_answer_is_kept_to_its_caller_and_its_type(api: Api, key: str | None, path: str, status: int) -> None:
    answer = api.as_(key).get(path)

    assert answer.status == status
    expected = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }
    assert expected.items() <= answer.headers.items()


def test_an_error_of_ours_has_them_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from coordinator.jobs import service

    monkeypatch.setattr(service, "page", None)

    answer = api.as_(CLIENT).get(JOBS)

    assert (answer.status, answer.headers["content-security-policy"]) == (500, NOTHING_MAY_LOAD)


@pytest.mark.parametrize("path", [JOBS, "/health", "/nowhere", "/openapi.json", "/.well-known/jwks.json"])
def test_an_answer_that_is_no_page_may_load_nothing(api: Api, path: str) -> None:
    assert api.as_(CLIENT).get(path).headers["content-security-policy"] == NOTHING_MAY_LOAD


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_runs_no_script_but_its_own(api: Api, path: str) -> None:
    policy = api.get(path).headers["content-security-policy"]

    [scripts] = [part for part in policy.split("; ") if part.startswith("script-src")]
    assert "'self'" in scripts
    assert "unsafe" not in scripts
    assert ("sha256-" in scripts) is (path == "/docs")


@pytest.mark.parametrize(
    ("path", "cached"),
    [("/.well-known/jwks.json", "public, max-age=300"), ("/docs/assets/favicon.png", "public, max-age=86400")],
)
def test_what_is_public_may_be_kept_as_it_says(api: Api, path: str, cached: str) -> None:
    assert api.get(path).headers["cache-control"] == cached


@pytest.mark.parametrize(("proto", "told"), [("https", "max-age=31536000"), ("http", None)])
def test_only_behind_tls_browsers_are_held_to_it(api: Api, proto: str, told: str | None) -> None:
    answer = api.get("/health", headers={"x-forwarded-proto": proto})

    assert answer.headers.get("strict-transport-security") == told
