"""llm_inference by a server that speaks OpenAI's API."""

import time
from typing import Any

import pytest

from tests.miner.conftest import Start
from tests.miner.servers import Coordinator, ModelServer

LLM = ("--capability", "llm_inference")


def run(
    start: Start, coordinator: Coordinator, server: ModelServer, *arguments: str, **parameters: Any
) -> dict[str, Any]:
    """What the miner posts for a job with these parameters."""
    coordinator.add_job(job_type="llm_inference", parameters=parameters)
    start(*LLM, "--backend", server.url, *arguments)
    [body] = coordinator.wait_for(lambda: coordinator.bodies("result"))
    return dict(body)


def test_a_prompt_is_completed(start: Start, coordinator: Coordinator, model: ModelServer) -> None:
    body = run(start, coordinator, model, prompt="The capital of France is", max_tokens=8, temperature=0, secret="x")

    assert body["result"] == {
        "text": " Paris. Yes",
        "model": "first-model",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 5, "completion_tokens": 3},
    }
    assert body["metrics"] == {"units": 3, "unit_type": "tokens"}
    path, asked = model.calls[-1]
    assert (path, asked["prompt"], asked["max_tokens"], asked["temperature"]) == (
        "/v1/completions",
        "The capital of France is",
        8,
        0,
    )
    assert "secret" not in asked


def test_the_url_of_a_server_may_end_as_its_manual_has_it(
    start: Start, coordinator: Coordinator, model: ModelServer
) -> None:
    coordinator.add_job(job_type="llm_inference", parameters={"prompt": "Hi"})
    start(*LLM, "--backend", f"{model.url}/v1/")

    [body] = coordinator.wait_for(lambda: coordinator.bodies("result"))

    assert body["result"]["text"] == " Paris. Yes"


def test_messages_are_chatted(start: Start, coordinator: Coordinator, model: ModelServer) -> None:
    messages = [{"role": "user", "content": "Hi"}]

    body = run(start, coordinator, model, "--model", "mine", messages=messages)

    assert body["result"]["text"] == " Paris. Yes"
    assert model.calls == [("/v1/chat/completions", {**model.calls[0][1], "messages": messages, "model": "mine"})]


def test_a_server_without_completions_is_asked_by_chat(
    start: Start, coordinator: Coordinator, model: ModelServer
) -> None:
    model.status["/v1/completions"] = (404, "not found")

    body = run(start, coordinator, model, prompt="Hi", model="m")

    assert body["result"]["text"] == " Paris. Yes"
    assert model.calls[-1][1]["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("path", "named"), [("/v1/completions", {"model": "m"}), ("/v1/models", {})], ids=["completion", "name of a model"]
)
@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "BACKEND_REJECTED", False),
        (401, "BACKEND_REJECTED", False),
        (404, "BACKEND_REJECTED", False),
        (429, "BACKEND_UNAVAILABLE", True),
        (500, "BACKEND_UNAVAILABLE", True),
    ],
)
def test_a_servers_refusal_is_told(
    start: Start,
    coordinator: Coordinator,
    model: ModelServer,
    path: str,
    named: dict[str, str],
    status: int,
    code: str,
    retryable: bool,
) -> None:
    model.status[path] = (status, "no such model")

    body = run(start, coordinator, model, prompt="Hi", **named)

    assert (body["status"], body["error"]["code"], body["error"]["retryable"]) == ("failed", code, retryable)
    assert "no such model" in body["error"]["message"]


def test_a_stream_that_breaks_off_is_for_another_try(
    start: Start, coordinator: Coordinator, model: ModelServer
) -> None:
    model.finish = False

    body = run(start, coordinator, model, prompt="Hi", model="m")

    assert (body["error"]["code"], body["error"]["retryable"]) == ("BACKEND_UNAVAILABLE", True)


@pytest.mark.parametrize(
    "parameters",
    [{}, {"prompt": 5}, {"messages": "Hi"}, {"prompt": "Hi", "max_tokens": 0}, {"prompt": "Hi", "model": 5}],
)
def test_wrong_parameters_are_told(
    start: Start, coordinator: Coordinator, model: ModelServer, parameters: dict[str, Any]
) -> None:
    body = run(start, coordinator, model, **parameters)

    assert (body["error"]["code"], body["error"]["retryable"]) == ("INVALID_PARAMETERS", False)


def test_a_server_that_is_away_is_for_another_try(start: Start, coordinator: Coordinator, model: ModelServer) -> None:
    coordinator.add_job(job_type="llm_inference", parameters={"prompt": "Hi", "model": "m"})
    start(*LLM, "--backend", "http://127.0.0.1:9")

    [body] = coordinator.wait_for(lambda: coordinator.bodies("result"))

    assert (body["error"]["code"], body["error"]["retryable"]) == ("BACKEND_UNAVAILABLE", True)


def test_a_cancelled_job_closes_the_stream(start: Start, coordinator: Coordinator, model: ModelServer) -> None:
    model.words, model.pause_seconds = ["word "] * 1000, 0.05
    coordinator.add_job(job_type="llm_inference", parameters={"prompt": "Hi", "model": "m"})
    start(*LLM, "--backend", model.url)
    coordinator.wait_for(lambda: coordinator.bodies("jobs/job-1/progress"))

    coordinator.cancelled.append("job-1")

    assert model.broke_off.wait(10)
    assert coordinator.bodies("result") == []


def test_while_the_backend_is_away_no_job_is_asked_for(start: Start, coordinator: Coordinator) -> None:
    for number, seconds in enumerate((0.0, 1.0, 2.0), start=1):
        coordinator.add_job(number, job_type="llm_inference", parameters={"prompt": "Hi"})
        if number == 1:
            start(*LLM, "--backend", "http://127.0.0.1:9")
        began = time.monotonic()

        coordinator.wait_for(lambda number=number: len(coordinator.bodies("result")) == number)  # type: ignore[misc]

        assert time.monotonic() - began > seconds - 0.3
