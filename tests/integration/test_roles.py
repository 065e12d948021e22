"""Who may do what: every operation of the API, called by every kind of caller on what belongs to one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.api import ADMIN, BOTH, CLIENT, MINER, OTHER_CLIENT, OTHER_MINER, Answer, Api
from tests.exchange import Exchange, open_exchange, pass_time
from tests.integration.logins import ALICE, BOB, KEYS, ME, logged_in, new_key

# Each job belongs to "client", its lease to "miner", and a key to "user"; all others are strangers to them.
CONFIGURED: dict[str, str | None] = {
    "no key": None,
    "empty key": "",
    "unknown key": "nobody",
    "client": CLIENT,
    "other client": OTHER_CLIENT,
    "miner": MINER,
    "other miner": OTHER_MINER,
    "client and miner": BOTH,
    "admin": ADMIN,
}
SESSIONS = {"user": ALICE, "other user": BOB}
# All of "user".
MADE = {"user's client key": "client", "user's miner key": "miner", "revoked key": "client"}
CALLERS = (*CONFIGURED, *SESSIONS, *MADE)
UNKNOWN = ("no key", "empty key", "unknown key", "revoked key", *SESSIONS)
# In the parameters of each job.
SECRET = "for its client, its miner and operators"
MAY_READ = {"client", "miner", "admin"}

Verdict = int | tuple[int, str]
UNAUTHORIZED = (401, "UNAUTHORIZED")
FORBIDDEN = (403, "FORBIDDEN")
NO_JOB = (404, "JOB_NOT_FOUND")
NO_MINER = (404, "MINER_NOT_FOUND")
NO_PAYMENT = (404, "PAYMENT_NOT_FOUND")


def anyone(verdict: Verdict) -> dict[str, Verdict]:
    return dict.fromkeys(CALLERS, verdict)


def nobody_but(verdicts: dict[str, Verdict]) -> dict[str, Verdict]:
    return anyone(FORBIDDEN) | dict.fromkeys(UNKNOWN, UNAUTHORIZED) | verdicts


def clients(own: Verdict, others: Verdict) -> dict[str, Verdict]:
    strangers = dict.fromkeys(("other client", "client and miner", "user's client key"), others)
    return nobody_but({"client": own, **strangers})


def miners(own: Verdict, others: Verdict) -> dict[str, Verdict]:
    strangers = dict.fromkeys(("other miner", "client and miner", "user's miner key"), others)
    return nobody_but({"miner": own, **strangers})


def admins(verdict: Verdict) -> dict[str, Verdict]:
    return nobody_but({"admin": verdict})


def users(own: Verdict, others: Verdict) -> dict[str, Verdict]:
    return anyone(UNAUTHORIZED) | {"user": own, "other user": others}


def owner_or_admin(verdict: Verdict) -> dict[str, Verdict]:
    return nobody_but({"user": verdict, "other user": FORBIDDEN, "admin": verdict})


def calling(api: Api, caller: str) -> Api:
    """The API as a caller calls it; sessions and keys are new ones, as calls may end them."""
    if caller in CONFIGURED:
        return api.as_(CONFIGURED[caller])
    user = logged_in(api, SESSIONS.get(caller, ALICE))
    if caller in SESSIONS:
        return user
    made = new_key(user, MADE[caller])
    if caller == "revoked key":
        user.delete(f"{KEYS}/{made['id']}")
    return api.as_(made["api_key"])


@dataclass
class Scene:
    """A job that "miner" runs for "client", one that is done, a miner of each caller that may have one, a key."""

    job_id: str
    lease_token: str
    done_job_id: str
    # By caller.
    miner_ids: dict[str, str]
    key_id: str
    user_id: str
    receipt_id: str
    payment_id: str

    @classmethod
    def of(cls, api: Api, number: int) -> "Scene":
        client = api.as_(CLIENT)
        address = f"ait1-{number}"
        miner_ids = {
            caller: calling(api, caller).register(address, concurrency=100)["id"]
            for caller in ("miner", "other miner", "client and miner", "user's miner key")
        }
        miner = api.as_(MINER, miner_ids["miner"])
        leases: dict[str, Any] = {}
        ids = []
        for _ in range(2):
            ids.append(client.submit(parameters={"secret": SECRET})["id"])
            leases |= {assignment["id"]: assignment for assignment in miner.poll()}
        running, done = ids
        receipt = miner.answer(leases[done], result={"secret": SECRET}).json["receipt"]
        user = logged_in(api)
        user_id = user.get(ME).json["id"]
        key_id = new_key(user)["id"]
        # Only so many may be open.
        pass_time(3600)
        payment_id = Exchange(user, chain=None).create()["payment_id"]
        lease_token = leases[running]["lease_token"]
        return cls(running, lease_token, done, miner_ids, key_id, user_id, receipt["id"], payment_id)


@dataclass
class Call:
    operation: str
    expected: dict[str, Verdict]
    body: Callable[[Scene], dict[str, Any]] = lambda _scene: {}
    # Miners name the one that holds the lease, whosever it is; or themselves.
    by_own_miner: bool = False
    done: bool = False
    query: str = ""

    def __str__(self) -> str:
        return self.operation + (" (by its own miner)" if self.by_own_miner else "") + (" (done)" if self.done else "")

    def make(self, api: Api, caller: str, scene: Scene) -> Answer:
        miner_id = scene.miner_ids["miner"]
        named = scene.miner_ids.get(caller, miner_id) if self.by_own_miner else miner_id
        method, path = self.operation.split()
        job_id = scene.done_job_id if self.done else scene.job_id
        ids = {"job_id": job_id, "miner_id": miner_id, "key_id": scene.key_id, "user_id": scene.user_id}
        path = path.format(**ids, receipt_id=scene.receipt_id, payment_id=scene.payment_id) + self.query
        body = self.body(scene) if method == "POST" else None
        return calling(api, caller).call(method, path, body=body, headers={"x-miner-id": named})


def new_job(_scene: Scene) -> dict[str, Any]:
    return {"job_type": "llm_inference"}


def new_miner(_scene: Scene) -> dict[str, Any]:
    return {"address": "ait1-another", "capabilities": ["llm_inference"]}


def progress(scene: Scene) -> dict[str, Any]:
    return {"lease_token": scene.lease_token, "percent": 50}


def result(scene: Scene) -> dict[str, Any]:
    return {"job_id": scene.job_id, "lease_token": scene.lease_token, "result": 42}


def wallet(_scene: Scene) -> dict[str, Any]:
    return {"wallet_address": ALICE.address}


def key(_scene: Scene) -> dict[str, Any]:
    return {"role": "client", "name": "another"}


def some_aitbc(_scene: Scene) -> dict[str, Any]:
    return {"aitbc_amount": "5"}


def gift(_scene: Scene) -> dict[str, Any]:
    return {"amount": "1", "reason": "a gift"}


def garbage(_scene: Scene) -> dict[str, Any]:
    return {"proof": "no receipt"}


CALLS = [
    Call("GET /health", anyone(200)),
    Call("GET /health/ready", anyone(200)),
    Call("GET /metrics", anyone(200)),
    Call("GET /.well-known/jwks.json", anyone(200)),
    Call("POST /v1/receipts/verify", anyone(200), garbage),
    Call("GET /v1/receipts/checkpoint", anyone(200)),
    Call("GET /v1/receipts/consistency", anyone(200), query="?from=0&to=0"),
    Call("GET /v1/receipts/{receipt_id}/inclusion", anyone(200)),
    Call("POST /v1/client/jobs", clients(201, 201), new_job),
    Call("GET /v1/client/jobs", clients(200, 200)),
    Call("GET /v1/client/jobs/{job_id}", clients(200, NO_JOB)),
    Call("GET /v1/client/jobs/{job_id}/status", clients(200, NO_JOB)),
    Call("GET /v1/client/jobs/{job_id}/result", clients((425, "JOB_NOT_READY"), NO_JOB)),
    Call("GET /v1/client/jobs/{job_id}/result", clients(200, NO_JOB), done=True),
    Call("GET /v1/client/jobs/{job_id}/receipts", clients(200, NO_JOB), done=True),
    Call("POST /v1/client/jobs/{job_id}/cancel", clients(200, NO_JOB)),
    Call("POST /v1/client/jobs/{job_id}/cancel", clients((409, "JOB_FINISHED"), NO_JOB), done=True),
    Call("POST /v1/miner/register", miners(201, 201), new_miner),
    Call("POST /v1/miner/heartbeat", miners(200, NO_MINER)),
    Call("GET /v1/miner/jobs", miners(200, NO_MINER)),
    Call("GET /v1/miner/jobs", miners(200, 200), by_own_miner=True),
    Call("POST /v1/miner/jobs", miners(200, NO_MINER)),
    Call("POST /v1/miner/jobs", miners(200, 200), by_own_miner=True),
    Call("POST /v1/miner/jobs/{job_id}/progress", miners(200, NO_MINER), progress),
    Call("POST /v1/miner/jobs/{job_id}/progress", miners(200, NO_JOB), progress, by_own_miner=True),
    Call("POST /v1/miner/result", miners(201, NO_MINER), result),
    Call("POST /v1/miner/result", miners(201, NO_JOB), result, by_own_miner=True),
    Call("POST /v1/miner/deregister", miners(200, NO_MINER)),
    Call("GET /v1/miner/me", miners(200, NO_MINER)),
    Call("GET /v1/miner/earnings", miners(200, NO_MINER)),
    Call("POST /v1/users/challenge", anyone(201), wallet),
    Call("POST /v1/users/login", anyone((401, "SIGNATURE_REQUIRED")), wallet),
    Call("POST /v1/users/logout", users(204, 204)),
    Call("GET /v1/users/me", users(200, 200)),
    Call("POST /v1/users/me/api-keys", users(201, 201), key),
    Call("GET /v1/users/me/api-keys", users(200, 200)),
    Call("DELETE /v1/users/me/api-keys/{key_id}", users(204, (404, "API_KEY_NOT_FOUND"))),
    Call("GET /v1/exchange/rates", anyone(200)),
    Call("POST /v1/exchange/create-payment", users(201, 201), some_aitbc),
    Call("GET /v1/exchange/payment-status/{payment_id}", users(200, NO_PAYMENT)),
    Call("GET /v1/exchange/payments", users(200, 200)),
    Call("GET /v1/exchange/payments/{payment_id}/qr.svg", users(200, NO_PAYMENT)),
    Call("GET /v1/admin/stats", admins(200)),
    Call("GET /v1/admin/jobs", admins(200)),
    Call("POST /v1/admin/jobs/{job_id}/cancel", admins(200)),
    Call("POST /v1/admin/jobs/{job_id}/requeue", admins(200)),
    Call("GET /v1/admin/miners", admins(200)),
    Call("POST /v1/admin/miners/{miner_id}/disable", admins(200)),
    Call("POST /v1/admin/miners/{miner_id}/enable", admins(200)),
    Call("GET /v1/users/{user_id}/balance", owner_or_admin(200)),
    Call("GET /v1/users/{user_id}/transactions", owner_or_admin(200)),
    Call("GET /v1/admin/users", admins(200)),
    Call("POST /v1/admin/users/{user_id}/adjust", admins(201), gift),
    Call("GET /v1/admin/payments", admins(200)),
    Call("GET /v1/admin/receipts", admins(200)),
    Call("GET /v1/admin/audit", admins(200)),
]


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_each_caller_may_do_what_its_role_and_its_things_allow(
    api: Api, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    open_exchange(monkeypatch)
    answers: dict[str, Answer] = {}
    scene = Scene.of(api, 0)

    for number, caller in enumerate(CALLERS, 1):
        answers[caller] = call.make(api, caller, scene)
        if answers[caller].status < 300 and call.operation.startswith("POST"):
            scene = Scene.of(api, number)

    verdicts = {caller: said(answer) for caller, answer in answers.items()}
    assert verdicts == call.expected
    assert {caller for caller, answer in answers.items() if SECRET in answer.text} <= MAY_READ


def test_every_operation_has_its_row(api: Api) -> None:
    documented = {
        f"{method.upper()} {path}"
        for path, operations in api.get("/openapi.json").json["paths"].items()
        for method in operations
    }

    assert {call.operation for call in CALLS} == documented


def said(answer: Answer) -> Verdict:
    return answer.status if answer.status < 300 else (answer.status, answer.error)
