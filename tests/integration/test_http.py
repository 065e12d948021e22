"""What holds for every route: authentication, error bodies, request ids, hostile bodies."""

import json

import pytest
from sqlalchemy import event, text

from coordinator.core.database import database
from tests.api import ADMIN, CLIENT, MINER, Api

JOBS = "/v1/client/jobs"


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        (None, 401, "UNAUTHORIZED"),
        ("", 401, "UNAUTHORIZED"),
        ("nobody", 401, "UNAUTHORIZED"),
        (CLIENT + " ", 401, "UNAUTHORIZED"),
        ("ключ", 401, "UNAUTHORIZED"),
        (MINER, 403, "FORBIDDEN"),
        (ADMIN, 403, "FORBIDDEN"),
    ],
)
def test_a_key_must_be_known_and_have_the_role(api: Api, key: str | None, status: int, code: str) -> None:
    # Even a body that is no JSON tells a stranger nothing.
    answer = api.as_(key).post(JOBS, raw="{")

    assert (answer.status, answer.error) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/v1", 404, "NOT_FOUND"),
        ("GET", "/api", 404, "NOT_FOUND"),
        ("GET", "/apix/health", 404, "NOT_FOUND"),
        ("GET", "/v1/client/nothing", 404, "NOT_FOUND"),
        ("GET", "/health/", 404, "NOT_FOUND"),
        ("DELETE", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("PUT", JOBS, 405, "METHOD_NOT_ALLOWED"),
        ("BREW", "/health", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_unknown_paths_and_methods_have_the_contracts_error(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = api.as_(CLIENT).call(method, path)

    assert (answer.status, answer.error) == (status, code)
    assert answer.json["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "gateway-id"


@pytest.mark.parametrize("path", ["", "/api"])
def test_a_405_names_all_methods_of_the_path(api: Api, path: str) -> None:
    assert api.as_(CLIENT).call("PUT", path + JOBS).headers["allow"] == "GET, HEAD, POST"
    assert api.call("DELETE", f"{path}/health").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("", "missing"),
        ("{", "json_invalid"),
        ("[1,]", "json_invalid"),
        ('{"job_type": NaN}', "json_invalid"),
        ('{"job_type": "custom", "parameters": {"a": Infinity}}', "json_invalid"),
        ('{"job_type": "custom", "parameters": {"a": "\\ud800"}}', "json_invalid"),
        ('{"job_type": "custom", "parameters": {"a": 1e400}}', "number_out_of_range"),
        ('{"job_type": "custom", "parameters": {"a": 3.704574091235778e16}}', "number_out_of_range"),
        ('{"job_type": "custom", "parameters": {"a": "\\u0000"}}', "nul_in_string"),
        ('{"job_type": "custom", "parameters": {"\\u0000": 1}}', "nul_in_string"),
        ('{"job_type": "custom", "parameters": ' + '{"a":' * 64 + "1" + "}" * 65, "json_too_deep"),
        ("[" * 100_000, "json_invalid"),
        ('{"job_type": "custom", "parameters": {"a": 9007199254740993}}', "not_canonical_json"),
        ('{"job_type": "custom", "parameters": {"a": ' + "9" * 5000 + "}}", "json_invalid"),
        ('{"job_type": 5}', "string_type"),
        ('{"job_type": "custom", "priority": "5"}', "int_type"),
        ('{"job_type": "custom", "priority": 10}', "less_than_equal"),
        ('{"job_type": "custom", "priority": 5.5}', "int_type"),
        ('{"job_type": "custom", "job_type": "custom"}', "json_name_twice"),
        ('{"job_type": "custom", "parameters": {"a": [{"b": 1, "\\u0062": 1}]}}', "json_name_twice"),
        ('{"job_type": "custom", "parameters": []}', "dict_type"),
        ("[]", "model_attributes_type"),
    ],
)
def test_a_bad_body_is_422_names_the_fault_and_creates_nothing(api: Api, raw: str, kind: str) -> None:
    client = api.as_(CLIENT)

    answer = client.post(JOBS, raw=raw)

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")
    error = answer.json["error"]["details"]["errors"][0]
    assert error["type"] == kind
    assert set(error) == {"loc", "msg", "type"}
    assert client.get(JOBS).json["items"] == []


def test_64_levels_are_not_too_deep(api: Api) -> None:
    nested: object = 1
    for _ in range(62):
        nested = [nested]

    assert api.as_(CLIENT).post(JOBS, {"job_type": "custom", "parameters": {"a": nested}}).status == 201


def test_a_whole_number_may_be_written_with_a_zero_fraction(api: Api) -> None:
    """So JSON Schema has it, and canonical JSON writes both the same."""
    job = api.as_(CLIENT).post(JOBS, {"job_type": "custom", "priority": 7.0, "parameters": {"n": 7.0}}).json

    assert (job["priority"], job["parameters"]) == (7, {"n": 7})


@pytest.mark.parametrize("number", [9007199254740991.0, 1e21, -1.5e300, 5e-324, 0.1])
def test_numbers_that_are_taken_come_back_and_can_be_a_result(api: Api, number: float) -> None:
    api.as_(CLIENT).submit(parameters={"n": number})
    miner = api.as_(MINER)
    miner.register()
    (assignment,) = miner.poll()

    assert assignment["parameters"] == {"n": number}
    assert miner.answer(assignment, result=assignment["parameters"]).status == 201


def test_a_colon_in_a_string_is_no_name(api: Api) -> None:
    raw = r'{"job_type": "custom", "parameters": {"a:\\": "b: \"c\": d", "e": {}, "": ":"}}'

    assert api.as_(CLIENT).post(JOBS, raw=raw).status == 201


def test_a_body_over_1_mib_is_413(api: Api) -> None:
    client = api.as_(CLIENT)
    body = {"job_type": "custom", "parameters": {"a": ""}}
    body["parameters"]["a"] = "x" * (1024 * 1024 - len(json.dumps(body)))  # type: ignore[index]

    assert client.post(JOBS, body).status == 201
    answer = client.post(JOBS, raw=json.dumps(body) + " ")
    assert (answer.status, answer.error) == (413, "PAYLOAD_TOO_LARGE")


def test_a_form_is_415(api: Api) -> None:
    answer = api.as_(CLIENT).post(JOBS, raw="{}", headers={"content-type": "application/x-www-form-urlencoded"})

    assert (answer.status, answer.error) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("path", ["/health?x=%00", "/v1/client/jobs/%00"])
def test_nul_in_path_or_query_is_422(api: Api, path: str) -> None:
    assert api.as_(CLIENT).get(path).error == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [("my id-1", "my id-1"), ("x" * 128, "x" * 128), ("x" * 129, "gateway-id"), ("ü", "gateway-id")],
)
def test_the_callers_request_id_is_echoed_if_it_is_fit_to_be(api: Api, sent: str, expected: str) -> None:
    assert api.get("/health", headers={"x-request-id": sent}).headers["x-request-id"] == expected


@pytest.mark.parametrize("host", ["[::1]:8000", "a:b", "a:b:c", "", "x:99999999999"])
def test_no_host_header_breaks_a_request(api: Api, host: str) -> None:
    assert api.get("/health", headers={"host": host}).status == 200


def test_head_is_get_without_a_body(api: Api) -> None:
    answer = api.call("HEAD", "/health")

    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["content-length"] == api.get("/health").headers["content-length"]


def test_a_failing_commit_is_a_500_that_says_nothing_and_leaves_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    client = api.as_(CLIENT)
    client.get(JOBS)

    def fail(_connection: object) -> None:
        raise OSError("disk on fire")

    event.listen(database().engine, "commit", fail)
    answer = client.post(JOBS, {"job_type": "custom"}, headers={"x-request-id": "find-me"})
    event.remove(database().engine, "commit", fail)

    assert (answer.status, answer.error) == (500, "INTERNAL_ERROR")
    assert "fire" not in answer.text
    [logged] = [record.__dict__ for record in caplog.records if record.levelname == "ERROR"]
    assert logged["request_id"] == "find-me"
    assert "OSError: disk on fire" in logged["exception"]
    assert client.get(JOBS).json["items"] == []


def test_ready_only_with_a_migrated_database(api: Api) -> None:
    assert api.get("/health/ready").status == 200
    database().write(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '0000'")))

    answer = api.get("/health/ready")

    assert (answer.status, answer.error) == (503, "NOT_READY")
    database().write(lambda tx: tx.execute(text("DROP TABLE alembic_version")))
    assert api.get("/health/ready").status == 503
    assert api.get("/health").status == 200


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_document_and_its_pages_are_served_from_here(api: Api, prefix: str) -> None:
    document = api.get(f"{prefix}/openapi.json").json
    pages = {path: api.get(f"{prefix}{path}") for path in ("/docs", "/redoc")}

    assert document["servers"] == [{"url": prefix or "/"}]
    for page in pages.values():
        assert page.status == 200
        assert "http://" not in page.text.replace("http://www.w3.org", "")
        assert "https://" not in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png"):
        assert any(f"docs/assets/{asset}" in page.text for page in pages.values())
        assert api.get(f"{prefix}/docs/assets/{asset}").status == 200
    assert api.get(f"{prefix}/docs/assets/..%2Fopenapi.py").status == 404


def test_the_committed_document_is_the_present_one(api: Api) -> None:
    from public.document import DOCUMENT, document_text

    assert DOCUMENT.read_text() == document_text(), "run `make openapi`"


def test_every_operation_of_a_role_asks_for_its_key(api: Api) -> None:
    paths = api.get("/openapi.json").json["paths"]

    for path, operations in paths.items():
        for operation in operations.values():
            asks = operation["security"] == [{"ApiKey": []}]
            assert asks is path.startswith(("/v1/client", "/v1/miner", "/v1/admin"))
            assert "default" in operation["responses"]
