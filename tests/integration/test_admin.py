"""Operators see everything, step in, and leave their traces in the audit."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.api import ADMIN, CLIENT, MINER, OTHER_CLIENT, OTHER_MINER, Api, let_pass

JOBS = "/v1/admin/jobs"
NOBODY = "01a20e16-96db-735a-9dcf-bc8386955752"


def ids(answer: Any) -> list[str]:
    return [item["id"] for item in answer.json["items"]]


def audit(admin: Api) -> list[dict[str, Any]]:
    return list(admin.get("/v1/admin/audit").json["items"])


def failed_by_its_miner(client: Api, miner: Api, **job: Any) -> str:
    job_id = client.submit(**job)["id"]
    assert miner.answer(miner.poll()[0], status="failed", error={"code": "BAD_PROMPT"}).status == 201
    return str(job_id)


class TestStats:
    def test_an_empty_market_has_nothing_to_count(self, admin: Api) -> None:
        assert admin.get("/v1/admin/stats").json == {
            "jobs": {"pending": 0, "running": 0, "completed": 0, "failed": 0},
            "miners": {"active": 0, "inactive": 0},
            "users": 0,
            "payments": 0,
            "oldest_pending_seconds": None,
            "average_job_seconds": None,
        }

    def test_jobs_and_miners_are_counted_by_status(self, admin: Api, client: Api, miner: Api) -> None:
        me = miner.register()["id"]
        miner.register("ait1two")
        miner.as_(MINER, miner.register("ait1three")["id"]).post("/v1/miner/deregister")
        miner = miner.as_(MINER, me)
        for _ in range(2):
            client.submit()
            miner.answer(miner.poll()[0])
        for _ in range(3):
            failed_by_its_miner(client, miner)
        client.submit()
        miner.poll()
        for _ in range(4):
            client.submit()

        stats = admin.get("/v1/admin/stats").json

        assert stats["jobs"] == {"pending": 4, "running": 1, "completed": 2, "failed": 3}
        assert stats["miners"] == {"active": 2, "inactive": 1}

    def test_the_oldest_waiting_job_tells_its_age(self, admin: Api, client: Api, miner: Api) -> None:
        client.submit(priority=9)
        miner.register()
        miner.poll()
        let_pass(100)
        client.submit(priority=0)
        let_pass(20)
        client.submit(priority=5)

        assert 20 <= admin.get("/v1/admin/stats").json["oldest_pending_seconds"] < 50

    def test_the_average_is_over_completed_jobs(self, admin: Api, client: Api, miner: Api) -> None:
        miner.register()
        for seconds in (10, 30):
            client.submit()
            assignment = miner.poll()[0]
            let_pass(seconds)
            miner.answer(assignment)
        client.submit()
        miner.poll()

        assert 20 <= admin.get("/v1/admin/stats").json["average_job_seconds"] < 25


class TestLists:
    def test_the_jobs_of_all_clients_are_listed_newest_first_as_their_clients_see_them(self, admin: Api) -> None:
        jobs = [admin.as_(key).submit(parameters={"of": key}) for key in (CLIENT, OTHER_CLIENT, CLIENT)]

        first = admin.get(f"{JOBS}?limit=2").json
        rest = admin.get(f"{JOBS}?limit=2&cursor={first['next_cursor']}").json

        assert first["items"] + rest["items"] == jobs[::-1]
        assert rest["next_cursor"] is None

    def test_jobs_are_filtered_by_each_of_their_columns(self, admin: Api, client: Api, miner: Api) -> None:
        me = miner.register()["id"]
        failed = failed_by_its_miner(client, miner)
        completed = client.submit()["id"]
        miner.answer(miner.poll()[0])
        running = client.submit()["id"]
        miner.poll()
        pending = client.submit()["id"]
        of_another = admin.as_(OTHER_CLIENT).submit(job_type="training")

        def found(**filters: str) -> list[str]:
            return ids(admin.get(f"{JOBS}?" + "&".join(f"{name}={value}" for name, value in filters.items())))

        assert found(status="pending") == [of_another["id"], pending]
        assert found(status="running") == [running]
        assert found(status="completed") == [completed]
        assert found(status="failed") == [failed]
        assert found(job_type="training") == [of_another["id"]]
        assert found(client_id=of_another["client_id"]) == [of_another["id"]]
        assert found(miner_id=me) == [running, completed, failed]
        assert found(miner_id=me, status="failed") == [failed]
        assert found(miner_id=me, job_type="training") == []

    def test_miners_are_listed_with_what_only_operators_see(self, admin: Api, miner: Api) -> None:
        gone, there = miner.register("ait1gone"), miner.register("ait1there")
        miner.as_(MINER, gone["id"]).post("/v1/miner/deregister")
        report = {"status": "busy", "metrics": {"gpu_temperature": 71}}
        miner.as_(MINER, there["id"]).post("/v1/miner/heartbeat", report)

        listed = admin.get("/v1/admin/miners").json["items"]

        assert [miner["id"] for miner in listed] == [there["id"], gone["id"]]
        assert [listed[0][name] for name in ("disabled", "report")] == [False, report]
        assert listed[0]["owner_id"] == listed[1]["owner_id"]
        assert ids(admin.get("/v1/admin/miners?status=inactive")) == [gone["id"]]
        assert ids(admin.get("/v1/admin/miners?status=active")) == [there["id"]]

    def test_receipts_are_listed_and_filtered(self, admin: Api, api: Api) -> None:
        receipts = []
        for client, miner in ((CLIENT, MINER), (OTHER_CLIENT, OTHER_MINER)):
            api.as_(client).submit()
            api.as_(miner).register()
            receipts.append(api.as_(miner).answer(api.as_(miner).poll()[0]).json["receipt"])

        assert admin.get("/v1/admin/receipts").json["items"] == receipts[::-1]
        for name in ("miner_id", "client_id", "job_id"):
            assert admin.get(f"/v1/admin/receipts?{name}={receipts[0][name]}").json["items"] == [receipts[0]]
            assert admin.get(f"/v1/admin/receipts?{name}={NOBODY}").json["items"] == []

    @pytest.mark.parametrize("query", ["jobs?status=done", "miners?status=gone", "receipts?limit=0", "audit?cursor=x"])
    def test_a_wrong_query_is_422(self, admin: Api, query: str) -> None:
        assert admin.get(f"/v1/admin/{query}").error == "VALIDATION_ERROR"


class TestCancel:
    def test_any_clients_job_is_cancelled_as_its_client_could(self, admin: Api, client: Api, miner: Api) -> None:
        job_id = client.submit()["id"]
        miner.register()
        assignment = miner.poll()[0]

        answer = admin.post(f"{JOBS}/{job_id}/cancel")

        assert (answer.status, answer.json) == (200, client.job(job_id))
        assert (answer.json["status"], answer.json["error"]["code"]) == ("failed", "CANCELLED")
        assert miner.post("/v1/miner/heartbeat").json["cancelled_jobs"] == [job_id]
        assert miner.answer(assignment).error == "JOB_CANCELLED"
        assert client.post(f"/v1/client/jobs/{job_id}/cancel").json == answer.json

    def test_a_finished_job_stays(self, admin: Api, client: Api, miner: Api) -> None:
        miner.register()
        job_id = failed_by_its_miner(client, miner)

        answer = admin.post(f"{JOBS}/{job_id}/cancel")

        assert (answer.status, answer.error) == (409, "JOB_FINISHED")
        assert client.job(job_id)["error"]["code"] == "BAD_PROMPT"


class TestRequeue:
    def test_a_running_job_is_taken_from_its_miner(self, admin: Api, api: Api, client: Api, miner: Api) -> None:
        job = client.submit()
        miner.register()
        stale = miner.poll()[0]

        answer = admin.post(f"{JOBS}/{job['id']}/requeue")

        assert (answer.status, answer.json) == (200, client.job(job["id"]))
        assert [answer.json[name] for name in ("status", "miner_id", "started_at")] == ["pending", None, None]
        assert answer.json["expires_at"] == job["expires_at"]
        other = api.as_(OTHER_MINER)
        other.register()
        fresh = other.poll()[0]
        assert (fresh["id"], fresh["attempt"]) == (job["id"], 2)
        assert miner.answer(stale).error == "LEASE_LOST"
        assert other.answer(fresh).status == 201

    def test_the_miners_late_answer_is_taken_while_nobody_else_has_the_job(
        self, admin: Api, client: Api, miner: Api
    ) -> None:
        job_id = client.submit()["id"]
        miner.register()
        assignment = miner.poll()[0]
        admin.post(f"{JOBS}/{job_id}/requeue")

        assert miner.answer(assignment).status == 201
        assert client.job(job_id)["status"] == "completed"
        assert admin.post(f"{JOBS}/{job_id}/requeue").error == "JOB_FINISHED"

    def test_a_running_job_gets_one_more_attempt_when_it_was_its_last(
        self, admin: Api, client: Api, miner: Api
    ) -> None:
        job_id = client.submit(max_attempts=1)["id"]
        miner.register()
        miner.poll()

        job = admin.post(f"{JOBS}/{job_id}/requeue").json

        assert (job["status"], job["attempts"], job["max_attempts"]) == ("pending", 1, 2)
        assert miner.poll()[0]["attempt"] == 2

    def test_a_failed_job_waits_anew_with_all_its_time(self, admin: Api, client: Api, miner: Api) -> None:
        miner.register()
        job_id = failed_by_its_miner(client, miner, ttl_seconds=100)
        let_pass(60)

        job = admin.post(f"{JOBS}/{job_id}/requeue").json

        assert [job[name] for name in ("status", "error", "miner_id", "completed_at")] == ["pending", None, None, None]
        # Two attempts of three are left, so none is added.
        assert (job["attempts"], job["max_attempts"]) == (1, 3)
        let_pass(60)
        assert client.job(job_id)["status"] == "pending"
        assert miner.answer(miner.poll()[0]).status == 201
        assert client.get(f"/v1/client/jobs/{job_id}/result").json["result"] == {"text": "Paris"}

    def test_a_job_that_used_up_its_attempts_gets_one_more(self, admin: Api, client: Api, miner: Api) -> None:
        job_id = client.submit(max_attempts=1)["id"]
        miner.register()
        miner.poll()
        let_pass(61)
        assert client.job(job_id)["error"]["code"] == "ATTEMPTS_EXHAUSTED"

        admin.post(f"{JOBS}/{job_id}/requeue")

        assert miner.answer(miner.poll()[0]).status == 201

    @pytest.mark.parametrize("seen", [True, False], ids=["swept", "not swept"])
    def test_a_job_past_its_time_gets_it_once_more(self, admin: Api, client: Api, *, seen: bool) -> None:
        job_id = client.submit(ttl_seconds=10)["id"]
        let_pass(11)
        if seen:
            assert client.job(job_id)["error"]["code"] == "EXPIRED"

        admin.post(f"{JOBS}/{job_id}/requeue")

        assert client.job(job_id)["status"] == "pending"

    def test_a_cancelled_job_that_is_requeued_is_not_cancelled_for_the_miner_that_gets_it(
        self, admin: Api, client: Api, miner: Api
    ) -> None:
        job_id = client.submit()["id"]
        miner.register()
        old = miner.poll()[0]
        client.post(f"/v1/client/jobs/{job_id}/cancel")
        admin.post(f"{JOBS}/{job_id}/requeue")

        assert miner.answer(old).error == "LEASE_LOST"
        new = miner.poll()[0]
        assert (new["id"], new["redelivered"]) == (job_id, False)
        assert miner.post("/v1/miner/heartbeat").json["cancelled_jobs"] == []
        assert miner.answer(new).status == 201

    def test_a_completed_job_stays(self, admin: Api, client: Api, miner: Api) -> None:
        job_id = client.submit()["id"]
        miner.register()
        miner.answer(miner.poll()[0])
        completed = client.job(job_id)

        answer = admin.post(f"{JOBS}/{job_id}/requeue")

        assert (answer.status, answer.error) == (409, "JOB_FINISHED")
        assert client.job(job_id) == completed

    def test_a_waiting_job_stays_as_it_is(self, admin: Api, client: Api) -> None:
        job = client.submit()

        answer = admin.post(f"{JOBS}/{job['id']}/requeue")

        assert (answer.status, answer.json) == (200, job)


class TestDisable:
    def test_a_disabled_miner_gives_everything_back_and_is_refused(
        self, admin: Api, api: Api, client: Api, miner: Api
    ) -> None:
        job_id = client.submit()["id"]
        me = miner.register()["id"]
        assignment = miner.poll()[0]

        answer = admin.post(f"/v1/admin/miners/{me}/disable")

        assert (answer.status, answer.json["status"], answer.json["disabled"]) == (200, "inactive", True)
        assert client.job(job_id)["status"] == "pending"
        calls = [
            miner.get("/v1/miner/jobs"),
            miner.post("/v1/miner/heartbeat"),
            miner.post(f"/v1/miner/jobs/{job_id}/progress", {"percent": 50}),
            miner.answer(assignment),
            miner.get("/v1/miner/me"),
            miner.post("/v1/miner/deregister"),
            miner.post("/v1/miner/register", {"address": "ait1one", "capabilities": ["llm_inference"]}),
            # Nor under another name of the same place.
            miner.post("/v1/miner/register", {"address": "ait1one", "endpoint": "x", "capabilities": ["custom"]}),
        ]
        assert {(call.status, call.error) for call in calls} == {(403, "FORBIDDEN")}
        assert "disabled" in calls[0].json["error"]["message"]
        other = api.as_(OTHER_MINER)
        other.register()
        assert [item["id"] for item in other.poll()] == [job_id]

    def test_the_other_miners_of_the_key_go_on(self, admin: Api, client: Api, miner: Api) -> None:
        one, two = miner.register(endpoint="one")["id"], miner.register(endpoint="two")["id"]
        client.submit()

        admin.post(f"/v1/admin/miners/{one}/disable")

        assert miner.register(endpoint="two")["id"] == two
        assert len(miner.as_(MINER, two).poll()) == 1

    def test_no_job_counts_on_a_disabled_miner(self, admin: Api, client: Api, miner: Api) -> None:
        job_id = client.submit()["id"]
        me = miner.register()["id"]

        admin.post(f"/v1/admin/miners/{me}/disable")

        assert client.get(f"/v1/client/jobs/{job_id}/status").json["eligible_miners"] == 0

    def test_an_enabled_miner_works_again_and_may_deliver_what_nobody_else_has(
        self, admin: Api, client: Api, miner: Api
    ) -> None:
        job_ids = [client.submit()["id"] for _ in range(2)]
        me = miner.register()["id"]
        late = miner.poll()[0]
        admin.post(f"/v1/admin/miners/{me}/disable")

        answer = admin.post(f"/v1/admin/miners/{me}/enable")

        assert (answer.status, answer.json["status"], answer.json["disabled"]) == (200, "inactive", False)
        assert miner.answer(late).status == 201
        assert [item["id"] for item in miner.poll()] == [job_ids[1]]
        assert miner.get("/v1/miner/me").json["status"] == "active"


@pytest.mark.parametrize("unknown", ["nix", NOBODY, "A" * 5000])
def test_what_nobody_has_is_not_found(admin: Api, unknown: str) -> None:
    for action in ("cancel", "requeue"):
        assert admin.post(f"{JOBS}/{unknown}/{action}").error == "JOB_NOT_FOUND"
    for action in ("disable", "enable"):
        assert admin.post(f"/v1/admin/miners/{unknown}/{action}").error == "MINER_NOT_FOUND"
    assert audit(admin) == []


class TestAudit:
    def test_each_change_is_there_newest_first(self, admin: Api, client: Api, miner: Api) -> None:
        job_id = client.submit()["id"]
        me = miner.register()["id"]
        miner.poll()
        changes = [
            ("job.requeue", job_id, {"was": "running", "miner_id": me, "error": None}),
            ("job.cancel", job_id, {"was": "pending"}),
            ("job.requeue", job_id, {"was": "failed", "miner_id": None, "error": "CANCELLED"}),
            ("miner.disable", me, {"was": "active"}),
            ("miner.enable", me, {}),
        ]
        for action, subject, _ in changes:
            kind, _, verb = action.partition(".")
            assert admin.post(f"/v1/admin/{kind}s/{subject}/{verb}").status == 200

        entries = audit(admin)

        assert [(entry["action"], entry["subject"], entry["details"]) for entry in entries] == changes[::-1]
        assert all(set(e) == {"id", "admin", "action", "subject", "details", "created_at"} for e in entries)
        assert len({entry["admin"] for entry in entries}) == 1
        assert ADMIN not in str(entries)
        first = admin.get("/v1/admin/audit?limit=3").json
        assert first["items"] + admin.get(f"/v1/admin/audit?cursor={first['next_cursor']}").json["items"] == entries

    def test_what_changes_nothing_leaves_no_trace(self, admin: Api, client: Api, miner: Api) -> None:
        waiting, cancelled = (client.submit()["id"] for _ in range(2))
        client.post(f"/v1/client/jobs/{cancelled}/cancel")
        me = miner.register()["id"]
        calls = {
            f"{JOBS}/{waiting}/requeue": 200,
            f"{JOBS}/{cancelled}/cancel": 200,
            f"/v1/admin/miners/{me}/enable": 200,
        }

        assert {path: admin.post(path).status for path in calls} == calls
        assert audit(admin) == []

    def test_a_change_that_fails_leaves_no_trace_and_one_without_trace_is_none(
        self, admin: Api, client: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from coordinator.jobs import operations

        def fail(*_: Any, **__: Any) -> None:
            raise OSError("disk on fire")

        job = client.submit()
        monkeypatch.setattr(operations, "record", fail)

        assert admin.post(f"{JOBS}/{job['id']}/cancel").status == 500
        assert client.job(job["id"]) == job

    @pytest.mark.parametrize("change", ["UPDATE audit SET admin_id = 'nobody'", "DELETE FROM audit"])
    def test_the_database_itself_keeps_the_entries(self, admin: Api, client: Api, change: str) -> None:
        from coordinator.core.database import database

        admin.post(f"{JOBS}/{client.submit()['id']}/cancel")
        entries = audit(admin)

        with pytest.raises(DBAPIError, match="never changed or removed"):
            database().write(lambda tx: tx.execute(text(change)))
        assert audit(admin) == entries != []
