"""The OpenAPI document says of each operation what a caller has to know, and what it shows is true to its own types."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from coordinator.http.errors import STATUS_OF

DOC = json.loads((Path(__file__).parents[2] / "functions/public/openapi.json").read_text())
OPERATIONS = {
    operation["operationId"]: operation for operations in DOC["paths"].values() for operation in operations.values()
}

each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found = DOC
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def answers(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {status: resolved(answer) for status, answer in operation["responses"].items()}


def bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All media types of JSON that the operation takes and gives."""
    for part in (operation.get("requestBody", {}), *answers(operation).values()):
        yield from part.get("content", {}).values()


def examples(operation: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    for body in bodies(operation):
        for example in body["examples"].values():
            yield body["schema"], example["value"]


def error_codes(answer: dict[str, Any]) -> set[str]:
    return {example["value"]["error"]["code"] for example in answer["content"]["application/json"]["examples"].values()}


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    whole = {**schema, "components": DOC["components"]}
    checker = Draft202012Validator.FORMAT_CHECKER
    return [error.message for error in Draft202012Validator(whole, format_checker=checker).iter_errors(value)]


def test_the_document_is_valid_openapi() -> None:
    validate(DOC)

    assert DOC["openapi"].startswith("3.1.")


@each_operation
def test_an_operation_has_a_title_a_description_and_a_known_tag(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["description"] != operation["summary"]
    assert set(operation["tags"]) <= {tag["name"] for tag in DOC["tags"]}


@each_operation
def test_an_operation_names_its_key_or_says_that_it_needs_none(operation: dict[str, Any]) -> None:
    schemes = [name for alternative in operation["security"] for name in alternative]

    assert set(schemes) <= set(DOC["components"]["securitySchemes"])
    assert "401" in operation["responses"] or schemes == []
    assert "403" in operation["responses"] or "ApiKey" not in schemes


@each_operation
def test_an_operation_has_the_errors_of_its_kind(operation: dict[str, Any]) -> None:
    declared = set(operation["responses"])

    assert "default" in declared
    assert {"413", "415", "422"} <= declared or "requestBody" not in operation
    assert "422" in declared or "parameters" not in operation


@each_operation
def test_an_operation_says_what_becomes_of_repetitions_if_it_takes_a_key_for_them(operation: dict[str, Any]) -> None:
    takes_key = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))

    codes = {code for status, answer in answers(operation).items() if status[0] == "4" for code in error_codes(answer)}
    replayed = {status for status, answer in answers(operation).items() if "Idempotency-Replayed" in answer["headers"]}

    # Whoever has no key yet has nobody to keep answers for.
    assert takes_key is ("201" in operation["responses"] and operation["security"] != [])
    assert ({"IDEMPOTENCY_IN_PROGRESS", "IDEMPOTENCY_KEY_REUSED"} <= codes) is takes_key
    assert replayed == {status for status in operation["responses"] if status[0] == "2" and takes_key}


@pytest.mark.parametrize(
    ("prefix", "counted"),
    [
        ("/v1/client/", lambda _status: True),
        ("/v1/miner/", lambda _status: True),
        ("/.well-known/", lambda _status: True),
        ("/v1/receipts/", lambda _status: True),
        ("/v1/users/", lambda _status: True),
        ("/v1/exchange/", lambda _status: True),
        # Served without a limit; but nobody may try many keys.
        ("/v1/admin/", lambda status: status in {"401", "403", "429"}),
        ("/health", lambda _status: False),
    ],
)
def test_answers_to_calls_that_are_counted_say_what_is_left(prefix: str, counted: Callable[[str], bool]) -> None:
    operations = [one for path, of_path in DOC["paths"].items() for one in of_path.values() if path.startswith(prefix)]

    assert operations
    for operation in operations:
        found = answers(operation)
        assert ("429" in found) is counted("429")
        assert "Retry-After" in found.get("429", {"headers": {"Retry-After"}})["headers"]
        del found["default"]
        for name in ("RateLimit", "RateLimit-Policy"):
            assert {status for status, one in found.items() if name in one["headers"]} == set(filter(counted, found))


@each_operation
def test_errors_stand_under_their_status_and_explain_themselves(operation: dict[str, Any]) -> None:
    for status, answer in answers(operation).items():
        if status.startswith(("4", "5")):
            codes = error_codes(answer)
            # A login's wrong signature is a 401, a miner's a 422.
            assert {
                "401" if status == "401" and code == "BAD_SIGNATURE" else str(STATUS_OF[code]) for code in codes
            } == {status}
            assert all(f"`{code}`: " in answer["description"] for code in codes)


def test_every_error_code_stands_at_some_operation() -> None:
    declared = {
        code
        for operation in OPERATIONS.values()
        for status, answer in answers(operation).items()
        if not status.startswith("2")
        for code in error_codes(answer)
    }

    assert set(STATUS_OF) - declared == set()


@each_operation
def test_every_body_has_examples_that_are_true_to_its_schema(operation: dict[str, Any]) -> None:
    assert all(body["examples"] for body in bodies(operation))
    for schema, value in examples(operation):
        assert faults(schema, value) == [], value


@each_operation
def test_every_answer_has_a_request_id(operation: dict[str, Any]) -> None:
    for answer in answers(operation).values():
        assert resolved(answer["headers"]["X-Request-Id"])["required"] is True


@each_operation
def test_every_parameter_has_a_description(operation: dict[str, Any]) -> None:
    assert [one["name"] for one in operation.get("parameters", ()) if not one.get("description")] == []


def test_every_field_has_a_description_of_its_own_or_of_its_type() -> None:
    def described(field: dict[str, Any]) -> bool:
        return bool(field.get("description")) or any(
            described(resolved(part))
            for part in (field.get("items", {}), *field.get("anyOf", ()), *([field] if "$ref" in field else []))
            if "$ref" in part
        )

    plain = [
        f"{name}.{field}"
        for name, schema in DOC["components"]["schemas"].items()
        for field, declared in schema.get("properties", {}).items()
        if not described(declared)
    ]

    assert plain == []


@each_operation
def test_links_lead_to_operations_with_what_they_need(operation: dict[str, Any]) -> None:
    for answer in answers(operation).values():
        for link in answer.get("links", {}).values():
            target = OPERATIONS[link["operationId"]]
            assert set(link.get("parameters", {})) <= {parameter["name"] for parameter in target.get("parameters", ())}
            if "requestBody" in link:
                schema = resolved(target["requestBody"]["content"]["application/json"]["schema"])
                assert set(link["requestBody"]) <= set(schema["properties"])
            first = next(iter(answer["content"]["application/json"]["examples"].values()))["value"]
            for expression in json.dumps(link).split('"$response.body#/')[1:]:
                found = first
                for step in expression.split('"')[0].split("/"):
                    found = found[int(step) if step.isdigit() else step]
                assert found


def test_no_operation_of_the_document_has_a_generated_name() -> None:
    """Clients in other languages are generated with these names."""
    names = [*OPERATIONS, *DOC["components"]["schemas"]]

    assert [name for name in names if not name.isidentifier() or name.endswith("_")] == []
