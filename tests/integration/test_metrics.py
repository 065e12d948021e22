"""What `/metrics` tells: well-formed, true after whatever happens to jobs, and never going backwards."""

from collections import Counter
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, text

from coordinator.core import config
from coordinator.core.database import Database, database
from coordinator.metrics import flushing
from coordinator.metrics.counters import Counters, counters, fold_ended, totals
from tests.api import CLIENT, Api, let_pass

JOBS = "/v1/client/jobs"
LONG_AGO_SECONDS = 3600
# In the tests' own process it is switched off.
REQUEST_ENDED = flushing.Flusher.request_ended


@pytest.fixture
def in_lambda(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[flushing.Flusher]:
    """A flusher whose threads stand still between requests, so that writing belongs to the request."""
    monkeypatch.setattr(flushing, "in_lambda", lambda: True)
    flusher = flushing.Flusher()
    yield flusher
    flusher._database.close()


def samples(api: Api) -> dict[Any, float]:
    """All samples by name and labels, as Prometheus's own parser reads them."""
    counters().flush(database())
    families = text_string_to_metric_families(api.get("/metrics").text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def jobs_by_status() -> dict[str, int]:
    """Counted one by one."""
    by_status = text("SELECT status, count(*) FROM jobs GROUP BY status")
    return dict(database().read(lambda tx: tx.execute(by_status).all()))


def total() -> Counter[str]:
    return database().read(totals)


def fold() -> None:
    database().write(fold_ended)


def rows() -> int:
    return database().read(lambda tx: tx.scalar(text("SELECT count(*) FROM environment_counts")) or 0)


def test_requests_are_counted_by_group_method_route_and_status(api: Api) -> None:
    client = api.as_(CLIENT)
    job_id = client.submit()["id"]
    client.get(f"/api{JOBS}/{job_id}")
    client.get(f"{JOBS}/no-such-job")
    client.call("HEAD", "/health")
    client.call("DELETE", "/health")

    seen = samples(api)

    assert {key[1:]: value for key, value in seen.items() if key[0] == "api_requests_total"} == {
        ("/v1/client/jobs", "201", "POST", "client"): 1,
        ("/v1/client/jobs/{job_id}", "200", "GET", "client"): 1,
        ("/v1/client/jobs/{job_id}", "404", "GET", "client"): 1,
        ("/health", "200", "HEAD", "public"): 1,
        ("/health", "405", "DELETE", "public"): 1,
    }


def test_no_label_is_text_of_a_callers(api: Api) -> None:
    for path in (
        "/secret-1",
        f"{JOBS}/secret-2/secret-3",
        "/v1/secret-4/x",
        '/"}\n secret-5',
        f"{JOBS}/secret-6?x=%00",
    ):
        api.call("SECRET", path)

    labels = {key for key in samples(api) if key[0] == "api_requests_total"}

    assert {key[1:] for key in labels} == {
        ("404", "client", "other", "unknown"),
        ("404", "other", "public", "unknown"),
        ("/v1/client/jobs/{job_id}", "405", "client", "other"),
    }


def test_errors_of_the_code_itself_are_counted(api: Api, client: Api) -> None:
    client.get(JOBS)

    def fail(*_: Any) -> None:
        raise OSError

    event.listen(database().engine, "commit", fail)
    client.post(JOBS, {"job_type": "custom"})
    event.remove(database().engine, "commit", fail)

    assert samples(api)["api_requests_total", "/v1/client/jobs", "500", "POST", "client"] == 1


def test_the_histogram_holds_every_request_once(api: Api, client: Api) -> None:
    for _ in range(3):
        client.get(JOBS)

    seen = samples(api)

    of_route = {key: value for key, value in seen.items() if "/v1/client/jobs" in key and "duration" in key[0]}
    buckets = [value for key, value in of_route.items() if key[0].endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert of_route["api_request_duration_seconds_count", "/v1/client/jobs", "client"] == buckets[-1] == 3
    assert 0 < of_route["api_request_duration_seconds_sum", "/v1/client/jobs", "client"] < 30


def test_gauges_follow_jobs_through_every_change(api: Api, client: Api, miner: Api) -> None:
    jobs = [client.submit(max_attempts=2, ttl_seconds=600) for _ in range(8)]
    miner.register(concurrency=5)
    first, second, third, fourth, _ = miner.poll()
    miner.answer(first)
    miner.answer(second, status="failed", error={"code": "E", "message": "m", "retryable": False})
    miner.answer(third, status="failed", error={"code": "E", "message": "m", "retryable": True})
    client.post(f"{JOBS}/{fourth['id']}/cancel")
    client.post(f"{JOBS}/{jobs[5]['id']}/cancel")

    seen = samples(api)

    assert jobs_by_status() == {"pending": 3, "running": 1, "completed": 1, "failed": 3}
    assert seen["queue_depth", "pending"] == 3
    assert seen["queue_depth", "running"] == 1
    assert seen["active_jobs",] == 4
    assert seen["registered_miners",] == 1
    assert seen["lease_expiries_total",] == 0


def test_what_the_clock_ends_is_counted_too(api: Api, client: Api, miner: Api) -> None:
    from miner.heartbeats import handler as sweep

    client.submit(max_attempts=2)
    client.submit(ttl_seconds=30)
    miner.register(concurrency=1)
    miner.poll()
    let_pass(61)
    sweep({}, None)
    seen = samples(api)

    assert jobs_by_status() == {"pending": 1, "failed": 1}
    assert seen["active_jobs",] == seen["queue_depth", "pending"] == 1
    assert seen["lease_expiries_total",] == 1
    assert seen["schedule_runs_total", "heartbeats"] == 1
    assert 61 <= seen["oldest_pending_age_seconds",] < 80


def test_a_job_that_waits_for_long_stands_in_the_log(client: Api, caplog: pytest.LogCaptureFixture) -> None:
    from miner.heartbeats import handler as sweep

    client.submit(ttl_seconds=3600)
    sweep({}, None)
    before = [record for record in caplog.records if record.getMessage() == "a job waits"]
    let_pass(600)
    sweep({}, None)

    [told] = [record for record in caplog.records if record.getMessage() == "a job waits"]
    assert before == []
    assert 600 <= told.__dict__["oldest_pending_seconds"] < 630


def test_a_miner_that_is_silent_is_not_active_even_without_a_sweep(api: Api, miner: Api) -> None:
    miner.register()
    let_pass(91)

    assert samples(api)["registered_miners",] == 0


def test_counts_of_jobs_are_part_of_the_transaction(api: Api, client: Api) -> None:
    client.submit()

    def fail(*_: Any) -> None:
        raise OSError

    event.listen(database().engine, "commit", fail)
    client.post(JOBS, {"job_type": "custom"})
    event.remove(database().engine, "commit", fail)

    assert samples(api)["active_jobs",] == 1


def test_jobs_that_other_programs_change_are_counted_too(api: Api, client: Api) -> None:
    for _ in range(4):
        client.submit()

    database().write(lambda tx: tx.execute(text("UPDATE jobs SET status = 'running', attempts = 1")))
    running = samples(api)
    database().write(lambda tx: tx.execute(text("DELETE FROM jobs")))
    gone = samples(api)

    assert (running["queue_depth", "pending"], running["queue_depth", "running"]) == (0, 4)
    assert gone["active_jobs",] == 0


def test_sums_are_over_all_processes(api: Api) -> None:
    others = [Counters() for _ in range(3)]
    for number, other in enumerate(others, 1):
        other.add({"requests": number})
        other.flush(database())
        other.flush(database())
    others[0].add({"requests": 10, "errors": 1})
    others[0].flush(database())

    assert total() == {"requests": 16, "errors": 1}


def test_rows_of_ended_processes_become_one_and_the_sum_stays(api: Api) -> None:
    for _ in range(3):
        ended = Counters()
        ended.add({"requests": 5})
        ended.flush(database())
        let_pass(LONG_AGO_SECONDS)
        fold()
    living = Counters()
    living.add({"requests": 1})
    living.flush(database())

    fold()

    assert total() == {"requests": 16}
    assert rows() == 2


def test_a_process_that_was_taken_for_ended_goes_on_without_counting_twice(api: Api) -> None:
    frozen = Counters()
    for expected in (5, 10, 15):
        frozen.add({"requests": 5})
        frozen.flush(database())
        let_pass(LONG_AGO_SECONDS)
        fold()
        assert total() == {"requests": expected}


def test_what_could_not_be_written_is_written_the_next_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counters()
    counting.add({"requests": 5})
    with monkeypatch.context() as broken:
        broken.setattr(Database, "write", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        with pytest.raises(OSError, match="gone"):
            counting.flush(database())
    counting.add({"requests": 1})

    assert counting.unwritten
    counting.flush(database())
    assert total() == {"requests": 6}
    assert not counting.unwritten


@pytest.mark.parametrize(
    ("token", "authorization", "status"),
    [
        ("", None, 200),
        ("", "Bearer anything", 200),
        ("the-token", None, 401),
        ("the-token", "the-token", 401),
        ("the-token", "Bearer the-toke", 401),
        ("the-token", "Bearer ключ", 401),
        ("the-token", "Bearer the-token", 200),
    ],
)
def test_a_metrics_token_guards_them_when_it_is_set(
    api: Api, monkeypatch: pytest.MonkeyPatch, token: str, authorization: str | None, status: int
) -> None:
    monkeypatch.setenv("METRICS_TOKEN", token)
    config.settings.cache_clear()

    answer = api.get("/metrics", headers={"authorization": authorization} if authorization else None)

    assert answer.status == status
    if status == 401:
        assert answer.error == "UNAUTHORIZED"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_without_its_tables_they_are_not_ready(api: Api) -> None:
    database().write(lambda tx: tx.execute(text("DROP TABLE environment_counts")))

    answer = api.get("/metrics")

    assert (answer.status, answer.error) == (503, "NOT_READY")


def test_in_lambda_a_request_ends_when_its_counts_are_written(api: Api, in_lambda: flushing.Flusher) -> None:
    counters().add({"requests": 1})

    REQUEST_ENDED(in_lambda)

    assert total() == {"requests": 1}


def test_in_lambda_no_request_waits_for_a_database_that_does_not_answer(
    api: Api, in_lambda: flushing.Flusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Event()
    written = Event()
    monkeypatch.setattr(Counters, "flush", lambda *_: (answers.wait(), written.set()))

    REQUEST_ENDED(in_lambda)
    REQUEST_ENDED(in_lambda)

    assert not written.is_set()
    answers.set()
    assert written.wait(10)
